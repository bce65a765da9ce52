"""Normalizations written by hand: over the batch, the features, root mean square, weights, unit vectors."""

from __future__ import annotations

import numpy as np

from .slip import Network, Parameters, Slip, cross_entropy, one_hot, softmax

EPSILON = 1e-3


def batch_norm(rng: np.random.Generator) -> Network:
    """Dense, batch normalization, ReLU, dense, softmax cross-entropy."""
    m, n = 9, 5
    X, labels = rng.normal(size=(m, 4)), rng.integers(0, 3, m)
    params = {
        "W1": rng.normal(size=(4, n)), "gamma": 1 + 0.5 * rng.normal(size=n), "beta": rng.normal(size=n),
        "W2": rng.normal(size=(n, 3)), "b2": rng.normal(size=3),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = X @ p["W1"]
        mean, inv = z.mean(0), 1 / np.sqrt(z.var(0) + EPSILON)
        x_hat = (z - mean) * inv
        y = p["gamma"] * x_hat + p["beta"]
        h = np.maximum(y, 0)
        return z, inv, x_hat, y, h, softmax(h @ p["W2"] + p["b2"])

    def loss(p: Parameters) -> float:
        return cross_entropy(forward(p)[-1], labels)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        z, inv, x_hat, y, h, prob = forward(p)
        ds = (prob - one_hot(labels, 3)) / m
        dh = ds @ p["W2"].T
        dy = slip("ReLU before the normalization", dh * (y > 0), dh * (z > 0))
        d = dy * slip("gamma forgotten in dx", p["gamma"], 1)
        mean_path = slip("mean path forgotten", d.mean(0), 0)
        variance_path = x_hat * (d * x_hat).mean(0)
        variance_path = slip("variance path forgotten", variance_path, 0)
        variance_path = slip("variance path halved", variance_path, variance_path / 2)
        variance_path = slip("unbiased variance in the backward pass", variance_path, variance_path * m / (m - 1))
        variance_path = slip("variance path not divided by m", variance_path, variance_path * m)
        dz = inv * (d - mean_path - variance_path)
        dz = slip("standard deviation forgotten", dz, dz / inv)
        dz = slip("inverse deviation squared", dz, dz * inv)
        dz = slip("statistics taken as constants", dz, inv * d)
        dgamma = (dy * x_hat).sum(0)
        dgamma = slip("dgamma from z", dgamma, (dy * z).sum(0))
        dgamma = slip("dgamma is a mean", dgamma, dgamma / m)
        dgamma = slip("dgamma summed over features", dgamma, np.full(n, dgamma.sum()))
        dbeta = dy.sum(0)
        dgamma, dbeta = slip("dgamma and dbeta exchanged", (dgamma, dbeta), (dbeta, dgamma))
        return {
            "W1": X.T @ dz,
            "gamma": dgamma,
            "beta": slip("dbeta with gamma in it", dbeta, dbeta * p["gamma"]),
            "W2": slip("dW2 from before the ReLU", h, y).T @ ds,
            "b2": ds.sum(0),
        }

    return Network(loss, backward, params)


def layer_norm(rng: np.random.Generator) -> Network:
    """Dense, layer normalization, tanh, dense, squared error."""
    m, n = 6, 6
    X, Y = rng.normal(size=(m, 4)), rng.normal(size=(m, 2))
    params = {
        "W1": rng.normal(size=(4, n)), "b1": rng.normal(size=n), "gamma": 1 + 0.5 * rng.normal(size=n),
        "beta": rng.normal(size=n), "W2": rng.normal(size=(n, 2)),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = X @ p["W1"] + p["b1"]
        inv = 1 / np.sqrt(z.var(1, keepdims=True) + EPSILON)
        x_hat = (z - z.mean(1, keepdims=True)) * inv
        h = np.tanh(p["gamma"] * x_hat + p["beta"])
        return inv, x_hat, h, h @ p["W2"] - Y

    def loss(p: Parameters) -> float:
        return float((forward(p)[-1] ** 2).sum() / m)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        inv, x_hat, h, error = forward(p)
        dout = 2 * error / m
        dy = (dout @ p["W2"].T) * (1 - h**2)
        d = dy * slip("gamma forgotten in dx", p["gamma"], 1)
        mean = slip("mean path forgotten", d.mean(1, keepdims=True), 0)
        mean = slip("mean taken over the batch", mean, d.mean(0, keepdims=True))
        variance = slip("variance path forgotten", x_hat * (d * x_hat).mean(1, keepdims=True), 0)
        variance = slip("variance path with the wrong sign", variance, -variance)
        dz = inv * (d - mean - variance)
        dz = slip("inverse deviation of the first row", dz, dz / inv * inv[:1])
        return {
            "W1": X.T @ dz,
            "b1": slip("db1 taken before the normalization", dz, dy).sum(0),
            "gamma": slip("dgamma summed over features", (dy * x_hat).sum(0), (dy * x_hat).sum(1)),
            "beta": slip("dbeta doubled", dy.sum(0), 2 * dy.sum(0)),
            "W2": h.T @ dout,
        }

    return Network(loss, backward, params)


def rms_norm(rng: np.random.Generator) -> Network:
    """Root mean square normalization, a gated unit (x W)(sigmoid-weighted x V), squared error."""
    m, n = 6, 5
    X, Y = rng.normal(size=(m, 4)), rng.normal(size=(m, 3))
    params = {
        "A": rng.normal(size=(4, n)), "g": 1 + 0.5 * rng.normal(size=n), "W": rng.normal(size=(n, 4)),
        "V": rng.normal(size=(n, 4)), "U": rng.normal(size=(4, 3)),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        x = X @ p["A"]
        inv = 1 / np.sqrt((x**2).mean(1, keepdims=True) + EPSILON)
        y = x * inv * p["g"]
        a, b = y @ p["W"], y @ p["V"]
        gate = 1 / (1 + np.exp(-b))
        return x, inv, y, a, b, gate, (a * b * gate) @ p["U"] - Y

    def loss(p: Parameters) -> float:
        return float((forward(p)[-1] ** 2).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        x, inv, y, a, b, gate, error = forward(p)
        dout = 2 * error / error.size
        dh = dout @ p["U"].T
        da = dh * b * gate
        swish = gate + b * gate * (1 - gate)
        db = dh * a * slip("swish derivative is the gate", swish, gate)
        db = slip("swish derivative is the sigmoid's", db, dh * a * gate * (1 - gate))
        dy = slip("gate's path forgotten", db @ p["V"].T, 0) + slip("linear path forgotten", da @ p["W"].T, 0)
        d = dy * p["g"]
        square = slip("norm taken as constant", x * inv**2 * (d * x).mean(1, keepdims=True), 0)
        square = slip("norm path summed, not averaged", square, square * n)
        dx = inv * (d - square)
        dW, dV = y.T @ da, y.T @ db
        dW, dV = slip("dW and dV exchanged", (dW, dV), (dV, dW))
        return {
            "A": X.T @ dx,
            "g": slip("dg without the inverse norm", (dy * x * inv).sum(0), (dy * x).sum(0)),
            "W": dW,
            "V": dV,
            "U": slip("dU without the gate", a * b * gate, a * b).T @ dout,
        }

    return Network(loss, backward, params)


def weight_norm(rng: np.random.Generator) -> Network:
    """Weights g v / |v| per unit, tanh, unit output vectors, dot product with targets."""
    m, n = 7, 4
    X, T = rng.normal(size=(m, 5)), rng.normal(size=(m, n))
    params = {"v": rng.normal(size=(5, n)), "g": 1 + 0.3 * rng.normal(size=n), "b": rng.normal(size=n)}

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        norm = np.sqrt((p["v"] ** 2).sum(0))
        direction = p["v"] / norm
        h = np.tanh(X @ (p["g"] * direction) + p["b"])
        length = np.sqrt((h**2).sum(1, keepdims=True))
        return norm, direction, h, length, h / length

    def loss(p: Parameters) -> float:
        return float(-(forward(p)[-1] * T).sum(1).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        norm, direction, h, length, u = forward(p)
        du = -T / m
        dh = (du - slip("projection of the unit vector forgotten", u * (du * u).sum(1, keepdims=True), 0)) / length
        dh = slip("length of the vector forgotten", dh, dh * length)
        dz = dh * (1 - h**2)
        dW = X.T @ dz
        dg = (dW * direction).sum(0)
        along = slip("weight norm's projection forgotten", direction * dg, 0)
        dv = p["g"] / norm * (dW - along)
        return {
            "v": slip("norm of v squared", dv, dv / norm),
            "g": slip("dg from v", dg, dg * norm),
            "b": slip("db negated", dz.sum(0), -dz.sum(0)),
        }

    return Network(loss, backward, params)
