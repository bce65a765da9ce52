from __future__ import annotations

import copy
import pickle
import threading
import warnings
from collections.abc import Callable
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from gradproof.nn import reference
from gradproof.nn.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    Maxout,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from gradproof.nn.model import Sequential

Targets = Callable[[str, int, int], np.ndarray]
Close = Callable[[Any, Any], None]

LOSSES = ["softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse"]


class Scale(Layer):
    row_independent = True

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"s": rng.uniform(0.5, 1.5, n_in)}

    def forward(self, x: np.ndarray, parameters: dict[str, np.ndarray], training: bool) -> tuple[np.ndarray, Any]:
        return x * parameters["s"], x

    def backward(
        self, dy: np.ndarray, cache: Any, parameters: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return dy * parameters["s"], {"s": (dy * cache).sum(axis=0)}


STACKS: dict[str, list[Any]] = {
    "linear": [],
    "relu": [Dense(9), ReLU()],
    "leaky_relu": [Dense(9), LeakyReLU(0.2)],
    "tanh": [Dense(9, bias=False), Tanh()],
    "sigmoid_softmax": [Dense(9), Sigmoid(), Dense(6), Softmax()],
    "maxout": [Maxout(5, 3), Maxout(4, 2)],
    "dropout": [Dropout(0.9), Dense(12), ReLU(), Dropout(0.5)],
    "batch_norm": [BatchNorm(), Dense(6), BatchNorm(decay=0.5, epsilon=1e-3), Tanh()],
    "python_first": [Scale(), Dense(6), Tanh()],
    "python_between": [Dense(6), BatchNorm(), Scale(), Scale(), Dropout(0.8), Tanh()],
}


def make(stack: str = "batch_norm", loss: str = "softmax_cross_entropy", **settings: Any) -> Sequential:
    return Sequential([*STACKS[stack], Dense(3)], input_size=5, loss=loss, **settings)


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


class TestConstructor:
    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"layers": []}, ValueError, "layers: got an empty list"),
            ({"layers": Dense(3)}, TypeError, "layers: got Dense, expected a list of layers"),
            ({"layers": [Dense(3), ReLU]}, TypeError, r"layers\[1\]: got the class ReLU, expected ReLU\(\.\.\.\)"),
            ({"layers": [Dense(3), "relu"]}, TypeError, r"layers\[1\]: got str, expected a layer"),
            ({"input_size": 0}, ValueError, "input_size: got 0"),
            ({"input_size": 2.0}, TypeError, "input_size: got 2.0"),
            ({"loss": "crossentropy"}, ValueError, "loss: got 'crossentropy', expected one of 'softmax_cross_entropy'"),
            ({"loss": None}, ValueError, "loss: got None"),
            ({"l1": -1}, ValueError, "l1: got -1"),
            ({"l2": nan}, ValueError, "l2: got nan, expected a finite number >= 0"),
            ({"l2": "1"}, TypeError, "l2: got '1'"),
            ({"dtype": "float16"}, ValueError, "dtype: got 'float16', expected one of 'float32', 'float64'"),
            ({"dtype": None}, ValueError, "dtype: got None"),
            ({"dtype": "number"}, ValueError, "dtype: got 'number'"),
            ({"seed": -1}, ValueError, "seed: got -1"),
            ({"seed": 2**64}, ValueError, "seed: got"),
            ({"seed": None}, TypeError, "seed: got None"),
            ({"layers": [Dense(1)]}, ValueError, "use 'binary_cross_entropy'"),
        ],
    )
    def test_wrong_arguments_are_named(self, changes: dict[str, Any], error: type[Exception], message: str) -> None:
        arguments = {"layers": [Dense(3)], "input_size": 4, "loss": "softmax_cross_entropy"} | changes
        with pytest.raises(error, match=message):
            Sequential(**arguments)

    @pytest.mark.parametrize(
        ("layer", "loss"),
        [(Softmax(), "softmax_cross_entropy"), (Softmax(), "hinge"), (Sigmoid(), "binary_cross_entropy")],
    )
    def test_probabilities_into_a_loss_on_scores_is_warned_about(self, layer: Any, loss: str) -> None:
        with pytest.warns(UserWarning, match=f"the last layer is {type(layer).__name__}") as caught:
            Sequential([Dense(3), layer], 4, loss)
        assert caught[0].filename == __file__

    def test_softmax_elsewhere_is_not(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Sequential([Dense(3), Softmax()], 4, "mse")
            Sequential([Dense(3), Softmax(), Dense(2)], 4, "softmax_cross_entropy")


class TestInput:
    @pytest.mark.parametrize(
        ("X", "error", "message"),
        [
            (np.zeros(5), ValueError, r"X: got shape \(5,\), expected \(m, 5\) \(one sample is X.reshape\(1, -1\)\)"),
            (np.zeros((2, 5, 1)), ValueError, r"X: got shape \(2, 5, 1\)"),
            (np.zeros((3, 4)), ValueError, "X: got 4 features, expected 5"),
            (np.zeros((0, 5)), ValueError, "X: got no rows"),
            (1.0, ValueError, r"X: got shape \(\)"),
            (None, TypeError, "X: got NoneType of dtype object"),
            ([["1"] * 5], TypeError, "X: got list of dtype <U1, expected real numbers"),
            (np.zeros((3, 5), complex), TypeError, "X: got ndarray of dtype complex128"),
            (np.zeros((3, 5), object), TypeError, "X: got ndarray of dtype object"),
            ([[1, 2], [3]], ValueError, "X: got list, expected an array of numbers"),
            (np.ma.masked_less(np.arange(15.0).reshape(3, 5), 3), ValueError, "X: got a masked array"),
            (np.full((1, 5), 1e300), ValueError, r"X: X\[0, 0\] is 1e\+300 \(too large for float32\)"),
        ],
    )
    def test_wrong_inputs(self, X: Any, error: type[Exception], message: str) -> None:
        model = make()
        for call in (lambda: model.loss(X, [0, 1, 2]), lambda: model.forward(X), lambda: model.predict(X)):
            with pytest.raises(error, match=message):
                call()

    @pytest.mark.parametrize("value", [nan, inf, -inf])
    def test_the_first_value_that_is_not_finite_is_named(self, value: float) -> None:
        X = np.zeros((3, 5))
        X[1, 4] = X[2, 0] = value
        with pytest.raises(ValueError, match=rf"X: X\[1, 4\] is {value}, expected finite numbers"):
            make().loss_and_gradient(X, [0, 1, 2])

    @pytest.mark.parametrize(
        "convert",
        [
            lambda X: X.astype(np.float32),
            lambda X: X.astype(int),
            lambda X: X.astype(np.uint8),
            lambda X: X.tolist(),
            np.asfortranarray,
            lambda X: np.repeat(X, 2, axis=0)[::2],
            lambda X: np.ma.array(X),
        ],
        ids=["float32", "int", "uint8", "list", "fortran", "strided", "unmasked"],
    )
    def test_what_is_an_array_of_numbers_is_accepted(self, convert: Callable[[np.ndarray], Any]) -> None:
        X = np.arange(15.0).reshape(3, 5)
        model = make("relu")
        np.testing.assert_array_equal(model.forward(convert(X)), model.forward(X))

    def test_read_only_inputs(self) -> None:
        X, y = np.arange(15.0).reshape(3, 5), np.array([0, 1, 2])
        for array in (X, y):
            array.setflags(write=False)
        for dtype in ("float32", "float64"):
            make("python_first", dtype=dtype).loss_and_gradient(X, y)

    @pytest.mark.parametrize("loss", ["softmax_cross_entropy", "hinge"])
    @pytest.mark.parametrize(
        ("y", "error", "message"),
        [
            ([0, 1], ValueError, "y: got 2 targets, expected one for each of the 3 rows of X"),
            ([0, 1, 3], ValueError, r"y: y\[2\] is 3, expected labels from 0 to 2"),
            ([0, -1, 1], ValueError, r"y: y\[1\] is -1"),
            ([0.0, 1.0, 2.0], TypeError, r"y: got float64 labels, expected integers from 0 to 2; use y.astype\(int\)"),
            ([0.5, 1.5, 2.0], TypeError, "y: got float64 labels"),
            ([True, False, True], TypeError, "y: got bool labels"),
            (["a", "b", "c"], TypeError, "y: got list of dtype <U1"),
            (np.eye(3), ValueError, r"y: got shape \(3, 3\), .*use y.argmax\(axis=1\) for one-hot rows"),
            (np.zeros((3, 1), int), ValueError, r"y: got shape \(3, 1\), .*use y.ravel\(\)"),
            (1, ValueError, r"y: got shape \(\), expected one label per row"),
            (np.array([0, 1, 2**64 - 1], np.uint64), ValueError, r"y: y\[2\] is 18446744073709551615"),
        ],
    )
    def test_wrong_labels(self, loss: str, y: Any, error: type[Exception], message: str) -> None:
        model = make(loss=loss)
        for call in (model.loss, model.loss_and_gradient, model.score):
            with pytest.raises(error, match=message):
                call(np.zeros((3, 5)), y)

    @pytest.mark.parametrize("kind", [np.int8, np.int32, np.uint64])
    def test_labels_of_every_integer_type(self, kind: type) -> None:
        X, model = np.arange(15.0).reshape(3, 5), make("relu")
        assert model.loss(X, np.array([0, 1, 2], kind)) == model.loss(X, [0, 1, 2])

    @pytest.mark.parametrize(
        ("loss", "n_out", "y", "message"),
        [
            ("binary_cross_entropy", 1, [0.0, 1.5, 2.0], "y: row 1, column 0 is 1.5, expected targets in"),
            ("binary_cross_entropy", 2, np.full((3, 2), -0.1), "y: row 0, column 0 is -0.1"),
            ("binary_cross_entropy", 2, [0, 1, 1], r"y: got shape \(3,\), expected \(3, 2\)"),
            ("mse", 1, np.zeros((3, 2)), r"y: got shape \(3, 2\), expected \(3,\) or \(3, 1\)"),
            ("mse", 1, np.zeros((1, 3)), "y: got 1 targets, expected one for each of the 3 rows"),
            ("mse", 2, [[0.0, nan], [0, 0], [0, 0]], r"y: y\[0, 1\] is nan"),
            ("mse", 1, 3.0, "y: got a single number"),
        ],
    )
    def test_wrong_values(self, loss: str, n_out: int, y: Any, message: str) -> None:
        model = Sequential([Dense(n_out)], 5, loss, dtype="float64")
        with pytest.raises(ValueError, match=message):
            model.loss(np.zeros((3, 5)), y)

    @pytest.mark.parametrize("loss", ["binary_cross_entropy", "mse"])
    def test_targets_of_one_output_may_be_flat(self, loss: str, rng: np.random.Generator) -> None:
        X, y = rng.normal(size=(6, 5)), rng.integers(0, 2, 6)
        model = Sequential([Dense(1)], 5, loss)
        assert model.loss(X, y) == model.loss(X, y[:, np.newaxis].astype(bool))

    def test_parts_and_rows(self, rng: np.random.Generator) -> None:
        model = make("relu", l1=0.3, l2=0.5)
        X, y = rng.normal(size=(6, 5)), rng.integers(0, 3, 6)
        data = model.loss_and_gradient(X, y, parts=("data",))
        penalty = model.loss_and_gradient(X, y, parts="regularization")
        both = model.loss_and_gradient(X, y)
        assert both[0] == data[0] + penalty[0]
        np.testing.assert_allclose(both[1], data[1] + penalty[1], atol=1e-7)
        assert model.loss(X, y, parts=()) == 0.0
        assert model.loss(X, y, parts="regularization", rows=12) == pytest.approx(penalty[0] / 2)
        with pytest.raises(ValueError, match="parts: got 'penalty', expected any of 'data', 'regularization'"):
            model.loss(X, y, parts=("penalty",))
        with pytest.raises(ValueError, match="rows: got 0"):
            model.loss(X, y, rows=0)
        with pytest.raises(TypeError, match="rows: got 1.5"):
            model.loss(X, y, rows=1.5)  # type: ignore[arg-type]


class Configurable(Layer):
    """Returns what the test wants, where it wants it."""

    def __init__(self, **returned: Any) -> None:
        self.returned = {"build": {"s": np.ones(2)}} | returned

    def build(self, n_in: int, rng: np.random.Generator) -> Any:
        return self.returned["build"]

    def output_size(self, n_in: int) -> Any:
        return self.returned.get("output_size", n_in)

    def forward(self, x: np.ndarray, parameters: dict[str, np.ndarray], training: bool) -> Any:
        assert not x.flags.writeable
        assert not any(array.flags.writeable for array in parameters.values())
        return self.returned.get("forward", (x, None))

    def backward(self, dy: np.ndarray, cache: Any, parameters: dict[str, np.ndarray]) -> Any:
        return self.returned.get("backward", (dy, {"s": np.zeros(2)}))


class TestPythonLayer:
    @pytest.mark.parametrize(
        ("returned", "error", "message"),
        [
            ({"build": None}, TypeError, "configurable_0: build returned NoneType, expected a dict"),
            ({"build": {"a.b": np.ones(2)}}, ValueError, "configurable_0: build returned a parameter called 'a.b'"),
            ({"build": {1: np.ones(2)}}, ValueError, "configurable_0: build returned a parameter called 1"),
            ({"build": {"s": [nan]}}, ValueError, "configurable_0: build: s: returned NaN or infinity"),
            ({"build": {"s": ["x"]}}, TypeError, "configurable_0: build: s: returned dtype <U1"),
            ({"output_size": 0}, ValueError, "configurable_0: has 0 outputs"),
            ({"output_size": 1.0}, TypeError, "configurable_0: output_size returned 1.0"),
            ({"output_size": None, "forward": 1}, TypeError, r"forward returned int, expected a pair \(y, cache\)"),
            ({"output_size": None, "forward": (np.ones(4), 0)}, ValueError, r"forward returned y of shape \(4,\)"),
        ],
    )
    def test_mistakes_seen_at_once(self, returned: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            Sequential([Configurable(**returned)], 2, "mse")

    @pytest.mark.parametrize(
        ("returned", "error", "message"),
        [
            ({"forward": np.zeros((3, 2))}, TypeError, "configurable_0: forward returned ndarray, expected a pair"),
            ({"forward": (np.zeros((3, 1)), 0)}, ValueError, r"forward: y: has shape \(3, 1\), expected \(3, 2\)"),
            ({"forward": (np.zeros((3, 2), complex), 0)}, TypeError, "forward: y: has dtype complex128"),
            ({"backward": np.zeros((3, 2))}, TypeError, "configurable_0: backward returned ndarray, expected a pair"),
            ({"backward": (np.zeros((3, 2)), None)}, TypeError, "configurable_0: backward returned tuple"),
            ({"backward": (np.zeros((2, 2)), {"s": np.zeros(2)})}, ValueError, r"backward: dx: has shape \(2, 2\)"),
            ({"backward": (np.zeros((3, 2)), {})}, ValueError, r"returned gradients of \[\], expected \['s'\]"),
            ({"backward": (np.zeros((3, 2)), {"s": 0.0})}, ValueError, r"gradient of s: has shape \(\), expected"),
        ],
    )
    def test_mistakes_seen_when_it_runs(self, returned: dict[str, Any], error: type[Exception], message: str) -> None:
        model = Sequential([Configurable(**returned)], 2, "mse")
        before = model.theta.copy(), model.gradient.copy()
        with pytest.raises(error, match=message):
            model.loss_and_gradient(np.ones((3, 2)), np.ones((3, 2)))
        np.testing.assert_array_equal(before, (model.theta, model.gradient))

    def test_what_it_returns_is_cast_to_the_dtype_of_the_model(self) -> None:
        layer = Configurable(forward=(np.full((3, 2), 2), None), backward=(np.zeros((3, 2)), {"s": [1, 2]}))
        model = Sequential([layer], 2, "mse")
        value, gradient = model.loss_and_gradient(np.ones((3, 2)), np.zeros((3, 2)))
        assert value == 4.0
        assert gradient.tolist() == [1.0, 2.0] and gradient.dtype == np.float32

    def test_what_is_not_written_is_said(self) -> None:
        with pytest.raises(NotImplementedError, match="Layer.forward is not written"):
            Sequential([Layer()], 2, "mse")


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
