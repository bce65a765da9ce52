"""What a network is made of: specifications of the built-in layers, and the base class of your own.

A specification is a frozen value without state; parameters live in the model's ``theta``. The
arithmetic is in the compiled core (and, to read, in :mod:`gradproof.nn.reference`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradproof.nn import initializers, validate
from gradproof.nn.initializers import Initializer
from gradproof.nn.validate import SMALLEST_EPSILON, SMALLEST_KEEP_PROB

Array = NDArray[Any]


@dataclass(frozen=True)
class BuiltIn:
    """Base of the layers that compile to the C++ core."""

    kind: ClassVar[str]

    def output_size(self, n_in: int) -> int:
        """Number of values per row that come out when `n_in` go in."""
        return n_in


@dataclass(frozen=True)
class Dense(BuiltIn):
    """Fully connected layer, ``y = x W + b`` with ``W`` of shape (n_in, units) and ``b`` of shape (units,).

    Parameters
    ----------
    units : int
        Number of outputs, at least 1.
    init : {"he", "xavier", "glorot", "zeros"}, float or callable
        How ``W`` starts, see :mod:`gradproof.nn.initializers`; ``b`` starts at 0.
    bias : bool
        Whether there is a ``b``. A Dense straight before BatchNorm never has one: the batch mean takes it away again.
    """

    units: int
    init: Initializer = "he"
    bias: bool = True

    kind: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        _whole(self, "units", 1)
        initializers.validate(self.init)
        _flag(self, "bias")

    def output_size(self, n_in: int) -> int:
        return self.units


@dataclass(frozen=True)
class ReLU(BuiltIn):
    """``y = max(x, 0)``; the derivative at 0 is taken as 0."""

    kind: ClassVar[str] = "relu"


@dataclass(frozen=True)
class LeakyReLU(BuiltIn):
    """``y = x if x > 0 else slope * x``; the derivative at 0 is taken as `slope`.

    Parameters
    ----------
    slope : float
        Any finite number.
    """

    slope: float = 0.01

    kind: ClassVar[str] = "leaky_relu"

    def __post_init__(self) -> None:
        _number(self, "slope", "a finite number", lambda slope: True)


@dataclass(frozen=True)
class Tanh(BuiltIn):
    """``y = tanh(x)``."""

    kind: ClassVar[str] = "tanh"


@dataclass(frozen=True)
class Sigmoid(BuiltIn):
    """``y = 1 / (1 + exp(-x))``."""

    kind: ClassVar[str] = "sigmoid"


@dataclass(frozen=True)
class Softmax(BuiltIn):
    """``y_j = exp(x_j) / sum_k exp(x_k)`` over each row. The loss ``softmax_cross_entropy`` applies it by itself."""

    kind: ClassVar[str] = "softmax"


@dataclass(frozen=True)
class Maxout(BuiltIn):
    """Largest of several linear maps, ``y_u = max_p (x W + b)_{u,p}`` (Goodfellow et al. 2013).

    ``W`` has shape (n_in, units * pieces), piece ``p`` of unit ``u`` being column ``u * pieces + p``.
    Among equals the first piece wins, and gets the gradient.

    Parameters
    ----------
    units : int
        Number of outputs, at least 1.
    pieces : int
        Linear maps per output, at least 1.
    init : {"he", "xavier", "glorot", "zeros"}, float or callable
        How ``W`` starts; for ``"glorot"`` n_out is `units`, as each piece is a map to that many.
    """

    units: int
    pieces: int = 2
    init: Initializer = "he"

    kind: ClassVar[str] = "maxout"

    def __post_init__(self) -> None:
        _whole(self, "units", 1)
        _whole(self, "pieces", 1)
        initializers.validate(self.init)

    def output_size(self, n_in: int) -> int:
        return self.units


@dataclass(frozen=True)
class Dropout(BuiltIn):
    """Inverted dropout (Srivastava et al. 2014): in training ``y = x * mask / keep_prob``, in inference ``y = x``.

    The mask is a function of the model's seed, this layer's position and the model's ``dropout_step``,
    so a loss can be evaluated again with the same mask.

    Parameters
    ----------
    keep_prob : float
        Probability of keeping a value, in (0, 1]. (Other libraries take the probability of dropping one.)
    """

    keep_prob: float

    kind: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        _number(self, "keep_prob", "a probability of keeping from 2^-24 to 1", lambda p: SMALLEST_KEEP_PROB <= p <= 1)


@dataclass(frozen=True)
class BatchNorm(BuiltIn):
    """Batch normalization (Ioffe and Szegedy 2015), ``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``.

    In training with the mean and the biased variance (divided by m) of the batch, in inference with running ones.

    Parameters
    ----------
    decay : float
        ``running = decay * running + (1 - decay) * batch``, in [0, 1). (PyTorch calls ``1 - decay`` momentum.)
    epsilon : float
        Added to the variance, greater than 0.
    """

    decay: float = 0.9
    epsilon: float = 1e-5

    kind: ClassVar[str] = "batch_norm"

    def __post_init__(self) -> None:
        _number(self, "decay", "a number in [0, 1)", lambda decay: 0 <= decay < 1)
        _number(self, "epsilon", f"a number >= {SMALLEST_EPSILON:.3g}", lambda epsilon: epsilon >= SMALLEST_EPSILON)


class Layer:
    """Base class for a layer of your own, written in NumPy.

    Examples
    --------
    >>> class Scale(Layer):
    ...     row_independent = True
    ...     def build(self, n_in, rng):
    ...         return {"s": np.ones(n_in)}
    ...     def forward(self, x, parameters, training):
    ...         return x * parameters["s"], x
    ...     def backward(self, dy, cache, parameters):
    ...         return dy * parameters["s"], {"s": (dy * cache).sum(axis=0)}
    """

    #: A promise: row i of the output depends on row i of the input only. It lets a gradient check stack many rows.
    row_independent: ClassVar[bool] = False

    #: Names of the parameters that L1 and L2 act on.
    regularized: ClassVar[tuple[str, ...]] = ("W",)

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, Array]:
        """Initial parameters by name, for inputs of shape (m, n_in); ``{}`` if there are none."""
        return {}

    def output_size(self, n_in: int) -> int | None:
        """Values per row that come out; with ``None`` the model finds out by a ``forward`` of two rows of zeros."""
        return None

    def forward(self, x: Array, parameters: dict[str, Array], training: bool) -> tuple[Array, Any]:
        """``y`` of shape (m, n_out), and whatever ``backward`` will need.

        `x` and `parameters` are read-only. Keep nothing in ``self``: several batches may be under way.
        """
        raise NotImplementedError(f"{type(self).__name__}.forward is not written")

    def backward(self, dy: Array, cache: Any, parameters: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        """``dx`` of the shape of ``x``, and one gradient per parameter, summed over the rows of the batch."""
        raise NotImplementedError(f"{type(self).__name__}.backward is not written")

    def config(self) -> dict[str, Any]:
        """Keyword arguments, in JSON types, from which ``gp.load`` makes this layer again."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


BUILT_IN: dict[str, type[BuiltIn]] = {
    layer.kind: layer for layer in (Dense, ReLU, LeakyReLU, Tanh, Sigmoid, Softmax, Maxout, Dropout, BatchNorm)
}


def _whole(layer: BuiltIn, name: str, smallest: int) -> None:
    value = validate.whole(getattr(layer, name), f"{type(layer).__name__}: {name}", smallest, validate.WIDEST)
    object.__setattr__(layer, name, value)


def _number(layer: BuiltIn, name: str, expected: str, allowed: Callable[[float], bool]) -> None:
    value = validate.real(getattr(layer, name), f"{type(layer).__name__}: {name}", expected, allowed)
    object.__setattr__(layer, name, value)


def _flag(layer: BuiltIn, name: str) -> None:
    value = validate.flag(getattr(layer, name), f"{type(layer).__name__}: {name}")
    object.__setattr__(layer, name, value)
