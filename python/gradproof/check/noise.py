"""How accurately a loss and a gradient are computed at a point: found out by looking, not by assuming a dtype.

Values at equally spaced, very near points differ by a smooth function, which high differences remove, and by rounding,
which they leave (ECNoise: Moré and Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33, 2011). No single
spacing will do: at a wide one fast oscillation looks like noise, at a narrow one float32 arithmetic looks exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.evaluate import Problem

Array = NDArray[Any]
Float64Array = NDArray[np.float64]

EPS64: Final = 2.0**-53
EPS32: Final = 2.0**-24
MACRO: Final = 19  # spacings are 2^-p relative to the parameters; this one is exact in float32
MICRO: Final = 32
POINTS: Final = 9
BETWEEN: Final = tuple(range(20, 32))
WIDER: Final = (16, 13, 10, 7, 4, 2)  # until a quantised function moves


@dataclass(frozen=True)
class Noise:
    """Noise of the values of a loss near a point.

    Attributes
    ----------
    sigma : float
        Standard deviation.
    single : bool
        Whether the loss is computed in float32: its values, or the parameters, are float32 numbers.
    staircase : bool
        Whether the loss moves in steps far coarser than float32 arithmetic: a rounded value, an accuracy.
    """

    sigma: float
    single: bool
    staircase: bool

    @property
    def eps(self) -> float:
        """Unit roundoff of the arithmetic."""
        return EPS32 if self.single else EPS64


@dataclass(frozen=True)
class _Table:
    """Outcome of a difference table: ``ok``, ``flat`` (hardly moves) or ``curved`` (no noise to be seen)."""

    state: str
    level: float
    gap: float = math.inf  # smallest step seen
    jumps: float = 0.0  # largest jump, if jumps are few and all else is smooth


def scales(array: Array) -> Float64Array:
    """Typical size of a parameter, per entry (C order).

    The root mean square of the tensor; where sizes differ by more than 1e4 within it, the size of the entry itself.
    """
    x = np.abs(np.ravel(array), dtype=np.float64)
    largest = float(np.max(x, initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return np.ones(x.size)
    rms = largest * math.sqrt(float(np.mean(np.square(x / largest))))
    low, high = np.quantile(x, (0.1, 0.9))
    if high > 1e4 * low and low > 0.0:
        return np.where(x > 0.0, x, rms)
    return np.full(x.size, rms)


def increments(
    problem: Problem, p: int, rng: np.random.Generator, tensors: Sequence[int] | None = None
) -> dict[int, Array]:
    """Random increments of about ``2^-p`` of every parameter, with few digits, so that adding them is exact."""
    moves = {}
    for tensor in range(len(problem.working)) if tensors is None else tensors:
        x = problem.x(tensor)
        size = np.where(x != 0, np.abs(x, dtype=np.float64), scales(x).reshape(x.shape))
        digits = rng.integers(8, 25, x.shape) * rng.choice((-1.0, 1.0), x.shape) / 16
        moves[tensor] = np.ldexp(digits, np.frexp(size)[1] - 1 - p)
    return moves


def loss_noise(problem: Problem, f0: float, rng: np.random.Generator) -> Noise:
    """Measure the noise of the loss around the point.

    Parameters
    ----------
    problem : Problem
    f0 : float
        The loss at the point, finite.
    rng : numpy.random.Generator
    """
    line = _Line(problem, f0, rng)
    macro = line.table(MACRO)
    single = any(problem.single) or problem.returns_single or line.single_values
    eps = EPS32 if single else EPS64
    if macro is None:
        return Noise(max(4 * eps * abs(f0), math.ulp(0.0)), single, False)
    sigma, kind = _at_two_scales(line, macro, single, f0)
    if sigma > 64 * eps * abs(f0) and kind != "steps":  # a kink on the line looks like noise: look on the other side
        other = line.table(MACRO, -1.0)
        if other is not None and other.state != "flat":
            opposite, _ = _at_two_scales(line, other, single, f0, -1.0)
            small, large = sorted((sigma, opposite))
            sigma = small if large > 10 * small else large
    floor = max(0.6 * eps * abs(f0), 0.02 * eps * line.largest)
    staircase = kind == "steps" and sigma > 64 * EPS32 * abs(f0) and not single
    return Noise(max(sigma, floor), single, staircase)


def backward_error(problem: Problem, analytic: Sequence[Float64Array], eps: float) -> float:
    """What rounding every parameter once would do to the loss: no function is computed much more accurately.

    Where terms cancel, lines with few digits can look exact by luck.
    """
    total = 0.0
    for tensor, a in enumerate(analytic):
        effect = np.abs(a * problem.x(tensor)).ravel()
        largest = float(np.max(effect, initial=0.0))
        if 0.0 < largest < math.inf:
            total = math.hypot(total, largest * math.sqrt(float(np.sum(np.square(effect / largest)))))
    return 0.25 * eps * total


def _at_two_scales(line: _Line, macro: _Table, single: bool, f0: float, side: float = 1.0) -> tuple[float, str]:
    """Standard deviation, and what it is: of ``noise``, of ``steps`` of the whole loss, or of a ``part`` of it."""
    if macro.state == "flat":
        return _quantised(line, macro), "steps"
    micro = None if single else line.table(MICRO, side)
    if micro is None:
        return macro.level, "noise"
    if micro.state == "flat":
        return (
            macro.level if macro.state == "ok" else max(macro.level, _quantised(line, micro, BETWEEN[::-2]))
        ), "noise"
    if micro.state == "curved":
        finest = line.table(42, side)
        if finest is not None and finest.state == "ok":
            return finest.level if macro.state == "curved" else max(macro.level, finest.level), "noise"
        return (max(macro.level, micro.level) if macro.state == "ok" else micro.level), "noise"
    structured = macro.level > 8 * micro.level and (
        micro.level <= 256 * EPS64 * abs(f0) or macro.level > 1000 * micro.level
    )
    if macro.state == "ok" and structured and _jumps_between(line, macro.level, side):
        return macro.level, "part"
    if macro.state == "curved" or structured:
        again = line.table(MICRO, side)
        return max(micro.level, again.level if again is not None and again.state == "ok" else 0.0), "noise"
    return max(macro.level, micro.level), "noise"


def _jumps_between(line: _Line, level: float, side: float) -> bool:
    """Whether what looks like noise at the wide spacing, and is gone at the narrow one, is rounding of a part.

    Rounding keeps its size down to the spacing at which single jumps are left on a smooth background; oscillation keeps
    it too, but fades smoothly.
    """
    dense, single = 0, False  # spacings with jumps at every step, or here and there
    for p in BETWEEN:
        table = line.table(p, side)
        if table is None:
            return False
        if table.jumps > 0.3 * level:
            single = True
        elif table.state == "ok" and 0.25 * level <= table.level <= 4 * level:
            dense += 1
        if dense > 1 and single:
            return True
    return False


def _quantised(line: _Line, table: _Table, spacings: Sequence[int] = WIDER) -> float:
    gap, level = table.gap, 0.0
    for p in spacings:
        wider = line.table(p)
        if wider is None:
            break
        gap = min(gap, wider.gap)
        if wider.state != "flat":
            beyond = line.beyond()
            if beyond is not None and beyond.state != "flat":  # no steps, but a plain that ends somewhere
                return beyond.level if beyond.state == "ok" else 0.0
            level = wider.level if wider.state == "ok" else 0.0
            break
    return max(level, 0.3 * gap) if gap < math.inf else 0.0


class _Line:
    """Values along random lines beside the point, not through it: kinks at the point would look like noise."""

    def __init__(self, problem: Problem, f0: float, rng: np.random.Generator) -> None:
        self._problem = problem
        self._rng = rng
        self.largest = abs(f0)
        self._values: list[float] = []
        self._end: Mapping[int, Array] = {}

    @property
    def single_values(self) -> bool:
        """Whether all values so far, and not just one, are float32 numbers; one at a point with many digits too."""
        if len(set(self._values)) <= 3 or not all(_is_single(value) for value in self._values):
            return False
        moves = increments(self._problem, MACRO, self._rng)
        generic = {tensor: move * self._rng.uniform(0.5, 1.0, move.shape) for tensor, move in moves.items()}
        return _is_single(self._problem.value_along(generic, 1.0)[0])

    def table(self, p: int, side: float = 1.0) -> _Table | None:
        """Difference table at a spacing; None if the loss has no values on any line."""
        moves = increments(self._problem, p, self._rng)
        for moved in _within(self._problem, moves, side):
            values: list[float] = []
            for k in range(1, POINTS + 1):
                value = self._problem.value_along(moved, k * side)[0]
                if value != value:
                    break
                values.append(value)
            if len(values) == POINTS:
                self._values += values
                self.largest = max(self.largest, *map(abs, values))
                self._end = {tensor: POINTS * side * move for tensor, move in moved.items()}
                return difference_table(values)
        return None

    def beyond(self) -> _Table | None:
        """Difference table at the wide spacing from where the last line ended."""
        moves = increments(self._problem, MACRO, self._rng)
        places = [{t: end + k * moves[t] for t, end in self._end.items()} for k in range(POINTS)]
        values = [self._problem.value_along(place, 1.0)[0] for place in places]
        return None if any(value != value for value in values) else difference_table(values)


def _is_single(value: float) -> bool:
    with np.errstate(over="ignore"):
        return float(np.float32(value)) == value


def _within(problem: Problem, moves: Mapping[int, Array], side: float) -> list[Mapping[int, Array]]:
    """The moves as they are, then with zeros held (often the edge of a domain), then all to one side."""
    held = {tensor: np.where(problem.x(tensor) == 0, 0.0, move) for tensor, move in moves.items()}
    up = {tensor: np.abs(move) * side for tensor, move in moves.items()}
    down = {tensor: -np.abs(move) * side for tensor, move in moves.items()}
    return [moves, held, up, down]


def difference_table(values: Sequence[float]) -> _Table:
    """ECNoise: the noise level from equally spaced values."""
    differences = np.asarray(values, np.float64)
    steps = np.diff(differences)
    gaps = np.abs(steps[steps != 0])
    gap = float(np.min(gaps, initial=math.inf))
    if 2 * np.count_nonzero(steps == 0) >= steps.size:
        return _Table("flat", 0.0, gap)
    bends = np.sort(np.abs(np.diff(steps)))
    jumps = float(bends[-1]) if bends[bends.size // 2] < 0.02 * bends[-1] else 0.0
    levels, signs, factor = [], [], 1.0
    for k in range(1, len(values) - 1):
        differences = np.diff(differences)
        factor *= k / (2 * (2 * k - 1))
        largest = float(np.max(np.abs(differences)))
        mean = float(np.mean(np.square(differences / largest))) if largest else 0.0
        levels.append(largest * math.sqrt(factor * mean))
        signs.append(bool(np.any(differences > 0) and np.any(differences < 0)))
    for k in range(len(levels) - 2):
        if signs[k] and max(levels[k : k + 3]) <= 4 * min(levels[k : k + 3]):
            return _Table("ok", levels[k], gap, jumps)
    return _Table("curved", min(levels), gap, jumps)


def casts(
    problem: Problem, analytic: Sequence[Float64Array], noise: Noise, f0: float, rng: np.random.Generator
) -> list[bool]:
    """Which float64 tensors the loss converts to float32: changes that float32 cannot hold leave no trace."""
    wide = [t for t, single in enumerate(problem.single) if not single and problem.size(t)]
    found = [False] * len(problem.working)
    grained = noise.single and not all(problem.single)
    if len(wide) > 1 and _casts(problem, wide, analytic, grained, f0, rng):
        return [t in wide for t in range(len(found))]
    for tensor in wide:
        found[tensor] = _casts(problem, [tensor], analytic, grained, f0, rng)
    return found


def _casts(
    problem: Problem,
    tensors: Sequence[int],
    analytic: Sequence[Float64Array],
    grained: bool,
    f0: float,
    rng: np.random.Generator,
) -> bool:
    rounded, wiggled, visible = {}, {}, 0.0
    for tensor in tensors:
        x = problem.x(tensor)
        with np.errstate(over="ignore", under="ignore"):
            near = x.astype(np.float32).astype(np.float64)
        if not np.all(np.isfinite(near)) or np.any((near == 0) & (x != 0)):
            return False
        wiggle = near * rng.choice((-1.0, 1.0), x.shape) * rng.uniform(0.5, 1.0, x.shape) * 2.0**-26
        rounded[tensor], wiggled[tensor] = near - x, near - x + wiggle
        visible += float(np.sum(np.square(analytic[tensor] * wiggle)))
    if not any(np.any(problem.x(tensor) != 0) for tensor in tensors):
        return False  # nothing that could be rounded
    base = problem.value_along(rounded, 1.0)[0]
    if problem.value_along(wiggled, 1.0)[0] != base:
        return False
    return grained or math.sqrt(visible) > 16 * EPS64 * abs(f0)


def gradient_rounding(
    problem: Problem, analytic: Sequence[Float64Array], noise: Noise, rng: np.random.Generator
) -> list[Float64Array]:
    """What rounding may have done to the gradient under test, per entry.

    Third differences of the gradient over very near points; each side of the point alone, because of kinks at it.
    """
    if problem.given is not None:
        eps = [EPS32 if noise.single or single else EPS64 for single in problem.single]
        return [32 * e * np.abs(a) for e, a in zip(eps, analytic, strict=True)]
    moves = increments(problem, MACRO if noise.single else 30, rng)
    sides = [side for side in (_third_difference(problem, moves, s) for s in (1.0, -1.0)) if side is not None]
    bounds = []
    for tensor, a in enumerate(analytic):
        size = np.abs(a)
        allowed = 4 * EPS64 * size
        if sides and a.size:
            own = 1.5 / math.sqrt(20) * np.min([side[tensor] for side in sides], axis=0)
            with np.errstate(all="ignore"):
                relative = float(np.median((own / size)[size > 0])) if np.any(size > 0) else 0.0
            allowed = np.maximum(np.maximum(own, relative * size), allowed)
            if float(np.ptp(scales(problem.x(tensor)))) == 0.0:
                allowed = np.maximum(allowed, 0.5 * float(np.median(own)))
        bounds.append(6 * allowed)
    return bounds


def _third_difference(problem: Problem, moves: Mapping[int, Array], side: float) -> list[Float64Array] | None:
    total: list[Float64Array] | None = None
    for k, weight in zip((1, 2, 3, 4), (1.0, -3.0, 3.0, -1.0), strict=True):
        at = problem.gradient_at(moves, side * k)
        if at is None or not all(np.all(np.isfinite(g)) for g in at):
            return None
        total = [weight * g for g in at] if total is None else [t + weight * g for t, g in zip(total, at, strict=True)]
    sizes = [np.abs(t) for t in total or []]
    return sizes if all(np.all(np.isfinite(size)) for size in sizes) else None
