"""What a diagnosis is made from: one tensor of parameters with both gradients, as far as they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._cached import cached_property
from gradproof.check.tensor_report import EntryReport, Status

Array = NDArray[Any]

# An entry can speak for or against a pattern if it stands out of its uncertainty by this factor.
CLEAR = 10.0
# Of larger arrays so many entries, drawn at random, refute a pattern before all are looked at, and give its numbers.
SAMPLE = 4096


@lru_cache(16)
def sample(size: int) -> Array | slice:
    """Indices of a random sample of a large array, else all."""
    return slice(None) if size <= SAMPLE else np.sort(np.random.default_rng(size).integers(0, size, SAMPLE))


@dataclass
class Tensor:
    """One tensor under test.

    Parameters
    ----------
    name : str
        Name of the tensor.
    shape : tuple of int
        Its shape.
    theta : array
        The parameters.
    analytic, numeric, uncertainty : float64 array or None
        Gradient under test, measured gradient and bound on their difference, of `shape`; NaN where not measured. None
        where only projections were measured; the entries found by bisection are then given as `entries`.
    status : uint8 array or None
        Codes of :class:`~gradproof.check.tensor_report.Status`.
    entries : sequence of EntryReport
        The entries that were measured one by one, if there are no arrays.
    rest_right : bool
        Whether projections proved right all but the wrong ones of these.
    place : str
        Where projections place the mistake, such as ``"rows 0-15"``; empty or ``"throughout"`` if in no part of it.
    gradient : array or None
        The whole gradient under test, where only `entries` of it were measured.
    """

    name: str
    shape: tuple[int, ...]
    theta: Array
    analytic: Array | None
    numeric: Array | None
    uncertainty: Array | None
    status: Array | None
    entries: Sequence[EntryReport] = field(default=())
    rest_right: bool = False
    place: str = ""
    gradient: Array | None = None

    @cached_property
    def whole(self) -> bool:
        """Whether the arrays are given, so that patterns of the shape can be looked for."""
        return self.analytic is not None and self.numeric is not None and self.uncertainty is not None

    @cached_property
    def a(self) -> Array:
        """The gradient under test; of the shape, or 1-D over `entries`."""
        if self.analytic is not None and self.whole:
            return np.asarray(self.analytic, np.float64).reshape(self.shape)
        return np.array([entry.analytic for entry in self.entries], np.float64)

    @cached_property
    def n(self) -> Array:
        """The measured gradient, NaN where it is unknown or undecided."""
        if self.numeric is None or not self.whole:
            return np.array([entry.numeric for entry in self.entries], np.float64)
        n = np.array(self.numeric, np.float64).reshape(self.shape)
        if self.status is not None:
            unusable = (Status.UNCHECKED, Status.UNRESOLVED, Status.KINK, Status.KINK_MISMATCH)
            n[np.isin(np.reshape(self.status, self.shape), unusable)] = np.nan
        n[~np.isfinite(self.a)] = np.nan
        return n

    @cached_property
    def u(self) -> Array:
        """The uncertainty, at least some units in the last place."""
        if self.uncertainty is not None and self.whole:
            u = np.asarray(self.uncertainty, np.float64).reshape(self.shape)
        else:
            u = np.array([entry.uncertainty for entry in self.entries], np.float64)
        eps = np.finfo(np.float64).eps
        with np.errstate(invalid="ignore"):
            floor = 4 * eps * np.maximum(np.abs(self.a), np.abs(self.n)) + 1e-300
        return np.asarray(np.fmax(u, floor))

    @cached_property
    def x(self) -> Array:
        """The parameters that belong to `a`."""
        theta = np.asarray(self.theta, np.float64).reshape(self.shape)
        if self.whole:
            return theta
        return np.array([theta[entry.index] for entry in self.entries], np.float64)

    @cached_property
    def r(self) -> Array:
        """``a - n``."""
        return np.asarray(self.a - self.n)

    @cached_property
    def known(self) -> Array:
        """Where both gradients are known."""
        return np.isfinite(self.n) & np.isfinite(self.u)

    @cached_property
    def wrong(self) -> Array:
        """Where the gradient is wrong."""
        if self.status is not None and self.whole:
            status = np.reshape(self.status, self.shape)
            return np.asarray(((status == Status.MISMATCH) | (status == Status.KINK_MISMATCH)) & np.isfinite(self.a))
        if self.whole:
            with np.errstate(invalid="ignore"):
                return np.asarray(np.abs(self.r) > self.u)
        return np.isin([entry.status for entry in self.entries], ("mismatch", "kink-mismatch"))

    @cached_property
    def is_wrong(self) -> bool:
        """Whether any entry is."""
        return bool(self.wrong.any())

    @cached_property
    def clear(self) -> Array:
        """Where the measured value stands out of its uncertainty, so that being right there means something."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.known & (np.abs(self.n) > CLEAR * self.u))

    @cached_property
    def proved_right(self) -> bool:
        """Right everywhere, with something in it that could have been wrong."""
        if not self.whole:
            return self.rest_right and not self.is_wrong
        return not self.is_wrong and bool(self.clear.any())

    @cached_property
    def mostly_right(self) -> bool:
        """Whether most of what could be wrong is right, so that no pattern of the whole holds."""
        clear = int(self.clear.sum())
        return clear > 0 and int((self.clear & ~self.wrong).sum()) > clear // 2

    @property
    def count(self) -> int:
        """Number of entries with both gradients known."""
        return int(self.known.sum())

    def indices(self, where: Array, limit: int = 20) -> list[list[int]]:
        """The first places of a mask over `a`, as plain lists."""
        if not self.whole:
            return [list(self.entries[i].index) for i in np.flatnonzero(where)[:limit]]
        found = np.argwhere(where) if where.ndim else np.empty((int(where), 0), int)
        return [[int(i) for i in index] for index in found[:limit]]
