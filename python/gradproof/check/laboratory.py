"""Both gradients held against each other at other points, for a diagnosis that one point cannot give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from gradproof.check.diagnosis.comparison import Comparison
from gradproof.check.evaluate import Array, BudgetSpent, Problem

DIRECTIONS: Final = 3  # per tensor: a factor of all three is no accident
STEP: Final = 2.0**-12  # relative to the size of the parameters
STEP_SINGLE: Final = 2.0**-6  # where the loss has float32 noise
NOISE: Final = 8.0  # standard deviations of the loss per step
COARSE: Final = 1e-10  # noise relative to the loss: more is no rounding of float64 sums, and hides slopes over STEP


class Laboratory:
    """Measures slopes at points other than the one that is checked, within a budget.

    Parameters
    ----------
    problem : Problem
        What is checked; its evaluations go on being counted.
    sigma : float
        Standard deviation of the rounding of its loss.
    limit : int
        Evaluations of the loss that may be spent here at most.
    """

    def __init__(self, problem: Problem, sigma: float, limit: int) -> None:
        self._problem, self._sigma, self._left = problem, sigma, limit

    @property
    def open(self) -> bool:
        """Whether there is a gradient to call and a budget to spend."""
        return self._problem.given is None and min(self._left, self._problem.remaining()) > 4 * DIRECTIONS

    def compare(
        self,
        changed: Mapping[int, Array],
        tensors: Sequence[int],
        step: float | None = None,
        directions: int = DIRECTIONS,
    ) -> dict[int, Comparison]:
        """Both gradients of some tensors along random directions, at the point with some tensors replaced.

        Empty where the loss or its gradient has no value, or the budget does not allow it.
        """
        if not self.open:
            return {}
        arrays = list(self._problem.parameters.arrays)
        for tensor, array in changed.items():
            arrays[tensor] = np.asarray(array, arrays[tensor].dtype)
        there = Problem(self._problem.loss, self._problem.grad, self._problem.parameters.rebuild(arrays))
        there.max_evaluations = min(self._left, self._problem.remaining())
        there.deadline, there.started = self._problem.deadline, self._problem.started
        try:
            gradient = there.gradient_at({}, 0.0)
            value = there.value_along({}, 0.0)[0]
            if gradient is None or not math.isfinite(value):
                return {}
            sigma = max(self._sigma, 4 * float(np.finfo(np.float64).eps) * abs(value))
            single = any(self._problem.single) or sigma > COARSE * abs(value)
            h = step or (STEP_SINGLE if single else STEP)
            found = {t: self._along(there, t, gradient[t], sigma, h, directions) for t in tensors}
        except BudgetSpent:
            return {}
        finally:
            self._left -= there.evaluations
            self._problem.evaluations += there.evaluations
            self._problem.gradients += there.gradients
        return {tensor: comparison for tensor, comparison in found.items() if comparison is not None}

    def _along(
        self, there: Problem, tensor: int, gradient: Array, sigma: float, h: float, directions: int
    ) -> Comparison | None:
        """Slopes along directions of one tensor; None where the loss has no value beside the point."""
        rng = np.random.default_rng(tensor)  # the same directions at every point
        scale = self._problem.scales(tensor).reshape(gradient.shape)
        rows = []
        for _ in range(min(directions, gradient.size)):
            move = scale * rng.standard_normal(gradient.shape)
            slopes, moved = [], move
            for k in (1, 2):
                right, left = there.value_along({tensor: move}, k * h), there.value_along({tensor: move}, -k * h)
                slopes.append((right[0] - left[0]) / (2 * k * h))
                if k == 1:
                    moved = (right[1][tensor] - left[1][tensor]) / (2 * h)
            n = (4 * slopes[0] - slopes[1]) / 3
            u = abs(slopes[0] - slopes[1]) + NOISE * sigma / h
            along = float(np.sum(there.x(tensor) * np.asarray(moved, np.float64)))
            rows.append((float(np.sum(gradient * moved)), n, u, along))
        a, n, u, x = np.array(rows).T
        return Comparison(a, n, u, x) if np.all(np.isfinite(a + n + u)) else None
