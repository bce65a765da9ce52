"""Objectives written by hand: focal, cosine margin, Huber with distillation, dispersion, Gumbel, evidence."""

from __future__ import annotations

from math import lgamma

import numpy as np

from .slip import Network, Parameters, Slip, one_hot, sigmoid, softmax


def focal(rng: np.random.Generator) -> Network:
    """ReLU network with dropout of a frozen mask, focal loss with class weights, group lasso-like penalty."""
    m, n, gamma = 10, 6, 2.0
    X, labels = rng.normal(size=(m, 4)), rng.integers(0, 3, m)
    share, keep = np.array([0.2, 0.5, 0.9])[labels], 0.8
    mask = (rng.random((m, n)) < keep) / keep
    params = {
        "W1": rng.normal(size=(4, n)), "b1": rng.normal(size=n), "W2": rng.normal(size=(n, 3)), "b2": rng.normal(size=3)
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = X @ p["W1"] + p["b1"]
        h = np.maximum(z, 0) * mask
        prob = softmax(h @ p["W2"] + p["b2"])
        return z, h, prob, prob[np.arange(m), labels]

    def loss(p: Parameters) -> float:
        pt = forward(p)[-1]
        return float((-share * (1 - pt) ** gamma * np.log(pt)).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        z, h, prob, pt = forward(p)
        focus = slip("derivative of the focus forgotten", gamma * (1 - pt) ** (gamma - 1) * np.log(pt), 0)
        focus = slip("exponent not lowered", focus, gamma * (1 - pt) ** gamma * np.log(pt))
        dpt = slip("class weights forgotten", share, 1.0) * (focus - (1 - pt) ** gamma / pt) / m
        ds = (dpt * pt)[:, None] * (one_hot(labels, 3) - prob)
        ds = slip("batch not averaged", ds, ds * m)
        through = slip("dropout mask forgotten", mask, 1 / keep)
        dz = (ds @ p["W2"].T) * slip("keep_prob forgotten", through, mask * keep) * (z > 0)
        return {
            "W1": slip("rows of dW1 shifted", X.T @ dz, np.roll(X.T @ dz, 1, 0)),
            "b1": slip("db1 in half precision", dz.sum(0), dz.sum(0).astype(np.float16).astype(float)),
            "W2": slip("dW2 without dropout", h, np.maximum(z, 0)).T @ ds,
            "b2": slip("db2 clipped", ds.sum(0), np.clip(ds.sum(0), -0.02, 0.02)),
        }

    return Network(loss, backward, params)


def cosine_margin(rng: np.random.Generator) -> Network:
    """Cosines of unit features and unit class vectors, a margin, a learned scale, softmax cross-entropy."""
    m, n, classes, margin = 9, 4, 3, 0.2
    X, labels = rng.normal(size=(m, 5)), rng.integers(0, classes, m)
    params = {
        "W": rng.normal(size=(5, n)),
        "b": rng.normal(size=n),
        "C": rng.normal(size=(n, classes)),
        "scale": np.array(2.5),
    }

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        h = np.tanh(X @ p["W"] + p["b"])
        length, size = np.linalg.norm(h, axis=1, keepdims=True), np.linalg.norm(p["C"], axis=0)
        u, c = h / length, p["C"] / size
        cosine = u @ c - margin * one_hot(labels, classes)
        return h, length, size, u, c, cosine, softmax(p["scale"] * cosine)

    def loss(p: Parameters) -> float:
        return float(-np.log(forward(p)[-1][np.arange(m), labels]).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, length, size, u, c, cosine, prob = forward(p)
        ds = (prob - one_hot(labels, classes)) / m
        dcos = ds * slip("scale left out", p["scale"], 1.0)
        du, dc = dcos @ c.T, u.T @ dcos
        du = slip("class vectors not normalized", du, dcos @ p["C"].T)
        dh = (du - slip("radial part of the features kept", u * (du * u).sum(1, keepdims=True), 0)) / length
        dh = slip("length of the features not divided out", dh, dh * length)
        dh = slip("features' lengths taken as one for all", dh, dh * length / length.mean())
        radial = slip("radial part of the classes over the wrong axis", (dc * c).sum(0), (dc * c).sum(1, keepdims=True))
        dC = (dc - c * radial) / size
        dz = dh * (1 - slip("tanh derivative of the unit vector", h, u) ** 2)
        dscale = (ds * cosine).sum()
        return {
            "W": X.T @ dz,
            "b": slip("b regularized", dz.sum(0), dz.sum(0) + 0.01 * p["b"]),
            "C": slip("dC from features before normalization", dC, (h.T @ dcos - c * (h.T @ dcos * c).sum(0)) / size),
            "scale": np.asarray(slip("margin left out of dscale", dscale, (ds * (u @ c)).sum())),
        }

    return Network(loss, backward, params)


def distilled(rng: np.random.Generator) -> Network:
    """A student: Huber loss on one head, KL from a teacher's warm softmax on the other; L2 and L1."""
    m, n, warm, delta, l2, l1 = 10, 5, 3.0, 0.7, 0.05, 0.02
    X, Y, teacher = rng.normal(size=(m, 4)), 2 * rng.normal(size=(m, 2)), softmax(rng.normal(size=(m, 3)))
    params = {
        "W1": rng.normal(size=(4, n)), "b1": rng.normal(size=n), "H": rng.normal(size=(n, 2)), "h": rng.normal(size=2),
        "D": rng.normal(size=(n, 3)), "d": rng.normal(size=3),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = X @ p["W1"] + p["b1"]
        a = z * sigmoid(z)
        return z, a, a @ p["H"] + p["h"] - Y, softmax((a @ p["D"] + p["d"]) / warm)

    def loss(p: Parameters) -> float:
        _, _, e, prob = forward(p)
        size = np.abs(e)
        huber = np.where(size < delta, e**2 / 2, delta * (size - delta / 2)).sum() / m
        kl = warm**2 * (teacher * (np.log(teacher) - np.log(prob))).sum() / m
        return float(huber + kl + l2 / 2 * (p["W1"] ** 2).sum() + l1 * np.abs(p["H"]).sum())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        z, a, e, prob = forward(p)
        de = np.clip(e, -delta, delta) / m
        de = slip("linear part of the Huber loss not clipped", de, e / m)
        de = slip("linear part is the sign", de, np.where(np.abs(e) < delta, e, np.sign(e)) / m)
        dk = warm * (prob - teacher) / m
        dk = slip("temperature squared kept", dk, dk * warm)
        dk = slip("temperature not divided", dk, dk / warm)
        dk = slip(
            "KL the wrong way round",
            dk,
            warm * prob * (np.log(prob / teacher) - (prob * np.log(prob / teacher)).sum(1, keepdims=True)) / m,
        )
        da = slip("Huber head's path forgotten", de @ p["H"].T, 0) + slip("teacher's path forgotten", dk @ p["D"].T, 0)
        s = sigmoid(z)
        dz = da * (s + slip("swish derivative is the sigmoid", z * s * (1 - s), 0))
        return {
            "W1": X.T @ dz + slip("L2 not halved", l2, 2 * l2) * p["W1"],
            "b1": dz.sum(0),
            "H": a.T @ de + l1 * slip("L1 without the sign", np.sign(p["H"]), p["H"]),
            "h": slip("dh is a sum over heads", de.sum(0), np.full(2, de.sum())),
            "D": slip("dD halved", a.T @ dk, a.T @ dk / 2),
            "d": dk.sum(0),
        }

    return Network(loss, backward, params)


def counts(rng: np.random.Generator) -> Network:
    """Negative binomial regression: a log rate with exposure, a dispersion that is one number, smooth coefficients."""
    m, n, penalty = 14, 5, 0.3
    X, exposure = 0.5 * rng.normal(size=(m, n)), 0.5 + rng.random(m)
    y = rng.integers(0, 6, m).astype(float)
    params = {"beta": 0.5 * rng.normal(size=n), "b0": np.array(0.4), "log_r": np.array(0.7)}

    def forward(p: Parameters) -> tuple[np.ndarray, float]:
        return exposure * np.exp(X @ p["beta"] + p["b0"]), float(np.exp(p["log_r"]))

    def loss(p: Parameters) -> float:
        rate, r = forward(p)
        terms = [lgamma(r + k) - lgamma(r) for k in y] + r * np.log(r / (r + rate)) + y * np.log(rate / (r + rate))
        return float(-terms.sum() / m + penalty / 2 * (np.diff(p["beta"]) ** 2).sum())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        rate, r = forward(p)
        dz = -(y - rate) * r / (r + rate) / m
        dz = slip("dispersion left out (Poisson)", dz, -(y - rate) / m)
        step = np.diff(p["beta"])
        smooth = np.concatenate([[0], step]) - np.concatenate([step, [0]])
        smooth = slip(
            "ends of the smoothing", smooth, np.concatenate([step[:1] * 0, step]) - np.concatenate([step, step[-1:]])
        )
        smooth = slip("smoothing with the wrong sign", smooth, -smooth)
        digamma = np.array([sum(1 / (r + j) for j in range(int(k))) for k in y])
        dr = (
            -(
                digamma
                + np.log(r / (r + rate))
                + slip("1 of the dispersion's derivative", 1.0, 0.0)
                - (r + y) / (r + rate)
            ).sum()
            / m
        )
        return {
            "beta": slip("dbeta without exposure", X.T @ dz, X.T @ (dz / exposure))
            + penalty * slip("smoothing forgotten", smooth, 0),
            "b0": np.asarray(slip("exposure in db0", dz.sum(), (dz * exposure).sum())),
            "log_r": np.asarray(slip("log of the dispersion forgotten", dr * r, dr)),
        }

    return Network(loss, backward, params)


def gumbel(rng: np.random.Generator) -> Network:
    """Codes drawn by a Gumbel softmax with frozen noise, looked up in a code book, decoded; entropy bonus."""
    m, codes, n, warm, bonus = 8, 4, 3, 0.7, 0.1
    X, noise = rng.normal(size=(m, 5)), -np.log(-np.log(rng.random((m, codes))))
    params = {
        "W": rng.normal(size=(5, codes)), "b": rng.normal(size=codes), "book": rng.normal(size=(codes, n)),
        "D": rng.normal(size=(n, 5)), "d": rng.normal(size=5),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = X @ p["W"] + p["b"]
        s, q = softmax((z + noise) / warm), softmax(z)
        c = np.tanh(s @ p["book"])
        return s, q, c, c @ p["D"] + p["d"] - X

    def loss(p: Parameters) -> float:
        _, q, _, e = forward(p)
        return float((0.5 * (e**2).sum() + bonus * (q * np.log(q)).sum()) / m)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        s, q, c, e = forward(p)
        dy = e / m
        dc = (dy @ p["D"].T) * (1 - c * c)
        dc = slip("tanh derivative squared", dc, dc * (1 - c * c))
        ds = dc @ p["book"].T
        ds = slip("straight through the softmax", s * (ds - (ds * s).sum(1, keepdims=True)), ds)
        ds = ds / slip("temperature forgotten", warm, 1.0)
        entropy = q * (np.log(q) - (q * np.log(q)).sum(1, keepdims=True))
        entropy = slip("entropy with the wrong sign", entropy, -entropy)
        dz = ds + bonus / m * slip("entropy forgotten", entropy, 0)
        return {
            "W": X.T @ dz,
            "b": dz.sum(0),
            "book": slip("book from the probabilities without noise", s, q).T @ dc,
            "D": slip("dD with rows exchanged", c.T @ dy, (c.T @ dy)[[1, 0, 2]]),
            "d": slip("dd divided by m again", dy.sum(0), dy.mean(0)),
        }

    return Network(loss, backward, params)


def evidence(rng: np.random.Generator) -> Network:
    """An encoder with mean and log variance, frozen noise, KL to a learned prior, a decoder with a learned variance."""
    m, n = 7, 3
    X, noise = rng.normal(size=(m, 4)), rng.normal(size=(m, n))
    params = {
        "E": rng.normal(size=(4, 5)), "e": rng.normal(size=5), "M": rng.normal(size=(5, n)),
        "S": 0.5 * rng.normal(size=(5, n)), "prior": rng.normal(size=n), "D": rng.normal(size=(n, 4)),
        "log_s": 0.3 * rng.normal(size=4),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        h = np.tanh(X @ p["E"] + p["e"])
        mu, lv = h @ p["M"], h @ p["S"]
        sd = np.exp(lv / 2)
        z = mu + sd * noise
        return h, mu, lv, sd, z, np.tanh(z), np.tanh(z) @ p["D"] - X

    def loss(p: Parameters) -> float:
        _, mu, lv, sd, _, _, r = forward(p)
        kl = 0.5 * (np.exp(lv) + (mu - p["prior"]) ** 2 - 1 - lv).sum()
        return float((kl + (0.5 * r**2 * np.exp(-2 * p["log_s"]) + p["log_s"]).sum()) / m)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, mu, lv, sd, z, t, r = forward(p)
        precision = np.exp(-2 * p["log_s"])
        dr = r * slip("precision forgotten", precision, 1.0) / m
        dz = (dr @ p["D"].T) * (1 - t * t)
        away = slip("prior forgotten", (mu - p["prior"]) / m, mu / m)
        dmu = dz + slip("KL of the mean forgotten", away, 0)
        dlv = dz * noise * sd * slip("half of the log variance forgotten", 0.5, 1.0)
        dlv = slip("noise forgotten", dlv, dz * sd / 2)
        dlv = dlv + 0.5 * (np.exp(lv) - slip("1 of the variance's KL", 1.0, 0.0)) / m
        dlv = slip("variance detached", dlv, 0.5 * (np.exp(lv) - 1) / m)
        dh = slip("mean's path into the encoder forgotten", dmu @ p["M"].T, 0) + dlv @ p["S"].T
        da = dh * (1 - h * h)
        dlog = (1 - r**2 * precision).sum(0) / m
        dlog = slip("constant of the likelihood forgotten", dlog, -(r**2 * precision).sum(0) / m)
        return {
            "E": slip("dE of the first five", X.T @ da, X[:5].T @ da[:5]),
            "e": da.sum(0),
            "M": h.T @ dmu,
            "S": h.T @ dlv,
            "prior": slip("prior's sign", (p["prior"] - mu).sum(0) / m, (mu - p["prior"]).sum(0) / m),
            "D": slip("dD from z itself", t, z).T @ dr,
            "log_s": slip("log_s doubled", dlog, 2 * dlog),
        }

    return Network(loss, backward, params)
