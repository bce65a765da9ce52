"""Central and one-sided derivatives of every sample's loss: kinks at the point told from kinks beside it.

A batch has a kink where one of its samples has one. Two samples whose kinks cancel in the mean are at a kink all the
same, and any subgradient of each is right: bounds are taken sample by sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.measurement import Measurement

Array = NDArray[Any]

NODES: Final = (1, 2, 4, -1, -2, -4)
GOAL: Final = 1e-9  # relative error that is good enough: far below what a mistake would be
ONE_SIDED: Final = 4.0  # what extrapolation makes of noise on one side, against the centre
# Steps that tell a kink at the point from one beside it, by which branch they see; the widest first.
TINY: Final = (2.0**-12, 2.0**-16, 2.0**-20, 2.0**-24, 2.0**-28, 2.0**-32, 2.0**-36, 2.0**-40)
CURVED: Final = 64.0  # third derivatives are not larger than this, in units of the first
VISIBLE: Final = 8.0  # noise below which a jump between the branches is seen, as its part


class Sides:
    """The best values found so far.

    Parameters
    ----------
    count : int
        Number of entries.
    noise : array, (m,)
        Bound on the noise of every sample's loss.
    rounding : array, (count,)
        How far rounding may have moved the gradient under test.
    """

    def __init__(self, count: int, noise: Array, rounding: Array) -> None:
        m = len(noise)
        self.noise, self.rounding = noise, rounding
        self.mean, self.mean_error = np.zeros(count), np.full(count, np.inf)
        self.value = {side: np.zeros((count, m)) for side in ("centre", "left", "right")}
        self.error = {side: np.full((count, m), np.inf) for side in self.value}
        self.low: Array | None = None  # of the samples, where they have been told apart
        self.high: Array | None = None

    def take(self, where: Array, change: Array, h: float) -> None:
        """Losses at ``NODES`` times h, less those at the point: (node, entry, sample), of the entries `where`."""
        at = dict(zip(NODES, change, strict=True))
        noise = self.noise / h
        with np.errstate(all="ignore"):
            central = [(at[k] - at[-k]) / (2 * k * h) for k in (4, 2, 1)]
            mean, error = _extrapolated([values.mean(axis=1) for values in central], 4.0, h, float(np.mean(noise)))
            better = error < self.mean_error[where]
            self.mean[where[better]], self.mean_error[where[better]] = mean[better], error[better]
            self._keep("centre", where, *_extrapolated(central, 4.0, h, noise))
            for side, sign in (("left", -1), ("right", 1)):
                quotients = [at[sign * k] / (sign * k * h) for k in (4, 2, 1)]
                self._keep(side, where, *_extrapolated(quotients, 2.0, h, ONE_SIDED * noise))

    def _keep(self, side: str, where: Array, value: Array, error: Array) -> None:
        better = error < self.error[side][where]
        self.value[side][where] = np.where(better, value, self.value[side][where])
        self.error[side][where] = np.where(better, error, self.error[side][where])

    @property
    def jump(self) -> Array:
        """Per entry and sample how far the two sides are apart; 0 where their errors explain it."""
        apart = np.abs(self.value["right"] - self.value["left"])
        return np.where(apart > 2 * (self.error["right"] + self.error["left"]), apart, 0.0)

    @property
    def unsettled(self) -> Array:
        """Entries that are neither far more certain than a mistake is large nor than rounding leaves the gradient."""
        goal = np.maximum(GOAL * np.abs(self.mean), self.rounding)
        return np.flatnonzero((self.mean_error > goal) | (self.jump.mean(axis=1) > goal))

    def tell_apart(self, losses: Callable[[Array, Sequence[float]], Array]) -> int:
        """Decide sample by sample what the steps have left open. Returns the number of evaluations.

        losses(entries, steps): the losses at single steps, less those at the point.
        """
        where = self.unsettled
        jump = self.jump[where]
        left, right = self.value["left"][where], self.value["right"][where]
        left_error, right_error = self.error["left"][where], self.error["right"][where]
        one, one_error = (
            np.where(left_error < right_error, left, right),
            np.minimum(left_error, right_error),
        )
        centre = self.error["centre"][where] <= one_error
        value = np.where(centre, self.value["centre"][where], one)
        error = np.where(centre, self.error["centre"][where], one_error)
        behind, ahead = np.full_like(jump, np.nan), np.full_like(jump, np.nan)  # quotients of the smallest telling step
        telling = jump > 0
        t_seen = np.full_like(jump, np.nan)
        chosen = np.flatnonzero(telling.any(axis=1))
        if chosen.size:
            steps = [sign * t for t in TINY for sign in (-1, 1)]
            change = losses(where[chosen], steps)
            for k, t in enumerate(TINY):
                seen = telling[chosen] & (VISIBLE * self.noise / t < jump[chosen])
                behind[chosen] = np.where(seen, change[2 * k] / -t, behind[chosen])
                ahead[chosen] = np.where(seen, change[2 * k + 1] / t, ahead[chosen])
                t_seen[chosen] = np.where(seen, t, t_seen[chosen])
        with np.errstate(invalid="ignore"):
            near = 2 * self.noise / t_seen
            # No kink at the point: it lies on one of the two pieces, or on one between.
            alike = np.abs(ahead - behind) <= 2 * near
            on_right, on_left = (alike & (np.abs(behind - side) < jump / 4) for side in (right, left))
        between = alike & ~on_right & ~on_left
        tie = telling & ~alike
        value = np.where(on_right, right, np.where(on_left, left, np.where(between, (behind + ahead) / 2, value)))
        error = np.where(on_right, right_error, np.where(on_left, left_error, np.where(between, near, error)))
        error = np.where(tie, left_error + right_error, error)
        self._spread()
        assert self.low is not None and self.high is not None
        self.low[where] = np.where(tie, np.minimum(left, right), value)
        self.high[where] = np.where(tie, np.maximum(left, right), value)
        self.mean[where] = (self.low[where] + self.high[where]).mean(axis=1) / 2
        self.mean_error[where] = error.mean(axis=1)
        return 2 * len(TINY) * chosen.size

    def confirm(self, losses: Callable[[Array, Sequence[float]], Array]) -> int:
        """Look at very small steps too: kinks to both sides, nearer than the others, may cancel in these. Returns the
        number of evaluations."""
        self._spread()
        assert self.low is not None and self.high is not None
        where = np.arange(len(self.mean))
        change = losses(where, [sign * t for t in TINY for sign in (-1, 1)])
        low, high = self.low.mean(axis=1), self.high.mean(axis=1)
        error = self.mean_error.copy()
        for k, t in enumerate(TINY):
            slopes = (change[2 * k + 1] - change[2 * k]) / (2 * t)
            slope, size = slopes.mean(axis=1), np.abs(slopes).mean(axis=1)
            near = 2 * float(np.mean(self.noise)) / t + CURVED * t * t * size
            apart = np.maximum(low - slope, slope - high) > near + error
            self.low[apart] = self.high[apart] = slopes[apart]
            self.mean[apart], self.mean_error[apart] = slope[apart], near[apart]
        return 2 * len(TINY) * where.size

    def widen(self, low: Array, high: Array, error: Array) -> None:
        """Other branches that the maxima may take: bounds (entry, sample); where they are beyond the known ones."""
        self._spread()
        assert self.low is not None and self.high is not None
        beyond = np.maximum(self.low - low, 0) + np.maximum(high - self.high, 0)
        more = beyond.mean(axis=1) > self.mean_error + error + self.rounding
        self.low[more] = np.minimum(self.low, low)[more]
        self.high[more] = np.maximum(self.high, high)[more]
        self.mean_error[more] += error[more]

    def _spread(self) -> None:
        if self.low is None:
            self.low, self.high = self.value["centre"].copy(), self.value["centre"].copy()

    def measured(self, evaluations: int) -> Measurement:
        """What is known of the mean over the samples."""
        error = self.mean_error + self.rounding
        if self.low is None or self.high is None:
            return Measurement.smooth(self.mean, error, self.rounding, evaluations)
        low, high = self.low.mean(axis=1), self.high.mean(axis=1)
        rising = self.value["left"].mean(axis=1) <= self.value["right"].mean(axis=1)
        left, right = np.where(rising, low, high), np.where(rising, high, low)
        kink = high - low > 2 * self.mean_error
        left, right = (np.where(kink, side, self.mean) for side in (left, right))
        return Measurement(self.mean, error, self.rounding, kink, left, right, self.mean, evaluations)


def _extrapolated(values: list[Array], ratio: float, h: float, noise: Array | float) -> tuple[Array, Array]:
    """Two Richardson steps on quotients at 4h, 2h and h whose errors shrink by `ratio`, then by its square.

    The difference of the two bounds the error, but for places where it happens to change its sign.
    """
    coarse, fine = ((ratio * b - a) / (ratio - 1) for a, b in zip(values[:-1], values[1:], strict=True))
    value = (ratio**2 * fine - coarse) / (ratio**2 - 1)
    return value, np.abs(value - fine) + (4 * h) ** 2 * np.abs(fine - values[-1]) + noise
