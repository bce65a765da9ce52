"""Layers written in Python, with chosen slopes at kinks, and networks to put them in."""

from __future__ import annotations

from typing import Any

import numpy as np

import gradproof as gp


class Rectifier(gp.Layer):
    """``max(x, 0)`` with a chosen derivative at 0, and one for negative numbers."""

    row_independent = True

    def __init__(self, at_zero: float = 0.0, slope: float = 0.0, factor: float = 1.0) -> None:
        self.at_zero, self.slope, self.factor = at_zero, slope, factor

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        return np.where(x > 0, x, self.slope * x), x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return self.factor * dy * np.where(cache == 0, self.at_zero, np.where(cache > 0, 1, self.slope)), {}


class Pooling(gp.Layer):
    """The largest of pairs; the first of equals, or the last."""

    row_independent = True

    def __init__(self, last: bool = False) -> None:
        self.last = last

    def output_size(self, n_in: int) -> int:
        return n_in // 2

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        pairs = x.reshape(len(x), -1, 2)
        first = pairs[..., 0] > pairs[..., 1] if self.last else pairs[..., 0] >= pairs[..., 1]
        return pairs.max(axis=2), np.stack([first, ~first], axis=2)

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return (dy[..., None] * cache).reshape(len(dy), -1), {}


LEAKY = Rectifier(0.1, 0.1)


def batch(seed: int, zero_row: bool = False, m: int = 8) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(seed).normal(size=(m, 4))
    if zero_row:
        X[0] = 0
    return X, np.arange(m) % 3


def network(layers: list[Any], dtype: str = "float64", seed: int = 0, loss: str = "softmax_cross_entropy") -> Any:
    return gp.Sequential(layers, 4, loss, dtype=dtype, seed=seed)
