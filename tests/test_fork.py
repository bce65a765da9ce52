"""A process that forks after it has used the thread pool leaves its child able to work."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import gradproof as gp
from gradproof import _core
from gradproof.check.structured import measure

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

PATIENCE = 120  # seconds after which a child that hangs is killed by its alarm


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    count = _core.thread_count()
    _core.set_thread_count(max(count, 2))
    yield
    _core.set_thread_count(count)


@pytest.fixture
def work(rng: np.random.Generator) -> Callable[[], bytes]:
    """Something that keeps the pool busy."""
    layers = [gp.Dense(48), gp.ReLU(), gp.Dense(48), gp.Tanh(), gp.Dense(48), gp.Sigmoid(), gp.Dense(10)]
    model = gp.Sequential(layers, 40, "softmax_cross_entropy", dtype="float64", seed=2)
    X, y = rng.normal(size=(16, 40)), rng.integers(0, 10, 16)
    return lambda: measure(model, X, y).numeric.tobytes()


def in_a_child(succeeds: Callable[[], bool]) -> bool:
    """Whether a forked child finishes, and finds that it succeeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # since 3.12, forking with threads is warned about
        child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        status = 1
        try:
            status = 0 if succeeds() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_child_works_after_its_parent_did(work):
    expected = work()
    for _ in range(3):
        assert in_a_child(lambda: work() == expected)
        assert work() == expected  # and so does the parent


def test_a_child_of_a_child_works(work):
    expected = work()
    assert in_a_child(lambda: work() == expected and in_a_child(lambda: work() == expected))


def test_a_fork_while_another_thread_works(work):
    expected = work()
    stop = threading.Event()

    def keep_working() -> None:
        while not stop.is_set():
            work()

    worker = threading.Thread(target=keep_working)
    worker.start()
    try:
        for _ in range(5):
            assert in_a_child(lambda: work() == expected)
    finally:
        stop.set()
        worker.join()
