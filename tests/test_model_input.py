"""What a model is made of and given, and what it says of anything else."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from cases.stacks import make

from gradproof.nn.layers import (
    Dense,
    Layer,
    ReLU,
    Sigmoid,
    Softmax,
)
from gradproof.nn.model import Sequential

Targets = Callable[[str, int, int], np.ndarray]
Close = Callable[[Any, Any], None]


@pytest.mark.parametrize("step", [-1, 2**63, 0.5])
def test_the_step_of_the_masks_is_one_that_can_go_on(step: Any) -> None:
    model = Sequential([Dense(2)], 3, "mse")
    with pytest.raises((TypeError, ValueError), match="dropout_step: got"):
        model.dropout_step = step
    assert model.dropout_step == 0


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
