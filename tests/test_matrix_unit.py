"""Training on the processor's matrix unit, where it has one: as accurate as without, and nothing else changes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import gradproof as gp
from gradproof import _core

needs_unit = pytest.mark.skipif(
    not _core.matrix_unit(), reason="this processor has no matrix unit, or GRADPROOF_ISA forbids it"
)


@contextmanager
def without_unit() -> Iterator[None]:
    _core.allow_matrix_unit(False)
    try:
        yield
    finally:
        _core.allow_matrix_unit(True)


def problem(dtype: str = "float32") -> tuple[gp.Sequential, np.ndarray, np.ndarray]:
    """A network with products that are large enough for the unit, in all three directions."""
    rng = np.random.default_rng(5)
    layers = [gp.Dense(160), gp.ReLU(), gp.Dense(144), gp.Tanh(), gp.Dense(7)]
    model = gp.Sequential(layers, 200, "softmax_cross_entropy", dtype=dtype, seed=3)
    return model, rng.normal(size=(130, 200)).astype(np.float32), rng.integers(0, 7, 130)


def gradient_of_a_step(dtype: str = "float32") -> np.ndarray:
    model, X, y = problem(dtype)
    optimizer = gp.SGD(0.0)
    model.step(X, y, optimizer, optimizer.init(model.theta))
    return model.gradient.astype(np.float64)


@needs_unit
def test_gradients_are_as_accurate_as_without() -> None:
    exact = gradient_of_a_step("float64")
    there = gradient_of_a_step()
    with without_unit():
        ordinary = gradient_of_a_step()
    assert not np.array_equal(there, ordinary)
    for entry in problem()[0].layout.slices:
        own = slice(entry.offset, entry.stop)
        errors = [np.linalg.norm(gradient[own] - exact[own]) for gradient in (there, ordinary)]
        assert errors[0] <= 1.1 * errors[1]


@needs_unit
def test_only_training_uses_it() -> None:
    model, X, y = problem()
    loss, gradient = model.loss_and_gradient(X, y)
    scores = model.forward(X)
    product = gp.kernels.matmul(X, X.T.copy())
    with without_unit():
        assert model.loss_and_gradient(X, y)[0] == loss
        assert np.array_equal(model.loss_and_gradient(X, y)[1], gradient)
        assert np.array_equal(model.forward(X), scores)
        assert np.array_equal(gp.kernels.matmul(X, X.T.copy()), product)


def test_training_is_the_same_for_any_number_of_threads() -> None:
    results = []
    before = _core.thread_count()
    for threads in (1, 2, 3):
        _core.set_thread_count(threads)
        model, X, y = problem()
        model.fit(X, y, epochs=3, batch_size=100, seed=1, progress=False)
        results.append(model.theta.copy())
    _core.set_thread_count(before)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


@pytest.mark.parametrize("asked", [False, True])
def test_an_instruction_set_asked_for_by_name_is_used_alone(asked: bool) -> None:
    code = "import gradproof as gp; print(gp.config()['matrix_unit'])"
    environment = os.environ | {"GRADPROOF_ISA": _core.isa() if asked else ""}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    if asked:
        assert run.stdout.strip() == "False"
    elif not os.environ.get("GRADPROOF_ISA"):
        assert run.stdout.strip() == str(_core.matrix_unit())
