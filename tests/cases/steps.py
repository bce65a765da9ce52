"""What the tests of training steps have in common: layers, optimizers, data, and a step taken in halves."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

import gradproof as gp
from gradproof.train.optimizers import SGD, Adam, Momentum, RMSprop
from gradproof.train.step import Step

LOSSES = ("softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse")
OPTIMIZERS = {
    "sgd": SGD(0.05),
    "momentum": Momentum(0.05, beta=0.8, weight_decay=0.1),
    "rmsprop": RMSprop(1e-2, clip_norm=0.05),
    "adam": Adam(1e-2, weight_decay=0.1, clip_norm=0.02),
}
LAYERS: dict[str, list[Any]] = {
    "relu": [gp.Dense(9), gp.ReLU()],
    "leaky_relu": [gp.Dense(9), gp.LeakyReLU(0.1)],
    "tanh": [gp.Dense(9), gp.Tanh()],
    "sigmoid": [gp.Dense(9), gp.Sigmoid()],
    "softmax": [gp.Dense(9), gp.Softmax()],
    "maxout": [gp.Maxout(6, 3)],
    "dropout": [gp.Dense(9), gp.Dropout(0.7), gp.ReLU()],
    "batch_norm": [gp.BatchNorm(), gp.Dense(9, bias=False), gp.BatchNorm(decay=0.8), gp.Tanh()],
}
OVERFLOWING: dict[str, list[Any]] = {
    "relu": [gp.Dense(9), gp.ReLU()],
    "batch_norm": [gp.Dense(9), gp.BatchNorm(), gp.Tanh()],
}
M, N_IN, N_OUT = 50, 7, 4


class Doubled(gp.Layer):
    """y = 2 x, in Python."""

    def output_size(self, n_in: int) -> int:
        return n_in

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        return 2 * x, None

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return 2 * dy, {}


def network(layers: list[Any], loss: str, dtype: str, kind: Any = gp.Sequential, **options: Any) -> Any:
    options = {"l1": 0.02, "l2": 0.3, "seed": 3, **options}
    return kind([*layers, gp.Dense(N_OUT)], N_IN, loss, dtype=dtype, **options)


def made(rng: np.random.Generator, targets: Any, dtype: str) -> Any:
    def make(loss: str = "softmax_cross_entropy") -> tuple[np.ndarray, np.ndarray]:
        y = targets(loss, M, N_OUT)
        return rng.normal(size=(M, N_IN)).astype(dtype), y if y.dtype.kind == "i" else y.astype(dtype)

    return make


def in_halves(step: Step, order: np.ndarray, batch_size: int, rate: float | None = None) -> np.ndarray:
    """The Python path."""
    losses = []
    for start in range(0, len(order), batch_size):
        losses.append(step.gradient(order[start : start + batch_size]))
        if not isfinite(sum(losses[-1])):
            break
        step.update(rate)
    return np.array(losses)


def everything(model: Any, state: Any) -> tuple[Any, ...]:
    arrays = [model.theta, model.gradient, model.buffers, *state.slots.values()]
    return *(array.tobytes() for array in arrays), state.step, model.dropout_step
