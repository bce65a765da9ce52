"""Which entries of a compared gradient are to be looked at again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradproof.check.tensor_report import Status, TensorReport

Array = NDArray[Any]
Comparisons: TypeAlias = Sequence[Mapping[str, TensorReport]]  # of the whole gradient, and of its parts

CLOSE: Final = 64.0  # wrong by less than so many uncertainties is a close call


def doubtful(comparisons: Comparisons) -> bool:
    """Whether any entry is wrong or open."""
    return any(tensor.mismatched or tensor.unresolved for tensors in comparisons for tensor in tensors.values())


def entries_of(comparisons: Comparisons, *wanted: Status) -> Array:
    """Indices into theta of the entries that have one of these statuses in one of several comparisons."""
    found: set[int] = set()
    for tensors in comparisons:
        if doubtful([tensors]):
            status = np.concatenate([t.status.ravel() for t in tensors.values() if t.status is not None])
            found.update(np.flatnonzero(np.isin(status, wanted)).tolist())
    return np.array(sorted(found), np.int64)


def close_calls(comparisons: Comparisons) -> Array:
    """Indices into theta of wrong entries that are not far from right in one of several comparisons."""
    found: set[int] = set()
    for tensors in comparisons:
        if any(tensor.mismatched for tensor in tensors.values()):
            excess = np.concatenate([t.excess.ravel() for t in tensors.values() if t.excess is not None])
            near = np.flatnonzero(excess <= CLOSE)
            found.update(np.intersect1d(near, entries_of([tensors], Status.MISMATCH, Status.KINK_MISMATCH)).tolist())
    return np.array(sorted(found), np.int64)
