from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradproof import BatchNorm, Dense, Dropout, Layer, LeakyReLU, Maxout, ReLU, Sequential, Sigmoid, Softmax, Tanh
from gradproof.train.monitor import Monitor


class Double(Layer):
    def forward(self, x: np.ndarray, parameters: dict[str, np.ndarray], training: bool) -> tuple[np.ndarray, Any]:
        return 2 * x, None

    def backward(
        self, dy: np.ndarray, cache: Any, parameters: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return 2 * dy, {}


LAYERS = [Dense(70), ReLU(), Maxout(9, 3), Tanh(), Dropout(0.5), Dense(6), Sigmoid(), Dense(5), LeakyReLU(), Dense(3)]


def watched(model: Sequential, X: np.ndarray, y: np.ndarray, rate: float = 0.1) -> dict[str, float]:
    monitor = Monitor(model, len(X), 1)
    np.copyto(monitor.before, model.theta)
    model._gradient_step(X, y, rate)
    return monitor.after_update(len(X))


def outputs(model: Sequential, X: np.ndarray) -> dict[str, np.ndarray]:
    """The output of every layer, by running the layers up to it on their own."""
    found = {}
    for end in range(1, len(model.layers) + 1):
        part = Sequential(model.layers[:end], X.shape[1], "mse", dtype=model.dtype)
        part.theta = model.theta[: part.theta.size]
        found[part.structure.nodes[-1].name] = part.forward(X, training=True)
    return found


def test_statistics_of_activations(
    dtype: str, rng: np.random.Generator, assert_close: Callable[[Any, Any], None]
) -> None:
    X, y = rng.normal(size=(40, 8)) + 0.5, rng.integers(0, 3, 40)
    model = Sequential(LAYERS, 8, "softmax_cross_entropy", dtype=dtype)
    model.parameters["dense_0.b"][:5] = -100  # five units that are dead
    model.parameters["dense_1.W"][...] *= 10  # a sigmoid that is saturated
    expected = outputs(model, X)
    row = watched(model, X, y)
    for name, a in expected.items():
        if name != "dropout_0":
            a = a.astype(np.float64)
            assert_close(row[f"activation_mean/{name}"], a.mean())
            assert_close(row[f"activation_std/{name}"], a.std())
            assert row[f"zero_share/{name}"] == pytest.approx(np.mean(a == 0))
    relu, tanh, sigmoid = (expected[name] for name in ("relu_0", "tanh_0", "sigmoid_0"))
    assert row["dead_units/relu_0"] == np.count_nonzero((relu == 0).all(axis=0)) >= 5
    assert row["saturated_share/tanh_0"] == pytest.approx(np.mean(np.abs(tanh) > 0.97))
    assert row["saturated_share/sigmoid_0"] == pytest.approx(np.mean((sigmoid < 0.03) | (sigmoid > 0.97)))
    assert row["saturated_share/sigmoid_0"] > 0.3
    assert {key.split("/")[1] for key in row if key.startswith(("dead", "satur"))} == {"relu_0", "tanh_0", "sigmoid_0"}
    assert not any("dropout" in key or "softmax" in key for key in row)


def test_norms_of_gradient_weights_and_update(
    dtype: str, rng: np.random.Generator, assert_close: Callable[[Any, Any], None]
) -> None:
    X, y = rng.normal(size=(12, 8)), rng.integers(0, 3, 12)
    model = Sequential([Dense(5), BatchNorm(), ReLU(), Dense(3)], 8, "softmax_cross_entropy", dtype=dtype)
    before = {name: value.astype(np.float64) for name, value in model.parameters.items()}
    row = watched(model, X, y, rate=0.3)
    for entry in model.layout.slices:
        gradient = model.layout.view(model.gradient, entry.name).astype(np.float64)
        weights = np.linalg.norm(before[entry.name])
        assert_close(row[f"gradient_norm/{entry.name}"], np.linalg.norm(gradient))
        assert_close(row[f"weight_norm/{entry.name}"], weights)
        change = np.linalg.norm(model.parameters[entry.name].astype(np.float64) - before[entry.name])
        assert_close(row[f"update_ratio/{entry.name}"], change / weights if weights else 0)
    assert row["update_ratio/dense_0.W"] == pytest.approx(
        0.3 * row["gradient_norm/dense_0.W"] / row["weight_norm/dense_0.W"], rel=1e-4
    )


def test_layers_of_your_own_are_left_out(rng: np.random.Generator) -> None:
    model = Sequential([Dense(5), Double(), ReLU(), Dense(3), Softmax()], 8, "mse")
    row = watched(model, rng.normal(size=(7, 8)), rng.normal(size=(7, 3)))
    shown = [key.split("/")[1] for key in row if key.startswith("activation_mean")]
    assert shown == ["dense_0", "relu_0", "dense_1"]
    assert all(np.isfinite(value) for value in row.values())


def test_a_workspace_that_is_gone_gives_nan(rng: np.random.Generator) -> None:
    model = Sequential([Dense(5), ReLU(), Dense(3)], 8, "mse")
    monitor = Monitor(model, 7, 1)
    np.copyto(monitor.before, model.theta)
    row = monitor.after_update(7, [None])
    assert np.isnan(row["activation_mean/relu_0"]) and row["update_ratio/dense_0.W"] == 0


def test_little_work_is_looked_at_less_often() -> None:
    usual = Sequential([Dense(256), ReLU(), Dense(10)], 784, "softmax_cross_entropy")
    assert Monitor(usual, 64, 100).every == 1
    tiny = Monitor(Sequential([Dense(2)], 2, "mse"), 4, 1)
    assert 2 < tiny.every < 10
    assert [epoch for epoch in range(3 * tiny.every) if tiny.due(epoch)] == [0, tiny.every, 2 * tiny.every]
