"""What the tests of the training loop have in common: a data set, a network, and a recorder of callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gradproof as gp

M, N_IN, CLASSES = 83, 6, 3


def network(dtype: str = "float64", **options: Any) -> gp.Sequential:
    layers = [gp.Dense(7), gp.BatchNorm(), gp.ReLU(), gp.Dropout(keep_prob=0.8), gp.Dense(CLASSES)]
    settings = {"input_size": N_IN, "loss": "softmax_cross_entropy", "l2": 1e-2, "dtype": dtype, "seed": 3}
    return gp.Sequential(layers, **{**settings, **options})


class Recorder(gp.callbacks.Callback):
    """Every hook that was called, with epoch and batch."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []


def _recording(hook: str) -> Callable[..., None]:
    return lambda self, model, run: self.calls.append((hook, run.epoch, run.batch))


for hook in [name for name in vars(gp.callbacks.Callback) if name.startswith("on_")]:
    setattr(Recorder, hook, _recording(hook))


class Sine(gp.Layer):
    """A layer in Python, so that steps take the plain path."""

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, Any]:
        return {}

    def forward(self, x: Any, parameters: Any, training: bool) -> tuple[Any, Any]:
        return np.sin(x), x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> tuple[Any, dict[str, Any]]:
        return dy * np.cos(cache), {}


def inputs(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(M, N_IN))


def labels(X: np.ndarray) -> np.ndarray:
    found = np.argmax(X[:, :CLASSES] + 0.3 * X[:, CLASSES:], axis=1)
    assert set(found) == {0, 1, 2}
    return found


def assert_same(a: gp.Sequential, b: gp.Sequential) -> None:
    """Bit by bit."""
    np.testing.assert_array_equal(a.theta, b.theta)
    np.testing.assert_array_equal(a.buffers, b.buffers)
    assert a.dropout_step == b.dropout_step
