"""Losses that move in steps: their derivative is 0, and what goes straight through a rounding is not it."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof as gp

rng = np.random.default_rng(0)
POINT, C, X = 3 * rng.normal(size=6), rng.normal(size=6), rng.normal(size=(5, 6))
STAIRS = {
    "floor": lambda x: np.floor(x).sum(),
    "weighted round": lambda x: C @ np.round(x),
    "4 bits": lambda x: ((np.round(8 * x) / 8 - C) ** 2).sum(),
    "8 bits": lambda x: ((np.round(127 * x) / 127 - C) ** 2).sum(),
    "accuracy": lambda x: (X @ x > 0).mean(),
    "signs": lambda x: (np.sign(X @ x) @ np.arange(5)) ** 2,
}


@pytest.mark.parametrize("name", STAIRS)
def test_zero_is_right_and_is_said_to_say_nothing(name):
    report = gp.check_gradients(STAIRS[name], np.zeros_like, POINT, progress=False)
    assert report.verdict == "pass", str(report)
    assert [finding.cause for finding in report.findings] == ["vacuous"]


@pytest.mark.parametrize("name", ["floor", "weighted round", "signs"])
def test_straight_through_a_rounding_is_not_passed_and_said(name):
    through = {"floor": np.ones(6), "weighted round": C, "signs": X.T @ np.arange(5)}[name]
    report = gp.check_gradients(STAIRS[name], lambda x: through, POINT, nearby=False, progress=False)
    assert report.verdict == "inconclusive"
    assert "straight through" in " ".join(str(report).split())


def test_zero_is_not_the_derivative_of_a_sloping_loss_that_is_rounded():
    report = gp.check_gradients(
        lambda x: round(float(np.sin(x).sum()), 4), np.zeros_like, POINT, nearby=False, progress=False
    )
    assert report.verdict == "inconclusive"


@pytest.mark.parametrize("bits", [10, 16])
def test_a_fine_staircase_passes_its_mean_slope_and_says_so(bits):
    s = 2.0 ** (bits - 1)
    report = gp.check_gradients(
        lambda x: ((np.round(s * x) / s - C) ** 2).sum(), lambda x: 2 * (np.round(s * x) / s - C), POINT, progress=False
    )
    assert report.verdict == "pass"
    assert "mean slope over many steps" in " ".join(str(report).split())
