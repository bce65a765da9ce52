"""Vectors that begin at a cache line: those that do not cost a small network's training step a seventh of its time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

LINE = 64  # bytes: a cache line, and the longest vector of the instruction sets


def empty(size: int, dtype: DTypeLike) -> Array:
    """A vector of `size` numbers, whatever they are."""
    return _within(np.empty(size * np.dtype(dtype).itemsize + LINE, np.uint8), size, dtype)


def zeros(size: int, dtype: DTypeLike) -> Array:
    """A vector of `size` zeros."""
    return _within(np.zeros(size * np.dtype(dtype).itemsize + LINE, np.uint8), size, dtype)


def copy(vector: Array, dtype: DTypeLike) -> Array:
    """A copy of a vector, converted."""
    result = empty(vector.size, dtype)
    np.copyto(result, vector, casting="unsafe")
    return result


def _within(memory: Array, size: int, dtype: DTypeLike) -> Array:
    start = -memory.ctypes.data % LINE
    return memory[start : start + size * np.dtype(dtype).itemsize].view(dtype)
