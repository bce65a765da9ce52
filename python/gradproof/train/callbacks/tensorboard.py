"""Curves in TensorBoard."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gradproof import _files
from gradproof.train.callback import Callback

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential
    from gradproof.train.run import Run


class TensorBoard(Callback):
    """Event files for TensorBoard with every number of the history.

    Parameters
    ----------
    folder : str or path-like
        Where the event files go; one folder per run.

    Raises
    ------
    ImportError
        If the package ``tensorboard`` is missing.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        folder = _files.named(folder, "folder")
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise ImportError("TensorBoard needs tensorboard: pip install gradproof[tensorboard]") from error
        self.folder = folder
        self._open = Writer
        self._writer: Any = None

    def on_train_begin(self, model: Sequential, run: Run) -> None:
        self._writer = self._open(self.folder)

    def on_epoch_end(self, model: Sequential, run: Run) -> None:
        for name, value in run.history.row(-1).items():
            self._writer.add_scalar(name, value, run.epoch)
        self._writer.flush()

    def on_train_end(self, model: Sequential, run: Run) -> None:
        self._writer.close()
