"""Training steps: the compiled ones against those in Python, and both against the plain NumPy network."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof import _core
from gradproof.train.optimizers import SGD, Adam, Momentum, RMSprop
from gradproof.train.session import session_of
from gradproof.train.step import Step

LOSSES = ("softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse")
OPTIMIZERS = {
    "sgd": SGD(0.05),
    "momentum": Momentum(0.05, beta=0.8, weight_decay=0.1),
    "rmsprop": RMSprop(1e-2, clip_norm=0.05),
    "adam": Adam(1e-2, weight_decay=0.1, clip_norm=0.02),
}
LAYERS: dict[str, list[Any]] = {
    "relu": [gp.Dense(9), gp.ReLU()],
    "leaky_relu": [gp.Dense(9), gp.LeakyReLU(0.1)],
    "tanh": [gp.Dense(9), gp.Tanh()],
    "sigmoid": [gp.Dense(9), gp.Sigmoid()],
    "softmax": [gp.Dense(9), gp.Softmax()],
    "maxout": [gp.Maxout(6, 3)],
    "dropout": [gp.Dense(9), gp.Dropout(0.7), gp.ReLU()],
    "batch_norm": [gp.BatchNorm(), gp.Dense(9, bias=False), gp.BatchNorm(decay=0.8), gp.Tanh()],
}
OVERFLOWING: dict[str, list[Any]] = {
    "relu": [gp.Dense(9), gp.ReLU()],
    "batch_norm": [gp.Dense(9), gp.BatchNorm(), gp.Tanh()],
}
M, N_IN, N_OUT = 50, 7, 4


class Doubled(gp.Layer):
    """y = 2 x, in Python."""

    def output_size(self, n_in: int) -> int:
        return n_in

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        return 2 * x, None

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return 2 * dy, {}


def network(layers: list[Any], loss: str, dtype: str, kind: Any = gp.Sequential, **options: Any) -> Any:
    options = {"l1": 0.02, "l2": 0.3, "seed": 3, **options}
    return kind([*layers, gp.Dense(N_OUT)], N_IN, loss, dtype=dtype, **options)


@pytest.fixture
def data(rng: np.random.Generator, targets: Any, dtype: str) -> Any:
    def make(loss: str = "softmax_cross_entropy") -> tuple[np.ndarray, np.ndarray]:
        y = targets(loss, M, N_OUT)
        return rng.normal(size=(M, N_IN)).astype(dtype), y if y.dtype.kind == "i" else y.astype(dtype)

    return make


def in_halves(step: Step, order: np.ndarray, batch_size: int, rate: float | None = None) -> np.ndarray:
    """The Python path."""
    losses = []
    for start in range(0, len(order), batch_size):
        losses.append(step.gradient(order[start : start + batch_size]))
        if not isfinite(sum(losses[-1])):
            break
        step.update(rate)
    return np.array(losses)


def everything(model: Any, state: Any) -> tuple[Any, ...]:
    arrays = [model.theta, model.gradient, model.buffers, *state.slots.values()]
    return *(array.tobytes() for array in arrays), state.step, model.dropout_step


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
