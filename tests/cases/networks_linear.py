"""Linear models and their losses: support vector machine, elastic net, factorization machine, logistic regression."""

from __future__ import annotations

import numpy as np

from .slip import Network, Parameters, Slip, one_hot, sigmoid


def svm(rng: np.random.Generator) -> Network:
    """Multiclass support vector machine: sum over wrong classes of max(0, s_j - s_y + 1), mean over rows, L2."""
    m, k, reg = 9, 4, 0.3
    X, labels = rng.normal(size=(m, 5)), rng.integers(0, k, m)
    Y = one_hot(labels, k)
    params = {"W": rng.normal(size=(5, k)), "b": rng.normal(size=k)}

    def margins(p: Parameters) -> np.ndarray:
        s = X @ p["W"] + p["b"]
        return (s - s[np.arange(m), labels][:, None] + 1) * (1 - Y)

    def loss(p: Parameters) -> float:
        return float(np.maximum(margins(p), 0).sum() / m + reg * (p["W"] ** 2).sum())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        violated = (margins(p) > 0).astype(float)
        count = violated.sum(1, keepdims=True)
        ds = violated - slip("true class subtracted once", count, np.minimum(count, 1)) * slip(
            "true class forgotten", Y, 0
        )
        ds = slip("true class added", ds, violated + count * Y)
        ds = slip("margins instead of their signs", ds, np.maximum(margins(p), 0) - count * Y)
        ds = slip("margin of 0 used", ds, (margins(p) > 1 - Y) - (margins(p) > 1).sum(1, keepdims=True) * Y)
        ds = slip("rows not averaged", ds / m, ds)
        dW = X.T @ ds
        dW = slip("dW divided by m again", dW, dW / m)
        dW = slip("columns of dW rolled", dW, np.roll(dW, 1, axis=1))
        dW = dW + slip("L2 with a half", 2.0, 1.0) * reg * p["W"]
        dW = slip("L2 forgotten", dW, dW - 2 * reg * p["W"])
        db = ds.sum(0)
        db = slip("L2 on b", db, db + 2 * reg * p["b"])
        return {"W": dW, "b": slip("db summed over classes", db, np.full(k, db.sum() + ds[0, 0]))}

    return Network(loss, backward, params)


def elastic(rng: np.random.Generator) -> Network:
    """Linear regression with L1 and L2 penalties."""
    m, l1, l2 = 10, 0.4, 0.25
    X, Y = rng.normal(size=(m, 6)), rng.normal(size=(m, 3))
    params = {"W": rng.normal(size=(6, 3)), "b": rng.normal(size=3)}

    def loss(p: Parameters) -> float:
        error = X @ p["W"] + p["b"] - Y
        return float((error**2).sum() / (2 * m) + l1 * abs(p["W"]).sum() + l2 / 2 * (p["W"] ** 2).sum())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        W = p["W"]
        error = (X @ W + p["b"] - Y) / m
        dW = X.T @ error
        dW = dW + slip("L1 forgotten", l1, 0) * np.sign(W) + slip("L2 forgotten", l2, 0) * W
        dW = slip("L1 twice", dW, dW + l1 * np.sign(W))
        dW = slip("L1 with the wrong sign", dW, dW - 2 * l1 * np.sign(W))
        dW = slip("L1 without the sign", dW, dW + l1 * (1 - np.sign(W)))
        dW = slip("L2 not halved", dW, dW + l2 * W)
        dW = slip("penalties exchanged", dW, dW + (l2 - l1) * (np.sign(W) - W))
        dW = slip("L1 gradient is |W|", dW, dW + l1 * (abs(W) - np.sign(W)))
        dW = slip("dW is transposed in memory", dW, dW.T.reshape(dW.shape))
        db = error.sum(0)
        return {
            "W": dW,
            "b": slip("L1 on b", db, db + l1 * np.sign(p["b"])),
        }

    return Network(loss, backward, params)


def logistic(rng: np.random.Generator) -> Network:
    """Two layers of sigmoids and binary cross-entropy with a weight for the positive class."""
    m, positive = 9, 3.0
    X, t = rng.normal(size=(m, 5)), (rng.random((m, 2)) < 0.5).astype(float)
    params = {
        "W1": rng.normal(size=(5, 4)), "b1": rng.normal(size=4), "W2": rng.normal(size=(4, 2)), "b2": rng.normal(size=2)
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, np.ndarray]:
        h = sigmoid(X @ p["W1"] + p["b1"])
        return h, sigmoid(h @ p["W2"] + p["b2"])

    def loss(p: Parameters) -> float:
        q = forward(p)[1]
        return float(-(positive * t * np.log(q) + (1 - t) * np.log(1 - q)).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, q = forward(p)
        dz2 = ((1 - t) * q - positive * t * (1 - q)) / t.size
        dz2 = slip("class weight forgotten", dz2, (q - t) / t.size)
        dz2 = slip("targets subtracted the wrong way", dz2, -dz2)
        dz2 = slip("averaged over rows only", dz2, dz2 * t.size / m)
        dz2 = slip("sigmoid derivative applied twice", dz2, dz2 * q * (1 - q))
        dh = dz2 @ p["W2"].T
        dz1 = dh * h * slip("sigmoid derivative h", 1 - h, 1)
        dz1 = slip("sigmoid derivative 1 - h squared", dz1, dh * (1 - h**2))
        dz1 = slip("sigmoid derivative of h", dz1, dh * sigmoid(h) * (1 - sigmoid(h)))
        dz1 = slip("second layer's derivative missing", dz1, dh)
        return {
            "W1": slip("dW1 is upside down", X.T @ dz1, (X.T @ dz1)[::-1]),
            "b1": slip("db1 of the first example", dz1.sum(0), dz1[0]),
            "W2": slip("dW2 keeps the last example's only", h.T @ dz2, h[-1:].T @ dz2[-1:]),
            "b2": dz2.sum(0),
        }

    return Network(loss, backward, params)


def factorization(rng: np.random.Generator) -> Network:
    """Factorization machine: w0 + x w + half of ((x V)^2 - x^2 V^2) summed, squared error."""
    m = 9
    X, y = rng.normal(size=(m, 5)), rng.normal(size=m)
    params = {"w0": rng.normal(size=()), "w": rng.normal(size=5), "V": rng.normal(size=(5, 3))}

    def residuals(p: Parameters) -> np.ndarray:
        s = X @ p["V"]
        return p["w0"] + X @ p["w"] + 0.5 * (s**2 - X**2 @ p["V"] ** 2).sum(1) - y

    def loss(p: Parameters) -> float:
        return float((residuals(p) ** 2).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        r = 2 * residuals(p) / m
        own = (X**2).T @ r[:, None] * p["V"]
        dV = X.T @ (r[:, None] * (X @ p["V"])) - slip("own products forgotten", own, 0)
        dV = slip("half of the interaction kept", dV, dV / 2)
        dV = slip("own products added", dV, dV + 2 * own)
        dV = slip("V of the first factor for all", dV, np.repeat(dV[:, :1], 3, axis=1))
        return {
            "w0": slip("dw0 is a mean", r.sum(), r.mean()),
            "w": slip("dw without the last feature", X.T @ r, np.append((X.T @ r)[:-1], 0)),
            "V": dV,
        }

    return Network(loss, backward, params)
