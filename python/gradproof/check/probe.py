"""The error of a gradient along a random direction, with an uncertainty.

Along ``x + t v`` the analytic gradient ``a`` predicts the change ``a . v t``. What the loss does beyond it,
``r(t) = f(x + d) - f(x) - a . d`` with the displacements ``d`` that the dtype really holds, has the slope
``(n - a) . v`` at 0. Four values give it: ``D1 = (r(h) - r(-h)) / 2h``, ``D2`` the same at ``2h``, and
``D = (4 D1 - D2) / 3``.

Its uncertainty has three parts. Rounding: the standard deviation of ``D`` is 0.95 sigma / h. Kinks at the point: what
the difference of the one-sided slopes, which vanishes like ``h`` for a smooth function, leaves when extrapolated to 0.
Truncation and kinks on the way: three times ``|D1 - D2|``, because where the slope changes a little at every kink it
wanders like a random walk, and one change says only so much. Two more values at ``4h`` tell whether the loss is smooth
there: the changes shrink fourfold and those of ``D`` more, and the one-sided slopes meet. If so, the extrapolation
goes one level further, with the error of ``D`` as the bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gradproof.check.entries import Circumstances
from gradproof.check.evaluate import Array, Box, Float64Array, Problem
from gradproof.check.lines import difference_table

SMALLEST: Final = 0.5  # of |v| in units of the scale
MEAN_SQUARE: Final = 13 / 12  # of v in units of the scale
NOISE: Final = 7.5  # sigma / h, eight standard deviations: sigma itself is a rough estimate
GAP_NOISE: Final = 8.0  # the same for the extrapolated difference of the one-sided slopes, two standard deviations
ROUGH: Final = 3.0  # times the change from one step to the next: a slope that changes at every kink wanders at random
CLEAR: Final = 16  # uncertainties that an error has to be away for two values to tell
LARGEST_STEP: Final = 2.0**-4  # and four times as far
SMALLEST_STEP: Final = 2.0**-26  # unless finer ones are known to be needed
FINEST_STEP: Final = {False: 2.0**-46, True: 2.0**-20}  # True: float32
TRIES: Final = 7  # to balance a step
FINER: Final = 64


@dataclass(frozen=True)
class Block:
    """Parts of tensors, each ``(tensor, slices)`` with explicit bounds."""

    pieces: tuple[tuple[int, Box], ...]

    @classmethod
    def whole(cls, problem: Problem, tensors: Sequence[int]) -> Block:
        """All of these tensors."""
        return cls(tuple((t, tuple(slice(0, n) for n in problem.parameters.shapes[t])) for t in tensors))

    @property
    def size(self) -> int:
        """Number of entries."""
        return sum(math.prod(s.stop - s.start for s in box) for _, box in self.pieces)

    def halves(self, first_axis: int = 0) -> tuple[Block, Block] | None:
        """Two halves: of the tensors, else along the first axis that has an extent, from `first_axis` on and around.

        None for a single entry.
        """
        if len(self.pieces) > 1:
            middle = len(self.pieces) // 2
            return Block(self.pieces[:middle]), Block(self.pieces[middle:])
        tensor, box = self.pieces[0]
        for axis in (*range(first_axis, len(box)), *range(first_axis)):
            part = box[axis]
            if part.stop - part.start > 1:
                middle = (part.start + part.stop) // 2
                low, high = slice(part.start, middle), slice(middle, part.stop)
                return (
                    Block(((tensor, (*box[:axis], low, *box[axis + 1 :])),)),
                    Block(((tensor, (*box[:axis], high, *box[axis + 1 :])),)),
                )
        return None


def direction(problem: Problem, tensors: Sequence[int], rng: np.random.Generator, relative: bool) -> dict[int, Array]:
    """Signed random directions: ``+-U(0.5, 1.5)`` with independent signs, times the scale of the tensor.

    Signs alone would cancel the exchange of two entries half of the time. Where sizes differ much within a tensor,
    every entry has a scale of its own.

    Parameters
    ----------
    relative : bool
        Whether every entry has a scale of its own in any case, its magnitude, and zeros stay where they are: for
        domains that a common scale would leave.
    """
    moves: dict[int, Array] = {}
    for tensor in tensors:
        x = problem.x(tensor)
        u = rng.random(x.shape, dtype=np.float32)
        u -= np.float32(0.5)
        v = np.asarray(np.copysign(np.float32(0.5), u) + 2 * u)
        moves[tensor] = v * (np.abs(x, dtype=np.float64) if relative else _scales(problem, tensor))
    return moves


def _scales(problem: Problem, tensor: int) -> Float64Array | np.float64:
    """One for the whole tensor, as a power of two; where sizes differ much within it, one for each entry.

    Zeros tell nothing of their own scale: they get that of the small ones.
    """
    x, scales = problem.x(tensor), problem.scales(tensor)
    if not scales.size or float(np.ptp(scales)) == 0.0:
        return np.float64(scale(x))
    zero = (x == 0).ravel()
    return np.where(zero, np.quantile(scales[~zero], 0.1), scales).reshape(x.shape)


def scale(x: Array) -> float:
    """Root mean square of a tensor, as a power of two; 1 if it is zero."""
    largest = float(np.max(np.abs(x), initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return 1.0
    flat = np.ravel(x, order="K") / largest
    rms = largest * math.sqrt(float(np.dot(flat, flat)) / flat.size)
    return math.ldexp(1.0, math.frexp(rms)[1] - 1)


@dataclass(frozen=True)
class Residual:
    """Measured slope of the error along a line.

    Attributes
    ----------
    value : float
        ``(n - a) . v``.
    bar : float
        Its uncertainty: what a right gradient may show.
    h, noise, bias, gap : float
        The step; the parts of the uncertainty from rounding of the loss, truncation, and kinks.
    order : int
        Power of the step with which `bias` falls.
    rough : float
        Error of the plain central difference at this step, from truncation and kinks.
    """

    value: float
    bar: float
    h: float = 0.0
    noise: float = 0.0
    bias: float = 0.0
    gap: float = 0.0
    order: int = 2
    rough: float = math.inf

    @property
    def wrong(self) -> bool:
        """Whether the error is beyond the uncertainty."""
        return abs(self.value) > self.bar

    def agrees(self, other: Residual) -> bool:
        """Whether two measurements of one slope are consistent."""
        return abs(self.value - other.value) <= self.bar + other.bar


class Line:
    """The loss along a direction restricted to a block; values are kept by step.

    Parameters
    ----------
    problem : Problem
    block : Block
    moves : mapping of int to array
        The direction, whole tensors.
    facts : Circumstances
        The loss at the point, its noise, the gradient under test and its rounding; whole tensors.
    """

    def __init__(self, problem: Problem, block: Block, moves: Mapping[int, Array], facts: Circumstances) -> None:
        self._problem = problem
        self._boxes = [(t, box, moves[t][box]) for t, box in block.pieces]
        self._analytic = [facts.analytic[t][box] for t, box in block.pieces]
        self._cast = {i: problem.x(t)[box] for i, (t, box) in enumerate(block.pieces) if facts.noise.cast[t]}
        self._f0 = facts.f0
        self.sigma = self._usual = facts.noise.sigma
        self._values: dict[float, float] = {}
        self._still: set[float] = set()  # steps at which the loss is what it is at the point
        v = [move for _, _, move in self._boxes]
        self.length = math.hypot(*map(_length, self._analytic, v))  # typical size of a . v
        rounding = math.hypot(*(_length(facts.rounding[t][box], move) for t, box, move in self._boxes))
        self._finest = FINEST_STEP[any(problem.single[t] or facts.noise.cast[t] for t, _ in block.pieces)]
        self._allowed = rounding + (facts.rtol if block.size == 1 else 3 * facts.rtol) * self.length

    @property
    def flat(self) -> bool:
        """Whether all values so far are the one at the point."""
        return len(self._still) == len(self._values)

    def at(self, t: float) -> float:
        """``r(t)``; NaN where the loss has no value."""
        if t not in self._values:
            value, displacements = self._problem.value_in(self._boxes, t)
            if value == self._f0:
                self._still.add(t)
            for i, x in self._cast.items():
                displacements[i] = np.subtract((x + displacements[i]).astype(np.float32), x.astype(np.float32))
            predicted = sum(_dot(a, d) for a, d in zip(self._analytic, displacements, strict=True))
            self._values[t] = value - self._f0 - predicted
        return self._values[t]

    def residual(self, h: float) -> Residual | None:
        """Measure with one step; None where the loss has no value on the way."""
        near, far = self._slopes(h), self._slopes(2 * h)
        if not math.isfinite(sum(near) + sum(far)):
            return None
        value, jump = (4 * near[0] - far[0]) / 3, 2 * near[1] - far[1]
        change = abs(near[0] - far[0])
        result = self._with_bar(h, 2, value, ROUGH * change, jump, change / 3)
        if result.bias + result.gap / 2 < result.noise / 2:
            return result
        farther = self._slopes(4 * h)
        if not math.isfinite(sum(farther)):
            return result
        far_value, far_jump = (4 * far[0] - farther[0]) / 3, 2 * far[1] - farther[1]
        better, far_change = (16 * value - far_value) / 15, abs(far[0] - farther[0])
        visible = 4 * self.sigma / h
        smooth = (
            far_change > max(2.5 * change, visible)
            and abs(value - far_value) < far_change / 4 + visible
            and abs(jump) < min(abs(far_jump) / 3, abs(near[1]) / 4) + visible
        )
        if not smooth:
            return self._with_bar(h, 2, value, ROUGH * max(change, far_change / 2), jump, max(change, far_change / 2))
        return self._with_bar(h, 4, better, abs(better - value), (8 * jump - far_jump) / 7, abs(better - near[0]))

    def _slopes(self, h: float) -> tuple[float, float]:
        """The central slope, and right slope less left slope."""
        right, left = self.at(h), self.at(-h)
        return (right - left) / (2 * h), (right + left) / h

    def _with_bar(self, h: float, order: int, value: float, bias: float, jump: float, rough: float) -> Residual:
        noise = NOISE * self.sigma / h
        gap = max(0.0, abs(jump) - GAP_NOISE * self.sigma / h)
        return Residual(value, noise + bias + gap / 2 + self._allowed, h, noise, bias, gap, order, rough + gap)

    def glance(self, h: float, like: Residual) -> Residual | None:
        """Measure with two values only, by what is known of the truncation of a line that this one is a part of.

        None unless an error of the size of that line's stands out clearly.
        """
        noise, rough = NOISE * self.sigma / h, like.rough * (h / like.h) ** 2
        bar = noise + rough + self._allowed
        if abs(like.value) < CLEAR * bar:
            return None
        value, _ = self._slopes(h)
        return Residual(value, bar, h, noise, rough, 0.0, 2, rough) if math.isfinite(value) else None

    def first_step(self) -> float:
        """Where rounding and truncation should balance, if the loss is as curved as it is steep."""
        if self.length == 0.0:
            return 2.0**-8
        return _power_of_two(min(max((self.sigma / self.length) ** (1 / 3), SMALLEST_STEP), 2.0**-5))

    def balanced(self, h: float, least: float = SMALLEST_STEP) -> Residual | None:
        """Measure, moving the step to where the parts of the uncertainty balance; the least uncertain result.

        Before truncation makes the step shorter, a longer one is tried once: it may show that the loss is smooth.
        """
        best: Residual | None = None
        seen: set[float] = set()
        longer, least = False, min(h, least)
        for _ in range(TRIES):
            h = min(max(h, least), LARGEST_STEP)
            if h in seen:
                break
            seen.add(h)
            result = self.residual(h)
            if result is None:
                h /= 16
                continue
            if best is None or result.bar < best.bar:
                best = result
            other = result.bias + result.gap / 2
            if 4 * other < result.noise:
                h *= 4 if 64 * other < result.noise else 2
                continue
            if result.order == 2 and not longer:
                longer = True
                wider = [ahead for ahead in (4 * h, 16 * h) if ahead <= LARGEST_STEP]
                ahead = next((r for r in map(self.residual, wider) if r is not None and r.order == 4), None)
                if ahead is not None and ahead.bar < best.bar:
                    result = best = ahead
                    h, other = ahead.h, ahead.bias + ahead.gap / 2
            if other <= 2 * result.noise:
                break
            ratio = result.noise / other if result.noise else 0.0
            h *= _power_of_two(max(ratio ** (1 / (1 + result.order)), 2.0**-6))
        return best

    def closer(self, found: Residual) -> Residual:
        """A wrong slope once more where finer steps show another one, down to the finest that could tell.

        What a loss does within a step can be far from its slope, and wider steps can all agree on it: where it is flat
        beyond some distance, where it oscillates, where steps are large beside some of the parameters.
        """
        first, h = found, found.h / FINER
        while h > self._finest and 2 * (bar := NOISE * self.sigma / h + self._allowed) < abs(found.value):
            if abs(self._slopes(h)[0] - found.value) > bar + found.bar:
                found = self.residual(h) or found
                if not found.wrong:
                    break
            h /= FINER
        return found if found is first else self.balanced(found.h, self._finest) or found

    def gone_nearer(self, found: Residual) -> bool:
        """Whether finer steps, which the noise forbids, agree with each other that the error is not there.

        Then that is no noise, but an oscillation faster than the steps: wide ones see its mean, which has no slope.
        """
        h, size = found.h / FINER, abs(found.value)
        while self.sigma > FINER * self._usual and h > self._finest:  # an oscillation is no noise of the usual size
            steps = [h / part for part in (1, 2, 4, 8)]
            slopes = [self._slopes(step)[0] for step in steps]
            moves = not any(side * step in self._still for step in steps for side in (1, -1))
            if moves and max(map(abs, slopes)) < size / 2 and max(slopes) - min(slopes) < size / CLEAR:
                return True
            h /= FINER
        return False

    def own_noise(self, increment: float) -> float:
        """Standard deviation of the rounding on this very line, beside the point, as far as it can be told."""
        values = [self.at(k * increment) for k in range(1, 9)]
        if not all(map(math.isfinite, values)):
            return 0.0
        table = difference_table(values)
        return table.level if table.state == "ok" else 0.0


def _dot(a: Array, b: Array) -> float:
    if a.flags.c_contiguous and b.flags.c_contiguous:
        return float(np.dot(a.reshape(-1), b.reshape(-1)))
    return float(np.sum(a * b))


def _length(a: Array, v: Array) -> float:
    product = np.asarray(a * v)
    largest = float(np.max(np.abs(product), initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    product /= largest
    return largest * math.sqrt(float(np.sum(np.square(product, out=product))))


def _power_of_two(x: float) -> float:
    return math.ldexp(1.0, math.frexp(x)[1] - 1)
