"""A list of layers, resolved: names, widths, parameters and where they lie in ``theta``."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradproof.nn import initializers
from gradproof.nn.layers import BUILT_IN, BatchNorm, BuiltIn, Dense, Dropout, Layer, Maxout
from gradproof.nn.layout import Layout
from gradproof.nn.validate import WIDEST

AnyLayer: TypeAlias = BuiltIn | Layer
Shapes: TypeAlias = dict[str, tuple[int, ...]]

_INIT_STREAM = 1  # the random numbers of initialization belong to nothing else


@dataclass(frozen=True)
class Node:
    """One layer in its place.

    Attributes
    ----------
    layer : BuiltIn or Layer
        The specification.
    index : int
        Position in the model; also the stream of its dropout mask.
    stream : int
        Of its initial parameters: position among the layers that stay in the model when it is regularized otherwise,
        all but Dropout and BatchNorm. Putting those in, or taking them out, leaves the other layers' start as it was.
    name : str
        ``"dense_0"``: the kind, and how many of that kind came before.
    n_in, n_out : int
        Values per row going in and coming out.
    shapes : dict
        Parameter name (``"W"``) to shape.
    """

    layer: AnyLayer
    index: int
    stream: int
    name: str
    n_in: int
    n_out: int
    shapes: Shapes

    def path(self, parameter: str) -> str:
        """Full name of a parameter or buffer, ``"dense_0.W"``."""
        return f"{self.name}.{parameter}"


@dataclass(frozen=True)
class Structure:
    """The nodes of a network, with the layouts of its parameters and its buffers."""

    nodes: tuple[Node, ...]
    layout: Layout
    buffer_layout: Layout

    @classmethod
    def of(cls, nodes: Sequence[Node]) -> Structure:
        parameters = [
            (node.path(name), shape, name in _regularized(node.layer))
            for node in nodes
            for name, shape in node.shapes.items()
        ]
        buffers = [
            (node.path(name), (node.n_out,), False)
            for node in nodes
            if isinstance(node.layer, BatchNorm)
            for name in ("running_mean", "running_variance")
        ]
        return cls(tuple(nodes), Layout.of(parameters), Layout.of(buffers))

    @property
    def input_size(self) -> int:
        return self.nodes[0].n_in

    @property
    def output_size(self) -> int:
        return self.nodes[-1].n_out


def resolve(
    layers: Sequence[AnyLayer], input_size: int, seed: int, *, widest_python_input: int = WIDEST
) -> tuple[Structure, dict[str, NDArray[np.float64]]]:
    """Names, widths and shapes of all layers, without allocating the parameters of the built-in ones.

    Python layers do allocate, in ``build`` and when their output width is found out; `widest_python_input` bounds that
    for sizes that nobody vouches for.

    Returns
    -------
    structure : Structure
    built : dict
        What the ``build`` of Python layers returned, by full name; :func:`initial_theta` wants it.

    Raises
    ------
    TypeError
        For a subclass of a built-in layer: the core would run the layer that it comes from.
    """
    count: Counter[str] = Counter()
    nodes: list[Node] = []
    built: dict[str, NDArray[np.float64]] = {}
    n_in, stream = input_size, 0
    for index, layer in enumerate(layers):
        if isinstance(layer, BuiltIn) and type(layer) not in BUILT_IN.values():
            raise TypeError(
                f"layers[{index}]: got {type(layer).__name__}, which derives from a built-in layer, expected one as it "
                f"is: subclass gp.Layer for layers of your own"
            )
        kind = _kind(layer)
        name = f"{kind}_{count[kind]}"
        count[kind] += 1
        if isinstance(layer, BuiltIn):
            before_batch_norm = index + 1 < len(layers) and isinstance(layers[index + 1], BatchNorm)
            shapes, n_out = _shapes(layer, n_in, before_batch_norm), layer.output_size(n_in)
        else:
            if n_in > widest_python_input:
                raise ValueError(f"layers[{index}] ({name}): got {n_in} inputs, expected at most {widest_python_input}")
            with blamed(layer, index, name):
                values = _build(layer, name, n_in, _rng(seed, stream))
                n_out = _probe(layer, name, n_in, values)
            built.update({f"{name}.{key}": value for key, value in values.items()})
            shapes = {key: value.shape for key, value in values.items()}
        widest = max([n_out, *(shape[-1] for shape in shapes.values() if shape)])
        if widest > WIDEST:
            raise ValueError(f"layers[{index}] ({name}): got {widest} values per row, expected at most {WIDEST}")
        nodes.append(Node(layer, index, stream, name, n_in, n_out, shapes))
        n_in = n_out
        stream += not isinstance(layer, (Dropout, BatchNorm))
    return Structure.of(nodes), built


def initial_theta(structure: Structure, seed: int, built: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """All parameters at the start, in float64. Every layer draws from a stream of its own."""
    theta = np.zeros(structure.layout.size)
    for node in structure.nodes:
        layer = node.layer
        rng = _rng(seed, node.stream)
        for parameter, shape in node.shapes.items():
            view = structure.layout.view(theta, node.path(parameter))
            if isinstance(layer, (Dense, Maxout)) and parameter == "W":
                view[...] = initializers.draw(layer.init, rng, shape, node.n_in, node.n_out)
            elif isinstance(layer, BatchNorm) and parameter == "gamma":
                view[...] = 1.0
            elif isinstance(layer, Layer):
                view[...] = built[node.path(parameter)]
    return theta


def initial_buffers(structure: Structure) -> NDArray[np.float64]:
    """Running statistics before any batch was seen: mean 0, variance 1."""
    buffers = np.zeros(structure.buffer_layout.size)
    for entry in structure.buffer_layout.slices:
        if entry.name.endswith(".running_variance"):
            structure.buffer_layout.view(buffers, entry.name)[...] = 1.0
    return buffers


def _shapes(layer: BuiltIn, n_in: int, before_batch_norm: bool) -> Shapes:
    match layer:
        case Dense():
            bias = layer.bias and not before_batch_norm
            return {"W": (n_in, layer.units)} | ({"b": (layer.units,)} if bias else {})
        case Maxout():
            columns = layer.units * layer.pieces
            return {"W": (n_in, columns), "b": (columns,)}
        case BatchNorm():
            return {"gamma": (n_in,), "beta": (n_in,)}
        case _:
            return {}


def _regularized(layer: AnyLayer) -> tuple[str, ...]:
    return layer.regularized if isinstance(layer, Layer) else ("W",)


def _kind(layer: AnyLayer) -> str:
    if isinstance(layer, BuiltIn):
        return layer.kind
    # "MyRBFLayer" -> "my_rbf_layer"
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(layer).__name__).lower()


def _rng(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, _INIT_STREAM, stream))))


def _build(layer: Layer, name: str, n_in: int, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    values: Any = layer.build(n_in, rng)
    if not isinstance(values, dict):
        raise TypeError(f"{name}: build returned {type(values).__name__}, expected a dict of name: array")
    for key in values:
        if not (isinstance(key, str) and key.isidentifier()):
            raise ValueError(f"{name}: build returned a parameter called {key!r}, expected a Python identifier")
    arrays = {key: initializers.checked(value, None, f"{name}: build: {key}") for key, value in values.items()}
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


@contextmanager
def blamed(
    layer: AnyLayer, index: int, name: str, method: str = "", given: NDArray[Any] | None = None
) -> Iterator[None]:
    """Around the methods of a Python layer: what they raise goes on as it is, with a note of which layer it was."""
    try:
        yield
    except Exception as error:
        what = f"{method} of " if method else ""
        note = f"Raised by {what}layers[{index}] ({name}), a {type(layer).__qualname__}"
        note += "." if given is None else f", for {given.dtype} of shape {given.shape}."
        if sys.version_info >= (3, 11):
            error.add_note(note)
        elif len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (f"{error.args[0]}\n{note}",)
        raise


@contextmanager
def writes_named(name: str, method: str) -> Iterator[None]:
    """Around a method of a Python layer: NumPy's refusal to write into what it was given names the layer."""
    try:
        yield
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise ValueError(
            f"{name}: {method} writes into an array that it may only read, such as x or a parameter ({error}); "
            f"work on a copy"
        ) from error


def _probe(layer: Layer, name: str, n_in: int, values: dict[str, NDArray[np.float64]]) -> int:
    """Output width of a Python layer: what it says, or what comes out for two rows of zeros."""
    n_out: Any = layer.output_size(n_in)
    if n_out is None:
        with writes_named(name, "forward"):
            returned = layer.forward(np.broadcast_to(0.0, (2, n_in)), values, False)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise TypeError(f"{name}: forward returned {type(returned).__name__}, expected a pair (y, cache)")
        y = np.asarray(returned[0])
        if y.ndim != 2 or y.shape[0] != 2:
            raise ValueError(
                f"{name}: forward returned y of shape {y.shape} for x of shape (2, {n_in}), expected (2, n_out)"
            )
        n_out = y.shape[1]
    if isinstance(n_out, bool) or not isinstance(n_out, (int, np.integer)):
        raise TypeError(f"{name}: output_size returned {n_out!r}, expected a whole number >= 1")
    if n_out < 1:
        raise ValueError(f"{name}: has {n_out} outputs, expected at least 1")
    return int(n_out)
