"""Look closely at one entry: a ladder of steps to both sides, and what to try before calling its gradient wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

import numpy as np

from gradproof.check.evaluate import Problem
from gradproof.check.ladder import KAPPA, Estimate, Level, central, jump, left, level, right
from gradproof.check.lines import MACRO, difference_table, increments
from gradproof.check.noise import Noise
from gradproof.check.tensor_report import Status

EVALUATIONS: Final = 120  # per ladder, at most
ROUNDS: Final = 16
COARSEST: Final = 2.0**-4  # spacing of jumps by rounding, relative to the parameter


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


@dataclass
class _Slopes:
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
    def best(self) -> Estimate | None:
        known = [estimate for estimate in (self.C, self.P, self.M) if estimate is not None]
        return min(known, key=lambda estimate: estimate.error) if known else None


class _Ladder:
    """Values on one line through the point, by step."""

    def __init__(self, problem: Problem, suspect: Suspect, f0: float, noise: Noise, cast: bool) -> None:
        self.problem, self.suspect, self.f0, self.noise = problem, suspect, f0, noise
        self.sigma = noise.sigma
        self.unsteady = 0.0  # standard deviation of the slope between points next to each other
        self.cast = cast
        self.base = float(np.float32(suspect.x)) if cast else suspect.x
        narrow = cast or problem.single[suspect.tensor]
        self.finest = max(4 * math.ulp(suspect.x) * (2.0**29 if narrow else 1.0), suspect.scale * 2.0**-64)
        self.coarsest = 4 * max(suspect.scale, abs(suspect.x))
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

    @property
    def steps(self) -> list[float]:
        return sorted(self.values)

    def slopes(self) -> _Slopes:
        """Estimates from all values, with jumps at the point left out."""
        argument = self.noise.eps * abs(self.suspect.x)
        levels = [level(self.f0, *self.values[h], self.sigma, self.noise.eps, argument) for h in self.steps]
        if _jumps([(lv.plus, lv.P, lv.bar_right) for lv in levels]):
            levels = [lv._replace(P=math.nan, C=math.nan) for lv in levels]
        if _jumps([(lv.minus, lv.M, lv.bar_left) for lv in levels]):
            levels = [lv._replace(M=math.nan, C=math.nan) for lv in levels]
        edge = any(lv.C != lv.C for lv in levels)
        return _Slopes(levels, right(levels, edge), left(levels, edge), central(levels), jump(levels))


def _jumps(points: Sequence[tuple[float, float, float]]) -> bool:
    """Whether the slope grows like 1/h: the function jumps at the point."""
    visible = [(t, value) for t, value, bar in points if abs(value) > 2 * bar]
    finest = [t for t, value, _ in points if value == value][:1]
    if len(visible) < 3 or visible[0][0] not in finest:
        return False
    heights = [t * value for t, value in visible[:3]]
    return min(heights) * max(heights) > 0 and max(map(abs, heights)) <= 1.1 * min(map(abs, heights))


def examine(problem: Problem, suspect: Suspect, f0: float, noise: Noise, rtol: float) -> Outcome:
    """Measure one entry as well as can be and compare.

    Parameters
    ----------
    problem : Problem
    suspect : Suspect
        The entry and what is known about it.
    f0 : float
        The loss at the point.
    noise : Noise
    rtol : float
        Relative errors up to this are accepted.
    """
    ladder = _Ladder(problem, suspect, f0, noise, suspect.cast)
    outcome = _examine(ladder, rtol)
    if outcome.status in (Status.MISMATCH, Status.KINK_MISMATCH) and _held_in_single(ladder):
        outcome = _examine(_Ladder(problem, suspect, f0, noise, True), rtol)
    return outcome


def _examine(ladder: _Ladder, rtol: float) -> Outcome:
    suspect = ladder.suspect
    a, own = suspect.analytic, suspect.rounding
    h = max(suspect.step, 64 * ladder.finest)
    ladder.add(*(h * 4.0**k for k in (-2, -1, 0, 1, 2)))
    slopes = _refine(ladder)
    for doubt in (_local_noise, _quantum, _scatter, _coarse_part):
        best = slopes.best
        if best is None or abs(a - best.value) <= best.error + own:
            break
        sigma = doubt(ladder, slopes)
        if sigma > 1.2 * ladder.sigma:
            ladder.sigma = sigma
            slopes = _refine(ladder)
    best = slopes.best
    if ladder.noise.coarse and best is not None and abs(a - best.value) > best.error + own:
        ladder.unsteady = _unsteady(ladder, ladder.steps[best.level])
    return _judge(ladder, slopes, rtol)


def _refine(ladder: _Ladder) -> _Slopes:
    """Add steps until they tell the two gradients apart, or are as good as they get."""
    suspect = ladder.suspect
    a, own = suspect.analytic, suspect.rounding
    between = 0
    slopes = ladder.slopes()
    for _ in range(ROUNDS):
        best, steps = slopes.best, ladder.steps
        if best is None:
            if not steps or not ladder.add(steps[0] / 16):
                break
            slopes = ladder.slopes()
            continue
        apart = abs(a - best.value)
        wrong = apart > best.error + own
        resolution = 3 * KAPPA * ladder.sigma / apart if wrong else math.inf
        added = False
        if best.level <= 1 and not (best.noisy and best.level == 1) and best.error > suspect.goal:
            added = ladder.add(steps[0] / 16)
        if slopes.gap:  # a kink nearby, or at the point? Only small steps tell
            resolution = min(resolution, 3 * KAPPA * ladder.sigma / slopes.gap)
        if (wrong or slopes.gap) and steps[0] > 4 * resolution:
            added = ladder.add(steps[0] / 16) or added
        if not best.noisy and best.error > max(suspect.goal, 0.05 * max(abs(a), abs(best.value))):
            added = ladder.add(steps[0] / 16) or added
        if best.noisy and best.error > suspect.goal and best.level >= len(steps) - 3:
            added = ladder.add(4 * steps[-1]) or added
        if wrong and not added and between < 2:
            at = steps[min(best.level, len(steps) - 1)]
            added = ladder.add(*((at / 2, at * 2) if between == 0 else (at / 4, at * 4, at / 8, at * 8)))
            between += 1
        if not added:
            break
        slopes = ladder.slopes()
    return slopes


def _local_noise(ladder: _Ladder, slopes: _Slopes) -> float:
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


def _quantum(ladder: _Ladder, _: _Slopes) -> float:
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


def _scatter(_: _Ladder, slopes: _Slopes) -> float:
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


def _coarse_part(ladder: _Ladder, slopes: _Slopes) -> float:
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


def _unsteady(ladder: _Ladder, h: float) -> float:
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


def _held_in_single(ladder: _Ladder) -> bool:
    """Whether the loss does not move at all below float32 resolution: it converts this tensor."""
    suspect = ladder.suspect
    if ladder.cast or ladder.problem.single[suspect.tensor] or not suspect.x:
        return False
    tiny = [h for h in ladder.steps if h <= abs(suspect.x) * 2.0**-22]
    moves = any(side[0] != ladder.f0 for sides in ladder.values.values() for side in sides)
    return moves and len(tiny) >= 2 and all(side[0] == ladder.f0 for h in tiny[:2] for side in ladder.values[h])


def _judge(ladder: _Ladder, slopes: _Slopes, rtol: float) -> Outcome:
    suspect = ladder.suspect
    a, own = suspect.analytic, suspect.rounding
    best, P, M, J = slopes.best, slopes.P, slopes.M, slopes.J
    if best is None:
        return Outcome(math.nan, math.inf, Status.UNRESOLVED)
    own = max(own, rtol * max(abs(a), abs(best.value)))
    error = max(best.error, KAPPA * ladder.unsteady)
    if ladder.cast:  # the values belong to the rounded point
        error += _curvature(slopes.levels) * abs(suspect.x - ladder.base)
    if P is not None and M is not None and slopes.gap:
        return _judge_kink(ladder, slopes, P, M, own)
    apart = abs(a - best.value)
    if apart <= error + own:
        silent = a == 0.0 and all(side[0] == ladder.f0 for sides in ladder.values.values() for side in sides)
        resolved = silent or _resolved(ladder, slopes, best, error)
        if ladder.noise.staircase and abs(a) <= error:
            resolved = False
        return Outcome(best.value, error + own, Status.MATCH if resolved else Status.UNRESOLVED)
    # A kink so near that the central difference straddles it: half the jump is uncertain.
    if best is slopes.C and J is not None:
        sharper = min((side.error for side in (P, M) if side is not None), default=math.inf)
        hidden = 0.5 * (abs(J.value) + J.error)
        if sharper > 0.2 * (error + hidden) and apart <= error + own + hidden:
            resolved = _resolved(ladder, slopes, best, error + hidden)
            return Outcome(best.value, error + own + hidden, Status.MATCH if resolved else Status.UNRESOLVED)
    factor = 2.0  # the noise is itself known to within a factor only
    if suspect.single:  # pieces narrower than float32 can show
        seen = P is not None and M is not None and abs(P.value - M.value) > P.error + M.error
        factor = 10.0 if seen else 3.0
    elif any(lv.C != lv.C for lv in slopes.levels):  # roots at the edge of a domain are not analytic
        factor = 3.0
    if suspect.single:
        widened = max(factor * error, _pieces(slopes, best, a, apart))
        if apart <= widened + own and not ladder.noise.staircase:
            resolved = _resolved(ladder, slopes, best, widened)
            return Outcome(best.value, widened + own, Status.MATCH if resolved else Status.UNRESOLVED)
    if apart <= factor * error + own or (ladder.noise.staircase and abs(a) <= error):
        return Outcome(best.value, factor * error + own, Status.UNRESOLVED)
    others = [other for other in (slopes.C, P, M) if other is not None and other is not best]
    contradicted = any(
        abs(a - other.value) <= other.error + own and abs(best.value - other.value) > other.error + best.error
        for other in others
    )
    if contradicted or not _voted(slopes, a, best.value):
        return Outcome(best.value, apart, Status.UNRESOLVED)
    return Outcome(best.value, error + own, Status.MISMATCH)


def _pieces(slopes: _Slopes, best: Estimate, a: float, apart: float) -> float:
    """What pieces too narrow for float32 may hide, as an uncertainty of the best estimate.

    Smooth functions let wide steps be extrapolated to none: central slopes change like the square of the step, and the
    gap between one-sided ones like the step. Of many kinks close together wide steps see an average; there the changes
    die away more slowly. How far the slopes still move around the best step is then uncertain. And where the finest
    step that could tell both values apart has the analytic one between, or at, its one-sided slopes, wide steps cannot
    overrule it.
    """
    levels = [lv for lv in slopes.levels if lv.C == lv.C]
    hidden = 0.0
    at = min(max(best.level, 1), len(levels) - 2)
    if at >= 1:
        fine, mid, coarse = levels[at - 1 : at + 2]
        near, far = abs(mid.C - fine.C), abs(coarse.C - mid.C)
        if near > fine.bar_central / 3 and near > far * (mid.plus / coarse.plus) ** 1.5:
            hidden = 3 * max(near, far)
    resolving = [lv for lv in levels if lv.bar_central < apart / 3]
    if len(resolving) >= 2:
        finest, next_one = resolving[:2]
        bars = finest.bar_right + finest.bar_left
        smooth = abs(next_one.P - next_one.M) * finest.plus / next_one.plus
        low = min(finest.P - finest.bar_right, finest.M - finest.bar_left)
        high = max(finest.P + finest.bar_right, finest.M + finest.bar_left)
        if low <= a <= high and abs(finest.P - finest.M) > 1.5 * smooth + bars / 3:
            hidden = max(hidden, apart)
    return hidden


def _judge_kink(ladder: _Ladder, slopes: _Slopes, P: Estimate, M: Estimate, own: float) -> Outcome:
    """The one-sided derivatives differ however small the step: any value between them is a subgradient."""
    a = ladder.suspect.analytic
    low, high = min(P.value - P.error, M.value - M.error), max(P.value + P.error, M.value + M.error)
    numeric, bars = min(max(a, low), high), P.error + M.error
    out = abs(a - numeric)
    if out <= own:
        return Outcome(numeric, bars + own, Status.KINK)
    room = 6 * KAPPA * ladder.sigma / out > 1e-6 * ladder.steps[-1]  # for a piece that cannot be seen
    widened = max((1.0 if ladder.suspect.single else 0.5) * abs(P.value - M.value), 2 * bars)
    if room and out <= own + widened:
        return Outcome(numeric, widened + own, Status.KINK)
    if ladder.suspect.single and slopes.best is not None and out <= _pieces(slopes, slopes.best, a, out) + own:
        return Outcome(numeric, out + own, Status.UNRESOLVED)
    if not _voted(slopes, a, numeric):
        return Outcome(numeric, out, Status.UNRESOLVED)
    return Outcome(numeric, bars + own, Status.KINK_MISMATCH)


def _voted(slopes: _Slopes, a: float, n: float) -> bool:
    """Whether at least as many raw differences stand near the numeric value as near the analytic one."""
    apart = abs(a - n)
    for_a = for_n = 0
    for lv in slopes.levels:
        for value, bar in ((lv.C, lv.bar_central), (lv.P, lv.bar_right), (lv.M, lv.bar_left)):
            if bar < apart / 3:
                for_a += abs(value - a) < 0.1 * apart
                for_n += abs(value - n) < 0.1 * apart
    return for_a <= for_n


def _resolved(ladder: _Ladder, slopes: _Slopes, best: Estimate, error: float) -> bool:
    """Whether an uncertainty is small enough to mean something."""
    suspect = ladder.suspect
    near = [lv for lv in slopes.levels if lv.plus <= suspect.scale]
    seen = [abs(lv.P) for lv in near if abs(lv.P) > 2 * lv.bar_right] + [
        abs(lv.M) for lv in near if abs(lv.M) > 2 * lv.bar_left
    ]
    enough = max(
        0.1 * max(abs(suspect.analytic), abs(best.value)),
        0.02 * suspect.rms,
        1e-6 * suspect.largest,
        0.003 * max(seen, default=0.0),
    )
    return error <= enough


def _curvature(levels: Sequence[Level]) -> float:
    """Second derivative, from the widest pair of slopes."""
    known = [abs(lv.P - lv.M) / (0.5 * (lv.plus + lv.minus)) for lv in levels if lv.C == lv.C]
    return known[-1] if known else 0.0
