"""Functions that are not functions: they drift, remember, accumulate, write into their argument."""

from __future__ import annotations

import numpy as np
import pytest
from cases.simple import POINT, smooth, smooth_gradient

import gradproof as gp


def test_noise_in_the_loss():
    draw = np.random.default_rng(0)
    report = gp.check_gradients(lambda x: smooth(x) + 0.1 * draw.random(), smooth_gradient, POINT)
    assert report.verdict == "nondeterministic"
    assert report.findings[0].cause == "nondeterministic"
    assert "seed" in report.findings[0].message
    assert report.checked == 0


def test_noise_in_the_gradient():
    draw = np.random.default_rng(0)
    report = gp.check_gradients(smooth, lambda x: smooth_gradient(x) * (draw.random(5) > 0.5), POINT)
    assert report.verdict == "nondeterministic"
    assert report.findings[0].evidence["function"] == "grad"


def test_a_loss_that_drifts():
    calls = []

    def loss(x):
        calls.append(1)
        return smooth(x) + (1.0 if len(calls) > 40 else 0.0)

    report = gp.check_gradients(loss, smooth_gradient, POINT)
    assert report.verdict == "nondeterministic"
    assert "earlier calls" in report.findings[0].message


def test_summing_in_another_order_is_not_nondeterminism():
    draw = np.random.default_rng(0)
    assert gp.check_gradients(lambda x: smooth(x) * (1 + 1e-15 * draw.choice((-1, 0, 1))), smooth_gradient, POINT).ok


def test_a_gradient_from_a_stale_cache():
    cache = {}

    def loss(x):
        cache["x"] = x.copy()
        return smooth(x)

    report = gp.check_gradients(loss, lambda x: smooth_gradient(cache["x"]), POINT)
    assert report.verdict == "nondeterministic"
    assert report.findings[0].cause == "state"
    assert "cache" in report.findings[0].message


def test_a_gradient_that_accumulates():
    total = np.zeros(5)

    def gradient(x):
        total[...] += smooth_gradient(x)
        return total

    report = gp.check_gradients(smooth, gradient, POINT)
    assert not report.ok
    assert report.findings[0].cause == "state"
    assert "buffer" in report.findings[0].message


def test_a_reused_buffer_is_fine():
    buffer = np.zeros(5)

    def gradient(x):
        buffer[...] = smooth_gradient(x)
        return buffer

    assert gp.check_gradients(smooth, gradient, POINT).ok


def test_a_loss_that_changes_its_argument_is_measured_all_the_same():
    def loss(p):
        p["x"] *= 2
        return smooth(p["x"])

    params = {"x": POINT.copy()}
    report = gp.check_gradients(loss, lambda p: {"x": 2 * smooth_gradient(2 * p["x"])}, params)
    assert report.verdict == "pass"
    assert [finding.cause for finding in report.findings] == ["state"]
    assert np.array_equal(params["x"], POINT)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite_at_the_point(value):
    report = gp.check_gradients(lambda x: value, smooth_gradient, POINT)
    assert report.verdict == "nonfinite"
    bad = gp.check_gradients(lambda p: 1.0, lambda p: {"a": np.zeros(2), "b": np.array([[1.0, value]])},
                             {"a": np.ones(2), "b": np.ones((1, 2))})  # fmt: skip
    assert bad.verdict == "nonfinite"
    assert [finding.tensor for finding in bad.findings] == ["b"]
