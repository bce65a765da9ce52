"""Building blocks written by hand: bilinear forms, squeezed channels, graphs, pools, upsampling, spectral norms."""

from __future__ import annotations

import numpy as np

from .slip import Network, Parameters, Slip, cross_entropy, one_hot, sigmoid, softmax


def bilinear(rng: np.random.Generator) -> Network:
    """Two inputs, tanh each, a bilinear form per class, softmax cross-entropy."""
    m, n = 8, 4
    X, Z, labels = rng.normal(size=(m, 5)), rng.normal(size=(m, 3)), rng.integers(0, 3, m)
    params = {
        "A": rng.normal(size=(5, n)), "a": rng.normal(size=n), "B": rng.normal(size=(3, n)),
        "T": rng.normal(size=(3, n, n)), "c": rng.normal(size=3),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        u, v = np.tanh(X @ p["A"] + p["a"]), np.tanh(Z @ p["B"])
        return u, v, softmax(np.einsum("mi,kij,mj->mk", u, p["T"], v) + p["c"])

    def loss(p: Parameters) -> float:
        return cross_entropy(forward(p)[-1], labels)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        u, v, prob = forward(p)
        ds = (prob - one_hot(labels, 3)) / m
        dT = np.einsum("mk,mi,mj->kij", ds, u, v)
        dT = slip("dT symmetrized", dT, (dT + dT.swapaxes(1, 2)) / 2)
        dT = slip("sides of dT exchanged", dT, dT.swapaxes(1, 2).copy())
        dT = slip("classes of dT summed", dT, np.broadcast_to(dT.sum(0), dT.shape).copy())
        form = slip("T not transposed for A", "kij,mj->mi", "kji,mj->mi")
        side, there = form.split("->")
        du = np.einsum(f"mk,{side}->{there}", ds, p["T"], v)
        du = slip("form of the first class only", du, ds[:, :1] * np.einsum("ij,mj->mi", p["T"][0], v))
        dv = np.einsum("mk,kij,mi->mj", ds, p["T"], u)
        da = du * (1 - slip("derivative of the other side", u, v) ** 2)
        db = dv * slip("tanh of B left out", 1 - v * v, 1.0)
        return {
            "A": slip("dA without the last example", X, X * (np.arange(m) < m - 1)[:, None]).T @ da,
            "a": slip("da is a mean", da.sum(0), da.mean(0)),
            "B": slip("dB negated", Z.T @ db, -Z.T @ db),
            "T": dT,
            "c": ds.sum(0),
        }

    return Network(loss, backward, params)


def squeeze_excite(rng: np.random.Generator) -> Network:
    """A 1-D convolution, ReLU, channels weighted by a small gate network of their means, global pooling."""
    m, channels, length, k = 5, 4, 7, 3
    X, Y = rng.normal(size=(m, 2, length)), rng.normal(size=(m, 2))
    out = length - k + 1
    windows = np.stack([X[:, :, i : i + out] for i in range(k)], -1)
    params = {
        "K": rng.normal(size=(channels, 2, k)), "k": rng.normal(size=channels), "S1": rng.normal(size=(channels, 3)),
        "S2": rng.normal(size=(3, channels)), "s": rng.normal(size=channels), "W": rng.normal(size=(channels, 2)),
        "w": rng.normal(size=2),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = np.einsum("mclk,fck->mfl", windows, p["K"]) + p["k"][:, None]
        h = np.maximum(z, 0)
        mean = h.mean(2)
        r = np.tanh(mean @ p["S1"])
        gate = sigmoid(r @ p["S2"] + p["s"])
        pooled = (h * gate[:, :, None]).max(2)
        return z, h, mean, r, gate, pooled, pooled @ p["W"] + p["w"] - Y

    def loss(p: Parameters) -> float:
        return float((forward(p)[-1] ** 2).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        z, h, mean, r, gate, pooled, error = forward(p)
        dy = 2 * error / error.size
        dpool = dy @ p["W"].T
        winner = (h == h.max(2, keepdims=True)) / 1.0
        winner = slip("pool spreads to every place", winner, np.ones_like(winner))
        winner = slip("pool spreads evenly", winner, np.full_like(winner, 1 / out))
        dw = dpool[:, :, None] * winner
        dgate = (dw * h).sum(2) * gate * (1 - gate)
        dgate = slip("gate derivative left out", dgate, (dw * h).sum(2))
        dr = (dgate @ p["S2"].T) * (1 - r * r)
        dmean = dr @ p["S1"].T
        spread = slip("mean not divided by its length", dmean / out, dmean)
        dh = slip("gate left out on the straight path", dw * gate[:, :, None], dw)
        dh = slip("straight path forgotten", dh, 0) + slip("gate taken as constant", spread[:, :, None], 0)
        dz = dh * slip("ReLU mask forgotten", z > 0, 1.0)
        dK = np.einsum("mfl,mclk->fck", dz, windows)
        shifted = np.einsum("mfl,mclk->fck", dz[:, :, 1:], windows[:, :, :-1])
        dK = slip("windows one place early", dK, shifted)
        return {
            "K": slip("input channels exchanged", dK, dK[:, ::-1].copy()),
            "k": slip("bias of the last place only", dz.sum((0, 2)), dz[:, :, -1].sum(0)),
            "S1": slip("dS1 from the maxima", mean, h.max(2)).T @ dr,
            "S2": slip("dS2 in the other order", r.T @ dgate, (r.T @ dgate).T.reshape(3, channels)),
            "s": dgate.sum(0),
            "W": slip("dW from pooling without gates", pooled, h.max(2)).T @ dy,
            "w": slip("dw rolled", dy.sum(0), dy.sum(0)[::-1].copy()),
        }

    return Network(loss, backward, params)


def graph(rng: np.random.Generator) -> Network:
    """Two graph convolutions on a directed, row-normalized graph, a residual path, mean of the nodes per graph."""
    nodes, n = 9, 4
    X, Y = rng.normal(size=(nodes, 3)), rng.normal(size=(3, 2))
    A = rng.random((nodes, nodes)) * (rng.random((nodes, nodes)) < 0.5) + np.eye(nodes)
    A /= A.sum(1, keepdims=True)
    P = np.kron(np.eye(3), np.full(3, 1 / 3))
    params = {
        "W1": rng.normal(size=(3, n)), "b1": rng.normal(size=n), "W2": rng.normal(size=(n, n)),
        "b2": rng.normal(size=n), "W3": rng.normal(size=(n, 2)), "b3": rng.normal(size=2),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        h1 = np.tanh(A @ X @ p["W1"] + p["b1"])
        z2 = A @ h1 @ p["W2"] + p["b2"]
        h2 = np.where(z2 > 0, z2, 0.2 * z2) + h1
        return h1, z2, h2, P @ h2 @ p["W3"] + p["b3"] - Y

    def loss(p: Parameters) -> float:
        return float((forward(p)[-1] ** 2).sum() / 3)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h1, z2, h2, error = forward(p)
        dy = 2 * error / 3
        dh2 = P.T @ dy @ p["W3"].T
        dh2 = slip("nodes not averaged", dh2, dh2 * 3)
        dz2 = dh2 * np.where(z2 > 0, 1, slip("leak forgotten", 0.2, 0.0))
        dz2 = slip("leak on the wrong side", dz2, dh2 * np.where(z2 > 0, 0.2, 1))
        back = slip("graph not transposed", A.T, A) @ dz2 @ slip("W2 not transposed", p["W2"].T, p["W2"])
        back = slip("graph left out on the way back", back, dz2 @ p["W2"].T)
        dh1 = slip("residual path forgotten", dh2, 0) + slip("convolution's path forgotten", back, 0)
        dh1 = slip("residual path counted twice", dh1, dh1 + dh2)
        dz1 = dh1 * slip("tanh derivative h", 1 - h1**2, h1)
        return {
            "W1": (A @ X).T @ dz1,
            "b1": slip("db1 of the first graph", dz1.sum(0), dz1[:3].sum(0)),
            "W2": (slip("dW2 without the graph", A, np.eye(nodes)) @ h1).T @ dz2,
            "b2": slip("db2 subtracted", dz2.sum(0), -dz2.sum(0)),
            "W3": slip("dW3 without the residual", P @ h2, P @ (h2 - h1)).T @ dy,
            "b3": slip("db3 averaged", dy.sum(0), dy.mean(0)),
        }

    return Network(loss, backward, params)


def attention_pool(rng: np.random.Generator) -> Network:
    """Rows of a set weighted by a softmax over the set, a layer scale, layer normalization without parameters."""
    m, size, n = 4, 5, 4
    X, Y = rng.normal(size=(m, size, 3)), rng.normal(size=(m, 2))
    params = {
        "W": rng.normal(size=(3, n)), "b": rng.normal(size=n), "q": rng.normal(size=n), "alpha": 1 + rng.random(n),
        "U": rng.normal(size=(n, 2)), "u": rng.normal(size=2),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        h = np.tanh(X @ p["W"] + p["b"])
        a = softmax(h @ p["q"])
        s = np.einsum("ms,msn->mn", a, h)
        inv = 1 / np.sqrt(s.var(1, keepdims=True) + 1e-2)
        x = (s - s.mean(1, keepdims=True)) * inv
        return h, a, s, inv, x, (x * p["alpha"]) @ p["U"] + p["u"] - Y

    def loss(p: Parameters) -> float:
        return float(np.log(np.cosh(forward(p)[-1])).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, a, s, inv, x, error = forward(p)
        dy = slip("loss derivative is the error", np.tanh(error), error) / error.size
        dxa = dy @ p["U"].T
        dx = dxa * slip("layer scale forgotten", p["alpha"], 1.0)
        mean = slip("mean path forgotten", dx.mean(1, keepdims=True), 0)
        spread = slip("variance path forgotten", x * (dx * x).mean(1, keepdims=True), 0)
        ds = inv * (dx - mean - slip("variance path doubled", spread, 2 * spread))
        da = np.einsum("mn,msn->ms", ds, h)
        dlogit = a * (da - slip("softmax sum forgotten", (da * a).sum(1, keepdims=True), 0))
        dh = slip("values' path forgotten", a[:, :, None] * ds[:, None], 0)
        dh = dh + slip("scores' path forgotten", dlogit[:, :, None] * p["q"], 0)
        dz = dh * (1 - h * h)
        return {
            "W": np.einsum("msi,msn->in", X, dz),
            "b": slip("db averaged over the set", dz.sum((0, 1)), dz.mean(1).sum(0)),
            "q": np.einsum("ms,msn->n", dlogit, slip("dq from the inputs of tanh", h, np.arctanh(h))),
            "alpha": slip("layer scale in its own gradient", (dxa * x).sum(0), (dx * x).sum(0)),
            "U": slip("dU without the layer scale", x * p["alpha"], x).T @ dy,
            "u": dy.sum(0),
        }

    return Network(loss, backward, params)


def upsample(rng: np.random.Generator) -> Network:
    """A 2-D kernel on small images, linear upsampling by two, bias per pixel, a sigmoid and squared error."""
    m, n = 5, 3
    X, Y = rng.normal(size=(m, n, n)), rng.random((m, 2 * n, 2 * n))
    up = np.zeros((2 * n, n))
    for i in range(2 * n):
        at = min(max((i - 0.5) / 2, 0), n - 1)
        low = min(int(at), n - 2)
        up[i, low], up[i, low + 1] = 1 - (at - low), at - low
    params = {"L": rng.normal(size=(n, n)), "R": rng.normal(size=(n, n)), "c": rng.normal(size=(2 * n, 2 * n))}

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = p["L"] @ X @ p["R"]
        h = np.tanh(z)
        return h, sigmoid(up @ h @ up.T + p["c"])

    def loss(p: Parameters) -> float:
        return float(0.5 * ((forward(p)[1] - Y) ** 2).sum() / m)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, y = forward(p)
        do = (y - Y) * slip("sigmoid derivative left out", y * (1 - y), 1.0) / m
        dh = up.T @ do @ up
        nearest = np.repeat(np.eye(n), 2, 0)
        dh = slip("nearest pixel instead of linear", dh, nearest.T @ do @ nearest)
        dh = slip("upsampling of rows only halved", dh, dh / 2)
        dz = dh * (1 - h * h)
        left = dz @ slip("R not transposed in dL", p["R"].T, p["R"])
        return {
            "L": (left @ X.swapaxes(1, 2)).sum(0),
            "R": slip(
                "dR transposed", ((p["L"] @ X).swapaxes(1, 2) @ dz).sum(0), (dz.swapaxes(1, 2) @ (p["L"] @ X)).sum(0)
            ),
            "c": slip("border of dc not written", do.sum(0), np.pad(do.sum(0)[1:-1, 1:-1], 1)),
        }

    return Network(loss, backward, params)


def spectral(rng: np.random.Generator) -> Network:
    """A weight divided by its largest singular value, leaky ReLU, a learned gain, the hinge of a critic."""
    m = 8
    X, sign = rng.normal(size=(m, 4)), np.where(rng.random(m) < 0.5, 1.0, -1.0)
    params = {
        "W": rng.normal(size=(4, 5)), "b": rng.normal(size=5), "gain": np.array(1.3), "v": rng.normal(size=5),
        "c": np.array(0.2),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        left, s, right = np.linalg.svd(p["W"])
        z = p["gain"] * X @ (p["W"] / s[0]) + p["b"]
        h = np.where(z > 0, z, 0.1 * z)
        return s[0], np.outer(left[:, 0], right[0]), z, h, h @ p["v"] + p["c"]

    def loss(p: Parameters) -> float:
        return float(np.logaddexp(0, -sign * forward(p)[-1]).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        s, direction, z, h, score = forward(p)
        ds = -sign * sigmoid(-sign * score) / m
        ds = slip("label's sign forgotten", ds, -sigmoid(-sign * score) / m)
        dz = np.outer(ds, p["v"]) * np.where(z > 0, 1, slip("leak forgotten", 0.1, 0.0))
        dn = X.T @ dz
        dW = dn * slip("gain left out of dW", p["gain"], 1.0) / s
        dW = slip("norm not divided out", dW, dW * s)
        along = p["gain"] * (dn * p["W"]).sum() / s**2 * direction
        dW = dW - slip("norm taken as constant", along, 0)
        dgain = (dn * p["W"]).sum() / s
        return {
            "W": dW,
            "b": slip("db of one class only", dz.sum(0), dz[sign > 0].sum(0)),
            "gain": np.asarray(slip("dgain from the raw weight", dgain, dgain * s)),
            "v": slip("dv from before the leak", h, z).T @ ds,
            "c": np.asarray(slip("dc negated", ds.sum(), -ds.sum())),
        }

    return Network(loss, backward, params)


def pairs(rng: np.random.Generator) -> Network:
    """A factorization machine: linear terms and all pairs of features by factors, logistic loss, L2 on the factors."""
    m, n, k = 12, 6, 3
    X, y = rng.normal(size=(m, n)), (rng.random(m) < 0.5).astype(float)
    weight = 0.02
    params = {"w": rng.normal(size=n), "V": 0.5 * rng.normal(size=(n, k)), "w0": np.array(0.3)}

    def forward(p: Parameters) -> tuple[np.ndarray, np.ndarray]:
        s = X @ p["V"]
        return s, X @ p["w"] + p["w0"] + 0.5 * (s**2 - X**2 @ p["V"] ** 2).sum(1)

    def loss(p: Parameters) -> float:
        z = forward(p)[1]
        return float((np.logaddexp(0, z) - y * z).mean() + weight / 2 * (p["V"] ** 2).sum())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        s, z = forward(p)
        dz = (sigmoid(z) - y) / m
        pair = X.T @ (dz[:, None] * s)
        square = (X**2).T @ dz
        own = slip("pairs of a feature with itself not taken out", square[:, None] * p["V"], 0)
        own = slip("own pairs taken out by half", own, own / 2)
        return {
            "w": slip("dw from the squares", X.T @ dz, square),
            "V": slip("pairs halved", pair - own, (pair - own) / 2) + slip("L2 of V forgotten", weight * p["V"], 0),
            "w0": np.asarray(slip("dw0 is a mean again", dz.sum(), dz.mean())),
        }

    return Network(loss, backward, params)
