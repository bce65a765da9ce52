"""Parameters of any structure as a list of named tensors, and back.

One array, or dicts, lists and tuples of arrays, nested as deep as one likes. The names are the keys and positions on
the way to an array, joined by dots, in insertion order, which is taken for the forward order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ROOT: Final = "params"  # the name of an array that stands alone
SPREAD: Final = 4  # a copy keeps the strides of the original unless it would take more than this times the memory


class Parameters:
    """Named tensors of a structure of arrays.

    Parameters
    ----------
    params : ndarray, dict, list or tuple
        Float32 or float64 arrays; 0-d, empty, read-only and strided ones are as good as others.

    Attributes
    ----------
    names : list of str
        Such as ``"layers.2.W"``; ``"params"`` for an array that stands alone.
    arrays : list of ndarray
        Copies with the dtype and the memory layout of the originals.
    shapes : list of tuple of int
    sizes : list of int

    Raises
    ------
    TypeError
        Where something is neither a container nor a float32 or float64 array; the message names it by its path.
    ValueError
        If the structure contains itself, or two tensors get the same name.
    """

    def __init__(self, params: Any) -> None:
        self.names: list[str] = []
        self.arrays: list[Array] = []
        self._read_only: list[bool] = []
        self._structure = self._flatten(params, (), ())
        self.shapes = [array.shape for array in self.arrays]
        self.sizes = [array.size for array in self.arrays]
        twice = {name for name in self.names if self.names.count(name) > 1} if _repeats(self.names) else set()
        if twice:
            raise ValueError(
                f"params: two tensors are called {min(twice)!r}, expected keys that stay apart when joined"
            )

    def _flatten(self, node: Any, path: tuple[str, ...], above: tuple[int, ...]) -> Any:
        """Replace every array by its number."""
        if isinstance(node, np.ndarray):
            if node.dtype.kind != "f" or node.dtype.itemsize not in (4, 8):
                raise TypeError(f"{_path(path)}: got an array of {node.dtype}, expected float32 or float64")
            self.names.append(".".join(path) or ROOT)
            self.arrays.append(copy_layout(node))
            self._read_only.append(not node.flags.writeable)
            return len(self.arrays) - 1
        if not isinstance(node, (dict, list, tuple)):
            raise TypeError(
                f"{_path(path)}: got {_described(node)}, expected an ndarray, or a dict, list or tuple of them"
            )
        if id(node) in above:
            raise ValueError(f"{_path(path)}: the structure contains itself, expected a tree of arrays")
        above = (*above, id(node))
        if isinstance(node, dict):
            return _with_values(node, [self._flatten(value, (*path, str(key)), above) for key, value in node.items()])
        return _with_values(node, [self._flatten(value, (*path, str(i)), above) for i, value in enumerate(node)])

    def rebuild(self, arrays: Sequence[Any]) -> Any:
        """The structure the caller gave, with other leaves in it, one per tensor."""

        def build(node: Any) -> Any:
            if isinstance(node, int):
                return arrays[node]
            return _with_values(node, [build(value) for value in _values(node)])

        return build(self._structure)

    def working(self) -> tuple[Any, list[Array]]:
        """A structure to hand out, and its arrays: views that may be written even where the caller's may not."""
        mine = [copy_layout(array) for array in self.arrays]
        given = [array.view() if only else array for array, only in zip(mine, self._read_only, strict=True)]
        for array, only in zip(given, self._read_only, strict=True):
            if only:
                array.flags.writeable = False
        return self.rebuild(given), mine

    def gradient(self, returned: Any) -> list[NDArray[np.float64]]:
        """Check a gradient against the structure and copy it.

        Parameters
        ----------
        returned : structure of arrays
            Of the structure of the parameters (lists and tuples may stand for one another), the same shapes, and real
            floating-point numbers of any precision. For a 0-d parameter a Python or NumPy scalar will do.

        Returns
        -------
        list of float64 ndarray
            One C-contiguous copy per tensor.

        Raises
        ------
        TypeError, ValueError
            Naming the place by its path, what came and what is expected.
        """
        leaves: list[NDArray[np.float64]] = []

        def take(node: Any, value: Any, path: tuple[str, ...]) -> None:
            if isinstance(node, int):
                leaves.append(self._leaf(node, value, _path(path, "grad")))
                return
            if isinstance(node, dict):
                if not isinstance(value, dict):
                    raise TypeError(f"{_path(path, 'grad')}: got {_described(value)}, expected a dict like params")
                if value.keys() != node.keys():
                    raise ValueError(f"{_path(path, 'grad')}: got the keys {list(value)}, expected {list(node)}")
                for key, below in node.items():
                    take(below, value[key], (*path, str(key)))
                return
            if not isinstance(value, (list, tuple)):
                raise TypeError(
                    f"{_path(path, 'grad')}: got {_described(value)}, expected a {_container(node)} like params"
                )
            if len(value) != len(node):
                raise ValueError(f"{_path(path, 'grad')}: got {len(value)} items, expected {len(node)} like params")
            for i, (below, item) in enumerate(zip(node, value, strict=True)):
                take(below, item, (*path, str(i)))

        take(self._structure, returned, ())
        return leaves

    @staticmethod
    def leaves_of(node: Any) -> list[Any]:
        """What stands at the ends of a structure, in order."""
        if isinstance(node, (dict, list, tuple)):
            return [leaf for value in _values(node) for leaf in Parameters.leaves_of(value)]
        return [node]

    def _leaf(self, number: int, value: Any, path: str) -> NDArray[np.float64]:
        shape = self.shapes[number]
        if isinstance(value, (float, int, np.floating)) and not isinstance(value, bool) and shape == ():
            return np.array(value, np.float64)
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{path}: got {_described(value)}, expected an array of shape {shape}")
        if value.dtype.kind != "f":
            raise TypeError(f"{path}: got an array of {value.dtype}, expected real floating-point numbers")
        if value.shape != shape:
            raise ValueError(f"{path}: got shape {value.shape}, expected {shape}")
        return np.array(value, np.float64, order="C", subok=False)


def copy_layout(array: Array) -> Array:
    """A writable copy with the dtype and the strides of the original.

    Where elements of the original share memory, or the copy would be `SPREAD` times as large as need be, only the
    order of the axes is kept.
    """
    extents = sorted((abs(step), step * (n - 1)) for step, n in zip(array.strides, array.shape, strict=True) if n > 1)
    span = array.itemsize
    for step, extent in extents:
        if step < span:  # elements overlap
            return np.array(array, order="K", subok=True)
        span += abs(extent)
    if array.size == 0 or span > SPREAD * array.nbytes:
        return np.array(array, order="K", subok=True)
    first = -sum(extent for _, extent in extents if extent < 0)
    same: Array = np.ndarray(array.shape, array.dtype, np.zeros(span, np.uint8), first, array.strides)
    same[...] = array
    return same


def _values(node: Any) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else list(node)


def _with_values(node: Any, values: list[Any]) -> Any:
    """A container of the type of `node` with other values."""
    if isinstance(node, tuple):
        make: Callable[..., Any] | None = getattr(type(node), "_make", None)  # of named tuples
        return make(values) if make else tuple(values)
    if type(node) is list:
        return values
    if type(node) is dict:
        return dict(zip(node, values, strict=True))
    same = copy.copy(node)  # subclasses keep what else they know
    for key, value in zip(list(node) if isinstance(node, dict) else range(len(node)), values, strict=True):
        same[key] = value
    return same


def _repeats(names: list[str]) -> bool:
    return len(set(names)) < len(names)


def _path(path: tuple[str, ...], root: str = ROOT) -> str:
    return ".".join((root, *path))


def _container(node: Any) -> str:
    return "dict" if isinstance(node, dict) else "list" if isinstance(node, list) else "tuple"


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if value is None:
        return "None"
    if isinstance(value, (str, int, float, complex)):
        return f"{type(value).__name__} {value!r}"[:80]
    return type(value).__name__
