"""Functions that are hard on other checkers: scales, offsets, kinks, edges, oscillation, noise."""

from __future__ import annotations

import numpy as np
import pytest
from cases.simple import POINT, A, smooth, smooth_gradient

import gradproof as gp


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


def float32_layer(seed: int):
    """A float64 loss and gradient with one layer in float32 inside."""
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(5, 5)).astype(np.float32)

    def hidden(p):
        return np.tanh((p["x"].astype(np.float32) @ W).astype(float))

    def grad(p):
        a = hidden(p)
        return {"x": ((p["y"] * (1 - a * a)).astype(np.float32) @ W.T).astype(float), "y": a}

    return lambda p: float(hidden(p) @ p["y"]), grad, {"x": rng.normal(size=5), "y": rng.normal(size=5)}


def test_a_layer_in_float32_inside_float64_is_measured_as_finely_as_it_is():
    verdicts = [gp.check_gradients(*float32_layer(seed), progress=False).verdict for seed in range(12)]
    assert verdicts.count("pass") >= 9 and "fail" not in verdicts


@pytest.mark.parametrize("seed", [0, 2, 29])
def test_a_layer_in_float32_hides_no_mistake_of_a_few_percent(seed):
    loss, grad, params = float32_layer(seed)
    assert gp.check_gradients(loss, grad, params, progress=False).verdict != "fail"

    def wrong(p):
        g = grad(p)
        g["x"][np.argmax(np.abs(g["x"]))] *= 1.05
        return g

    assert gp.check_gradients(loss, wrong, params, progress=False).culprits == ["x"]


@pytest.mark.parametrize("others", [[1e10, 0.0], [-1 + 1e-6, 0.0, 1e10], [0.5]])
@pytest.mark.parametrize("power", range(2, 14))
def test_an_edge_of_the_domain_beside_numbers_of_other_scales_accuses_nobody(power: int, others: list[float]) -> None:
    """Lines on which the loss is curved at every spacing: what high differences leave of that is no noise."""
    x = np.array([-1 + 10.0**-power, *others])
    report = gp.check_gradients(lambda p: float(np.log1p(p).sum()), lambda p: 1 / (1 + p), x, progress=False)
    assert report.verdict in ("pass", "inconclusive")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("size", [100, 300, 1000])
def test_oscillation_over_few_places_of_float32_accuses_nobody(size, seed):
    """A period of 30 to 3000 of the closest numbers: at any wider spacing it looks like noise."""
    x = (size * np.random.default_rng([seed, 77]).normal(size=6)).astype(np.float32)

    def gradient(x):
        a, b = x[:2].astype(float)
        return np.array([b * np.cos(a * b), a * np.cos(a * b), 1, 1, 1, 1], np.float32)

    def verdict(gradient):
        return gp.check_gradients(lambda x: np.sin(x[0] * x[1]) + x[2:].sum(), gradient, x, progress=False).verdict

    assert verdict(gradient) != "fail"
    assert verdict(lambda x: 2 * gradient(x)) != "pass"
