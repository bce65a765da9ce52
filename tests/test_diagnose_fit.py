"""Bias or variance, from two error rates."""

from __future__ import annotations

from typing import Any

import pytest

import gradproof as gp


class TestDiagnoseFit:
    @pytest.mark.parametrize(
        ("errors", "options", "verdict"),
        [  # the table of Ng's course
            ((0.01, 0.11), {}, "high variance"),
            ((0.15, 0.16), {}, "high bias"),
            ((0.15, 0.30), {}, "high bias and high variance"),
            ((0.005, 0.01), {}, "good"),
            ((0.15, 0.16), {"baseline": 0.14}, "good"),
            ((0.02, 0.021), {"baseline": 0.015, "test_error": 0.08}, "fitted to the dev set"),
            ((0.10, 0.02), {"baseline": 0.09}, "training set unlike the dev set"),
        ],
    )
    def test_verdicts(self, errors: tuple[float, float], options: dict[str, float], verdict: str) -> None:
        found = gp.diagnose_fit(*errors, **options)
        assert found.verdict == verdict and found.ok == (verdict == "good")
        assert found.advice and verdict in str(found)

    def test_the_advice_follows_the_verdict(self) -> None:
        assert "larger network" in gp.diagnose_fit(0.2, 0.21).advice[0]
        assert "more data" in gp.diagnose_fit(0.01, 0.2).advice[0]
        assert "larger dev set" in gp.diagnose_fit(0.01, 0.011, test_error=0.1).advice[0]

    def test_a_small_dev_set_leaves_room_for_chance(self) -> None:
        assert gp.diagnose_fit(0.05, 0.08, baseline=0.05).verdict == "high variance"
        assert gp.diagnose_fit(0.05, 0.08, baseline=0.05, dev_rows=100).verdict == "good"

    @pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "a", None])
    def test_wrong_rates_are_named(self, value: Any) -> None:
        with pytest.raises((ValueError, TypeError), match="dev_error: got"):
            gp.diagnose_fit(0.1, value)
