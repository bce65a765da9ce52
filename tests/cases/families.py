"""Families of random problems with right gradients, one per hazard."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Problem(NamedTuple):
    loss: Callable
    gradient: Callable
    params: object


FAMILIES: dict[str, Callable[[np.random.Generator], Problem]] = {}


def family(function):
    FAMILIES[function.__name__] = function
    return function


ACTIVATIONS = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
    "abs": (np.abs, np.sign),
    "sine": (lambda z: np.sin(3 * z), lambda z: 3 * np.cos(3 * z)),
}


def network(rng, activation="tanh", dtype="float64"):
    """Three layers and a cross entropy."""
    sizes, m = (4, 6, 5, 3), 5
    x, labels = rng.normal(size=(m, 4)).astype(dtype), rng.integers(0, 3, m)
    act, slope = ACTIVATIONS[activation]
    params = {}
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        params[f"W{i}"] = (rng.normal(size=(n_in, n_out)) / np.sqrt(n_in)).astype(dtype)
        params[f"b{i}"] = (0.1 * rng.normal(size=n_out)).astype(dtype)

    def forward(p):
        z0 = x @ p["W0"] + p["b0"]
        z1 = act(z0) @ p["W1"] + p["b1"]
        scores = act(z1) @ p["W2"] + p["b2"]
        scores = scores - scores.max(1, keepdims=True)
        return z0, z1, scores, np.log(np.exp(scores).sum(1))

    def loss(p):
        _, _, scores, log_sum = forward(p)
        return (log_sum - scores[np.arange(m), labels]).mean()

    def gradient(p):
        z0, z1, scores, log_sum = forward(p)
        d2 = np.exp(scores - log_sum[:, None])
        d2[np.arange(m), labels] -= 1
        d2 /= m
        d1 = d2 @ p["W2"].T * slope(z1)
        d0 = d1 @ p["W1"].T * slope(z0)
        steps = ((x, d0), (act(z0), d1), (act(z1), d2))
        return {
            f"{name}{i}": value for i, (a, d) in enumerate(steps) for name, value in (("W", a.T @ d), ("b", d.sum(0)))
        }

    return Problem(loss, gradient, params)


@family
def smooth(rng):
    n = int(rng.integers(2, 12))
    a = rng.normal(size=(n, n))
    return [
        Problem(lambda x: np.sin(a @ x).sum(), lambda x: a.T @ np.cos(a @ x), rng.normal(size=n)),
        Problem(lambda x: np.exp(a @ x / 3).sum(), lambda x: a.T @ np.exp(a @ x / 3) / 3, rng.normal(size=n)),
        Problem(lambda x: ((a @ x) ** 4).sum(), lambda x: a.T @ (4 * (a @ x) ** 3), rng.normal(size=n)),
    ][int(rng.integers(3))]


@family
def networks(rng):
    return network(rng, ("tanh", "sine")[int(rng.integers(2))])


@family
def networks_with_kinks(rng):
    return network(rng, ("relu", "abs")[int(rng.integers(2))])


@family
def networks_float32(rng):
    return network(rng, "tanh", "float32")


@family
def float32_inside(rng):
    loss, gradient, params = network(rng)

    def cast(p):
        return {name: array.astype("float32") for name, array in p.items()}

    return Problem(lambda p: float(loss(cast(p))), lambda p: gradient(cast(p)), params)


@family
def float32_result(rng):
    loss, gradient, params = network(rng)
    return Problem(lambda p: np.float32(loss(p)), gradient, params)


PLACES = ("W0", "b0", "W1", "b1", "W2", "b2", "z0", "a0", "z1", "a1", "scores", "exp", "log_sum", "rows")


@family
def partly_float32(rng):
    """A network some steps of which are done in float32 in the loss, and in half of the gradients."""
    sizes, m = (4, 6, 5, 3), 5
    X, labels = rng.normal(size=(m, 4)), rng.integers(0, 3, m)
    params = {}
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        params[f"W{i}"] = rng.normal(size=(n_in, n_out)) / np.sqrt(n_in)
        params[f"b{i}"] = 0.1 * rng.normal(size=n_out)
    chosen = set(rng.choice(PLACES, rng.integers(1, 4), replace=False))
    penalty = rng.choice((0.0, 10 ** rng.uniform(-4, 1)))
    exact = rng.random() < 0.5

    def forward(p, casts):
        def at(place, z):
            return z.astype(np.float32).astype(np.float64) if place in casts else z

        q = {name: at(name, array) for name, array in p.items()}
        z0 = at("z0", X @ q["W0"] + q["b0"])
        a0 = at("a0", np.tanh(z0))
        z1 = at("z1", a0 @ q["W1"] + q["b1"])
        a1 = at("a1", np.tanh(z1))
        scores = at("scores", a1 @ q["W2"] + q["b2"])
        log_sum = at("log_sum", np.log(at("exp", np.exp(scores)).sum(1)))
        return q, a0, a1, scores, log_sum, at("rows", log_sum - scores[np.arange(m), labels])

    def loss(p):
        return forward(p, chosen)[-1].mean() + penalty * sum((array**2).sum() for array in p.values())

    def gradient(p):
        q, a0, a1, scores, log_sum, _ = forward(p, () if exact else chosen)
        d2 = np.exp(scores - log_sum[:, None])
        d2[np.arange(m), labels] -= 1
        d2 /= m
        d1 = d2 @ q["W2"].T * (1 - a1**2)
        d0 = d1 @ q["W1"].T * (1 - a0**2)
        steps = ((X, d0), (a0, d1), (a1, d2))
        g = {f"{name}{i}": v for i, (a, d) in enumerate(steps) for name, v in (("W", a.T @ d), ("b", d.sum(0)))}
        return {name: g[name] + 2 * penalty * p[name] for name in p}

    return Problem(loss, gradient, params)


@family
def one_float32_tensor(rng):
    loss, gradient, params = network(rng)

    def cast(p):
        return {**p, "W1": p["W1"].astype("float32").astype("float64")}

    return Problem(lambda p: loss(cast(p)), lambda p: gradient(cast(p)), params)


@family
def offsets(rng):
    loss, gradient, params = network(rng)
    offset = 10 ** rng.uniform(3, 9)
    return Problem(lambda p: offset + loss(p), gradient, params)


@family
def scaled_losses(rng):
    loss, gradient, params = network(rng)
    c = 10 ** rng.uniform(-40, 30)
    return Problem(lambda p: c * loss(p), lambda p: {name: c * g for name, g in gradient(p).items()}, params)


@family
def scaled_parameters(rng):
    s, a = 10 ** rng.uniform(-8, 8, 8), rng.normal(size=(8, 8))
    return Problem(lambda x: np.sin(a @ (x / s)).sum(), lambda x: a.T @ np.cos(a @ (x / s)) / s, s * rng.normal(size=8))


@family
def domain_edges(rng):
    d = 10 ** rng.uniform(-9, -1, 5)
    return [
        Problem(lambda x: np.sqrt(x).sum(), lambda x: 0.5 / np.sqrt(x), d),
        Problem(lambda x: (x * np.log(x)).sum(), lambda x: np.log(x) + 1, d),
    ][int(rng.integers(2))]


@family
def oscillation(rng):
    w, c = 10 ** rng.uniform(2, 6), rng.normal(size=4)
    return Problem(
        lambda x: (c * np.sin(w * x)).sum() + x @ x, lambda x: c * w * np.cos(w * x) + 2 * x, rng.normal(size=4)
    )


@family
def kinks_near(rng):
    x = rng.normal(size=6)
    corner = x + rng.choice([-1, 1], 6) * 10 ** rng.uniform(-9, -2, 6)
    return Problem(lambda x: np.abs(x - corner).sum() + np.exp(x).sum(), lambda x: np.sign(x - corner) + np.exp(x), x)


@family
def jumps_near(rng):
    x = rng.normal(size=5)
    edge = x + rng.choice([-1, 1], 5) * 10 ** rng.uniform(-8, -2, 5)
    return Problem(lambda x: (x > edge).sum() + np.exp(x).sum(), np.exp, x)


@family
def noisy(rng):
    loss, gradient, params = network(rng)
    level, w = 10 ** rng.uniform(-12, -7), rng.normal(size=50)

    def steady_noise(p):
        return level * np.sin(1e14 * sum(float(a.ravel() @ w[: a.size]) for a in p.values()))

    return Problem(lambda p: loss(p) * (1 + steady_noise(p)), gradient, params)


@family
def stationary(rng):
    c = rng.normal(size=4)
    return [
        Problem(lambda x: np.cosh(x - c).sum(), lambda x: np.sinh(x - c), c),
        Problem(lambda x: (x**4).sum(), lambda x: 4 * x**3, np.zeros(4)),
    ][int(rng.integers(2))]
