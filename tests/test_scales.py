"""Networks of any scale: parameters, inputs and scores near both ends of the range of their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradproof as gp

Y = [0, 1, 2, 0, 1]
RELU = [gp.Dense(6), gp.ReLU(), gp.Dense(3)]
DEEP = [gp.Dense(6), gp.ReLU(), gp.Dense(6), gp.ReLU(), gp.Dense(3)]
MAXOUT = [gp.Maxout(6, 2), gp.Maxout(5, 2), gp.Dense(3)]
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def network(layers: list[Any], loss: str, dtype: str, seed: int, scale: float) -> tuple[gp.Sequential, np.ndarray]:
    model = gp.Sequential(layers, 4, loss, dtype=dtype, seed=seed)
    model.theta *= model.dtype.type(scale)
    return model, np.random.default_rng(seed).normal(size=(5, 4))


def assert_judged(model: gp.Sequential, X: np.ndarray, y: Any) -> None:
    report = gp.check_model(model, X, y)
    assert report.verdict == "pass", report
    wrong = model.loss_and_gradient(X, y)[1].copy()
    wrong[np.argmax(np.abs(wrong))] *= 1.01
    assert gp.check_model(model, X, y, gradient=wrong).verdict == "fail"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("layers", "dtype", "power"),
    [
        *[(RELU, "float32", power) for power in (8, 12, 15, 18)],
        *[(RELU, "float64", power) for power in (50, 100, 140)],
        *[(layers, *at) for layers in (DEEP, MAXOUT) for at in (("float32", 10), ("float32", 12), ("float64", 95))],
        ([gp.Dense(3)], "float32", 30),
        ([gp.Dense(3)], "float64", 250),
    ],
)
def test_parameters(layers: list[Any], dtype: str, power: int, seed: int) -> None:
    assert_judged(*network(layers, "hinge", dtype, seed, 10.0**power), Y)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("dtype", "power"), [("float32", 25), ("float32", 10), ("float64", 200), ("float64", 100)])
def test_large_inputs(dtype: str, power: int, seed: int) -> None:
    model, X = network(RELU, "hinge", dtype, seed, 1.0)
    assert_judged(model, X * 10.0**power, Y)


@pytest.mark.parametrize("power", [-3, -6, -9, 3, 9])
@pytest.mark.parametrize("layers", [RELU, MAXOUT, [gp.Dense(6), gp.Tanh(), gp.Dense(3)]])
def test_regression_in_any_unit(layers: list[Any], power: int, dtype: str) -> None:
    for seed in range(4):
        model, X = network(layers, "mse", dtype, seed, 1.0)
        scores = np.random.default_rng(seed + 99).normal(size=(5, 3))
        assert_judged(model, X * 10.0**power, scores * 10.0**power)


@pytest.mark.parametrize("activation", [gp.Sigmoid, gp.Softmax, gp.Tanh])
@pytest.mark.parametrize("scale", [40.0, 4e2, 4e3, 4e4, 4e6])
@pytest.mark.parametrize("scheme", ["difference", "tangent"])
def test_saturated_units(scheme: Any, scale: float, activation: Any, dtype: str) -> None:
    for seed in range(4):
        layers = [gp.Dense(6), activation(), gp.Dense(6), activation(), gp.Dense(3)]
        model, X = network(layers, "softmax_cross_entropy", dtype, seed, scale)
        assert gp.check_model(model, X, Y, scheme=scheme).verdict == "pass"


@pytest.mark.parametrize(("dtype", "power"), [("float32", 12), ("float64", 60)])
def test_slopes_measured_far_out(dtype: str, power: int) -> None:
    for seed in range(4):
        model, X = network(DEEP, "hinge", dtype, seed, 10.0**power)
        assert gp.check_model(model, X, Y, scheme="tangent").verdict == "pass"


@pytest.mark.parametrize("scheme", ["difference", "tangent"])
def test_tensors_of_different_scales(scheme: Any, dtype: str) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        model, X = network([gp.Dense(6), gp.Tanh(), gp.Dense(5), gp.Sigmoid(), gp.Dense(3)], "hinge", dtype, seed, 1.0)
        for parameter in model.parameters.values():
            parameter *= model.dtype.type(10.0 ** rng.integers(-3, 4))
        assert gp.check_model(model, X, Y, scheme=scheme).verdict == "pass", seed


@pytest.mark.parametrize("power", [-230, -200, 150, 250])
def test_parameters_whose_squares_are_no_numbers(power: int) -> None:
    x = 10.0 ** (power + np.random.default_rng(1).uniform(-40, 40, 6))
    assert gp.check_gradients(lambda x: float(np.log(x).sum()), lambda x: 1 / x, x, progress=False).ok
    report = gp.check_gradients(lambda x: float(np.log(x).sum()), lambda x: 2 / x, x, progress=False)
    assert report.verdict == "fail" and report.findings[0].cause == "scale"
