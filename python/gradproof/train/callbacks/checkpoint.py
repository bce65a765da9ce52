"""Write checkpoints while training."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gradproof import _files
from gradproof.nn import validate
from gradproof.train import checkpoint
from gradproof.train.callback import Callback
from gradproof.train.callbacks.monitored import Monitored

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential
    from gradproof.train.run import Run


class Checkpoint(Callback):
    """Write everything that training needs to go on, see :mod:`gradproof.train.checkpoint`.

    ``model.fit(..., resume=path)`` continues from the file as if nothing had happened; ``gp.load(path)`` gives the
    model in it. The file is replaced as a whole: at any moment it holds one complete epoch.

    Parameters
    ----------
    path : str or path-like
        The file.
    every : int
        Epochs from one checkpoint to the next; the last epoch of the run is always written.
    best_only : bool
        Write only epochs that are better than all before, as `monitor` says.
    monitor : str, optional
        As for :class:`~gradproof.train.callbacks.EarlyStopping`.

    Raises
    ------
    OSError
        In fit, if the file cannot be written; the model keeps the weights of the epoch and an older file stays.
    """

    order = 1  # after those whose state goes into the file

    def __init__(
        self, path: str | os.PathLike[str], every: int = 1, best_only: bool = False, monitor: str | None = None
    ) -> None:
        self.path = _files.named(path)
        self.every = validate.whole(every, "every", 1, 2**63 - 1)
        self.best_only = validate.flag(best_only, "best_only")
        self._monitored = Monitored(monitor)

    def on_train_begin(self, model: Sequential, run: Run) -> None:
        self._monitored.best = None
        # To be known before an epoch has been spent.
        if os.path.isdir(self.path):
            raise IsADirectoryError(f"path is {os.fspath(self.path)!r}, a folder; expected the path of a file")
        folder = os.path.dirname(os.path.realpath(self.path))
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"path is {os.fspath(self.path)!r}, but there is no folder {folder!r}")

    def on_epoch_end(self, model: Sequential, run: Run) -> None:
        last = run.epoch + 1 == run.epochs or run.stopping is not None
        if self.best_only:
            wanted = self._monitored.improves(run)
        else:
            wanted = last or (run.epoch + 1) % self.every == 0
        if wanted:
            checkpoint.write(self.path, model, run)

    def state(self) -> dict[str, Any]:
        return self._monitored.state()

    def restore(self, state: dict[str, Any]) -> None:
        self._monitored.restore(state)
