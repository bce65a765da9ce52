"""An entry that needs a closer look, and a ladder of steps to both sides of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from gradproof.check.evaluate import Problem
from gradproof.check.ladder import Estimate, Level, central, jump, left, length_scale, level, right
from gradproof.check.noise import Noise
from gradproof.check.tensor_report import Status

EVALUATIONS: Final = 120  # per ladder, at most
NEAR: Final = 0.25  # steps go so far, in units of the parameter or its scale: what the loss does far away is its own
FAR: Final = 4.0  # ... and so far where it shows too little nearer


class Suspect(NamedTuple):
    """An entry that the first stages could not settle."""

    tensor: int
    position: int  # in C order
    analytic: float
    rounding: float  # bound on the rounding of the analytic value
    scale: float  # typical size of the parameter
    x: float
    step: float  # where to start
    goal: float  # uncertainty that is good enough
    rms: float  # of the tensor's analytic gradient
    largest: float  # entry that would have as much effect on the loss as the most important one has
    single: bool
    cast: bool
    seen: Mapping[float, tuple[tuple[float, float], tuple[float, float]]]  # values to both sides, by step


class Outcome(NamedTuple):
    """A measured entry."""

    numeric: float
    uncertainty: float
    status: Status
    length: float = math.nan  # over which the slope would change by as much as it is, as far as that shows


@dataclass
class Slopes:
    """What the ladder says at a given noise."""

    levels: list[Level]
    P: Estimate | None
    M: Estimate | None
    C: Estimate | None
    J: Estimate | None

    @property
    def gap(self) -> float:
        """Difference of the one-sided derivatives, if it is beyond doubt; else 0."""
        P, M, J = self.P, self.M, self.J
        if P is None or M is None or J is None or abs(J.value) <= J.error:
            return 0.0
        gap = abs(P.value - M.value)
        return gap if gap > 1.5 * (P.error + M.error) else 0.0

    @property
    def length(self) -> float:
        """Length over which the slope would change by as much as it is, from its change at the finest steps; or NaN."""
        known, slope = [lv for lv in self.levels if lv.C == lv.C], 0.0 if self.C is None else self.C.value
        for near, far in zip(known, known[1:], strict=False) if slope else ():
            change = abs(far.C - near.C)
            if change > 2 * (near.bar_central + far.bar_central):
                return length_scale(slope, change, (far.plus, far.minus), (near.plus, near.minus))
        return math.nan

    @property
    def best(self) -> Estimate | None:
        known = [estimate for estimate in (self.C, self.P, self.M) if estimate is not None]
        return min(known, key=lambda estimate: estimate.error) if known else None


class Ladder:
    """Values on one line through the point, by step."""

    def __init__(self, problem: Problem, suspect: Suspect, f0: float, noise: Noise, cast: bool) -> None:
        self.problem, self.suspect, self.f0, self.noise = problem, suspect, f0, noise
        self.sigma = noise.sigma
        self.unsteady = 0.0  # standard deviation of the slope between points next to each other
        self.cast = cast
        self.base = float(np.float32(suspect.x)) if cast else suspect.x
        narrow = cast or problem.single[suspect.tensor]
        self.finest = max(4 * math.ulp(suspect.x) * (2.0**29 if narrow else 1.0), suspect.scale * 2.0**-64)
        self.coarsest = NEAR * max(suspect.scale, abs(suspect.x))
        self.values = dict(suspect.seen) if cast == suspect.cast else {}
        self.evaluations = 0

    def value(self, t: float) -> tuple[float, float]:
        """The loss at a displacement that its arithmetic can hold."""
        self.evaluations += 1
        suspect = self.suspect
        value_at = self.problem.value_at_single if self.cast else self.problem.value_at
        return value_at(suspect.tensor, suspect.position, t)

    def add(self, *steps: float) -> bool:
        """Measure at more steps; whether any was new."""
        new = False
        for wanted in steps:
            h = min(max(wanted, self.finest), self.coarsest)
            near = any(abs(h - known) < 0.2 * known for known in self.values)
            if near or self.evaluations + 2 > EVALUATIONS:
                continue
            up, down = self.value(h), self.value(-h)
            if up[1] > 0 > down[1]:
                self.values[h] = up, down
                new = True
        return new

    def reach_out(self) -> None:
        """Allow steps beyond what is near, because the loss shows too little there."""
        self.coarsest = FAR * max(self.suspect.scale, abs(self.suspect.x))

    @property
    def steps(self) -> list[float]:
        return sorted(self.values)

    def slopes(self) -> Slopes:
        """Estimates from all values, with jumps at the point left out."""
        argument = self.noise.eps * abs(self.suspect.x)
        levels = [level(self.f0, *self.values[h], self.sigma, self.noise.eps, argument) for h in self.steps]
        if _jumps([(lv.plus, lv.P, lv.bar_right) for lv in levels]):
            levels = [lv._replace(P=math.nan, C=math.nan) for lv in levels]
        if _jumps([(lv.minus, lv.M, lv.bar_left) for lv in levels]):
            levels = [lv._replace(M=math.nan, C=math.nan) for lv in levels]
        edge = any(lv.C != lv.C for lv in levels)
        return Slopes(levels, right(levels, edge), left(levels, edge), central(levels), jump(levels))


def _jumps(points: Sequence[tuple[float, float, float]]) -> bool:
    """Whether the slope grows like 1/h: the function jumps at the point."""
    visible = [(t, value) for t, value, bar in points if abs(value) > 2 * bar]
    finest = [t for t, value, _ in points if value == value][:1]
    if len(visible) < 3 or visible[0][0] not in finest:
        return False
    heights = [t * value for t, value in visible[:3]]
    return min(heights) * max(heights) > 0 and max(map(abs, heights)) <= 1.1 * min(map(abs, heights))
