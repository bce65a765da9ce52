"""Losses next to the rounding of what they are computed from, and next to the edge of a domain."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof as gp


def entropy(z: np.ndarray) -> float:
    e = np.exp(z - z.max())
    p = e / e.sum()
    return float(-(p * np.log(p)).sum())


def of_entropy(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    p = e / e.sum()
    return -p * (np.log(p) - (p * np.log(p)).sum())


def logits(sure: float, seed: int) -> np.ndarray:
    z = np.random.default_rng(seed).normal(size=5)
    z[2] -= np.log(sure)
    return z


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sure", [1e-8, 1e-12, 1e-14, 1e-15])
def test_the_entropy_of_a_sure_class_is_decided_as_far_as_it_can_be(sure: float, seed: int) -> None:
    z = logits(sure, seed)
    assert gp.check_gradients(entropy, of_entropy, z, progress=False).verdict == "pass"
    assert gp.check_gradients(entropy, lambda z: 1.5 * of_entropy(z), z, progress=False).verdict == "fail"


@pytest.mark.parametrize("seed", range(3))
def test_below_the_rounding_of_one_nothing_is_said_of_it(seed: int) -> None:
    """The probability of the sure class is 1 then, and its part of the slope is not in the numbers."""
    z = logits(1e-17, seed)
    for factor in (1.0, 1.5):
        report = gp.check_gradients(entropy, lambda z, c=factor: c * of_entropy(z), z, nearby=False, progress=False)
        assert report.verdict == "inconclusive"
        assert any("repeatable to about 1e-16" in note for note in report.notes)


@pytest.mark.parametrize("scale", [1e-16, 1e-20, 1e-30])
def test_what_is_small_by_itself_is_measured(scale: float) -> None:
    x, A = np.random.default_rng(0).normal(size=5), np.random.default_rng(1).normal(size=(6, 5))
    loss, gradient = (lambda x: scale * np.sin(A @ x).sum()), (lambda x: scale * A.T @ np.cos(A @ x))
    assert gp.check_gradients(loss, gradient, x, progress=False).verdict == "pass"
    assert gp.check_gradients(loss, lambda x: 1.001 * gradient(x), x, progress=False).verdict == "fail"


@pytest.mark.parametrize("others", [[1e10, 0.0], [-1 + 1e-6, 0.0, 1e10], [0.5], [1e-8, 3.0], [0.0, 0.0]])
@pytest.mark.parametrize("power", [2, 5, 8, 10, 12, 13])
def test_an_edge_is_decided_beside_numbers_of_other_scales(power: int, others: list[float]) -> None:
    x = np.array([-1 + 10.0**-power, *others])

    def loss(p: np.ndarray) -> float:
        return float(np.log1p(p).sum())

    assert gp.check_gradients(loss, lambda p: 1 / (1 + p), x, progress=False).verdict == "pass"
    if power < 12:
        assert gp.check_gradients(loss, lambda p: 1.05 / (1 + p), x, progress=False).verdict == "fail"


@pytest.mark.parametrize("others", [[1e10, 0.0], [0.5], [1e3, 1e-3]])
def test_a_few_places_from_the_edge_nobody_is_accused(others: list[float]) -> None:
    x = np.array([-1 + 1e-15, *others])
    report = gp.check_gradients(lambda p: float(np.log1p(p).sum()), lambda p: 1 / (1 + p), x, progress=False)
    assert report.verdict == "inconclusive"


def test_what_is_learned_beside_an_edge_serves_the_next_entry() -> None:
    x = np.random.default_rng(0).normal(size=40)
    edge = x + np.geomspace(1e-6, 2e-6, 40)

    def loss(x: np.ndarray) -> float:
        return float(-np.log(edge - x).sum())

    report = gp.check_gradients(loss, lambda x: 1 / (edge - x), x, nearby=False, progress=False)
    assert report.ok and report.evaluations < 60 + 8 * x.size
