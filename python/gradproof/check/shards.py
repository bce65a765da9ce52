"""Share the entries of a check out to joblib workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof.check import workers
from gradproof.check.entries import Circumstances, Measured, Meter
from gradproof.check.evaluate import BudgetSpent, Problem
from gradproof.check.progress import Progress
from gradproof.check.tree import Parameters


def measure_sharded(
    problem: Problem, facts: Circumstances, measured: list[Measured], bar: Progress, backend: str | None, n_jobs: int
) -> None:
    """Measure every entry with `n_jobs` workers of a joblib backend.

    The budget of evaluations is shared out evenly; the time is the same for all.
    """
    sizes = problem.parameters.sizes
    per_shard = max(16, -(-sum(sizes) // (workers.SHARDS_PER_WORKER * workers.count(backend, n_jobs))))
    shards = [(t, np.arange(at, min(at + per_shard, n))) for t, n in enumerate(sizes) for at in range(0, n, per_shard)]
    if not shards:
        return
    allowance = problem.remaining() // len(shards)
    seconds = problem.deadline - problem.started
    common = problem.loss, problem.parameters, replace(facts)
    tasks = [(*common, tensor, entries, allowance, problem.deadline) for tensor, entries in shards]
    outcomes = workers.share_out(_shard, tasks, backend, n_jobs)
    ended = ""
    for (tensor, entries), outcome in zip(shards, outcomes, strict=True):
        numeric, uncertainty, status, evaluations, failures, disturbed, stopped = outcome
        into = measured[tensor]
        into.numeric[entries], into.uncertainty[entries], into.status[entries] = numeric, uncertainty, status
        problem.evaluations += evaluations
        problem.failures.update({**failures, **problem.failures})
        problem.disturbed |= disturbed[0]
        problem.disturbances |= disturbed[1]
        ended = ended or stopped
        bar.advance(entries.size)
    if ended:
        limit = f"max_evaluations={problem.max_evaluations}" if "eval" in ended else f"max_seconds={seconds:g}"
        raise BudgetSpent(f"{limit} is used up")


def _no_gradient(_: Any) -> Any:
    raise NotImplementedError


def _shard(
    loss: Callable[[Any], Any],
    parameters: Parameters,
    facts: Circumstances,
    tensor: int,
    entries: NDArray[np.intp],
    allowance: float,
    deadline: float,
) -> tuple[Any, ...]:
    problem = Problem(loss, _no_gradient, parameters)
    problem.max_evaluations, problem.deadline = allowance, deadline
    into = Measured.nothing(problem.size(tensor))
    stopped = ""
    try:
        with np.errstate(all="ignore"):
            Meter(problem, facts).measure(tensor, entries, into)
    except BudgetSpent as spent:
        stopped = str(spent)
    parts = into.numeric[entries], into.uncertainty[entries], into.status[entries]
    return (*parts, problem.evaluations, problem.failures, (problem.disturbed, problem.disturbances), stopped)
