"""The verdict on one entry from what a ladder of steps shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from gradproof.check.ladder import KAPPA, Estimate, Level
from gradproof.check.suspects import NEAR, Ladder, Outcome, Slopes
from gradproof.check.tensor_report import Status

ENOUGH: Final = 3  # steps
ROUGH: Final = 0.1  # of a gradient: what changes so much between points next to each other has no value there
TYPICAL: Final = 0.02  # of the typical entry of a tensor: an uncertainty so small means something
WIDE: Final = 2.0**-13  # part of a parameter's scale: what is flat so far around is flat by design


def judge(ladder: Ladder, slopes: Slopes, rtol: float) -> Outcome:
    """Compare the analytic gradient with what the ladder shows; `rtol` is a relative error that is accepted."""
    outcome = _by_the_best(ladder, slopes, rtol)
    if outcome.status is not Status.UNRESOLVED:
        return outcome
    if ladder.noise.staircase:
        return _on_a_stair(ladder) or outcome
    return _by_the_finest(ladder, slopes) or outcome


def _on_a_stair(ladder: Ladder) -> Outcome | None:
    """A loss that moves in steps has the derivative 0 on them, if they are no rounding of a sloping one."""
    suspect, f0 = ladder.suspect, ladder.f0
    if suspect.analytic != 0.0:
        return None
    reach = [_flat(ladder, side * suspect.scale) for side in (-1.0, 1.0)]
    if min(reach) == 0.0 or max(reach) < 0.5 * suspect.scale * WIDE:
        return None
    return Outcome(0.0, 2 * KAPPA * ladder.noise.eps * abs(f0) / min(reach) + suspect.rounding, Status.MATCH)


def _flat(ladder: Ladder, scale: float) -> float:
    """How far the loss is flat to one side, for sure."""
    reach = 0.0
    for part in (WIDE / 256, WIDE / 16, WIDE):
        value, t = ladder.value(scale * part)
        if value != ladder.f0:
            break
        reach = abs(t)
    return reach


def _by_the_finest(ladder: Ladder, slopes: Slopes) -> Outcome | None:
    """Where wide steps are at odds with each other: fine ones that all agree with the gradient, if that says enough.

    Kinks on the way of the wide steps do that, and the more so the fewer digits the loss has.
    """
    suspect = ladder.suspect
    a, own = suspect.analytic, suspect.rounding
    agreeing = 0
    for lv in slopes.levels:
        if not abs(a - lv.C) <= lv.bar_central + own:
            break
        agreeing, last = agreeing + 1, lv
    if agreeing < ENOUGH or not resolved(ladder, slopes, last.C, last.bar_central):
        return None
    return Outcome(last.C, last.bar_central + own, Status.MATCH)


def _by_the_best(ladder: Ladder, slopes: Slopes, rtol: float) -> Outcome:
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
        settled = silent or resolved(ladder, slopes, best.value, error)
        if ladder.noise.staircase and abs(a) <= error:
            settled = False
        return Outcome(best.value, error + own, Status.MATCH if settled else Status.UNRESOLVED)
    # A kink so near that the central difference straddles it: half the jump is uncertain.
    if best is slopes.C and J is not None:
        sharper = min((side.error for side in (P, M) if side is not None), default=math.inf)
        hidden = 0.5 * (abs(J.value) + J.error)
        if sharper > 0.2 * (error + hidden) and apart <= error + own + hidden:
            settled = resolved(ladder, slopes, best.value, error + hidden)
            return Outcome(best.value, error + own + hidden, Status.MATCH if settled else Status.UNRESOLVED)
    factor = 2.0  # the noise is itself known to within a factor only
    if suspect.single:  # pieces narrower than float32 can show
        seen = P is not None and M is not None and abs(P.value - M.value) > P.error + M.error
        factor = 10.0 if seen else 3.0
    elif any(lv.C != lv.C for lv in slopes.levels):  # roots at the edge of a domain are not analytic
        factor = 3.0
    if suspect.single:
        widened = max(factor * error, _pieces(slopes, best, a, apart))
        if apart <= widened + own and not ladder.noise.staircase:
            settled = resolved(ladder, slopes, best.value, widened)
            return Outcome(best.value, widened + own, Status.MATCH if settled else Status.UNRESOLVED)
    if apart <= factor * error + own or (ladder.noise.staircase and abs(a) <= error):
        return Outcome(best.value, factor * error + own, Status.UNRESOLVED)
    others = [other for other in (slopes.C, P, M) if other is not None and other is not best]
    contradicted = any(
        abs(a - other.value) <= other.error + own and abs(best.value - other.value) > other.error + best.error
        for other in others
    )
    if (
        contradicted
        or _below_the_grain(ladder, slopes, best, a)
        or _open_side(slopes, best, a, own)
        or _on_the_way(slopes, best, a)
        or _chaotic(ladder)
        or not _voted(slopes, a, best.value)
    ):
        return Outcome(best.value, apart, Status.UNRESOLVED)
    return Outcome(best.value, error + own, Status.MISMATCH)


def _below_the_grain(ladder: Ladder, slopes: Slopes, best: Estimate, a: float) -> bool:
    """Whether a loss that is rounded coarsely in part is flat over small steps only, and has the slope over others."""
    if not ladder.noise.coarse or best.value != 0.0:
        return False
    return sum(abs(lv.C - a) < 0.25 * abs(a) for lv in slopes.levels) >= 2


def _open_side(slopes: Slopes, best: Estimate, a: float, own: float) -> bool:
    """Whether one side alone speaks against the gradient, which may be the slope to the other side for all one sees.

    Steps over which a loss saturates show a slope near zero to that side and none to the other: both are wide there.
    """
    if best is slopes.C:
        return False
    other = slopes.M if best is slopes.P else slopes.P
    return other is not None and abs(a - other.value) <= other.error + own


def _chaotic(ladder: Ladder) -> bool:
    """Whether loss and gradient are both rough over next to nothing: the loss may move within one place of numbers."""
    suspect = ladder.suspect
    return suspect.rounding > ROUGH * abs(suspect.analytic) and ladder.sigma > 1e3 * ladder.noise.eps * abs(ladder.f0)


def _on_the_way(slopes: Slopes, best: Estimate, a: float) -> bool:
    """Whether raw slopes to one side go from the best estimate to the gradient, nearer with every finer step.

    Next to an edge of the domain steps can be too wide as far down as numbers have digits, in noise as well.
    """
    apart = abs(a - best.value)
    for sides in ([(lv.P, lv.bar_right) for lv in slopes.levels], [(lv.M, lv.bar_left) for lv in slopes.levels]):
        off = [abs(slope - a) for slope, _ in sides[: best.level + 1]]
        nearer = all(x < y for x, y in zip(off, off[1:], strict=False))  # false if any is NaN
        if len(off) > ENOUGH and nearer and off[0] < min(0.5 * apart, sides[0][1]):
            return abs(sides[best.level][0] - best.value) < 0.5 * apart
    return False


def _pieces(slopes: Slopes, best: Estimate, a: float, apart: float) -> float:
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


def _judge_kink(ladder: Ladder, slopes: Slopes, P: Estimate, M: Estimate, own: float) -> Outcome:
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


def _voted(slopes: Slopes, a: float, n: float) -> bool:
    """Whether at least as many raw differences stand near the numeric value as near the analytic one."""
    apart = abs(a - n)
    for_a = for_n = 0
    for lv in slopes.levels:
        for value, bar in ((lv.C, lv.bar_central), (lv.P, lv.bar_right), (lv.M, lv.bar_left)):
            if bar < apart / 3:
                for_a += abs(value - a) < 0.1 * apart
                for_n += abs(value - n) < 0.1 * apart
    return for_a <= for_n


def resolved(ladder: Ladder, slopes: Slopes, value: float, error: float) -> bool:
    """Whether an uncertainty is small enough to mean something."""
    suspect = ladder.suspect
    near = [lv for lv in slopes.levels if lv.plus <= NEAR * suspect.scale]
    seen = [abs(lv.P) for lv in near if abs(lv.P) > 2 * lv.bar_right] + [
        abs(lv.M) for lv in near if abs(lv.M) > 2 * lv.bar_left
    ]
    enough = max(
        0.1 * max(abs(suspect.analytic), abs(value)),
        TYPICAL * suspect.rms,
        1e-6 * suspect.largest,
        0.003 * max(seen, default=0.0),
    )
    return error <= enough


def _curvature(levels: Sequence[Level]) -> float:
    """Second derivative, from the widest pair of slopes."""
    known = [abs(lv.P - lv.M) / (0.5 * (lv.plus + lv.minus)) for lv in levels if lv.C == lv.C]
    return known[-1] if known else 0.0
