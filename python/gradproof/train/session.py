"""The compiled training steps: a network of built-in layers with an optimizer, prepared once and run many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _core
from gradproof.kernels.optimizers import valid_rate
from gradproof.nn import memory
from gradproof.nn.losses import LOSSES
from gradproof.nn.plan import Plan
from gradproof.train.optimizers import Optimizer, OptimizerState, runs

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]
Runs = tuple[tuple[int, int], ...]

_CODES = {name: code for code, name in enumerate(LOSSES)}


class Session:
    """Steps of one model with one optimizer and its state, in the core.

    It holds on to the arrays of all three and to nothing else of value: a model makes a new one whenever it is asked
    to train with another optimizer or state.
    """

    def __init__(
        self, model: Sequential, plan: Plan, optimizer: Optimizer, state: OptimizerState, frozen: Runs
    ) -> None:
        self.model, self.optimizer, self.state, self.frozen = model, optimizer, state, frozen
        self._plan = plan
        theta, gradient, buffers = model._theta, model._gradient, model._buffers
        self._slots = optimizer._slots(state, ("theta", theta))
        self._named = tuple(zip(optimizer.slot_names, self._slots, strict=True))
        first, second, *_ = [*self._slots, None, None]
        decayed = model.layout.regularized_runs
        self._core = _core.training_session(
            plan.ops,
            plan.scalars,
            theta,
            gradient,
            buffers,
            first,
            second,
            _CODES[model.loss_name],
            model.seed,
            runs(theta.size, decayed, frozen),
            np.array(decayed, dtype=np.int64).reshape(-1, 2),
            *optimizer.rule,
            [theta, gradient, buffers, *self._slots],
        )

    def serves(self, optimizer: Any, state: Any, frozen: Runs) -> bool:
        """Whether it was made for these, and the state still has the arrays that it had then."""
        if self.optimizer is not optimizer or self.state is not state or self.frozen != frozen:
            return False
        slots = state.slots
        for name, slot in self._named:
            if slots.get(name) is not slot:
                return False
        return True

    def run(
        self,
        X: Array,
        targets: Array,
        weights: Array | None,
        rows: int,
        order: NDArray[np.int64],
        batch_size: int,
        learning_rate: float | None,
        before: Array | None,
    ) -> NDArray[np.float64]:
        """See :meth:`gradproof.train.step.Step.run`."""
        model, state = self.model, self.state
        rate = self.optimizer.learning_rate if learning_rate is None else valid_rate(learning_rate, "learning_rate")
        costs = np.empty((-(-len(order) // batch_size), 2))
        done = np.zeros(1, dtype=np.int64)
        largest, last = min(batch_size, len(order)), (len(order) - 1) % batch_size + 1
        workspace = self._workspace(largest, last)
        try:
            _core.training_run(
                self._core,
                X,
                targets,
                weights,
                order,
                batch_size,
                rate,
                model._l1,
                model._l2,
                rows,
                state.step,
                model.dropout_step,
                workspace,
                before,
                costs,
                done,
            )
        finally:  # a Ctrl-C ends it between two steps
            count = int(done[0])
            state.step += count
            model.dropout_step += count
            model._workspaces[0, last if count == len(costs) else largest] = workspace
        return costs[: count + 1]

    def step(self, x: Any, y: Any, learning_rate: float | None) -> float | None:
        """One step on a batch that is as the core wants it; None, and nothing done, for any other."""
        model, state = self.model, self.state
        if learning_rate is None:
            learning_rate = self.optimizer.learning_rate
        elif type(learning_rate) is not float:  # a float is checked by the core
            learning_rate = valid_rate(learning_rate, "learning_rate")
        loss = _core.training_step(
            self._core,
            x,
            y,
            learning_rate,
            model._l1,
            model._l2,
            state.step,
            model.dropout_step,
        )
        if loss is not None and loss - loss == 0:  # finite
            state.step += 1
            model.dropout_step += 1
        return loss

    def _workspace(self, largest: int, last: int) -> Array:
        """One for the largest batch, taken out of the model's store: that of an earlier run, if there is one."""
        size = _core.network_workspace_size(self._plan.ops, largest)
        for m in (largest, last):
            kept = self.model._workspaces.pop((0, m), None)
            if kept is not None and len(kept) >= size:
                return kept
        return memory.empty(size, self.model.dtype)


def session_of(model: Any, optimizer: Any, state: Any, frozen: Runs = ()) -> Session | None:
    """The model's session for this optimizer and state; None if its steps cannot be compiled: layers in Python, or an
    optimizer with an update of its own."""
    segments: tuple[Any, ...] = getattr(model, "_segments", ())
    if len(segments) != 1 or not isinstance(segments[0], Plan):
        return None
    if not isinstance(optimizer, Optimizer) or type(optimizer).update is not Optimizer.update:
        return None
    kept: Session | None = model._session
    if kept is None or not kept.serves(optimizer, state, frozen):
        kept = model._session = Session(model, segments[0], optimizer, state, frozen)
    return kept
