"""One-sided derivatives of a function with many outputs, of every output by itself, along lines through a point.

Where a line is smooth around the point, some quotients of one step size say so and give the derivative. Elsewhere
quotients at all powers of two do. Very fine steps see the piece on which the point lies and nothing else, but through
noise, which is divided by the step; wide ones are precise as long as they stay on that piece. So every side begins with
the finest step and goes on to wider ones for as long as these agree with what the finer ones allow (Lepski's method:
Goldenshluger and Nemirovski, "On spatially adaptive estimation of nonparametric regression", Math. Methods Statist. 6,
1997). A piece ends where they stay apart. The two sides of a point then agree, if the noise leaves any step that fits
into its piece; if none does, the point is at a kink as far as the arithmetic can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# (lines, steps) -> the outputs (step, line, row, column), and the steps (step, line) that were really made.
Moved: TypeAlias = Callable[[Array, Sequence[float]], tuple[Array, Array]]

WIDE: Final = 2.0**-11
NARROW: Final = 2.0**-20  # what happens between the wide steps and the point shows here
GOAL: Final = 2.0**-31  # error, beside the largest slope of a line, with which no other steps are tried
WIDEST: Final = 2
FINEST: Final = 56  # powers of 1/2
PERSISTENT: Final = 3  # levels at odds with all finer ones in a row: the end of a piece, not a chance of the noise
CROSSING: Final = 3  # levels before that may have crossed the end already, without being at odds with the finer ones
ESTABLISHED: Final = 5  # levels that have to agree before that
ONE_SIDED: Final = 4.0  # what extrapolation makes of noise on one side, against the centre
STRADDLED: Final = 3.0  # a kink among the steps may make of a value 7/3 of the difference of its extrapolations
UNITS: Final = 4.0  # units of round-off that any value is uncertain by
SIZE: Final = 2**22  # numbers in memory at a time


@dataclass(frozen=True)
class Slopes:
    """Derivatives to both sides, and how far they may be off; (line, row, column) each."""

    left: Array
    right: Array
    left_error: Array
    right_error: Array

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> Slopes:
        """Of no outputs known yet."""
        return cls(np.zeros(shape), np.zeros(shape), np.full(shape, np.inf), np.full(shape, np.inf))

    def scaled(self, factors: Array) -> Slopes:
        """Times a factor for every line."""
        by = factors[:, None, None]
        return Slopes(by * self.left, by * self.right, by * self.left_error, by * self.right_error)

    @property
    def apart(self) -> Array:
        """Where the two sides differ beyond their errors."""
        return np.asarray(np.abs(self.right - self.left) > self.left_error + self.right_error)

    @property
    def error(self) -> Array:
        """The larger of the two sides' errors."""
        return np.maximum(self.left_error, self.right_error)

    def put(self, lines: Array, where: Array, sides: Sequence[Array]) -> None:
        """Fill in left, right and their errors, flat, of some lines where (line, row, column) says so."""
        for mine, values in zip((self.left, self.right, self.left_error, self.right_error), sides, strict=True):
            part = mine[lines]
            part[where] = values
            mine[lines] = part


@np.errstate(all="ignore")  # steps may lead out of the function's domain
def measure_slopes(moved: Moved, lines: int, base: Array, noise: Array) -> tuple[Slopes, int]:
    """Measure along a number of lines.

    Parameters
    ----------
    moved : callable
        The function at points on the lines.
    lines : int
        Their number.
    base : array, (row, column)
        The function at the point that all have in common.
    noise : array, (row, column)
        A bound on the noise of its values near that point.

    Returns
    -------
    slopes : Slopes
    evaluations : int
        Points on lines that were looked at.
    """
    slopes = Slopes.nothing((lines, *base.shape))
    evaluations, open_ = 0, []
    together = max(1, SIZE // (8 * max(1, base.size)))
    for at in range(0, lines, together):
        chosen = np.arange(at, min(at + together, lines))
        sides, smooth = _smooth(moved, chosen, base, noise)
        slopes.put(chosen, smooth, [side[smooth] for side in sides])
        evaluations += 8 * chosen.size
        open_ += [(line, ~part) for line, part in zip(chosen, smooth, strict=True) if not part.all()]
    together = max(1, SIZE // (2 * FINEST * max(1, base.size)))
    for at in range(0, len(open_), together):
        chosen = np.array([line for line, _ in open_[at : at + together]])
        left = np.stack([part for _, part in open_[at : at + together]])
        slopes.put(chosen, left, _ladder(moved, chosen, left, base, noise))
        evaluations += 2 * (FINEST - WIDEST + 1) * chosen.size
    return slopes, evaluations


def _smooth(moved: Moved, lines: Array, base: Array, noise: Array) -> tuple[Sequence[Array], Array]:
    """Central derivatives, and which of them can be relied on."""
    sizes = (4 * WIDE, 2 * WIDE, WIDE, NARROW)
    values, made = moved(lines, [sign * size for size in sizes for sign in (1, -1)])
    change, steps = values - base, made[..., None, None]
    ahead, behind = change[0::2], change[1::2]
    central = (ahead - behind) / (steps[0::2] - steps[1::2])
    bent = (ahead + behind) / (steps[0::2] * -steps[1::2])
    level = np.maximum(noise, _floor(values, base))
    value, error = _extrapolated(central[:3], 4.0)
    error = error + level / WIDE
    second, second_error = _extrapolated(bent[:3], 4.0)
    # Between the wide steps and the point: the same slope, and no other bend than that of the parabola.
    third = np.abs(central[0] - central[2]) * (NARROW / WIDE) ** 2
    here = np.abs(central[3] - value) <= error + third + level / NARROW
    dip = np.abs(bent[3] - second) <= second_error + third + 4 * level / NARROW**2
    largest = np.max(np.abs(value), axis=(1, 2), keepdims=True)
    return (value, value, error, error), here & dip & (error <= GOAL * largest)


def _ladder(moved: Moved, lines: Array, where: Array, base: Array, noise: Array) -> Sequence[Array]:
    """Both sides, from the finest step to the widest that belongs to the same piece; flat, of the outputs `where`."""
    powers = range(FINEST, WIDEST - 1, -1)
    values, made = moved(lines, [sign * 0.5**k for k in powers for sign in (1, -1)])
    line, row, column = np.nonzero(where)
    here, steps, chosen = base[row, column], made[:, line], values[:, where]
    change = chosen - here
    sides = np.stack([change[1::2] / steps[1::2], change[0::2] / steps[0::2]], axis=1)
    central = (change[0::2] - change[1::2]) / (steps[0::2] - steps[1::2])
    size = np.maximum(np.abs(chosen[0::2]), np.abs(chosen[1::2]))
    best = _Pieces((3, line.size))  # left, right and centre
    for k, power in enumerate(powers[:-2]):
        level = np.maximum(noise[row, column], _floor(size[k : k + 3], here)) * 2.0**power
        one, one_error = _extrapolated(sides[k : k + 3][::-1], 2.0, STRADDLED)
        both, both_error = _extrapolated(central[k : k + 3][::-1], 4.0, STRADDLED)
        best.take(np.vstack([one, both]), np.vstack([one_error + ONE_SIDED * level, both_error + level]))
    (low, high, centre), (low_error, high_error, centre_error) = best.value, best.error
    # Where the sides agree the better one is that of both.
    alike = np.abs(low - high) <= low_error + high_error
    value, error = np.where(low_error <= high_error, low, high), np.minimum(low_error, high_error)
    middle = (centre_error < error) & (np.abs(centre - value) <= error + centre_error)
    value, error = np.where(middle, centre, value), np.where(middle, centre_error, error)
    return [
        np.where(alike, own, other)
        for own, other in zip((value, value, error, error), (low, high, low_error, high_error), strict=True)
    ]


class _Pieces:
    """The best values so far, and the intervals that all steps of a piece agree on."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.value, self.error = np.zeros(shape), np.full(shape, np.inf)
        self._low, self._high = np.full(shape, -np.inf), np.full(shape, np.inf)
        self._past = [(self.value, self.error)] * (PERSISTENT + CROSSING)
        self._support = np.zeros(shape, np.int64)
        self._against = np.zeros(shape, np.int64)

    def take(self, value: Array, error: Array) -> None:
        """What the next wider step gives; NaN where it gives nothing, as where it is lost in rounding."""
        known = np.isfinite(value + error)
        value, error = np.where(known, value, 0.0), np.where(known, error, np.inf)
        inside = (value - error <= self._high) & (value + error >= self._low)
        self._against = np.where((self._against < PERSISTENT) & inside, 0, self._against + 1)
        # Finer steps than the piece are so few that they could as well have crossed the kink: a new beginning.
        anew = (self._against == PERSISTENT) & (self._support < ESTABLISHED)
        self._low, self._high = np.where(anew, -np.inf, self._low), np.where(anew, np.inf, self._high)
        self.error = np.where(anew, np.inf, self.error)
        self._against[anew], self._support[anew] = 0, 0
        inside = (inside | anew) & (self._against == 0)
        self._support += inside & known
        self._low = np.where(inside, np.maximum(self._low, value - error), self._low)
        self._high = np.where(inside, np.minimum(self._high, value + error), self._high)
        better = inside & (error < self.error)
        self.value, self.error = np.where(better, value, self.value), np.where(better, error, self.error)
        # The last steps before the end of the piece may have led beyond it already.
        ended = self._against == PERSISTENT
        self.value, self.error = (
            np.where(ended, self._past[0][0], self.value),
            np.where(ended, self._past[0][1], self.error),
        )
        self._past = [*self._past[1:], (self.value, self.error)]


def _floor(values: Array, base: Array) -> Array:
    largest = np.maximum(np.max(np.abs(values), axis=0), np.abs(base))
    return np.asarray(UNITS * float(np.finfo(np.float64).eps) / 2 * largest)


def _extrapolated(values: Array, ratio: float, cautious: float = 0.0) -> tuple[Array, Array]:
    """Two Richardson steps on values at 4h, 2h and h whose errors shrink by `ratio`, then by its square.

    The difference of the last two bounds the error, but for places where it happens to change its sign; with `cautious`
    so much of the difference of those before.
    """
    coarse, fine = ((ratio * values[k + 1] - values[k]) / (ratio - 1) for k in (0, 1))
    value = (ratio**2 * fine - coarse) / (ratio**2 - 1)
    return value, np.maximum(np.abs(value - fine), cautious * np.abs(fine - coarse))
