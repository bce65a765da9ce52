"""A training run in progress: what callbacks see of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import nan
from typing import Any

from gradproof.train.callback import Callback
from gradproof.train.history import History


@dataclass
class Run:
    """Where a run is.

    Attributes
    ----------
    history : History
        Everything recorded so far.
    optimizer, state
        The rule and its slots and step.
    epochs : int
        Epochs at the end of the run.
    epoch, batch : int
        The current ones, from 0; `batch` counts within the epoch.
    batches : int
        Batches per epoch.
    learning_rate : float
        Of the current batch.
    data_loss, penalty : float
        Of the current batch, in ``on_gradient`` and ``on_batch_end``.
    logs : dict
        Numbers of the epoch that ended, in ``on_epoch_end``.
    callbacks : list of Callback
        All of them, in the order in which they are called.
    """

    history: History
    optimizer: Any
    state: Any
    epochs: int
    batches: int
    epoch: int = 0
    batch: int = 0
    learning_rate: float = nan
    data_loss: float = nan
    penalty: float = nan
    logs: dict[str, Any] = field(default_factory=dict)
    callbacks: list[Callback] = field(default_factory=list)
    _stop: tuple[str, str] | None = None

    def stop(self, reason: str, message: str = "") -> None:
        """End the run: after this batch, or after this epoch when called at its end. The first reason counts.

        Parameters
        ----------
        reason : str
            For ``history.stopped``.
        message : str
            For ``history.message``.
        """
        self._stop = self._stop or (reason, message)

    @property
    def stopping(self) -> tuple[str, str] | None:
        """Reason and message once :meth:`stop` was called."""
        return self._stop
