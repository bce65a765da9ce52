"""What the kernels are given, checked: every argument as a contiguous array of the one precision of the call.

Arrays may come in any memory order, strided or as nested lists; a copy is made where the kernel could not read them.
Their precision is never changed: the kernels exist in float32 and float64, and mixing the two is a mistake to be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof.nn import validate

Array = NDArray[Any]
#: Extents that are known, and letters for those that are not.
Shape = Sequence[int | str]


def floats(value: Any, name: str, shape: Shape | None = None, like: tuple[str, Array] | None = None) -> Array:
    """A C-contiguous float32 or float64 array of the given shape (None: any), of the dtype of another argument."""
    array = validate.numeric(value, name)
    if array.dtype.newbyteorder("=") not in (np.float32, np.float64):
        raise TypeError(f"{name}: got dtype {array.dtype}, expected float32 or float64")
    array = _contiguous(array, array.dtype.newbyteorder("="))
    if like is not None and array.dtype != like[1].dtype:
        raise TypeError(f"{name}: got {array.dtype}, expected {like[1].dtype} like {like[0]}")
    return _of_shape(array, name, shape)


def batch(value: Any, name: str, like: tuple[str, Array] | None = None) -> Array:
    """An (m, n) array with at least one row, for kernels that take a mean over the rows."""
    array = floats(value, name, ("m", "n"), like)
    if array.size == 0:
        raise ValueError(f"{name}: got shape {array.shape}, expected at least one row and one column")
    return array


def integers(value: Any, name: str, shape: Shape, stop: int, dtype: type[np.integer[Any]]) -> Array:
    """Integers in ``range(stop)``, of any integer type, converted to `dtype`."""
    array = validate.numeric(value, name)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: got dtype {array.dtype}, expected integers")
    _of_shape(array, name, shape)
    _refuse(array, (array < 0) | (array >= stop), name, f"integers from 0 to {stop - 1}")
    return _contiguous(array, dtype)


def targets(value: Any, scores: Array, scores_name: str, allowed: tuple[float, float] | None = None) -> Array:
    """Finite numbers of the shape and dtype of the scores, within bounds; (m,) is fine for one column."""
    array = floats(value, "targets", like=(scores_name, scores))
    m, n = scores.shape
    if n == 1 and array.shape == (m,):
        array = array.reshape(m, 1)
    _of_shape(array, "targets", (m, n))
    right = np.isfinite(array) if allowed is None else (array >= allowed[0]) & (array <= allowed[1])
    expected = "finite numbers" if allowed is None else f"numbers from {allowed[0]} to {allowed[1]}"
    _refuse(array, ~right, "targets", expected)
    return array


def number(value: Any, name: str, smallest: float, largest: float, expected: str) -> float:
    """A finite number in [smallest, largest]."""
    return validate.real(value, name, expected, lambda number: smallest <= number <= largest)


def _refuse(array: Array, wrong: NDArray[np.bool_], name: str, expected: str) -> None:
    if wrong.any():
        position = ", ".join(map(str, np.argwhere(wrong)[0]))
        raise ValueError(f"{name}: got {array[wrong][0]} at [{position}], expected {expected}")


def _contiguous(array: Array, dtype: Any) -> Array:
    return np.require(array, dtype=dtype, requirements=["C", "A"])


def _of_shape(array: Array, name: str, shape: Shape | None) -> Array:
    if shape is None:
        return array
    matches = array.ndim == len(shape) and all(
        isinstance(expected, str) or extent == expected for extent, expected in zip(array.shape, shape, strict=True)
    )
    if not matches:
        text = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise ValueError(f"{name}: got shape {array.shape}, expected ({text})")
    return array
