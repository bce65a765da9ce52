"""The regularization part of a cost, measured apart: its derivative is a thousand times easier to get right, and large
enough to hide a mistake in the data part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof.check.measurement import Measurement
from gradproof.check.structured import PROPAGATED, ROUNDING, TEXTBOOK_STEP, Scheme, textbook_quotients
from gradproof.nn.model import Sequential

Array = NDArray[Any]


@np.errstate(all="ignore")  # steps beyond the precision's range measure nothing
def measure_penalty(model: Sequential, rows: int, scheme: Scheme, step: float | None) -> Measurement:
    """Measure the gradient of ``l2/(2M) sum W^2 + l1/(2M) sum |W|`` with respect to every parameter.

    ``difference`` and ``tangent`` take the limit of ``(w + h)^2 - w^2 = h (2w + h)`` and of ``|w + h| - |w|`` over h;
    with a step, the quotients themselves. ``central`` and ``forward`` subtract values of the whole penalty in the
    precision of the model, as the textbook does. None of it evaluates the loss, or counts as that.

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

    kink = regularized & (weights == 0) & (l1 > 0)
    if scheme in PROPAGATED:
        if step is None:
            middle = np.where(regularized, l2 * weights + l1 * np.sign(weights), 0.0)
            sides = np.where(kink, l1, 0.0)
            return Measurement(middle, rounding, rounding, kink, middle - sides, middle + sides, middle, 0)
        right, left = change(np.full(weights.shape, step)) / step, change(np.full(weights.shape, -step)) / -step
        return Measurement.smooth((left + right) / 2, rounding + np.abs(right - left), rounding, 0)

    h = TEXTBOOK_STEP[scheme, model.dtype.name] if step is None else step
    total = np.sum(l2 / 2 * np.square(weights[regularized])) + l1 * np.sum(np.abs(weights[regularized]))
    nodes, values = {}, {}
    for k in (-2, -1, 0, 1, 2):
        nodes[k] = (model.theta + model.dtype.type(k * h)).astype(np.float64)
        values[k] = (total + change(nodes[k] - model.theta)).astype(model.dtype).astype(np.float64)
    numeric, uncertainty, (bend, left, right, recorded) = textbook_quotients(
        scheme, h, nodes, values, 4 * precision * total
    )
    uncertainty = np.where(regularized, uncertainty + rounding, 0.0)
    return Measurement(numeric, uncertainty, rounding, bend, left, right, recorded, 0)
