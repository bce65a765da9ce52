"""More families of random problems with right gradients, which nobody looks at while tuning.

What fails here is reported first; a hazard that is understood then moves, as a general one, to `cases.families`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .fact import complex_step
from .families import Problem

HELD_OUT: dict[str, Callable[[np.random.Generator], Problem]] = {}


def held_out(function):
    HELD_OUT[function.__name__] = function
    return function


def problem(f, x):
    """A loss whose code runs on complex numbers, too, with the gradient of complex steps: exact to rounding."""
    return Problem(lambda x: float(f(x).real), complex_step(f), x)


def partly_single(f, x):
    """``f(x, cast)``, whose `cast` rounds to float32 in the loss and does nothing in the gradient."""

    def cast(z):
        return z.astype(np.float32)

    return Problem(lambda x: float(f(x, cast)), complex_step(lambda x: f(x, lambda z: z)), x)


def where(condition, z, other):
    return np.where(condition, z, other)


def log_sum_exp(z):
    shift = z.real.max(-1, keepdims=True)
    return (shift + np.log(np.exp(z - shift).sum(-1, keepdims=True)))[..., 0]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@held_out
def logistic_regression(rng):
    scale = 10 ** rng.uniform(-3, 3, 6)
    X, t = rng.normal(size=(20, 6)) * scale, rng.integers(0, 2, 20)
    return problem(lambda w: (np.log(1 + np.exp(X @ w)) - t * (X @ w)).mean(), rng.normal(size=6) / scale)


@held_out
def gaussian_process(rng):
    u, y = np.sort(rng.normal(size=8)), rng.normal(size=8)
    d2 = (u[:, None] - u) ** 2

    def f(p):
        K = np.exp(p[0]) * np.exp(-d2 * np.exp(p[1])) + np.exp(p[2]) * np.eye(8)
        return 0.5 * y @ np.linalg.solve(K, y) + 0.5 * np.log(np.linalg.det(K))

    return problem(f, rng.normal(size=3) - np.array([0, 0, 3.0]))


@held_out
def factorization(rng):
    R, seen = rng.normal(size=(6, 7)), rng.random((6, 7)) < 0.5
    return problem(
        lambda p: ((p[:18].reshape(6, 3) @ p[18:].reshape(3, 7) - R)[seen] ** 2).sum() + 0.1 * (p * p).sum(),
        rng.normal(size=39),
    )


@held_out
def pooled_convolution(rng):
    X, labels = rng.normal(size=(4, 14)), rng.integers(0, 3, 4)

    def f(p):
        kernel, V = p[:9].reshape(3, 3), p[9:].reshape(9, 3)
        z = np.stack([X[:, i : i + 12] for i in range(3)], -1) @ kernel
        z = where(z.real > 0, z, 0)
        windows = z.reshape(4, 3, 4, 3)
        best = windows.real.argmax(2)[:, :, None]
        s = np.take_along_axis(windows, best, 2)[:, :, 0].reshape(4, 9) @ V
        return (log_sum_exp(s) - s[np.arange(4), labels]).mean()

    return problem(f, rng.normal(size=36))


@held_out
def attention(rng):
    X, Y = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))

    def f(p):
        q, k, v = (X @ w for w in p.reshape(3, 3, 3))
        s = q @ k.T / np.sqrt(3)
        return ((np.exp(s - log_sum_exp(s)[:, None]) @ v - Y) ** 2).mean()

    return problem(f, rng.normal(size=27) * 10 ** rng.uniform(-1, 0.5))


@held_out
def recurrent(rng):
    X = rng.normal(size=(15, 3))

    def f(p):
        h = np.zeros(4)
        for x in X:
            h = np.tanh(x @ p[:12].reshape(3, 4) + h @ p[12:28].reshape(4, 4) + p[28:])
        return (h**2).sum()

    return problem(f, rng.normal(size=32))


@held_out
def ode(rng):
    def field(s, p):
        return np.stack([p[0] * s[0] - p[1] * s[0] * s[1], p[2] * s[0] * s[1] - p[3] * s[1]])

    def f(p):
        s, dt = p[4:], 0.05
        for _ in range(40):
            k1 = field(s, p)
            k2 = field(s + dt / 2 * k1, p)
            s = s + dt * k2
        return (s**2).sum()

    return problem(f, rng.uniform(0.5, 1.5, 6))


@held_out
def variance_by_moments(rng):
    """E[z²] - E[z]²: most digits cancel."""
    X, mean = rng.normal(size=(30, 4)), 10 ** rng.uniform(1, 4)

    def f(w):
        z = mean + X @ w
        return (z * z).mean() - z.mean() ** 2

    return problem(f, rng.normal(size=4))


@held_out
def sorted_loss(rng):
    X, q = rng.normal(size=(9, 4)), np.sort(rng.normal(size=9))

    def f(w):
        z = X @ w
        return (np.abs(np.arange(9) - 3) * (z[np.argsort(z.real)] - q) ** 2).sum()

    return problem(f, rng.normal(size=4))


@held_out
def quantile_loss(rng):
    X, y, tau = rng.normal(size=(25, 5)), rng.normal(size=25), rng.uniform(0.05, 0.95)

    def f(w):
        r = y - X @ w
        return (where(r.real > 0, tau * r, (tau - 1) * r)).mean() + 0.01 * (w * w).sum()

    return problem(f, rng.normal(size=5))


@held_out
def huber(rng):
    X, y = rng.normal(size=(25, 5)), rng.normal(size=25)

    def f(w):
        r = X @ w - y
        size = where(r.real > 0, r, -r)
        return where(size.real < 0.5, 0.5 * r * r, 0.5 * (size - 0.25)).sum()

    return problem(f, rng.normal(size=5))


@held_out
def sawtooth(rng):
    phase = rng.uniform(0, 1, 5)
    return problem(lambda x: ((x + phase - np.floor((x + phase).real)) ** 2).sum(), 10 * rng.normal(size=5))


@held_out
def table_lookup(rng):
    """A function interpolated linearly in a fine table: a new slope every `d`."""
    d = 10 ** rng.uniform(-4, -1)
    grid = np.arange(-6, 6, d)
    table = np.sin(3 * grid)

    def f(x):
        i = np.floor((x.real + 6) / d).astype(int)
        part = (x - grid[i]) / d
        return ((1 - part) * table[i] + part * table[i + 1]).sum()

    return problem(f, rng.uniform(-3, 3, 5))


@held_out
def large_phase(rng):
    """The argument itself is rounded: a staircase in every entry."""
    w, c = 10 ** rng.uniform(5, 9), rng.normal(size=4)
    return problem(lambda x: (c * np.sin(w + x)).sum(), rng.normal(size=4))


@held_out
def poisson(rng):
    X, k = rng.normal(size=(15, 5)), rng.poisson(3, 15)
    return problem(lambda w: (np.exp(X @ w) - k * (X @ w)).sum(), rng.normal(size=5) * rng.uniform(0.2, 4))


@held_out
def barrier(rng):
    A = rng.normal(size=(8, 4))
    x = rng.normal(size=4)
    b = A @ x + 10 ** rng.uniform(-7, 0, 8)

    def f(x):
        gap = b - A @ x
        if np.any(gap.real <= 0):
            raise ValueError("outside")
        return (x**2).sum() - 1e-2 * np.log(gap).sum()

    return problem(f, x)


@held_out
def saturated(rng):
    X, labels = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)

    def f(p):
        z = sigmoid(X @ p[:20].reshape(4, 5) * 8) @ p[20:].reshape(5, 3)
        return (log_sum_exp(z) - z[np.arange(6), labels]).mean()

    return problem(f, rng.normal(size=35))


@held_out
def powers(rng):
    p = rng.uniform(-3, 4, 6)
    return problem(lambda x: (x**p).sum(), 10 ** rng.uniform(-4, 4, 6))


@held_out
def rosenbrock(rng):
    return problem(
        lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum(),
        np.ones(8) + rng.choice([0, 1]) * rng.normal(size=8),
    )


@held_out
def norms_near_zero(rng):
    return problem(
        lambda x: np.sqrt((x.reshape(3, 3) ** 2).sum(1)).sum() + np.exp(x).sum(),
        rng.normal(size=9) * 10 ** rng.uniform(-9, 0),
    )


@held_out
def averaged_noise(rng):
    """A sum over ten thousand terms in float32."""
    u = rng.normal(size=10_000)

    def f(x, cast):
        return cast(np.tanh(x[0] * u + x[1]) * x[2]).sum(dtype=cast(np.zeros(1, x.dtype)).dtype) + x[3] ** 2

    return partly_single(f, rng.normal(size=4))


@held_out
def single_features(rng):
    """The first layer in float32, all behind it in float64."""
    X, labels = rng.normal(size=(5, 4)), rng.integers(0, 3, 5)

    def f(p, cast):
        z = np.tanh(cast(cast(X) @ cast(p[:20].reshape(4, 5)))) @ p[20:].reshape(5, 3)
        return (log_sum_exp(z) - z[np.arange(5), labels]).mean()

    return partly_single(f, rng.normal(size=35))


@held_out
def single_data_term(rng):
    """The data term in float32, an L2 penalty in float64."""
    X, y, strength = rng.normal(size=(12, 5)), rng.normal(size=12), 10 ** rng.uniform(-4, 2)
    return partly_single(
        lambda w, cast: (cast(cast(X) @ cast(w) - cast(y)) ** 2).mean() + strength * (w * w).sum(), rng.normal(size=5)
    )


@held_out
def single_penalty(rng):
    """The data term in float64, a penalty that is summed in float32."""
    X, y = rng.normal(size=(12, 5)), rng.normal(size=12)
    scale = 10 ** rng.uniform(-3, 3)
    return partly_single(
        lambda w, cast: ((X @ w - y) ** 2).mean() + 1.0 * (cast(scale * w) ** 2).sum(), rng.normal(size=5)
    )


@held_out
def single_mixture(rng):
    """Component densities in float32, their mixture in float64."""
    u = rng.normal(size=20)

    def f(p, cast):
        d = np.exp(cast(-0.5 * (u[:, None] - p[:3]) ** 2 * np.exp(p[3:6])))
        return -np.log((d * np.exp(p[6:] - log_sum_exp(p[None, 6:]))).sum(1)).mean()

    return partly_single(f, rng.normal(size=9))


@held_out
def single_parameters(rng):
    """Parameters are float32, the arithmetic is float64."""
    A = rng.normal(size=(6, 6))
    x = rng.normal(size=6).astype(np.float32)
    exact = complex_step(lambda x: np.sin(A @ x).sum())
    return Problem(lambda x: float(np.sin(A @ x.astype(np.float64)).sum()), lambda x: exact(x.astype(np.float64)), x)


@held_out
def relu_float32(rng):
    X, Y = rng.normal(size=(8, 5)).astype("float32"), rng.normal(size=(8, 3)).astype("float32")
    x = rng.normal(size=5 * 7 + 7 * 3).astype("float32")

    def f(p):
        z = X @ p[:35].reshape(5, 7)
        return ((where(z.real > 0, z, 0 * z) @ p[35:].reshape(7, 3) - Y) ** 2).mean()

    exact = complex_step(f)
    return Problem(lambda x: f(x), lambda x: exact(x.astype(np.float64)).astype("float32"), x)
