"""A model against its NumPy twin, its state, and what it predicts."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases.stacks import STACKS, make

from gradproof.nn import reference
from gradproof.nn.layers import (
    BatchNorm,
    Dense,
    Dropout,
    ReLU,
    Tanh,
)
from gradproof.nn.model import Sequential

Targets = Callable[[str, int, int], np.ndarray]
Close = Callable[[Any, Any], None]

LOSSES = ["softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse"]


def twin_of(model: Sequential) -> reference.Sequential:
    twin = reference.Sequential(
        model.layers, model.input_size, model.loss_name, model.l1, model.l2, model.dtype, model.seed
    )
    twin.theta = model.theta
    twin.buffers[...] = model.buffers
    twin.dropout_step = model.dropout_step
    return twin


class TestAgainstReference:
    @pytest.fixture(params=STACKS)
    def stack(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("m", [1, 13])
    def test_loss_and_gradient(
        self, stack: str, loss: str, m: int, dtype: str, targets: Targets, rng: np.random.Generator, assert_close: Close
    ) -> None:
        if m == 1 and any(isinstance(layer, BatchNorm) for layer in STACKS[stack]):
            pytest.skip("one row has no variance, so x_hat is rounding noise over epsilon")
        model = make(stack, loss, l1=0.2, l2=0.3, dtype=dtype, seed=4)
        model.theta += 0.1 * rng.normal(size=model.theta.size)
        model.dropout_step = 3
        twin = twin_of(model)
        assert twin.layout == model.layout
        X, y = rng.normal(size=(m, 5)), targets(loss, m, 3)
        value, gradient = model.loss_and_gradient(X, y, rows=40)
        expected_value, expected = twin.loss_and_gradient(X, y, rows=40)
        assert gradient.dtype == dtype
        assert_close(value, expected_value)
        assert_close(gradient, expected)
        assert_close(model.loss(X, y, training=False), twin.loss(X, y, training=False))

    def test_use(self, stack: str, dtype: str, rng: np.random.Generator, assert_close: Close) -> None:
        model = make(stack, dtype=dtype)
        X, y = rng.normal(size=(13, 5)), rng.integers(0, 3, 13)
        for _ in range(3):
            model._gradient_step(X, y, 0.1)
        twin = twin_of(model)
        assert_close(model.forward(X), twin.forward(X))
        assert_close(model.forward(X, training=True), twin.forward(X, training=True))
        assert_close(model.predict_proba(X), twin.predict_proba(X))
        assert (model.predict(X) == twin.predict(X)).all()
        assert model.score(X, y) == twin.score(X, y)
        for network in (model, twin):
            network.recompute_statistics(X)
        assert_close(model.buffers, twin.buffers)

    def test_training(self, stack: str, dtype: str, rng: np.random.Generator, assert_close: Close) -> None:
        """Several steps: running statistics move, the masks change, and the two stay together."""
        model = make(stack, dtype=dtype, l2=0.1)
        twin = twin_of(model)
        X, y = rng.normal(size=(13, 5)), rng.integers(0, 3, 13)
        for _ in range(3):
            assert_close(model._gradient_step(X, y, 0.05), twin._gradient_step(X, y, 0.05))
        assert_close(model.theta, twin.theta)
        assert_close(model.buffers, twin.buffers)
        assert model.dropout_step == twin.dropout_step == 3


class TestState:
    def test_theta_and_parameters_are_one_memory(self) -> None:
        model = make()
        for name in model.parameters:
            assert np.shares_memory(model.parameters[name], model.theta)
        model.parameters["dense_0.W"] = np.ones((5, 6))
        model.parameters["batch_norm_0.beta"][2] = 7
        assert model.theta[5 + 2] == 7
        assert (model.parameters["dense_0.W"] == 1).all()

    def test_theta_is_never_rebound(self) -> None:
        model = make()
        theta = model.theta
        model.theta = np.arange(theta.size)
        model.theta -= 1
        assert model.theta is theta
        assert theta[:3].tolist() == [-1, 0, 1]
        with pytest.raises(ValueError, match=rf"theta: got shape \(2,\), expected \({theta.size},\)"):
            model.theta = np.zeros(2)
        with pytest.raises(TypeError):
            model.theta = np.zeros(theta.size, complex)

    @pytest.mark.parametrize(
        "clone",
        [
            lambda model: model.copy(),
            copy.copy,
            copy.deepcopy,
            lambda model: pickle.loads(pickle.dumps(model)),
            lambda model: model.astype(model.dtype),
            lambda model: model.without_dropout(),
        ],
        ids=["copy", "copy.copy", "deepcopy", "pickle", "astype", "without_dropout"],
    )
    @pytest.mark.parametrize("stack", ["batch_norm", "python_between"])
    def test_a_clone_is_whole_and_independent(self, clone: Callable[[Sequential], Sequential], stack: str) -> None:
        model = make(stack, l2=0.1, seed=5)
        X, y = np.linspace(-1, 1, 40).reshape(8, 5), np.arange(8) % 3
        model._gradient_step(X, y, 0.1)
        kept = model.theta.copy(), model.buffers.copy(), model.gradient.copy()
        twin = clone(model)
        assert (twin.dtype, twin.seed, twin.l2, twin.dropout_step) == (model.dtype, 5, 0.1, 1)
        for own, other in zip(kept, (twin.theta, twin.buffers, twin.gradient), strict=True):
            np.testing.assert_array_equal(own, other)
        assert twin.loss(X, y, training=False) == pytest.approx(model.loss(X, y, training=False), rel=1e-6)
        for name in twin.parameters:
            assert np.shares_memory(twin.parameters[name], twin.theta)
        for name in twin.statistics:
            assert np.shares_memory(twin.statistics[name], twin.buffers)
        for mine, theirs in ((model.theta, twin.theta), (model.buffers, twin.buffers), (model.gradient, twin.gradient)):
            assert not np.shares_memory(mine, theirs)
        twin._gradient_step(X, y, 0.1)
        np.testing.assert_array_equal(model.theta, kept[0])
        np.testing.assert_array_equal(model.buffers, kept[1])

    def test_both_precisions_start_from_the_same_numbers(self) -> None:
        single, double = make(seed=9), make(seed=9, dtype="float64")
        np.testing.assert_array_equal(single.theta, double.theta.astype("float32"))
        assert not np.array_equal(single.theta, make(seed=10).theta)
        assert make(seed=2**64 - 1).seed == 2**64 - 1

    def test_astype_converts_everything(self, rng: np.random.Generator) -> None:
        X, y = rng.normal(size=(7, 5)), rng.integers(0, 3, 7)
        model = make("python_between")
        model.loss(X, y)
        twin = model.astype(np.float64)
        assert {array.dtype for array in (twin.theta, twin.gradient, twin.buffers, twin.forward(X))} == {twin.dtype}
        assert twin.loss(X, y) == pytest.approx(model.loss(X, y), rel=1e-5)
        assert model.dtype == np.float32

    def test_gradient_is_kept_and_handed_out_apart(self, rng: np.random.Generator) -> None:
        model = make()
        own = model.gradient
        assert not own.any()
        _, gradient = model.loss_and_gradient(rng.normal(size=(7, 5)), rng.integers(0, 3, 7))
        assert model.gradient is own
        np.testing.assert_array_equal(own, gradient)
        assert not np.shares_memory(own, gradient)

    def test_evaluating_changes_nothing(self, rng: np.random.Generator) -> None:
        model = make("dropout")
        model.recompute_statistics(rng.normal(size=(7, 5)))
        before = pickle.dumps((model.theta, model.buffers, model.dropout_step))
        X, y = rng.normal(size=(7, 5)), rng.integers(0, 3, 7)
        X_kept, y_kept = X.copy(), y.copy()
        first = model.loss_and_gradient(X, y)
        model.predict(X)
        model.score(X, y)
        model.loss(X[:3], y[:3])
        second = model.loss_and_gradient(X, y)
        assert first[0] == second[0] == model.loss(X, y)
        np.testing.assert_array_equal(first[1], second[1])
        assert pickle.dumps((model.theta, model.buffers, model.dropout_step)) == before
        np.testing.assert_array_equal(X, X_kept)
        np.testing.assert_array_equal(y, y_kept)

    def test_dropout_masks_follow_the_step(self, rng: np.random.Generator) -> None:
        model = make("dropout")
        X, y = rng.normal(size=(20, 5)), rng.integers(0, 3, 20)
        losses = []
        for step in (0, 1, 0):
            model.dropout_step = step
            losses.append(model.loss(X, y))
        assert losses[0] == losses[2] != losses[1]
        assert make("dropout", seed=1).loss(X, y) != losses[0]
        without = model.without_dropout()
        assert without.loss(X, y) == without.loss(X, y, training=False)

    def test_recomputed_statistics_are_those_of_the_whole_set(
        self, dtype: str, rng: np.random.Generator, assert_close: Close
    ) -> None:
        model = Sequential([Dropout(0.5), BatchNorm()], 4, "mse", dtype=dtype)
        X = rng.normal(2, 3, size=(5000, 4))
        model.recompute_statistics(X)
        assert_close(model.statistics["batch_norm_0.running_mean"], X.mean(axis=0))
        assert_close(model.statistics["batch_norm_0.running_variance"], X.var(axis=0))
        assert model.layers[1] == BatchNorm()

    def test_many_rows_are_the_same_as_few(self, dtype: str, rng: np.random.Generator, assert_close: Close) -> None:
        model = make("python_between", dtype=dtype)
        X = rng.normal(size=(9000, 5))
        assert_close(model.forward(X), np.concatenate([model.forward(X[:4000]), model.forward(X[4000:])]))

    def test_threads_do_not_share_workspaces(self, rng: np.random.Generator) -> None:
        model = Sequential([Dense(64), Tanh(), Dropout(0.5), Dense(3)], 20, "softmax_cross_entropy")
        batches = [(rng.normal(size=(50, 20)), rng.integers(0, 3, 50)) for _ in range(4)]
        expected = [model.loss(X, y) for X, y in batches]
        wrong: list[int] = []

        def work(i: int) -> None:
            for _ in range(30):
                if model.loss(*batches[i]) != expected[i]:
                    wrong.append(i)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_texts(self) -> None:
        model = make("python_between")
        assert "scale_0" in model.summary() and f"{model.theta.size:,}" in model.summary()
        assert repr(model).startswith("<Sequential 5 -> dense_0 -> batch_norm_0 -> scale_0")

    def test_a_network_without_parameters(self) -> None:
        model = Sequential([ReLU()], 2, "mse")
        value, gradient = model.loss_and_gradient([[1.0, -1.0]], [[0.0, 0.0]])
        assert value == 0.5
        assert gradient.shape == model.theta.shape == (0,)


class TestPredictions:
    def test_labels_and_probabilities(self, rng: np.random.Generator) -> None:
        model = Sequential([Dense(3)], 4, "softmax_cross_entropy")
        X = rng.normal(size=(6, 4))
        scores, p = model.forward(X), model.predict_proba(X)
        assert p.shape == (6, 3)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
        assert (model.predict(X) == scores.argmax(axis=1)).all()
        assert model.predict(X).dtype.kind == "i"
        assert model.score(X, model.predict(X)) == 1.0

    def test_one_binary_output(self) -> None:
        model = Sequential([Dense(1, init="zeros")], 1, "binary_cross_entropy", dtype="float64")
        model.parameters["dense_0.W"] = [[1.0]]
        X = [[-1000.0], [-1.0], [0.0], [2.0], [1000.0]]
        assert model.predict(X).tolist() == [0, 0, 0, 1, 1]
        np.testing.assert_allclose(model.predict_proba(X), [0, 1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-2)), 1])
        assert model.score(X, [0, 0, 1, 1, 1]) == 0.8
        assert model.score(X, [[0], [1], [0], [1], [0]]) == 0.6

    def test_several_binary_outputs(self, rng: np.random.Generator) -> None:
        model = Sequential([Dense(2)], 3, "binary_cross_entropy")
        X = rng.normal(size=(6, 3))
        assert model.predict(X).shape == model.predict_proba(X).shape == (6, 2)
        assert model.score(X, model.predict(X)) == 1.0

    def test_values_and_r2(self) -> None:
        model = Sequential([Dense(1, init="zeros")], 1, "mse", dtype="float64")
        model.parameters["dense_0.W"] = [[1.0]]
        assert model.predict([[3.0], [4.0]]).tolist() == [3.0, 4.0]
        assert model.score([[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0]) == 1.0
        assert model.score([[2.0], [2.0], [2.0]], [1.0, 2.0, 3.0]) == 0.0
        assert model.score([[1.0], [2.0], [3.0]], [1.0, 1.0, 1.0]) == 0.0
        assert model.score([[1.0], [1.0]], [1.0, 1.0]) == 1.0
        assert model.score([[1.0], [2.0]], [[1.0], [2.0]]) == 1.0

    @pytest.mark.parametrize("loss", ["hinge", "mse"])
    def test_no_probabilities(self, loss: str) -> None:
        with pytest.raises(ValueError, match=f"the loss '{loss}' has no probabilities"):
            make(loss=loss).predict_proba(np.zeros((2, 5)))


def unaligned(array: np.ndarray) -> np.ndarray:
    """A read-only copy at an odd address, as messages between processes bring them."""
    place = np.frombuffer(b"_" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)
    assert not place.flags.aligned
    return place


def test_a_model_that_another_process_sent_works_like_the_one_here(rng: np.random.Generator, dtype: str) -> None:
    model = Sequential([Dense(6), BatchNorm(), Tanh(), Dense(3)], 4, "softmax_cross_entropy", dtype=dtype)
    X, y = rng.normal(size=(5, 4)).astype(dtype), np.arange(5) % 3
    buffers: list[pickle.PickleBuffer] = []
    sent = pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    received = [b"_" + buffer.raw().tobytes() for buffer in buffers]
    twin = pickle.loads(sent, buffers=[memoryview(message)[1:] for message in received])
    for one in (model, twin):
        one._gradient_step(X, y, 0.1)
    np.testing.assert_array_equal(twin.theta, model.theta)
    np.testing.assert_array_equal(twin.buffers, model.buffers)


def test_inputs_may_lie_anywhere_in_memory(rng: np.random.Generator, dtype: str) -> None:
    model = Sequential([Dense(6), Tanh(), Dense(3)], 4, "softmax_cross_entropy", dtype=dtype)
    X, y = rng.normal(size=(5, 4)).astype(dtype), np.arange(5) % 3
    assert model.loss(unaligned(X), unaligned(y)) == model.loss(X, y)
