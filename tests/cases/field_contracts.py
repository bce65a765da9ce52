"""Planted bugs and broken contracts from the tests of PyTorch, Chainer, ChainRulesTestUtils and Ceres, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .fact import Fact

FAIL = ("fail",)
UNSTEADY = ("nondeterministic",)
x = np.array([0.7, -1.2, 0.4, 2.1])
v = np.array([1.3, -0.6, 0.9, 0.2])
noise = np.random.default_rng(0)


def jittered(level: float) -> Any:
    return lambda p: 5 * v * (1 + level * noise.random(v.shape))


class Accumulating:
    """A gradient that adds to what the last call left."""

    def __init__(self) -> None:
        self.total = np.zeros(4)

    def __call__(self, p: np.ndarray) -> np.ndarray:
        self.total += 2 * p
        return self.total


def modulus(p: dict[str, np.ndarray]) -> float:
    return float((1 / np.hypot(p["re"], p["im"])).sum())


def modulus_gradient(p: dict[str, np.ndarray], conjugate: float = 1) -> dict[str, np.ndarray]:
    cube = np.hypot(p["re"], p["im"]) ** 3
    return {"re": -p["re"] / cube, "im": -conjugate * p["im"] / cube}


small = {"re": np.array([6e-3, -8e-3]), "im": np.array([8e-3, 5e-3])}
pair = {"x": x, "y": v}
blocks = {"first": 0.1 * x[:2], "second": 0.2 * x[:3], "third": 0.3 * x}
slopes = {"first": np.array([1.0, 2.0]), "second": np.array([3.0, -1.0, 0.5]), "third": v}


def decay(p: dict[str, np.ndarray]) -> float:
    return float(np.exp(-sum(slopes[name] @ p[name] for name in p)))


def decay_gradient(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: -slopes[name] * decay(p) for name in p}


def decay_offset(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    g = decay_gradient(p)
    return g | {"second": g["second"] + np.array([0.0, 0.3, 0.0])}


def hidden(chart: np.ndarray) -> float:
    """A function of three coordinates, the last of which a chart with two never moves."""
    return float(np.sin(chart[0]) * chart[1] + 0 * chart.sum())


FACTS = [
    # PyTorch: test_gradcheck_*
    Fact("5 x", lambda p: 5 * p @ v, lambda p: 5 * v, x),
    Fact("backward without jitter", lambda p: 5 * p @ v, jittered(0), x),
    Fact("backward with jitter 1e-6", lambda p: 5 * p @ v, jittered(1e-6), x, UNSTEADY),
    Fact("backward with jitter 1e-16", lambda p: 5 * p @ v, jittered(1e-16), x),
    Fact("identity plus 1e-2", lambda p: p @ v, lambda p: v + 1e-2, x, FAIL, ("params",)),
    Fact("not proportional to its cotangent", lambda p: 0 * p.sum(), lambda p: 0 * p + 1e-2, x, FAIL, ("params",)),
    Fact(
        "tangent of y times 1.1",
        lambda p: v @ (p["x"] + p["y"]) + x @ p["y"],
        lambda p: {"x": v, "y": v + 1.1 * x},
        pair,
        FAIL,
        ("y",),
    ),
    Fact("detached copy", lambda p: p @ v, lambda p: 0 * p, x, FAIL, ("params",), "missing-term"),
    Fact("nothing depends on it", lambda p: 2.0, lambda p: 0 * p, x, cause="vacuous"),
    Fact("expanded input", lambda p: p @ v, lambda p: v, np.broadcast_to(0.3, 4)),
    Fact("float32 input", lambda p: (p**2).sum(), lambda p: 2 * p, x.astype(np.float32)),
    Fact("1/|z| at |z| of 1e-2", modulus, modulus_gradient, small),
    Fact("conjugation forgotten", modulus, lambda p: modulus_gradient(p, -1), small, FAIL, ("im",), "sign"),
    # Chainer: test_gradient_check.py
    Fact("x * x with 3 x", lambda p: (p * p).sum(), lambda p: 3 * p, x, FAIL, ("params",), "scale"),
    Fact("no elements", lambda p: (p * p).sum(), lambda p: 2 * p, np.zeros((2, 0))),
    Fact("the input itself as the gradient", lambda p: (p * p).sum() / 2, lambda p: p, x),
    # ChainRulesTestUtils: testers.jl
    Fact("wrong rule of a double", lambda p: 2 * p.sum(), lambda p: 0 * p + 3, x, FAIL, ("params",), "scale"),
    Fact(
        "accumulates into its own buffer",
        lambda p: (p**2).sum(),
        Accumulating(),
        x,
        ("nondeterministic", "fail"),
        cause="state",
    ),
    Fact(
        "argument declared constant",
        lambda p: float(p["x"] @ p["y"]),
        lambda p: {"x": p["y"], "y": 0 * p["x"]},
        pair,
        FAIL,
        ("y",),
        "missing-term",
    ),
    # Ceres: gradient_checker_test.cc
    Fact("exp(-a'x) over three blocks", decay, decay_gradient, blocks),
    Fact("one block with an offset derivative", decay, decay_offset, blocks, FAIL, ("second",)),
    Fact(
        "a component that a chart hides",
        lambda p: hidden(np.append(p, 1.0)),
        lambda p: np.array([np.cos(p[0]) * p[1], np.sin(p[0])]),
        x[:2],
    ),
]


def refuse(p: np.ndarray) -> float:
    raise ArithmeticError("the cost function says no")


# Name -> loss, gradient, params, the error, and a word of its text.
REFUSED: dict[str, tuple[Any, Any, Any, type[Exception] | tuple[type[Exception], ...], str]] = {
    "two outputs": (lambda p: np.array([p[0], p[0]]), lambda p: v, x, (TypeError, ValueError), "loss"),
    "no output": (lambda p: None, lambda p: v, x, (TypeError, ValueError), "loss"),
    "a word": (lambda p: "3.0", lambda p: v, x, (TypeError, ValueError), "loss"),
    "complex output": (lambda p: p.sum() * 1j, lambda p: v, x, (TypeError, ValueError), "loss"),
    "two gradients for one input": (lambda p: p @ v, lambda p: (v, v), x, (TypeError, ValueError), "grad"),
    "one gradient for two inputs": (
        lambda p: p["x"] @ p["y"],
        lambda p: {"x": p["y"]},
        pair,
        (TypeError, ValueError),
        "y",
    ),
    "no gradient": (lambda p: p @ v, lambda p: None, x, (TypeError, ValueError), "grad"),
    "gradient of another shape": (lambda p: p @ v, lambda p: v[:3], x, (TypeError, ValueError), "grad"),
    "gradient of another structure": (lambda p: p["x"].sum(), lambda p: [v, v], pair, (TypeError, ValueError), "grad"),
    "gradient of words": (lambda p: p @ v, lambda p: np.array(list("abcd")), x, (TypeError, ValueError), "grad"),
    "integer input": (lambda p: p.sum(), lambda p: 0 * p, np.arange(4), (TypeError, ValueError), "params"),
    "input that is no array": (lambda p: p, lambda p: 1.0, "x", (TypeError, ValueError), "params"),
    "cost function that refuses": (refuse, lambda p: v, x, ArithmeticError, "says no"),
}
