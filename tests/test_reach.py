"""How far from the point a loss is evaluated: a user's loop may take for ever there."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof as gp

X = np.random.default_rng(0).normal(size=(7, 5))
W = np.random.default_rng(1).normal(size=5)
LOSSES = {
    "smooth": (lambda w: (np.sin(X @ w) ** 2).mean(), lambda w: X.T @ np.sin(2 * X @ w) / 7),
    "slow": (lambda w: (1 + 1e-4 * X @ w).sum() ** 2, lambda w: 2e-4 * (1 + 1e-4 * X @ w).sum() * X.sum(0)),
    "noisy": (lambda w: 1e6 + (np.sin(X @ w) ** 2).mean(), lambda w: X.T @ np.sin(2 * X @ w) / 7),
    "float32": (
        lambda w: np.float32((np.sin(X @ w) ** 2).mean()),
        lambda w: (X.T @ np.sin(2 * X @ w) / 7).astype(np.float32),
    ),
}


@pytest.mark.parametrize("factor", [1.0, 1.5])
@pytest.mark.parametrize("method", ["exhaustive", "projected"])
@pytest.mark.parametrize("name", LOSSES)
def test_no_parameter_moves_by_much_more_than_a_quarter_of_its_size(name, method, factor):
    loss, grad = LOSSES[name]
    farthest = 0.0

    def watched(w):
        nonlocal farthest
        farthest = max(farthest, float(np.max(np.abs(w - W) / np.maximum(np.abs(W), np.sqrt(np.mean(W**2))))))
        return loss(w)

    report = gp.check_gradients(watched, lambda w: factor * grad(w), W, method=method, nearby=False, progress=False)
    assert report.verdict == ("pass" if factor == 1 else "fail"), str(report)
    assert farthest <= 0.5


def test_the_diagnosis_of_several_tensors_stays_within_what_is_documented(rng):
    X, Y = rng.normal(size=(9, 3)), rng.normal(size=(9, 4))
    params = {"W": rng.normal(size=(3, 4)), "V": rng.normal(size=(4, 4)), "U": rng.normal(size=(4, 4))}
    farthest = 0.0

    def both(p):
        x = np.tanh(X @ p["W"])
        h = np.tanh(x @ p["V"])
        e = x + h @ p["U"] - Y
        d = 2 * e / e.size
        dv = (d @ p["U"].T) * (1 - h * h)
        dx = d - dv @ p["V"].T  # the sign
        return float((e * e).mean()), {"W": X.T @ (dx * (1 - x * x)), "V": x.T @ dv, "U": h.T @ d}

    def watched(p):
        nonlocal farthest
        farthest = max(farthest, *(float(np.abs(p[name]).max() / np.abs(a).max()) for name, a in params.items()))
        return both(p)[0]

    report = gp.check_gradients(watched, lambda p: both(p)[1], params, progress=False)
    assert "made large" in report.findings[0].message, str(report)
    assert 32 < farthest <= 64.5
