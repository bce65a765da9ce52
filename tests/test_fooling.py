"""Correct gradients chosen to fool checkers: none is accused, and none is passed over in silence."""

from __future__ import annotations

import numpy as np
import pytest
from cases.fooling import CASES, Case

import gradproof as gp

# Name of the case -> why its verdict is not right yet.
KNOWN_GAPS: dict[str, str] = {}


def parameters() -> list[object]:
    return [
        pytest.param(
            case,
            id=case.name,
            marks=[pytest.mark.xfail(reason=KNOWN_GAPS[case.name])] if case.name in KNOWN_GAPS else [],
        )
        for case in CASES
    ]


def test_there_are_enough_and_each_has_a_name():
    assert len({case.name for case in CASES}) == len(CASES) >= 80
    assert set(KNOWN_GAPS) <= {case.name for case in CASES}


@pytest.mark.parametrize("case", parameters())
def test_no_correct_gradient_is_accused(case: Case):
    report = gp.check_gradients(case.loss, case.gradient, case.params, progress=False)
    assert report.verdict in case.verdicts, str(report)
    assert report.culprits == []
    if case.kinks is not None:
        assert report.kinks == case.kinks, str(report)


@pytest.mark.parametrize("case", [case for case in CASES if case.kinks])
def test_a_gradient_outside_the_subgradients_is_accused(case: Case):
    """A kink is no excuse: beyond both one-sided derivatives nothing is right."""
    wrong = np.asarray(case.gradient(case.params)) + 3
    report = gp.check_gradients(case.loss, wrong, case.params, progress=False)
    assert report.verdict == "fail", str(report)
