"""The operations of a network one by one, each as a function of what it sees and of its parameters.

One that treats the rows of a batch by themselves sees many batches stacked in one call; a Python layer's promise to do
so (``row_independent``) is put to the test first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof import _core
from gradproof.check.row_losses import row_losses
from gradproof.nn import python_layer
from gradproof.nn.layout import Views
from gradproof.nn.model import Sequential
from gradproof.nn.plan import Op, Plan
from gradproof.nn.structure import Node

Array = NDArray[Any]

MIXING: Final = (Op.BATCH_NORM, Op.DROPOUT)  # what a row becomes depends on the others, or on where it stands
KINKED: Final = (Op.RELU, Op.LEAKY_RELU, Op.MAXOUT)


@dataclass(frozen=True, eq=False)
class Stage:
    """An operation of the core (a row of a plan), or the node of a Python layer."""

    ops: Array
    scalars: Array
    node: Node | None = None

    @property
    def row_by_row(self) -> bool:
        """Whether it treats every row by itself, or says so."""
        if self.node is not None:
            return bool(getattr(self.node.layer, "row_independent", False))
        return not np.isin(self.ops[:, 0], MIXING).any()

    def parameters(self, model: Sequential) -> list[tuple[int, int]]:
        """Where its parameters lie in theta: (start, stop)."""
        if self.node is not None:
            slices = [model.layout[self.node.path(name)] for name in self.node.shapes]
            return [(entry.offset, entry.stop) for entry in slices]
        places = []
        for kind, n_in, n_out, weight, bias, _ in self.ops.tolist():
            places += [(weight, weight + (n_in * n_out if kind == Op.DENSE else n_out))] if weight >= 0 else []
            places += [(bias, bias + n_out)] if bias >= 0 else []
        return places


def stages_of(model: Sequential) -> list[Stage]:
    """The operations of a model."""
    stages = []
    for segment in model.segments:
        if isinstance(segment, Plan):
            rows = range(len(segment.ops))
            stages += [Stage(segment.ops[k : k + 1], segment.scalars[k : k + 1]) for k in rows]
        else:
            stages.append(Stage(np.empty((0, 6), np.int64), np.empty((0, 2)), segment))
    return stages


def activations(model: Sequential, X: Array) -> list[Array]:
    """What every stage, and the loss, see in the model's own precision."""
    theta, seen = model.theta.copy(), [X]
    for stage in stages_of(model):
        seen.append(_output(model, stage, theta, seen[-1]))
    return seen


class Probe:
    """The stages of a float64 model and the loss behind them, each to be run on its own.

    Parameters
    ----------
    model, targets
        In float64, validated.
    inputs : list of array
        What every stage, and the loss, see at the base point, in float64. They need not be what the stage before gives
        to the last digit: in a float32 model they are not.

    Attributes
    ----------
    stages : list of Stage
    base : list of array
        What comes out; of the loss a column, one value per row.
    """

    def __init__(self, model: Sequential, targets: Array, inputs: Sequence[Array]) -> None:
        self.model, self.targets, self.stages, self.m = model, targets, stages_of(model), len(targets)
        self.inputs = inputs
        self.theta = model.theta.copy()
        self._stacks: dict[int, bool] = {}
        self.base = [self.run(index, x) for index, x in enumerate(inputs)]

    def owner(self, entry: int) -> int:
        """The stage that a parameter belongs to."""
        for index, stage in enumerate(self.stages):
            if any(start <= entry < stop for start, stop in stage.parameters(self.model)):
                return index
        raise AssertionError(f"no layer owns parameter {entry}")

    def kinked(self, index: int) -> bool:
        """Whether a stage, or the loss, may have kinks."""
        if index == len(self.stages):
            return self.model.loss_name == "hinge"
        return self.stages[index].node is not None or int(self.stages[index].ops[0, 0]) in KINKED

    def run(self, index: int, X: Array) -> Array:
        """One stage; behind the last one the loss, row by row."""
        if index == len(self.stages):
            targets = np.concatenate([self.targets] * (len(X) // self.m)) if len(X) != self.m else self.targets
            return row_losses(self.model.loss_name, X, targets)[:, None]
        return _output(self.model, self.stages[index], self.theta, X)

    def moved(self, index: int, X: Array, entry: int, step: float) -> tuple[Array, float]:
        """A stage with one of its parameters moved, and how far it was."""
        before = self.model.theta[entry]
        self.theta[entry] = before + step
        made = float(self.theta[entry] - before)
        try:
            return self._tried(index, X), made
        finally:
            self.theta[entry] = before

    def with_theta(self, index: int, X: Array, theta: Array) -> Array:
        """A stage with other parameters."""
        kept, self.theta = self.theta, theta
        try:
            return self._tried(index, X)
        finally:
            self.theta = kept

    def behind(self, index: int, inputs: Array) -> Array:
        """A stage on many batches (batch, row, column): in one call if it may see them stacked, else one by one."""
        if len(inputs) > 1 and self._stackable(index):
            try:
                return self.run(index, inputs.reshape(-1, inputs.shape[2])).reshape(len(inputs), self.m, -1)
            except Exception:  # one of them is beyond the edge of its domain
                pass
        return np.stack([self._tried(index, x) for x in inputs])

    def _tried(self, index: int, X: Array) -> Array:
        """A stage beside the base point: NaN where it raises, which is beyond the edge of its domain."""
        try:
            return self.run(index, X)
        except Exception:
            return np.full_like(self.base[index], np.nan)

    def _stackable(self, index: int) -> bool:
        """Whether rows further down do not depend on those above: on other rows above the batch gives the same."""
        if index not in self._stacks:
            self._stacks[index] = self.row_by_row(index) and self._alone(index)
        return self._stacks[index]

    def _alone(self, index: int) -> bool:
        x = self.inputs[index]
        try:
            stacked = self.run(index, np.concatenate([x / 2, x]))[self.m :]
        except Exception:  # half of it is beyond the edge of its domain
            return False
        return bool(np.allclose(stacked, self.base[index], rtol=1e-9, atol=1e-12, equal_nan=True))

    def row_by_row(self, index: int) -> bool:
        """Whether a stage, or the loss, treats every row by itself, or says so."""
        return index == len(self.stages) or self.stages[index].row_by_row


def _output(model: Sequential, stage: Stage, theta: Array, X: Array) -> Array:
    if stage.node is not None:
        return python_layer.forward(stage.node, X, Views(model.layout, theta), True)[
            0
        ].copy()  # it may reuse its buffer
    Y = np.empty((len(X), int(stage.ops[-1, 2])), theta.dtype)
    workspace = np.empty(_core.network_workspace_size(stage.ops, len(X)), theta.dtype)
    _core.network_forward(
        stage.ops, stage.scalars, theta, model.buffers, X, Y, workspace, True, model.seed, model.dropout_step
    )
    return Y
