"""How far rounding moves a backpropagated gradient, and what an operation gives, seen between points close together.

Values at equally spaced points differ by a smooth function, which high differences remove, and by
rounding, which they leave (ECNoise: Moré and Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33, 2011).
Every row of points lies on one side of the base point, so that kinks at the point itself do not show; a kink that one
row of points meets by chance is outvoted by the others.
"""

from __future__ import annotations

from math import comb
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.stages import Probe
from gradproof.nn.model import Sequential

Array = NDArray[Any]

DIRECTIONS: Final = 3  # each to both sides
# Distance of the points, relative to the parameters: some hundred units of round-off, so that every rounding changes.
SPACING: Final = {"float32": 2.0**-16, "float64": 2.0**-44}
# Some units of round-off, so that most roundings change, and where that is seen: so far from the point that what kinks
# there are beside it are far away, too.
CLOSE: Final = {"float32": 2.0**-21, "float64": 2.0**-50}
ASIDE: Final = {"float32": 2.0**-14, "float64": 2.0**-32}
LINES: Final = 5
NEAR: Final = 2.0**-48
DEVIATIONS: Final = 4.0  # a bound on measured noise, in standard deviations
SINGLE: Final = 16.0  # times the noise further away than near by: it is that of float32
POINTS: Final = 9
ORDERS: Final = (5, 6, 7)
# A median of six absolute values of a normal distribution is 0.67 of its standard deviation.
MEDIAN: Final = 0.67
MARGIN: Final = 16.0  # a bound on rounding, in standard deviations
UNITS: Final = 16.0  # and at least so many units of the largest entry of all


def rounding_of(model: Sequential, X: Array, targets: Array, precision: str) -> Array:
    """A bound on the rounding of every entry of the model's own gradient of the data loss.

    Parameters
    ----------
    model, X, targets
        Validated, in the precision of the model.
    precision : {"float32", "float64"}
        Of the least precise part of the arithmetic.
    """

    def differentiate(theta: Array) -> Array:
        subject.theta = theta
        gradient = np.zeros_like(theta)
        scores, tape = subject._forward(X, True)
        subject._backward(subject._data_loss(scores, targets)[1], tape, gradient)
        return gradient.astype(np.float64)

    subject = model.copy()
    base = model.theta.astype(np.float64)
    gradient = differentiate(model.theta)
    sizes = np.concatenate([_size(base[e.offset : e.stop]) for e in model.layout.slices if e.size])
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(DIRECTIONS):
        move = CLOSE[precision] * sizes * rng.choice((-1.0, 1.0), base.size) * rng.uniform(0.5, 1.0, base.size)
        aside = ASIDE[precision] * sizes * rng.uniform(-1.0, 1.0, base.size)
        line = [aside + k * move for k in (1, 2, 3, 4)]
        for side in (1, -1):
            with np.errstate(all="ignore"):
                try:
                    points = [differentiate((base + side * there).astype(model.dtype)) for there in line]
                except Exception:  # a layer's own: the line leads beyond the edge of its domain
                    continue
                seen.append(np.abs(np.diff(points, 3, axis=0)[0]) / np.sqrt(comb(6, 3)))
    own = np.median(seen, axis=0) / MEDIAN if seen else np.zeros_like(gradient)
    unit = float(np.finfo(model.dtype).eps) / 2
    for entry in model.layout.slices:
        if entry.size:
            part, size = own[entry.offset : entry.stop], np.abs(gradient[entry.offset : entry.stop])
            some = size > 0
            relative = float(np.median(part[some] / size[some])) if some.any() else 0.0
            np.maximum(part, np.maximum(relative * size, float(np.median(part))), out=part)
    return np.asarray(MARGIN * own + UNITS * unit * float(np.max(np.abs(gradient), initial=0.0)))


def noise_of(probe: Probe, index: int, x: Array) -> Array:
    """A bound on the noise of every output of an operation of the network that sees `x`.

    What it sees is moved relative to itself, so that no number changes its sign, by some units of round-off. Layers
    that compute in float32 inside do not show there, but further away, in most of their outputs.
    """
    return DEVIATIONS * _deviation(probe, index, x)


def _deviation(probe: Probe, index: int, x: Array) -> Array:
    near = np.max(_levels(probe, index, x, NEAR), axis=(0, 1))
    # A kink beside the point is met on one side of every line.
    wide = np.max(np.min(_levels(probe, index, x, SPACING["float32"]), axis=1), axis=0)
    size = np.abs(probe.behind(index, x[None])[0])
    seen = (wide > 0) & (size > 0)
    steady = np.where(near > 0, near, wide)  # some values do not change at all over so small a distance
    if not seen.any():
        return steady
    unit = float(np.finfo(np.float64).eps) / 2
    if float(np.median(wide[seen] / np.maximum(near, unit * size)[seen])) <= SINGLE:
        return steady
    return np.maximum(np.maximum(near, wide), float(np.median(wide[seen] / size[seen])) * size)


def _levels(probe: Probe, index: int, x: Array, spacing: float) -> Array:
    """The noise on some lines, on one side and on the other: (line, side, row, column)."""
    rng = np.random.default_rng(0)
    levels = np.zeros((LINES, 2, *probe.base[index].shape))
    for line in range(LINES):
        move = spacing * x * rng.choice((-1.0, 1.0), x.shape) * rng.uniform(0.5, 1.0, x.shape)
        for side, sign in enumerate((1, -1)):
            with np.errstate(all="ignore"):
                values = probe.behind(index, np.stack([x + sign * k * move for k in range(1, POINTS + 1)]))
                orders = [np.diff(values, order, axis=0) for order in ORDERS]
                squares = [np.mean(np.square(d), axis=0) / comb(2 * k, k) for d, k in zip(orders, ORDERS, strict=True)]
                levels[line, side] = np.nan_to_num(np.sqrt(np.mean(squares, axis=0)), posinf=np.inf)
    return levels


def _size(theta: Array) -> Array:
    """Of every parameter: its own, at least the typical one of the tensor, 1 where all are 0."""
    typical = float(np.sqrt(np.mean(np.square(theta))))
    return np.maximum(np.abs(theta), typical or 1.0)
