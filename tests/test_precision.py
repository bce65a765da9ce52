"""Both precisions side by side."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import gradproof as gp


def network(**options: Any) -> gp.Sequential:
    layers = [gp.Dense(7), gp.BatchNorm(), gp.ReLU(), gp.Dropout(0.8), gp.Dense(5), gp.Tanh(), gp.Dense(3)]
    return gp.Sequential(layers, **{"input_size": 6, "loss": "softmax_cross_entropy", "l2": 1e-2, **options})


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(12, 6)), rng.integers(0, 3, 12)


STEPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-7, 1e-9)


@pytest.fixture(scope="module")
def report(data: tuple[np.ndarray, np.ndarray]) -> gp.PrecisionReport:
    return gp.compare_precisions(network(), *data, steps=STEPS, entries_per_tensor=16, label="<small> network")


def test_both_precisions_pass(report: gp.PrecisionReport) -> None:
    assert report.verdict == "pass" and report.ok and bool(report)
    assert list(report.reports) == ["float32", "float64"]
    assert [one.dtype for one in report.reports.values()] == ["float32", "float64"]
    for tensor in report.tensors.values():
        assert tensor.verdict == {"float32": "pass", "float64": "pass"}
        assert tensor.analytic_error["float32"] < 1e-5 and tensor.numeric_error["float32"] < 1e-5
        assert tensor.analytic_error["float64"] < 1e-13 and tensor.numeric_error["float64"] < 1e-13
        assert tensor.analytic_max_error["float64"] < 1e-13 and tensor.numeric_max_error["float32"] < 1e-4


def test_curves_are_shaped_like_a_u(report: gp.PrecisionReport) -> None:
    step32, error32 = report.best("float32", "central")
    step64, error64 = report.best("float64", "central")
    assert error64 < 1e-7 < 1e-5 < error32
    assert step64 < step32
    assert report.best("float64", "forward")[1] > error64
    for curve in report.curves:
        assert curve.steps == STEPS
        if curve.scheme == "difference":
            assert curve.errors[0] < (1e-5 if curve.dtype == "float32" else 1e-13)
    best = report.tensors["dense_0.W"].best
    assert set(best) == {"float32", "float64"} and set(best["float32"]) == {"forward", "central"}
    assert best["float64"]["central"][1] < best["float32"]["central"][1]


def test_truncation_has_the_order_of_the_lectures(data: tuple[np.ndarray, np.ndarray]) -> None:
    model = gp.Sequential([gp.Dense(4), gp.Tanh(), gp.Dense(3)], input_size=6, loss="softmax_cross_entropy")
    report = gp.compare_precisions(model, *data, steps=(1e-2, 1e-3))
    order = {
        curve.scheme: np.log10(curve.errors[0] / curve.errors[1])
        for curve in report.curves
        if curve.tensor == "dense_0.W" and curve.dtype == "float64"
    }
    assert order["forward"] == pytest.approx(1, abs=0.1)
    assert order["central"] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_model_comes_back_as_it_was(dtype: str, data: tuple[np.ndarray, np.ndarray]) -> None:
    model = network(dtype=dtype)
    theta, buffers, gradient = model.theta.copy(), model.buffers.copy(), model.gradient.copy()
    gp.compare_precisions(model, *data, steps=(1e-3,), entries_per_tensor=2)
    for before, after in ((theta, model.theta), (buffers, model.buffers), (gradient, model.gradient)):
        np.testing.assert_array_equal(before, after)


def test_the_same_seed_gives_the_same_report(data: tuple[np.ndarray, np.ndarray]) -> None:
    def curves(seed: int) -> list[gp.check.curves.Curve]:
        return gp.compare_precisions(network(), *data, steps=(1e-3,), entries_per_tensor=4, seed=seed).curves

    assert curves(1) == curves(1) != curves(2)


def test_regression_targets_are_rounded_alike(rng: np.random.Generator) -> None:
    model = gp.Sequential([gp.Dense(4), gp.Sigmoid(), gp.Dense(2)], input_size=3, loss="mse")
    report = gp.compare_precisions(model, rng.normal(size=(5, 3)), rng.normal(size=(5, 2)), steps=(1e-3,))
    assert report.ok
    assert all(tensor.analytic_error["float32"] < 1e-5 for tensor in report.tensors.values())


def test_a_tensor_whose_gradient_is_zero(rng: np.random.Generator) -> None:
    model = gp.Sequential([gp.Dense(4), gp.ReLU(), gp.Dense(2)], input_size=3, loss="mse", dtype="float64")
    model.parameters["dense_0.b"][...] = -100.0  # no unit is ever active
    report = gp.compare_precisions(model, rng.normal(size=(5, 3)), rng.normal(size=(5, 2)), steps=(1e-3,))
    assert report.tensors["dense_0.W"].best == {"float32": {}, "float64": {}}
    assert report.tensors["dense_0.W"].analytic_error["float64"] == 0
    assert report.ok
    assert "dense_0.W" in str(report)


class Wrong(gp.Layer):
    """sin with a derivative that is one percent too large."""

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {}

    def forward(self, x: np.ndarray, parameters: Any, training: bool) -> tuple[np.ndarray, np.ndarray]:
        return np.sin(x), x

    def backward(self, dy: np.ndarray, cache: np.ndarray, parameters: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return 1.01 * dy * np.cos(cache), {}


def test_a_mistake_fails_and_is_shown_in_both(data: tuple[np.ndarray, np.ndarray], tmp_path: Any) -> None:
    model = gp.Sequential([gp.Dense(4), Wrong(), gp.Dense(3)], input_size=6, loss="softmax_cross_entropy")
    report = gp.compare_precisions(model, *data, steps=(1e-3,))
    assert report.verdict == "fail" and not report
    assert report.tensors["dense_0.W"].verdict == {"float32": "fail", "float64": "fail"}
    assert report.tensors["dense_1.W"].verdict == {"float32": "pass", "float64": "pass"}
    assert report.tensors["dense_0.W"].analytic_error["float64"] == pytest.approx(0.005, rel=0.01)
    assert np.isnan(report.tensors["dense_0.W"].numeric_error["float64"])  # nothing right to hold it against
    assert report.tensors["dense_0.W"].best["float32"] == {}  # in front of a Python layer
    assert set(report.tensors["dense_1.W"].best["float32"]) == {"forward", "central"}
    assert "look first at dense_0" in str(report)
    report.to_html(tmp_path / "page.html")
    assert "look first at dense_0" in (tmp_path / "page.html").read_text()


class Last(Wrong):
    """A right layer, to be the last."""

    def backward(self, dy: np.ndarray, cache: np.ndarray, parameters: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return dy * np.cos(cache), {}


def test_a_network_that_ends_in_a_python_layer_has_no_curves(
    data: tuple[np.ndarray, np.ndarray], tmp_path: Any
) -> None:
    model = gp.Sequential([gp.Dense(3), Last()], input_size=6, loss="softmax_cross_entropy")
    report = gp.compare_precisions(model, *data)
    assert report.ok and report.curves == []
    assert "dense_0.W" in str(report)
    report.to_html(tmp_path / "page.html")


def test_steps_that_vanish_in_rounding(data: tuple[np.ndarray, np.ndarray], tmp_path: Any) -> None:
    report = gp.compare_precisions(network(), *data, steps=(1e-30,), entries_per_tensor=2)
    assert report.ok
    assert "dense_0.W" in str(report)
    report.to_html(tmp_path / "page.html")


def test_renderings(report: gp.PrecisionReport, tmp_path: Any) -> None:
    text = str(report)
    assert text.startswith("PASS")
    assert max(map(len, text.splitlines())) <= 110
    report.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    values = json.loads(report.to_json(tmp_path / "report.json"))
    assert values == json.loads((tmp_path / "report.json").read_text())
    assert values["reports"]["float32"]["verdict"] == "pass"
    for name in report.tensors:
        assert name in text and name in page and name in values["tensors"] and name in report._repr_html_()
    assert "<small>" not in page and "&lt;small&gt;" in page
    assert page.count("<svg") == 1
    figure, curves = report.plot()
    figure.draw_without_rendering()
    assert curves == report.curves
    assert repr(report) == "<PrecisionReport float32 pass, float64 pass: 7 tensors>"


@pytest.mark.parametrize("step", [1e308, 1e-320])
def test_steps_beyond_the_range_of_a_precision(step: float, data: tuple[np.ndarray, np.ndarray]) -> None:
    assert gp.compare_precisions(network(), *data, steps=(step,), entries_per_tensor=2).ok


@pytest.mark.parametrize("init", [1e25, 1e300])
def test_what_overflows_in_one_precision_has_a_verdict(init: float, data: tuple[np.ndarray, np.ndarray]) -> None:
    layers = [gp.Dense(4, init=init), gp.Dense(3, init=1e25)]
    model = gp.Sequential(layers, input_size=6, loss="softmax_cross_entropy", dtype="float64")
    report = gp.compare_precisions(model, *data, steps=(1e-3,))
    assert report.verdict == "nonfinite" and report.tensors == {}
    assert "nonfinite" in str(report).lower()


def test_a_network_without_parameters(rng: np.random.Generator) -> None:
    X = rng.normal(size=(3, 2))
    report = gp.compare_precisions(gp.Sequential([gp.Tanh()], input_size=2, loss="mse"), X, X)
    assert report.tensors == {} and report.curves == [] and str(report)


X, Y = np.ones((3, 6)), np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": ()}, ValueError, r"steps: got \(\), expected positive numbers"),
        ({"steps": (1e-3, -1.0)}, ValueError, "steps: got .*, expected positive numbers"),
        ({"steps": (float("nan"),)}, ValueError, "steps: .* is nan, expected finite"),
        ({"steps": (1j,)}, TypeError, "steps: got tuple of dtype complex128, expected real"),
        ({"steps": "small"}, TypeError, "steps: got str"),
        ({"entries_per_tensor": 0}, ValueError, "entries_per_tensor: got 0"),
        ({"entries_per_tensor": 2.5}, TypeError, "entries_per_tensor: got 2.5"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"seed": "0"}, TypeError, "seed: got '0'"),
        ({"dropout": "on"}, ValueError, "dropout"),
        ({"label": 3}, TypeError, "label: got 3"),
        ({"model": 3}, TypeError, "model: got int, expected a gradproof.Sequential"),
        ({"X": X + 1j}, TypeError, "X: got ndarray of dtype complex128"),
        ({"X": X.astype(str)}, TypeError, "X: got ndarray of dtype <U"),
        ({"X": np.ma.masked_equal(X, 1)}, ValueError, "X: got a masked array"),
        ({"X": 1e300 * X}, ValueError, "X: .*too large for float32"),
        ({"X": X[:, :2]}, ValueError, "X: got 2 features, expected 6"),
        ({"y": Y + 0j}, TypeError, "y: got ndarray of dtype complex128"),
        ({"y": np.ma.masked_equal(Y, 1)}, ValueError, "y: got a masked array"),
        ({"y": Y[:2]}, ValueError, "y: got 2 targets, expected one for each of the 3 rows"),
    ],
)
def test_wrong_input_is_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gp.compare_precisions(**{"model": network(), "X": X, "y": Y, **arguments})
