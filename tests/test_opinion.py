"""The complex step confirms what was measured, and is not believed where a loss loses imaginary parts."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof as gp
from gradproof.check.evaluate import Problem
from gradproof.check.opinion import complex_step

X = np.random.default_rng(0).normal(size=(6, 4))
W = np.random.default_rng(1).normal(size=4)


def smooth(w):
    return np.sum(np.sin(X @ w) ** 2)


def gradient(w):
    return X.T @ np.sin(2 * X @ w)


LOSSY = {
    "real part": lambda w: smooth(w) + np.real(w[0]) ** 2,
    "absolute value": lambda w: smooth(w) + np.abs(w[0]) ** 3,
    "everything real": lambda w: smooth(np.real(w)),
    "cast": lambda w: smooth(w) + np.asarray(w, np.float64)[0],
    "float": lambda w: float(smooth(w)),
    "raises": lambda w: smooth(w) if w.dtype == np.float64 else 1 / 0,
    "a string": lambda w: smooth(w) if w.dtype == np.float64 else "?",
}


def notes(loss, grad):
    report = gp.check_gradients(loss, grad, W, progress=False, nearby=False)
    assert report.verdict == "fail"
    return [note for note in report.notes if "complex step" in note]


def test_it_is_exact_to_rounding():
    problem = Problem(smooth, gradient, W)
    for i, exact in enumerate(gradient(W)):
        assert complex_step(problem, 0, (i,)) == pytest.approx(exact, rel=1e-14)
    assert problem.evaluations == 4


def test_it_confirms_a_mistake():
    (note,) = notes(smooth, lambda w: 1.001 * gradient(w))
    assert f"{gradient(W)[np.abs(gradient(W)).argmax()]:.8g}"[:8] in note or "params[" in note


@pytest.mark.parametrize("name", LOSSY)
def test_losses_that_lose_imaginary_parts_get_no_opinion_that_clears(name):
    """The entry whose path is lost would be "right" by the complex step; it is wrong."""

    def grad(w):
        return gradient(w)  # without what the lost path adds to the first entry

    report = gp.check_gradients(LOSSY[name], grad, W, progress=False, nearby=False)
    adds = name in ("real part", "absolute value", "cast")
    assert report.verdict == ("fail" if adds else "pass")
    assert not any("complex step" in note for note in report.notes)


def test_single_precision_and_scalars_do():
    report = gp.check_gradients(lambda x: x * x, lambda x: 3 * x, np.array(2.0), progress=False, nearby=False)
    assert report.verdict == "fail"
    report = gp.check_gradients(
        lambda x: (x * x).sum(), lambda x: 3 * x, np.arange(1, 4, dtype="float32"), progress=False, nearby=False
    )
    assert report.verdict == "fail"


def test_it_can_be_declined():
    seen = []

    def loss(w):
        seen.append(w.dtype)
        return smooth(w)

    gp.check_gradients(loss, lambda w: 1.001 * gradient(w), W, progress=False, second_opinion=False)
    assert set(seen) == {np.dtype("float64")}
