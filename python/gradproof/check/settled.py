"""Entries that float32 cannot tell from zero, or from twice as much: what float64 says of them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.measurement import Measurement
from gradproof.check.structured import Point, Scheme, measure_at
from gradproof.nn.model import Sequential

Array = NDArray[Any]

MARGIN: Final = 8.0  # how much more than the largest rounding seen in a tensor an entry of it may be off


def settle(point: Point, scheme: Scheme, measured: Measurement, blind: Array) -> tuple[Measurement, Array]:
    """Measure the tensors of blind entries on the float64 twin.

    How far rounding may move an entry is a bound, and sometimes a wide one. What rounding does can also be seen: the
    gradient that backpropagation gives in float64, where that is what is measured there, against the one it gives in
    float32.

    Parameters
    ----------
    point : Point
        A float32 model on its batch.
    scheme : {"difference", "tangent"}
    measured : Measurement
        Of the data part of the cost, every parameter.
    blind : int64 array
        Indices into theta; those in front of a Python layer are left alone.

    Returns
    -------
    measured : Measurement
        With the twin's numbers; its uncertainty is still that of float32.
    settled : float64 array
        For each parameter the distance from those numbers up to which an entry is right beyond doubt; negative where
        nothing is known.
    """
    model = point.model
    whole = [np.arange(0)]
    for entry in model.layout.slices:
        if entry.offset >= point.first and np.any((blind >= entry.offset) & (blind < entry.stop)):
            whole.append(np.arange(entry.offset, entry.stop))
    blind = np.concatenate(whole)
    twin = model.astype("float64")
    targets = point.targets if point.targets.dtype == np.int64 else point.targets.astype(np.float64)
    X = point.X.astype(np.float64)
    there = measure_at(Point(twin, X, targets), scheme, None, blind)
    exact = Sequential.loss_and_gradient(twin, X, targets, parts=("data",))[1]
    kept = model.gradient.copy()
    rounded = Sequential.loss_and_gradient(model, point.X, point.targets, parts=("data",))[1].astype(np.float64)
    model.gradient[...] = kept
    off = np.abs(rounded - exact)
    settled = np.full(model.layout.size, -1.0)
    for own in whole[1:]:
        settled[own] = MARGIN * float(np.max(off[own]))
    trusted = np.abs(exact[blind] - there.numeric) <= there.uncertainty
    settled[blind] = np.where(trusted, settled[blind] + there.uncertainty, -1.0)
    return measured.updated(blind, there.widened(measured[blind])), settled


def natural_loss(point: Point) -> float:
    """Of what size the loss is where nothing is learned: entries that are nothing beside it are rounding."""
    if point.model.loss_name != "mse":
        return 1.0
    values = np.concatenate([point.scores.ravel(), point.targets.ravel()]).astype(np.float64)
    largest = float(np.max(np.abs(values), initial=0.0))
    with np.errstate(over="ignore"):
        return largest * largest * float(np.mean(np.square(values / largest))) if largest else 0.0
