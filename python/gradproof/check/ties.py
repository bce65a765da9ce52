"""Where a network stands at ties: outputs of its operations that bend within rounding of what these see.

On which side rounding has put them another implementation, or another precision, may see otherwise. What an operation
with ties sees is shifted by a little, upwards and downwards, to have both.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.stages import Probe

Array = NDArray[Any]

TIE: Final = {"float32": 2.0**-21, "float64": 2.0**-46}  # by precision of the model, relative to the values
SHIFT: Final = 2.0**-16  # beyond any tie
BENT: Final = 2.0**-6  # second against first differences: more than any smooth function has over such a distance
ROUNDING: Final = 8.0  # units of round-off


class Ties:
    """The ties at a point.

    Attributes
    ----------
    outputs : dict
        By operation, the loss being the last, if it has any: which outputs (row, column) stand at one.
    shifts : dict
        By how much what it sees is to be shifted upwards, in the rows of these.

    Parameters
    ----------
    probe : Probe
    dtype : numpy.dtype
        Of the model: a tie to its rounding is a tie.
    """

    def __init__(self, probe: Probe, dtype: np.dtype[Any]) -> None:
        self.outputs: dict[int, Array] = {}
        self.shifts: dict[int, Array] = {}
        for index in filter(probe.kinked, range(len(probe.stages) + 1)):
            way = _way(probe, index)
            tied = _bent(probe, index, TIE[dtype.name] * way)
            if tied.any():
                self.outputs[index] = tied
                self.shifts[index] = SHIFT * way * tied.any(axis=1, keepdims=True)


def _way(probe: Probe, index: int) -> Array:
    """All values up, those further right further, so that no two stay equal."""
    values = probe.inputs[index]
    if index == len(probe.stages):  # every margin of the hinge, by its label's score
        labels = probe.targets
        return -np.eye(values.shape[1])[labels] if labels.ndim == 1 else np.zeros_like(values)
    size = np.sqrt(np.mean(np.square(values))) or 1.0
    return np.asarray(size * (1 + np.arange(values.shape[1]) / values.shape[1]) * np.ones_like(values))


def _bent(probe: Probe, index: int, move: Array) -> Array:
    here, values = probe.base[index], probe.inputs[index]
    up, down = probe.behind(index, np.stack([values + move, values - move]))
    first = np.abs(up - here) + np.abs(here - down)
    rounding = ROUNDING * float(np.finfo(np.float64).eps) * np.abs(here)
    return np.asarray(np.abs(up + down - 2 * here) > BENT * first + rounding)
