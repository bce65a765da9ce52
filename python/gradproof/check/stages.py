"""The steps of a network run one after the other on batches of which single parameters are moved.

Steps behind the moved parameter see many perturbed batches stacked in one call where they treat the rows one by one; a
Python layer's promise to do so (``row_independent``) is put to the test first.
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


@dataclass(frozen=True, eq=False)
class Stage:
    """Operations of the core (rows of a plan), or the node of a Python layer."""

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


def stages_of(model: Sequential, *, single: bool = False) -> list[Stage]:
    """The segments of a model, or with `single` every operation by itself."""
    stages = []
    for segment in model.segments:
        if not isinstance(segment, Plan):
            stages.append(Stage(np.empty((0, 6), np.int64), np.empty((0, 2)), segment))
            continue
        cuts = range(len(segment.ops)) if single else (0,)
        width = 1 if single else len(segment.ops)
        stages += [Stage(segment.ops[k : k + width], segment.scalars[k : k + width]) for k in cuts]
    return stages


class Probe:
    """Losses per sample of a float64 model with parameters moved.

    Parameters
    ----------
    model, X, targets
        In float64, validated.
    stages : sequence of Stage
        See :func:`stages_of`.
    inputs : sequence of array, optional
        What every stage, and the loss behind them, is to see at the base point, by constants added to what arrives;
        by default what arrives.

    Attributes
    ----------
    inputs : list of array
        What every stage and the loss see at the base point.
    base : array, (m,)
        The losses there.
    """

    def __init__(
        self,
        model: Sequential,
        X: Array,
        targets: Array,
        stages: Sequence[Stage],
        inputs: Sequence[Array] | None = None,
    ) -> None:
        self.model, self.targets, self.stages, self.m = model, targets, stages, len(X)
        self.theta = model.theta.copy()
        self._stackable: dict[int, bool] = {}
        self._offsets: list[Array | None] = [None] * (len(stages) + 1)
        self.inputs = [X if inputs is None else inputs[0]]
        for index in range(len(stages)):
            arriving = self.run(index, self.inputs[index])
            wanted = arriving if inputs is None else inputs[index + 1]
            self._offsets[index + 1] = None if wanted is arriving else wanted - arriving
            self.inputs.append(wanted)
        self.base = row_losses(model.loss_name, self.inputs[-1], targets)

    def owner(self, entry: int) -> int:
        """The stage that a parameter belongs to."""
        for index, stage in enumerate(self.stages):
            if any(start <= entry < stop for start, stop in stage.parameters(self.model)):
                return index
        raise AssertionError(f"no layer owns parameter {entry}")

    def losses(self, entries: Array, steps: Sequence[float]) -> Array:
        """(step, entry, sample), one entry moved at a time; all of one tensor."""
        first = self.owner(int(entries[0]))
        return np.stack([self._block(first, entries, step) for step in steps])

    def along(self, own: slice, move: Array) -> Array:
        """The losses with the parameters `own`, of one tensor, moved together."""
        first = self.owner(own.start)
        self.theta[own] = self.model.theta[own] + move
        outputs = [self.run(first, self.inputs[first])]
        self.theta[own] = self.model.theta[own]
        return self._finish(first, outputs)[0]

    def run(self, index: int, X: Array) -> Array:
        """One stage on its own."""
        stage, model = self.stages[index], self.model
        if stage.node is not None:
            return python_layer.forward(stage.node, X, Views(model.layout, self.theta), True)[0]
        Y = np.empty((len(X), int(stage.ops[-1, 2])))
        workspace = np.empty(_core.network_workspace_size(stage.ops, len(X)))
        _core.network_forward(
            stage.ops,
            stage.scalars,
            self.theta,
            model.buffers,
            X,
            Y,
            workspace,
            True,
            model.seed,
            model.dropout_step,
        )
        return Y

    def _block(self, first: int, entries: Array, step: float) -> Array:
        outputs = []
        for entry in entries:
            self.theta[entry] += step
            outputs.append(self.run(first, self.inputs[first]))
            self.theta[entry] = self.model.theta[entry]
        return self._finish(first, outputs)

    def _finish(self, first: int, outputs: list[Array]) -> Array:
        """From what leaves stage `first` on, for several batches, to (batch, sample)."""
        for index in range(first + 1, len(self.stages)):
            outputs = self._behind(index, self._shifted(index, outputs))
        scores = np.concatenate(self._shifted(len(self.stages), outputs))
        targets = np.concatenate([self.targets] * len(outputs))
        return row_losses(self.model.loss_name, scores, targets).reshape(len(outputs), self.m)

    def _shifted(self, index: int, outputs: list[Array]) -> list[Array]:
        offset = self._offsets[index]
        return outputs if offset is None else [output + offset for output in outputs]

    def _behind(self, index: int, inputs: list[Array]) -> list[Array]:
        """A stage on many perturbed batches: in one call if it may see them stacked, else one after the other."""
        if len(inputs) > 1 and self._stackable.get(index, self.stages[index].row_by_row):
            stack = self.run(index, np.concatenate(inputs))
            outputs = list(stack.reshape(len(inputs), self.m, -1))
            if index not in self._stackable:  # the last one, alone: rows further down must not depend on those above
                alone = self.run(index, np.ascontiguousarray(inputs[-1]))
                self._stackable[index] = bool(np.allclose(alone, outputs[-1], rtol=1e-9, atol=1e-12, equal_nan=True))
            if self._stackable[index]:
                return outputs
        return [self.run(index, np.ascontiguousarray(x)) for x in inputs]
