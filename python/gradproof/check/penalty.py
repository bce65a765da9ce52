"""The regularization part of a cost, measured apart: its derivative is a thousand times easier to get right, and large
enough to hide a mistake in the data part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof.check.measurement import Measurement
from gradproof.check.structured import ROUNDING, TEXTBOOK_STEP, TINY_STEP, Scheme
from gradproof.nn.model import Sequential

Array = NDArray[Any]


def measure_penalty(model: Sequential, rows: int, scheme: Scheme, step: float | None) -> Measurement:
    """Measure the gradient of ``l2/(2M) sum W^2 + l1/(2M) sum |W|`` with respect to every parameter.

    Single terms are taken apart, so the difference of the two values needs no forward pass:
    ``(w + h)^2 - w^2 = h (2w + h)`` and ``|w + h| - |w|`` without cancellation; ``central`` and ``forward`` subtract
    values of the whole penalty in the precision of the model, as the textbook does.

    Parameters
    ----------
    model : Sequential
        The network.
    rows : int
        M, the number of rows that the penalty is divided by.
    scheme, step
        As in :func:`gradproof.check.structured.measure`.
    """
    precision = np.finfo(model.dtype).eps / 2
    weights = np.zeros(model.layout.size)
    regularized = np.zeros(model.layout.size, bool)
    for start, stop in model.layout.regularized_runs:
        weights[start:stop] = model.theta[start:stop]
        regularized[start:stop] = True
    l2, l1 = model.l2 / rows, model.l1 / (2 * rows)
    rounding = ROUNDING * precision * np.where(regularized, l2 * np.abs(weights) + l1, 0.0)

    def change(h: Array) -> Array:
        moved = np.where(np.abs(weights) > np.abs(h), np.sign(weights) * h, np.abs(weights + h) - np.abs(weights))
        return np.asarray(np.where(regularized, l2 / 2 * h * (2 * weights + h) + l1 * moved, 0.0))

    if scheme in ("difference", "tangent"):
        h = TINY_STEP[model.dtype.name] if step is None else step
        right, left = change(np.full(weights.shape, h)) / h, change(np.full(weights.shape, -h)) / -h
        kink = regularized & (weights == 0) & (l1 > 0)
        middle = np.where(kink, 0.0, (left + right) / 2)
        return Measurement(middle, rounding, rounding, kink, left, right, middle, 2 * len(weights))

    h = TEXTBOOK_STEP[scheme, model.dtype.name] if step is None else step
    total = np.sum(l2 / 2 * np.square(weights[regularized])) + l1 * np.sum(np.abs(weights[regularized]))
    theta = model.theta

    def quotient(right: float, left: float) -> Array:
        nodes = [(theta + model.dtype.type(k * h)).astype(np.float64) for k in (right, left)]
        values = [(total + change(node - theta)).astype(model.dtype).astype(np.float64) for node in nodes]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((values[0] - values[1]) / (nodes[0] - nodes[1]))

    near, far = (quotient(1, -1), quotient(2, -2)) if scheme == "central" else (quotient(1, 0), quotient(2, 0))
    noise = 4 * precision * total / h
    uncertainty = np.where(regularized, 2 * np.abs(near - far) + noise + rounding, 0.0)
    return Measurement.smooth(np.where(regularized, near, 0.0), uncertainty, rounding, 4 * len(weights))
