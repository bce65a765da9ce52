"""Derivatives of every sample's loss by single parameters, handed from layer to layer.

Every operation of a network, Python layers among them, is a function of its own. How its outputs change with what it
sees is measured on its forward pass alone (:mod:`gradproof.check.slopes`), output by output, along the directions in
which the layers before it move its inputs: the chain rule, with measured factors. A kink that is 1e-10 away is far away
for a layer whose numbers are of that size, while in a loss of size 1 it is lost in rounding; and kinks of several
layers that cancel in the loss cannot cancel here.

Where an output stands at a kink its factor may be either slope, or anything between: backpropagation takes one branch,
and which one of two equal ones is nobody's business. How far all these choices together may move a derivative is
bounded by how far each of them can, layer by layer from the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.answers import noise_of
from gradproof.check.branches import Jacobians, extremes
from gradproof.check.slopes import GOAL, Slopes, measure_slopes
from gradproof.check.stages import Probe
from gradproof.check.ties import Sides

Array = NDArray[Any]

CARRIERS: Final = 8  # random directions that show what becomes of errors
MARGIN: Final = 4.0  # a bound on what errors of random signs add up to, in their root mean square


@dataclass(frozen=True)
class Tangents:
    """Derivatives of the losses of the samples (line, sample), and bounds on their errors; what choices of branches in
    the rows of that sample can make of that of the mean loss, and by how much it is larger on the right. If known, the
    least and the largest of the latter that any choice gives (line)."""

    value: Array
    error: Array
    spread: Array
    rise: Array
    extremes: tuple[Array, Array] | None = None


@dataclass(frozen=True)
class _Factors:
    """How outputs of an operation change along lines: value, error, and half the jump to the right at a kink; half of
    what the piece above has more than the one below, NaN where another kink was met."""

    value: Array
    error: Array
    jump: Array
    turn: Array


class Chain:
    """The chain rule from parameters to losses.

    Parameters
    ----------
    probe : Probe
        The network at the point.
    noise : sequence of array
        For every operation, and the loss behind them, a bound on the noise of its outputs.
    sides : mapping
        By operation: outputs beside a kink, and the pieces that they may be on.

    Attributes
    ----------
    evaluations : float
        Points that were looked at, in evaluations of the whole network.
    """

    def __init__(self, probe: Probe, noise: Sequence[Array], sides: Mapping[int, Sides]) -> None:
        self.probe, self.noise, self.sides = probe, noise, sides
        self.evaluations = 0.0
        self._gains: dict[int, Array] = {}
        self._beside_noise: dict[tuple[int, int], Array] = {}
        self._jacobians: dict[int, Jacobians] = {}
        self._weight = {len(probe.stages): np.full((probe.m, 1), 1 / probe.m)}

    def derivatives(self, entries: Array) -> Tangents:
        """By single parameters, all of one tensor."""
        first = self.probe.owner(int(entries[0]))
        factors = self._factors(first, entries, None)
        found = self._through(first, factors)
        return replace(found, extremes=self._extremes(first, factors)) if found.spread.any() else found

    def _extremes(self, index: int, factors: _Factors) -> tuple[Array, Array] | None:
        """Of the mean loss, over all branches of an operation and of those behind; None where these are not told."""
        last = len(self.probe.stages)
        if index == last or not all(self.probe.row_by_row(behind) for behind in range(index + 1, last + 1)):
            return None
        jacobians = [self._jacobian(behind) for behind in range(index + 1, last + 1)]
        if any(np.isnan(own.turn).any() for own in jacobians):
            return None
        found = extremes(factors.value, factors.jump, jacobians)
        return None if found is None else (found[0].mean(axis=1), found[1].mean(axis=1))

    def _jacobian(self, index: int) -> Jacobians:
        if index not in self._jacobians:
            x = self.probe.inputs[index]
            lines = np.repeat(np.eye(x.shape[1])[:, None, :], len(x), axis=1)
            found = self._factors(index, None, lines)
            self._jacobians[index] = Jacobians(*(np.moveaxis(part, 0, 1) for part in (found.value, found.turn)))
        return self._jacobians[index]

    def _through(self, index: int, factors: _Factors) -> Tangents:
        """From the outputs of an operation to the losses."""
        tangent, errors = factors.value, factors.error
        spread, rise = self._spread(index, factors.jump)
        for behind in range(index + 1, len(self.probe.stages) + 1):
            factors = self._factors(behind, None, tangent)
            rows = 2 if self.probe.row_by_row(behind) else (1, 2)
            carried = np.max(errors, axis=rows, keepdims=True) * self._gain(behind)
            tangent, errors = factors.value, np.hypot(factors.error, carried)
            more = self._spread(behind, factors.jump)
            spread, rise = spread + more[0], rise + more[1]
        return Tangents(tangent[:, :, 0], MARGIN * errors[:, :, 0], spread, rise)

    def _gain(self, index: int) -> Array:
        """What an operation makes of errors of size 1 and of any signs in all that it sees, (row, column)."""
        if index not in self._gains:
            x = self.probe.inputs[index]
            lines = np.random.default_rng(index).choice((-1.0, 1.0), (CARRIERS, *x.shape))
            slopes = self._slopes(index, x, None, lines, self.noise[index])
            self._gains[index] = np.sqrt(
                np.mean(np.square(np.maximum(np.abs(slopes.left), np.abs(slopes.right))), axis=0)
            )
        return self._gains[index]

    def _spread(self, index: int, jump: Array) -> tuple[Array, Array]:
        """What jumps (line, row, column) of an operation's factors make of the mean loss, by line and row: at most, and
        from the left to the right."""
        tied = np.asarray(jump.any(axis=0))
        if not tied.any():
            return np.zeros(jump.shape[:2]), np.zeros(jump.shape[:2])
        weights = self._weights(index, tied)
        return np.einsum("kij,ij->ki", np.abs(jump), np.abs(weights)), np.einsum("kij,ij->ki", jump, weights)

    def _weights(self, index: int, wanted: Array) -> Array:
        """By how much the mean loss can change with outputs of an operation, and its sign; (row, column)."""
        weights = self._weight.setdefault(index, np.full(self.probe.base[index].shape, np.nan))
        missing = wanted & np.isnan(weights)
        if not missing.any():
            return np.nan_to_num(weights)
        m = self.probe.m
        if all(self.probe.row_by_row(behind) for behind in range(index + 1, len(self.probe.stages) + 1)):
            columns = np.flatnonzero(missing.any(axis=0))
            lines = np.zeros((columns.size, *weights.shape))
            lines[np.arange(columns.size), :, columns] = 1.0
            found = self._through(index, _Factors(lines, *[np.zeros_like(lines)] * 3))
            weights[:, columns] = np.copysign(np.abs(found.value) / m + found.spread, found.value).T
        else:
            places = np.argwhere(missing)
            lines = np.zeros((len(places), *weights.shape))
            lines[np.arange(len(places)), places[:, 0], places[:, 1]] = 1.0
            found = self._through(index, _Factors(lines, *[np.zeros_like(lines)] * 3))
            mean = found.value.mean(axis=1)
            weights[missing] = np.copysign(np.abs(mean) + found.spread.sum(axis=1), mean)
        return np.nan_to_num(weights)

    def _factors(self, index: int, entries: Array | None, lines: Array | None) -> _Factors:
        """Of an operation, by its own parameters or along lines of what it sees."""
        x = self.probe.inputs[index]
        slopes = self._slopes(index, x, entries, lines, self.noise[index])
        value, error = (slopes.left + slopes.right) / 2, slopes.error
        jump = np.where(slopes.apart, (slopes.right - slopes.left) / 2, 0.0)
        turn = np.where(jump == 0, 0.0, np.nan)
        sides = self.sides.get(index)
        if sides is None:
            return _Factors(value, error, jump, turn)
        coarse = error > GOAL * np.max(np.abs(value), axis=(1, 2), keepdims=True)
        wanted = sides.near & (slopes.apart | coarse | (sides.above & sides.below))
        if wanted.any():
            above, above_error = self._beside(index, 1, entries, lines)
            below, below_error = self._beside(index, -1, entries, lines)
            both, up = sides.above & sides.below, sides.above
            low, high = np.minimum(above, below), np.maximum(above, below)
            # More than two pieces may meet: where the sides of the point itself are beyond, there are others.
            seen, wide = np.stack([slopes.left, slopes.right]), above_error + below_error
            others = slopes.apart & (np.max(np.abs(seen - np.clip(seen, low, high)), axis=0) > wide)
            low = np.where(others, np.minimum(low, seen.min(axis=0)), low)
            high = np.where(others, np.maximum(high, seen.max(axis=0)), high)
            wide = wide + np.where(others, slopes.error, 0.0)
            one = np.where(up, above_error, below_error)
            value = np.where(wanted, np.where(both, (low + high) / 2, np.where(up, above, below)), value)
            error = np.where(wanted, np.where(both, wide, one), error)
            jump = np.where(wanted, np.where(both, (high - low) / 2, 0.0), jump)
            turn = np.where(wanted, np.where(both, np.where(others, np.nan, (above - below) / 2), 0.0), turn)
        return _Factors(value, error, jump, turn)

    def _beside(self, index: int, side: int, entries: Array | None, lines: Array | None) -> tuple[Array, Array]:
        """The slopes, and their errors, of the piece to one side (1 above, -1 below), extrapolated to the point."""
        x, shift = self.probe.inputs[index], side * self.sides[index].shift
        noise = self._beside_noise.get((index, side))
        if noise is None:  # the point itself may stand on a flat piece, which has none
            noise = np.maximum(self.noise[index], noise_of(self.probe, index, x + shift))
            self._beside_noise[index, side] = noise
        near, far = (self._slopes(index, x + size * shift, entries, lines, noise) for size in (1, 2))
        return near.left + near.right - (far.left + far.right) / 2, 2 * near.error + far.error

    def _slopes(self, index: int, x: Array, entries: Array | None, lines: Array | None, noise: Array) -> Slopes:
        if entries is not None:
            slopes, looked, units = self._by_parameter(index, x, entries, noise)
        else:
            assert lines is not None
            slopes, looked, units = self._by_input(index, x, lines, noise)
        self.evaluations += looked / (len(self.probe.stages) + 1)
        return slopes.scaled(units)

    def _by_parameter(self, index: int, x: Array, entries: Array, noise: Array) -> tuple[Slopes, int, Array]:
        probe, theta = self.probe, self.probe.model.theta
        own = probe.model.layout[probe.model.layout.name_of(int(entries[0]))[0]]
        size = max(1.0, float(np.sqrt(np.mean(np.square(theta[own.offset : own.stop])))))
        units = np.maximum(size, np.abs(theta[entries]))

        def moved(chosen: Array, steps: Sequence[float]) -> tuple[Array, Array]:
            seen = [[probe.moved(index, x, int(entries[k]), step * units[k]) for k in chosen] for step in steps]
            made = np.array([[step for _, step in line] for line in seen]) / units[chosen]
            return np.array([[output for output, _ in line] for line in seen]), made

        slopes, looked = measure_slopes(moved, len(entries), probe.run(index, x), noise)
        return slopes, looked, 1 / units

    def _by_input(self, index: int, x: Array, lines: Array, noise: Array) -> tuple[Slopes, int, Array]:
        probe = self.probe
        unit = float(np.sqrt(np.mean(np.square(x)))) or 1.0
        norms = np.max(np.abs(lines), axis=(1, 2)) / unit
        along = lines / np.where(norms > 0, norms, 1.0)[:, None, None]
        base = probe.run(index, x)

        def moved(chosen: Array, steps: Sequence[float]) -> tuple[Array, Array]:
            sizes = np.array(steps)
            points = x + np.multiply.outer(sizes, along[chosen])
            outputs = probe.behind(index, points.reshape(-1, *x.shape))
            made = np.repeat(sizes[:, None], len(chosen), axis=1)
            return outputs.reshape(*made.shape, *base.shape), made

        slopes, looked = measure_slopes(moved, len(lines), base, noise)
        return slopes, looked, norms
