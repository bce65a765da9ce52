"""Derivatives with respect to parameters in front of, or in, a Python layer.

The core cannot look into a layer written in Python. Each parameter costs some evaluations of everything from its own
layer on, and some tens of them where there are kinks near by (:mod:`gradproof.check.chain`). Everything is done in
float64, for a float32 model on its float64 twin, which however sees the numbers that the model itself sees: on which
side of a kink these stand is the model's own choice. What is less precise nevertheless, such as a layer that computes
in float32 inside, is measured (:mod:`gradproof.check.answers`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof._cached import cached_property
from gradproof.check.answers import noise_of, rounding_of
from gradproof.check.chain import Chain
from gradproof.check.measurement import Measurement
from gradproof.check.stages import Probe, activations
from gradproof.check.ties import sides_of
from gradproof.nn.model import Sequential

Array = NDArray[Any]

BLOCK: Final = 64  # parameters that are measured together
COARSE: Final = 256.0  # noise that is not that of float64, in units of its round-off


class Ahead:
    """The parameters ahead of the last Python layer, or in it.

    Parameters
    ----------
    model : Sequential
    X, targets : array
        The batch, validated.
    """

    def __init__(self, model: Sequential, X: Array, targets: Array) -> None:
        self.model = model
        twin = model.astype("float64")
        values = targets if targets.dtype == np.int64 else targets.astype(np.float64)
        self.probe = Probe(twin, values, [seen.astype(np.float64) for seen in activations(model, X)])
        self._noise = [noise_of(self.probe, index, x) for index, x in enumerate(self.probe.inputs)]
        self._chain = Chain(self.probe, self._noise, sides_of(self.probe, self._noise))
        unit = float(np.finfo(np.float64).eps) / 2
        coarse = any(
            np.any(own > COARSE * unit * np.max(np.abs(base), initial=0.0))
            for own, base in zip(self._noise, self.probe.base, strict=True)
        )
        single = model.dtype == np.float32 or coarse
        self._rounding = rounding_of(model, X, targets, "float32" if single else "float64")

    def measure(self, entries: Array, *, thoroughly: bool = False) -> Measurement:
        """Measure single parameters; with `thoroughly` also on both sides of what rounding alone has put on one."""
        parts, places = [], []
        for entry in self.model.layout.slices:
            chosen = np.flatnonzero((entries >= entry.offset) & (entries < entry.stop))
            for start in range(0, chosen.size, BLOCK):
                block = chosen[start : start + BLOCK]
                parts.append(self._block(entries[block], thoroughly))
                places.append(block)
        return Measurement.joined(parts)[np.argsort(np.concatenate(places), kind="stable")]

    @cached_property
    def _all_branches(self) -> Chain:
        unit = float(np.finfo(self.model.dtype).eps) / 2
        return Chain(self.probe, self._noise, sides_of(self.probe, self._noise, unit))

    def _block(self, entries: Array, thoroughly: bool) -> Measurement:
        """Some entries of one tensor."""
        chain = self._all_branches if thoroughly else self._chain
        before = chain.evaluations
        found = chain.derivatives(entries)
        mean, spread = found.value.mean(axis=1), found.spread.sum(axis=1)
        error, rounding = found.error.mean(axis=1), self._rounding[entries]
        evaluations = int(np.ceil(chain.evaluations - before))
        kink = spread > error
        rising = np.where(found.rise.sum(axis=1) < 0, -1.0, 1.0)
        low, high = mean - spread, mean + spread
        if found.extremes is not None:
            low, high = np.maximum(low, found.extremes[0]), np.minimum(high, found.extremes[1])
        left, right = np.where(rising > 0, low, high), np.where(rising > 0, high, low)
        left, right = np.where(kink, left, mean), np.where(kink, right, mean)
        return Measurement(mean, error + rounding, rounding, kink, left, right, mean, evaluations)
