"""Gradients that belong to another point, and gradients that share their memory."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof as gp

X = np.random.default_rng(0).normal(size=(6, 4))
PARAMS = {
    "W": np.random.default_rng(1).normal(size=(4, 3)),
    "b": np.random.default_rng(2).normal(size=3),
    "c": np.random.default_rng(3).normal(size=3),
}


def loss(p):
    return float((np.tanh(X @ p["W"] + p["b"]) ** 2).mean() + (p["c"] ** 3).sum())


def gradient(p):
    h = np.tanh(X @ p["W"] + p["b"])
    d = 2 * h / h.size * (1 - h * h)
    return {"W": X.T @ d, "b": d.sum(0), "c": 3 * p["c"] ** 2}


def cached():
    kept = []

    def grad(p):
        if not kept:
            kept.append(gradient(p))
        return kept[0]

    return grad


def late():
    kept = [gradient(PARAMS)]

    def grad(p):
        kept.append(gradient(p))
        return kept.pop(0)

    return grad


def shared():
    buffer = np.zeros(3)

    def grad(p):
        g = gradient(p)
        buffer[:] = g["b"]
        g["b"] = buffer
        buffer[:] = g["c"]
        g["c"] = buffer
        return g

    return grad


@pytest.mark.parametrize(("make", "words"), [(cached, "same numbers"), (late, "point before"), (shared, "same memory")])
def test_state_is_told_from_behaviour(make, words):
    report = gp.check_gradients(loss, make(), PARAMS, progress=False)
    assert report.verdict == "fail"
    first = report.findings[0]
    assert first.cause == "state" and words in first.message


def test_a_constant_gradient_of_a_linear_loss_is_scaled_and_not_kept():
    c = np.arange(1.0, 6.0)
    report = gp.check_gradients(lambda x: float(c @ x), lambda x: 2 * c, np.ones(5), progress=False)
    assert report.verdict == "fail"
    assert report.findings[0].cause == "scale"
    assert all(finding.cause != "state" for finding in report.findings)


def test_a_wrong_gradient_without_memory_is_not_called_that():
    def grad(p):
        g = gradient(p)
        return {**g, "W": 2 * g["W"], "b": g["c"], "c": g["c"]}

    report = gp.check_gradients(loss, grad, PARAMS, progress=False)
    causes = [finding.cause for finding in report.findings if finding.tensor == "W"]
    assert causes == ["scale"]


def test_right_gradients_that_share_memory_pass():
    zero = np.zeros(3)
    params = {"a": np.ones(3), "b": np.ones(3), "c": np.arange(1.0, 4.0)}
    report = gp.check_gradients(
        lambda p: float((p["c"] ** 2).sum()), lambda p: {"a": zero, "b": zero, "c": 2 * p["c"]}, params, progress=False
    )
    assert report.verdict == "pass"
