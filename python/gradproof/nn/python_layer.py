"""Running a layer that the user wrote, and checking what it hands back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof.nn.layers import Layer
from gradproof.nn.layout import Views
from gradproof.nn.structure import Node, blamed, writes_named

Array = NDArray[Any]


@dataclass(frozen=True)
class Narrowed:
    """A float array that came back from ``backward`` in fewer digits than `dy` has.

    Attributes
    ----------
    node : Node
    parameter : str
        Whose gradient it is; empty for ``dx``.
    came, given : str
        Names of its dtype, and of that of `dy`.
    """

    node: Node
    parameter: str
    came: str
    given: str


_narrowed: ContextVar[list[Narrowed] | None] = ContextVar("_narrowed", default=None)


@contextmanager
def narrowed() -> Iterator[list[Narrowed]]:
    """Collect what comes back in fewer digits meanwhile."""
    found: list[Narrowed] = []
    token = _narrowed.set(found)
    try:
        yield found
    finally:
        _narrowed.reset(token)


def forward(node: Node, x: Array, parameters: Views, training: bool) -> tuple[Array, Any]:
    """``(y, cache)`` of the layer, `y` as a C-contiguous (m, n_out) array of the dtype of `x`.

    Raises
    ------
    TypeError, ValueError
        Naming the layer and what it returned, if that is no pair or not such an array.
    """
    with blamed(node.layer, node.index, node.name, "forward", x):
        return _forward(node, x, parameters, training)


def _forward(node: Node, x: Array, parameters: Views, training: bool) -> tuple[Array, Any]:
    with writes_named(node.name, "forward"):
        returned = _layer(node).forward(_read_only(x), _own(node, parameters), training)
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise TypeError(f"{node.name}: forward returned {type(returned).__name__}, expected a pair (y, cache)")
    y, cache = returned
    return _array(y, (len(x), node.n_out), x.dtype, f"{node.name}: forward: y"), cache


def backward(node: Node, dy: Array, cache: Any, parameters: Views, gradient: Views) -> Array:
    """Add the layer's parameter gradients to `gradient`, and return ``dx`` of shape (m, n_in)."""
    with blamed(node.layer, node.index, node.name, "backward", dy):
        return _backward(node, dy, cache, parameters, gradient)


def _backward(node: Node, dy: Array, cache: Any, parameters: Views, gradient: Views) -> Array:
    with writes_named(node.name, "backward"):
        returned = _layer(node).backward(dy, cache, _own(node, parameters))
    if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict)):
        raise TypeError(
            f"{node.name}: backward returned {type(returned).__name__}, expected a pair (dx, dict of gradients)"
        )
    dx, gradients = returned
    if set(gradients) != set(node.shapes):
        raise ValueError(
            f"{node.name}: backward returned gradients of {sorted(map(str, gradients))}, expected {sorted(node.shapes)}"
        )
    found = _narrowed.get()
    if found is not None:
        handed = {"": np.asarray(dx), **{name: np.asarray(value) for name, value in gradients.items()}}
        found += [
            Narrowed(node, name, array.dtype.name, dy.dtype.name)
            for name, array in handed.items()
            if array.dtype.kind == "f" and array.dtype.itemsize < dy.dtype.itemsize
        ]
    dx = _array(dx, (len(dy), node.n_in), dy.dtype, f"{node.name}: backward: dx")
    arrays = {
        name: _array(gradients[name], shape, dy.dtype, f"{node.name}: backward: gradient of {name}")
        for name, shape in node.shapes.items()
    }
    for name, array in arrays.items():
        gradient[node.path(name)] += array
    return dx


def _layer(node: Node) -> Layer:
    assert isinstance(node.layer, Layer)
    return node.layer


def _own(node: Node, parameters: Views) -> dict[str, Array]:
    return {name: _read_only(parameters[node.path(name)]) for name in node.shapes}


def _read_only(array: Array) -> Array:
    view = array.view()
    view.setflags(write=False)
    return view


def _array(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], source: str) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{source}: has dtype {array.dtype}, expected real numbers")
    if array.shape != shape:
        raise ValueError(f"{source}: has shape {array.shape}, expected {shape}")
    return np.asarray(array, dtype=dtype, order="C")
