"""check_model of networks with Python layers that compute in float32, hand it back, or are made for it alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases.python_layers import LEAKY, Rectifier, batch, network

import gradproof as gp


class Square(gp.Layer):
    """``x²``, computed in float32 whatever comes."""

    row_independent = True

    def __init__(self, cast_input: bool = False, factor: float = 1.0) -> None:
        self.cast_input, self.factor = cast_input, factor

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        if self.cast_input:
            return np.square(x.astype(np.float32)), x
        return np.multiply(x, x, out=np.empty(x.shape, np.float32), casting="same_kind"), x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return self.factor * 2 * dy * cache, {}


@pytest.mark.parametrize("cast_input", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_layers_that_compute_in_float32_are_right(cast_input, seed, dtype):
    layers = [gp.Dense(4), Square(cast_input), gp.Dense(3)]
    report = gp.check_model(network(layers, dtype, seed), *batch(seed))
    assert report.ok, report
    assert not any(tensor.kinks for tensor in report.tensors.values())


@pytest.mark.parametrize("seed", range(4))
def test_mistakes_of_layers_that_compute_in_float32_are_found(seed, dtype):
    report = gp.check_model(network([gp.Dense(4), Square(factor=1.01), gp.Dense(3)], dtype, seed), *batch(seed))
    assert report.verdict == "fail"
    assert report.findings[0].cause == "scale"
    assert report.findings[0].evidence["factor"] == pytest.approx(1.01, rel=1e-3)


def test_only_what_goes_through_float32_is_measured_as_such():
    layers = [gp.Dense(4), Square(), gp.Dense(5), Rectifier(), gp.Dense(3)]
    report = gp.check_model(network(layers), *batch(1), nearby=False)
    noisy, clean = report.tensors["dense_0.W"], report.tensors["dense_2.W"]
    assert report.ok
    assert 1e-7 < np.max(noisy.uncertainty) < 1e-3
    assert np.max(clean.uncertainty) < 1e-4


class Narrowing(gp.Layer):
    """``s tanh(x)``; gives what it is told to back in another precision."""

    def __init__(self, what, dtype):
        self.what, self.dtype = what, dtype

    def build(self, n_in, rng):
        return {"s": np.ones(n_in)}

    def forward(self, x, parameters, training):
        return parameters["s"] * np.tanh(x), np.tanh(x)

    def backward(self, dy, cache, parameters):
        back = {"dx": dy * parameters["s"] * (1 - cache**2), "s": np.sum(dy * cache, axis=0)}
        back[self.what] = back[self.what].astype(self.dtype)
        return back["dx"], {"s": back["s"]}


@pytest.mark.parametrize(("what", "said"), [("dx", "dx"), ("s", "the gradient of s")])
@pytest.mark.parametrize(("came", "given"), [("float16", "float32"), ("float16", "float64"), ("float32", "float64")])
def test_a_layer_that_hands_back_fewer_digits_is_named(what, said, came, given):
    model = network([gp.Dense(5), Narrowing(what, came), gp.Dense(3)], given)
    report = gp.check_model(model, *batch(0))
    finding = report.findings[0]
    assert report.verdict == "fail" and finding.cause == "precision"
    assert f"backward of layers[1] (narrowing_0), a Narrowing, returned {said} as {came}, expected {given}" in str(
        finding.message
    )
    assert gp.check_model(network([gp.Dense(5), Narrowing(what, given), gp.Dense(3)], given), *batch(0)).ok


def blind(seed: int) -> tuple[Any, Any, Any]:
    """Batch norms of badly scaled values, in front of a Python layer: in float32 little is seen."""
    rng = np.random.default_rng(seed)
    layers = [layer for _ in range(3) for layer in (gp.Dense(5), gp.BatchNorm(epsilon=2.0**-10))]
    model = network([*layers, LEAKY, gp.Dense(3)], "float32", seed)
    for parameter in model.parameters.values():
        parameter *= np.float32(10.0 ** rng.integers(-3, 4))
    return model, rng.normal(size=(6, 4)), rng.integers(0, 3, 6)


@pytest.mark.parametrize("seed", [0, 3, 4])
def test_what_float32_does_not_see_in_front_of_a_python_layer_float64_settles(seed):
    model, X, y = blind(seed)
    report = gp.check_model(model, X, y, nearby=False)
    assert report.ok, report
    own = model.layout["batch_norm_0.gamma"]
    for factor in (0, 2):
        wrong = model.loss_and_gradient(X, y)[1].copy()
        wrong[own.offset : own.stop] *= factor
        assert gp.check_model(model, X, y, gradient=wrong).verdict == "fail"


class OnlySingle(Rectifier):
    """Its backward is not made for float64."""

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        if dy.dtype != np.float32:
            raise TypeError("float32 only")
        return super().backward(dy, cache, parameters)


def test_a_layer_that_is_not_made_for_float64_is_checked_without():
    model, X, y = blind(3)
    theta = model.theta.copy()
    layers = [*(node.layer for node in model.structure.nodes[:-2]), OnlySingle(0.1, 0.1), gp.Dense(3)]
    model = network(layers, "float32", 3)
    model.theta[...] = theta
    assert gp.check_model(model, X, y, nearby=False).verdict == "inconclusive"
