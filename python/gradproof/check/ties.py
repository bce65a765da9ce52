"""Where a network stands beside kinks: outputs of its operations that bend near what these see, and on which side.

Near a kink slopes are lost in rounding before values are: what a step of 1e-13 changes has three digits, but the lines
that two pieces follow a little further away meet at a place that is known to the last digit. A piece on whose line the
point does not lie is not its own. Where rounding leaves room for both, so does the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.stages import Probe

Array = NDArray[Any]

NEAR: Final = 2.0**-21  # distances of kinks, relative to the values, up to which the side is asked for
FAR: Final = 2.0**-8
FINER: Final = 2.0**-6  # from one look at the surroundings to the next
FINEST: Final = 2.0**-45
SHIFT: Final = 4.0  # times the largest of those distances: beyond any such kink
BENT: Final = 2.0**-6  # second against first differences: more than any smooth function has over such a distance
NOISES: Final = 4.0  # of an extrapolated value, and the one it is held against
UNIT: Final = 2.0**-53
SAMPLES: Final = 8
MARGIN: Final = 3.0  # of what rounding may do, beside the largest of the samples


@dataclass(frozen=True)
class Sides:
    """Kinks beside what an operation sees.

    Attributes
    ----------
    above, below : bool array, (row, column)
        Outputs with a kink nearby that may lie on the piece that begins above it, and below.
    shift : array
        By how much what the operation sees is to be shifted upwards, to be on the pieces above.
    """

    above: Array
    below: Array
    shift: Array

    @property
    def near(self) -> Array:
        """Outputs whose piece is known, or known to be one of two."""
        return np.asarray(self.above | self.below)


def sides_of(probe: Probe, noise: Sequence[Array], unit: float | None = None) -> dict[int, Sides]:
    """Kinks beside the point, by operation, the loss being the last.

    Parameters
    ----------
    probe : Probe
    noise : sequence of array
        For every operation, a bound on the noise of its outputs.
    unit : float, optional
        Round-off of the model: also count the pieces of all points that are as good as this one, because another order
        of summing leads there.
    """
    with np.errstate(all="ignore"):
        room = [np.zeros_like(x) for x in probe.inputs] if unit is None else _rounding(probe, unit)
        found = {}
        for index in filter(probe.kinked, range(len(probe.stages) + 1)):
            sides = _sides(probe, index, noise[index], room[index])
            if sides.near.any():
                found[index] = sides
    return found


def _sides(probe: Probe, index: int, noise: Array, room: Array) -> Sides:
    x, way = probe.inputs[index], _way(probe, index)
    size = float(np.max(np.abs(way))) or 1.0
    reach = float(np.clip(4 * np.max(room, initial=0.0) / size, NEAR, FAR))
    above, below = _pieces(probe, index, x, reach * way, noise)
    if room.any():
        rng = np.random.default_rng(index)
        for _ in range(SAMPLES):
            there = _pieces(probe, index, x + room * rng.choice((-1.0, 1.0), x.shape), reach * way, noise)
            above, below = above | there[0], below | there[1]
    rows = (above | below).any(axis=1, keepdims=True)
    return Sides(above, below, SHIFT * reach * way * rows)


def _pieces(probe: Probe, index: int, x: Array, way: Array, noise: Array) -> tuple[Array, Array]:
    """Outputs that bend not far from `x` along a way, and may lie on the piece above the kink, and below."""
    here = probe.behind(index, x[None])[0]
    above, below = np.zeros(here.shape, bool), np.zeros(here.shape, bool)
    widest = float(np.max(np.abs(way))) / float(np.sqrt(np.mean(np.square(x))) or 1.0)
    for k in range(1 + int(np.log(max(widest / FINEST, 1.0)) / -np.log(FINER))):
        move = (x + FINER**k * way) - x  # what the sum can hold
        points = [x + step * move for step in (1, 2, 3, -1, -2, -3)]
        values = probe.behind(index, np.stack(points))
        off = [np.abs(point - x - step * move) for point, step in zip(points, (1, 2, 3, -1, -2, -3), strict=True)]
        missed = np.max(np.nan_to_num(np.max(off, axis=0) / np.abs(move)), axis=1, keepdims=True)
        first = np.max(np.abs(np.diff(values.reshape(2, 3, *here.shape), axis=1)), axis=(0, 1))
        rounding = UNIT * np.maximum(np.max(np.abs(values), axis=0), np.abs(here))
        level = np.maximum(noise / 2, rounding) + missed * first
        lines = [2 * values[at] - values[at + 1] for at in (0, 3)]  # of the pieces, where the point is
        curved = [np.abs(values[at] - 2 * values[at + 1] + values[at + 2]) for at in (0, 3)]
        bend = np.abs(values[0] + values[3] - 2 * here)
        turn = np.abs((values[1] - values[0]) + (values[4] - values[3]))
        clear = (bend > BENT * first + NOISES * level) & (np.maximum(*curved) <= BENT * turn + NOISES * level)
        on = [np.abs(line - here) <= 2 * c + NOISES * level for line, c in zip(lines, curved, strict=True)]
        above, below = np.where(clear, on[0], above), np.where(clear, on[1], below)
    return above, below


def _way(probe: Probe, index: int) -> Array:
    """All values up, those further right further, so that no two stay equal."""
    values = probe.inputs[index]
    if index == len(probe.stages):  # every margin of the hinge, by its label's score
        labels = probe.targets
        return -np.eye(values.shape[1])[labels] if labels.ndim == 1 else np.zeros_like(values)
    size = np.sqrt(np.mean(np.square(values))) or 1.0
    return np.asarray(size * (1 + np.arange(values.shape[1]) / values.shape[1]) * np.ones_like(values))


def _rounding(probe: Probe, unit: float) -> list[Array]:
    """How far another way of rounding may put what every operation, and the loss, see.

    Random relative errors of one unit in all parameters and in all that goes in and out (Monte Carlo arithmetic: D. S.
    Parker, B. Pierce and P. R. Eggert, Computing in Science and Engineering 2, 2000).
    """
    rng = np.random.default_rng(0)

    def rounded(values: Array) -> Array:
        return values * (1 + unit * rng.uniform(-1, 1, values.shape))

    off = [np.zeros_like(x) for x in probe.inputs]
    for _ in range(SAMPLES):
        x = probe.inputs[0]
        for index in range(len(probe.stages)):
            x = rounded(probe.with_theta(index, rounded(x), rounded(probe.model.theta)))
            np.fmax(off[index + 1], np.abs(x - probe.inputs[index + 1]), out=off[index + 1])
    return [MARGIN * own for own in off]
