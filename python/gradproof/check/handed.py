"""The arrays that a loss and a gradient get to see: at the point, moved, and put back; written into or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof.check.tree import Parameters

Array = NDArray[Any]
Float64Array = NDArray[np.float64]


class Handed:
    """A structure like the caller's, of arrays of its own, with the caller's dtypes and memory layout.

    Attributes
    ----------
    parameters : Parameters
        The point.
    structure : structure of arrays
        What is handed out; `working` are its arrays.
    disturbed : set of str
        ``"loss"`` and ``"grad"``, if they wrote into what they were given; `disturbances` names the tensors.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.disturbed: set[str] = set()
        self.disturbances: set[str] = set()
        self._afresh()

    def _afresh(self) -> None:
        self.structure, self.working = self.parameters.working()
        self._flat: list[Any] = [a.reshape(-1) if a.flags.c_contiguous else a.flat for a in self.working]

    def intact(self, suspect: str) -> bool:
        """Whether the arrays handed out hold the point; if not, `suspect` is blamed and they are restored."""
        pairs = zip(self.working, self.parameters.arrays, strict=True)
        changed = [tensor for tensor, (mine, pristine) in enumerate(pairs) if not _same(mine, pristine)]
        if not changed and self._same_structure():
            return True
        for tensor in changed:
            self._blame(suspect, tensor)
        self.disturbed.add(suspect)
        self._afresh()
        return False

    def _same_structure(self) -> bool:
        """Whether the containers still hold the arrays they held."""
        try:
            arrays = Parameters.leaves_of(self.structure)
        except RecursionError:
            return False
        return len(arrays) == len(self.working) and all(
            isinstance(array, np.ndarray) and np.may_share_memory(array, mine) and array.shape == mine.shape
            for array, mine in zip(arrays, self.working, strict=True)
            if mine.size
        )

    def _argument(self) -> Any:
        if self.disturbed:
            self._afresh()
        return self.structure

    def _blame(self, suspect: str, tensor: int) -> None:
        self.disturbed.add(suspect)
        self.disturbances.add(self.parameters.names[tensor])

    def _restore(self, tensors: Iterable[int]) -> None:
        if self.disturbed:
            self._afresh()
            return
        for tensor in tensors:
            self.working[tensor][...] = self.parameters.arrays[tensor]

    def _move(self, moves: Mapping[int, Array], h: float) -> dict[int, Float64Array]:
        if self.disturbed:
            self._afresh()
        displacements = {}
        for tensor, move in moves.items():
            mine, pristine = self.working[tensor], self.parameters.arrays[tensor]
            mine[...] = pristine + h * move
            displacements[tensor] = np.subtract(mine, pristine, dtype=np.float64)
        return displacements


def _same(a: Array, b: Array) -> bool:
    """Equal bit for bit, as far as numbers show: NaN equals NaN."""
    if np.array_equal(a, b):
        return True
    return bool(np.array_equal(a, b, equal_nan=True))
