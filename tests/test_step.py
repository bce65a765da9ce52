"""Training steps: the compiled ones against those in Python, and both against the plain NumPy network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases.steps import (
    LAYERS,
    LOSSES,
    OPTIMIZERS,
    OVERFLOWING,
    Doubled,
    M,
    everything,
    in_halves,
    made,
    network,
)

import gradproof as gp
from gradproof import _core
from gradproof.train.optimizers import SGD, Momentum
from gradproof.train.session import session_of
from gradproof.train.step import Step

data = pytest.fixture(made, name="data")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layers", LAYERS)
def test_compiled_steps_are_the_python_ones_bit_for_bit(layers: str, loss: str, dtype: str, data: Any, rng: Any):
    X, y = data(loss)
    for optimizer, weights, frozen in (
        (OPTIMIZERS["adam"], None, ()),
        (OPTIMIZERS["rmsprop"], rng.integers(0, 3, M), ("dense_0",) if layers == "relu" else ()),
    ):
        order = rng.permutation(M)[:-3]  # 47 rows: batches of 16, 16 and 15
        outcomes = []
        for compiled in (True, False):
            model = network(LAYERS[layers], loss, dtype)
            state = optimizer.init(model.theta)
            step = Step(model, X, y, optimizer, state, weights=weights, frozen=frozen)
            run = step.run if compiled else lambda *arguments, step=step: in_halves(step, *arguments)
            losses = np.concatenate([run(order, 16), run(order, 5, 0.003)])
            outcomes.append((losses.tobytes(), *everything(model, state)))
            assert state.step == model.dropout_step == 3 + 10
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layers", LAYERS)
def test_steps_follow_the_reference(layers: str, loss: str, dtype: str, data: Any, rng: Any, assert_close: Any):
    X, y = data(loss)
    weights = rng.random(M)
    found = []
    for kind in (gp.Sequential, gp.reference.Sequential):
        model = network(LAYERS[layers], loss, dtype, kind)
        optimizer = Momentum(0.02, weight_decay=0.1)
        state = optimizer.init(model.theta)
        losses = Step(model, X, y, optimizer, state, weights=weights).run(np.arange(M), 20)
        found.append((losses, model.theta, model.gradient, model.buffers, state.slots["velocity"]))
    for ours, expected in zip(*found, strict=True):
        assert_close(ours, expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_gradient_and_update_by_hand(name: str, dtype: str, data: Any, assert_close: Any):
    X, y = data()
    optimizer = OPTIMIZERS[name]
    model = network(LAYERS["batch_norm"], "softmax_cross_entropy", dtype)
    twin = model.copy()
    state, other = optimizer.init(model.theta), optimizer.init(twin.theta)
    costs = Step(model, X, y, optimizer, state).run(np.arange(M), 20)
    for start, cost in zip((0, 20, 40), costs, strict=True):
        x, t = X[start : start + 20], y[start : start + 20]
        expected, gradient = twin.loss_and_gradient(x, t, rows=M)
        assert_close(cost.sum(), expected)
        optimizer.update(twin.theta, gradient, other, decayed=twin.layout.regularized_runs)
    assert_close(model.theta, twin.theta)
    assert not np.array_equal(model.buffers, twin.buffers)


def test_sample_weights_count_rows(dtype: str, data: Any, rng: Any, assert_close: Any):
    """A weight of k is as good as k copies of the row, and 0 as good as none."""
    X, y = data()
    counts = rng.integers(0, 4, M)
    weighted, repeated = (network(LAYERS["tanh"], "softmax_cross_entropy", dtype) for _ in range(2))
    optimizer = SGD(0.1)
    first = Step(weighted, X, y, optimizer, optimizer.init(weighted.theta), weights=counts, rows=100).run(
        np.arange(M), M
    )
    rows = np.repeat(np.arange(M), counts)
    second = Step(repeated, X, y, optimizer, optimizer.init(repeated.theta), rows=100).run(rows, len(rows))
    assert_close(first, second)
    assert_close(weighted.theta, repeated.theta)


def test_a_batch_without_weight_says_nothing(dtype: str, data: Any):
    X, y = data()
    model = network(LAYERS["tanh"], "softmax_cross_entropy", dtype, l1=0, l2=0)
    before = model.theta.copy()
    optimizer = SGD(0.1)
    step = Step(model, X, y, optimizer, optimizer.init(model.theta), weights=np.zeros(M))
    assert step.run(np.arange(M), 16).tolist() == [[0.0, 0.0]] * 4
    assert step.gradient([1, 2]) == (0.0, 0.0)
    np.testing.assert_array_equal(model.theta, before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_tensors_stay(name: str, dtype: str, data: Any):
    X, y = data()
    model = network(LAYERS["batch_norm"], "softmax_cross_entropy", dtype)
    before = {name: value.copy() for name, value in model.parameters.items()}
    optimizer = OPTIMIZERS[name]
    frozen = ("dense_0", "batch_norm_1.gamma")
    Step(model, X, y, optimizer, optimizer.init(model.theta), frozen=frozen).run(np.arange(M), 16)
    same = {name for name, value in model.parameters.items() if (value == before[name]).all()}
    assert same == {"dense_0.W", "batch_norm_1.gamma"}


def test_clipping_limits_the_step(dtype: str, data: Any):
    X, y = data()
    model = network(LAYERS["relu"], "softmax_cross_entropy", dtype)
    before = model.theta.copy()
    optimizer = SGD(1.0, clip_norm=1e-2)
    Step(model, X, y, optimizer, optimizer.init(model.theta)).run(np.arange(16), 16)
    assert np.linalg.norm(model.gradient) > 0.1
    assert np.linalg.norm(model.theta - before) == pytest.approx(1e-2, rel=1e-4)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("layers", ["relu", "batch_norm"])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_a_loss_that_is_not_finite_stops_before_its_update(layers: str, compiled: bool, dtype: str, data: Any):
    X, y = data("mse")
    X[20] = np.finfo(dtype).max
    optimizer = OPTIMIZERS["momentum"]
    own = [] if compiled else [Doubled()]
    model, good = (network([*OVERFLOWING[layers], *own], "mse", dtype) for _ in range(2))
    state, expected = optimizer.init(model.theta), optimizer.init(good.theta)
    losses = Step(model, X, y, optimizer, state).run(np.arange(M), 8)
    assert len(losses) == 3 and np.isfinite(losses[:2]).all() and not np.isfinite(losses[2].sum())
    Step(good, X, y, optimizer, expected).run(np.arange(16), 8)
    first, second = everything(model, state), everything(good, expected)
    assert first[:1] + first[2:] == second[:1] + second[2:]  # all but the gradient
    assert state.step == model.dropout_step == 2


def test_layers_in_python_take_the_same_steps(dtype: str, data: Any, assert_close: Any):
    X, y = data()
    own = network([gp.Dense(9), Doubled(), gp.BatchNorm(), gp.ReLU()], "softmax_cross_entropy", dtype)
    reference = network(
        [gp.Dense(9), Doubled(), gp.BatchNorm(), gp.ReLU()], "softmax_cross_entropy", dtype, gp.reference.Sequential
    )
    results = []
    for model in (own, reference):
        optimizer = Momentum(0.01)
        state = optimizer.init(model.theta)
        assert session_of(model, optimizer, state) is None
        losses = Step(model, X, y, optimizer, state, weights=np.arange(M)).run(np.arange(M), 16)
        results.append((losses, model.theta, model.buffers))
    for ours, expected in zip(*results, strict=True):
        assert_close(ours, expected)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("batch_size", [16, 25, 100])
def test_the_weights_before_the_last_update_are_kept_if_wanted(batch_size: int, compiled: bool, dtype: str, data: Any):
    X, y = data()
    own = [] if compiled else [Doubled()]
    model, plain = (network([*LAYERS["relu"], *own], "softmax_cross_entropy", dtype) for _ in range(2))
    optimizer = SGD(0.1)
    before = np.zeros_like(model.theta)
    Step(model, X, y, optimizer, optimizer.init(model.theta)).run(np.arange(M), batch_size, before=before)
    last = (M - 1) // batch_size * batch_size
    Step(plain, X, y, optimizer, optimizer.init(plain.theta)).run(np.arange(last), batch_size)
    np.testing.assert_array_equal(before, plain.theta)
    assert (model.theta != before).any()


def test_arguments_are_named(dtype: str, data: Any):
    X, y = data()
    model = network(LAYERS["relu"], "softmax_cross_entropy", dtype)
    optimizer = SGD(0.1)
    state = optimizer.init(model.theta)
    for options, message in (
        ({"weights": np.ones(3)}, "weights: got shape"),
        ({"weights": -np.ones(M)}, r"weights: weights\[0\] is -1"),
        ({"weights": np.full(M, np.nan)}, "weights"),
        ({"frozen": ["dense_7"]}, "frozen: got 'dense_7'"),
        ({"rows": 0}, "rows"),
    ):
        with pytest.raises(ValueError, match=message):
            Step(model, X, y, optimizer, state, **options)
    step = Step(model, X, y, optimizer, state)
    for order, batch_size, message in (([M], 4, "order: got row 50"), ([-1], 4, "row -1"), ([1], 0, "batch_size")):
        with pytest.raises(ValueError, match=message):
            step.run(order, batch_size)
    with pytest.raises(TypeError, match="order"):
        step.run([0.5], 4)
    with pytest.raises(ValueError, match="indices"):
        step.gradient([])
    with pytest.raises(RuntimeError, match="update"):
        step.update()
    with pytest.raises(ValueError, match="learning_rate"):
        step.run([1], 4, float("inf"))
    assert step.run([], 4).shape == (0, 2) and state.step == 0


def test_the_workspace_of_the_last_batch_is_the_models(data: Any, dtype: str):
    """What looks at activations after a run finds those of its last batch."""
    X, y = data()
    model = network(LAYERS["tanh"], "softmax_cross_entropy", dtype)
    optimizer = SGD(0.0)
    step = Step(model, X, y, optimizer, optimizer.init(model.theta))
    step.run(np.arange(M), 16)
    hidden = np.asarray(model._workspaces[0, 2])[: 2 * 9].reshape(2, 9)
    np.testing.assert_array_equal(hidden, _first_dense(model, X[48:]))


def _first_dense(model: Any, X: np.ndarray) -> np.ndarray:
    y = np.empty((len(X), 9), model.dtype)
    _core.dense_forward(y, X, np.array(model.parameters["dense_0.W"]), np.array(model.parameters["dense_0.b"]))
    return y
