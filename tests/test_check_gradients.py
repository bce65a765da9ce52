"""Any loss and gradient: right and wrong, budgets and workers, bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cases.simple import POINT, X, network, rng, smooth, smooth_gradient, wrong

import gradproof as gp

# Right and wrong


def test_a_right_gradient_passes_and_the_report_says_how_well(dtype):
    report = gp.check_gradients(*network(dtype))
    assert report.verdict == "pass"
    assert bool(report)
    assert list(report.tensors) == ["layers.0.W", "layers.0.b", "layers.1.W", "layers.1.b"]
    assert report.checked == report.matched == 23
    assert report.culprits == []
    assert report.detectable < {"float32": 0.05, "float64": 1e-6}[dtype]
    assert report.method == "exhaustive"
    assert report.dtype == dtype
    assert report.evaluations > 46
    json.loads(report.to_json())
    assert "generic nearby point" in str(report)


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6])
def test_a_single_wrong_entry_is_found_whatever_its_size(size):
    loss, gradient, params = network()

    def change(g):
        g["layers"][1]["W"][2, 1] *= 1 + size

    report = gp.check_gradients(loss, wrong(gradient, change), params)
    assert report.verdict == "fail"
    assert report.culprits == ["layers.1.W"]
    assert report.mismatched == 1
    entry = report.tensors["layers.1.W"].worst(1)[0]
    assert entry.index == (2, 1)
    assert entry.status == "mismatch"
    assert abs(entry.numeric * (1 + size) - entry.analytic) < 1e-7 * abs(entry.analytic)


def test_rtol_raises_the_bar():
    loss, gradient, params = network()

    def change(g):
        g["layers"][1]["W"] *= 1 + 1e-5

    assert gp.check_gradients(loss, wrong(gradient, change), params).verdict == "fail"
    assert gp.check_gradients(loss, wrong(gradient, change), params, rtol=1e-4).verdict == "pass"


def test_assert_gradients_raises_the_report():
    assert gp.assert_gradients(smooth, smooth_gradient, POINT).ok
    with pytest.raises(gp.GradientError, match="params") as caught:
        gp.assert_gradients(smooth, lambda x: 2 * smooth_gradient(x), POINT)
    assert isinstance(caught.value, AssertionError)
    assert caught.value.report.verdict == "fail"


def test_a_gradient_may_be_given_as_numbers():
    assert gp.check_gradients(smooth, smooth_gradient(POINT), POINT).ok
    assert gp.check_gradients(smooth, smooth_gradient(POINT) * 1.001, POINT).verdict == "fail"


def test_mistakes_that_vanish_at_special_values_show_nearby():
    def loss(p):
        return float(np.sum(np.sin(X * p["gamma"] + p["beta"])))

    def gradient(p):
        d = np.cos(X * p["gamma"] + p["beta"])
        return {"gamma": (d * X).sum(0) * p["gamma"], "beta": d.sum(0)}

    params = {"gamma": np.ones(4), "beta": np.zeros(4)}
    assert gp.check_gradients(loss, gradient, params, nearby=False).verdict == "pass"
    report = gp.check_gradients(loss, gradient, params)
    assert report.verdict == "fail"
    assert report.culprits == ["gamma"]
    assert [stage.verdict.value for stage in report.stages] == ["pass", "fail"]


def test_zero_gradients_pass_and_are_called_vacuous():
    params = {"used": np.ones(3), "unused": np.ones((2, 2))}
    report = gp.check_gradients(
        lambda p: float(np.sum(p["used"] ** 3)),
        lambda p: {"used": 3 * p["used"] ** 2, "unused": np.zeros((2, 2))},
        params,
    )
    assert report.verdict == "pass"
    assert [(f.cause, f.tensor) for f in report.findings] == [("vacuous", "unused")]


def test_any_legal_array_will_do():
    frozen = np.ones(3)
    frozen.flags.writeable = False
    params = [np.array(2.0), np.zeros((0, 3)), frozen, np.arange(8.0)[::2], np.asfortranarray(rng.normal(size=(2, 3)))]
    report = gp.check_gradients(
        lambda p: float(sum(np.sum(np.square(a)) for a in p)), lambda p: [2 * a for a in p], params
    )
    assert report.verdict == "pass"
    assert report.checked == 14
    assert gp.check_gradients(lambda p: 1.0, {}, {}).verdict == "pass"


# Budgets, interrupts, workers


def test_max_evaluations_keeps_its_word():
    for budget in (0, 3, 30, 60, 200):
        report = gp.check_gradients(smooth, smooth_gradient, POINT, method="exhaustive", max_evaluations=budget)
        assert report.evaluations <= budget
        assert report.verdict == "pass" if budget == 200 else report.verdict in ("pass", "inconclusive")
        if report.verdict == "inconclusive":
            assert any("max_evaluations" in note for note in report.notes)


def test_no_time_at_all():
    report = gp.check_gradients(smooth, smooth_gradient, POINT, max_seconds=0)
    assert report.verdict == "inconclusive"
    assert any("max_seconds" in note for note in report.notes)


def test_an_interrupt_returns_what_is_known():
    calls = []

    def loss(p):
        calls.append(1)
        if len(calls) == 120:
            raise KeyboardInterrupt
        return float(np.sum(np.sin(p["x"])))

    params = {"x": np.linspace(0, 1, 100)}
    report = gp.check_gradients(loss, lambda p: {"x": np.cos(p["x"])}, params)
    assert report.verdict == "inconclusive"
    assert 0 < report.checked < 100
    assert any("interrupted" in note for note in report.notes)


def test_progress_is_told():
    seen = []
    gp.check_gradients(smooth, smooth_gradient, POINT, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)


def test_auto_projects_what_is_too_much():
    x = np.linspace(1, 2, 3000)
    report = gp.check_gradients(lambda x: float(np.sum(x**3)), lambda x: 3 * x**2, x, max_evaluations=600)
    assert report.method == "projected"
    assert report.ok
    assert report.evaluations <= 600


def test_workers_give_the_same_report():
    pytest.importorskip("joblib")
    loss, gradient, params = network()
    alone = gp.check_gradients(loss, gradient, params)
    shared = gp.check_gradients(loss, gradient, params, backend="threading", n_jobs=2)
    assert shared.verdict == alone.verdict == "pass"
    assert shared.checked == alone.checked
    assert shared.evaluations > 0


def test_a_report_repeats():
    first, second = (gp.check_gradients(*args) for args in [(smooth, smooth_gradient, POINT)] * 2)
    assert np.array_equal(first.tensors["params"].numeric, second.tensors["params"].numeric)
    assert first.evaluations == second.evaluations


# Bad input


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"method": "fast"}, ValueError, "method: got 'fast'"),
        ({"max_evaluations": 1.5}, TypeError, "max_evaluations: got 1.5"),
        ({"max_evaluations": -1}, ValueError, "max_evaluations: got -1"),
        ({"max_seconds": "1"}, TypeError, "max_seconds: got '1'"),
        ({"rtol": float("nan")}, ValueError, "rtol: got nan"),
        ({"rtol": float("inf")}, ValueError, "rtol: got inf, expected a finite number"),
        ({"nearby": "x"}, TypeError, "nearby: got 'x', expected True or False"),
        ({"n_jobs": 0}, ValueError, "n_jobs: got 0"),
        ({"progress": 3}, TypeError, "progress: got 3"),
    ],
)
def test_bad_keywords_are_named(keywords, error, message):
    with pytest.raises(error, match=message):
        gp.check_gradients(smooth, smooth_gradient, POINT, **keywords)


@pytest.mark.parametrize(
    ("loss", "grad", "params", "error", "message"),
    [
        (3.0, smooth_gradient, POINT, TypeError, "loss: got float"),
        (smooth, None, POINT, TypeError, "grad: got None"),
        (smooth, lambda x: [x], POINT, TypeError, "grad: got list"),
        (smooth, lambda x: x[:3], POINT, ValueError, r"grad: got shape \(3,\), expected \(5,\)"),
        (lambda x: x, smooth_gradient, POINT, TypeError, r"loss: returned an array of shape \(5,\)"),
        (lambda x: None, smooth_gradient, POINT, TypeError, "loss: returned None"),
        (lambda x: 1j, smooth_gradient, POINT, TypeError, "loss: returned complex"),
        (smooth, smooth_gradient, np.arange(5), TypeError, "params: got an array of int64"),
        (smooth, smooth_gradient, "x", TypeError, "params: got str 'x'"),
    ],
)
def test_bad_functions_and_points_are_named(loss, grad, params, error, message):
    with pytest.raises(error, match=message):
        gp.check_gradients(loss, grad, params)


def test_what_the_loss_raises_at_the_point_comes_through():
    def loss(x):
        raise ZeroDivisionError("at the point")

    with pytest.raises(ZeroDivisionError, match="at the point"):
        gp.check_gradients(loss, smooth_gradient, POINT)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_parameters_that_are_not_finite_are_said_and_nothing_else(value):
    x = np.array([1.0, value, 2.0])

    def loss(x):
        return float(np.sum(np.where(np.isfinite(x), x, 0.0) ** 2))

    report = gp.check_gradients(loss, lambda x: 2 * np.where(np.isfinite(x), x, 0.0), x, progress=False)
    assert report.verdict == "nonfinite"
    assert [finding.cause for finding in report.findings] == ["nonfinite"]
    assert "cannot be moved" in report.findings[0].message and report.findings[0].evidence["indices"] == [[1]]


def test_a_clipped_gradient_is_not_taken_for_a_kept_one():
    """Where some entries are zero and all others clipped, the same numbers come back at other points."""
    rng = np.random.default_rng(0)
    X, x = rng.normal(size=(9, 6)), 1 + rng.random(6)
    X[:, 2] = 0

    def loss(x):
        return float(np.sum((X @ x) ** 2))

    report = gp.check_gradients(loss, lambda x: np.clip(2 * X.T @ (X @ x), -0.01, 0.01), x, progress=False)
    assert report.findings[0].cause == "clipping", str(report)
