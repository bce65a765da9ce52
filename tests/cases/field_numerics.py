"""What differentiators are tested with: FiniteDifferences.jl, Ceres, SciPy, numdifftools, Moré-Garbow-Hillstrom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .correct import quiet, rng
from .fact import Fact, complex_step
from .field_problems import PROBLEMS

one = np.array([1.0])
zero = np.array([0.0])
OPEN = ("pass", "inconclusive")


def holomorphic(name: str, f: Callable[[np.ndarray], Any], x: Any) -> Fact:
    return Fact(name, lambda p: float(f(p)), complex_step(f), np.asarray(x, float))


def cosc(x: np.ndarray) -> float:
    """Derivative of sin(pi x)/(pi x), by its series near 0."""
    y = np.pi * x[0]
    return float(
        np.pi * (-y / 3 + y**3 / 30 - y**5 / 840) if abs(y) < 0.05 else np.pi * (np.cos(y) / y - np.sin(y) / y**2)
    )


METHODS = [
    Fact("zero", lambda x: 0.0, np.zeros_like, one),
    Fact("identity", lambda x: x[0], np.ones_like, one),
    *(
        holomorphic(f"{f.__name__} at {at}", lambda x, f=f: f(x[0]), [at])
        for f in (np.exp, np.sin, np.cos)
        for at in (0, 1)
    ),
    Fact("sinc at 0", lambda x: np.sinc(x[0]), np.zeros(1), zero),
    Fact("sinc at 1", lambda x: np.sinc(x[0]), -np.ones(1), one),
    Fact("cosc at 0", cosc, np.array([-(np.pi**2) / 3]), zero),
    Fact("log at 1e-3", quiet(lambda x: np.log(x[0])), lambda x: 1 / x, np.array([1e-3])),
    Fact("abs at 1e-3", lambda x: abs(x[0]), np.sign, np.array([1e-3])),
    Fact("sqrt(x + 1)", lambda x: np.sqrt(x[0] + 1), lambda x: 0.5 / np.sqrt(x + 1), one),
    Fact("float32 exp", lambda x: np.exp(x[0]), np.exp, one.astype(np.float32)),
    Fact("float32 sin", lambda x: np.sin(x[0]), np.cos, one.astype(np.float32)),
    Fact("float32 log at 0.1", quiet(lambda x: np.log(x[0])), lambda x: 1 / x, np.array([0.1], np.float32)),
]

near = np.array([1e-64, 2.0, 3.0, 4.0, 5.0])
across = np.array([9.0, 9.0, 5.0, 5.0, 1.0])
PATTERNS = [
    [1, 2, 3, 4, 5, 9, 9, 5, 5, 1],
    [0, 2, 3, 4, 5, 9, 9, 5, 5, 1],
    [1, 2, 3, 1, 5, 0, 9, 0, 5, 0],
    [0, 2, 3, 0, 5, 9, 9, 5, 5, 0],
    [0, 0, 3, 0, 5, 0, 0, 5, 0, 0],
    [0] * 10,
]
CERES = [
    holomorphic("dot product with 1e-64", lambda p: p[:5] @ p[5:], np.append(near, across)),
    holomorphic("its square", lambda p: (p[:5] @ p[5:]) ** 2, np.append(near, across)),
    holomorphic("square of the other", lambda p: p[5:] @ p[5:], np.append(near, across)),
    *(holomorphic(f"sine of a dot product, {i}", lambda p: np.sin(p[:5] @ p[5:]), p) for i, p in enumerate(PATTERNS)),
    *(
        holomorphic(f"exp of a dot product, {i}", lambda p: np.exp(-(p[:5] @ p[5:]) / 10), p)
        for i, p in enumerate(PATTERNS)
    ),
    *(holomorphic(f"Ceres exp at {i}", lambda p: np.exp(p[0]), [i]) for i in range(1, 6)),
]


def steady_noise(level: float) -> Callable[[np.ndarray], float]:
    return lambda x: float(x[0] ** 2) + level * rng(int(np.float64(x[0]).view(np.uint64))).random()


NOISE = [
    *(
        Fact(f"x^2 and steady noise at {at}", steady_noise(1e-9), lambda x: 2 * x, np.array([float(at)]), OPEN)
        for at in (1, 3, 4, 50)
    ),
    Fact("x^2 and steady noise at 0", steady_noise(1e-9), lambda x: 2 * x, zero, OPEN),
]


def only_inside(radius: float) -> Callable[[np.ndarray], float]:
    return lambda x: float(np.exp(x[0])) if abs(x[0]) <= radius else np.nan


def tridiagonal(x: np.ndarray) -> Any:
    """Sum of squares of x_(i+1)^3 - x_i^2 (Nocedal and Wright, p. 198)."""
    return ((x[1:] ** 3 - x[:-1] ** 2) ** 2).sum()


SCIPY = [
    holomorphic("sinh", lambda x: np.sinh(x[0]), [1]),
    holomorphic("x^2, tan, exp", lambda x: x[0] ** 2 + np.tan(x[0]) + np.exp(x[0]), [0.5]),
    holomorphic("sin(x y) log x", lambda x: np.sin(x[0] * x[1]) * np.log(x[0]), [1, 2]),
    holomorphic(
        "x sin y, y cos x, x^3 / sqrt y",
        lambda x: x[0] * np.sin(x[1]) + x[1] * np.cos(x[0]) + x[0] ** 3 / np.sqrt(x[1]),
        [-100, 0.2],
    ),
    holomorphic("exp of 1e-3 x and of 50 y", lambda x: np.exp(1e-3 * x[0]) + np.exp(50 * x[1]), [0.3, 0.1]),
    Fact("NaN beyond 1e-8", only_inside(1e-8), np.exp, zero, OPEN),
    Fact("NaN beyond 1e-3", only_inside(1e-3), np.exp, zero),
    Fact("zero derivative at a point", lambda x: float((x**3).sum() * x[0]), lambda x: x**3 + 3 * x[0] * x**2, zero),
    holomorphic("tridiagonal, n = 50", tridiagonal, np.full(50, -1 + 1e-3) + 0.1 * np.arange(50)),
    Fact(
        "-|x0 + 1| + |x1 + 1| at its kinks",
        lambda x: -abs(x[0] + 1) + abs(x[1] + 1),
        np.array([-1.0, 1.0]),
        np.array([-1.0, -1.0]),
    ),
    Fact(
        "float32 Rosenbrock",
        lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2,
        lambda x: np.array([-400 * x[0] * (x[1] - x[0] ** 2) - 2 * (1 - x[0]), 200 * (x[1] - x[0] ** 2)], np.float32),
        np.array([1.3, 0.7], np.float32),
    ),
    holomorphic("saddle", lambda x: x[0] ** 2 - x[1] ** 2, [0, 0]),
]

# Distribution functions a little off their median: the derivative is the density.
CDFS = [
    holomorphic("logistic cdf", lambda x: 1 / (1 + np.exp(-x[0])), [0.1]),
    holomorphic("Cauchy cdf", lambda x: np.arctan(x[0]) / np.pi + 0.5, [0.1]),
    holomorphic("exponential cdf", lambda x: 1 - np.exp(-x[0]), [np.log(2) + 0.1]),
    holomorphic("Gumbel cdf", lambda x: np.exp(-np.exp(-x[0])), [0.466]),
    holomorphic("Weibull cdf", lambda x: 1 - np.exp(-(x[0] ** 1.7)), [0.9]),
    holomorphic("Burr cdf", lambda x: (1 + x[0] ** -3.0) ** -2, [1.4]),
]

NUMDIFFTOOLS: dict[str, Callable[[Any], Any]] = {
    "cos": np.cos,
    "sin": np.sin,
    "tan": np.tan,
    "cosh": np.cosh,
    "sinh": np.sinh,
    "tanh": np.tanh,
    "exp": np.exp,
    "expm1": np.expm1,
    "exp2": lambda x: 2**x,
    "square": lambda x: x**2,
    "sqrt": np.sqrt,
    "log": np.log,
    "log1p": np.log1p,
    "log2": lambda x: np.log(x) / np.log(2),
    "log10": lambda x: np.log(x) / np.log(10),
    "arccos": np.arccos,
    "arcsin": np.arcsin,
    "arctan": np.arctan,
    "inverse": lambda x: 1 / x,
}
ELEMENTARY = [holomorphic(f"elementary {name}", lambda x, f=f: f(x[0]), [0.6]) for name, f in NUMDIFFTOOLS.items()]

FACTS = [*METHODS, *CERES, *NOISE, *SCIPY, *CDFS, *ELEMENTARY, *(holomorphic(*problem) for problem in PROBLEMS)]
