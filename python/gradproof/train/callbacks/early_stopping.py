"""Stop when it does not get better any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradproof.nn import validate
from gradproof.train.callback import EARLY, Callback
from gradproof.train.callbacks.monitored import Monitored

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential
    from gradproof.train.run import Run


class EarlyStopping(Callback):
    """End the run after `patience` epochs in a row that were not better than the best, and go back to the best weights.

    Parameters
    ----------
    monitor : str, optional
        Column of the history, ``"val_loss"`` with validation data and ``"loss"`` without if not given. Larger is better
        for ``accuracy`` and ``r2``, smaller for everything else. Use the development set, never the test set.
    patience : int
        Epochs without improvement; the one that reaches it is the last. 0 and 1 both stop at the first.
    min_delta : float
        What is better by no more than this is no improvement.
    restore_best : bool
        Whether parameters and running statistics of the best epoch are put back at the end: also when the run goes
        through all its epochs, but not when it was interrupted or diverged.

    Attributes
    ----------
    best_epoch, best : int, float or None
        The best epoch and its value.
    waiting : bool
        Whether there is patience left.
    """

    def __init__(
        self, monitor: str | None = None, patience: int = 5, min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        self.patience = validate.whole(patience, "patience", 0, 2**63 - 1)
        self.restore_best = validate.flag(restore_best, "restore_best")
        self._monitored = Monitored(monitor, min_delta)
        self._start()

    def _start(self) -> None:
        self._monitored.best = None
        self._waited = 0
        self.best_epoch: int | None = None
        self._weights: dict[str, Any] = {}

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._monitored.best

    @property
    def waiting(self) -> bool:
        """Whether there is patience left."""
        return self._waited < max(self.patience, 1)

    def on_train_begin(self, model: Sequential, run: Run) -> None:
        self._start()

    def on_epoch_end(self, model: Sequential, run: Run) -> None:
        if self._monitored.improves(run):
            self._waited = 0
            self.best_epoch = run.epoch
            if self.restore_best:
                self._weights = {"theta": model.theta.copy(), "buffers": model.buffers.copy()}
            return
        self._waited += 1
        if not self.waiting:
            name = self._monitored.name(run)
            best = (
                f"better than the {self.best:.6g} of epoch {self.best_epoch}" if self.best is not None else "a number"
            )
            restored = f"; the weights are those of epoch {self.best_epoch}" if self._weights else ""
            run.stop(EARLY, f"no {name} of the last {self._waited} epochs is {best}{restored}")

    def on_train_end(self, model: Sequential, run: Run) -> None:
        if self._weights and run.history.stopped not in ("interrupted", "diverged"):
            model.theta[...] = self._weights["theta"]
            model.buffers[...] = self._weights["buffers"]

    def state(self) -> dict[str, Any]:
        return {**self._monitored.state(), "waited": self._waited, "best_epoch": self.best_epoch, **self._weights}

    def restore(self, state: dict[str, Any]) -> None:
        self._monitored.restore(state)
        self._waited = int(state["waited"])
        self.best_epoch = None if state["best_epoch"] is None else int(state["best_epoch"])
        self._weights = {name: state[name] for name in ("theta", "buffers") if self.restore_best and name in state}
