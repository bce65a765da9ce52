"""Rates on random problems: correct gradients that fail, mistakes that pass, errors beyond the uncertainty, cost.

The ceilings are what was observed, a little rounded up. More problems: ``PROBLEMS=50 pytest -m campaign``.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from cases.families import FAMILIES

import gradproof as gp
from gradproof.check.tree import Parameters

PROBLEMS = int(os.environ.get("PROBLEMS", "8"))
UNCOVERED = {"noisy": 0.04, "networks_float32": 0.01, "float32_inside": 0.01, "float32_result": 0.01, "offsets": 0.01}

pytestmark = pytest.mark.campaign


def problems(name, seed):
    for i in range(PROBLEMS):
        yield i, FAMILIES[name](np.random.default_rng([seed, i, len(name)]))


def changed(problem, tensor, change):
    """The gradient with one tensor changed."""
    parameters = Parameters(problem.params)

    def gradient(p):
        arrays = parameters.gradient(problem.gradient(p))
        arrays[tensor] = change(arrays[tensor])
        return parameters.rebuild(arrays)

    return gradient


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FAMILIES)
def test_right_gradients_do_not_fail(name):
    verdicts = [gp.check_gradients(*problem).verdict.value for _, problem in problems(name, 1)]
    assert "fail" not in verdicts
    assert verdicts.count("inconclusive") <= 1 + 0.1 * PROBLEMS


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FAMILIES)
def test_mistakes_of_ten_uncertainties_are_found(name):
    for i, problem in problems(name, 2):
        draw = np.random.default_rng(i)
        parameters = Parameters(problem.params)
        exact = parameters.gradient(problem.gradient(problem.params))
        tensor = int(draw.integers(len(exact)))
        index = np.unravel_index(int(draw.integers(exact[tensor].size)), exact[tensor].shape)
        mistake = 10.0 ** -draw.integers(0, 8) * np.sqrt(np.mean(exact[tensor] ** 2)) * draw.choice([-1, 1])

        def add(array, index=index, mistake=mistake):
            array[index] += mistake
            return array

        report = gp.check_gradients(problem.loss, changed(problem, tensor, add), problem.params, nearby=False)
        at = report.tensors[parameters.names[tensor]]
        if abs(mistake) > 10 * at.uncertainty[index]:
            assert report.verdict == "fail"
            assert report.culprits == [at.name]


COVERED = [
    pytest.param(
        name,
        marks=pytest.mark.xfail(
            strict=False, reason="a gap: of 192 entries of losses rounded to float32, 2 are not covered"
        ),
    )
    if name == "float32_result"
    else name
    for name in FAMILIES
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", COVERED)
def test_the_uncertainty_covers_the_error(name):
    covered = total = 0
    for i, problem in problems(name, 3):
        draw = np.random.default_rng(i)
        parameters = Parameters(problem.params)
        exact = parameters.gradient(problem.gradient(problem.params))
        factors = 1 + 10 ** draw.uniform(-5, 0, exact[0].shape)  # so that the numeric value stands alone
        gradient = changed(problem, 0, lambda array, factors=factors: array * factors)
        tensor = gp.check_gradients(problem.loss, gradient, problem.params, nearby=False).tensors[parameters.names[0]]
        known = np.isfinite(tensor.numeric)
        covered += np.count_nonzero(np.abs(tensor.numeric - exact[0])[known] <= tensor.uncertainty[known])
        total += np.count_nonzero(known)
    assert total - covered <= UNCOVERED.get(name, 0.001) * total


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["smooth", "networks", "networks_with_kinks", "networks_float32", "scaled_losses"])
def test_most_entries_take_two_evaluations(name):
    for _, problem in problems(name, 4):
        report = gp.check_gradients(*problem, nearby=False)
        assert report.evaluations - 90 <= 5 * report.checked
