"""What is measured on a random problem: the verdict, the cost of each entry, the coverage, and a planted mistake."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import gradproof as gp
from gradproof.check import functions
from gradproof.check.entries import Meter
from gradproof.check.tree import Parameters

from .families import Problem

CLEAR = 10  # uncertainties beyond which a mistake has to be found


@dataclass
class Outcome:
    """Of one problem; `costs` are evaluations per entry, `uncovered` and `known` count entries, `ratios` their errors
    in units of the uncertainty."""

    verdict: str = ""
    costs: list[int] = field(default_factory=list)
    known: int = 0
    uncovered: int = 0
    asked: bool = False
    found: str = ""


class _Costing(Meter):
    costs: list[int] = []

    def measure(self, tensor: int, entries: Any, into: Any, done: Callable[[], None] | None = None) -> None:
        before = self.problem.evaluations

        def entry() -> None:
            nonlocal before
            self.costs.append(self.problem.evaluations - before)
            before = self.problem.evaluations
            if done is not None:
                done()

        super().measure(tensor, entries, into, entry)


@contextmanager
def counted(costs: list[int]) -> Any:
    """Every entry measured in this context puts what it cost into the list."""
    kept, _Costing.costs = functions.Meter, costs
    functions.Meter = _Costing  # type: ignore[misc]
    try:
        yield
    finally:
        functions.Meter = kept  # type: ignore[misc]


def changed(problem: Problem, change: Callable[[list[np.ndarray]], None]) -> Callable[[Any], Any]:
    """The gradient with something done to its arrays."""
    parameters = Parameters(problem.params)

    def gradient(p: Any) -> Any:
        arrays = parameters.gradient(problem.gradient(p))
        change(arrays)
        return parameters.rebuild(arrays)

    return gradient


def exact_gradient(problem: Problem) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return Parameters(problem.params).gradient(problem.gradient(problem.params))


def verdict_of(problem: Problem, costs: list[int] | None = None) -> str:
    """Of the right gradient; at the point and nearby, the costs without the latter."""
    if costs is not None:
        with counted(costs):
            gp.check_gradients(*problem, nearby=False, progress=False)
    return str(gp.check_gradients(*problem, progress=False).verdict)


def coverage(problem: Problem, seed: int) -> tuple[int, int]:
    """Entries whose error the uncertainty does not cover, and entries, of a gradient that vouches for no value."""
    exact = exact_gradient(problem)
    draw = np.random.default_rng(seed)
    factors = [1 + 10 ** draw.uniform(-5, 0, g.shape) for g in exact]

    def scale(arrays: list[np.ndarray]) -> None:
        for array, factor in zip(arrays, factors, strict=True):
            array *= factor

    report = gp.check_gradients(problem.loss, changed(problem, scale), problem.params, nearby=False, progress=False)
    uncovered = known = 0
    for tensor, g in zip(report.tensors.values(), exact, strict=True):
        if tensor.numeric is None or tensor.uncertainty is None:
            continue
        here = np.isfinite(tensor.numeric) & np.isfinite(tensor.uncertainty)
        known += int(here.sum())
        uncovered += int((np.abs(tensor.numeric - g)[here] > tensor.uncertainty[here]).sum())
    return uncovered, known


def planted(problem: Problem, seed: int) -> tuple[bool, str]:
    """Whether one entry was changed by more than `CLEAR` uncertainties, and the verdict then."""
    exact = exact_gradient(problem)
    draw = np.random.default_rng(seed)
    tensor = int(draw.integers(len(exact)))
    index = np.unravel_index(int(draw.integers(exact[tensor].size)), exact[tensor].shape)
    mistake = 10.0 ** -draw.integers(0, 8) * np.sqrt(np.mean(exact[tensor] ** 2)) * draw.choice([-1, 1])

    def add(arrays: list[np.ndarray]) -> None:
        arrays[tensor][index] += mistake

    report = gp.check_gradients(problem.loss, changed(problem, add), problem.params, nearby=False, progress=False)
    uncertainty = list(report.tensors.values())[tensor].uncertainty
    seen = uncertainty is not None and abs(mistake) > CLEAR * float(uncertainty[index])
    return seen, str(report.verdict)


def outcome(problem: Problem, seed: int) -> Outcome:
    """All of it."""
    result = Outcome()
    result.verdict = verdict_of(problem, result.costs)
    result.uncovered, result.known = coverage(problem, seed)
    result.asked, result.found = planted(problem, seed)
    return result
