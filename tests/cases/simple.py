"""A smooth loss, a small network, and gradients made wrong."""

from __future__ import annotations

import functools

import numpy as np

rng = np.random.default_rng(3)
A = rng.normal(size=(6, 5))
X = rng.normal(size=(7, 4))


def smooth(x):
    return float(np.sum(np.sin(A @ x)))


def smooth_gradient(x):
    return A.T @ np.cos(A @ x)


POINT = rng.normal(size=5)


def network(dtype="float64"):
    """A loss, its gradient and parameters of two tanh layers with a squared error."""
    data, target = X.astype(dtype), np.ones((7, 2), dtype)
    params = {
        "layers": [
            {"W": rng.normal(size=(4, 3)).astype(dtype), "b": np.zeros(3, dtype)},
            {"W": rng.normal(size=(3, 2)).astype(dtype), "b": np.zeros(2, dtype)},
        ]
    }

    def forward(p):
        first, second = p["layers"]
        hidden = np.tanh(data @ first["W"] + first["b"])
        return hidden, hidden @ second["W"] + second["b"]

    def loss(p):
        return float(np.mean(np.square(forward(p)[1] - target)))

    def gradient(p):
        hidden, out = forward(p)
        d = 2 * (out - target) / out.size
        dz = (d @ p["layers"][1]["W"].T) * (1 - hidden**2)
        return {"layers": [{"W": data.T @ dz, "b": dz.sum(0)}, {"W": hidden.T @ d, "b": d.sum(0)}]}

    return loss, gradient, params


def wrong(gradient, change):
    """The gradient with a change applied to its result."""

    @functools.wraps(gradient)
    def changed(p):
        g = gradient(p)
        change(g)
        return g

    return changed
