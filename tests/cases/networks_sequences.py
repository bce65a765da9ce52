"""Sequence models written by hand: rotated attention, dilated convolutions, gates, alignments, n-grams, an ODE."""

from __future__ import annotations

import numpy as np

from .slip import Network, Parameters, Slip, cross_entropy, one_hot, sigmoid, softmax


def rotary_attention(rng: np.random.Generator) -> Network:
    """Self-attention with rotary positions, learned positions, a temperature and a causal mask; squared error."""
    m, steps, n = 3, 4, 4
    X, Y = rng.normal(size=(m, steps, n)), rng.normal(size=(m, steps, 3))
    params = {
        "pos": 0.5 * rng.normal(size=(steps, n)), "Q": rng.normal(size=(n, n)), "K": rng.normal(size=(n, n)),
        "V": rng.normal(size=(n, n)), "log_t": np.array(0.4), "O": rng.normal(size=(n, 3)),
    }  # fmt: skip
    angle = np.arange(1, steps + 1)[:, None] * np.array([1.0, 0.3])
    cos, sin = np.cos(angle), np.sin(angle)
    mask = np.tril(np.ones((steps, steps), bool))

    def rotate(x: np.ndarray, direction: float = 1.0) -> np.ndarray:
        a, b = x[..., :2], x[..., 2:]
        return np.concatenate([a * cos - direction * b * sin, direction * a * sin + b * cos], -1)

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        x = X + p["pos"]
        q, k, v = rotate(x @ p["Q"]), rotate(x @ p["K"]), x @ p["V"]
        raw = q @ k.swapaxes(1, 2)
        a = softmax(np.where(mask, raw * np.exp(-p["log_t"]), -1e9))
        c = a @ v
        return x, q, k, v, raw, a, c, (c + x) @ p["O"] - Y

    def loss(p: Parameters) -> float:
        return float((forward(p)[-1] ** 2).mean())

    def backward(p: Parameters, slip: Slip) -> Parameters:
        x, q, k, v, raw, a, c, error = forward(p)
        dy = 2 * error / error.size
        dc = dy @ p["O"].T
        da, dv = dc @ v.swapaxes(1, 2), slip("attention not transposed for dv", a.swapaxes(1, 2), a) @ dc
        inner = slip("softmax sum over queries", (da * a).sum(-1, keepdims=True), (da * a).sum(-2, keepdims=True))
        ds = a * (da - slip("softmax without its sum", inner, 0))
        warm = slip("temperature not divided out", np.exp(-p["log_t"]), 1.0)
        draw = ds * warm
        dq = rotate(draw @ k, slip("queries rotated forward again", -1.0, 1.0))
        dk = rotate(slip("scores not transposed for dk", draw.swapaxes(1, 2), draw) @ q, -1.0)
        dk = slip("keys not rotated back", dk, draw.swapaxes(1, 2) @ q)
        gradient = {
            "Q": np.einsum("mti,mtj->ij", x, dq),
            "K": np.einsum("mti,mtj->ij", x, dk),
            "V": np.einsum("mti,mtj->ij", slip("dV from the inputs without positions", x, X), dv),
            "O": np.einsum("mti,mtj->ij", slip("dO without the skip path", c + x, c), dy),
        }
        keys = slip("path of the keys into the positions forgotten", dk @ p["K"].T, 0)
        skip = slip("skip path into the positions forgotten", dc, 0)
        dx = skip + dq @ p["Q"].T + keys + dv @ slip("V not transposed", p["V"].T, p["V"])
        dt = -(ds * raw * mask).sum() * np.exp(-p["log_t"])
        dt = slip("sign of the log temperature", dt, -dt)
        dt = slip("log of the temperature forgotten", dt, dt * np.exp(p["log_t"]))
        pos = slip("positions of the first sequence only", dx.sum(0), dx[0])
        pos = slip("positions shifted", pos, np.concatenate([np.zeros((1, n)), pos[:-1]]))
        gradient |= {"pos": pos, "log_t": np.asarray(dt)}
        return {name: gradient[name] for name in params}

    return Network(loss, backward, params)


def dilated_gates(rng: np.random.Generator) -> Network:
    """Two dilated causal convolutions, each tanh times sigmoid with a skip path, read out at the last step."""
    m, steps, n = 4, 6, 3
    X, labels = rng.normal(size=(m, steps, n)), rng.integers(0, 3, m)
    params = {}
    for layer in (1, 2):
        params[f"F{layer}"] = rng.normal(size=(2, n, n))
        params[f"G{layer}"] = rng.normal(size=(2, n, n))
        params[f"g{layer}"] = 0.5 * rng.normal(size=n)
    params |= {"W3": rng.normal(size=(n, 3)), "b3": rng.normal(size=3)}

    def past(x: np.ndarray, d: int) -> np.ndarray:
        return np.concatenate([np.zeros((m, d, n)), x[:, :-d]], 1)

    def future(dx: np.ndarray, d: int) -> np.ndarray:
        return np.concatenate([dx[:, d:], np.zeros((m, d, n))], 1)

    def forward(p: Parameters) -> tuple[list[np.ndarray], ...]:
        x, f, g = [X], [], []
        for layer in (1, 2):
            before = past(x[-1], layer)
            f.append(np.tanh(before @ p[f"F{layer}"][0] + x[-1] @ p[f"F{layer}"][1]))
            g.append(sigmoid(before @ p[f"G{layer}"][0] + x[-1] @ p[f"G{layer}"][1] + p[f"g{layer}"]))
            x.append(x[-1] + f[-1] * g[-1])
        return x, f, g, [softmax(x[-1][:, -1] @ p["W3"] + p["b3"])]

    def loss(p: Parameters) -> float:
        return cross_entropy(forward(p)[3][0], labels)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        x, fs, gs, (prob,) = forward(p)
        ds = (prob - one_hot(labels, 3)) / m
        ds = slip("mean over the batch forgotten", ds, ds * m)
        grad = {"W3": x[-1][:, -1].T @ ds, "b3": ds.sum(0)}
        dx = np.zeros_like(x[-1])
        dx[:, -1] = ds @ p["W3"].T
        for layer in (2, 1):
            f, g, u = fs[layer - 1], gs[layer - 1], x[layer - 1]
            before = past(u, layer)
            other = f if layer == 1 else slip("gate of layer 2 without the filter", f, 1.0)
            df = dx * g * (1 - f * (f if layer == 2 else slip("tanh derivative is 1 - f", f, 1.0)))
            dg = dx * other * g * (1 - g)
            dg = dg if layer == 2 else slip("sigmoid derivative left out", dg, dx * f)
            dF = np.stack([np.einsum("mti,mtj->ij", before, df), np.einsum("mti,mtj->ij", u, df)])
            dG = np.stack([np.einsum("mti,mtj->ij", before, dg), np.einsum("mti,mtj->ij", u, dg)])
            if layer == 1:
                dF = slip("taps of the filter exchanged", dF, dF[::-1].copy())
                dG = slip("past tap of the gate left zero", dG, dG * np.array([0.0, 1.0])[:, None, None])
                dF, dG = slip("filter and gate exchanged", (dF, dG), (dG, dF))
            grad[f"F{layer}"], grad[f"G{layer}"], grad[f"g{layer}"] = dF, dG, dg.sum((0, 1))
            if layer == 2:
                grad["g2"] = slip("gate bias averaged over time", grad["g2"], grad["g2"] / steps)
                back = df @ p["F2"][0].T + dg @ p["G2"][0].T
                away = slip("dilation of layer 2 taken as 1", future(back, 2), future(back, 1))
                away = slip("path through the past forgotten", away, 0)
                here = df @ p["F2"][1].T + dg @ p["G2"][1].T
                here = slip("filter of layer 2 not transposed", here, df @ p["F2"][1] + dg @ p["G2"][1].T)
                dx = slip("skip path of layer 2 forgotten", dx, 0) + away + here
        return {name: grad[name] for name in params}

    return Network(loss, backward, params)


def minimal_gated(rng: np.random.Generator) -> Network:
    """A minimal gated unit over 4 steps with outputs at every step, from embedded tokens."""
    m, steps, n, words = 3, 4, 3, 5
    tokens, Y = rng.integers(0, words, (m, steps)), rng.normal(size=(steps, m, 2))
    params = {
        "E": rng.normal(size=(words, n)), "Wf": rng.normal(size=(n, n)), "Uf": rng.normal(size=(n, n)),
        "bf": rng.normal(size=n), "Wc": rng.normal(size=(n, n)), "Uc": rng.normal(size=(n, n)),
        "bc": rng.normal(size=n), "V": rng.normal(size=(n, 2)), "v": rng.normal(size=2),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[list[np.ndarray], ...]:
        h, f, c = [np.zeros((m, n))], [], []
        for t in range(steps):
            x = p["E"][tokens[:, t]]
            f.append(sigmoid(x @ p["Wf"] + h[-1] @ p["Uf"] + p["bf"]))
            c.append(np.tanh(x @ p["Wc"] + (f[-1] * h[-1]) @ p["Uc"] + p["bc"]))
            h.append((1 - f[-1]) * h[-1] + f[-1] * c[-1])
        return h, f, c, [state @ p["V"] + p["v"] - Y[t] for t, state in enumerate(h[1:])]

    def loss(p: Parameters) -> float:
        return float(sum((e**2).sum() for e in forward(p)[3]) / (2 * m))

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, fs, cs, errors = forward(p)
        g = {name: np.zeros_like(value) for name, value in p.items()}
        carried = np.zeros((m, n))
        for t in reversed(range(steps)):
            f, c, x = fs[t], cs[t], p["E"][tokens[:, t]]
            dy = errors[t] / m
            g["V"] += h[t + 1].T @ dy
            g["v"] = slip("output bias of the first step only", g["v"], 0) + dy.sum(0)
            dh = dy @ p["V"].T + carried
            dc = dh * f * (1 - c * c)
            dfh = dc @ slip("Uc not transposed", p["Uc"].T, p["Uc"])
            df = dh * (c - slip("old state left out of the gate", h[t], 0))
            df = (df + slip("gate's second use forgotten", dfh * h[t], 0)) * f * (1 - f)
            df = slip("gate's sign", df, -df)
            g["Wf"] += x.T @ df
            g["Uf"] += slip("dUf from the new state", h[t], h[t + 1]).T @ df
            g["bf"] += df.sum(0)
            g["Wc"] += x.T @ dc
            g["Uc"] += slip("dUc from the state without the gate", f * h[t], h[t]).T @ dc
            g["bc"] += slip("candidate's bias before tanh'", dc, dh * f).sum(0)
            dx = slip("gate's path into the embedding forgotten", df @ p["Wf"].T, 0) + dc @ p["Wc"].T
            if slip("repeated tokens assigned", False, True):
                g["E"][tokens[:, t]] = g["E"][tokens[:, t]] + dx
            else:
                np.add.at(g["E"], tokens[:, t], dx)
            straight = slip("direct path through time forgotten", dh * (1 - f), 0)
            carried = straight + df @ p["Uf"].T + dfh * f
            carried = slip("truncated after the last step", carried, carried * (t != steps - 1))
            g["Uc"] = slip("dUc overwritten by each step", g["Uc"], (f * h[t]).T @ dc)
        return g

    return Network(loss, backward, params)


def alignment(rng: np.random.Generator) -> Network:
    """Log of the sum over all monotone alignments of frames and labels, with a score for staying at a label."""
    m, frames, n = 3, 5, 4
    X, labels = rng.normal(size=(m, frames, n)), rng.integers(0, 3, (m, 2))
    params = {
        "W": rng.normal(size=(n, 5)),
        "b": rng.normal(size=5),
        "U": rng.normal(size=(5, 3)),
        "stay": np.array(0.3),
    }

    def emissions(p: Parameters) -> tuple[np.ndarray, np.ndarray]:
        h = np.tanh(X @ p["W"] + p["b"])
        z = h @ p["U"]
        top = z.max(-1, keepdims=True)
        return h, z - top - np.log(np.exp(z - top).sum(-1, keepdims=True))

    def alpha(e: np.ndarray, stay: float) -> np.ndarray:
        """Sums of paths that are at the first or second label of a row: e is (frames, 2)."""
        a = np.full((frames, 2), -np.inf)
        a[0, 0] = e[0, 0]
        for t in range(1, frames):
            a[t, 0] = a[t - 1, 0] + stay + e[t, 0]
            a[t, 1] = np.logaddexp(a[t - 1, 1] + stay, a[t - 1, 0]) + e[t, 1]
        return a

    def loss(p: Parameters) -> float:
        e = emissions(p)[1]
        return float(-sum(alpha(e[i][:, labels[i]], float(p["stay"]))[-1, 1] for i in range(m)) / m)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h, e = emissions(p)
        stay = float(p["stay"])
        dlog, dstay = np.zeros_like(e), 0.0
        for i in range(m):
            own = e[i][:, labels[i]]
            a = alpha(own, stay)
            da = np.zeros((frames, 2))
            da[-1, 1] = -1 / m
            for t in reversed(range(1, frames)):
                share = np.exp(a[t - 1, 1] + stay + own[t, 1] - a[t, 1])
                da[t - 1, 1] += da[t, 1] * share
                da[t - 1, 0] += da[t, 1] * (1 - share) + slip("stays at the first label cut off", da[t, 0], 0.0)
                dstay += da[t, 1] * share + slip("stays at the first label not counted", da[t, 0], 0.0)
            if slip("repeated labels assigned", False, True):
                dlog[i][:, labels[i]] = da
            else:
                np.add.at(dlog[i].T, labels[i], da.T)
        dlog = slip("first frame left out", dlog, dlog * (np.arange(frames) > 0)[:, None])
        prob = np.exp(e)
        dz = dlog - prob * slip("log softmax without its sum", dlog.sum(-1, keepdims=True), 0)
        dz = slip("softmax sum with the wrong sign", dz, dlog + prob * dlog.sum(-1, keepdims=True))
        dh = (dz @ p["U"].T) * (1 - slip("tanh derivative 1 - h", h, 1.0) * h)
        return {
            "W": np.einsum("mti,mtj->ij", slip("frames reversed in dW", X, X[:, ::-1]), dh),
            "b": slip("db averaged over frames", dh.sum((0, 1)), dh.mean(1).sum(0)),
            "U": slip("dU negated", 1, -1) * np.einsum("mti,mtj->ij", h, dz),
            "stay": np.asarray(dstay),
        }

    return Network(loss, backward, params)


def ngram(rng: np.random.Generator) -> Network:
    """Embeddings of three words side by side, ReLU, and the same embeddings as output weights; label smoothing."""
    m, words, n, width = 7, 6, 3, 5
    tokens, labels = rng.integers(0, words, (m, 3)), rng.integers(0, words, m)
    smooth = 0.1
    params = {
        "E": rng.normal(size=(words, n)), "W1": rng.normal(size=(3 * n, width)), "b1": rng.normal(size=width),
        "W2": rng.normal(size=(width, n)), "bias": rng.normal(size=words),
    }  # fmt: skip
    target = (1 - smooth) * one_hot(labels, words) + smooth / words

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        x = p["E"][tokens].reshape(m, -1)
        z = x @ p["W1"] + p["b1"]
        h = np.maximum(z, 0)
        y = h @ p["W2"]
        return x, z, h, y, softmax(y @ p["E"].T + p["bias"])

    def loss(p: Parameters) -> float:
        return float(-(target * np.log(forward(p)[-1])).sum() / m)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        x, z, h, y, prob = forward(p)
        ds = (prob - slip("smoothing forgotten", target, one_hot(labels, words))) / m
        ds = slip("smoothing not normalized", ds, (prob - target - smooth) / m)
        dy = ds @ p["E"]
        dz = (dy @ p["W2"].T) * slip("ReLU mask of the wrong sign", z > 0, z < 0)
        dz = slip("ReLU mask left out", dz, dy @ p["W2"].T)
        dx = (dz @ p["W1"].T).reshape(m, 3, n)
        dE = np.zeros_like(p["E"])
        if slip("words that come twice assigned", False, True):
            dE[tokens.ravel()] = dx.reshape(-1, n)
        else:
            np.add.at(dE, slip("words off by one", tokens, (tokens + 1) % words), dx)
        dE = slip("last word of the context left out", dE, _without_last(dE, tokens, dx))
        dE = slip("input use forgotten", dE, 0) + slip("output use forgotten", ds.T @ y, 0)
        dW1 = x.T @ dz
        order = x.reshape(m, 3, n).swapaxes(1, 2).reshape(m, -1)
        return {
            "E": dE,
            "W1": slip("words and features in the other order", dW1, order.T @ dz),
            "b1": slip("db1 doubled", dz.sum(0), 2 * dz.sum(0)),
            "W2": slip("dW2 from before the ReLU", h, z).T @ dy,
            "bias": slip("bias of the last example only", ds.sum(0), ds[-1]),
        }

    return Network(loss, backward, params)


def _without_last(dE: np.ndarray, tokens: np.ndarray, dx: np.ndarray) -> np.ndarray:
    out = dE.copy()
    np.subtract.at(out, tokens[:, 2], dx[:, 2])
    return out


def neural_ode(rng: np.random.Generator) -> Network:
    """Five explicit Euler steps of x' = tanh(x A + a) - decay x, read out linearly; the adjoint written by hand."""
    m, n, steps, dt = 5, 4, 5, 0.2
    X, Y = rng.normal(size=(m, 3)), rng.normal(size=(m, 2))
    params = {
        "In": rng.normal(size=(3, n)), "A": rng.normal(size=(n, n)), "a": rng.normal(size=n),
        "decay": 0.5 + rng.random(n), "Out": rng.normal(size=(n, 2)),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[list[np.ndarray], list[np.ndarray]]:
        x, f = [X @ p["In"]], []
        for _ in range(steps):
            f.append(np.tanh(x[-1] @ p["A"] + p["a"]))
            x.append(x[-1] + dt * (f[-1] - p["decay"] * x[-1]))
        return x, f

    def loss(p: Parameters) -> float:
        return float(((forward(p)[0][-1] @ p["Out"] - Y) ** 2).sum() / m)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        x, f = forward(p)
        dout = slip("2 of the square forgotten", 2.0, 1.0) * (x[-1] @ p["Out"] - Y) / m
        g = {name: np.zeros_like(value) for name, value in p.items()}
        g["Out"] = x[-1].T @ dout
        dx = dout @ p["Out"].T
        for t in reversed(range(steps)):
            dz = slip("time step forgotten", dt, 1.0) * dx * (1 - f[t] ** 2)
            g["A"] += slip("dA from the state after the step", x[t], x[t + 1]).T @ dz
            g["a"] = slip("da of one step only", g["a"], 0) + dz.sum(0)
            decay = -dt * (dx * x[t]).sum(0)
            g["decay"] += slip("decay's sign", decay, -decay)
            lost = slip("decay left out of the adjoint", dt * dx * p["decay"], 0)
            dx = (
                slip("identity left out of the adjoint", dx, 0) - lost + dz @ slip("A not transposed", p["A"].T, p["A"])
            )
        g["In"] = slip("dIn upside down", X, X[:, ::-1]).T @ dx
        return g

    return Network(loss, backward, params)
