"""Derivatives with respect to parameters in front of, or in, a Python layer, by ordinary evaluations.

The core cannot look into a layer written in Python, so each parameter costs whole evaluations of everything from its
own layer on; the layers before are computed once. Layers that promise ``row_independent`` see many perturbations
stacked in one call; the promise is put to the test first. Everything is done in float64, on the float64 twin of a
float32 model.

Per sample and parameter the loss is measured at 0, +-h, +-2h, +-4h. Richardson extrapolation of the central quotients
gives the derivative with an error O(h^6), and of the quotients of either side the one-sided derivatives with O(h^3);
the difference to the next lower order, and rounding over h, bound the error. Where they do not agree, because a kink
lies within the step, the step shrinks: 1e-3, 3e-5, 1e-6, 3e-8.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof import _core
from gradproof.check.measurement import Measurement
from gradproof.check.row_losses import row_losses
from gradproof.nn import python_layer
from gradproof.nn.layers import BatchNorm, Dropout
from gradproof.nn.layout import Views
from gradproof.nn.model import Sequential
from gradproof.nn.plan import Plan

Array = NDArray[Any]

STEPS: Final = (2.0**-10, 2.0**-15, 2.0**-20, 2.0**-25)
NODES: Final = (1, 2, 4, -1, -2, -4)
BLOCK: Final = 64  # perturbations stacked in one call; what is in memory at a time
NOISE: Final = 8.0  # round-off of one sample's loss, in units of eps * (1 + |loss|); observed below 2
# The rounding of a backpropagated gradient is what it answers to changes of the parameters by a unit of round-off,
# times a margin, and at least some units of the largest entry of all.
ANSWERS: Final = 3
MARGIN: Final = 16.0
UNITS: Final = 16.0


def measure(model: Sequential, X: Array, targets: Array, entries: Array) -> Measurement:
    """Measure single parameters of a model by ordinary evaluations; arguments as in structured.measure, validated."""
    gradient, moved = _answers(model, X, targets)
    twin = model.astype("float64")
    if targets.dtype != np.int64:
        targets = targets.astype(np.float64)
    probe = _Probe(twin, X.astype(np.float64), targets)
    unit, largest = float(np.finfo(model.dtype).eps) / 2, float(np.max(np.abs(gradient)))
    parts, places = [], []
    for entry in model.layout.slices:
        chosen = np.flatnonzero((entries >= entry.offset) & (entries < entry.stop))
        if chosen.size:
            own = slice(entry.offset, entry.stop)
            rounding = MARGIN * float(np.max(moved[own])) + UNITS * unit * largest
            parts.append(_tensor(probe, entries[chosen], rounding))
            places.append(chosen)
    return Measurement.joined(parts)[np.argsort(np.concatenate(places), kind="stable")]


def _answers(model: Sequential, X: Array, targets: Array) -> tuple[Array, Array]:
    """The model's gradient, and how far changes of theta by one unit of round-off move each of its entries."""

    def differentiate(subject: Sequential) -> Array:
        gradient = np.zeros_like(subject.theta)
        scores, tape = subject._forward(X, True)
        subject._backward(subject._data_loss(scores, targets)[1], tape, gradient)
        return gradient.astype(np.float64)

    gradient = differentiate(model)
    moved = np.zeros_like(gradient)
    rng = np.random.default_rng(0)
    shaken = model.copy()
    for _ in range(ANSWERS):
        up = rng.integers(0, 2, model.theta.size).astype(bool)
        shaken.theta = np.nextafter(model.theta, np.where(up, np.inf, -np.inf).astype(model.dtype))
        with np.errstate(all="ignore"):
            answer = np.abs(differentiate(shaken) - gradient)
        moved = np.fmax(moved, answer)
    return gradient, moved


def _tensor(probe: _Probe, entries: Array, rounding: float) -> Measurement:
    """One tensor: every entry with the widest step, the entries that this leaves too uncertain with narrower ones.

    rounding: how far rounding may have moved the gradient under test.
    """
    count = len(entries)
    best = _Ladder(count)
    pending = np.arange(count)
    evaluations = 0
    for step in STEPS:
        for start in range(0, len(pending), BLOCK):
            block = pending[start : start + BLOCK]
            best.take(block, *_derivatives(probe.losses(entries[block], step), probe.base, step))
        evaluations += len(NODES) * len(pending)
        # Good enough: far below what a mistake would be, or below what rounding leaves of the gradient under test.
        pending = np.flatnonzero(best.error > np.maximum(1e-9 * np.abs(best.numeric), rounding))
        if not pending.size:
            break
    kink = np.abs(best.right - best.left) > 2 * (best.right_error + best.left_error)
    error = np.where(kink, best.right_error + best.left_error, best.error)
    return Measurement(
        best.numeric,
        error + rounding,
        np.full(count, rounding),
        kink,
        best.left,
        best.right,
        best.numeric,
        evaluations,
    )


class _Ladder:
    """The best value found so far for each entry, of the central and of the one-sided derivatives."""

    def __init__(self, count: int) -> None:
        self.numeric, self.left, self.right = (np.zeros(count) for _ in range(3))
        self.error, self.left_error, self.right_error = (np.full(count, np.inf) for _ in range(3))

    def take(self, where: Array, *found: tuple[Array, Array]) -> None:
        for name, (value, error) in zip(("numeric", "left", "right"), found, strict=True):
            bound = "error" if name == "numeric" else f"{name}_error"
            better = error < getattr(self, bound)[where]
            getattr(self, name)[where[better]] = value[better]
            getattr(self, bound)[where[better]] = error[better]


def _derivatives(values: Array, base: Array, h: float) -> tuple[tuple[Array, Array], ...]:
    """Central, left and right derivatives with their errors, from losses (node, entry, sample) and base (sample)."""
    change = {node: values[k] - base for k, node in enumerate(NODES)}
    noise = NOISE * np.finfo(np.float64).eps / 2 * np.mean(1 + np.abs(base)) / h

    def mean(rows: Array) -> Array:
        return np.asarray(rows.mean(axis=1))

    central = [mean(change[k] - change[-k]) / (2 * k * h) for k in (4, 2, 1)]
    sides = [[mean(change[sign * k]) / (sign * k * h) for k in (4, 2, 1)] for sign in (-1, 1)]
    return (
        _extrapolated(central, 4.0, noise),
        _extrapolated(sides[0], 2.0, 4 * noise),
        _extrapolated(sides[1], 2.0, 4 * noise),
    )


def _extrapolated(values: list[Array], ratio: float, noise: float) -> tuple[Array, Array]:
    """Two Richardson steps on quotients at 4h, 2h and h whose errors shrink by `ratio`, then by its square."""
    coarse, fine = ((ratio * b - a) / (ratio - 1) for a, b in zip(values[:-1], values[1:], strict=True))
    value = (ratio**2 * fine - coarse) / (ratio**2 - 1)
    return value, np.abs(value - fine) + noise


class _Probe:
    """Losses per sample of a float64 model with single parameters moved."""

    def __init__(self, model: Sequential, X: Array, targets: Array) -> None:
        self.model = model
        self.targets = targets
        scores, self.tape = model._forward(X, True)
        self.m = len(X)
        self.base = row_losses(model.loss_name, scores, targets)
        self.theta = model.theta.copy()
        self.stackable: dict[int, bool] = {}

    def losses(self, entries: Array, h: float) -> Array:
        """(node, entry, sample), all entries of one tensor."""
        return np.stack([self._block(entries, node * h) for node in NODES])

    def _block(self, entries: Array, step: float) -> Array:
        first = self._segment_of(int(entries[0]))
        outputs = []
        for entry in entries:
            self.theta[entry] += step
            outputs.append(self._segment(first, self.tape[first][0]))
            self.theta[entry] = self.model.theta[entry]
        for index in range(first + 1, len(self.model.segments)):
            outputs = self._behind(index, outputs)
        targets = np.concatenate([self.targets] * len(entries))
        return row_losses(self.model.loss_name, np.concatenate(outputs), targets).reshape(len(entries), self.m)

    def _segment_of(self, entry: int) -> int:
        tensor = self.model.layout.name_of(entry)[0]
        for index, segment in enumerate(self.model.segments):
            nodes = segment.nodes if isinstance(segment, Plan) else (segment,)
            if any(tensor == node.path(name) for node in nodes for name in node.shapes):
                return index
        raise AssertionError(f"no layer owns {tensor}")

    def _behind(self, index: int, inputs: list[Array]) -> list[Array]:
        """A segment on many perturbed batches: in one call if it may see them stacked, else one after the other."""
        if self.stackable.get(index, self._promises(index)):
            stack = self._segment(index, np.concatenate(inputs))
            outputs = list(stack.reshape(len(inputs), self.m, -1))
            if index not in self.stackable:  # the last one, alone: rows further down must not depend on those above
                alone = self._segment(index, np.ascontiguousarray(inputs[-1]))
                self.stackable[index] = bool(np.allclose(alone, outputs[-1], rtol=1e-9, atol=1e-12, equal_nan=True))
            if self.stackable[index]:
                return outputs
        return [self._segment(index, np.ascontiguousarray(x)) for x in inputs]

    def _promises(self, index: int) -> bool:
        segment = self.model.segments[index]
        if isinstance(segment, Plan):
            return not any(isinstance(node.layer, (BatchNorm, Dropout)) for node in segment.nodes)
        return bool(getattr(segment.layer, "row_independent", False))

    def _segment(self, index: int, X: Array) -> Array:
        model, segment = self.model, self.model.segments[index]
        if not isinstance(segment, Plan):
            return python_layer.forward(segment, X, Views(model.layout, self.theta), True)[0]
        Y = np.empty((len(X), segment.n_out))
        workspace = np.empty(_core.network_workspace_size(segment.ops, len(X)))
        _core.network_forward(
            segment.ops,
            segment.scalars,
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
