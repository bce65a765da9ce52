"""Scores that a parameter moves along one direction: those of the last layers, whose loss needs no panel of scores."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof as gp
from gradproof.check.structured import DIFFERENCE, Point, measure


def network(scale: float = 1.0, dtype: str = "float64") -> tuple[gp.Sequential, np.ndarray, np.ndarray]:
    """A network whose last weights are large, and its scores as ever."""
    rng = np.random.default_rng(1)
    model = gp.Sequential([gp.Dense(6), gp.Tanh(), gp.Dense(5)], 4, "softmax_cross_entropy", dtype=dtype)
    model.theta[...] = rng.normal(size=model.theta.size)
    model.parameters["dense_0.W"][...] /= scale
    model.parameters["dense_0.b"][...] /= scale
    model.parameters["dense_1.W"][...] *= scale
    return model, rng.normal(size=(7, 4)), rng.integers(0, 5, 7)


def losses(model: gp.Sequential, X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Of every row, in long double."""
    W, b, V, c = (theta[entry.offset : entry.stop].reshape(entry.shape) for entry in model.layout.slices)
    scores = np.tanh(X.astype(np.longdouble) @ W + b) @ V + c
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]


@pytest.mark.parametrize("step", [1e-12, 1e-8, 1e-4, 0.1, -0.7, 3.0, -40.0, 900.0])
def test_changes_of_any_size_are_those_of_the_function(step: float) -> None:
    model, X, y = network()
    change = Point(model, X, y).run(DIFFERENCE, np.array([step]), None)
    theta = model.theta.astype(np.longdouble)
    base = losses(model, X, y, theta)
    for entry in range(theta.size):
        moved = theta.copy()
        moved[entry] += np.longdouble(step)
        rows = losses(model, X, y, moved) - base
        # long double cancels, where the difference forms do not
        bound = 1e-14 * np.abs(rows).mean() + 64 * np.finfo(np.longdouble).eps * base.mean()
        assert abs(change[entry] - rows.mean()) <= bound


@pytest.mark.parametrize(("dtype", "scale"), [("float64", 2.0**600), ("float32", 2.0**80)])
def test_directions_whose_squares_overflow(dtype: str, scale: float) -> None:
    model, X, y = network(scale, dtype)
    measured = measure(model, X, y)
    analytic = model.loss_and_gradient(X, y)[1].astype(np.float64)
    for entry in model.layout.slices:
        own = slice(entry.offset, entry.stop)
        largest = np.abs(analytic[own]).max()
        assert largest > 0
        assert np.abs(measured.numeric[own] - analytic[own]).max() <= 16 * np.finfo(dtype).eps * largest


@pytest.mark.parametrize(("dtype", "size"), [("float64", 1e-310), ("float32", 1e-40), ("float32", 1e38)])
def test_directions_as_small_and_as_large_as_numbers_are(dtype: str, size: float) -> None:
    model, X, y = network(dtype=dtype)
    model.parameters["dense_1.W"][2] = [size, -size, 0, size, -size]
    if size > 1:  # the scores are as ever
        for name in ("dense_0.W", "dense_0.b"):
            model.parameters[name][..., 2] = 0
    analytic = model.loss_and_gradient(X, y)[1].astype(np.float64)
    measured = measure(model, X, y, scheme="tangent").numeric
    assert np.isfinite(measured).all()
    assert np.abs(measured - analytic).max() <= 256 * np.finfo(dtype).eps * np.abs(analytic).max()
    if size < 1:
        assert gp.check_model(model, X, y).verdict is gp.Verdict.PASS


def test_a_direction_of_nothing_changes_nothing() -> None:
    model, X, y = network()
    model.parameters["dense_1.W"][...] = 0
    measured = measure(model, X, y)
    assert not measured.numeric[: model.layout["dense_1.W"].offset].any()
    assert not measured.kink.any()
