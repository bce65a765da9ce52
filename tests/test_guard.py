"""The guard at minima of the loss, where its rounding is of second order at the point and of first beside it."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

import gradproof as gp
from gradproof.check import guard
from gradproof.check.structured import Point


@pytest.mark.parametrize("residual", [0.0, 1e-14, 1e-10, 1e-7, 1e-5])
def test_fitted_regressions_pass(residual: float, dtype: str) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X, w = rng.normal(size=(8, 6)), rng.normal(size=6)
        model = gp.Sequential([gp.Dense(1)], 6, "mse", dtype=dtype)
        model.theta[...] = [*w, 0]
        report = gp.check_model(model, X, X @ w + residual * rng.normal(size=8))
        assert report.verdict == "pass", report.findings


def test_predicted_labels_of_large_scores_pass(dtype: str) -> None:
    for seed in range(20):
        X = np.random.default_rng(seed).normal(size=(8, 6))
        layers = [gp.Dense(5), gp.Tanh(), gp.Dense(4)]
        model = gp.Sequential(layers, 6, "softmax_cross_entropy", dtype=dtype, seed=seed)
        model.parameters["dense_1.W"][...] *= 1000
        assert gp.check_model(model, X, model.predict(X)).verdict == "pass"


def test_a_wrong_loop_is_seen_at_a_minimum_too(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(8, 6)), rng.normal(size=6)
    model = gp.Sequential([gp.Dense(1)], 6, "mse", dtype=dtype)
    model.theta[...] = [*w, 0]
    run = Point.run
    monkeypatch.setattr(Point, "run", lambda *arguments: 1.1 * run(*arguments))
    entries, wrong = guard.guard(Point(model, X, (X @ w)[:, None]), Random(0))
    assert len(entries) == 7 and len(wrong) >= 6  # in float32 the bias, which is 0, moves too little
