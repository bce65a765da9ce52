"""A gradient that overflows while the loss does not: neither a step nor fit applies it."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof.train.step import Step

M, N_IN = 24, 5
OPTIMIZERS = [gp.SGD(0.1), gp.Adam(1e-3), gp.Adam(1e-3, clip_norm=1.0)]
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")


class Same(gp.Layer):
    """y = x, in Python."""

    def output_size(self, n_in: int) -> int:
        return n_in

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        return x, None

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return dy, {}


def network(dtype: str, compiled: bool = True) -> gp.Sequential:
    """Zeros below and large weights above: the hidden layer is 0, and what comes back to it is large."""
    own = [] if compiled else [Same()]
    model = gp.Sequential([gp.Dense(6), gp.Tanh(), *own, gp.Dense(3)], N_IN, "softmax_cross_entropy", dtype=dtype)
    model.parameters["dense_0.W"][...] = 0
    model.parameters["dense_1.W"][...] *= {"float32": 1e12, "float64": 1e160}[dtype]
    return model


@pytest.fixture
def data(rng: np.random.Generator, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    X = rng.normal(size=(M, N_IN))
    X[8:16] *= {"float32": 1e30, "float64": 1e200}[dtype]  # the second batch of eight
    return X.astype(dtype), rng.integers(0, 3, M)


def frozen_but(model: gp.Sequential, *names: str) -> list[str]:
    return [name for name in model.parameters if name not in names]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_a_step_leaves_everything_as_it_is(optimizer: Any, compiled: bool, dtype: str, data: Any):
    X, y = data
    model = network(dtype, compiled)
    state = optimizer.init(model.theta)
    before = model.theta.copy()
    assert np.isfinite(model.loss(X[8:16], y[8:16]))
    for _ in range(2):  # also when the model has a session already
        assert isnan(model.step(X[8:16], y[8:16], optimizer, state))
        assert not np.isfinite(model.gradient).all()
        np.testing.assert_array_equal(model.theta, before)
        assert not any(slot.any() for slot in state.slots.values())
        assert state.step == model.dropout_step == 0
    assert np.isfinite(model.step(X[:8], y[:8], optimizer, state)) and state.step == 1
    assert np.isfinite(model.theta).all() and (model.theta != before).any()


@pytest.mark.parametrize("compiled", [True, False])
def test_a_run_ends_before_it(compiled: bool, dtype: str, data: Any):
    X, y = data
    model, optimizer = network(dtype, compiled), gp.SGD(0.0)
    state = optimizer.init(model.theta)
    losses = Step(model, X, y, optimizer, state).run(np.arange(M), 8)
    assert losses.shape == (2, 2) and np.isfinite(losses[:, 0]).all() and isnan(losses[1, 1])
    assert state.step == 1


@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_frozen_may_have_any_gradient(compiled: bool, dtype: str, data: Any):
    X, y = data
    model, optimizer = network(dtype, compiled), gp.SGD(0.1)
    state = optimizer.init(model.theta)
    step = Step(model, X, y, optimizer, state, frozen=frozen_but(model, "dense_1.b"))
    assert np.isfinite(step.run(np.arange(M), 8)).all() and state.step == 3
    assert np.isfinite(model.theta).all()


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("hooks", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_fit_ends_with_the_weights_before_it(optimizer: Any, hooks: bool, compiled: bool, dtype: str, data: Any):
    class Looks(gp.callbacks.Callback):
        def on_gradient(self, model: Any, run: Any) -> None:
            assert np.isfinite(model.gradient).all()

    X, y = data
    model, plain = network(dtype, compiled), network(dtype, compiled)
    rate = gp.schedules.Manual({0: 0.0})
    history = model.fit(
        X, y, optimizer=optimizer, schedule=rate, epochs=3, batch_size=8, shuffle=False, callbacks=[Looks()] * hooks
    )
    assert history.stopped == "diverged"
    assert history.message == (
        "diverged in epoch 0, batch 1: the gradient is not finite; the weights are those before that step"
    )
    assert len(history.batches) == 2 and history.epochs == []
    np.testing.assert_array_equal(model.theta, plain.theta)
