"""The pieces of a function that meet where several maxima of a layer stand at ties.

Backpropagation takes one branch of every maximum, all alike; a single parameter that is moved may tip one maximum to
the one side and the next to the other, so that the derivative of no side is that of the branches taken. The pieces are
measured one by one: what a layer with ties sees is shifted by a little, upwards and downwards, and what the layers
behind see is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.row_losses import row_losses
from gradproof.check.sides import Sides
from gradproof.check.stages import Probe, stages_of
from gradproof.nn.plan import Op

Array = NDArray[Any]

KINKED: Final = (Op.RELU, Op.LEAKY_RELU, Op.MAXOUT)
# By precision of the model: what counts as a tie, the shift, and the step of the derivatives, relative to the values.
SIZES: Final = {"float32": (2.0**-20, 2.0**-16, 2.0**-24), "float64": (2.0**-36, 2.0**-20, 2.0**-26)}
BENT: Final = 2.0**-6  # second against first differences: more than any smooth function has over such a distance
ROUNDING: Final = 8.0  # units of round-off
MOST: Final = 3  # layers with ties of which all combinations are taken; of more only all up and all down


class Pieces:
    """The shifted networks around a point.

    Parameters
    ----------
    probe : Probe
        The network at the point.
    dtype : numpy.dtype
        Of the model: a tie to its rounding is a tie.
    """

    def __init__(self, probe: Probe, dtype: np.dtype[Any]) -> None:
        self.tie, self.shift, self.step = SIZES[dtype.name]
        model, stages = probe.model, stages_of(probe.model, single=True)
        self._whole = Probe(model, probe.inputs[0], probe.targets, stages)
        self._ways = [self._way(index) for index in range(len(stages) + 1)]
        rows = {index: self._ties(index) for index in range(len(stages) + 1) if self._kinked(index)}
        self.rows = {index: tied for index, tied in rows.items() if tied.any()}

    def join(self, sides: Sides, entries: Array, noise: Array) -> int:
        """Widen what is known of some entries of a tensor by the pieces. Returns the number of evaluations."""
        if not self.rows:
            return 0
        found, errors, evaluations = [], [], 0
        for signs in self._signs():
            near, far = (self._derivatives(signs, size * self.shift, entries) for size in (1, 2))
            found.append(2 * near - far)
            errors.append(np.abs(near - far).mean(axis=1) + 3 * float(np.mean(noise)) / self.step)
            evaluations += 4 * len(entries)
        sides.widen(np.min(found, axis=0), np.max(found, axis=0), np.max(errors, axis=0))
        return evaluations

    def _kinked(self, index: int) -> bool:
        stages = self._whole.stages
        if index == len(stages):
            return self._whole.model.loss_name == "hinge"
        return stages[index].node is not None or int(stages[index].ops[0, 0]) in KINKED

    def _way(self, index: int) -> Array:
        """Where a stage is shifted to: all values up, those further right further, so that no two stay equal."""
        values = self._whole.inputs[index]
        if index == len(self._whole.stages):  # every margin of the hinge, by its label's score
            labels = self._whole.targets
            return -np.eye(values.shape[1])[labels] if labels.ndim == 1 else np.zeros_like(values)
        size = np.sqrt(np.mean(np.square(values))) or 1.0
        return np.asarray(size * (1 + np.arange(values.shape[1]) / values.shape[1]) * np.ones_like(values))

    def _ties(self, index: int) -> Array:
        """Rows of which the output bends within the distance of a tie."""
        values, move = self._whole.inputs[index], self.tie * self._ways[index]

        def output(x: Array) -> Array:
            if index == len(self._whole.stages):
                return row_losses(self._whole.model.loss_name, x, self._whole.targets)[:, None]
            return self._whole.run(index, x)

        here, up, down = output(values), output(values + move), output(values - move)
        first = np.abs(up - here) + np.abs(here - down)
        rounding = ROUNDING * float(np.finfo(np.float64).eps) * np.abs(here)
        return np.asarray(np.any(np.abs(up + down - 2 * here) > BENT * first + rounding, axis=1))

    def _signs(self) -> Iterator[dict[int, float]]:
        tied = list(self.rows)
        if len(tied) <= MOST:
            ways = list(product((-1.0, 1.0), repeat=len(tied)))
        else:
            ways = [tuple([sign] * len(tied)) for sign in (-1.0, 1.0)]
        return (dict(zip(tied, signs, strict=True)) for signs in ways)

    def _derivatives(self, signs: dict[int, float], shift: float, entries: Array) -> Array:
        """(entry, sample) in the piece that the signs say."""
        whole = self._whole
        inputs = list(whole.inputs)
        for index, sign in signs.items():
            inputs[index] = inputs[index] + sign * shift * self._ways[index] * self.rows[index][:, None]
        shifted = Probe(whole.model, inputs[0], whole.targets, whole.stages, inputs)
        up, down = shifted.losses(entries, (self.step, -self.step))
        return np.asarray((up - down) / (2 * self.step))
