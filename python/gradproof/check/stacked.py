"""Derivatives with respect to parameters in front of, or in, a Python layer, by ordinary evaluations.

The core cannot look into a layer written in Python, so each parameter costs whole evaluations of everything from its
own layer on (:mod:`gradproof.check.stages`); the layers before are computed once. Everything is done in float64, on the
float64 twin of a float32 model; what is less precise nevertheless, such as a layer that computes in float32 inside, is
measured (:mod:`gradproof.check.answers`), and wider steps are tried then.

Per sample and parameter the loss is measured at 0, +-h, +-2h, +-4h. Richardson extrapolation of the central quotients
gives the derivative with an error O(h^6), and of the quotients of either side the one-sided derivatives with O(h^3);
the difference to the next lower order, and noise over h, bound the error. Where the two sides do not agree a kink
stands at the point or within the step, which shrinks: 1e-3, 3e-5, 1e-6, 3e-8. What is left is decided sample by sample
(:mod:`gradproof.check.sides`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.answers import noise_of, rounding_of
from gradproof.check.measurement import Measurement
from gradproof.check.pieces import Pieces
from gradproof.check.sides import NODES, Sides
from gradproof.check.stages import Probe, stages_of
from gradproof.nn.model import Sequential

Array = NDArray[Any]

STEPS: Final = (2.0**-10, 2.0**-15, 2.0**-20, 2.0**-25)
WIDE: Final = (2.0**-4, 2.0**-7)  # tried first where noise is that of float32
BLOCK: Final = 64  # perturbations stacked in one call; what is in memory at a time
NOISE: Final = 8.0  # round-off of one sample's loss, in units of eps * (1 + |loss|); observed below 2
DEVIATIONS: Final = 4.0  # a bound on measured noise, in standard deviations
COARSE: Final = 64.0  # measured noise that is not that of float64, in units of that


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
        self.probe = Probe(twin, X.astype(np.float64), values, stages_of(twin))
        self._floor = NOISE * float(np.finfo(np.float64).eps) / 2 * (1 + np.abs(self.probe.base))
        self._noise = {e.name: noise_of(self.probe, slice(e.offset, e.stop)) for e in self._tensors()}
        single = model.dtype == np.float32 or any(self._coarse(name) for name in self._noise)
        self._rounding = rounding_of(model, X, targets, "float32" if single else "float64")

    def measure(self, entries: Array, *, thoroughly: bool = False) -> Measurement:
        """Measure single parameters; with `thoroughly` also all branches that maxima at ties may take together."""
        pieces = Pieces(self.probe, self.model.dtype) if thoroughly else None
        parts, places = [], []
        for entry in self.model.layout.slices:
            chosen = np.flatnonzero((entries >= entry.offset) & (entries < entry.stop))
            for start in range(0, chosen.size, BLOCK):
                block = chosen[start : start + BLOCK]
                parts.append(self._block(entry.name, entries[block], pieces))
                places.append(block)
        return Measurement.joined(parts)[np.argsort(np.concatenate(places), kind="stable")]

    def _tensors(self) -> list[Any]:
        first = len(self.probe.stages) - (self.probe.stages[-1].node is None)
        behind = [start for stage in self.probe.stages[first:] for start, _ in stage.parameters(self.model)]
        end = min(behind, default=self.model.layout.size)
        return [entry for entry in self.model.layout.slices if entry.size and entry.offset < end]

    def _coarse(self, name: str) -> bool:
        return bool(np.any(self._noise[name] > COARSE * self._floor))

    def _block(self, name: str, entries: Array, pieces: Pieces | None) -> Measurement:
        """Some entries of one tensor: all with the widest step, those that this leaves too uncertain with narrower."""

        def losses(chosen: Array, steps: Sequence[float]) -> Array:
            return self.probe.losses(entries[chosen], steps) - self.probe.base

        noise = np.maximum(self._floor, DEVIATIONS * self._noise[name])
        rounding = self._rounding[entries]
        sides = Sides(len(entries), noise, rounding)
        pending = np.arange(len(entries))
        evaluations = 0
        for step in WIDE + STEPS if self._coarse(name) else STEPS:
            sides.take(pending, losses(pending, [k * step for k in NODES]), step)
            evaluations += len(NODES) * len(pending)
            pending = sides.unsettled
            if not pending.size:
                break
        else:
            evaluations += sides.tell_apart(losses)
        if pieces is not None:
            evaluations += sides.confirm(losses)
            evaluations += pieces.join(sides, entries, noise)
        return sides.measured(evaluations)
