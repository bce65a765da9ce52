"""How accurately a loss is computed: noise, steps, parts in float32, and what only looks like them."""

from __future__ import annotations

import numpy as np
import pytest
from cases.families import FAMILIES
from cases.families_held_out import HELD_OUT

import gradproof as gp
from gradproof.check.evaluate import Problem
from gradproof.check.ladder import level, select
from gradproof.check.lines import Line, difference_table
from gradproof.check.noise import Noise, gradient_rounding, loss_noise

X = np.random.default_rng(3).normal(size=(7, 5))
W = np.random.default_rng(4).normal(size=5)


def exact(w):
    return (np.sin(X @ w) ** 2).mean()


def gradient(w):
    return X.T @ np.sin(2 * X @ w) / 7


def single(z):
    return np.float64(np.float32(z))


def noise(loss, grad=gradient, x=W, seed=0) -> Noise:
    problem = Problem(loss, grad, x)
    return loss_noise(problem, problem.value(), problem.gradient(), np.random.default_rng(seed))


ROUNDED_PARTS = {
    "features": lambda w: (np.sin((X @ w).astype(np.float32)).astype(np.float64) ** 2).mean(),
    "one term": lambda w: exact(w) + float(single(np.cos(w).sum())),
    "parameters and a penalty": lambda w: exact(w.astype(np.float32).astype(np.float64)) + (w * w).sum(),
    "few rows": lambda w: exact(w) + single(w[0] * 3) / 3,
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ROUNDED_PARTS)
def test_a_part_in_float32_is_noise_of_its_size(name, seed):
    found = noise(ROUNDED_PARTS[name], seed=seed)
    assert found.coarse and not found.single
    assert 3e-10 < found.sigma < 3e-7


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("frequency", [1e2, 1e4, 1e6])
def test_oscillation_is_no_noise(frequency, seed):
    found = noise(lambda w: exact(w) + 1e-7 * np.sin(frequency * w).sum(), seed=seed)
    assert found.sigma < 1e-13


@pytest.mark.parametrize("seed", range(5))
def test_a_single_jump_nearby_is_no_noise(seed):
    for side in (-1e-6, 1e-6):
        edge = W[seed] + side
        assert noise(lambda w, edge=edge: exact(w) + 1e-3 * (w[seed] > edge), seed=seed).sigma < 1e-13


def test_a_smooth_loss_has_the_noise_of_float64_and_costs_two_lines():
    problem = Problem(exact, gradient, W)
    found = loss_noise(problem, problem.value(), problem.gradient(), np.random.default_rng(0))
    assert found.sigma < 1e-15 and not found.coarse
    assert problem.evaluations <= 1 + 2 + 2 * 9


def test_bisection_tells_a_jump_from_a_slope():
    def line(loss):
        problem = Problem(loss, gradient, W)
        it = Line(problem, problem.value(), np.random.default_rng(0))
        it.table(21, generic=True)
        return it.jump(1e-17)

    height = line(lambda w: exact(w) + float(single(np.cos(w).sum())))
    assert 5e-8 < height < 1e-6
    assert line(lambda w: exact(w) + 1e-7 * np.sin(3e6 * w).sum()) < 1e-12


def test_cast_parameters_lend_the_gradient_the_point_they_are_rounded_to():
    def loss(w):
        return exact(w.astype(np.float32).astype(np.float64))

    problem = Problem(loss, gradient, W)
    found = loss_noise(problem, problem.value(), problem.gradient(), np.random.default_rng(0))
    assert found.cast == [True] and found.coarse
    (bound,) = gradient_rounding(problem, problem.gradient(), found, np.random.default_rng(0))
    moved = gradient(W.astype(np.float32).astype(np.float64)) - gradient(W)
    assert np.all(np.abs(moved) <= bound) and np.all(bound < 1e-6)


@pytest.mark.parametrize("name", ROUNDED_PARTS)
def test_gradients_of_parts_in_float32_are_right_and_mistakes_in_them_found(name):
    def right(w):
        extra = {"one term": -np.sin(w), "parameters and a penalty": 2 * w, "few rows": np.eye(5)[0]}
        return gradient(w) + extra.get(name, 0.0)

    for seed in range(3):
        report = gp.check_gradients(ROUNDED_PARTS[name], right, W, seed=seed, progress=False)
        assert report.verdict in ("pass", "inconclusive"), str(report)
    wrong = gp.check_gradients(ROUNDED_PARTS[name], lambda w: 1.01 * right(w), W, progress=False)
    assert wrong.verdict == "fail"


def test_a_slope_that_rounding_elsewhere_changes_is_not_accused():
    """Entries behind a rounded part are smooth, but their slope belongs to the rounded values."""
    rng = np.random.default_rng(0)
    A, V = rng.normal(size=(6, 4)), rng.normal(size=(4, 1))
    params = {"A": A, "V": V}
    data = rng.normal(size=(5, 6))

    def loss(p):
        return float((((data @ p["A"]).astype(np.float32) @ p["V"].astype(np.float64)) ** 2).mean())

    def grad(p):
        z = data @ p["A"]
        d = 2 * (z @ p["V"]) / 5
        return {"A": data.T @ (d @ p["V"].T), "V": z.T @ d}

    assert gp.check_gradients(loss, grad, params, progress=False).verdict in ("pass", "inconclusive")


def test_a_change_that_is_small_by_chance_does_not_make_an_estimate_sure():
    """Values whose extrapolations cross zero error between two orders, as truncation with two terms does."""
    points = [(4.0**k, 1e-3 * 4.0**k - 0.99e-3 * 16.0**k / 16, 1e-9) for k in range(6)]
    best = select(points, False)
    assert best is not None
    assert abs(best.value) <= best.error


def test_levels_have_the_bars_of_their_noise():
    one = level(0.0, (1e-3, 1e-3), (-1e-3, -1e-3), 1e-9, 1e-16, 0.0)
    assert one.C == pytest.approx(1.0) and one.bar_central == pytest.approx(4 * 2e-9 / 2e-3)


def test_a_kink_is_no_jump():
    t = np.arange(9.0)
    for place in (3.2, 4.0, 4.7):
        assert difference_table(np.maximum(t, place) + 1e-9 * t * t).jumps == 0.0
        assert difference_table((t > place) + 1e-3 * t).jumps == pytest.approx(1.0, rel=0.01)


def test_the_largest_of_several_is_not_taken_for_coarse():
    x = np.array([3.0, -8.3, 7.6, 1.0])
    wrong = gp.check_gradients(lambda x: float(np.abs(x).max()), np.zeros(4), x, progress=False)
    assert wrong.verdict == "fail"


@pytest.mark.parametrize("power", [7, 8.5, 9, 10, 12])
@pytest.mark.parametrize("seed", range(4))
def test_oscillation_at_the_edge_of_resolution_is_not_noise_at_every_spacing(power, seed):
    """At the usual spacings it looks like noise of its own height; it is smooth between points nearer to each other."""
    w, x = 10.0**power, np.random.default_rng(seed).normal(size=6)
    report = gp.check_gradients(lambda x: np.sin(w * x).sum(), lambda x: w * np.cos(w * x), x, progress=False)
    assert report.verdict in ("pass", "inconclusive"), str(report)
    assert report.verdict == "pass" or power >= 9


@pytest.mark.parametrize("power", [7, 8])
def test_a_mistake_in_fast_oscillation_is_found(power):
    w, x = 10.0**power, np.random.default_rng(0).normal(size=6)
    report = gp.check_gradients(lambda x: np.sin(w * x).sum(), lambda x: 2 * w * np.cos(w * x), x, progress=False)
    assert report.verdict == "fail"


FEW_JUMPS = [*(("partly_float32", 2028, i) for i in (1, 5, 11)), ("single_data_term", 2027, 41)]


@pytest.mark.parametrize(("name", "seed", "i"), FEW_JUMPS)
def test_few_jumps_on_a_line_are_not_oscillation(name, seed, i):
    """Parts in float32 of which one line shows hardly a jump, and the finest none."""
    right = {**FAMILIES, **HELD_OUT}[name](np.random.default_rng([seed, i, len(name)]))
    report = gp.check_gradients(*right, nearby=False, progress=False)
    assert report.verdict in ("pass", "inconclusive"), str(report)
