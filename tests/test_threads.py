"""Results do not depend on the number of threads, and any number of Python threads may check and train at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import gradproof as gp
from gradproof import _core
from gradproof.check.structured import Scheme, measure


@pytest.fixture(autouse=True)
def keep_thread_count() -> Iterator[None]:
    count = _core.thread_count()
    yield
    _core.set_thread_count(count)


@pytest.fixture
def problem(dtype: str, rng: np.random.Generator) -> tuple[gp.Sequential, np.ndarray, np.ndarray]:
    """Enough work for loops to be shared among threads."""
    layers = [gp.Dense(48), gp.ReLU(), gp.Dense(48), gp.BatchNorm(), gp.Tanh(), gp.Dropout(0.8), gp.Dense(48)]
    model = gp.Sequential(
        [*layers, gp.Sigmoid(), gp.Maxout(16, 3), gp.Dense(10)], 40, "softmax_cross_entropy", dtype=dtype, seed=2
    )
    return model, rng.normal(size=(16, 40)), rng.integers(0, 10, 16)


@pytest.mark.parametrize("scheme", ["difference", "tangent", "central", "forward"])
def test_measurements_are_bit_identical(scheme: Scheme, problem):
    model, X, y = problem
    _core.set_thread_count(1)
    entries = np.arange(0, model.theta.size, 3)
    expected = [measure(model, X, y, scheme=scheme), measure(model, X, y, scheme=scheme, entries=entries)]
    for count in (2, 3, 7):
        _core.set_thread_count(count)
        found = [measure(model, X, y, scheme=scheme), measure(model, X, y, scheme=scheme, entries=entries)]
        for one, other in zip(expected, found, strict=True):
            for column in ("numeric", "uncertainty", "kink", "left", "right", "recorded"):
                assert getattr(one, column).tobytes() == getattr(other, column).tobytes()


def test_reports_and_gradients_are_bit_identical(problem):
    model, X, y = problem
    seen = set()
    for count in (1, 2, 2, 5):
        _core.set_thread_count(count)
        loss, gradient = model.loss_and_gradient(X, y)
        report = gp.check_model(model, X, y)
        assert report.ok
        numeric = b"".join(tensor.numeric.tobytes() for tensor in report.tensors.values())
        seen.add((loss, gradient.tobytes(), numeric, tuple(report.notes)))
    assert len(seen) == 1


def test_python_threads_may_share_a_model(problem):
    model, X, y = problem
    _core.set_thread_count(2)
    expected = measure(model, X, y).numeric.tobytes()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: measure(model, X, y).numeric.tobytes(), range(18)))
    assert set(found) == {expected}


def test_python_threads_with_models_of_their_own(problem):
    model, X, y = problem
    _core.set_thread_count(2)

    def work(seed: int) -> tuple[bool, bytes]:
        own = model.copy()
        own.theta *= own.dtype.type(1 + 0.01 * seed)
        return gp.check_model(own, X, y).ok, own.loss_and_gradient(X, y)[1].tobytes()

    expected = [work(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == expected
    assert all(ok for ok, _ in expected)


def threads_of_a_fresh_process(prefix: str = "", **environment: str) -> int:
    root = str(Path(gp.__file__).parents[1])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    code = f"{prefix}\nimport gradproof; print(gradproof.config()['threads'])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return int(run.stdout)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this platform has no affinity masks")
def test_threads_follow_the_affinity_mask():
    assert threads_of_a_fresh_process() == len(os.sched_getaffinity(0))
    one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    assert threads_of_a_fresh_process(one) == 1


def test_threads_follow_the_environment():
    assert threads_of_a_fresh_process(GRADPROOF_NUM_THREADS="3") == 3
    assert threads_of_a_fresh_process(OMP_NUM_THREADS="1") == 1
    assert threads_of_a_fresh_process(OMP_NUM_THREADS="1", GRADPROOF_NUM_THREADS="3") == 3


def test_counts_below_one_are_one():
    for count in (0, -5):
        _core.set_thread_count(count)
        assert _core.thread_count() == 1
