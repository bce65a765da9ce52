"""How a training run takes down what the doctor needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradproof.train.doctor.case import doubtful
from gradproof.train.doctor.facts import facts, final, sampled
from gradproof.train.optimizers import OptimizerState

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential
    from gradproof.train.history import History
    from gradproof.train.run import Run

_SMALL = 2**22  # bytes of model, optimizer and rows that a history may hold on to


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
        """After the last step. Whatever is small is set aside, to be examined when somebody asks for it."""
        total, frozen = len(self._y), self._frozen
        optimizer, state, rate = run.optimizer, run.state, run.learning_rate
        X, y = sampled(model, self._X, self._y)
        small = X.nbytes + model.theta.nbytes * (3 + len(state.slots)) <= _SMALL
        if small:
            model = model.copy()
            state = OptimizerState(state.step, {name: slot.copy() for name, slot in state.slots.items()})

        def examine(history: History) -> None:
            work, thorough = float(total) * len(history), doubtful(history)
            history.settings["final"] = final(model, X, y, optimizer, state, rate, work, frozen, thorough, total)

        if small:
            run.history.complete_later(examine)
        else:
            examine(run.history)
