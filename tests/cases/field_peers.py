"""What other checkers get wrong, as measured on their current versions: each is a case to get right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .correct import points, quiet, rng
from .fact import Fact

FAIL = ("fail",)
OPEN = ("pass", "inconclusive")
UNSTEADY = ("nondeterministic",)


def tripled(n: int, factor: float) -> Fact:
    """y = 3 x against generic cotangents, one entry of the gradient multiplied; torch fast: missed from 1e3."""
    v, wrong = points(n, n), np.ones(n)
    wrong[n // 3] = factor
    name = f"3 x, {n:,} entries, one times {factor:g}"
    return Fact(name, lambda x: 3 * float(v @ x), lambda x: 3 * v * wrong, points(n + 1, n), FAIL, ("params",))


def linear(k: int, row: bool) -> Fact:
    """A k x k layer, batch of 8, one entry or row of the weight's gradient zero; torch fast misses it from 32, 128."""
    r = rng(k)
    X, V = r.normal(size=(8, k)), r.normal(size=(8, k))
    params = {"W": r.normal(size=(k, k)), "b": r.normal(size=k)}
    dW = X.T @ V
    wrong = dW.copy()
    wrong[k // 2, slice(None) if row else k // 3] = 0

    def loss(p: dict[str, np.ndarray]) -> float:
        return float(np.vdot(X @ p["W"] + p["b"], V))

    name = f"linear layer of {k}, one {'row' if row else 'entry'} zero"
    return Fact(name, loss, lambda p: {"W": wrong, "b": V.sum(0)}, params, FAIL, ("W",))


def half_everywhere(n: int, error: float) -> Fact:
    """A sum of sines whose derivative is off by a factor everywhere: JAX multiplies its tolerance by the size."""
    return Fact(
        f"{n:,} outputs, all {error:g} wrong",
        lambda x: np.sin(x).sum(),
        lambda x: (1 - error) * np.cos(x),
        points(n, n),
        FAIL,
        ("params",),
        "scale",
    )


dice = rng(0)
x, at = points(31), points(32)
mask_of = {"keep": 0.8}


def dropout(p: np.ndarray) -> float:
    """In training mode: another mask at each call."""
    return float((p**2 * (dice.random(p.shape) < mask_of["keep"]) / mask_of["keep"]).sum())


def steady_noise(level: float) -> Callable[[np.ndarray], float]:
    return lambda p: float(np.sin(p[0])) + level * rng(int(np.float64(p[0]).view(np.uint64))).normal()


one, tiny = np.array([1.0]), 1e-6
parameter_net = {"x": points(33, 3), "W": points(34, 6).reshape(3, 2)}
matrix = {"X": points(35, 12).reshape(3, 4), "W": points(36, 20).reshape(5, 4)}
cotangent = points(37, 15).reshape(3, 5)


def one_entry_wrong(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    dW = cotangent.T @ p["X"]
    dW[3, 2] *= 1.5
    return {"X": cotangent @ p["W"], "W": dW}


FACTS = [
    # PyTorch, fast mode
    *(tripled(n, factor) for n in (16, 100, 1000, 10_000) for factor in (2, 0)),
    *(linear(k, row=False) for k in (8, 32, 64)),
    *(linear(k, row=True) for k in (8, 64)),
    # PyTorch, slow mode
    Fact("zero for 1e-6 sin x", lambda p: tiny * np.sin(p).sum(), np.zeros_like, x, FAIL, ("params",), "missing-term"),
    Fact(
        "0.9 % wrong at 1e-3",
        lambda p: 1e-3 * np.sin(p).sum(),
        lambda p: 1.009e-3 * np.cos(p),
        x,
        FAIL,
        ("params",),
        "scale",
    ),
    Fact("sin(1e6 x) is right", lambda p: np.sin(1e6 * p).sum(), lambda p: 1e6 * np.cos(1e6 * p), x),
    Fact("ReLU at 5e-7 is right", lambda p: np.maximum(p, 0).sum(), lambda p: 1.0 * (p > 0), np.append(x, 5e-7)),
    Fact("float32 is right", lambda p: np.tanh(p).sum(), lambda p: 1 - np.tanh(p) ** 2, x.astype(np.float32)),
    Fact("abs at 0", lambda p: abs(p).sum(), np.sign, np.append(x, 0.0), cause="kink"),
    Fact("ReLU at 0", lambda p: np.maximum(p, 0).sum(), lambda p: 1.0 * (p > 0), np.append(x, 0.0), cause="kink"),
    Fact(
        "max of a tie",
        lambda p: p.max(),
        lambda p: (p == p.max()) / (p == p.max()).sum(),
        np.array([1.0, 1.0, 0.3]),
        cause="kink",
    ),
    Fact("dropout in training mode", dropout, lambda p: 2 * p, x, UNSTEADY, cause="nondeterministic"),
    Fact(
        "noisy forward",
        lambda p: (p**2).sum() + 1e-3 * dice.normal(),
        lambda p: 2 * p,
        x,
        UNSTEADY,
        cause="nondeterministic",
    ),
    Fact(
        "parameter's gradient times 5",
        lambda p: float(np.tanh(p["x"] @ p["W"]).sum()),
        lambda p: {
            "x": p["W"] @ (1 - np.tanh(p["x"] @ p["W"]) ** 2),
            "W": 5 * np.outer(p["x"], 1 - np.tanh(p["x"] @ p["W"]) ** 2),
        },
        parameter_net,
        FAIL,
        ("W",),
        "scale",
    ),
    Fact(
        "sqrt at 0",
        quiet(lambda p: np.sqrt(p).sum()),
        quiet(lambda p: 0.5 / np.sqrt(p)),
        np.array([0.0, 1.0]),
        ("nonfinite",),
        cause="nonfinite",
    ),
    Fact(
        "one wrong entry of a linear layer",
        lambda p: float(np.vdot(p["X"] @ p["W"].T, cotangent)),
        one_entry_wrong,
        matrix,
        FAIL,
        ("W",),
    ),
    # JAX
    half_everywhere(1000, 0.01),
    Fact(
        "float32, one of 10,000 entries doubled",
        lambda p: np.sin(p).sum(dtype=np.float32),
        lambda p: np.cos(p) * (1 + (np.arange(p.size) == 777)),
        0.3 * points(38, 10_000).astype(np.float32),
        ("fail", "inconclusive"),
    ),
    Fact(
        "float32 sum of 10,000 sines is right",
        lambda p: np.sin(p).sum(),
        np.cos,
        points(39, 10_000).astype(np.float32),
        OPEN,
    ),
    # numdifftools and SciPy: estimates that are no bounds, steps out of the domain, noise, scale
    Fact("float32 sine is right", lambda p: np.sin(p[0]), np.cos, one.astype(np.float32)),
    Fact("x^2 at 1e8 is right", lambda p: p[0] ** 2, lambda p: 2 * p, np.array([1e8])),
    Fact(
        "staircase",
        lambda p: np.floor(8 * p).sum(),
        lambda p: np.full(3, 8.0),
        np.array([0.3, 0.71, 1.2]),
        ("fail", "inconclusive"),
    ),
    Fact("log at 1e-4 is right", quiet(lambda p: np.log(p[0])), lambda p: 1 / p, np.array([1e-4])),
    Fact("sine with noise 1e-6 is right", steady_noise(1e-6), np.cos, one, OPEN),
    Fact("sine with noise 1e-6, 10 % wrong", steady_noise(1e-6), lambda p: 1.1 * np.cos(p), one, FAIL, ("params",)),
    Fact(
        "factor 2 at 1e-8", lambda p: 1e-8 * np.sin(p).sum(), lambda p: 2e-8 * np.cos(p), x, FAIL, ("params",), "scale"
    ),
    Fact("right at 1e8", lambda p: 1e8 * np.sin(p).sum(), lambda p: 1e8 * np.cos(p), x),
    Fact(
        "zero for a function of 1e-7",
        lambda p: 1e-7 * np.tanh(p).sum(),
        np.zeros_like,
        x,
        FAIL,
        ("params",),
        "missing-term",
    ),
]

# Larger than the tests run every time.
LARGE: list[Any] = [
    *(tripled(n, factor) for n in (100_000, 1_000_000) for factor in (2, 0)),
    *(linear(k, row) for k in (128, 256) for row in (False, True)),
    half_everywhere(20_000, 0.5),
    half_everywhere(100_000, 0.5),
]
