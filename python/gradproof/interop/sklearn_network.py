"""From the parameters of an estimator to layers, an optimizer and a schedule, and from a network to its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._messages import shown
from gradproof.nn import validate
from gradproof.nn.layers import BatchNorm, BuiltIn, Dense, Dropout, LeakyReLU, Maxout, ReLU, Sigmoid, Tanh
from gradproof.nn.model import Sequential
from gradproof.train.optimizers import SGD, Adam, Momentum, Optimizer

Array = NDArray[Any]

#: Activations by name, and how the weights before them start.
ACTIVATIONS: dict[str, tuple[BuiltIn | None, str]] = {
    "identity": (None, "glorot"),
    "logistic": (Sigmoid(), "glorot"),
    "tanh": (Tanh(), "glorot"),
    "relu": (ReLU(), "he"),
    "leaky_relu": (LeakyReLU(), "he"),
}


def layers(
    hidden_layer_sizes: Any, activation: Any, keep_prob: Any, batch_norm: Any, maxout_pieces: Any, outputs: int
) -> list[BuiltIn]:
    """Per hidden layer: Dense, batch normalization, activation, dropout; then a Dense for the scores.

    Raises
    ------
    ValueError, TypeError
        Naming the parameter, what it is and what is expected.
    """
    units_per_layer = sizes(hidden_layer_sizes)
    count = len(units_per_layer)
    activations = _per_layer(activation, count, "activation")
    keep_probs = _per_layer(keep_prob, count, "keep_prob")
    normalized = _per_layer(batch_norm, count, "batch_norm")
    pieces = validate.whole(maxout_pieces, "maxout_pieces", 1, validate.WIDEST)
    built: list[BuiltIn] = []
    for units, name, keep, normalize in zip(units_per_layer, activations, keep_probs, normalized, strict=True):
        norm = [BatchNorm()] if validate.flag(normalize, "batch_norm") else []
        if isinstance(name, str) and name == "maxout":
            built += [Maxout(units, pieces), *norm]  # the maximum belongs to the layer: it cannot come after the norm
        else:
            layer, init = _activation(name)
            built += [Dense(units, init), *norm, *([] if layer is None else [layer])]
        keep = validate.real(keep, "keep_prob", "a probability of keeping in (0, 1]", lambda p: 0 < p <= 1)
        built += [Dropout(keep)] if keep < 1 else []
    return [*built, Dense(outputs, "glorot")]


def sizes(hidden_layer_sizes: Any) -> list[int]:
    """Units per hidden layer."""
    values = hidden_layer_sizes if np.iterable(hidden_layer_sizes) else [hidden_layer_sizes]
    return [validate.whole(units, "hidden_layer_sizes", 1, validate.WIDEST) for units in values]


def _per_layer(value: Any, count: int, name: str) -> list[Any]:
    values: list[Any] = [value] * count if isinstance(value, str) or not np.iterable(value) else list(value)
    if len(values) != count:
        raise ValueError(f"{name}: got {len(values)} values, expected one for each of the {count} hidden layers")
    return values


def _activation(name: Any) -> tuple[BuiltIn | None, str]:
    if isinstance(name, BuiltIn) and not isinstance(name, (Dense, Maxout)):
        return name, "he" if isinstance(name, (ReLU, LeakyReLU)) else "glorot"
    if not isinstance(name, str) or name not in ACTIVATIONS:
        known = ", ".join(map(repr, [*ACTIVATIONS, "maxout"]))
        raise ValueError(
            f"activation: got {shown(name)}, expected one of {known}, or a layer such as gp.LeakyReLU(0.1)"
        )
    return ACTIVATIONS[name]


def optimizer(
    solver: Any, learning_rate: float, momentum: float, beta_1: float, beta_2: float, epsilon: float, scale: float
) -> Optimizer:
    """The rule that a solver stands for; `scale` is the gradient of scikit-learn's loss in units of ours.

    scikit-learn's momentum is ``v = mu v - a g``, and ours ``v = mu v + (1 - mu) g`` with steps ``a v``: the same for a
    rate that is ``1 / (1 - mu)`` times as large.
    """
    if isinstance(solver, Optimizer):
        return solver
    if not isinstance(solver, str) or solver not in ("adam", "sgd"):
        raise ValueError(
            f"solver: got {shown(solver)}, expected 'adam', 'sgd' or an optimizer such as gp.RMSprop(1e-3)"
        )
    rate = validate.real(learning_rate, "learning_rate_init", "a number greater than 0", lambda a: a > 0)
    if solver == "adam":
        return Adam(rate, beta1=beta_1, beta2=beta_2, epsilon=epsilon)
    momentum = validate.real(momentum, "momentum", "a number in [0, 1)", lambda mu: 0 <= mu < 1)
    return Momentum(rate * scale / (1 - momentum), momentum) if momentum else SGD(rate * scale)


@dataclass
class Adaptive:
    """A factor on the learning rate that is divided by 5 when there is no progress."""

    factor: float = 1.0

    def __call__(self, epoch: float) -> float:
        return self.factor


@dataclass(frozen=True)
class InverseScaling:
    """scikit-learn's ``1 / t^power`` with t the rows seen before the epoch."""

    rows: int
    power: float

    def __call__(self, epoch: float) -> float:
        return float((self.rows * epoch + 1) ** -self.power)


def schedule(given: Any, learning_rate: Any, solver: Any, power_t: Any, rows: int) -> Callable[[float], float] | None:
    """How the rate goes over the epochs: `given`, or what scikit-learn's ``learning_rate`` stands for."""
    if learning_rate not in ("constant", "invscaling", "adaptive"):
        raise ValueError(f"learning_rate: got {shown(learning_rate)}, expected 'constant', 'invscaling' or 'adaptive'")
    if given is not None:
        if learning_rate != "constant":
            raise ValueError(f"schedule: got one with learning_rate={shown(learning_rate)}, expected one or the other")
        if isinstance(given, type) or not callable(given):
            raise TypeError(f"schedule: got {shown(given)}, expected one of gp.schedules, or a function of the epoch")
        return given
    if learning_rate == "constant" or solver != "sgd":
        return None
    if learning_rate == "adaptive":
        return Adaptive()
    return InverseScaling(rows, validate.nonnegative(power_t, "power_t"))


def weights(model: Sequential) -> tuple[list[Array], list[Array]]:
    """Matrices and biases of the network as it predicts: batch normalization after a Dense is folded into that.

    A Maxout has the matrix of all its pieces; batch normalization after it is left out.
    """
    coefs, intercepts = [], []
    parameters, statistics = model.parameters, model.statistics
    nodes = model.structure.nodes
    for node, behind in zip(nodes, [*nodes[1:], None], strict=True):
        if not isinstance(node.layer, (Dense, Maxout)):
            continue
        W = parameters[f"{node.name}.W"].copy()
        bias = f"{node.name}.b"
        b = parameters[bias].copy() if bias in parameters else np.zeros(W.shape[1], W.dtype)
        if isinstance(node.layer, Dense) and behind is not None and isinstance(behind.layer, BatchNorm):
            gamma, beta = parameters[f"{behind.name}.gamma"], parameters[f"{behind.name}.beta"]
            mean, variance = (statistics[f"{behind.name}.running_{what}"] for what in ("mean", "variance"))
            factor = gamma / np.sqrt(variance + W.dtype.type(behind.layer.epsilon))
            W, b = W * factor, (b - mean) * factor + beta
        coefs.append(W)
        intercepts.append(b)
    return coefs, intercepts
