"""Does a gradient answer for the point it is asked about? Experiments on one that was found wrong.

A gradient that is right where it was asked first and wrong elsewhere may be remembered; one that is always one call
late is right wherever it is asked twice. Neither shows in the numbers of one point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from gradproof.check.evaluate import Array, Problem
from gradproof.check.lines import increments
from gradproof.check.report import Finding
from gradproof.check.tensor_report import TensorReport

ELSEWHERE: Final = 4  # parameters change by 2^-4 of their size
SHORT: Final = 2.0**-9  # part of that change over which slopes are taken
VISIBLE: Final = 64.0  # standard deviations of noise by which two slopes have to differ


def remembered(
    problem: Problem, tensors: Sequence[TensorReport], sigma: float, rng: np.random.Generator
) -> list[Finding]:
    """Findings about wrong gradients that belong to another point, or share their memory.

    Parameters
    ----------
    problem : Problem
    tensors : sequence of TensorReport
        With mistakes.
    sigma : float
        Standard deviation of the noise of the loss.
    rng : numpy.random.Generator
    """
    wrong = [i for i, tensor in enumerate(tensors) if tensor.mismatched]
    if problem.given is not None or not wrong:
        return []
    return _shared(problem, wrong) or _of_another_point(problem, wrong, sigma, rng)


def _shared(problem: Problem, wrong: Sequence[int]) -> list[Finding]:
    names = problem.parameters.names
    pairs = [(names[i], names[j]) for i, j in problem.aliased if i in wrong or j in wrong]
    if not pairs:
        return []
    first, second = pairs[0]
    message = (
        f"{first} and {second}: grad returns the same memory for both, so that what is written last stands in both. "
        "Give each tensor an array of its own."
    )
    return [Finding("state", first, message, 0.95, {"aliased": [list(pair) for pair in pairs]})]


def _of_another_point(problem: Problem, wrong: Sequence[int], sigma: float, rng: np.random.Generator) -> list[Finding]:
    moves = increments(problem, ELSEWHERE, rng)
    problem.gradient()
    here = problem.gradient()  # whatever it remembers of other calls is gone now
    first, second = (problem.gradient_at(moves, 1.0) for _ in range(2))
    problem.gradient()
    if first is None or second is None:
        return []
    kept = [i for i in wrong if not _at_bound(here[i]) and np.array_equal(first[i], here[i])]
    if not kept:
        return []
    names = [problem.parameters.names[i] for i in kept]
    shown = ", ".join(names[:5])
    if any(not np.array_equal(first[i], second[i]) for i in kept):
        message = (
            f"grad: the first call at a new point gives the gradient of the point before ({shown}), the second its "
            "own: it uses what the last call left behind (a cache filled too late). Compute the forward pass first."
        )
        return [Finding("state", names[0], message, 0.95, {"function": "grad", "tensors": names, "late": True})]
    if not _slope_changes(problem, {i: moves[i] for i in kept}, sigma):
        return []
    message = (
        f"grad: it gives the same numbers at another point ({shown}), though the slope of the loss is another there: "
        "it returns something that was kept (a cache), or does not use its argument."
    )
    return [Finding("state", names[0], message, 0.9, {"function": "grad", "tensors": names, "constant": True})]


def _at_bound(gradient: Array) -> bool:
    """Whether all entries are zero or clipped to one bound: they say nothing of the point."""
    sizes = np.abs(gradient[gradient != 0])
    return not sizes.size or (sizes.size > 1 and bool(np.ptp(sizes) == 0))


def _slope_changes(problem: Problem, moves: dict[int, Array], sigma: float) -> bool:
    """Whether the slope of the loss along a line differs between its ends."""

    def slope(at: float) -> float:
        return (problem.value_along(moves, at + SHORT)[0] - problem.value_along(moves, at - SHORT)[0]) / (2 * SHORT)

    return abs(slope(1.0) - slope(0.0)) > VISIBLE * sigma / SHORT
