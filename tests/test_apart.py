"""What is said of networks whose cost has several parts: of each mistake what the part shows that it is in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradproof as gp

PARTS = ("data", "regularization")


class Affine(gp.Layer):
    """y = s x + t, whose backward pass leaves out the factor s."""

    row_independent = True

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"s": np.ones(n_in), "t": np.zeros(n_in)}

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        return x * parameters["s"] + parameters["t"], x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return dy, {"s": (dy * cache).sum(axis=0), "t": dy.sum(axis=0)}


class Scaled(gp.Sequential):
    """A network whose gradient of the first weights is multiplied by something in some parts of the cost."""

    factors: dict[str, float] = {}

    def loss_and_gradient(self, X: Any, y: Any, *, parts: Any = PARTS, rows: Any = None) -> Any:
        value, gradient = super().loss_and_gradient(X, y, parts=parts, rows=rows)
        own = slice(0, self.layout["dense_0.W"].size)
        for part in set(parts) & set(self.factors):
            alone = super().loss_and_gradient(X, y, parts=(part,), rows=rows)[1]
            gradient[own] += (self.factors[part] - 1) * alone[own]
        return value, gradient


@pytest.fixture
def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(6, 4)), rng.integers(0, 3, 6)


def scaled(batch: Any, l2: float = 0.5, **factors: float) -> gp.GradientReport:
    model = Scaled([gp.Dense(5), gp.Tanh(), gp.Dense(3)], 4, "softmax_cross_entropy", l2=l2, dtype="float64", seed=0)
    model.factors = factors
    return gp.check_model(model, *batch)


@pytest.mark.parametrize("l2", [0.0, 1e-6, 1e-2, 10.0, 1e9])
def test_a_penalty_does_not_blur_what_is_wrong_in_the_data_part(l2: float, batch: Any) -> None:
    layers = [gp.Dense(5), Affine(), gp.Tanh(), gp.Dense(3)]
    model = gp.Sequential(layers, 4, "softmax_cross_entropy", l2=l2, dtype="float64", seed=0)
    report = gp.check_model(model, *batch)
    assert [(finding.cause, finding.tensor) for finding in report.findings if finding.cause != "vacuous"] == [
        ("scale", "dense_0.W"),
        ("upstream", "dense_0.b"),  # its gradient is that of affine_0.t, which is right: they are not exchanged
    ]
    message = report.findings[0].message
    assert "The factor affine_0.s is missing" in message
    assert ("Seen in the data part alone" in message) == (l2 > 0)
    assert ("the regularization hides it" in message) == (l2 == 1e9)


def test_a_wrong_penalty_is_told_by_its_coefficient(batch: Any) -> None:
    report = scaled(batch, regularization=2.0)
    assert [finding.cause for finding in report.findings] == ["regularization"]
    assert report.findings[0].evidence["coefficient"] == pytest.approx(0.5 / 6)


def test_a_penalty_whose_mistake_is_hidden_is_told_from_its_part(batch: Any) -> None:
    report = scaled(batch, l2=1e-9, regularization=3.0)
    assert [finding.cause for finding in report.findings] == ["regularization"]
    assert "Seen in the regularization part alone; in the whole gradient the data hides it" in str(
        report.findings[0].message
    )


def test_one_mistake_in_both_parts_is_said_once(batch: Any) -> None:
    report = scaled(batch, data=2.0, regularization=2.0)
    assert [(finding.cause, finding.tensor) for finding in report.findings] == [("scale", "dense_0.W")]
    assert "part" not in report.findings[0].message


def test_two_mistakes_in_two_parts_are_both_said(batch: Any) -> None:
    report = scaled(batch, data=-1.0, regularization=0.0)
    assert {finding.cause for finding in report.findings} >= {"sign"}
    assert len({finding.message for finding in report.findings}) == len(report.findings) <= 2


def test_a_gradient_that_is_given_is_told_as_a_whole(batch: Any) -> None:
    model = gp.Sequential([gp.Dense(5), gp.Tanh(), gp.Dense(3)], 4, "softmax_cross_entropy", l2=0.5, dtype="float64")
    report = gp.check_model(model, *batch, gradient=2 * model.loss_and_gradient(*batch)[1])
    assert not report.parts and report.findings[0].cause == "scale"
