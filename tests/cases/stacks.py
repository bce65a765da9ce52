"""Small networks of every kind of layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradproof.nn.layers import BatchNorm, Dense, Dropout, Layer, LeakyReLU, Maxout, ReLU, Sigmoid, Softmax, Tanh
from gradproof.nn.model import Sequential


class Scale(Layer):
    row_independent = True

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"s": rng.uniform(0.5, 1.5, n_in)}

    def forward(self, x: np.ndarray, parameters: dict[str, np.ndarray], training: bool) -> tuple[np.ndarray, Any]:
        return x * parameters["s"], x

    def backward(
        self, dy: np.ndarray, cache: Any, parameters: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return dy * parameters["s"], {"s": (dy * cache).sum(axis=0)}


STACKS: dict[str, list[Any]] = {
    "linear": [],
    "relu": [Dense(9), ReLU()],
    "leaky_relu": [Dense(9), LeakyReLU(0.2)],
    "tanh": [Dense(9, bias=False), Tanh()],
    "sigmoid_softmax": [Dense(9), Sigmoid(), Dense(6), Softmax()],
    "maxout": [Maxout(5, 3), Maxout(4, 2)],
    "dropout": [Dropout(0.9), Dense(12), ReLU(), Dropout(0.5)],
    "batch_norm": [BatchNorm(), Dense(6), BatchNorm(decay=0.5, epsilon=1e-3), Tanh()],
    "python_first": [Scale(), Dense(6), Tanh()],
    "python_between": [Dense(6), BatchNorm(), Scale(), Scale(), Dropout(0.8), Tanh()],
}


def make(stack: str = "batch_norm", loss: str = "softmax_cross_entropy", **settings: Any) -> Sequential:
    return Sequential([*STACKS[stack], Dense(3)], input_size=5, loss=loss, **settings)
