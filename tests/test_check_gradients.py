from __future__ import annotations

import functools
import json

import numpy as np
import pytest

import gradproof as gp

rng = np.random.default_rng(3)
A = rng.normal(size=(6, 5))
X = rng.normal(size=(7, 4))


def smooth(x):
    return float(np.sum(np.sin(A @ x)))


def smooth_gradient(x):
    return A.T @ np.cos(A @ x)


POINT = rng.normal(size=5)


def network(dtype="float64"):
    """A loss, its gradient and parameters of two tanh layers with a squared error."""
    data, target = X.astype(dtype), np.ones((7, 2), dtype)
    params = {
        "layers": [
            {"W": rng.normal(size=(4, 3)).astype(dtype), "b": np.zeros(3, dtype)},
            {"W": rng.normal(size=(3, 2)).astype(dtype), "b": np.zeros(2, dtype)},
        ]
    }

    def forward(p):
        first, second = p["layers"]
        hidden = np.tanh(data @ first["W"] + first["b"])
        return hidden, hidden @ second["W"] + second["b"]

    def loss(p):
        return float(np.mean(np.square(forward(p)[1] - target)))

    def gradient(p):
        hidden, out = forward(p)
        d = 2 * (out - target) / out.size
        dz = (d @ p["layers"][1]["W"].T) * (1 - hidden**2)
        return {"layers": [{"W": data.T @ dz, "b": dz.sum(0)}, {"W": hidden.T @ d, "b": d.sum(0)}]}

    return loss, gradient, params


def wrong(gradient, change):
    """The gradient with a change applied to its result."""

    @functools.wraps(gradient)
    def changed(p):
        g = gradient(p)
        change(g)
        return g

    return changed


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


# Functions that are hard on other checkers


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
def test_the_scale_of_the_loss_does_not_matter(scale):
    right = gp.check_gradients(lambda x: scale * smooth(x), lambda x: scale * smooth_gradient(x), POINT)
    assert right.ok
    assert right.detectable < 1e-6
    twice = gp.check_gradients(lambda x: scale * smooth(x), lambda x: 1.001 * scale * smooth_gradient(x), POINT)
    assert twice.verdict == "fail"


def test_parameters_of_all_scales_in_one_vector():
    s = 10.0 ** np.array([-8, -4, 0, 4, 8])
    loss, gradient = (lambda x: smooth(x / s)), (lambda x: smooth_gradient(x / s) / s)
    assert gp.check_gradients(loss, gradient, s * POINT).ok
    for i in range(5):
        report = gp.check_gradients(loss, lambda x, i=i: gradient(x) * (1 + (np.arange(5) == i)), s * POINT)
        assert report.verdict == "fail"
        assert report.mismatched == 1


def test_offsets_cost_accuracy_and_the_report_says_so():
    report = gp.check_gradients(lambda x: 1e8 + smooth(x), smooth_gradient, POINT)
    assert report.ok
    assert report.detectable > 1e-6
    assert gp.check_gradients(lambda x: 1e8 + smooth(x), lambda x: 1.1 * smooth_gradient(x), POINT).verdict == "fail"
    hopeless = gp.check_gradients(lambda x: 1e18 + smooth(x), smooth_gradient, POINT, nearby=False)
    assert hopeless.verdict == "inconclusive"


def test_float32_in_all_places():
    for loss in (
        lambda x: np.float32(smooth(x)),
        lambda x: smooth(x.astype(np.float32)),
        lambda x: np.sum(np.sin(A.astype(np.float32) @ x.astype(np.float32))),
    ):
        assert gp.check_gradients(loss, smooth_gradient, POINT).ok
        assert gp.check_gradients(loss, lambda x: 1.5 * smooth_gradient(x), POINT).verdict == "fail"


def test_kinks_at_the_point_accept_subgradients_only():
    x = np.array([0.0, 1.0, -2.0, 0.0])
    for value, verdict in ((0.0, "pass"), (1.0, "pass"), (-0.3, "pass"), (1.5, "fail")):
        slope = np.array([value, 1.0, -1.0, 0.5])
        report = gp.check_gradients(lambda x: float(np.sum(np.abs(x))), lambda x, slope=slope: slope, x, nearby=False)
        assert report.verdict == verdict
        assert report.kinks == (2 if verdict == "pass" else 1)
    assert report.tensors["params"].worst(1)[0].status == "kink-mismatch"


@pytest.mark.parametrize("distance", [1e-9, 1e-7, 1e-4])
def test_kinks_near_the_point_are_stepped_around(distance):
    corner = POINT + distance
    report = gp.check_gradients(
        lambda x: float(np.sum(np.maximum(x, corner))), lambda x: (x > corner).astype(float), POINT
    )
    assert report.verdict == "pass"
    assert report.kinks == 0
    report = gp.check_gradients(lambda x: float(np.sum(np.maximum(x, corner))), lambda x: np.ones(5), POINT)
    assert report.verdict == "fail"


def test_domain_edges_are_said_and_the_other_side_is_used():
    def loss(p):
        if np.any(p["x"] < 0):
            raise ValueError("negative")
        return float(np.sum(p["x"] ** 1.5) + np.sum(p["x"]))

    report = gp.check_gradients(loss, lambda p: {"x": 1.5 * np.sqrt(p["x"]) + 1}, {"x": np.array([0.0, 1e-6, 1.0])})
    assert report.verdict == "pass"
    assert any("x[0] moved by" in note and "negative" in note for note in report.notes)
    nan = gp.check_gradients(lambda x: float(np.sum(np.log(x))), lambda x: 1 / x, np.array([1e-7, 1e-3, 2.0]))
    assert nan.verdict == "pass"


def test_stationary_points_are_neither_failed_nor_passed_blindly():
    x = np.ones(4)

    def rosenbrock(x):
        return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))

    assert gp.check_gradients(rosenbrock, np.zeros(4), x).verdict == "pass"
    assert gp.check_gradients(rosenbrock, np.full(4, 1e-3), x).verdict == "fail"
    assert gp.check_gradients(lambda x: float(np.sum(x**4)), lambda x: 4 * x**3, np.zeros(3)).verdict == "pass"


def test_fast_oscillation():
    loss, gradient = (lambda x: float(np.sum(np.sin(1e6 * x)))), (lambda x: 1e6 * np.cos(1e6 * x))
    assert gp.check_gradients(loss, gradient, POINT).verdict == "pass"
    assert gp.check_gradients(loss, lambda x: 1.01 * gradient(x), POINT).verdict == "fail"


def test_a_ripple_that_coarse_steps_do_not_see():
    def loss(x):
        return float(np.sum(x**2 + 1e-3 * np.sin(1e5 * x)))

    assert gp.check_gradients(loss, lambda x: 2 * x, POINT).verdict == "fail"
    assert gp.check_gradients(loss, lambda x: 2 * x + 100 * np.cos(1e5 * x), POINT).verdict == "pass"


def test_rounded_losses_are_never_failed():
    for digits in (4, 6, 8):
        report = gp.check_gradients(lambda x, d=digits: round(smooth(x), d), smooth_gradient, POINT)
        assert report.verdict in ("pass", "inconclusive")


# Functions that are not functions


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


@pytest.mark.parametrize("wrong", [0.0, 0.5, -1.0])
def test_the_mean_slope_of_a_sawtooth_is_not_its_slope(wrong):
    x = np.array([0.3, -4.827, 7.1])
    report = gp.check_gradients(
        lambda x: float((x % 1.7).sum()), lambda x: np.array([1.0, wrong, 1.0]), x, progress=False
    )
    assert report.verdict == "fail" and report.tensors["params"].mismatched == 1
    assert gp.check_gradients(lambda x: float((x % 1.7).sum()), np.ones(3), x, progress=False).verdict == "pass"


@pytest.mark.parametrize("smallest", [1e-310, 5e-324, 1e-300])
def test_parameters_next_to_nothing(smallest):
    report = gp.check_gradients(lambda x: float(x.sum()), lambda x: np.ones(2), np.array([smallest, 1.0]))
    assert report.verdict in ("pass", "inconclusive")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("factor", [2, -1])
def test_what_oscillates_beyond_resolution_does_not_pass(seed, factor):
    """An uncertainty larger than the gradient has seen nothing of it."""
    x = np.random.default_rng(seed).random(2)
    report = gp.check_gradients(lambda x: float(np.sin(1e10 * x).sum()), lambda x: factor * 1e10 * np.cos(1e10 * x), x)
    assert report.verdict in ("fail", "inconclusive")
