"""What comes in from outside, checked in one place."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._messages import shown

Array = NDArray[Any]

WIDEST = 2**31 - 1  # values per row; keeps every size of a network inside 64 bits

SMALLEST_EPSILON = float(np.finfo(np.float32).tiny)  # with less, float32 would divide by zero
SMALLEST_KEEP_PROB = 2.0**-24  # a dropout mask has 24 random bits for each element

_DTYPES = ("float32", "float64")


def dtype(value: Any) -> np.dtype[Any]:
    """float32 or float64, from a name or a NumPy type."""
    try:
        name = "" if value is None else np.dtype(value).name
    except Exception:  # whatever NumPy makes of what came
        name = ""
    if name not in _DTYPES:
        raise ValueError(f"dtype: got {shown(value)}, expected one of {', '.join(map(repr, _DTYPES))}")
    return np.dtype(name)


def flag(value: Any, name: str) -> bool:
    """True or False, of NumPy too."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: got {shown(value)}, expected True or False")
    return bool(value)


def whole(value: Any, name: str, smallest: int, largest: int) -> int:
    """An integer within bounds."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name}: got {shown(value)}, expected a whole number")
    number = int(value)
    if not smallest <= number <= largest:
        raise ValueError(f"{name}: got {shown(number)}, expected a whole number from {smallest} to {largest}")
    return number


def names(value: Any, name: str, expected: str) -> tuple[str, ...]:
    """One name or several; `expected` says in words of what."""
    try:
        found = (value,) if isinstance(value, str) else tuple(value)
    except TypeError:
        found = (value,)
    for one in found:
        if not isinstance(one, str):
            raise TypeError(f"{name}: got {shown(one)}, expected {expected}")
    return found


def real(value: Any, name: str, expected: str, allowed: Callable[[float], bool]) -> float:
    """A finite number that is allowed; `expected` says in words which are."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name}: got {shown(value)}, expected {expected}")
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = inf
    if not (isfinite(number) and allowed(number)):
        raise ValueError(f"{name}: got {number:g}, expected {expected}")
    return number


def nonnegative(value: Any, name: str) -> float:
    """A finite number >= 0."""
    return real(value, name, "a finite number >= 0", lambda number: number >= 0)


def inputs(X: Any, n_in: int, dtype: np.dtype[Any], name: str = "X") -> Array:
    """A batch of inputs, as a finite C-contiguous (m, n_in) array of the model's dtype."""
    return finite(table(X, n_in, name), dtype, name)


def table(X: Any, n_in: int, name: str = "X") -> Array:
    """Real numbers of shape (m, n_in), whatever they are."""
    array = numeric(X, name)
    if array.ndim != 2:
        hint = " (one sample is X.reshape(1, -1))" if array.ndim == 1 else ""
        raise ValueError(f"{name}: got shape {array.shape}, expected (m, {n_in}){hint}")
    if array.shape[1] != n_in:
        raise ValueError(f"{name}: got {array.shape[1]} features, expected {n_in}")
    if array.shape[0] == 0:
        raise ValueError(f"{name}: got no rows, expected at least one")
    return array


def numeric(value: Any, name: str) -> Array:
    """Anything array-like that holds real numbers."""
    array = np.asarray(_array(value, name, "an array of numbers"))
    if array.dtype.kind not in "fiub":
        hint = "; use .toarray() for a sparse matrix" if hasattr(value, "toarray") else ""
        raise TypeError(f"{name}: got {type(value).__name__} of dtype {array.dtype}, expected real numbers{hint}")
    return array


def rows(value: Any, name: str) -> Array:
    """Anything array-like, of whatever kind and with subclasses as they are, that has a first axis to count rows by."""
    array = _array(value, name, "an array with one row per sample")
    if array.ndim == 0:
        given = "a sparse matrix (use .toarray())" if hasattr(value, "toarray") else "a single value"
        raise ValueError(f"{name}: got {given}, expected an array with one row per sample")
    return array


def _array(value: Any, name: str, expected: str) -> Array:
    whole_array(value, name)
    try:
        return np.asanyarray(value)
    except Exception as error:
        raise ValueError(f"{name}: got {type(value).__name__}, expected {expected} ({error})") from error


def whole_array(value: Any, name: str) -> None:
    """Refuse a masked array with missing values: everything behind this line would take them for numbers."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name}: got a masked array with missing values, expected none missing")


def stored(array: Array, dtype: np.dtype[Any]) -> Array:
    """The array in C order, aligned and of this dtype; what is too large for it becomes infinite."""
    if array.dtype == dtype and array.flags.carray:
        return array
    with np.errstate(over="ignore"):
        return np.require(array, dtype, ["C", "A"])


def finite(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    """The array in C order, aligned and of the model's dtype; NaN and infinity are refused with their position."""
    converted = stored(array, dtype)
    good = np.isfinite(converted)
    if not good.all():
        position = tuple(int(i) for i in np.argwhere(~good)[0])
        value = array[position]
        too_large = f" (too large for {dtype})" if np.isfinite(value) else ""
        where = f"{name}[{', '.join(map(str, position))}] is" if position else "got"
        raise ValueError(f"{name}: {where} {value}{too_large}, expected finite numbers")
    return converted
