"""What a network consists of between calls: its layers, and the vectors of parameters, gradient and statistics."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof.nn import losses, memory, validate
from gradproof.nn.layers import BuiltIn, Dropout, Layer
from gradproof.nn.layout import Layout, Views
from gradproof.nn.structure import AnyLayer, Structure, initial_buffers, initial_theta, resolve

Array = NDArray[Any]
Self = TypeVar("Self", bound="State")


LAST_STEP = 2**63 - 1  # far from what an unsigned number of 64 bits holds, so that no training reaches that


class State:
    """Layers, settings and flat vectors of a network, with everything that is a view of them."""

    def __init__(
        self,
        layers: Sequence[AnyLayer],
        input_size: int,
        loss: str,
        l1: float = 0.0,
        l2: float = 0.0,
        dtype: Any = "float32",
        seed: int = 0,
    ) -> None:
        layers = _layers(layers)
        input_size = validate.whole(input_size, "input_size", 1, validate.WIDEST)
        seed = validate.whole(seed, "seed", 0, 2**64 - 1)
        structure, built = resolve(layers, input_size, seed)
        theta = initial_theta(structure, seed, built)
        self._assemble(structure, loss, l1, l2, validate.dtype(dtype), seed, theta, initial_buffers(structure))
        if self._loss.applies is not None and isinstance(layers[-1], self._loss.applies):
            warnings.warn(
                f"the last layer is {type(layers[-1]).__name__}, and the loss {loss!r} works on scores before it: "
                f"leave the layer out (predict_proba gives probabilities)",
                UserWarning,
                stacklevel=2,
            )

    def _assemble(
        self,
        structure: Structure,
        loss: str,
        l1: float,
        l2: float,
        dtype: np.dtype[Any],
        seed: int,
        theta: Array,
        buffers: Array,
    ) -> None:
        self._loss = losses.find(loss)
        if structure.output_size < self._loss.fewest_outputs:
            raise ValueError(
                f"layers: the last has {structure.output_size} output, and the loss {loss!r} needs one per class, "
                f"at least {self._loss.fewest_outputs}; for two classes and one output use 'binary_cross_entropy'"
            )
        self.l1, self.l2 = l1, l2
        self._seed = seed
        self._dtype = dtype
        self._theta = memory.copy(theta, dtype)
        self._gradient = memory.zeros(theta.size, dtype)
        self._buffers = memory.copy(buffers, dtype)
        self.dropout_step = 0
        self._use(structure)

    def _use(self, structure: Structure) -> None:
        self._structure = structure

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # What comes from another process may be read-only, as a memory map, and no copy is aligned as its original was.
        for name in ("_theta", "_gradient", "_buffers"):
            vector = getattr(self, name)
            setattr(self, name, memory.copy(vector, vector.dtype))
        self._use(self._structure)

    # ---------------------------------------------------------------- state

    @property
    def theta(self) -> Array:
        """All parameters, one flat vector in declaration order. Assigning writes into it; it is never replaced."""
        return self._theta

    @theta.setter
    def theta(self, value: ArrayLike) -> None:
        array = validate.numeric(value, "theta")
        if array.shape != self._theta.shape:
            raise ValueError(f"theta: got shape {array.shape}, expected {self._theta.shape}")
        with np.errstate(over="ignore"):  # a number too large for float32 is infinite there
            self._theta[...] = array

    @property
    def gradient(self) -> Array:
        """The gradient that was computed last, in the layout of theta; zeros before the first."""
        return self._gradient

    @property
    def buffers(self) -> Array:
        """What is kept but not trained, one flat vector: the running statistics of batch normalization."""
        return self._buffers

    @property
    def parameters(self) -> Views:
        """``"dense_0.W"`` to a reshaped view of theta, in declaration order; assigning writes through."""
        return Views(self.layout, self._theta)

    @property
    def statistics(self) -> Views:
        """``"batch_norm_0.running_mean"`` to a view of the buffers."""
        return Views(self._structure.buffer_layout, self._buffers)

    @property
    def layout(self) -> Layout:
        """Names, offsets and shapes of the parameters in theta."""
        return self._structure.layout

    @property
    def structure(self) -> Structure:
        """The layers with their names and widths."""
        return self._structure

    @property
    def layers(self) -> tuple[AnyLayer, ...]:
        """The layers as they were given."""
        return tuple(node.layer for node in self._structure.nodes)

    @property
    def input_size(self) -> int:
        """Features per row."""
        return self._structure.input_size

    @property
    def output_size(self) -> int:
        """Scores per row."""
        return self._structure.output_size

    @property
    def loss_name(self) -> str:
        """Name of the loss."""
        return self._loss.name

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64, of theta and of all arithmetic."""
        return self._dtype

    @property
    def seed(self) -> int:
        """What initialization and dropout masks are made from."""
        return self._seed

    @property
    def dropout_step(self) -> int:
        """Which dropout masks are in use. Constant until a training step advances it: losses can be replayed."""
        return self._dropout_step

    @dropout_step.setter
    def dropout_step(self, value: int) -> None:
        self._dropout_step = validate.whole(value, "dropout_step", 0, LAST_STEP)

    @property
    def l1(self) -> float:
        """Strength of the L1 penalty, ``l1/(2M) sum |W|``."""
        return self._l1

    @l1.setter
    def l1(self, value: float) -> None:
        self._l1 = validate.nonnegative(value, "l1")

    @property
    def l2(self) -> float:
        """Strength of the L2 penalty, ``l2/(2M) sum W^2``."""
        return self._l2

    @l2.setter
    def l2(self, value: float) -> None:
        self._l2 = validate.nonnegative(value, "l2")

    def copy(self: Self) -> Self:
        """An independent model with the same parameters, statistics and settings."""
        return copy.deepcopy(self)

    __copy__ = copy

    def astype(self: Self, dtype: Any) -> Self:
        """An independent model with everything converted to ``"float32"`` or ``"float64"``."""
        twin = self.copy()
        twin._dtype = validate.dtype(dtype)
        twin._theta = memory.copy(twin._theta, twin._dtype)
        twin._gradient = memory.copy(twin._gradient, twin._dtype)
        twin._buffers = memory.copy(twin._buffers, twin._dtype)
        return twin

    def without_dropout(self: Self) -> Self:
        """An independent model that keeps every value in training; names and theta are the same."""
        return self._with_layers(keep_all)

    def _with_layers(self: Self, change: Callable[[AnyLayer], AnyLayer]) -> Self:
        """A copy in which layers are replaced by others with the same shapes."""
        twin = self.copy()
        nodes = [replace(node, layer=change(node.layer)) for node in twin._structure.nodes]
        twin._use(Structure.of(nodes))
        return twin

    def _reinitialized(self: Self) -> Self:
        """A copy at the start of its training: parameters drawn again from the seed, statistics and steps reset."""
        twin = self.copy()
        structure, built = resolve(twin.layers, twin.input_size, twin.seed)
        twin.theta = initial_theta(structure, twin.seed, built)
        twin._buffers[...] = initial_buffers(structure)
        twin.dropout_step = 0
        return twin

    def summary(self) -> str:
        """A table of the layers: name, width of the output, parameters."""
        rows = [("layer", "output", "parameters"), ("input", str(self.input_size), "")]
        for node in self._structure.nodes:
            tensors = ", ".join(f"{name} {_times(shape)}" for name, shape in node.shapes.items())
            size = sum(self.layout[node.path(name)].size for name in node.shapes)
            rows.append((node.name, str(node.n_out), f"{size:,} ({tensors})" if tensors else "0"))
        rows.append(("total", "", f"{self._theta.size:,}, {self._theta.nbytes:,} bytes"))
        names, outputs = (max(len(row[column]) for row in rows) for column in (0, 1))
        lines = [f"{name:<{names}}  {output:>{outputs}}  {text}".rstrip() for name, output, text in rows]
        lines.append(f"loss {self.loss_name}, l1 {self.l1:g}, l2 {self.l2:g}, {self.dtype}, seed {self.seed}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        names = " -> ".join([str(self.input_size), *(node.name for node in self._structure.nodes)])
        return f"<{type(self).__name__} {names} -> {self.loss_name}, {self._theta.size} parameters, {self.dtype}>"


def _layers(layers: Any) -> list[AnyLayer]:
    if not isinstance(layers, (list, tuple)):
        raise TypeError(f"layers: got {type(layers).__name__}, expected a list of layers")
    if not layers:
        raise ValueError("layers: got an empty list, expected at least one layer")
    for index, layer in enumerate(layers):
        if isinstance(layer, type) and issubclass(layer, (BuiltIn, Layer)):
            raise TypeError(f"layers[{index}]: got the class {layer.__name__}, expected {layer.__name__}(...)")
        if not isinstance(layer, (BuiltIn, Layer)):
            raise TypeError(f"layers[{index}]: got {type(layer).__name__}, expected a layer such as gp.Dense(10)")
    return list(layers)


def keep_all(layer: AnyLayer) -> AnyLayer:
    """A layer as it is, but dropout that drops nothing."""
    return Dropout(keep_prob=1.0) if isinstance(layer, Dropout) else layer


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
