"""Gradients of which float32 sees little: what cannot be told from zero, or from twice as much, does not pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof.check import networks
from gradproof.check.entries import Measured
from gradproof.check.reservations import TYPICAL, doubt_outliers
from gradproof.check.structured import Point, measure
from gradproof.check.tensor_report import Status


def stacked(norms: int, rows: int, seed: int, dtype: str, alike: bool = False) -> tuple[gp.Sequential, Any, Any]:
    """Batch norms of columns that are constant, or of two rows, which they make -1 and 1 whatever these are."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(rows, 6)), rng.integers(0, 3, rows)
    if alike:
        X[:] = X[0]
    layers = [layer for _ in range(norms) for layer in (gp.Dense(8), gp.BatchNorm(), gp.ReLU())]
    return gp.Sequential([*layers, gp.Dense(3)], 6, "softmax_cross_entropy", dtype=dtype, seed=seed), X, y


@pytest.mark.parametrize(("rows", "alike"), [(1, False), (2, True), (4, True)])
@pytest.mark.parametrize("norms", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_constant_columns_are_not_blinding(seed: int, norms: int, rows: int, alike: bool, dtype: str) -> None:
    model, X, y = stacked(norms, rows, seed, dtype, alike)
    assert gp.check_model(model, X, y).verdict == "pass"
    own = model.loss_and_gradient(X, y)[1].copy()
    assert gp.check_model(model, X, y, gradient=np.zeros_like(own)).verdict == "fail"
    assert gp.check_model(model, X, y, gradient=2 * own).verdict == "fail"
    bias = model.layout[f"dense_{norms}.b"]
    assert np.max(measure(model, X, y).uncertainty[bias.offset : bias.stop]) < 1e3 * np.finfo(dtype).eps


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("norms", [2, 3])
def test_no_tensor_that_matters_may_be_zeroed_or_doubled(norms: int, seed: int) -> None:
    model, X, y = stacked(norms, 2, seed, "float32")
    assert gp.check_model(model, X, y).verdict == "pass"
    own = model.loss_and_gradient(X, y)[1].copy()
    for entry in model.layout.slices:
        if np.max(np.abs(own[entry.offset : entry.stop])) < 1e-4:
            continue
        for factor in (0, 2):
            wrong = own.copy()
            wrong[entry.offset : entry.stop] *= factor
            assert gp.check_model(model, X, y, gradient=wrong).verdict in ("fail", "inconclusive")


def ill_conditioned(seed: int) -> tuple[gp.Sequential, Any, Any]:
    rng = np.random.default_rng(seed)
    layers = [layer for _ in range(4) for layer in (gp.Dense(8), gp.BatchNorm(epsilon=2.0**-10))]
    model = gp.Sequential([*layers, gp.Dense(4)], 8, "softmax_cross_entropy", dtype="float32", seed=seed)
    for parameter in model.parameters.values():
        parameter *= np.float32(10.0 ** rng.integers(-3, 4))
    return model, rng.normal(size=(8, 8)), rng.integers(0, 4, 8)


@pytest.mark.parametrize("hidden", [[], [gp.Dense(6), gp.LeakyReLU(0.1)]])
@pytest.mark.parametrize("size", [1e3, 1e6])  # scores of 1e12: beyond, float64 has no digits left
@pytest.mark.parametrize("spoiled", [-1.0, 0.0, 2.0])
def test_large_losses_hide_no_gradient(hidden: list[Any], size: float, spoiled: float, dtype: str) -> None:
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(5, 4)), np.array([0, 1, 2, 0, 1])
    for of_weights in (True, False):
        model = gp.Sequential([*hidden, gp.Dense(3)], 4, "softmax_cross_entropy", dtype=dtype, seed=0)
        batch = X if of_weights else X * size
        if of_weights:
            model.theta[...] *= size
        assert gp.check_model(model, batch, y).verdict == "pass"
        for entry in model.layout.slices:
            wrong = model.loss_and_gradient(batch, y)[1].copy()
            wrong[entry.offset : entry.stop] *= spoiled
            report = gp.check_model(model, batch, y, gradient=wrong)
            assert report.verdict == "fail"
            assert report.culprits == [entry.name]


@pytest.mark.parametrize("scheme", ["difference", "tangent"])
def test_what_float32_does_not_see_float64_settles(scheme: Any) -> None:
    for seed in range(25):
        model, X, y = ill_conditioned(seed)
        assert gp.check_model(model, X, y, scheme=scheme).verdict == "pass", seed


@pytest.mark.parametrize("activation", [gp.Tanh, gp.Sigmoid])
@pytest.mark.parametrize("bias", [0.0, 10.0])
def test_products_of_two_errors(activation: Any, bias: float, dtype: str) -> None:
    """Two saturated units in a row: in float32 both recorded slopes are 0, and measured they are not."""
    model = gp.Sequential([gp.Dense(1), activation(), gp.Dense(1), activation(), gp.Dense(1)], 1, "mse", dtype=dtype)
    model.theta[...] = [10, bias, 10, bias, 1, 0]
    for scheme in ("difference", "tangent"):
        assert gp.check_model(model, [[1.0]], [2.0], scheme=scheme).verdict == "pass"


def scaled(layers: list[Any], n_in: int, rows: int, loss: str, seed: int) -> tuple[gp.Sequential, Any]:
    rng = np.random.default_rng(seed)
    model = gp.Sequential(layers, n_in, loss, dtype="float32", seed=seed)
    for parameter in model.parameters.values():
        parameter *= np.float32(10.0 ** rng.integers(-2, 4))
    return model, rng.normal(size=(rows, n_in))


def test_saturated_softmaxes_hide_nothing_behind_them() -> None:
    """Rounding may choose other units there, as far as a bound of it can tell; it does not."""
    for seed in range(40):
        layers = [layer for _ in range(4) for layer in (gp.Dense(6), gp.Softmax())]
        model, X = scaled([*layers, gp.Dense(2)], 6, 2, "softmax_cross_entropy", seed)
        assert gp.check_model(model, X, [0, 1]).verdict == "pass"
        wrong = model.loss_and_gradient(X, [0, 1])[1].copy()
        bias = model.layout["dense_4.b"]
        if np.max(np.abs(wrong[bias.offset : bias.stop])) > 1e-3:
            wrong[bias.offset : bias.stop] *= 2
            assert gp.check_model(model, X, [0, 1], gradient=wrong).verdict in ("fail", "inconclusive"), seed


def test_a_close_accusation_has_to_hold_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement in float32 that errs a little more than its uncertainty accuses nobody."""
    model, X = scaled([gp.Dense(8), gp.ReLU(), gp.Dense(3)], 5, 6, "mse", 0)
    y = np.random.default_rng(1).normal(size=(6, 3))
    first = measure(model, X, y)
    error = 3 * float(np.min(first.uncertainty[first.numeric != 0] / np.abs(first.numeric[first.numeric != 0])))
    run = Point.run

    def errs(point: Point, *arguments: Any) -> Any:
        return run(point, *arguments) * (1 + error * (point.model.dtype == np.float32))

    monkeypatch.setattr(Point, "run", errs)
    off = np.abs(model.loss_and_gradient(X, y)[1] - measure(model, X, y).numeric)
    assert np.any(off > 2 * first.uncertainty)
    assert gp.check_model(model, X, y).verdict == "pass"
    monkeypatch.setattr(networks, "by_twin", lambda point, scheme, measured, comparisons: (measured, None))
    assert gp.check_model(model, X, y).verdict == "fail"


@pytest.mark.parametrize(("part", "status"), [(0.99, Status.MATCH), (1.01, Status.UNRESOLVED)])
def test_an_outlier_among_kinks_passes_where_its_error_would_as_an_uncertainty(part: float, status: Status) -> None:
    analytic, off = np.ones(100), np.zeros(100)
    off[0], off[1] = part * TYPICAL, 0.5  # the second stands at a kink that was seen
    found = np.full(100, Status.MATCH, np.uint8)
    found[0], found[1] = Status.MISMATCH, Status.KINK
    measured = Measured(analytic - off, np.full(100, 1e-6), found)
    doubt_outliers(analytic, measured)
    assert measured.status[0] == status and measured.uncertainty[0] == pytest.approx(part * TYPICAL)


@pytest.mark.parametrize("seed", range(8))
def test_a_chaotic_loss_neither_accuses_its_gradient_nor_hides_a_factor_of_two(seed: int) -> None:
    """Slopes up to 1e15, of either sign from one place of the last digits to the next."""

    def orbit(x: Any) -> Any:
        y = x[0]
        for _ in range(60):
            y = 3.9 * y * (1 - y)
        return y

    def slope(x: np.ndarray) -> np.ndarray:
        return np.array([orbit(x + 1e-200j).imag / 1e-200])

    def verdict(gradient: Any) -> str:
        return gp.check_gradients(lambda x: float(orbit(x)), gradient, x, nearby=False, progress=False).verdict

    x = np.array([0.3 + 0.1 * np.random.default_rng(seed).random()])
    assert verdict(slope) != "fail"
    assert verdict(lambda x: 2 * slope(x)) != "pass"
