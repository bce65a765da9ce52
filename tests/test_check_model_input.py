"""gp.check_model: what it is given, and what it says where there is nothing to compare."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import gradproof as gp


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(6, 7))


@pytest.fixture
def y(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 4, 6)


def small() -> gp.Sequential:
    layers = [gp.Dense(6), gp.BatchNorm(), gp.ReLU(), gp.Dropout(0.7), gp.Dense(4)]
    return gp.Sequential(layers, 7, "softmax_cross_entropy", dtype="float64", seed=5)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"scheme": "complex"}, ValueError, "scheme"),
        ({"dropout": "on"}, ValueError, "dropout"),
        ({"parts": ("data", "bias")}, ValueError, "parts: got 'bias'"),
        ({"parts": ()}, ValueError, "parts"),
        ({"parts": 5}, ValueError, "parts: got 5, expected one of 'data'"),
        ({"parts": None}, ValueError, "parts: got None"),
        ({"after_steps": (-1,)}, ValueError, "after_steps"),
        ({"after_steps": ()}, ValueError, "after_steps"),
        ({"after_steps": 1.5}, ValueError, "after_steps: got 1.5, expected whole numbers"),
        ({"after_steps": (0, 10**30)}, ValueError, "after_steps: got .*, expected whole numbers from 0 to 10000000"),
        ({"after_steps": (1, True)}, ValueError, "after_steps"),
        ({"after_steps": None}, ValueError, "after_steps: got None"),
        ({"step": 0.0, "scheme": "central"}, ValueError, "step"),
        ({"step": float("nan"), "scheme": "central"}, ValueError, "step: got nan"),
        ({"step": 10**400, "scheme": "central"}, ValueError, "step: got inf"),
        ({"step": 1j, "scheme": "central"}, TypeError, "step: got 1j"),
        ({"rtol": -1.0}, ValueError, "rtol"),
        ({"rtol": float("inf")}, ValueError, "rtol: got inf, expected a finite number"),
        ({"rtol": 10**400}, ValueError, "rtol: got 1000"),
        ({"max_seconds": float("nan")}, ValueError, "max_seconds: got nan"),
        ({"nearby": "a"}, TypeError, "nearby: got 'a', expected True or False"),
        ({"nearby": 3}, TypeError, "nearby: got 3"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"seed": "a"}, TypeError, "seed: got 'a'"),
        ({"backend": 3}, TypeError, "backend: got 3"),
        ({"gradient": np.zeros(3)}, ValueError, "gradient"),
        ({"gradient": [[1.0], [1.0, 2.0]]}, ValueError, "gradient: got list, expected an array of numbers"),
        ({"gradient": np.zeros(88), "after_steps": 3}, ValueError, "after_steps: got 3"),
    ],
)
def test_bad_arguments_are_named(
    keywords: dict[str, Any], error: type[Exception], message: str, X: np.ndarray, y: np.ndarray
) -> None:
    with pytest.raises(error, match=message):
        gp.check_model(small(), X, y, **keywords)


def test_bad_data_are_named(X: np.ndarray, y: np.ndarray) -> None:
    model = small()
    with pytest.raises(ValueError, match="y"):
        gp.check_model(model, X, y[:-1])
    with pytest.raises(ValueError, match="X"):
        gp.check_model(model, np.where(X == X[0, 0], np.nan, X), y)
    with pytest.raises(TypeError, match="model"):
        gp.check_model(object(), X, y)  # type: ignore[arg-type]


def test_a_report_without_numbers_claims_none(X: np.ndarray, y: np.ndarray) -> None:
    model = small()
    model.theta[0] = np.nan
    report = gp.check_model(model, X, y)
    assert report.verdict == "nonfinite"
    assert "dense_0.W: the model's parameters themselves are not finite in 1 of 42" in report.findings[0].message
    assert np.isnan([report.relative_error, report.max_relative_error, report.detectable]).all()
    assert [tensor.checked for tensor in report.tensors.values()] == [0] * len(model.parameters)
    assert "Relative error" not in str(report)
    assert json.loads(report.to_json())["relative_error"] is None


def test_parameters_that_are_not_finite_are_said_where_the_loss_does_not_see_them(X: np.ndarray, y: np.ndarray) -> None:
    """A unit whose NaN the rectifier takes for nothing."""
    model = gp.Sequential([gp.Dense(6), gp.ReLU(), gp.Dense(4)], 7, "softmax_cross_entropy", dtype="float64", seed=5)
    model.parameters["dense_0.b"][3] = -np.inf
    assert np.isfinite(model.loss(X, y))
    report = gp.check_model(model, X, y)
    assert report.verdict == "nonfinite" and report.findings[0].tensor == "dense_0.b"
    assert "dense_0.b[3] = -inf" in report.findings[0].message


def test_a_seed_may_be_a_number_of_numpy(X: np.ndarray, y: np.ndarray) -> None:
    texts = [str(gp.check_model(small(), X, y, seed=seed).tensors) for seed in (3, np.int64(3), np.uint8(3))]
    assert texts[0] == texts[1] == texts[2]
