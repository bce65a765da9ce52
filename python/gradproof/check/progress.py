"""Show how far a long check has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeVar

from gradproof._messages import shown

Self = TypeVar("Self", bound="Progress")

PATIENCE: Final = 2.0  # seconds before a bar appears by itself
EVERY: Final = 0.1  # seconds between two updates


class Progress:
    """Counts entries and tells somebody.

    Parameters
    ----------
    wanted : None, bool or callable
        None: a bar on a terminal after 2 s. True: a bar at once. False: nothing. ``callable(done, total)``: that.
    total : int
        Entries to do.
    text : str
        What stands before the bar.
    every_call : bool
        Whether :meth:`advance` looks at the clock each time; else, as it is called for single entries, at one in 16.
    """

    _transient = True  # whether the bar goes away at the end

    def __init__(
        self,
        wanted: bool | Callable[[int, int], object] | None,
        total: int,
        text: str = "Checking the gradient",
        every_call: bool = False,
    ) -> None:
        if wanted is not None and not isinstance(wanted, bool) and not callable(wanted):
            raise TypeError(f"progress: got {shown(wanted)}, expected None, True, False or a callable of (done, total)")
        self._call = wanted if callable(wanted) else None
        self._bar_from = time.monotonic() + (0.0 if wanted is True else PATIENCE)
        self._shows = wanted is True or (wanted is None and sys.stderr.isatty())
        self._bar: Any = None
        self._text = text
        self._rare = 0 if every_call else 15
        self._next = 0.0
        self.total = total
        self.done = 0

    def advance(self, by: int = 1) -> None:
        """So many more entries are done."""
        self.done += by
        if self.done & self._rare and self.done < self.total:
            return
        now = time.monotonic()
        if now < self._next and self.done < self.total:
            return
        self._next = now + EVERY
        if self._call is not None:
            self._call(self.done, self.total)
        elif self._shows and now >= self._bar_from:
            self._show()

    def _show(self) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=self._transient)
            self._task = self._bar.add_task(self._text, total=self.total)
            self._bar.start()
        self._bar.update(self._task, completed=self.done)

    def describe(self, text: str) -> None:
        """What stands before the bar from now on."""
        self._text = text
        if self._bar is not None:
            self._bar.update(self._task, description=text)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
