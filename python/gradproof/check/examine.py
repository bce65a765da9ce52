"""Look closely at one entry, and try what could clear its gradient before calling it wrong."""

from __future__ import annotations

import math
from typing import Final

from gradproof.check.doubts import (
    coarse_part,
    held_in_single,
    inner_rounding,
    local_noise,
    quantum,
    scatter,
    unsteady,
    waves,
)
from gradproof.check.evaluate import Problem
from gradproof.check.judgement import judge, resolved
from gradproof.check.ladder import KAPPA
from gradproof.check.noise import Noise
from gradproof.check.suspects import Ladder, Outcome, Slopes, Suspect
from gradproof.check.tensor_report import Status

ROUNDS: Final = 16
WRONG: Final = (Status.MISMATCH, Status.KINK_MISMATCH)


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
    ladder = Ladder(problem, suspect, f0, noise, suspect.cast)
    outcome = _examine(ladder, rtol)
    if outcome.status in WRONG and held_in_single(ladder):
        outcome = _examine(Ladder(problem, suspect, f0, noise, True), rtol)
    return outcome


def _examine(ladder: Ladder, rtol: float) -> Outcome:
    suspect = ladder.suspect
    a, own = suspect.analytic, suspect.rounding
    h = max(suspect.step, 64 * ladder.finest)
    ladder.add(*(h * 4.0**k for k in (-2, -1, 0, 1, 2)))
    slopes = _refine(ladder)
    for doubt in (local_noise, quantum, scatter, inner_rounding, coarse_part):
        best = slopes.best
        near = best is not None and abs(a - best.value) <= best.error + own
        # Where a part of the loss is rounded coarsely, noise that is taken for too small leaves steps at odds.
        if best is not None and near and (not ladder.noise.coarse or resolved(ladder, slopes, best.value, best.error)):
            break
        sigma = doubt(ladder, slopes)
        if sigma > 1.2 * ladder.sigma:
            ladder.sigma = sigma
            slopes = _refine(ladder)
    best = slopes.best
    if ladder.noise.coarse and best is not None and abs(a - best.value) > best.error + own:
        ladder.unsteady = unsteady(ladder, ladder.steps[best.level])
    outcome = judge(ladder, slopes, rtol)
    if outcome.status in WRONG and waves(ladder):
        outcome = outcome._replace(uncertainty=abs(a - outcome.numeric), status=Status.UNRESOLVED)
    if outcome.status is Status.UNRESOLVED:
        ladder.problem.noisiest = max(ladder.problem.noisiest, ladder.sigma)
    return outcome._replace(length=slopes.length)


def _refine(ladder: Ladder) -> Slopes:
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
            if not added and not resolved(ladder, slopes, best.value, best.error):
                ladder.reach_out()
                added = ladder.add(4 * steps[-1])
        if not added and between < 2 and (wrong or not resolved(ladder, slopes, best.value, best.error)):
            at = steps[min(best.level, len(steps) - 1)]
            added = ladder.add(*((at / 2, at * 2) if between == 0 else (at / 4, at * 4, at / 8, at * 8)))
            between += 1
        if not added:
            break
        slopes = ladder.slopes()
    return slopes
