"""Recurrent networks written by hand, backpropagation through time. Inputs are (time, batch, n_in)."""

from __future__ import annotations

import numpy as np

from .slip import Network, Parameters, Slip, cross_entropy, one_hot, sigmoid, softmax


def rnn(rng: np.random.Generator) -> Network:
    """tanh recurrence over 4 steps with an output at every step, softmax cross-entropy, a learned start."""
    steps, m, n = 4, 3, 4
    X, labels = rng.normal(size=(steps, m, 3)), rng.integers(0, 3, (steps, m))
    params = {
        "h0": rng.normal(size=n), "Wx": rng.normal(size=(3, n)), "Wh": rng.normal(size=(n, n)) / 2,
        "b": rng.normal(size=n), "Wy": rng.normal(size=(n, 3)), "c": rng.normal(size=3),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[list[np.ndarray], list[np.ndarray]]:
        h = [np.broadcast_to(p["h0"], (m, n))]
        for t in range(steps):
            h.append(np.tanh(X[t] @ p["Wx"] + h[t] @ p["Wh"] + p["b"]))
        return h, [softmax(state @ p["Wy"] + p["c"]) for state in h[1:]]

    def loss(p: Parameters) -> float:
        return sum(cross_entropy(q, labels[t]) for t, q in enumerate(forward(p)[1]))

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, prob = forward(p)
        g = {name: np.zeros_like(value) for name, value in p.items()}
        carried = np.zeros((m, n))
        last = slip("first step left out", 0, 1)
        for t in reversed(range(last, steps)):
            ds = (prob[t] - one_hot(labels[t], 3)) / m
            ds = slip("averaged over the steps too", ds, ds / steps)
            g["Wy"] = slip("dWy overwritten each step", g["Wy"], 0) + h[t + 1].T @ ds
            g["c"] = slip("dc overwritten each step", g["c"], 0) + ds.sum(0)
            dh = ds @ p["Wy"].T + slip("state gradient not carried", carried, 0)
            dz = dh * (1 - slip("derivative of the previous state", h[t + 1], h[t]) ** 2)
            g["Wx"] = slip("dWx of the first step only", g["Wx"], 0) + X[t].T @ dz
            g["Wh"] += slip("dWh with the new state", h[t], h[t + 1]).T @ dz
            g["b"] += slip("db negated", dz.sum(0), -dz.sum(0))
            carried = dz @ slip("Wh not transposed", p["Wh"].T, p["Wh"])
            carried = slip("truncated after two steps", carried, carried * (t != 2))
            carried = slip("output gradient carried twice", carried, carried + ds @ p["Wy"].T)
        g["h0"] = slip("dh0 forgotten", carried.sum(0), np.zeros(n))
        g["h0"] = slip("dh0 is a mean", g["h0"], g["h0"] / m)
        g["Wh"] = slip("dWh transposed", g["Wh"], g["Wh"].T)
        g["Wh"] = slip("dWh averaged over the steps", g["Wh"], g["Wh"] / steps)
        return g

    return Network(loss, backward, params)


def lstm(rng: np.random.Generator) -> Network:
    """A long short-term memory over 3 steps: gates i, f, o, g side by side; squared error on the last state."""
    steps, m, n = 3, 3, 3
    X, Y = rng.normal(size=(steps, m, 2)), rng.normal(size=(m, 2))
    params = {
        "W": rng.normal(size=(2, 4 * n)), "U": rng.normal(size=(n, 4 * n)) / 2, "b": rng.normal(size=4 * n),
        "V": rng.normal(size=(n, 2)),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[list[np.ndarray], ...]:
        h, c, gates = [np.zeros((m, n))], [np.zeros((m, n))], []
        for t in range(steps):
            z = X[t] @ p["W"] + h[t] @ p["U"] + p["b"]
            i, f, o = (sigmoid(z[:, k * n : (k + 1) * n]) for k in range(3))
            g = np.tanh(z[:, 3 * n :])
            gates.append((i, f, o, g))
            c.append(f * c[t] + i * g)
            h.append(o * np.tanh(c[t + 1]))
        return h, c, gates

    def loss(p: Parameters) -> float:
        return float(((forward(p)[0][-1] @ p["V"] - Y) ** 2).sum() / m)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, c, gates = forward(p)
        dout = 2 * (h[-1] @ p["V"] - Y) / m
        grad = {name: np.zeros_like(value) for name, value in p.items()}
        grad["V"] = slip("dV from the cell", h[-1], c[-1]).T @ dout
        dh, dc = dout @ p["V"].T, np.zeros((m, n))
        for t in reversed(range(steps)):
            i, f, o, g = gates[t]
            tanh_c = np.tanh(c[t + 1])
            dc = slip("cell gradient not carried", dc, 0) + dh * o * slip("tanh of the cell left out", 1 - tanh_c**2, 1)
            do = dh * slip("output gate with the cell itself", tanh_c, c[t + 1]) * o * (1 - o)
            df = dc * slip("forget gate with the new cell", c[t], c[t + 1]) * f * (1 - f)
            di = dc * g * i * (1 - i)
            dg = dc * i * slip("candidate with the sigmoid's derivative", 1 - g**2, g * (1 - g))
            order = slip("input and forget gate exchanged", (di, df, do, dg), (df, di, do, dg))
            dz = np.hstack(slip("output gate missing", order, (di, df, 0 * do, dg)))
            grad["W"] += X[t].T @ dz
            grad["U"] += h[t].T @ dz
            grad["b"] = slip("db overwritten each step", grad["b"], 0) + dz.sum(0)
            dh = slip("state gradient not carried", dz @ p["U"].T, 0)
            dc = dc * slip("forget gate forgotten", f, 1)
        grad["b"] = slip("forget bias counted twice", grad["b"], grad["b"] * np.repeat([1, 2, 1, 1], n))
        return grad

    return Network(loss, backward, params)


def gru(rng: np.random.Generator) -> Network:
    """A gated recurrent unit over 3 steps, squared error on the last state."""
    steps, m, n = 3, 3, 3
    X, Y = rng.normal(size=(steps, m, 2)), rng.normal(size=(m, n))
    params = {
        "Wz": rng.normal(size=(2, n)), "Uz": rng.normal(size=(n, n)), "Wr": rng.normal(size=(2, n)),
        "Ur": rng.normal(size=(n, n)), "Wn": rng.normal(size=(2, n)), "Un": rng.normal(size=(n, n)),
        "b": rng.normal(size=n),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[list[np.ndarray], list[tuple[np.ndarray, ...]]]:
        h, gates = [np.full((m, n), 0.5)], []
        for t in range(steps):
            z = sigmoid(X[t] @ p["Wz"] + h[t] @ p["Uz"])
            r = sigmoid(X[t] @ p["Wr"] + h[t] @ p["Ur"])
            new = np.tanh(X[t] @ p["Wn"] + (r * h[t]) @ p["Un"] + p["b"])
            gates.append((z, r, new))
            h.append((1 - z) * new + z * h[t])
        return h, gates

    def loss(p: Parameters) -> float:
        return float(((forward(p)[0][-1] - Y) ** 2).sum() / (2 * m))

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, gates = forward(p)
        grad = {name: np.zeros_like(value) for name, value in p.items()}
        dh = (h[-1] - Y) / m
        for t in reversed(range(steps)):
            z, r, new = gates[t]
            dz = dh * slip("update gate with the wrong sign", h[t] - new, new - h[t]) * z * (1 - z)
            dz = slip("update gate forgets the new state", dz, dh * h[t] * z * (1 - z))
            dnew = dh * slip("gate not complemented", 1 - z, z) * (1 - new**2)
            dgated = dnew @ p["Un"].T
            dr = dgated * h[t] * r * (1 - r)
            dr = slip("reset gate without derivative", dr, dgated * h[t])
            grad["Wz"] += X[t].T @ dz
            grad["Uz"] += h[t].T @ dz
            grad["Wr"] += X[t].T @ dr
            grad["Ur"] = slip("dUr overwritten each step", grad["Ur"], 0) + h[t].T @ dr
            grad["Wn"] += X[t].T @ dnew
            grad["Un"] += slip("dUn without the reset gate", r * h[t], h[t]).T @ dnew
            grad["b"] += dnew.sum(0)
            direct = slip("direct path forgotten", dh * z, 0)
            gated = slip("path of the reset gate forgotten", dgated * r, 0)
            dh = direct + gated + dz @ p["Uz"].T + dr @ p["Ur"].T
        grad["Wn"], grad["Wr"] = slip("dWn and dWr exchanged", (grad["Wn"], grad["Wr"]), (grad["Wr"], grad["Wn"]))
        grad["Uz"] = slip("dUz transposed", grad["Uz"], grad["Uz"].T)
        return grad

    return Network(loss, backward, params)
