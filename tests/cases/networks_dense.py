"""Fully connected networks written by hand. X is (m, n_in), W is (n_in, n_out)."""

from __future__ import annotations

import numpy as np

from .slip import Network, Parameters, Slip, cross_entropy, one_hot, softmax


def mlp(rng: np.random.Generator) -> Network:
    """5-6-4-3 with tanh, ReLU and softmax cross-entropy, L2 on the weights: the network of the classic exercise."""
    m, lam = 8, 0.7
    X, labels = rng.normal(size=(m, 5)), rng.integers(0, 3, m)
    Y = one_hot(labels, 3)
    params = {
        "W1": rng.normal(size=(5, 6)), "b1": rng.normal(size=6),
        "W2": rng.normal(size=(6, 4)), "b2": rng.normal(size=4) + 0.5,
        "W3": rng.normal(size=(4, 3)), "b3": rng.normal(size=3),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        h1 = np.tanh(X @ p["W1"] + p["b1"])
        z2 = h1 @ p["W2"] + p["b2"]
        h2 = np.maximum(z2, 0)
        return h1, z2, h2, softmax(h2 @ p["W3"] + p["b3"])

    def loss(p: Parameters) -> float:
        return cross_entropy(forward(p)[-1], labels) + lam / (2 * m) * sum(float((p[w] ** 2).sum()) for w in weights)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h1, z2, h2, prob = forward(p)
        dz3 = slip("mean forgotten", (prob - Y) / m, prob - Y)
        dz3 = slip("loss gradient negated", dz3, -dz3)
        dz3 = slip("divided by m and by n", dz3, dz3 / 3)
        dz3 = slip("one-hot forgotten", dz3, prob / m)
        dz3 = slip("labels shifted by one", dz3, (prob - np.roll(Y, 1, axis=1)) / m)
        dh2 = slip("backprop without W3", dz3 @ p["W3"].T, dz3 @ np.ones((3, 4)))
        dz2 = dh2 * (z2 > 0)
        dz2 = slip("ReLU derivative left out", dz2, dh2)
        dz2 = slip("ReLU derivative is the output", dz2, dh2 * h2)
        dz2 = slip("ReLU mask negated", dz2, dh2 * (z2 <= 0))
        dh1 = dz2 @ p["W2"].T
        dz1 = dh1 * (1 - h1**2)
        dz1 = slip("tanh derivative is 1 - h", dz1, dh1 * (1 - h1))
        dz1 = slip("tanh derivative squared twice", dz1, dh1 * (1 - h1**2) ** 2)
        dz1 = slip("tanh derivative is the sigmoid's", dz1, dh1 * h1 * (1 - h1))
        dz1 = slip("tanh derivative of a tanh", dz1, dh1 * (1 - np.tanh(h1) ** 2))
        dz1 = slip("tanh derivative left out", dz1, dh1)
        dW3, dW2, dW1 = h2.T @ dz3, h1.T @ dz2, X.T @ dz1
        db3, db2, db1 = dz3.sum(0), dz2.sum(0), dz1.sum(0)
        dW2 = slip("dW2 doubled", dW2, 2 * dW2)
        dW1 = slip("dW1 negated", dW1, -dW1)
        dW3 = slip("dW3 without its first row", dW3, np.vstack([0 * dW3[:1], dW3[1:]]))
        dW2 = slip("one entry of dW2 zero", dW2, np.where(np.arange(24).reshape(6, 4) == 14, 0, dW2))
        dW2 = slip("dW2 from the input of tanh", dW2, (X @ p["W1"] + p["b1"]).T @ dz2)
        dW3 = slip("dW3 in the other order", dW3, (dz3.T @ h2).reshape(4, 3))
        dW1 = slip("rows of dW1 reversed", dW1, dW1[::-1])
        dW1 = slip("columns of dW1 rolled", dW1, np.roll(dW1, 1, axis=1))
        dW2 = slip("last column of dW2 missing", dW2, np.hstack([dW2[:, :-1], 0 * dW2[:, -1:]]))
        dW2 = slip("dW2 clipped", dW2, np.clip(dW2, -0.05, 0.05))
        dW1 = slip("dW1 in half precision", dW1, dW1.astype(np.float16).astype(float))
        dW3 = slip("last example dropped from dW3", dW3, h2[:-1].T @ dz3[:-1])
        db1 = slip("db1 times four", db1, 4 * db1)
        db2 = slip("db2 is a mean", db2, dz2.mean(0))
        db3 = slip("db3 forgotten", db3, 0 * db3)
        db1 = slip("db1 summed over units", db1, np.full(6, dz1.sum()))
        db2 = slip("db2 of the last example only", db2, dz2[-1])
        dW1 = slip("L2 not in dW1", dW1, dW1 - lam / m * p["W1"]) + lam / m * p["W1"]
        dW2 = dW2 + slip("L2 twice in dW2", 1, 2) * lam / m * p["W2"]
        dW3 = dW3 + slip("L2 subtracted in dW3", 1, -1) * lam / m * p["W3"]
        db1 = slip("L2 on the bias b1", db1, db1 + lam / m * p["b1"])
        dW2 = slip("L2 halved in dW2", dW2, dW2 - lam / (2 * m) * p["W2"])
        dW3 = slip("L2 of dW3 not divided by m", dW3, dW3 + (lam - lam / m) * p["W3"])
        dW1 = slip("L2 of dW1 with the sign of W1", dW1, dW1 + lam / m * (np.sign(p["W1"]) - p["W1"]))
        dW2 = slip("dW2 and its penalty doubled", dW2, 2 * dW2)
        return {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2, "W3": dW3, "b3": db3}

    weights = ("W1", "W2", "W3")
    return Network(loss, backward, params)


def dropout(rng: np.random.Generator) -> Network:
    """6-8-5-3, tanh, with one frozen inverted mask per hidden layer."""
    m, keep = 7, 0.6
    X, labels = rng.normal(size=(m, 6)), rng.integers(0, 3, m)
    mask1, mask2 = (rng.random((m, n)) < keep for n in (8, 5))
    params = {
        "W1": rng.normal(size=(6, 8)), "b1": rng.normal(size=8), "W2": rng.normal(size=(8, 5)),
        "b2": rng.normal(size=5), "W3": rng.normal(size=(5, 3)),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        h1 = np.tanh(X @ p["W1"] + p["b1"])
        d1 = h1 * mask1 / keep
        h2 = np.tanh(d1 @ p["W2"] + p["b2"])
        d2 = h2 * mask2 / keep
        return h1, d1, h2, d2, softmax(d2 @ p["W3"])

    def loss(p: Parameters) -> float:
        return cross_entropy(forward(p)[-1], labels)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h1, d1, h2, d2, prob = forward(p)
        dz3 = (prob - one_hot(labels, 3)) / m
        dd2 = dz3 @ p["W3"].T
        dh2 = dd2 * slip("mask 2 not applied", mask2 / keep, 1 / keep)
        dh2 = slip("keep_prob 2 not divided", dh2, dh2 * keep)
        dh2 = slip("mask 2 rolled by one row", dh2, dd2 * np.roll(mask2, 1, axis=0) / keep)
        dz2 = dh2 * (1 - h2**2)
        dz2 = slip("derivative from the dropped activation", dz2, dh2 * (1 - d2**2))
        dd1 = dz2 @ p["W2"].T
        dh1 = dd1 * mask1 / keep
        dh1 = slip("keep_prob 1 divided twice", dh1, dh1 / keep)
        dh1 = slip("mask 1 inverted", dh1, dd1 * ~mask1 / keep)
        dh1 = slip("mask 1 left out", dh1, dd1)
        dz1 = dh1 * (1 - h1**2)
        return {
            "W1": X.T @ dz1,
            "b1": dz1.sum(0),
            "W2": slip("dW2 from the activation before dropout", d1, h1).T @ dz2,
            "b2": slip("db2 divided by keep_prob", dz2.sum(0), dz2.sum(0) / keep),
            "W3": slip("dW3 not scaled", d2, d2 * keep).T @ dz3,
        }

    return Network(loss, backward, params)


def maxout(rng: np.random.Generator) -> Network:
    """A maxout layer of 4 units with 3 pieces, then mean squared error."""
    m, units, pieces = 6, 4, 3
    X, Y = rng.normal(size=(m, 5)), rng.normal(size=(m, 2))
    params = {
        "W": rng.normal(size=(5, units, pieces)), "b": rng.normal(size=(units, pieces)),
        "V": rng.normal(size=(units, 2)), "c": rng.normal(size=2),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = np.einsum("mi,iup->mup", X, p["W"]) + p["b"]
        h = z.max(-1)
        return z, h, h @ p["V"] + p["c"]

    def loss(p: Parameters) -> float:
        return float(((forward(p)[-1] - Y) ** 2).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        z, h, out = forward(p)
        dout = slip("2 of the square forgotten", 2.0, 1.0) * (out - Y) / slip("mean over rows only", Y.size, m)
        dh = dout @ p["V"].T
        winner = one_hot(z.argmax(-1), pieces)
        winner = slip("every piece gets the gradient", winner, np.ones_like(winner))
        winner = slip("the smallest piece wins", winner, one_hot(z.argmin(-1), pieces))
        winner = slip("winner of the first example for all", winner, np.broadcast_to(winner[:1], winner.shape))
        winner = slip("pieces rolled", winner, np.roll(winner, 1, axis=-1))
        dz = dh[..., None] * winner
        dW = np.einsum("mi,mup->iup", X, dz)
        dW = slip("units and pieces mixed up", dW, dW.swapaxes(1, 2).reshape(dW.shape))
        return {
            "W": dW,
            "b": slip("db of the winner's mean", dz.sum(0), dz.mean(0)),
            "V": slip("dV from the mean of the pieces", h, z.mean(-1)).T @ dout,
            "c": slip("dc negated", dout.sum(0), -dout.sum(0)),
        }

    return Network(loss, backward, params)


def tied(rng: np.random.Generator) -> Network:
    """An autoencoder whose decoder is the transposed encoder."""
    m = 7
    X = rng.normal(size=(m, 6))
    params = {"W": rng.normal(size=(6, 4)), "b": rng.normal(size=4), "c": rng.normal(size=6)}

    def forward(p: Parameters) -> tuple[np.ndarray, np.ndarray]:
        h = np.tanh(X @ p["W"] + p["b"])
        return h, h @ p["W"].T + p["c"]

    def loss(p: Parameters) -> float:
        return float(((forward(p)[1] - X) ** 2).sum() / (2 * m))

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, out = forward(p)
        dout = (out - X) / m
        dh = dout @ slip("decoder's weight not transposed back", p["W"], p["W"][::-1])
        dz = dh * (1 - h**2)
        decoder, encoder = dout.T @ h, X.T @ dz
        dW = slip("decoder overwritten", decoder, 0) + slip("encoder overwritten", encoder, 0)
        dW = slip("encoder counted twice", dW, dW + encoder)
        dW = slip("mean of the two uses", dW, dW / 2)
        dW = slip("decoder subtracted", dW, encoder - decoder)
        return {
            "W": dW,
            "b": slip("db from dh", dz, dh).sum(0),
            "c": slip("dc not divided by m", dout.sum(0), m * dout.sum(0)),
        }

    return Network(loss, backward, params)


def residual(rng: np.random.Generator) -> Network:
    """Two residual blocks x + tanh(x W + b) V and a mean squared error."""
    m, n = 6, 5
    X, Y = rng.normal(size=(m, n)), rng.normal(size=(m, n))
    params = {
        f"{name}{i}": rng.normal(size=shape) / 2
        for i in (1, 2)
        for name, shape in (("W", (n, 4)), ("b", 4), ("V", (4, n)))
    }

    def block(p: Parameters, i: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = np.tanh(x @ p[f"W{i}"] + p[f"b{i}"])
        return h, x + h @ p[f"V{i}"]

    def loss(p: Parameters) -> float:
        return float(((block(p, 2, block(p, 1, X)[1])[1] - Y) ** 2).sum() / m)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h1, x1 = block(p, 1, X)
        h2, x2 = block(p, 2, x1)
        dx2 = 2 * (x2 - Y) / m
        dz2 = (dx2 @ p["V2"].T) * (1 - h2**2)
        branch = dz2 @ p["W2"].T
        dx1 = slip("skip path of block 2 forgotten", dx2, 0) + slip("branch of block 2 forgotten", branch, 0)
        dx1 = slip("skip path counted twice", dx1, dx1 + dx2)
        dx1 = slip("skip and branch averaged", dx1, dx1 / 2)
        dz1 = (dx1 @ p["V1"].T) * (1 - h1**2)
        dz1 = slip("derivative of block 1 taken from block 2", dz1, (dx1 @ p["V1"].T) * (1 - h2**2))
        dW1, dW2 = X.T @ dz1, slip("dW2 from the network's input", x1, X).T @ dz2
        dW1, dW2 = slip("dW1 and dW2 exchanged", (dW1, dW2), (dW2, dW1))
        dV1, dV2 = h1.T @ dx1, h2.T @ dx2
        dV1, dV2 = slip("dV1 and dV2 exchanged", (dV1, dV2), (dV2, dV1))
        db1 = slip("db1 from block 2", dz1, dz2).sum(0)
        return {"W1": dW1, "b1": db1, "V1": dV1, "W2": dW2, "b2": dz2.sum(0), "V2": slip("dV2 halved", dV2, dV2 / 2)}

    return Network(loss, backward, params)


def embedding(rng: np.random.Generator) -> Network:
    """Bag of words: the mean of embedded tokens (some repeated), a dense layer, softmax cross-entropy."""
    m, words, width, length = 6, 9, 4, 5
    tokens = rng.integers(0, words - 1, (m, length))  # the last word is never used
    tokens[:, 1] = tokens[:, 0]
    labels = rng.integers(0, 3, m)
    params = {"E": rng.normal(size=(words, width)), "W": rng.normal(size=(width, 3)), "b": rng.normal(size=3)}

    def forward(p: Parameters) -> tuple[np.ndarray, np.ndarray]:
        h = p["E"][tokens].mean(1)
        return h, softmax(h @ p["W"] + p["b"])

    def loss(p: Parameters) -> float:
        return cross_entropy(forward(p)[1], labels)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, prob = forward(p)
        dz = (prob - one_hot(labels, 3)) / m
        dh = slip("mean over the tokens forgotten", dz @ p["W"].T / length, dz @ p["W"].T)
        dE = np.zeros_like(p["E"])
        each = np.repeat(dh[:, None], length, axis=1)
        index = slip("tokens off by one", tokens, (tokens + 1) % words)
        np.add.at(dE, index, each)
        overwritten = np.zeros_like(dE)
        overwritten[tokens] = each
        dE = slip("repeated tokens overwritten", dE, overwritten)
        buffered = np.zeros_like(dE)
        for row in range(m):
            buffered[tokens[row]] += each[row]  # a repeated index counts once
        dE = slip("repeats within a row count once", dE, buffered)
        dE = slip("padding row cleared", dE, np.where(np.arange(words)[:, None] == tokens[0, 0], 0, dE))
        dE = slip(
            "row divided by its frequency",
            dE,
            dE / np.maximum(np.bincount(tokens.ravel(), minlength=words), 1)[:, None],
        )
        return {
            "E": dE,
            "W": slip("dW from the sum of the tokens", h, h * length).T @ dz,
            "b": slip("db summed with the wrong sign", dz.sum(0), -dz.sum(0)),
        }

    return Network(loss, backward, params)
