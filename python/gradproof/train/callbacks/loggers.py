"""The history on disk while it is being made."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from gradproof import _files
from gradproof.train.callback import Callback
from gradproof.train.history import encoded

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential
    from gradproof.train.run import Run


class _Logger(Callback):
    """A file that is begun anew with each run, with the epochs of a resumed one, and gets a line per epoch."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _files.named(path)

    def _append(self, line: str) -> None:
        _files.append(self.path, line.encode())


class CSVLogger(_Logger):
    """A table of the history as in :meth:`~gradproof.train.history.History.to_csv`, a line per epoch.

    Parameters
    ----------
    path : str or path-like
        The file; replaced when a run begins.
    """

    _columns: list[str]

    def on_train_begin(self, model: Sequential, run: Run) -> None:
        self._columns = list(run.history.flat())
        _files.write(self.path, run.history.to_csv().encode() if run.history.epochs else b"")

    def on_epoch_end(self, model: Sequential, run: Run) -> None:
        columns = list(run.history.flat())
        if columns != self._columns:  # the first epoch, or one with a number that was not there before
            self._columns = columns
            run.history.to_csv(self.path)
        else:
            values = run.history.row(-1).values()
            self._append(",".join(map(str, [run.epoch, *values])) + "\n")


class JSONLogger(_Logger):
    """JSON lines, one object per epoch: ``{"epoch": 0, "loss": 2.3, ...}``; nan and infinities are strings.

    Parameters
    ----------
    path : str or path-like
        The file; replaced when a run begins.
    """

    def on_train_begin(self, model: Sequential, run: Run) -> None:
        lines = (_line(epoch, run, index) for index, epoch in enumerate(run.history.epochs))
        _files.write(self.path, "".join(lines).encode())

    def on_epoch_end(self, model: Sequential, run: Run) -> None:
        self._append(_line(run.epoch, run, -1))


def _line(epoch: int, run: Run, index: int) -> str:
    return json.dumps({"epoch": epoch, **encoded(run.history.row(index))}, allow_nan=False) + "\n"
