"""check_model of networks with Python layers that write where they may not, or raise."""

from __future__ import annotations

import re
import traceback
from typing import Any

import numpy as np
import pytest
from cases.python_layers import batch, network

import gradproof as gp


class Creeping(gp.Layer):
    """``s x``; every forward pass writes into the model's own parameters."""

    def build(self, n_in: int, rng: Any) -> Any:
        return {"s": np.ones(n_in)}

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        owner = parameters["s"].base
        if owner is not None and owner.flags.writeable:
            owner.view(x.dtype)[...] *= 1.001
        return x * parameters["s"], x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return dy * parameters["s"], {"s": np.sum(dy * cache, axis=0)}


def test_what_a_layer_writes_into_the_model_is_put_back(dtype):
    model = network([gp.Dense(4), Creeping(), gp.Dense(3)], dtype)
    before = model.theta.copy()
    report = gp.check_model(model, *batch(0))
    assert np.array_equal(model.theta, before)
    assert any(finding.cause == "state" for finding in report.findings)


class Writing(gp.Layer):
    """A layer that writes into its input, or into a parameter of its own on the way back."""

    def __init__(self, method, sized):
        self.method, self.sized = method, sized

    def output_size(self, n_in):
        return n_in if self.sized else None

    def build(self, n_in, rng):
        return {"s": np.ones(n_in)}

    def forward(self, x, parameters, training):
        if self.method == "forward":
            x[x <= 0] = 0
        return x * parameters["s"], x

    def backward(self, dy, cache, parameters):
        parameters["s"][...] *= 2
        return dy, {"s": np.sum(dy * cache, axis=0)}


@pytest.mark.parametrize(("method", "sized"), [("forward", False), ("forward", True), ("backward", True)])
def test_a_layer_that_writes_into_what_it_may_only_read_is_named(method, sized):
    def use():
        model = gp.Sequential([gp.Dense(4), Writing(method, sized)], 3, "mse", dtype="float64", seed=0)
        model.loss_and_gradient(np.ones((2, 3)), np.ones((2, 4)))

    with pytest.raises(ValueError, match=rf"writing_0: {method} writes into an array .* read-only\); work on a copy"):
        use()


# ---- raising ----
class Raising(gp.Layer):
    """``tanh``; one of its methods raises, or gives another shape."""

    def __init__(self, method):
        self.method = method

    def build(self, n_in, rng):
        return [][1] if self.method == "build" else {}

    def forward(self, x, parameters, training):
        if self.method == "forward" and len(x) > 2:  # not yet where its width is found out
            return {}["scale"]
        return (x[:, :2] if self.method == "shape" else np.tanh(x)), x

    def backward(self, dy, cache, parameters):
        return (1 / 0 if self.method == "backward" else dy / np.cosh(cache) ** 2), {}


@pytest.mark.parametrize(
    ("method", "error", "where"),
    [
        ("build", IndexError, r"layers\[1\] \(raising_0\), a Raising\."),
        ("forward", KeyError, r"forward of layers\[1\] \(raising_0\), a Raising, for float64 of shape \(8, 5\)"),
        (
            "backward",
            ZeroDivisionError,
            r"backward of layers\[1\] \(raising_0\), a Raising, for float64 of shape \(8, 5\)",
        ),
        ("shape", ValueError, r"backward of layers\[1\] \(raising_0\), a Raising, for float64 of shape \(8, 2\)"),
    ],
)
def test_what_a_layer_raises_comes_through_and_names_it(method, error, where):
    with pytest.raises(error) as raised:
        gp.check_model(network([gp.Dense(5), Raising(method), gp.Dense(3)]), *batch(0))
    assert re.search(where, "".join(traceback.format_exception_only(raised.type, raised.value)))
