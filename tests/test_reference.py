from __future__ import annotations

from collections.abc import Callable
from math import log

import numpy as np
import pytest
from cases.stacks import STACKS

from gradproof.nn import reference
from gradproof.nn.layers import (
    BatchNorm,
    Dense,
    Tanh,
)

Targets = Callable[[str, int, int], np.ndarray]

LOSSES = ["softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse"]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("stack", STACKS)
def test_gradient_is_the_slope_of_the_loss(stack: str, loss: str, targets: Targets, rng: np.random.Generator) -> None:
    layers = [*STACKS[stack], Dense(3)]
    model = reference.Sequential(layers, 5, loss, l1=0.2, l2=0.3, dtype="float64", seed=4)
    model.theta += 0.1 * rng.normal(size=model.theta.size)  # away from gamma = 1, b = 0
    model.dropout_step = 3
    X, y = rng.normal(size=(6, 5)), targets(loss, 6, 3)
    value, gradient = model.loss_and_gradient(X, y, rows=10)
    assert value == model.loss(X, y, rows=10)

    slopes, h = np.empty_like(gradient), 1e-6
    for i, kept in enumerate(model.theta.copy()):
        model.theta[i] = kept + h
        above = model.loss(X, y, rows=10)
        model.theta[i] = kept - h
        below = model.loss(X, y, rows=10)
        model.theta[i] = kept
        slopes[i] = (above - below) / (2 * h)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-8)


def test_cost_by_hand(rng: np.random.Generator) -> None:
    """J = (1/m) sum L + l2/(2M) sum W^2 + l1/(2M) sum |W|, over W only."""
    X, y = rng.normal(size=(4, 3)), np.array([0, 1, 1, 0])
    model = reference.Sequential([Dense(2)], 3, "softmax_cross_entropy", l1=0.5, l2=0.25, dtype="float64")
    model.parameters["dense_0.b"] = [0.3, -0.7]
    W, b = model.parameters["dense_0.W"], model.parameters["dense_0.b"]
    z = X @ W + b
    data = np.mean([log(np.exp(row).sum()) - row[label] for row, label in zip(z, y, strict=True)])
    penalty = 0.25 / (2 * 9) * (W**2).sum() + 0.5 / (2 * 9) * np.abs(W).sum()
    assert model.loss(X, y, rows=9, parts=("data",)) == pytest.approx(data, rel=1e-14)
    assert model.loss(X, y, rows=9, parts=("regularization",)) == pytest.approx(penalty, rel=1e-14)
    assert model.loss(X, y, rows=9) == pytest.approx(data + penalty, rel=1e-14)

    _, gradient = model.loss_and_gradient(X, y, rows=9, parts="regularization")
    np.testing.assert_allclose(gradient[:6], (0.25 / 9 * W + 0.5 / 18 * np.sign(W)).ravel(), rtol=1e-14)
    assert not gradient[6:].any()


def test_running_statistics_by_hand(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 3))
    model = reference.Sequential([BatchNorm(decay=0.75)], 3, "mse", dtype="float64")
    model._training_gradient(X, y)
    np.testing.assert_allclose(model.statistics["batch_norm_0.running_mean"], 0.25 * X.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(
        model.statistics["batch_norm_0.running_variance"], 0.75 + 0.25 * X.var(axis=0), rtol=1e-13
    )


def test_a_step_down_the_gradient_lowers_the_loss(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    model = reference.Sequential([Dense(8), Tanh(), Dense(3)], 4, "softmax_cross_entropy", dtype="float64")
    losses = [model._gradient_step(X, y, 0.1) for _ in range(20)]
    assert losses == sorted(losses, reverse=True)
