"""Attention and a transformer's feed-forward part written by hand. Sequences are (batch, time, width)."""

from __future__ import annotations

import numpy as np

from .slip import Network, Parameters, Slip, softmax


def attention(rng: np.random.Generator) -> Network:
    """One causal head: softmax(Q K' / sqrt(d)) V, an output projection, a skip path, squared error."""
    m, steps, d = 2, 4, 3
    X, Y = rng.normal(size=(m, steps, d)), rng.normal(size=(m, steps, d))
    causal = np.tril(np.ones((steps, steps), bool))
    params = {name: rng.normal(size=(d, d)) for name in ("Wq", "Wk", "Wv", "Wo")} | {"b": rng.normal(size=d)}

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        q, k, v = X @ p["Wq"], X @ p["Wk"], X @ p["Wv"]
        a = softmax(np.where(causal, q @ k.swapaxes(1, 2) / np.sqrt(d), -np.inf))
        return q, k, v, a, a @ v, X + (a @ v) @ p["Wo"] + p["b"] - Y

    def loss(p: Parameters) -> float:
        return float((forward(p)[-1] ** 2).sum() / (2 * m * steps))

    def backward(p: Parameters, slip: Slip) -> Parameters:
        q, k, v, a, context, error = forward(p)
        dout = error / (m * steps)
        dout = slip("averaged over the batch only", dout, dout * steps)
        dcontext = dout @ slip("Wo not transposed", p["Wo"].T, p["Wo"])
        da = dcontext @ v.swapaxes(1, 2)
        dv = slip("attention not transposed", a.swapaxes(1, 2), a) @ dcontext
        ds = a * (da - slip("softmax without its sum", (da * a).sum(-1, keepdims=True), 0))
        ds = slip("softmax derivative of a sigmoid", ds, da * a * (1 - a))
        ds = slip("softmax sum over queries", ds, a * (da - (da * a).sum(-2, keepdims=True)))
        ds = slip("softmax derivative left out", ds, da * causal)
        ds = ds / slip("scores divided by d", np.sqrt(d), d)
        ds = slip("square root of d forgotten", ds, ds * np.sqrt(d))
        dq, dk = ds @ k, slip("scores not transposed", ds.swapaxes(1, 2), ds) @ q
        dq, dk = slip("dq and dk exchanged", (dq, dk), (dk, dq))

        def weight(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
            return x.reshape(-1, d).T @ dy.reshape(-1, d)

        return {
            "Wq": slip("dWq transposed", weight(X, dq), weight(X, dq).T),
            "Wk": weight(X, dk),
            "Wv": slip("dWv of the first sequence only", weight(X, dv), weight(X[:1], dv[:1])),
            "Wo": slip("dWo from the values", weight(context, dout), weight(v, dout)),
            "b": slip("db summed over the batch only", dout.sum((0, 1)), dout.sum(0)[0]),
        }

    return Network(loss, backward, params)


def feed_forward(rng: np.random.Generator) -> Network:
    """GELU (tanh form) between two dense layers, learned positions, weights tied to a read-out, log-sum-exp loss."""
    m, steps, d, n = 2, 3, 4, 5
    X, T = rng.normal(size=(m, steps, d)), softmax(rng.normal(size=(m, steps, d)))
    c = np.sqrt(2 / np.pi)
    params = {
        "P": rng.normal(size=(steps, d)), "W1": rng.normal(size=(d, n)), "b1": rng.normal(size=n),
        "W2": rng.normal(size=(n, d)), "b2": rng.normal(size=d),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        x = X + p["P"]
        z = x @ p["W1"] + p["b1"]
        u = np.tanh(c * (z + 0.044715 * z**3))
        h = 0.5 * z * (1 + u)
        return x, z, u, h, softmax(x + h @ p["W2"] + p["b2"])

    def loss(p: Parameters) -> float:
        return float(-(T * np.log(forward(p)[-1])).sum() / (m * steps))

    def backward(p: Parameters, slip: Slip) -> Parameters:
        x, z, u, h, prob = forward(p)
        ds = (prob - T) / (m * steps)
        ds = slip("temperature of two", ds, 2 * ds)
        dh = ds @ p["W2"].T
        inner = slip("GELU's cubic forgotten", c * (1 + 3 * 0.044715 * z**2), c)
        dz = dh * (0.5 * (1 + u) + slip("GELU's product rule forgotten", 0.5 * z * (1 - u**2) * inner, 0))
        dz = slip("GELU treated as ReLU", dz, dh * (z > 0))
        dx = dz @ p["W1"].T + slip("skip path forgotten", ds, 0)
        dP = dx.sum(0)
        dP = slip("positions shifted by one", dP, np.roll(dP, 1, axis=0))
        dP = slip("positions in reverse", dP, dP[::-1])
        dP = slip("last position never updated", dP, dP * np.array([1, 1, 0])[:, None])
        return {
            "P": slip("positions averaged over the batch", dP, dP / m),
            "W1": np.einsum("btd,btn->dn", slip("dW1 without the positions", x, X), dz),
            "b1": dz.sum((0, 1)),
            "W2": slip("dW2 from the pre-activation", h, z).reshape(-1, n).T @ ds.reshape(-1, d),
            "b2": slip("db2 averaged over time", ds.sum((0, 1)), ds.mean(1).sum(0)),
        }

    return Network(loss, backward, params)
