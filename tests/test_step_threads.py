"""Training steps in several threads, and for a long time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases.steps import (
    LAYERS,
    M,
    made,
    network,
)

import gradproof as gp
from gradproof.train.optimizers import SGD, Adam
from gradproof.train.step import Step

data = pytest.fixture(made, name="data")


class Waits(gp.callbacks.Callback):
    """Stays in the first epoch until it is let go."""

    def __init__(self) -> None:
        self.inside, self.go_on = threading.Event(), threading.Event()

    def on_epoch_end(self, model: Any, run: Any) -> None:
        self.inside.set()
        assert self.go_on.wait(60)


def test_two_threads_cannot_fit_one_model(data: Any, dtype: str):
    X, y = data()
    model = network(LAYERS["relu"], "softmax_cross_entropy", dtype)
    waits = Waits()
    histories: list[Any] = []
    thread = threading.Thread(
        target=lambda: histories.append(model.fit(X, y, epochs=2, callbacks=[waits], progress=False))
    )
    thread.start()
    try:
        assert waits.inside.wait(60)
        before = model.theta.copy()
        with pytest.raises(RuntimeError, match="model: another thread is training it"):
            model.fit(X, y, epochs=2, progress=False)
        assert (model.theta == before).all()
        model.copy().fit(X, y, epochs=1, progress=False)
        if hasattr(os, "fork"):  # where the other thread is no more
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which is meant here
                child = os.fork()
            if not child:
                try:
                    model.fit(X, y, epochs=1, progress=False)
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        waits.go_on.set()
        thread.join()
    assert histories[0].stopped == "finished"
    assert model.fit(X, y, epochs=1, progress=False).stopped == "finished"


def test_a_callback_may_train_the_model_that_it_is_called_for(data: Any, dtype: str):
    class Trains(gp.callbacks.Callback):
        def on_train_end(self, model: Any, run: Any) -> None:
            self.history = model.fit(*data(), epochs=1, progress=False)

    trains = Trains()
    network(LAYERS["relu"], "softmax_cross_entropy", dtype).fit(*data(), epochs=1, callbacks=[trains], progress=False)
    assert trains.history.stopped == "finished"


def test_two_threads_cannot_train_one_model(data: Any, dtype: str):
    """The second is refused as long as the first is inside; nothing crashes."""
    X, y = data()
    model = network(LAYERS["relu"], "softmax_cross_entropy", dtype)
    optimizer = SGD(1e-3)
    state = optimizer.init(model.theta)
    model.step(X, y, optimizer, state)
    refused: list[BaseException] = []

    def train() -> None:
        try:
            for _ in range(300):
                model.step(X, y, optimizer, state)
        except RuntimeError as error:
            refused.append(error)

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) < 4 and all("another thread" in str(error) for error in refused)
    assert np.isfinite(model.theta).all()


THREADS = """
import hashlib, numpy as np, gradproof as gp
from gradproof.train.optimizers import Adam
from gradproof.train.step import Step
digest = hashlib.sha256()
for dtype in ("float32", "float64"):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(300, 130)), rng.integers(0, 10, 300)
    layers = [gp.Dense(384), gp.BatchNorm(), gp.ReLU(), gp.Dropout(0.8), gp.Maxout(150, 2), gp.Dense(10)]
    model = gp.Sequential(layers, 130, "softmax_cross_entropy", l2=0.1, dtype=dtype)
    optimizer = Adam(1e-3, clip_norm=1.0)
    state = optimizer.init(model.theta)
    losses = Step(model, X, y, optimizer, state).run(rng.permutation(300), 123)
    for array in (losses, model.theta, model.gradient, model.buffers, *state.slots.values()):
        digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_results_are_the_same_for_any_number_of_threads():
    root = str(Path(gp.__file__).parents[1])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    seen = set()
    for count in ("1", "2", "5"):
        environment = {**os.environ, "PYTHONPATH": path, "GRADPROOF_NUM_THREADS": count}
        run = subprocess.run(
            [sys.executable, "-c", THREADS], env=environment, capture_output=True, text=True, timeout=120
        )
        assert run.returncode == 0, run.stderr
        seen.add(run.stdout)
    assert len(seen) == 1


def test_memory_does_not_grow(data: Any, dtype: str):
    import tracemalloc

    X, y = data()
    model = network(LAYERS["batch_norm"], "softmax_cross_entropy", dtype)
    optimizer = Adam(1e-3)
    state = optimizer.init(model.theta)
    step = Step(model, X, y, optimizer, state)
    order = np.arange(M)

    def work() -> None:
        step.run(order, 16)
        model.step(X, y, optimizer, state)

    work()
    work()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50):
            work()
        assert tracemalloc.get_traced_memory()[0] - before < 2000
    finally:
        tracemalloc.stop()
    assert len(model._workspaces) == 1
