"""Work for the workers of a joblib backend: threads, processes, or machines."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

SHARDS_PER_WORKER: Final = 4  # enough for an even load, and few enough to send each the data


def share_out(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], backend: str | None, n_jobs: int
) -> Iterator[Any]:
    """``function(*task)`` for every task, in their order, by `n_jobs` workers of a joblib backend."""
    joblib = load(backend)
    with joblib.parallel_config(backend=backend, n_jobs=n_jobs):  # knows backends that Parallel does not, as "dask"
        run = joblib.Parallel(return_as="generator")
    yield from run(joblib.delayed(_call)(function, task) for task in tasks)


def _call(function: Callable[..., Any], task: tuple[Any, ...]) -> Any:
    # A single tuple: large arguments would be handed to one worker of Dask first, and be lost with it.
    return function(*task)


def count(backend: str | None, n_jobs: int) -> int:
    """How many workers that makes."""
    joblib = load(backend)
    with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
        return max(1, int(joblib.effective_n_jobs(n_jobs)))


def load(backend: str | None) -> Any:
    """joblib, once what the backend needs beside it is there."""
    try:
        import joblib

        if backend == "dask":
            importlib.import_module("distributed")
    except ImportError as error:
        needed = "backend='dask' needs distributed" if backend == "dask" else "backend= and n_jobs= need joblib"
        raise ImportError(f"{needed}: pip install gradproof[scale]") from error
    return joblib
