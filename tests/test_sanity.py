from __future__ import annotations

import json
import pickle
from math import log
from typing import Any

import numpy as np
import pytest

from gradproof.check.sanity import SanityReport, sanity_check
from gradproof.nn.layers import BatchNorm, Dense, Dropout, Layer, ReLU, Sigmoid, Softmax, Tanh
from gradproof.nn.model import Sequential

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def data(rng: np.random.Generator) -> Data:
    """Four overlapping clouds, sorted by class as many data sets are."""
    y = np.repeat(np.arange(4), 50)
    return rng.normal(size=(200, 10)) + 0.5 * y[:, np.newaxis], y


HEALTHY: dict[str, list[Any]] = {
    "linear": [],
    "relu": [Dense(32), ReLU()],
    "batch_norm_dropout": [Dropout(0.8), Dense(32), BatchNorm(), ReLU(), Dropout(0.5)],
    "tanh": [Dense(16, "xavier"), Tanh(), Dense(16, "xavier"), Tanh()],
    "sigmoid": [Dense(32, "glorot"), Sigmoid()],
}


def test_expected_losses(data: Data, rng: np.random.Generator) -> None:
    X, y = data
    zeros = Dense(4, init="zeros")
    for loss, targets, expected in [
        ("softmax_cross_entropy", y, log(4)),
        ("hinge", y, 3.0),
        ("binary_cross_entropy", rng.random((200, 4)), log(2)),
        ("mse", np.tile([1.0, 2, 3, 4], (200, 1)), 7.5),
    ]:
        check = sanity_check(Sequential([zeros], 10, loss), X, targets)["initial_loss"]
        assert check.value == pytest.approx(expected, rel=1e-6)
        assert check.expected == pytest.approx(expected, rel=1e-6)
        assert check.status == "pass"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse"])
@pytest.mark.parametrize("stack", HEALTHY)
def test_a_healthy_network_passes(stack: str, loss: str, dtype: str, data: Data) -> None:
    X, y = data
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    targets = {"binary_cross_entropy": np.eye(4)[y], "mse": (np.eye(4)[y] - 0.25) / np.sqrt(3 / 16)}.get(loss, y)
    report = sanity_check(Sequential([*HEALTHY[stack], Dense(4)], 10, loss, l2=1e-3, dtype=dtype), X, targets)
    assert report.ok and report, str(report)


def test_the_model_is_not_touched(data: Data) -> None:
    model = Sequential([Dropout(0.5), Dense(8), BatchNorm(), ReLU(), Dense(4)], 10, "softmax_cross_entropy", l2=0.1)
    model._gradient_step(*data, 0.1)
    before = pickle.dumps(model)
    sanity_check(model, *data)
    assert pickle.dumps(model) == before


def test_a_trained_model_is_asked_about_its_start(data: Data) -> None:
    model = Sequential([Dense(4)], 10, "softmax_cross_entropy")
    start = sanity_check(model, *data)
    model.theta *= 100
    assert sanity_check(model, *data) == start


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_parameters_that_are_not_finite_fail_the_initial_loss(value: float, data: Data) -> None:
    model = Sequential([Dense(8), ReLU(), Dense(4)], 10, "softmax_cross_entropy")
    model.parameters["dense_1.W"][2, 3] = value
    model.parameters["dense_1.b"][:2] = value
    report = sanity_check(model, *data)
    check = report["initial_loss"]
    assert not report.ok and check.status == "fail"
    assert (
        f"not finite in 1 of 32 entries, first dense_1.W[2, 3] = {value}; nor are those of dense_1.b" in check.message
    )


def test_inputs_out_of_scale_fail_the_initial_loss(data: Data) -> None:
    X, y = data
    check = sanity_check(Sequential([Dense(32), ReLU(), Dense(4)], 10, "softmax_cross_entropy"), 100 * X, y)[
        "initial_loss"
    ]
    assert check.status == "fail" and not check.passed
    assert "normalize" in check.message


def test_softmax_twice_cannot_overfit(data: Data) -> None:
    with pytest.warns(UserWarning, match="the last layer is Softmax"):
        model = Sequential([Dense(64), ReLU(), Dense(4), Softmax()], 10, "softmax_cross_entropy")
    report = sanity_check(model, *data)
    assert not report.ok and not report
    assert report["overfit"].status == "fail"


class WrongSign(Layer):
    def forward(self, x: np.ndarray, parameters: dict[str, np.ndarray], training: bool) -> tuple[np.ndarray, Any]:
        return x, None

    def backward(
        self, dy: np.ndarray, cache: Any, parameters: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return -dy, {}


def test_a_wrong_gradient_cannot_overfit(data: Data) -> None:
    model = Sequential([Dense(64), Tanh(), Dense(4), WrongSign()], 10, "softmax_cross_entropy")
    report = sanity_check(model, *data)
    assert report["overfit"].status == "fail"
    assert report["gradient"].status == "fail"
    assert "dense" in report["gradient"].message


def test_inputs_that_do_not_come_through_do_not_matter(data: Data) -> None:
    X, y = data
    model = Sequential([Dense(16), ReLU(), Dense(4)], 10, "softmax_cross_entropy")
    check = sanity_check(model, X, y)["inputs_matter"]
    assert check.status == "pass" and check.value < 0.9 * check.expected
    for blind in (np.zeros_like(X), np.repeat(X[:1], len(X), axis=0)):
        check = sanity_check(model, blind, y)["inputs_matter"]
        assert check.status == "fail" and check.value == pytest.approx(check.expected, rel=0.05)
        assert "does not use its inputs" in check.message


class LateMistake(Layer):
    """Its gradient is right at the start, where s is 1, and wrong as soon as s has moved."""

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"s": np.ones(n_in)}

    def forward(self, x: np.ndarray, parameters: dict[str, np.ndarray], training: bool) -> tuple[np.ndarray, Any]:
        return x * parameters["s"], x

    def backward(
        self, dy: np.ndarray, cache: Any, parameters: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return dy, {"s": (dy * cache).sum(axis=0)}


def test_a_gradient_that_goes_wrong_after_the_start(data: Data) -> None:
    model = Sequential([Dense(8), LateMistake(), Dense(4)], 10, "softmax_cross_entropy")
    assert sanity_check(model, *data)["gradient"].status == "fail"


def test_the_gradient_of_a_large_network_is_checked_within_a_budget(rng: np.random.Generator) -> None:
    model = Sequential([Dense(600), ReLU(), Dense(4)], 100, "softmax_cross_entropy")
    report = sanity_check(model, rng.normal(size=(30, 100)), np.arange(30) % 4)
    assert report["gradient"].status in ("pass", "warn")


def test_a_network_that_is_too_small_is_only_warned_about(data: Data) -> None:
    X, y = data
    check = sanity_check(Sequential([Dense(4)], 1, "softmax_cross_entropy"), X[:, :1], y)["overfit"]
    assert check.status == "warn" and check.passed
    assert "too small" in check.message


def test_rows_that_contradict_each_other_are_left_out(rng: np.random.Generator) -> None:
    X = np.repeat(rng.normal(size=(20, 10)), 2, axis=0)
    model = Sequential([Dense(64), ReLU(), Dense(2)], 10, "softmax_cross_entropy")
    assert sanity_check(model, X, np.tile([0, 1], 20))["overfit"].status == "pass"


def test_soft_targets_have_a_loss_that_cannot_be_beaten(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(20, 10)), rng.uniform(0.2, 0.8, 20)
    check = sanity_check(Sequential([Dense(64), ReLU(), Dense(1)], 10, "binary_cross_entropy"), X, y)["overfit"]
    entropy = -np.mean(y * np.log(y) + (1 - y) * np.log(1 - y))
    assert check.status == "pass"
    assert entropy < check.value <= check.expected < log(2)


def test_what_does_not_apply_is_skipped() -> None:
    report = sanity_check(Sequential([ReLU()], 2, "mse"), np.ones((3, 2)), np.zeros((3, 2)))
    assert [check.status for check in report] == ["skip"] * 5
    assert report.ok
    assert report.to_dict()["checks"][1]["value"] is None


def test_one_row(data: Data) -> None:
    X, y = data
    assert sanity_check(Sequential([Dense(4)], 10, "softmax_cross_entropy"), X[:1], y[:1])["overfit"].passed


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [(np.zeros((3, 9)), [0, 1, 2], "X: got 9 features"), (np.zeros((3, 10)), [0, 1, 4], r"y: y\[2\] is 4")],
)
def test_wrong_input_is_named(X: np.ndarray, y: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sanity_check(Sequential([Dense(4)], 10, "softmax_cross_entropy"), X, y)


@pytest.mark.parametrize("model", [None, 3, Dense(4), Sequential])
def test_what_is_no_model_is_named(model: Any, data: Data) -> None:
    with pytest.raises(TypeError, match="model: got .*, expected a gradproof.Sequential"):
        sanity_check(model, *data)


def test_the_report_in_all_its_forms(data: Data) -> None:
    report: SanityReport = sanity_check(Sequential([Dense(4)], 10, "softmax_cross_entropy"), *data)
    content = json.loads(json.dumps(report.to_dict()))
    assert [check["name"] for check in content["checks"]] == [
        "initial_loss",
        "regularization",
        "overfit",
        "inputs_matter",
        "gradient",
    ]
    assert str(report).startswith("sanity check: ok")
    assert "<table>" in report._repr_html_() and "initial_loss" in report._repr_html_()
    with pytest.raises(KeyError, match="there are initial_loss, regularization, overfit, inputs_matter, gradient"):
        report["nothing"]
