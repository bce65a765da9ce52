"""Ctrl-C between two steps instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """While it is entered, the first Ctrl-C waits until :meth:`check`; a second one comes through at once.

    A handler of the user's own is left alone, and so is everything outside of the main thread, where Python never
    delivers signals.

    Attributes
    ----------
    pending : bool
        Whether one is waiting.
    """

    def __init__(self) -> None:
        self.pending = False
        self._before: Any = None

    def check(self) -> None:
        """Raise the KeyboardInterrupt that is waiting."""
        if self.pending:
            self.pending = False
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True

    def __enter__(self) -> Interrupt:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
