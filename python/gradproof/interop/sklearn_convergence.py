"""When an estimator has converged, by scikit-learn's rules, and what it remembers of the way there."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from gradproof.interop.sklearn_network import Adaptive
from gradproof.nn.model import Sequential
from gradproof.train.callback import Callback
from gradproof.train.run import Run

_SMALLEST_RATE = 1e-6  # an adaptive rate is not divided any further


class Convergence(Callback):
    """Stop once more than `patience` epochs in a row were better than the best by less than `tol`.

    That is looked at in the loss, or with `early_stopping` in the score of the validation set, and then the best
    weights are put back at the end. With an adaptive rate it is divided by 5 first, until it is small.

    Attributes
    ----------
    losses, scores, validation_losses : list of float
        Per epoch, `scale` times those of the network.
    converged : bool
        Whether it was this that stopped the run.
    optimizer_state : OptimizerState
        For training that goes on.
    """

    def __init__(
        self,
        tol: float,
        patience: float,
        scale: float,
        score: Callable[[], float] | None,
        early_stopping: bool,
        adaptive: Adaptive | None,
        verbose: bool,
    ) -> None:
        self._tol, self._patience, self._scale, self._score = tol, patience, scale, score
        self._early_stopping, self._adaptive, self._verbose = early_stopping, adaptive, verbose
        self.losses: list[float] = []
        self.scores: list[float] = []
        self.validation_losses: list[float] = []
        self.best_loss, self.best_score = inf, -inf
        self.converged = False
        self.optimizer_state: Any = None
        self._waited = 0
        self._best: tuple[Any, Any] | None = None

    def on_train_begin(self, model: Sequential, run: Run) -> None:
        self.optimizer_state = run.state

    def on_epoch_end(self, model: Sequential, run: Run) -> None:
        self.losses.append(self._scale * run.logs["loss"])
        self._say(f"Iteration {run.epoch + 1}, loss = {self.losses[-1]:.8f}")
        if self._score is not None:
            self.validation_losses.append(self._scale * run.logs["val_loss"])
            self.scores.append(self._score())
            self._say(f"Validation score: {self.scores[-1]:f}")
        better = self._score_improves(model) if self._early_stopping else self._loss_improves()
        self._waited = 0 if better else self._waited + 1
        if self._waited > self._patience:
            self._no_progress(model, run)

    def _loss_improves(self) -> bool:
        better = self.losses[-1] <= self.best_loss - self._tol
        self.best_loss = min(self.best_loss, self.losses[-1])
        return better

    def _score_improves(self, model: Sequential) -> bool:
        score = self.scores[-1]
        better = not score < self.best_score + self._tol
        if score > self.best_score:
            self.best_score = score
            self._best = model.theta.copy(), model.buffers.copy()
        return better

    def _no_progress(self, model: Sequential, run: Run) -> None:
        what = "Validation score" if self._early_stopping else "Training loss"
        message = f"{what} did not improve more than tol={self._tol:f} for {self._patience} consecutive epochs."
        if self._adaptive is not None and run.learning_rate > _SMALLEST_RATE:
            self._adaptive.factor /= 5.0
            self._waited = 0
            self._say(f"{message} Dividing the learning rate by 5.")
            return
        self.converged = True
        run.stop("converged", message)
        self._say(f"{message} Stopping.")

    def on_train_end(self, model: Sequential, run: Run) -> None:
        if self._best is not None:
            model.theta[...], model.buffers[...] = self._best

    def _say(self, line: str) -> None:
        if self._verbose:
            print(line)
