"""model.step: one training step on a batch of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases.steps import (
    LAYERS,
    LOSSES,
    OVERFLOWING,
    M,
    everything,
    made,
    network,
)

import gradproof as gp
from gradproof.train.optimizers import SGD, Adam, Momentum
from gradproof.train.step import Step

data = pytest.fixture(made, name="data")


class TestModelStep:
    @pytest.mark.parametrize("loss", LOSSES)
    def test_it_is_a_run_of_one_batch(self, loss: str, dtype: str, data: Any):
        X, y = data(loss)
        model, other = (network(LAYERS["dropout"], loss, dtype) for _ in range(2))
        optimizer = Adam(1e-2)
        state, expected = optimizer.init(model.theta), optimizer.init(other.theta)
        for rate in (None, 0.02, 0.003, None):
            cost = Step(other, X, y, optimizer, expected).run(np.arange(M), M, rate).sum()
            assert model.step(X, y, optimizer, state, rate) == cost
            assert everything(model, state) == everything(other, expected)

    def test_anything_array_like_will_do(self, dtype: str, data: Any):
        X, y = data()
        model, other = (network(LAYERS["relu"], "softmax_cross_entropy", dtype) for _ in range(2))
        optimizer = SGD(0.1)
        state, expected = optimizer.init(model.theta), optimizer.init(other.theta)
        for x, t in ((X, y), (X.tolist(), y.tolist()), (np.asfortranarray(X), y.astype(np.int8)), (X[::2], y[::2])):
            x64 = np.ascontiguousarray(x, dtype)
            assert model.step(x, t, optimizer, state) == other.step(x64, np.array(t), optimizer, expected)
        np.testing.assert_array_equal(model.theta, other.theta)

    @pytest.mark.parametrize("ready", [False, True])
    def test_bad_batches_are_named_and_change_nothing(self, ready: bool, dtype: str, data: Any):
        X, y = data()
        model = network(LAYERS["batch_norm"], "softmax_cross_entropy", dtype)
        optimizer = Adam(1e-2)
        state = optimizer.init(model.theta)
        if ready:  # with a session
            model.step(X, y, optimizer, state)
        before = everything(model, state)
        bad = X.copy()
        bad[3, 1] = np.nan
        for x, t, rate, message in (
            (bad, y, None, r"X\[3, 1\] is nan"),
            (np.where(np.isnan(bad), np.inf, bad), y, None, r"X\[3, 1\] is inf"),
            (X[:, :-1], y, None, "X: got 6 features, expected 7"),
            (X[0], y[:1], None, "X: got shape"),
            (X[:0], y[:0], None, "X: got no rows"),
            (X, y + 1, None, "expected labels from 0 to 3"),
            (X, y[:-1], None, "y: got 49 targets"),
            (X, y, -1.0, "learning_rate"),
            (X, y, float("nan"), "learning_rate"),
        ):
            with pytest.raises(ValueError, match=message):
                model.step(x, t, optimizer, state, rate)
        with pytest.raises(TypeError, match="y: got float64 labels"):
            model.step(X, y + 0.5, optimizer, state)
        with pytest.raises(TypeError, match="state: got"):
            model.step(X, y, optimizer, None)
        for rate in ("fast", True, [0.1]):
            with pytest.raises(TypeError, match="learning_rate: got"):
                model.step(X, y, optimizer, state, rate)
        for wrong, message in ((None, "got None"), ("adam", "got 'adam'"), (Adam, "got the class Adam")):
            with pytest.raises(TypeError, match=f"optimizer: {message}, expected an optimizer"):
                model.step(X, y, wrong, state)
        assert everything(model, state) == before

    def test_targets_out_of_range_are_refused(self, dtype: str, data: Any):
        X, y = data("binary_cross_entropy")
        model = network(LAYERS["relu"], "binary_cross_entropy", dtype)
        optimizer = Adam(1e-2)
        state = optimizer.init(model.theta)
        model.step(X, y, optimizer, state)
        for value in (1.5, -0.1, np.nan):
            wrong = y.copy()
            wrong[2, 1] = value
            with pytest.raises(ValueError, match="y"):
                model.step(X, wrong, optimizer, state)
        assert state.step == 1

    def test_nothing_is_torn_off(self, dtype: str, data: Any):
        """Copies, other optimizers, states with new arrays and new settings are all seen."""
        X, y = data()
        model = network(LAYERS["relu"], "softmax_cross_entropy", dtype)
        optimizer = Momentum(0.1)
        state = optimizer.init(model.theta)
        model.step(X, y, optimizer, state)
        twin = model.copy()
        other = optimizer.init(model.theta)
        other.slots["velocity"][...] = state.slots["velocity"]
        other.step = 1
        assert model.step(X, y, optimizer, state) == twin.step(X, y, optimizer, other)
        state.slots["velocity"] = state.slots["velocity"].copy()
        model.l2 = twin.l2 = 5.0
        assert model.step(X, y, optimizer, state) == twin.step(X, y, optimizer, other)
        assert model.step(X, y, SGD(0.2), SGD(0.2).init(model.theta)) == twin.step(
            X, y, SGD(0.2), SGD(0.2).init(twin.theta)
        )
        assert model.theta.tobytes() == twin.theta.tobytes()

    def test_a_loss_that_is_not_finite_updates_nothing(self, dtype: str, data: Any):
        X, y = data("mse")
        model = network(OVERFLOWING["batch_norm"], "mse", dtype)
        optimizer = Adam(1e-2)
        state = optimizer.init(model.theta)
        model.step(X, y, optimizer, state)
        theta, buffers = model.theta.copy(), model.buffers.copy()
        X[3] = np.finfo(dtype).max
        assert np.isnan(model.step(X, y, optimizer, state))
        np.testing.assert_array_equal(model.theta, theta)
        np.testing.assert_array_equal(model.buffers, buffers)
        assert state.step == model.dropout_step == 1


@pytest.mark.parametrize("python_layer", [False, True])
def test_the_penalty_of_a_loop_of_ones_own_is_that_of_fit(dtype, python_layer):
    """With rows=, the penalty is divided by the rows of the training set, whatever the batch."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 6)), rng.integers(0, 3, 50)

    class Same(gp.Layer):
        def build(self, n_in, rng):
            return {}

        def forward(self, x, parameters, training):
            return x, None

        def backward(self, dy, cache, parameters):
            return dy, {}

    layers = [gp.Dense(8), gp.ReLU(), *([Same()] if python_layer else []), gp.Dense(3)]
    model = gp.Sequential(layers, 6, "softmax_cross_entropy", l2=5.0, l1=0.1, dtype=dtype, seed=0)
    twin, optimizer = model.copy(), gp.SGD(0.1)
    model.fit(X, y, epochs=3, batch_size=16, optimizer=optimizer, seed=1)
    state = optimizer.init(twin.theta)
    for epoch in range(3):
        for x, t in gp.data.batches(X, y, 16, seed=1, epoch=epoch):
            twin.step(x, t, optimizer, state, rows=len(X))
    np.testing.assert_allclose(twin.theta, model.theta, rtol=1e-5 if dtype == "float32" else 1e-13)
