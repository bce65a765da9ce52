"""What float32 cannot tell from zero or from twice as much, or condemns narrowly: what float64 says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.measurement import COARSE, Measurement
from gradproof.check.selection import Comparisons, close_calls, entries_of
from gradproof.check.structured import Point, Scheme, measure_at
from gradproof.check.tensor_report import Status
from gradproof.nn.model import Sequential

Array = NDArray[Any]

MARGIN: Final = 8.0  # how much more than the largest rounding seen in a tensor an entry of it may be off
# Other implementations round otherwise, and where scores are large by far more. But what is off by so much more than
# the rounding seen, and by half of the largest entry of its tensor, is wrong, whatever it comes from.
EXCESS: Final = (64.0, 0.5)


@dataclass(frozen=True)
class Settled:
    """What the twin says of a gradient.

    Attributes
    ----------
    expected, radius : float64 array
        How far from the twin's numbers a gradient is expected, and how far from there it is right beyond doubt; the
        latter is negative where nothing is known.
    """

    expected: Array
    radius: Array

    def confirms(self, difference: Array) -> Array:
        """Whether a gradient that differs so much from the twin's numbers is right."""
        return np.asarray(np.abs(difference - self.expected) <= self.radius)


def by_twin(
    point: Point, scheme: Scheme, measured: Measurement, comparisons: Comparisons
) -> tuple[Measurement, Settled | None]:
    """Measure again, on the float64 twin of a float32 model, what is open and what is wrong by a narrow margin.

    A close accusation has to hold in float64 as well: what float32 measures, at a base point that is rounded, errs too.
    Returns the measurement with the twin's numbers, and what these settle of the open entries.
    """
    close, blind = close_calls(comparisons), entries_of(comparisons, Status.UNRESOLVED)
    close = close[close >= point.first]  # in front of a Python layer everything is measured in float64 anyway
    if close.size:
        there = measure_at(Point(*_twin(point)), scheme, None, close)
        measured = measured.updated(close, there.widened(measured[close]))
    if not blind.size:
        return measured, None
    try:
        return _settle(point, scheme, measured, blind)
    except Exception:  # a Python layer's own: it was not made for float64
        if not point.first:
            raise
        return measured, None


def _settle(point: Point, scheme: Scheme, measured: Measurement, blind: Array) -> tuple[Measurement, Settled]:
    """Measure the tensors of blind entries on the float64 twin.

    How far rounding may move an entry is a bound, and sometimes a wide one. What rounding does can also be seen: the
    gradient that backpropagation gives in float64, where that is what is measured there, against the one it gives in
    float32. Where that is so much that it could hide a mistake as well, only the latter itself is right.

    Parameters
    ----------
    point : Point
        A float32 model on its batch.
    scheme : {"difference", "tangent"}
    measured : Measurement
        Of the data part of the cost, every parameter.
    blind : int64 array
        Indices into theta.

    Returns
    -------
    measured : Measurement
        With the twin's numbers; its uncertainty is that of float32, but not above `EXCESS`.
    settled : Settled
    """
    model = point.model
    whole = [np.arange(0)]
    for entry in model.layout.slices:
        if np.any((blind >= entry.offset) & (blind < entry.stop)):
            whole.append(np.arange(entry.offset, entry.stop))
    blind = np.concatenate(whole)
    twin, X, targets = _twin(point)
    there = measure_at(Point(twin, X, targets), scheme, None, blind)
    exact = Sequential.loss_and_gradient(twin, X, targets, parts=("data",))[1]
    kept = model.gradient.copy()
    rounded = Sequential.loss_and_gradient(model, point.X, point.targets, parts=("data",))[1].astype(np.float64)
    model.gradient[...] = kept
    expected, radius = rounded - exact, np.full(model.layout.size, -1.0)
    limit = np.full(model.layout.size, np.inf)
    for own in whole[1:]:
        seen, most = float(np.max(np.abs(expected[own]))), float(np.max(np.abs(exact[own])))
        allowed = MARGIN * seen
        limit[own] = max(EXCESS[0] * seen, EXCESS[1] * most)
        if allowed <= COARSE[0] * most:
            expected[own], radius[own] = 0.0, allowed
        else:
            radius[own] = COARSE[0] * np.abs(rounded[own])
    apart = np.abs(exact[blind] - there.numeric)
    trusted = apart <= np.minimum(there.uncertainty, np.maximum(radius[blind], COARSE[0] * np.abs(exact[blind])))
    radius[blind] = np.where(trusted, radius[blind] + apart, -1.0)
    there = there.widened(measured[blind])
    bounded = np.minimum(there.uncertainty, limit[blind] + apart)
    uncertainty = np.where(trusted, bounded, there.uncertainty)
    there = replace(there, uncertainty=uncertainty, rounding=uncertainty)  # of float32
    return measured.updated(blind, there), Settled(expected, radius)


def _twin(point: Point) -> tuple[Sequential, Array, Array]:
    """The float64 twin of a model, with its batch."""
    targets = point.targets if point.targets.dtype == np.int64 else point.targets.astype(np.float64)
    return point.model.astype("float64"), point.X.astype(np.float64), targets


def natural_slope(point: Point) -> float:
    """Of what size its slope is where nothing is learned: entries that are nothing beside it are rounding."""
    if point.model.loss_name != "mse":
        return 1.0
    values = np.concatenate([point.scores.ravel(), point.targets.ravel()]).astype(np.float64)
    largest = float(np.max(np.abs(values), initial=0.0))
    return largest * float(np.mean(np.square(values / largest))) ** 0.5 if largest else 0.0
