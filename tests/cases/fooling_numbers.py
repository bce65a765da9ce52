"""Correct gradients that scale, oscillate, saturate, cancel, are stationary or noisy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .correct import OPEN, Cases, at_zero, points, quiet, rng, signed

CASES = Cases()
case = CASES.add

# Scales of loss and parameters.

for power in (-40, -12, 12, 30):
    factor = 10.0**power
    case(f"loss times 1e{power}", lambda x, c=factor: c * np.sin(x).sum(), lambda x, c=factor: c * np.cos(x), signed)
for power in (3, 5, 7, 9):
    offset = 10.0**power
    case(f"loss plus 1e{power}", lambda x, c=offset: c + np.sin(x).sum(), lambda x: np.cos(x), signed)
case("loss plus 1e16", lambda x: 1e16 + np.sin(x).sum(), np.cos, signed, OPEN)
case(
    "small gradient beside a large loss",
    lambda x: 1e8 + 1e-3 * np.sin(x).sum(),
    lambda x: 1e-3 * np.cos(x),
    signed,
    OPEN,
)
spread = 10.0 ** np.linspace(-8, 8, 9) * np.array([1, -1, 1, 1, -1, 1, -1, 1, 1])
case(
    "parameters 1e-8 to 1e8, sines",
    lambda x: np.sin(x / spread).sum(),
    lambda x: np.cos(x / spread) / spread,
    0.7 * spread,
)
case(
    "parameters 1e-8 to 1e8, squares",
    lambda x: ((x / spread - 1) ** 2).sum(),
    lambda x: 2 * (x / spread - 1) / spread,
    1.3 * spread,
)
case("parameters 1e-8 to 1e8, logs", quiet(lambda x: np.log(abs(x)).sum()), lambda x: 1 / x, spread)
case("parameters of 1e8", lambda x: (x**2).sum(), lambda x: 2 * x, 1e8 + points(3))
case("parameters of 1e-8", lambda x: np.sin(1e8 * x).sum(), lambda x: 1e8 * np.cos(1e8 * x), 1e-8 * signed)
case(
    "gradients 1e-10 to 1e10",
    lambda x: (x * np.logspace(-10, 10, 8)).sum(),
    lambda x: np.logspace(-10, 10, 8),
    signed,
    OPEN,
)
case("denormal loss", lambda x: 1e-310 * x.sum(), lambda x: np.full(8, 1e-310), signed, OPEN)

# Oscillation, saturation, stationary points, cancellation.

for frequency in (1e2, 1e4, 1e6):
    case(
        f"sin({frequency:g} x)",
        lambda x, w=frequency: np.sin(w * x).sum(),
        lambda x, w=frequency: w * np.cos(w * x),
        signed,
    )
case(
    "fast ripple on a slow function",
    lambda x: (x**2).sum() + 1e-3 * np.sin(1e5 * x).sum(),
    lambda x: 2 * x + 100 * np.cos(1e5 * x),
    signed,
)
case("sin(1/x) near 0", lambda x: np.sin(1 / x).sum(), lambda x: -np.cos(1 / x) / x**2, np.array([1e-3, 0.02, -0.5]))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


case(
    "saturated sigmoids",
    lambda x: sigmoid(x).sum(),
    lambda x: sigmoid(x) * sigmoid(-x),
    np.array([40.0, -40.0, 20.0, -20.0, 0.1]),
    OPEN,
)
case(
    "only saturated sigmoids",
    lambda x: sigmoid(x).sum(),
    lambda x: sigmoid(x) * sigmoid(-x),
    np.array([50.0, 60.0]),
    OPEN,
)
for bias in (31.0, 32.0, 33.0):  # steps over which they saturate show nothing to one side, and shorter ones to neither

    def share(x: np.ndarray, bias: float = bias) -> np.ndarray:
        return sigmoid(-150 * (x - signed) - bias)

    case(
        f"rest of a share, e^-{bias:g}",
        lambda x, share=share: 300 * (1 - share(x)).sum() + 330 * share(x).sum(),
        lambda x, share=share: -4500 * share(x) * (1 - share(x)),
        signed,
        OPEN,
    )


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


def entropy(x: np.ndarray) -> float:
    return float(-(np.exp(log_softmax(x)) * log_softmax(x)).sum())


for sure in (27.0, 29.0, 30.0):  # the rest of the probability moves in steps of the rounding of 1
    case(
        f"entropy of a sure class, {sure:g}",
        entropy,
        lambda x: -np.exp(log_softmax(x)) * (log_softmax(x) + entropy(x)),
        np.array([0.0, sure, -sure, 1.0]),
    )
case("saturated tanh", lambda x: np.tanh(x).sum(), lambda x: 1 / np.cosh(x) ** 2, np.array([20.0, -15.0, 0.3]), OPEN)
case(
    "softmax of a sure class",
    lambda x: np.log(np.exp(x - x.max()).sum()) + x.max() - x[0],
    lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum() - np.eye(3)[0],
    np.array([40.0, 0.0, 1.0]),
    OPEN,
)


def rosenbrock(x: np.ndarray) -> float:
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def rosenbrock_gradient(x: np.ndarray) -> np.ndarray:
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


case("Rosenbrock at its minimum", rosenbrock, rosenbrock_gradient, np.ones(6))
case("Rosenbrock near its minimum", rosenbrock, rosenbrock_gradient, 1 + 1e-8 * points(4, 6))
case("Rosenbrock at its start", rosenbrock, rosenbrock_gradient, np.array([-1.2, 1.0, -1.2, 1.0]))
design, seen = rng(8).normal(size=(20, 3)), rng(9).normal(size=20)
case(
    "least squares at their minimum",
    lambda x: ((design @ x - seen) ** 2).sum(),
    lambda x: 2 * design.T @ (design @ x - seen),
    np.linalg.lstsq(design, seen, rcond=None)[0],
)
case("x^4 at 0", lambda x: (x**4).sum(), lambda x: 4 * x**3, np.zeros(3))
case("x^3 at 0", lambda x: (x**3).sum(), lambda x: 3 * x**2, np.zeros(3))
case("x^2 at 0", lambda x: (x**2).sum(), lambda x: 2 * x, np.zeros(3))
case("cosine at its maximum", lambda x: np.cos(x).sum(), lambda x: -np.sin(x), np.zeros(4))
case(
    "exp(-1/x^2) at 0",
    quiet(lambda x: np.where(x == 0, 0, np.exp(-1 / x**2)).sum()),
    quiet(lambda x: np.where(x == 0, 0, 2 / x**3 * np.exp(-1 / x**2))),
    np.zeros(2),
)
case("cancelling terms", lambda x: (1e6 * (x + 1) ** 2 - 1e6 * x**2 - 2e6 * x).sum() + np.sin(x).sum(), np.cos, signed)
case(
    "difference of exponentials",
    lambda x: (np.exp(x + 10) - np.exp(10) * np.exp(x)).sum() + x.sum(),
    np.ones_like,
    signed,
)
case("expm1 by hand", lambda x: (np.exp(x) - 1).sum() * 1e8, lambda x: 1e8 * np.exp(x), 1e-8 * signed)

# Noise, rounding, narrow types.


def noisy(level: float) -> Callable[[np.ndarray], float]:
    """Deterministic noise of a relative size, as an iterative solver leaves it."""

    def loss(x: np.ndarray) -> float:
        value = float(np.sin(x).sum()) + 2
        return value * (1 + level * rng(abs(hash(x.tobytes())) % 2**32).normal())

    return loss


for level in (1e-12, 1e-10, 1e-8):
    case(f"noise {level:g}", noisy(level), np.cos, signed, OPEN)
for digits in (12, 8, 5):
    case(f"rounded to {digits} digits", lambda x, d=digits: round(float(np.sin(x).sum()), d), np.cos, signed, OPEN)
case("float32 inside", lambda x: float(np.sin(x.astype(np.float32)).sum()), np.cos, signed, OPEN)
case("float32 result", lambda x: np.float32(np.sin(x).sum()), np.cos, signed, OPEN)
case("float16 result", lambda x: np.float16(np.sin(x).sum()), np.cos, signed, OPEN)
single = signed.astype(np.float32)
case("float32 parameters", lambda x: np.sin(x).sum(), np.cos, single)
case(
    "float32 parameters, float64 inside",
    lambda x: np.sin(x.astype(float)).sum(),
    lambda x: np.cos(x.astype(float)),
    single,
)
case(
    "float32 parameters at a kink",
    lambda x: np.maximum(x, 0).sum(),
    lambda x: (x > 0).astype(np.float32),
    np.float32(at_zero),
    OPEN,
)
case(
    "one float32 tensor of two",
    lambda p: float(np.sin(p["a"]).sum() + (p["b"].astype(float) ** 2).sum()),
    lambda p: {"a": np.cos(p["a"]), "b": 2 * p["b"]},
    {"a": signed, "b": single},
)
case("float32 sum of 1000", lambda x: (x**2).sum(), lambda x: 2 * x, points(5, 1000).astype(np.float32), OPEN)
