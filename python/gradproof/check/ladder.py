"""The derivative along one line from a ladder of steps: differences, extrapolation, and the choice among them.

The largest step whose value agrees with the values of all smaller steps to within their noise is taken (Lepski's
method, intersection of confidence intervals), on a tableau of Richardson extrapolations. This one rule copes with
noise, near kinks, jumps, oscillation and domain edges. It is applied to the central difference and to both one-sided
ones: where these disagree however small the step, there is a kink.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

KAPPA: Final = 4.0  # standard deviations of noise that a bar stands for; the choice among many favours the lucky
ORDERS: Final = 5  # columns of the tableau
TOP: Final = 2.0  # times the last change, where there is no larger step to compare it with


class Level(NamedTuple):
    """Differences at one step; NaN where the function has no value."""

    plus: float  # the step up that was really taken
    minus: float  # the step down, as a positive number
    P: float  # slopes to either side
    M: float
    C: float  # slope at the point of the parabola through the three values
    bar_right: float
    bar_left: float
    bar_central: float


class Estimate(NamedTuple):
    """An extrapolated value with its error: the bias by its last change, and the noise of what it is made of."""

    value: float
    error: float
    bar: float
    level: int  # position of the finest level it is made of

    @property
    def noisy(self) -> bool:
        """Whether noise is the larger part of the error."""
        return self.bar > 0.5 * self.error


def level(
    f0: float, up: tuple[float, float], down: tuple[float, float], sigma: float, eps: float, argument: float
) -> Level:
    """Differences from ``(value, displacement)`` on either side.

    Parameters
    ----------
    f0 : float
        The value at the point.
    up, down : (value, displacement)
        Displacements positive and negative.
    sigma : float
        Standard deviation of the noise of values.
    eps : float
        Unit roundoff of the arithmetic.
    argument : float
        Rounding error of the argument, ``eps |x|``: it matters where all other noise vanishes, at stationary points.
    """
    (fp, tp), (fm, tm) = up, (down[0], -down[1])
    sig_p = max(sigma, eps * abs(fp), 2 * argument * abs(fp - f0) / tp)
    sig_m = max(sigma, eps * abs(fm), 2 * argument * abs(fm - f0) / tm)
    P, M = (fp - f0) / tp, (f0 - fm) / tm
    C = (P * tm + M * tp) / (tp + tm)
    bar_right, bar_left, bar_central = sigma + sig_p, sigma + sig_m, sig_p + sig_m
    if fp != fp:
        bar_right = bar_central = math.nan
    if fm != fm:
        bar_left = bar_central = math.nan
    return Level(tp, tm, P, M, C, KAPPA * bar_right / tp, KAPPA * bar_left / tm, KAPPA * bar_central / (tp + tm))


def length_scale(slope: float, change: float, far: tuple[float, float], near: tuple[float, float]) -> float:
    """Length over which a slope changes by as much as it is, from its `change` from `near` steps to `far` ones.

    The root of the first derivative over the third; squares of steps alone might not be numbers any more.
    """
    unit = max(far)
    square = (far[0] / unit) * (far[1] / unit) - (near[0] / unit) * (near[1] / unit)
    return unit * math.sqrt(max(abs(slope) / change * square / 6, 0.0))


def central(levels: Sequence[Level]) -> Estimate | None:
    """Estimate from central differences, whose error starts with ``t₊ t₋``."""
    unit = max((lv.plus for lv in levels), default=1.0)  # squares of steps alone might not be numbers any more
    squares = [((lv.plus / unit) * (lv.minus / unit), lv.C, lv.bar_central) for lv in levels if lv.C == lv.C]
    return select([square for square in squares if square[0] > 0], False)


def right(levels: Sequence[Level], edge: bool = False) -> Estimate | None:
    """Estimate from differences to the right; `edge` if there is no other side."""
    return select([(lv.plus, lv.P, lv.bar_right) for lv in levels if lv.P == lv.P], edge)


def left(levels: Sequence[Level], edge: bool = False) -> Estimate | None:
    """Estimate from differences to the left."""
    return select([(lv.minus, lv.M, lv.bar_left) for lv in levels if lv.M == lv.M], edge)


def jump(levels: Sequence[Level]) -> Estimate | None:
    """Estimate of the right derivative minus the left one."""
    points = [(0.5 * (lv.plus + lv.minus), lv.P - lv.M, lv.bar_right + lv.bar_left) for lv in levels]
    return select([point for point in points if point[1] == point[1]], False, cautious=False)


def select(points: Sequence[tuple[float, float, float]], edge: bool, cautious: bool = True) -> Estimate | None:
    """Extrapolate to ``u = 0`` and choose.

    Parameters
    ----------
    points : sequence of (u, value, bar)
        By ascending `u`, in powers of which the error expands; `bar` bounds the noise of the value.
    edge : bool
        At the edge of a domain functions need not be analytic (square roots): trust extrapolation less.
    cautious : bool
        Whether the truncation error is bounded by more than the last change. Not where the estimate is itself a bound.

    Returns
    -------
    Estimate or None
        The smallest error among those that all finer points confirm; the finest only confirms. None if there is none.
    """
    n = len(points)
    best: Estimate | None = None
    u = [point[0] for point in points]
    columns = [[point[1] for point in points]]
    weights = [[{k: 1.0} for k in range(n)]]
    for m in range(1, min(n, ORDERS + 2)):
        values, combined = columns[-1], weights[-1]
        column, row = [], []
        for k in range(n - m):
            r = u[k] / (u[k + m] - u[k]) if u[k + m] > u[k] else 0.0
            column.append(values[k] + r * (values[k] - values[k + 1]))
            mixed = {j: (1 + r) * w for j, w in combined[k].items()}
            for j, w in combined[k + 1].items():
                mixed[j] = mixed.get(j, 0.0) - r * w
            row.append(mixed)
        columns.append(column)
        weights.append(row)
    changes = _changes(u, columns)
    for m in range(min(n, ORDERS + 1)):
        for k in range(1, n - m):
            value, bias = columns[m][k], _bias(u, changes, m, k, cautious)
            if edge and m:
                bias = 2 * max(bias, abs(value - columns[m - 1][k + 1]))
            bar = sum(abs(w) * points[j][2] for j, w in weights[m][k].items())
            error = bias + bar
            if not error < math.inf or (best is not None and error >= best.error):
                continue
            if _confirmed(points[:k], value, points[k], error):
                best = Estimate(value, error, bar, k)
    return best


def _changes(u: Sequence[float], columns: Sequence[Sequence[float]]) -> list[list[float]]:
    """How far each value of the tableau is from the one it improves on; of the first column, from what two predict."""
    raw = columns[0]
    first = [
        1.5 * abs(raw[k + 1] - raw[k]) / (u[k + 1] / u[k] - 1) if u[k + 1] > u[k] else math.inf
        for k in range(len(raw) - 1)
    ]
    pairs = zip(columns, columns[1:], strict=False)
    return [first, *([abs(x - y) for x, y in zip(better, worse, strict=False)] for worse, better in pairs)]


def _bias(u: Sequence[float], changes: Sequence[Sequence[float]], m: int, k: int, cautious: bool) -> float:
    """Bound on the truncation error of ``T[m][k]``.

    The last change is one; but it can be small by chance, so the changes next to it in the tableau have a say: the
    ones of lower and higher order, and that of the same order at the next step, as much smaller as theory has it.
    """
    if k >= len(changes[m]):
        return math.inf
    bias = changes[m][k]
    if not cautious:
        return bias
    if m > 1:  # less so of the first order, which may well be all there is
        bias = max(bias, changes[m - 1][k] / (4 if m > 2 else 16))
    if m + 1 < len(changes) and k < len(changes[m + 1]):
        bias = max(bias, changes[m + 1][k] / (1 if m else 4))
    if k + 1 < len(changes[m]):
        bias = max(bias, changes[m][k + 1] * (u[k] / u[k + 1]) ** max(m, 1) / 2)
    else:
        bias *= TOP
    return bias


def _confirmed(
    finer: Sequence[tuple[float, float, float]], value: float, at: tuple[float, float, float], error: float
) -> bool:
    """Whether all finer values lie on the line from the estimate through the value it starts from."""
    slope = (at[1] - value) / at[0]
    return all(abs(v - (value + slope * u)) <= error + 1.3 * bar for u, v, bar in finer)
