"""Vectors of parameters begin at a cache line, wherever they come from: no result shows it, only the clock."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import gradproof as gp
from gradproof.nn import memory


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 7, 4810])
def test_vectors_are_aligned_and_hold_what_they_should(size, dtype):
    original = np.random.default_rng(size).normal(size=size)
    vectors = [memory.zeros(size, dtype), memory.empty(size, dtype), memory.copy(original, dtype)]
    assert [(v.shape, v.dtype, v.ctypes.data % memory.LINE) for v in vectors] == [((size,), dtype, 0)] * 3
    assert not vectors[0].any()
    np.testing.assert_array_equal(vectors[2], original.astype(dtype))


def test_models_copies_and_slots_are_aligned():
    layers = [gp.Dense(7), gp.BatchNorm(), gp.ReLU(), gp.Dense(3)]
    made = [gp.Sequential(layers, 5, "softmax_cross_entropy", dtype="float32", seed=seed) for seed in range(5)]
    made += [change(model) for model in made for change in (_copied, _pickled, _converted)]
    for model in made:
        slots = gp.Adam(1e-3).init(model.theta).slots.values()
        for vector in (model.theta, model.gradient, model.buffers, *slots):
            assert vector.ctypes.data % memory.LINE == 0


def _copied(model):
    return model.copy()


def _pickled(model):
    return pickle.loads(pickle.dumps(model))


def _converted(model):
    return model.astype("float64")
