"""Values of a loss at equally spaced, very near points beside the one that is checked, and what they differ by.

High differences remove a smooth function and leave its rounding (ECNoise: Moré and Wild, "Estimating computational
noise", SIAM J. Sci. Comput. 33, 2011).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.evaluate import Problem

Array = NDArray[Any]
Float64Array = NDArray[np.float64]

MACRO: Final = 19  # spacings are 2^-p relative to the parameters; this one is exact in float32
POINTS: Final = 9
EQUAL: Final = tuple(range(1, POINTS + 1))
UNEQUAL: Final = (1.0, 2.19, 2.91, 4.26, 4.83, 6.11, 7.27, 7.93, 9.0)  # rounding cannot be in step with these
HALVINGS: Final = 20  # after which a smooth change is gone, and a jump is not
DENSE: Final = 3  # steps of a line that have to jump, so that this is rounding and not a place
SHORT: Final = 2.0**-12  # part of a step that hardly contains a jump


@dataclass(frozen=True)
class Table:
    """Outcome of a difference table: ``ok``, ``flat`` (hardly moves) or ``curved`` (no noise to be seen)."""

    state: str
    level: float
    gap: float = math.inf  # smallest step seen
    jumps: float = 0.0  # largest jump, if jumps are few and all else is smooth


def increments(
    problem: Problem, p: int, rng: np.random.Generator, tensors: Iterable[int] | None = None
) -> dict[int, Array]:
    """Random increments of about ``2^-p`` of every parameter, with few digits, so that adding them is exact."""
    moves = {}
    for tensor in range(len(problem.working)) if tensors is None else tensors:
        size = problem.magnitudes(tensor)
        digits = rng.integers(-17, 17, size.shape)  # to 8 .. 24 of either sign
        moves[tensor] = np.where(digits < 0, digits - 7, digits + 8) * 2.0 ** -(p + 4) * size
    return moves


class Line:
    """Values along random lines beside the point, not through it: kinks at the point would look like noise.

    Attributes
    ----------
    largest : float
        Magnitude of the values so far.
    held : collection of int
        Tensors that lines with increments of many digits leave where they are.
    """

    def __init__(self, problem: Problem, f0: float, rng: np.random.Generator) -> None:
        self._problem = problem
        self._rng = rng
        self.largest = abs(f0)
        self.held: Collection[int] = ()
        self._values: list[float] = []
        self._moves: Mapping[int, Array] = {}
        self._last: list[tuple[float, float]] = []

    @property
    def single_values(self) -> bool:
        """Whether all values so far, and not just one, are float32 numbers; one at a point with many digits too."""
        if len(set(self._values)) <= 3 or not all(_is_single(value) for value in self._values):
            return False
        return _is_single(self._problem.value_along(self._increments(MACRO, True), 1.0)[0])

    def table(self, p: int, side: float = 1.0, generic: bool = False) -> Table | None:
        """Difference table at a spacing; None if the loss has no values on any line.

        Parameters
        ----------
        generic : bool
            Whether increments have many digits, so that nothing that is rounded on the way stays exact.
        """
        positions = UNEQUAL if generic else EQUAL
        for moved in _within(self._problem, self._increments(p, generic), side):
            values: list[float] = []
            for k in positions:
                value = self._problem.value_along(moved, k * side)[0]
                if value != value:
                    break
                values.append(value)
            if len(values) == POINTS:
                self._values += values
                self.largest = max(self.largest, *map(abs, values))
                self._moves = {tensor: side * move for tensor, move in moved.items()}
                self._last = list(zip(positions, values, strict=True))
                return difference_table(values, positions)
        return None

    def _increments(self, p: int, generic: bool) -> dict[int, Array]:
        if not generic:
            return increments(self._problem, p, self._rng)
        free = [tensor for tensor in range(len(self._problem.working)) if tensor not in self.held]
        moves = increments(self._problem, p, self._rng, free)
        return {tensor: move * self._rng.uniform(0.5, 1.0, move.shape) for tensor, move in moves.items()}

    def jump(self, noise: float) -> float:
        """Height of a jump on the last line, if most of its steps have one; 0 if what changes there is smooth.

        Bisection: half of a smooth change is left in half of an interval, but all of a jump.

        Parameters
        ----------
        noise : float
            Standard deviation of the values themselves.
        """
        slope = float(np.median([self._slope(*self._last[k]) for k in (0, POINTS // 2, -2)]))

        def bend(a: tuple[float, float], b: tuple[float, float]) -> float:
            return abs(b[1] - a[1] - slope * (b[0] - a[0]))

        steps = list(zip(self._last, self._last[1:], strict=False))
        low, high = max(steps, key=lambda step: bend(*step))
        visible = max(8 * noise, bend(low, high) / 32)
        if sum(bend(*step) > visible for step in steps) < DENSE:
            return 0.0
        for _ in range(HALVINGS):
            k = (low[0] + high[0]) / 2
            middle = k, self._problem.value_along(self._moves, k)[0]
            low, high = (low, middle) if bend(low, middle) >= bend(middle, high) else (middle, high)
        return bend(low, high) if bend(low, high) < math.inf else 0.0

    def _slope(self, k: float, value: float) -> float:
        return (self._problem.value_along(self._moves, k + SHORT)[0] - value) / SHORT

    def beyond(self) -> Table | None:
        """Difference table at the wide spacing from where the last line ended."""
        moves = increments(self._problem, MACRO, self._rng)
        places = [{t: POINTS * move + k * moves[t] for t, move in self._moves.items()} for k in range(POINTS)]
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


@lru_cache(8)
def _weights(positions: tuple[float, ...]) -> tuple[Float64Array, Array]:
    """Divided differences of all orders from 1 to n - 2, as rows of unit length: of white noise they give its size.

    Of all orders together, and where each starts.
    """
    rows = np.eye(len(positions))
    t = np.array(positions)
    orders = []
    for k in range(1, len(positions) - 1):
        rows = np.diff(rows, axis=0) / (t[k:] - t[:-k])[:, None]
        orders.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    return np.concatenate(orders), np.cumsum([0, *map(len, orders[:-1])])


def _jump(bends: Float64Array) -> float:
    """Height of a jump on a smooth background: it bends a line up and down again, and a kink bends it one way."""
    order = np.argsort(np.abs(bends))
    middle, second, largest = bends[order[bends.size // 2]], bends[order[-2]], bends[order[-1]]
    alone = abs(middle) < 0.02 * abs(largest)
    return abs(float(largest)) if alone and -second * np.sign(largest) > 0.5 * abs(largest) else 0.0


def difference_table(values: Sequence[float], positions: Sequence[float] | None = None) -> Table:
    """ECNoise: the noise level from values at equally spaced positions, or at any."""
    v = np.asarray(values, np.float64)
    steps = np.diff(v)
    gaps = np.abs(steps[steps != 0])
    gap = float(np.min(gaps, initial=math.inf))
    if 2 * np.count_nonzero(steps == 0) >= steps.size:
        return Table("flat", 0.0, gap)
    v -= v[0]
    scale = float(np.max(np.abs(v)))
    v /= scale
    weights, starts = _weights(tuple(positions or range(len(values))))
    differences = weights @ v
    counts = np.arange(len(values) - 1, 1, -1)
    levels = (scale * np.sqrt(np.add.reduceat(np.square(differences), starts) / counts)).tolist()
    highest, lowest = np.maximum.reduceat(differences, starts), np.minimum.reduceat(differences, starts)
    signs = ((highest > 0) & (lowest < 0)).tolist()
    jumps = scale * math.sqrt(6) * _jump(differences[starts[1] : starts[2]])  # (1, -2, 1) is of length √6
    for k in range(len(levels) - 2):
        if signs[k] and max(levels[k : k + 3]) <= 4 * min(levels[k : k + 3]):
            return Table("ok", levels[k], gap, jumps)
    return Table("curved", min(levels), gap, jumps)
