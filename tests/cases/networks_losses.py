"""Losses with parameters of their own: Gaussian likelihood with variational noise, robust regression, contrast."""

from __future__ import annotations

import numpy as np

from .slip import Network, Parameters, Slip, softmax


def variational(rng: np.random.Generator) -> Network:
    """Variational autoencoder with frozen noise: Gaussian reconstruction with a learned scale plus KL divergence."""
    m, n, latent = 6, 5, 3
    X, noise = rng.normal(size=(m, n)), rng.normal(size=(m, latent))
    params = {
        "M": rng.normal(size=(n, latent)), "S": 0.3 * rng.normal(size=(n, latent)), "s": 0.3 * rng.normal(size=latent),
        "D": rng.normal(size=(latent, n)), "t": 0.3 * rng.normal(size=n),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        mu, log_var = X @ p["M"], X @ p["S"] + p["s"]
        sample = mu + np.exp(log_var / 2) * noise
        return mu, log_var, sample, sample @ p["D"] - X

    def loss(p: Parameters) -> float:
        mu, log_var, _, error = forward(p)
        reconstruction = (0.5 * error**2 * np.exp(-2 * p["t"]) + p["t"]).sum()
        return float((reconstruction + 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).sum()) / m)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        mu, log_var, sample, error = forward(p)
        precision = np.exp(-2 * p["t"])
        dout = error * slip("precision forgotten", precision, 1) / m
        dsample = dout @ p["D"].T
        dmu = dsample + slip("KL of the mean forgotten", mu / m, 0)
        half = slip("half of the log-variance forgotten", 0.5, 1.0)
        dlog = dsample * noise * np.exp(log_var / 2) * half
        dlog = slip("noise forgotten", dlog, dsample * np.exp(log_var / 2) / 2)
        dlog = (
            slip("sampling path forgotten", dlog, 0) + 0.5 * (np.exp(log_var) - slip("log of KL forgotten", 1, 0)) / m
        )
        dt = (slip("log-determinant forgotten", 1, 0) - error**2 * precision).sum(0) / m
        return {
            "M": X.T @ slip("KL twice in dM", dmu, dmu + mu / m),
            "S": X.T @ dlog,
            "s": dlog.sum(0),
            "D": slip("dD from the mean", sample, mu).T @ dout,
            "t": slip("dt of the variance", dt, dt / 2),
        }

    return Network(loss, backward, params)


def robust(rng: np.random.Generator) -> Network:
    """Huber loss for one output, quantile loss for another, both after a leaky ReLU layer."""
    m, delta, quantile, slope = 9, 0.8, 0.2, 0.1
    X, y1, y2 = rng.normal(size=(m, 4)), 2 * rng.normal(size=m), 2 * rng.normal(size=m)
    params = {
        "W": rng.normal(size=(4, 6)), "b": rng.normal(size=6), "u": rng.normal(size=6), "v": rng.normal(size=6),
        "c": rng.normal(size=()),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = X @ p["W"] + p["b"]
        h = np.where(z > 0, z, slope * z)
        return z, h, h @ p["u"] - y1, h @ p["v"] + p["c"] - y2

    def loss(p: Parameters) -> float:
        _, _, e1, e2 = forward(p)
        huber = np.where(abs(e1) < delta, e1**2 / 2, delta * (abs(e1) - delta / 2))
        return float(huber.mean() + np.maximum(quantile * e2, (quantile - 1) * e2).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        z, h, e1, e2 = forward(p)
        d1 = np.clip(e1, -delta, delta) / m
        d1 = slip("Huber loss never linear", d1, e1 / m)
        d1 = slip("Huber loss always linear", d1, delta * np.sign(e1) / m)
        d1 = slip("delta forgotten in the linear part", d1, np.where(abs(e1) < delta, e1, np.sign(e1)) / m)
        d2 = np.where(e2 > 0, quantile, quantile - 1) / m
        d2 = slip("quantiles exchanged", d2, np.where(e2 > 0, 1 - quantile, -quantile) / m)
        d2 = slip("quantile loss negated", d2, -d2)
        dh = slip("first head forgotten", np.outer(d1, p["u"]), 0) + slip(
            "second head forgotten", np.outer(d2, p["v"]), 0
        )
        dz = dh * np.where(z > 0, 1, slip("leak forgotten", slope, 0))
        dz = slip("leak of one", dz, dh)
        return {
            "W": X.T @ dz,
            "b": dz.sum(0),
            "u": slip("du from the pre-activation", h, z).T @ d1,
            "v": slip("dv reversed", h.T @ d2, (h.T @ d2)[::-1]),
            "c": slip("dc not summed", d2.sum(), d2[0]),
        }

    return Network(loss, backward, params)


def contrastive(rng: np.random.Generator) -> Network:
    """Two towers compared by cosine, softmax over the batch with a learned temperature."""
    m, d = 5, 3
    A, B = rng.normal(size=(m, 4)), rng.normal(size=(m, 5))
    params = {"Wa": rng.normal(size=(4, d)), "Wb": rng.normal(size=(5, d)), "temperature": np.array(0.7)}

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        a, b = A @ p["Wa"], B @ p["Wb"]
        na, nb = (np.sqrt((x**2).sum(1, keepdims=True)) for x in (a, b))
        ua, ub = a / na, b / nb
        cosine = ua @ ub.T
        return na, nb, ua, ub, cosine, softmax(cosine * np.exp(p["temperature"]))

    def loss(p: Parameters) -> float:
        return float(-np.log(np.diag(forward(p)[-1])).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        na, nb, ua, ub, cosine, prob = forward(p)
        scale = np.exp(p["temperature"])
        ds = (prob - np.eye(m)) / m
        ds = slip("positives forgotten", ds, prob / m)
        dcosine = ds * slip("temperature not applied", scale, 1)
        dua, dub = dcosine @ ub, slip("similarities not transposed", dcosine.T, dcosine) @ ua
        dub = slip("second tower stopped", dub, 0 * dub)
        da = (dua - slip("unit vector's projection forgotten", ua * (dua * ua).sum(1, keepdims=True), 0)) / na
        db = (dub - ub * (dub * ub).sum(1, keepdims=True)) / nb
        db = slip("norm of the other tower", db, db * nb / na)
        dt = (ds * cosine).sum() * scale
        return {
            "Wa": slip("dWa negated", A.T @ da, -(A.T @ da)),
            "Wb": B.T @ db,
            "temperature": slip("exponential forgotten in the temperature", dt, dt / scale),
        }

    return Network(loss, backward, params)
