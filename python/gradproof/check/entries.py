"""Measure a gradient entry by entry, in stages: cheap where all is well, thorough before any accusation.

1. One central difference, with a tolerance that is noise and nothing else.
2. A second step and one extrapolation.
3. A ladder of steps for what is left (`examine`), with one-sided derivatives, a search for the scale on which the two
   gradients can be told apart at all, and several attempts to clear the gradient before it is called wrong.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.evaluate import Problem
from gradproof.check.examine import examine
from gradproof.check.ladder import length_scale
from gradproof.check.noise import EPS32, EPS64, Noise
from gradproof.check.suspects import NEAR, Suspect
from gradproof.check.tensor_report import Status

Float64Array = NDArray[np.float64]

GOAL64: Final = (1e-6, 1e-7)  # uncertainty to reach, relative to the entry and to the root mean square of its tensor
GOAL32: Final = (3e-3, 1e-3)
PLAIN: Final = 0.03  # largest step of a plain central difference, in units of the length scale
EXTRAPOLATED: Final = 0.05  # ... and of one that will be extrapolated, from it and from four times as far
LONGEST: Final = NEAR / (4 * EXTRAPOLATED)  # length scale in units of the parameter, so that no step leads far away
CONVICTED: Final = 16  # wrong entries of a tensor looked at closely before plain ones are believed at once
BLATANT: Final = 100.0  # plain: wrong by so many uncertainties, at two steps that agree
SMALLEST: Final = 2.0**-30  # step, relative to the length scale: values without any rounding have zero noise
LEARNED: Final = 15  # entries from which the length scale of a tensor is learned


@dataclass(frozen=True)
class Circumstances:
    """What is known about the problem before single entries are measured.

    Attributes
    ----------
    f0 : float
        The loss at the point.
    noise : Noise
    analytic : list of float64 array
        The gradient under test.
    rounding : list of float64 array
        What rounding may have done to it.
    rtol : float
        Relative errors up to this are accepted.
    """

    f0: float
    noise: Noise
    analytic: Sequence[Float64Array]
    rounding: Sequence[Float64Array]
    rtol: float = 0.0


@dataclass
class Measured:
    """A tensor as far as it is measured; flat arrays, NaN where it is not."""

    numeric: Float64Array
    uncertainty: Float64Array
    status: NDArray[np.uint8]

    @classmethod
    def nothing(cls, size: int) -> Measured:
        """Of a tensor of this size."""
        return cls(np.full(size, math.nan), np.full(size, math.nan), np.zeros(size, np.uint8))


class Meter:
    """Measures entries of one tensor after the other.

    Parameters
    ----------
    problem : Problem
    known : Circumstances
    """

    def __init__(self, problem: Problem, known: Circumstances) -> None:
        self.problem = problem
        self.known = known
        self._scales = [problem.scales(tensor) for tensor in range(len(problem.working))]
        products = (np.abs(a).ravel() * s for a, s in zip(known.analytic, self._scales, strict=True))
        self._largest_effect = max((float(np.max(product, initial=0.0)) for product in products), default=0.0)
        self._lengths: dict[int, deque[float]] = {}

    def measure(
        self, tensor: int, entries: Iterable[int], into: Measured, done: Callable[[], None] | None = None
    ) -> None:
        """Measure entries (positions in C order) of a tensor.

        Parameters
        ----------
        into : Measured
            Receives every entry as soon as it is known, so that nothing is lost when the budget ends or a person
            interrupts.
        done : callable, optional
            Called after every entry.
        """
        problem, known = self.problem, self.known
        f0, noise, cast = known.f0, known.noise, known.noise.cast[tensor]
        value_at = problem.value_at_single if cast else problem.value_at
        sigma, eps = noise.sigma, noise.eps
        analytic, rounding = known.analytic[tensor].ravel(), known.rounding[tensor].ravel()
        x, scale = problem.x(tensor), self._scales[tensor]
        single = noise.single or problem.single[tensor]
        ulps = 8 * (EPS32 if cast or problem.single[tensor] else EPS64)
        goal, goal_rms = GOAL32 if single else GOAL64
        rms = _rms(analytic)
        lengths = self._lengths.setdefault(tensor, deque(maxlen=LEARNED))
        length = median(lengths) if lengths else 1.0
        convicted = int(np.count_nonzero(into.status == Status.MISMATCH))
        vague = 0.0  # largest uncertainty of those, relative to the entry and the tensor's typical one
        for index in entries:
            a, own, s, at = float(analytic[index]), float(rounding[index]), float(scale[index]), float(x.flat[index])
            L = min(length * s, LONGEST * max(s, abs(at)))
            effect = max(abs(a), 0.03 * rms) * L
            least = max(ulps * abs(at), SMALLEST * L)
            h = max(L * min(PLAIN, (3 * sigma / effect) ** (1 / 3)) if effect > 0 else PLAIN * L, least)
            wanted = max(goal * abs(a), goal_rms * rms)
            plain = single or 3 * sigma <= wanted * h or not effect > 0 or h == 0.0
            if not plain:  # the goal is out of reach: extrapolation lets wider steps, with less noise, get nearer
                h = max(h, L * min(EXTRAPOLATED, (2.5 * sigma / effect) ** (1 / 5)))
                wanted = max(wanted, min(6 * sigma / h, max(GOAL32[0] * abs(a), GOAL32[1] * rms)))
            seen = {}
            fp, tp = value_at(tensor, index, h)
            fm, tm = value_at(tensor, index, -h)
            tm = -tm
            if fp - fm == fp - fm and tp > 0 and tm > 0:  # false if either is NaN
                seen[h] = (fp, tp), (fm, -tm)
                argument = 2 * eps * abs(at)
                sig_p = max(sigma, eps * abs(fp), argument * abs(fp - f0) / tp)
                sig_m = max(sigma, eps * abs(fm), argument * abs(fm - f0) / tm)
                P, M = (fp - f0) / tp, (f0 - fm) / tm
                width = tp + tm
                C, bar = (P * tm + M * tp) / width, 3 * (sig_p + sig_m) / width
                J, bar_J = P - M, 3 * ((sigma + sig_p) / tp + (sigma + sig_m) / tm)
                error = bar + own
                if plain and abs(a - C) <= error <= wanted and abs(J) <= 0.1 * abs(C) + 2 * bar_J:
                    into.numeric[index], into.uncertainty[index] = C, error
                    into.status[index] = Status.MATCH
                    if done is not None:
                        done()
                    continue
                fp4, tp4 = value_at(tensor, index, 4 * h)
                fm4, tm4 = value_at(tensor, index, -4 * h)
                tm4 = -tm4
                if fp4 - fm4 == fp4 - fm4 and tp4 > tp and tm4 > tm:
                    seen[4 * h] = (fp4, tp4), (fm4, -tm4)
                    P4, M4 = (fp4 - f0) / tp4, (f0 - fm4) / tm4
                    wide = (P4 * tm4 + M4 * tp4) / (tp4 + tm4)
                    extrapolated, J0 = (16 * C - wide) / 15, (4 * J - (P4 - M4)) / 3
                    if abs(wide - C) > 2 * bar and a:
                        lengths.append(length_scale(a, abs(wide - C), (tp4, tm4), (tp, tm)) / s)
                        length = median(lengths)
                    error = 1.1 * bar + min(0.1, (4 * h / L) ** 2) * abs(extrapolated - C) + own
                    apart = abs(a - extrapolated)
                    blatant = convicted >= CONVICTED and apart > BLATANT * error
                    blatant = blatant and abs(extrapolated - C) <= 0.01 * apart and apart > self.known.rtol * abs(a)
                    smooth = error <= wanted and abs(J0) <= 0.1 * abs(C) + 2 * bar_J
                    if smooth and (blatant or apart <= error):
                        if blatant:  # nobody vouches for the value: a bound on the truncation is needed
                            error = max(error + 0.9 * abs(extrapolated - C), vague * (abs(extrapolated) + rms))
                        into.numeric[index], into.uncertainty[index] = extrapolated, error
                        into.status[index] = Status.MISMATCH if blatant else Status.MATCH
                        if done is not None:
                            done()
                        continue
                    if a == 0.0 and fp == fm == fp4 == fm4 == f0:
                        far = value_at(tensor, index, s / 4)[0], value_at(tensor, index, -s / 4)[0]
                        if far == (f0, f0):  # no influence at all
                            into.numeric[index], into.uncertainty[index] = 0.0, bar
                            into.status[index] = Status.MATCH
                            if done is not None:
                                done()
                            continue
            suspect = Suspect(
                tensor, index, a, own, s, at, h, wanted, rms, self._largest_effect / s, single or cast, cast, seen
            )
            outcome = examine(problem, suspect, f0, noise, known.rtol)
            into.numeric[index], into.uncertainty[index] = outcome.numeric, outcome.uncertainty
            into.status[index] = outcome.status
            if 4 * h not in seen and outcome.length > 0:  # false if it is NaN
                lengths.append(outcome.length / s)
                length = median(lengths)
            if outcome.status == Status.MISMATCH:
                convicted += 1
                vague = max(vague, outcome.uncertainty / (abs(outcome.numeric) + rms))
            if done is not None:
                done()


def _rms(values: Float64Array) -> float:
    largest = float(np.max(np.abs(values), initial=0.0))
    return largest * math.sqrt(float(np.mean(np.square(values / largest)))) if largest else 0.0
