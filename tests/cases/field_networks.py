"""Small nets in the manner of tiny-dnn, mlpack and Caffe: activations times losses, and two other layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .correct import rng
from .fact import Fact

Array = np.ndarray
Function = tuple[Callable[[Array], Array], Callable[[Array], Array]]

ACTIVATIONS: dict[str, Function] = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0)),
    "identity": (lambda z: z, np.ones_like),
    "softplus": (lambda z: np.log1p(np.exp(z)), lambda z: 1 / (1 + np.exp(-z))),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, 1, np.exp(np.minimum(z, 0))),
    ),
}
LOSSES: dict[str, Function] = {  # of the difference to the target, and of what makes it a likelihood
    "mse": (lambda d: d**2, lambda d: 2 * d),
    "abs": (abs, np.sign),
    "abs_eps": (lambda d: np.where(abs(d) > 0.1, abs(d), 0), lambda d: np.where(abs(d) > 0.1, np.sign(d), 0)),
    "log-cosh": (lambda d: np.log(np.cosh(d)), np.tanh),
}


def perceptron(activation: str, loss_name: str) -> tuple[Callable[..., Any], Callable[..., Any], dict[str, Array]]:
    """3-4-2 with the activation twice; the gradient takes the name of an activation whose derivative to use instead."""
    r = rng(len(activation) + 10 * len(loss_name))
    X, Y, (f, df), (cost, dcost) = (
        r.normal(size=(5, 3)),
        r.normal(size=(5, 2)),
        ACTIVATIONS[activation],
        LOSSES[loss_name],
    )
    params = {"W1": r.normal(size=(3, 4)), "b1": r.normal(size=4), "W2": r.normal(size=(4, 2)), "b2": r.normal(size=2)}

    def forward(p: dict[str, Array]) -> tuple[Array, Array, Array]:
        z1 = X @ p["W1"] + p["b1"]
        z2 = f(z1) @ p["W2"] + p["b2"]
        return z1, z2, f(z2) - Y

    def loss(p: dict[str, Array]) -> float:
        return float(cost(forward(p)[2]).sum() / 5)

    def gradient(p: dict[str, Array], derivative: str | None = None) -> dict[str, Array]:
        z1, z2, difference = forward(p)
        dz2 = dcost(difference) * df(z2) / 5
        dz1 = (dz2 @ p["W2"].T) * (ACTIVATIONS[derivative][1](z1) if derivative else df(z1))
        return {"W1": X.T @ dz1, "b1": dz1.sum(0), "W2": f(z1).T @ dz2, "b2": dz2.sum(0)}

    return loss, gradient, params


def nets() -> list[Fact]:
    facts = []
    for activation in ACTIVATIONS:
        for loss_name in LOSSES:
            loss, gradient, params = perceptron(activation, loss_name)
            other = "tanh" if activation != "tanh" else "sigmoid"
            name = f"{activation} net with {loss_name}"
            facts.append(Fact(name, loss, gradient, params))
            facts.append(
                Fact(
                    f"{name}, derivative of {other}",
                    loss,
                    lambda p, gradient=gradient, other=other: gradient(p, other),
                    params,
                    ("fail",),
                    ("W1", "b1"),
                )
            )
    return facts


def response_normalization() -> list[Fact]:
    """Local response normalization over 3 neighbouring channels: x / (1 + c * sum of squares)^(3/4)."""
    r = rng(5)
    x, weight, c = r.normal(size=(2, 6)), r.normal(size=(2, 6)), 0.5
    near = abs(np.subtract.outer(np.arange(6), np.arange(6))) <= 1

    def loss(p: Array) -> float:
        return float((weight * p * (1 + c * p**2 @ near) ** -0.75).sum())

    def gradient(p: Array, across: float = 1) -> Array:
        s = 1 + c * p**2 @ near
        return weight * s**-0.75 - across * 1.5 * c * p * ((weight * p * s**-1.75) @ near)

    return [
        Fact("response normalization", loss, gradient, x),
        Fact("response normalization of constants", loss, lambda p: gradient(p, 0), x, ("fail",), ("params",)),
    ]


def deconvolution() -> list[Fact]:
    """A strided transposed convolution in one dimension, tanh on top."""
    r = rng(6)
    params, weight = {"x": r.normal(size=4), "k": r.normal(size=3)}, r.normal(size=9)

    def output(p: dict[str, Array]) -> Array:
        y = np.zeros(9)
        for i in range(4):
            y[2 * i : 2 * i + 3] += p["x"][i] * p["k"]
        return y

    def loss(p: dict[str, Array]) -> float:
        return float(weight @ np.tanh(output(p)))

    def gradient(p: dict[str, Array], stride: int = 2) -> dict[str, Array]:
        dy = weight * (1 - np.tanh(output(p)) ** 2)
        dx = np.array([p["k"] @ dy[2 * i : 2 * i + 3] for i in range(4)])
        dk = sum(p["x"][i] * dy[stride * i : stride * i + 3] for i in range(4))
        return {"x": dx, "k": np.asarray(dk)}

    return [
        Fact("deconvolution", loss, gradient, params),
        Fact("deconvolution with the wrong stride", loss, lambda p: gradient(p, 1), params, ("fail",), ("k",)),
    ]


FACTS = [*nets(), *response_normalization(), *deconvolution()]
