"""Named, shaped slices of one flat vector: how a model's parameters lie in ``theta``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof._cached import cached_property


@dataclass(frozen=True)
class Slice:
    """One tensor inside a flat vector.

    Attributes
    ----------
    name : str
        Unique in its layout, for example ``"dense_0.W"``.
    offset : int
        Index of the tensor's first element in the vector.
    shape : tuple of int
        Shape of the tensor; its elements lie in C order.
    regularized : bool
        Whether L1 and L2 act on it (weights: yes; biases, gamma and beta: no).
    """

    name: str
    offset: int
    shape: tuple[int, ...]
    regularized: bool = False

    @cached_property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @cached_property
    def stop(self) -> int:
        """Index one past the tensor's last element."""
        return self.offset + self.size


@dataclass(frozen=True)
class Layout:
    """Slices in declaration order, without gaps.

    Examples
    --------
    >>> layout = Layout.of([("W", (2, 3), True), ("b", (3,), False)])
    >>> layout.size
    9
    >>> layout.name_of(5)
    ('W', (1, 2))
    """

    slices: tuple[Slice, ...]

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, tuple[int, ...], bool]]) -> Layout:
        """Lay out ``(name, shape, regularized)`` one behind the other."""
        slices: list[Slice] = []
        offset = 0
        for name, shape, regularized in tensors:
            slices.append(Slice(name, offset, shape, regularized))
            offset = slices[-1].stop
        return cls(tuple(slices))

    @property
    def size(self) -> int:
        """Length of the flat vector."""
        return self.slices[-1].stop if self.slices else 0

    @cached_property
    def _by_name(self) -> dict[str, Slice]:
        return {entry.name: entry for entry in self.slices}

    @cached_property
    def _stops(self) -> NDArray[np.int64]:
        return np.array([entry.stop for entry in self.slices], dtype=np.int64)

    def __getitem__(self, name: str) -> Slice:
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(f"no tensor is called {name!r}; there are {', '.join(self._by_name) or 'none'}") from None

    def view(self, vector: NDArray[Any], name: str) -> NDArray[Any]:
        """The tensor ``name`` as a reshaped view of ``vector``: writing to it writes to the vector."""
        entry = self[name]
        return vector[entry.offset : entry.stop].reshape(entry.shape)

    def name_of(self, index: int) -> tuple[str, tuple[int, ...]]:
        """The tensor and the position in it of one flat index, ``("dense_1.W", (3, 17))``.

        Raises
        ------
        IndexError
            If `index` is not in ``0 .. size - 1``.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"index: got {index}, expected 0 <= index < {self.size}")
        # The first slice that ends behind the index; empty tensors end where they begin and are never it.
        entry = self.slices[int(np.searchsorted(self._stops, index, side="right"))]
        position = np.unravel_index(index - entry.offset, entry.shape)
        return entry.name, tuple(int(i) for i in position)

    @cached_property
    def regularized_runs(self) -> tuple[tuple[int, int], ...]:
        """``(start, stop)`` of the longest contiguous stretches of regularized tensors."""
        runs: list[tuple[int, int]] = []
        for entry in self.slices:
            if not entry.regularized or not entry.size:
                continue
            if runs and runs[-1][1] == entry.offset:
                runs[-1] = (runs[-1][0], entry.stop)
            else:
                runs.append((entry.offset, entry.stop))
        return tuple(runs)


class Views(Mapping[str, NDArray[Any]]):
    """The tensors of one flat vector by name; reading gives a view, assigning writes through.

    Views are made on demand and never kept, so a pickled, copied or converted model cannot be
    left with tensors that are torn off its vector.
    """

    def __init__(self, layout: Layout, vector: NDArray[Any]) -> None:
        self._layout = layout
        self._vector = vector

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._layout.view(self._vector, name)

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        view = self[name]
        array = np.asarray(value)
        if array.shape != view.shape:
            raise ValueError(f"{name}: got shape {array.shape}, expected {view.shape}")
        np.copyto(view, array, casting="same_kind")

    def __iter__(self) -> Iterator[str]:
        return (entry.name for entry in self._layout.slices)

    def __len__(self) -> int:
        return len(self._layout.slices)

    def __repr__(self) -> str:
        tensors = ", ".join(f"{entry.name} {entry.shape}" for entry in self._layout.slices)
        return f"<{len(self)} tensors: {tensors}>"
