"""Show how far training has come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from gradproof.check.progress import Progress

_SHOWN = ("loss", "accuracy", "r2", "val_loss", "val_accuracy", "val_r2")


class EpochProgress(Progress):
    """A bar over the batches of all epochs, with the numbers of the last epoch beside it.

    `wanted` is what :class:`~gradproof.check.progress.Progress` takes; a callable is told (batches done, batches in
    all).
    """

    _transient = False

    def __init__(self, wanted: bool | Callable[[int, int], object] | None, epochs: int, batches: int) -> None:
        super().__init__(wanted, epochs * batches, "Training", every_call=True)
        self._batches = batches

    def skip(self, epochs: int) -> None:
        """These epochs were done before."""
        self.done = epochs * self._batches

    def epoch(self, epoch: int, epochs: int, logs: Mapping[str, Any]) -> None:
        """An epoch has ended."""
        values = "".join(f"  {name} {logs[name]:.4g}" for name in _SHOWN if name in logs)
        self.describe(f"Trained {epoch + 1} of {epochs} epochs{values}")

    def say(self, message: str) -> None:
        """How the run ended, where a bar was shown."""
        if message and self._bar is not None:
            self._bar.stop()
            print(message, file=sys.stderr)
