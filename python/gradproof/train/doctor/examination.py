"""How a training run takes down what the doctor needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradproof.train.doctor.case import doubtful
from gradproof.train.doctor.facts import facts, final

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential
    from gradproof.train.run import Run


class Examination:
    """Puts :func:`facts` into the history's settings before the first step, and :func:`final` after the last.

    Parameters
    ----------
    X, y : array_like
        The training set.
    validation : array_like, optional
        Inputs of the validation set.
    frozen : sequence of (start, stop)
        Parts of theta that are not trained.
    """

    def __init__(self, X: Any, y: Any, validation: Any = None, frozen: Any = ()) -> None:
        self._X, self._y, self._validation, self._frozen = X, y, validation, frozen

    def begin(self, model: Sequential, run: Run) -> None:
        """Before the first step, or before a run goes on: then those of its beginning stay."""
        if "facts" not in run.history.settings:
            run.history.settings["facts"] = facts(model, self._X, self._y, self._validation, self._frozen)

    def end(self, model: Sequential, run: Run) -> None:
        """After the last step."""
        run.history.settings["final"] = final(
            model,
            self._X,
            self._y,
            run.optimizer,
            run.state,
            run.learning_rate,
            work=float(len(self._y)) * len(run.history),
            frozen=self._frozen,
            thorough=doubtful(run.history),
        )
