"""What else than a wrong gradient could explain a disagreement: noise that the first look did not show."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import Final

import numpy as np

from gradproof.check.lines import HALVINGS, MACRO, POINTS, SHORT, difference_table, increments
from gradproof.check.noise import EPS64
from gradproof.check.suspects import FAR, Ladder, Slopes

ROUNDINGS: Final = 64.0  # of a number of size 1, of the parameter or of the loss: no jump that is meant is so small
FAR_LESS: Final = 0.25  # of the noise
SMOOTH: Final = 0.8  # von Neumann's ratio that 18 points of noise do not have
OCTAVES: Final = 8  # of the way that jumps of rounding are looked for on
COARSEST: Final = 2.0**-4  # spacing of jumps by rounding, relative to the parameter


def local_noise(ladder: Ladder, slopes: Slopes) -> float:
    """Noise on this very line, each side of the point alone: a kink or a jump at it would look like noise.

    So would oscillation, but not at smaller steps: noise does not care how small they are.
    """
    suspect = ladder.suspect
    size = abs(suspect.x) or suspect.scale
    spacing = max(ladder.finest, math.ldexp(size, -19))
    found = []
    for side in (1.0, -1.0):
        values = [ladder.value(side * k * spacing)[0] for k in range(1, 8)]
        if all(value == value for value in values):
            table = difference_table(values)
            if table.state == "ok":
                found.append(table.level)
            else:
                found.append(0.0)
    noise, best = min(found, default=0.0), slopes.best
    near = [side for h in ladder.steps if h < spacing for side in ladder.values[h] if side[0] == side[0]]
    bent = [lv for lv in slopes.levels if lv.plus < spacing and abs(lv.P - lv.M) > lv.bar_right + lv.bar_left]
    if best is not None and len(bent) >= 3:  # and it bends the line visibly
        off = median(abs(value - ladder.f0 - best.value * t) for value, t in near)
        if off < 0.05 * noise:
            return 0.0
    return noise


def waves(ladder: Ladder) -> bool:
    """Whether what looks like noise is an oscillation over few places of float32, of which wide steps see none.

    Noise goes up and down from one point to the next; what is smooth, beside a parabola, does not between points close
    enough (von Neumann's ratio, 2 for noise). To one side alone: a kink at the point is no oscillation.
    """
    single = ladder.noise.single or ladder.suspect.single
    if not single or ladder.noise.staircase or ladder.sigma <= ROUNDINGS * ladder.noise.eps * abs(ladder.f0):
        return False  # in double, steps are fine enough to follow what waves
    for spacing in (part * ladder.finest for part in (0.5, 1, 2, 4)):
        values, t = np.array([ladder.value(k * spacing) for k in range(1, 2 * POINTS + 1)]).T
        off = values - np.polynomial.Polynomial.fit(t, values, 2)(t)
        variance = float(np.mean(off**2))
        if variance > (FAR_LESS * ladder.sigma) ** 2 and np.sum(np.diff(off) ** 2) < SMOOTH * off.size * variance:
            return True
    return False


def quantum(ladder: Ladder, _: Slopes) -> float:
    """Noise of a function that moves in steps: flat where it should have moved, then by multiples of one height."""
    a, f0 = ladder.suspect.analytic, ladder.f0
    values = [side for h in ladder.steps for side in ladder.values[h] if side[0] == side[0]]
    flat = [abs(t) for value, t in values if value == f0 and abs(a * t) > 8 * ladder.sigma]
    heights = sorted({abs(value - f0) for value, t in values if value != f0})
    if not flat or not heights:
        return 0.0
    step = heights[0]
    ratios = [height / step for height in heights[1:] if height < 40 * step]
    if max(flat) * abs(a) > 2 * step or not all(abs(r - round(r)) < 0.02 for r in ratios):
        return 0.0
    return 0.6 * step


def scatter(_: Ladder, slopes: Slopes) -> float:
    """Noise that shows as slopes that change like 1/h, with both signs, to both sides."""
    found = []
    for values in ([(lv.plus, lv.P) for lv in slopes.levels], [(lv.minus, lv.M) for lv in slopes.levels]):
        known = [(t, value) for t, value in values if value == value]
        changes = [(v - w) * t for (t, v), (_, w) in zip(known, known[1:], strict=False)][:6]
        sizes = [abs(change) for change in changes]
        both = any(c > 0 for c in changes) and any(c < 0 for c in changes)
        if len(sizes) < 4 or not both or max(sizes) > 30 * median(sizes):
            return 0.0
        found.append(median(sizes))
    return min(found)


def inner_rounding(ladder: Ladder, slopes: Slopes) -> float:
    """Noise of a loss that is much smaller than what it is computed from: it jumps by a few roundings of that.

    What a sure class leaves of an entropy, say, is as small as one likes, and comes from a sum that is 1. Between the
    jumps the slope is exact, and wrong. Jumps of that size are taken for rounding.
    """
    best, suspect = slopes.best, ladder.suspect
    if best is None or ladder.noise.single or suspect.single:
        return 0.0
    apart = abs(suspect.analytic - best.value)
    if apart <= best.error:
        return 0.0
    most = ROUNDINGS * EPS64 * max(1.0, abs(suspect.x), abs(ladder.f0))
    reach = min(4 * most / apart, FAR * max(suspect.scale, abs(suspect.x)))
    if any(lv.plus >= reach and abs(lv.C - best.value) < 0.25 * apart for lv in slopes.levels):
        return 0.0  # a step so wide that it goes over many such jumps
    return 0.5 * max(_jump(ladder, side * reach, most) for side in (1, -1))


def _jump(ladder: Ladder, reach: float, most: float) -> float:
    """Height of a jump to one side, larger than the noise and not above `most`; 0 if none is found.

    What wide steps take for noise is one if it is there in a part of a step that changes next to nothing else.
    """

    def value(t: float) -> float:
        return ladder.problem.value_at(ladder.suspect.tensor, ladder.suspect.position, t)[0]

    for octave in range(1, OCTAVES + 1):
        start = reach * 0.5**octave
        for spacing in (start / (POINTS - 1) / part for part in (1, 8, 64)):
            if abs(spacing) <= 64 * ladder.finest:
                return 0.0
            values = np.array([value(start + k * spacing) for k in range(POINTS)])
            if not np.all(np.isfinite(values)):
                continue
            table = difference_table(values.tolist())
            least = max(1.2 * ladder.sigma, 4 * EPS64 * float(np.max(np.abs(values))))
            if table.state != "ok" or not least < table.level <= most:
                continue
            k = 1 + int(np.argmax(np.abs(np.diff(values, 3))))  # where the largest third difference has its middle
            height = _left_over(value, start + k * spacing, start + (k + 1) * spacing)
            if height > 0.5 * table.level:
                return height
    return 0.0


def _left_over(value: Callable[[float], float], low: float, high: float) -> float:
    """What bisection leaves of the change from one point to the next beyond its slope there: jumps."""
    at_low, at_high = value(low), value(high)
    slope = (value(low + SHORT * (high - low)) - at_low) / (SHORT * (high - low))
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        at_middle, bend = value(middle), slope * (middle - low)
        if abs(at_middle - at_low - bend) >= abs(at_high - at_middle - bend):
            high, at_high = middle, at_middle
        else:
            low, at_low = middle, at_middle
    return abs(at_high - at_low - slope * (high - low))


def coarse_part(ladder: Ladder, slopes: Slopes) -> float:
    """Noise of a part of the loss that is rounded coarsely: wide differences agree with the gradient, narrow ones do
    not see the part move, and in between there are jumps on both sides."""
    a, best = ladder.suspect.analytic, slopes.best
    if best is None:
        return 0.0
    near = 0.25 * abs(a - best.value)
    for k in (3, 6):
        ladder.add(ladder.steps[-1] * 4.0**k)
    slopes = ladder.slopes()
    wide = [lv.plus for lv in slopes.levels if abs(lv.C - a) < near]
    narrow = [lv.plus for lv in slopes.levels if abs(lv.C - best.value) < near]
    if len(wide) < 2 or not narrow:
        return 0.0
    largest = [0.0, 0.0]
    # Jumps as far apart as the parameter is large are not rounding, but the function.
    spacing, widest = narrow[-1] / 8, min(wide[-1], COARSEST * ladder.suspect.scale)
    while spacing < widest and min(largest) == 0.0:
        for i, side in enumerate((1.0, -1.0)):
            values = [ladder.value(side * k * spacing)[0] for k in range(1, 8)]
            if all(value == value for value in values):
                jumps = difference_table(values).jumps
                largest[i] = max(largest[i], jumps if jumps > 64 * ladder.sigma else 0.0)
        spacing *= 2  # so that one of the spacings sees the first jump and not the second
    return 0.5 * max(largest) if max(largest) < 64 * min(largest) else 0.0


def unsteady(ladder: Ladder, h: float) -> float:
    """How much the slope at one step differs between points next to each other, beyond what is smooth.

    Where a part of the loss is rounded, slopes depend on which way: those of entries, too, that are not rounded.
    """
    problem, suspect = ladder.problem, ladder.suspect
    rng = np.random.default_rng((suspect.tensor, suspect.position))
    moves = {
        tensor: move * rng.uniform(0.5, 1.0, move.shape) for tensor, move in increments(problem, MACRO, rng).items()
    }
    slopes = []
    for k in range(1, 8):
        ends = []
        for t in (h, -h):
            beside = {tensor: k * move for tensor, move in moves.items()}
            beside[suspect.tensor].flat[suspect.position] += t
            value, displacements = problem.value_along(beside, 1.0)
            ends.append((value, float(displacements[suspect.tensor].flat[suspect.position])))
        (right, high), (left, low) = ends
        if not high > low or right != right or left != left:
            return 0.0
        slopes.append((right - left) / (high - low))
    return float(np.sqrt(np.mean(np.square(np.diff(slopes, 3)) / 20)))


def held_in_single(ladder: Ladder) -> bool:
    """Whether the loss does not move at all below float32 resolution: it converts this tensor."""
    suspect = ladder.suspect
    if ladder.cast or ladder.problem.single[suspect.tensor] or not suspect.x:
        return False
    tiny = [h for h in ladder.steps if h <= abs(suspect.x) * 2.0**-22]
    moves = any(side[0] != ladder.f0 for sides in ladder.values.values() for side in sides)
    return moves and len(tiny) >= 2 and all(side[0] == ladder.f0 for h in tiny[:2] for side in ladder.values[h])
