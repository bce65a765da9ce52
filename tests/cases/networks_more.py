"""Networks of other kinds, written by hand, with places for mistakes that the diagnosis was not tuned on."""

from __future__ import annotations

import numpy as np

from .slip import Network, Parameters, Slip, cross_entropy, one_hot, sigmoid, softmax


def reset_after_gru(rng: np.random.Generator) -> Network:
    """A gated recurrent unit that resets after the product, over 4 steps; squared error at every step."""
    steps, m, n = 4, 3, 4
    X, Y = rng.normal(size=(steps, m, 3)), rng.normal(size=(steps, m, n))
    params = {
        "W": rng.normal(size=(3, 3 * n)) / 2, "U": rng.normal(size=(n, 3 * n)) / 2, "b": rng.normal(size=3 * n) / 2,
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[list, ...]:
        h, kept = [np.zeros((m, n))], []
        for t in range(steps):
            a, u = X[t] @ p["W"] + p["b"], h[t] @ p["U"]
            z, r = sigmoid(a[:, :n] + u[:, :n]), sigmoid(a[:, n : 2 * n] + u[:, n : 2 * n])
            c = np.tanh(a[:, 2 * n :] + r * u[:, 2 * n :])
            kept.append((z, r, c, u[:, 2 * n :]))
            h.append(z * h[t] + (1 - z) * c)
        return h, kept

    def loss(p: Parameters) -> float:
        return float(((np.array(forward(p)[0][1:]) - Y) ** 2).sum() / m)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, kept = forward(p)
        g = {name: np.zeros_like(value) for name, value in p.items()}
        carried = np.zeros((m, n))
        for t in reversed(range(steps)):
            z, r, c, u = kept[t]
            dh = carried + 2 * (h[t + 1] - Y[t]) / m
            dc = dh * slip("candidate weighted by z", 1 - z, z) * (1 - c * c)
            dz = dh * (h[t] - c) * z * (1 - z)
            dr = dc * u * r * (1 - r)
            da = np.hstack([dz, dr, dc])
            du = np.hstack([dz, dr, slip("reset gate left out of the product", dc * r, dc)])
            g["W"] += X[t].T @ da
            g["U"] += slip("dU with the new state", h[t], h[t + 1]).T @ du
            g["b"] += da.sum(0)
            carried = du @ p["U"].T + slip("direct path through z forgotten", dh * z, 0)
        return g

    return Network(loss, backward, params)


def group_norm(rng: np.random.Generator) -> Network:
    """Dense, normalization over groups of channels, ReLU, dense; cross entropy."""
    m, groups, size = 4, 2, 3
    n = groups * size
    X, labels = rng.normal(size=(m, 5)), rng.integers(0, 3, m)
    params = {
        "W": rng.normal(size=(5, n)), "gamma": 1 + 0.3 * rng.normal(size=n), "beta": 0.3 * rng.normal(size=n),
        "V": rng.normal(size=(n, 3)), "c": rng.normal(size=3),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = (X @ p["W"]).reshape(m, groups, size)
        inv = 1 / np.sqrt(z.var(-1, keepdims=True) + 1e-3)
        x_hat = (z - z.mean(-1, keepdims=True)) * inv
        y = x_hat.reshape(m, n) * p["gamma"] + p["beta"]
        return x_hat, inv, y, softmax(np.maximum(y, 0) @ p["V"] + p["c"])

    def loss(p: Parameters) -> float:
        return cross_entropy(forward(p)[-1], labels)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        x_hat, inv, y, q = forward(p)
        ds = (q - one_hot(labels, 3)) / m
        dy = ds @ p["V"].T * (y > 0)
        d = (dy * slip("gamma left out", p["gamma"], 1)).reshape(m, groups, size)
        mean = slip("mean over all channels", d.mean(-1, keepdims=True), d.mean((1, 2), keepdims=True))
        second = slip("variance path forgotten", x_hat * (d * x_hat).mean(-1, keepdims=True), 0)
        dz = (inv * (d - mean - second)).reshape(m, n)
        return {
            "W": X.T @ dz,
            "gamma": slip("dgamma from y", (dy * x_hat.reshape(m, n)).sum(0), (dy * y).sum(0)),
            "beta": dy.sum(0),
            "V": np.maximum(y, 0).T @ ds,
            "c": ds.sum(0),
        }

    return Network(loss, backward, params)


def depthwise(rng: np.random.Generator) -> Network:
    """A depthwise separable convolution in one dimension: per channel, then across channels; tanh, mean, squares."""
    m, channels, length, k = 3, 4, 8, 3
    X, Y = rng.normal(size=(m, channels, length)), rng.normal(size=(m, 3))
    params = {
        "D": rng.normal(size=(channels, k)), "d": rng.normal(size=channels), "P": rng.normal(size=(channels, 3)),
        "c": rng.normal(size=3),
    }  # fmt: skip
    out = length - k + 1
    windows = np.stack([X[:, :, i : i + out] for i in range(k)], -1)

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        a = np.tanh(np.einsum("mclk,ck->mcl", windows, p["D"]) + p["d"][:, None])
        return a, np.einsum("mcl,cf->mlf", a, p["P"]).mean(1) + p["c"]

    def loss(p: Parameters) -> float:
        return float(((forward(p)[1] - Y) ** 2).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        a, y = forward(p)
        dy = 2 * (y - Y) / Y.size
        spread = slip("mean over positions not divided", 1 / out, 1.0)
        da = np.repeat((dy @ p["P"].T)[:, :, None], out, 2) * spread
        dz = da * (1 - a * a)
        kernel = np.einsum("mclk,mcl->ck", windows, dz)
        kernel = slip("kernel flipped", kernel, kernel[:, ::-1])
        kernel = slip("channels summed in the kernel", kernel, np.broadcast_to(kernel.sum(0), kernel.shape).copy())
        return {
            "D": kernel,
            "d": slip("bias of the first position only", dz.sum((0, 2)), dz[:, :, 0].sum(0)),
            "P": np.einsum("mcl,mf->cf", a, dy) / out,
            "c": dy.sum(0),
        }

    return Network(loss, backward, params)


def siamese(rng: np.random.Generator) -> Network:
    """Two inputs through one tanh layer and one linear layer; contrastive loss with a margin."""
    m = 8
    A, B, same = rng.normal(size=(m, 4)), rng.normal(size=(m, 4)), rng.integers(0, 2, m).astype(float)
    same[:2] = 0, 1
    params = {"W": rng.normal(size=(4, 5)), "b": rng.normal(size=5), "V": rng.normal(size=(5, 3)) / 2}

    def branch(p: Parameters, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = np.tanh(x @ p["W"] + p["b"])
        return h, h @ p["V"]

    def forward(p: Parameters) -> tuple:
        one, two = branch(p, A), branch(p, B)
        diff = one[1] - two[1]
        return one[0], two[0], diff, np.sqrt((diff**2).sum(1) + 1e-9)

    def loss(p: Parameters) -> float:
        d = forward(p)[-1]
        return float((same * d**2 + (1 - same) * np.maximum(2 - d, 0) ** 2).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        ha, hb, diff, d = forward(p)
        apart = slip("margin's sign", -1.0, 1.0) * 2 * (1 - same) * np.maximum(2 - d, 0)
        apart = slip("pairs that differ forgotten", apart, 0 * apart)
        dd = (2 * same * d + apart) / m
        ddiff = (dd / slip("distance not divided out", d, 1.0))[:, None] * diff
        za, zb = ddiff @ p["V"].T * (1 - ha**2), -ddiff @ p["V"].T * (1 - hb**2)
        second = slip("second branch not added", 1.0, 0.0)
        return {
            "W": A.T @ za + second * B.T @ zb,
            "b": za.sum(0) + second * zb.sum(0),
            "V": ha.T @ ddiff - second * hb.T @ ddiff,
        }

    return Network(loss, backward, params)


def crf(rng: np.random.Generator) -> Network:
    """A linear-chain conditional random field on linear emissions: minus the log-likelihood of the labels."""
    m, length, k = 3, 5, 4
    X, labels = rng.normal(size=(m, length, 3)), rng.integers(0, k, (m, length))
    params = {
        "W": rng.normal(size=(3, k)), "b": rng.normal(size=k), "T": rng.normal(size=(k, k)),
        "start": rng.normal(size=k),
    }  # fmt: skip

    def total(z: np.ndarray, axis: int) -> np.ndarray:
        top = z.max(axis, keepdims=True)
        return np.log(np.exp(z - top).sum(axis)) + top.squeeze(axis)

    def messages(p: Parameters) -> tuple[np.ndarray, ...]:
        e = X @ p["W"] + p["b"]
        alpha, beta = np.zeros((m, length, k)), np.zeros((m, length, k))
        alpha[:, 0] = p["start"] + e[:, 0]
        for t in range(1, length):
            alpha[:, t] = total(alpha[:, t - 1, :, None] + p["T"], 1) + e[:, t]
        for t in reversed(range(length - 1)):
            beta[:, t] = total(p["T"] + (e[:, t + 1] + beta[:, t + 1])[:, None], 2)
        return e, alpha, beta, total(alpha[:, -1], 1)

    def loss(p: Parameters) -> float:
        e, _, _, z = messages(p)
        score = p["start"][labels[:, 0]] + np.take_along_axis(e, labels[..., None], 2)[..., 0].sum(1)
        score = score + p["T"][labels[:, :-1], labels[:, 1:]].sum(1)
        return float((z - score).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        e, alpha, beta, z = messages(p)
        unary = np.exp(alpha + slip("backward messages left out", beta, 0) - z[:, None, None])
        de = (unary - one_hot(labels, k)) / m
        pairs = alpha[:, :-1, :, None] + p["T"] + (e[:, 1:] + beta[:, 1:])[:, :, None] - z[:, None, None, None]
        expected = np.exp(pairs).sum((0, 1)) / m
        counts = np.zeros((k, k))
        np.add.at(counts, (labels[:, :-1].ravel(), labels[:, 1:].ravel()), 1 / m)
        lost = np.zeros((k, k))
        lost[labels[:, :-1].ravel(), labels[:, 1:].ravel()] = 1 / m
        counts = slip("repeated transitions counted once", counts, lost)
        dT = expected - slip("transitions read backwards", counts, counts.T)
        return {
            "W": np.einsum("mtf,mtk->fk", X, de),
            "b": de.sum((0, 1)),
            "T": dT,
            "start": slip("start from the last position", de[:, 0], de[:, -1]).sum(0),
        }

    return Network(loss, backward, params)


def masked_attention(rng: np.random.Generator) -> Network:
    """Two heads of causal attention with padding, an output layer; squared error on what is not padding."""
    m, length, n, heads = 2, 5, 6, 2
    size = n // heads
    X, Y = rng.normal(size=(m, length, n)), rng.normal(size=(m, length, n))
    valid = np.ones((m, length), bool)
    valid[1, 3:] = False
    allowed = np.tril(np.ones((length, length), bool)) & valid[:, None, None, :]
    params = {name: rng.normal(size=(n, n)) / 2 for name in ("Q", "K", "V", "O")}

    def split(z: np.ndarray) -> np.ndarray:
        return z.reshape(m, length, heads, size).transpose(0, 2, 1, 3)

    def join(z: np.ndarray) -> np.ndarray:
        return z.transpose(0, 2, 1, 3).reshape(m, length, n)

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        q, k, v = (split(X @ p[name]) for name in "QKV")
        s = np.where(allowed, q @ k.transpose(0, 1, 3, 2) / np.sqrt(size), -1e9)
        a = softmax(s)
        return q, k, v, a, join(a @ v)

    def loss(p: Parameters) -> float:
        return float((((forward(p)[-1] @ p["O"] - Y) ** 2).mean(-1) * valid).sum() / valid.sum())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        q, k, v, a, y = forward(p)
        kept = slip("padding not masked in the loss", valid, np.ones_like(valid))
        dout = 2 * (y @ p["O"] - Y) * kept[..., None] / n / valid.sum()
        dy = split(dout @ p["O"].T)
        da = dy @ v.transpose(0, 1, 3, 2)
        dv = slip("dV with the attention not transposed", a.transpose(0, 1, 3, 2), a) @ dy
        inner = (da * a).sum(-1, keepdims=True)
        ds = a * (da - slip("softmax without its sum", inner, 0)) / np.sqrt(size)
        ds = slip("scale left out", ds, ds * np.sqrt(size))
        dq, dk = ds @ k, ds.transpose(0, 1, 3, 2) @ q

        def gathered(d: np.ndarray) -> np.ndarray:
            return np.einsum("mti,mtj->ij", X, join(d))

        return {"Q": gathered(dq), "K": gathered(dk), "V": gathered(dv), "O": np.einsum("mti,mtj->ij", y, dout)}

    return Network(loss, backward, params)


def straight_through(rng: np.random.Generator) -> Network:
    """Fake quantization with frozen residues: weights are clipped to a range and moved to the grid by constants."""
    m = 6
    X, labels = rng.normal(size=(m, 5)), rng.integers(0, 3, m)
    params = {"W": rng.normal(size=(5, 6)), "b": 0.3 * rng.normal(size=6), "V": rng.normal(size=(6, 3))}
    grid = 0.25
    residue = {
        name: np.round(np.clip(w, -1.2, 1.2) / grid) * grid - np.clip(w, -1.2, 1.2) for name, w in params.items()
    }

    def quantized(p: Parameters, name: str) -> np.ndarray:
        return np.clip(p[name], -1.2, 1.2) + residue[name]

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = X @ quantized(p, "W") + p["b"]
        h = np.clip(z, 0, 2)
        return z, h, softmax(h @ quantized(p, "V"))

    def loss(p: Parameters) -> float:
        return cross_entropy(forward(p)[-1], labels)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        z, h, q = forward(p)
        ds = (q - one_hot(labels, 3)) / m
        back = slip("back through the weights before clipping", quantized(p, "V"), p["V"])
        inside = slip("upper bound of the activation forgotten", (z > 0) & (z < 2), z > 0)
        dz = ds @ back.T * inside
        dW = X.T @ dz * slip("clipped weights get a gradient", np.abs(p["W"]) < 1.2, 1.0)
        return {
            "W": slip("gradient divided by the grid", dW, dW / grid),
            "b": dz.sum(0),
            "V": h.T @ ds * (np.abs(p["V"]) < 1.2),
        }

    return Network(loss, backward, params)


def normalized_weights(rng: np.random.Generator) -> Network:
    """Columns of the weights as g v / |v|, tanh, then a layer of the same kind; squared error."""
    m = 5
    X, Y = rng.normal(size=(m, 4)), rng.normal(size=(m, 3))
    params = {
        "v1": rng.normal(size=(4, 6)), "g1": 1 + 0.5 * rng.random(6), "b1": rng.normal(size=6),
        "v2": rng.normal(size=(6, 3)), "g2": 1 + 0.5 * rng.random(3), "b2": rng.normal(size=3),
    }  # fmt: skip

    def weight(p: Parameters, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        norm = np.sqrt((p[f"v{i}"] ** 2).sum(0))
        return p[f"v{i}"] / norm, norm, p[f"v{i}"] / norm * p[f"g{i}"]

    def loss(p: Parameters) -> float:
        h = np.tanh(X @ weight(p, 1)[2] + p["b1"])
        return float(((h @ weight(p, 2)[2] + p["b2"] - Y) ** 2).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        (u1, n1, w1), (u2, n2, w2) = weight(p, 1), weight(p, 2)
        h = np.tanh(X @ w1 + p["b1"])
        dy = 2 * (h @ w2 + p["b2"] - Y) / Y.size
        dw2 = h.T @ dy
        dz = dy @ slip("back through the direction only", w2, u2).T * (1 - h * h)
        dw1 = X.T @ dz

        def direction(d: np.ndarray, u: np.ndarray, n: np.ndarray, g: np.ndarray) -> np.ndarray:
            radial = slip("radial part not taken out", u * (d * u).sum(0), 0)
            return slip("norm not divided out", g / n, g) * (d - radial)

        return {
            "v1": direction(dw1, u1, n1, p["g1"]),
            "g1": slip("dg1 from v instead of its direction", (dw1 * u1).sum(0), (dw1 * p["v1"]).sum(0)),
            "b1": dz.sum(0),
            "v2": direction(dw2, u2, n2, p["g2"]),
            "g2": (dw2 * u2).sum(0),
            "b2": dy.sum(0),
        }

    return Network(loss, backward, params)


def mixture_density(rng: np.random.Generator) -> Network:
    """A tanh layer that gives weights, means and log-deviations of three normal distributions; log-likelihood."""
    m, k = 7, 3
    X, y = rng.normal(size=(m, 3)), rng.normal(size=m)
    params = {
        "W": rng.normal(size=(3, 5)), "b": rng.normal(size=5),
        "V": rng.normal(size=(5, 3 * k)) / 2, "c": rng.normal(size=3 * k) / 2,
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        h = np.tanh(X @ p["W"] + p["b"])
        out = h @ p["V"] + p["c"]
        pi, mu, log_s = softmax(out[:, :k]), out[:, k : 2 * k], out[:, 2 * k :]
        density = pi * np.exp(-0.5 * ((y[:, None] - mu) / np.exp(log_s)) ** 2 - log_s)
        return h, pi, mu, log_s, density

    def loss(p: Parameters) -> float:
        return float(-np.log(forward(p)[-1].sum(1)).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, pi, mu, log_s, density = forward(p)
        share = density / slip("shares not normalized", density.sum(1, keepdims=True), 1.0)
        r = (y[:, None] - mu) / np.exp(log_s)
        dpi = slip("weights' sign", pi - share, share - pi) / m
        dmu = -share * r / slip("mean's deviation squared", np.exp(log_s), np.exp(2 * log_s)) / m
        ds = -share * (r**2 - slip("normalization of the density forgotten", 1.0, 0.0)) / m
        dout = np.hstack([dpi, dmu, ds])
        dz = dout @ p["V"].T * (1 - h * h)
        return {"W": X.T @ dz, "b": dz.sum(0), "V": h.T @ dout, "c": dout.sum(0)}

    return Network(loss, backward, params)


def triplet(rng: np.random.Generator) -> Network:
    """Embeddings of unit length; a contrastive loss with a temperature over all pairs of two views."""
    m, n, tau = 5, 3, 0.5
    A, B = rng.normal(size=(m, 4)), rng.normal(size=(m, 4))
    params = {"W": rng.normal(size=(4, 6)), "b": rng.normal(size=6), "V": rng.normal(size=(6, n))}

    def branch(p: Parameters, x: np.ndarray) -> tuple[np.ndarray, ...]:
        h = np.tanh(x @ p["W"] + p["b"])
        z = h @ p["V"]
        length = np.sqrt((z * z).sum(1, keepdims=True))
        return h, z / length, length

    def loss(p: Parameters) -> float:
        s = branch(p, A)[1] @ branch(p, B)[1].T / tau
        return cross_entropy(softmax(s), np.arange(m))

    def backward(p: Parameters, slip: Slip) -> Parameters:
        one, two = branch(p, A), branch(p, B)
        s = one[1] @ two[1].T / tau
        ds = (softmax(s) - np.eye(m)) / m / slip("temperature left out", tau, 1.0)

        def back(x: np.ndarray, kept: tuple[np.ndarray, ...], du: np.ndarray) -> Parameters:
            h, u, length = kept
            dz = (du - slip("projection of the norm left out", u * (du * u).sum(1, keepdims=True), 0)) / length
            da = dz @ p["V"].T * (1 - h * h)
            return {"W": x.T @ da, "b": da.sum(0), "V": h.T @ dz}

        first, second = back(A, one, ds @ two[1]), back(B, two, slip("scores not transposed", ds.T, ds) @ one[1])
        other = slip("second view detached", 1.0, 0.0)
        return {name: first[name] + other * second[name] for name in p}

    return Network(loss, backward, params)
