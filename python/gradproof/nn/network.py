"""What every implementation of a network has in common: its state, its cost function and its public methods.

The cost of a network with parameters theta on m rows (see the notes of Ng's course and CS231n):

    J = (1/m) sum_i L(scores_i, y_i)  +  l2/(2M) sum W^2  +  l1/(2M) sum |W|

over the weights W only: biases, gamma and beta are not regularized. M is the number of rows of the
training set, so that the penalty does not move with the batch size.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof.nn import losses, validate
from gradproof.nn.layers import BatchNorm, BuiltIn, Dropout, Layer
from gradproof.nn.layout import Layout, Views
from gradproof.nn.structure import AnyLayer, Structure, initial_buffers, initial_theta, resolve

Array = NDArray[Any]
Self = TypeVar("Self", bound="Network")

PARTS = ("data", "regularization")


class Network:
    """State and cost of a network; subclasses say how to run forward and backward."""

    dropout_step: int
    """Which dropout masks are in use. Constant until a training step advances it, so that losses can be replayed."""

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
        self._theta = theta.astype(dtype)
        self._gradient = np.zeros_like(self._theta)
        self._buffers = buffers.astype(dtype)
        self.dropout_step = 0
        self._use(structure)

    def _use(self, structure: Structure) -> None:
        self._structure = structure

    # ---------------------------------------------------------------- state

    @property
    def theta(self) -> Array:
        """All parameters, one flat vector in declaration order. Assigning writes into it; it is never replaced."""
        return self._theta

    @theta.setter
    def theta(self, value: ArrayLike) -> None:
        array = np.asarray(value)
        if array.shape != self._theta.shape:
            raise ValueError(f"theta: got shape {array.shape}, expected {self._theta.shape}")
        np.copyto(self._theta, array, casting="same_kind")

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
        twin._theta = twin._theta.astype(twin._dtype)
        twin._gradient = twin._gradient.astype(twin._dtype)
        twin._buffers = twin._buffers.astype(twin._dtype)
        return twin

    def without_dropout(self: Self) -> Self:
        """An independent model that keeps every value in training; names and theta are the same."""
        return self._with_layers(_keep_all)

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

    # ---------------------------------------------------------------- cost

    def loss(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        training: bool = True,
        parts: Sequence[str] = PARTS,
        rows: int | None = None,
    ) -> float:
        """The cost J on a batch.

        Parameters
        ----------
        X : array_like, (m, n_in)
            Inputs: finite real numbers.
        y : array_like
            Targets: integer labels (m,) for ``softmax_cross_entropy`` and ``hinge``, numbers in [0, 1] of shape
            (m,) or (m, n_out) for ``binary_cross_entropy``, numbers of shape (m,) or (m, n_out) for ``mse``.
        training : bool
            Whether batch normalization uses the batch's statistics and dropout its masks: the function that
            :meth:`loss_and_gradient` differentiates. False gives the loss of :meth:`predict`.
        parts : sequence of {"data", "regularization"}
            Which terms to add up.
        rows : int, optional
            M, the number of rows of the training set; the number of rows of `X` if not given.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what is expected.
        """
        batch, targets, rows, chosen = self._checked(X, y, rows, parts)
        value = 0.0
        if "data" in chosen:
            scores, tape = self._forward(batch, training)
            value += self._data_loss(scores, targets)[0]
            self._release(tape)
        if "regularization" in chosen:
            value += self._penalty(rows, None)
        return value

    def loss_and_gradient(
        self, X: ArrayLike, y: ArrayLike, *, parts: Sequence[str] = PARTS, rows: int | None = None
    ) -> tuple[float, Array]:
        """The cost J in training mode and its gradient, flat, in the layout of theta.

        The gradient is the caller's own array; :attr:`gradient` keeps another copy. Parameters, running statistics and
        dropout masks stay as they are. Arguments and errors are those of :meth:`loss`.
        """
        batch, targets, rows, chosen = self._checked(X, y, rows, parts)
        gradient = np.zeros_like(self._theta)
        value, tape = self._differentiate(batch, targets, rows, chosen, gradient)
        self._release(tape)
        self._gradient[...] = gradient
        return value, gradient

    def _training_gradient(self, X: ArrayLike, y: ArrayLike, rows: int | None = None) -> float:
        """What a training step starts with: the cost, its gradient in :attr:`gradient`, running statistics updated and
        the dropout masks advanced to the next ones."""
        batch, targets, rows, chosen = self._checked(X, y, rows, PARTS)
        self._gradient.fill(0)
        value, tape = self._differentiate(batch, targets, rows, chosen, self._gradient)
        self._update_statistics(tape)
        self._release(tape)
        self.dropout_step += 1
        return value

    def _gradient_step(self, X: ArrayLike, y: ArrayLike, learning_rate: float) -> float:
        """One step of plain gradient descent; the cost before it."""
        value = self._training_gradient(X, y)
        self._theta -= self._dtype.type(learning_rate) * self._gradient
        return value

    def _differentiate(
        self, X: Array, targets: Array, rows: int, parts: tuple[str, ...], gradient: Array
    ) -> tuple[float, Any]:
        value, tape = 0.0, None
        if "data" in parts:
            scores, tape = self._forward(X, True)
            value, dscores = self._data_loss(scores, targets)
            self._backward(dscores, tape, gradient)
        if "regularization" in parts:
            value += self._penalty(rows, gradient)
        return value, tape

    def _penalty(self, rows: int, gradient: Array | None) -> float:
        """The penalty on the regularized tensors; its gradient is added to `gradient`."""
        value = 0.0
        for kind, strength in (("l2", self._l2 / rows), ("l1", self._l1 / (2 * rows))):
            if strength > 0:
                for start, stop in self.layout.regularized_runs:
                    dW = None if gradient is None else gradient[start:stop]
                    value += self._add_penalty(kind, strength, self._theta[start:stop], dW)
        return value

    # ---------------------------------------------------------------- use

    def forward(self, X: ArrayLike, *, training: bool = False) -> Array:
        """Scores, (m, n_out): what the loss works on."""
        scores, tape = self._forward(self._inputs(X), training)
        self._release(tape)
        return scores

    def predict(self, X: ArrayLike) -> Array:
        """Integer labels (m,) for classification, values for ``mse``.

        With ``binary_cross_entropy`` 0 or 1 per output; a single output is given as (m,), several as (m, n_out).
        """
        return self._loss.predict(self.forward(X))

    def predict_proba(self, X: ArrayLike) -> Array:
        """Probabilities: (m, n_out) with ``softmax_cross_entropy``, those of a 1 with ``binary_cross_entropy``.

        The latter are given as (m,) for a single output and as (m, n_out) for several.

        Raises
        ------
        ValueError
            If the loss has none (``hinge``, ``mse``).
        """
        return self._loss.probabilities(self.forward(X))

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Accuracy for classification (over all elements with several binary outputs), R² for ``mse``."""
        batch = self._inputs(X)
        return self._loss.score(self.predict(batch), self._targets(y, len(batch)))

    def recompute_statistics(self, X: ArrayLike) -> None:
        """Take the running statistics of batch normalization from the whole of `X` at once, without dropout."""
        twin = self._with_layers(_forgetful)
        _, tape = twin._forward(twin._inputs(X), True)
        twin._update_statistics(tape)
        self._buffers[...] = twin._buffers

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

    # ---------------------------------------------------------------- for subclasses

    def _forward(self, X: Array, training: bool) -> tuple[Array, Any]:
        """Scores, and a tape with what the backward pass needs."""
        raise NotImplementedError

    def _backward(self, dscores: Array, tape: Any, gradient: Array) -> None:
        """Add the gradient of all parameters to `gradient`."""
        raise NotImplementedError

    def _data_loss(self, scores: Array, targets: Array) -> tuple[float, Array]:
        """The mean loss, and its derivative with respect to the scores."""
        raise NotImplementedError

    def _add_penalty(self, kind: str, strength: float, W: Array, dW: Array | None) -> float:
        """``strength * sum |W|`` (kind "l1") or ``strength/2 * sum W^2`` ("l2"); its gradient is added to `dW`."""
        raise NotImplementedError

    def _update_statistics(self, tape: Any) -> None:
        """Move the running statistics towards those of the batch on the tape."""
        raise NotImplementedError

    def _release(self, tape: Any) -> None:
        """The tape is not needed any more."""

    # ---------------------------------------------------------------- input

    def _inputs(self, X: Any) -> Array:
        return validate.inputs(X, self.input_size, self._dtype)

    def _targets(self, y: Any, m: int) -> Array:
        return self._loss.targets(y, m, self.output_size, self._dtype)

    def _checked(
        self, X: Any, y: Any, rows: int | None, parts: Sequence[str]
    ) -> tuple[Array, Array, int, tuple[str, ...]]:
        chosen = (parts,) if isinstance(parts, str) else tuple(parts)
        unknown = [part for part in chosen if part not in PARTS]
        if unknown:
            raise ValueError(f"parts: got {unknown[0]!r}, expected any of {', '.join(map(repr, PARTS))}")
        batch = self._inputs(X)
        rows = len(batch) if rows is None else validate.whole(rows, "rows", 1, 2**63 - 1)
        return batch, self._targets(y, len(batch)), rows, chosen


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


def _keep_all(layer: AnyLayer) -> AnyLayer:
    return Dropout(keep_prob=1.0) if isinstance(layer, Dropout) else layer


def _forgetful(layer: AnyLayer) -> AnyLayer:
    """One batch decides the running statistics alone, seen without dropout as in inference."""
    return replace(layer, decay=0.0) if isinstance(layer, BatchNorm) else _keep_all(layer)


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
