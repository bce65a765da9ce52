"""Hand-written NumPy networks with mistakes, of families that the diagnosis was not tuned on."""

from __future__ import annotations

import numpy as np

from .generated import Array, Family, Network, Params, Step
from .networks_with_mistakes import bias, cross_entropy, dense, scores_back, softmax, weights


def layer_norm(rng: np.random.Generator) -> Network:
    """Dense, layer norm, tanh, dense; softmax cross entropy."""
    m, eps = 8, 1e-6
    x, y = rng.normal(size=(m, 6)), rng.integers(0, 4, m)
    params = {"fc1.weight": dense(rng, 6, 9), "fc1.bias": rng.normal(size=9), "norm.gain": rng.uniform(0.5, 1.5, 9)}
    params |= {"norm.shift": rng.normal(size=9), "fc2.weight": dense(rng, 9, 4), "fc2.bias": rng.normal(size=4)}

    def forward(p: Params) -> tuple[Array, ...]:
        z = x @ p["fc1.weight"] + p["fc1.bias"]
        inv = 1 / np.sqrt(z.var(1, keepdims=True) + eps)
        x_hat = (z - z.mean(1, keepdims=True)) * inv
        a = np.tanh(x_hat * p["norm.gain"] + p["norm.shift"])
        return inv, x_hat, a, a @ p["fc2.weight"] + p["fc2.bias"]

    def backward(p: Params, step: Step) -> Params:
        inv, x_hat, a, z2 = forward(p)
        dz2 = scores_back(step, z2, y, ("fc2.weight", "fc2.bias"))
        da = dz2 @ p["fc2.weight"].T
        blame = ("norm.gain", "norm.shift")
        dn = step("flow tanh", da * (1 - a**2), blame, derivative__missing=lambda: da)
        g = dn * p["norm.gain"]
        mean, slope = g.mean(1, keepdims=True), x_hat * (g * x_hat).mean(1, keepdims=True)
        dz1 = step(
            "flow norm",
            inv * (g - mean - slope),
            ("fc1.weight", "fc1.bias"),
            reduction__wrong_axis=lambda: inv * (g - g.mean(0) - x_hat * (g * x_hat).mean(0)),
            derivative__no_variance_path=lambda: inv * (g - mean),
            derivative__only_scale=lambda: inv * g,
        )
        return {
            "fc1.weight": weights(step, "fc1.weight", x, dz1),
            "fc1.bias": bias(step, "fc1.bias", dz1),
            "norm.gain": step("dgain", (dn * x_hat).sum(0), ("norm.gain",), scale__mean=lambda: (dn * x_hat).mean(0)),
            "norm.shift": bias(step, "norm.shift", dn),
            "fc2.weight": weights(step, "fc2.weight", a, dz2),
            "fc2.bias": bias(step, "fc2.bias", dz2),
        }

    return Network(params, lambda p: cross_entropy(forward(p)[-1], y), backward, m)


def rnn(rng: np.random.Generator) -> Network:
    """A tanh recurrent network over six steps, the last state classified; softmax cross entropy."""
    m, steps, hidden = 5, 6, 7
    x, y = rng.normal(size=(steps, m, 4)), rng.integers(0, 3, m)
    params = {"Wx": dense(rng, 4, hidden), "Wh": dense(rng, hidden, hidden), "bh": rng.normal(size=hidden) * 0.3}
    params |= {"Wy": dense(rng, hidden, 3), "by": rng.normal(size=3)}

    def forward(p: Params) -> tuple[list[Array], Array]:
        states = [np.zeros((m, hidden))]
        for t in range(steps):
            states.append(np.tanh(x[t] @ p["Wx"] + states[-1] @ p["Wh"] + p["bh"]))
        return states, states[-1] @ p["Wy"] + p["by"]

    def backward(p: Params, step: Step) -> Params:
        states, z = forward(p)
        dz = scores_back(step, z, y, ("Wy", "by"))

        def through_time(first: int = 0, slope: str = "tanh", into: str = "h") -> Params:
            total = {"Wx": 0 * p["Wx"], "Wh": 0 * p["Wh"], "bh": 0 * p["bh"]}
            dh = dz @ p["Wy"].T
            for t in reversed(range(first, steps)):
                h, before = states[t + 1], states[t]
                da = dh if slope == "none" else dh * (1 - h**2)
                total["Wx"] = total["Wx"] + x[t].T @ da
                total["Wh"] = total["Wh"] + (before if into == "h" else h).T @ da
                total["bh"] = total["bh"] + da.sum(0)
                dh = da @ (p["Wh"] if slope == "transposed" else p["Wh"].T)
            return total

        right = through_time()
        last = through_time(steps - 1)
        flat = np.concatenate([value.ravel() for value in right.values()])

        def joined(parts: Params) -> Array:
            return np.concatenate([value.ravel() for value in parts.values()])

        recurrent = ("Wx", "Wh", "bh")
        changed = step(
            "through time",
            flat,
            recurrent,
            derivative__missing=lambda: joined(through_time(slope="none")),
            derivative__not_transposed=lambda: joined(through_time(slope="transposed")),
            missing_term__last_step_only=lambda: joined(last),
            missing_term__first_step=lambda: joined(through_time(2)),
        )
        sizes = np.cumsum([value.size for value in right.values()])[:-1]
        grads = {k: part.reshape(p[k].shape) for k, part in zip(recurrent, np.split(changed, sizes), strict=True)}
        grads["Wh"] = step(
            "dWh",
            grads["Wh"],
            ("Wh",),
            unknown__stale_state=lambda: through_time(into="same")["Wh"],
            missing_term__overwritten=lambda: states[1].T @ (last["bh"] * 0 + _first_delta(p, states, dz)),
        )
        return grads | {"Wy": weights(step, "Wy", states[-1], dz), "by": bias(step, "by", dz)}

    def _first_delta(p: Params, states: list[Array], dz: Array) -> Array:
        dh = dz @ p["Wy"].T
        for t in reversed(range(1, steps)):
            da = dh * (1 - states[t + 1] ** 2)
            dh = da @ p["Wh"].T
        return da

    return Network(params, lambda p: cross_entropy(forward(p)[-1], y), backward, m)


def attention(rng: np.random.Generator) -> Network:
    """One head of attention over six places, mean over them, dense; softmax cross entropy."""
    m, length, d = 4, 6, 5
    x, y = rng.normal(size=(m, length, d)), rng.integers(0, 3, m)
    params = {name: dense(rng, d, d) for name in ("Wi", "Wq", "Wk", "Wv", "Wo")}
    params |= {"head.W": dense(rng, d, 3), "head.b": rng.normal(size=3)}

    def forward(p: Params) -> tuple[Array, ...]:
        e = np.tanh(x @ p["Wi"])
        q, k, v = e @ p["Wq"], e @ p["Wk"], e @ p["Wv"]
        a = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(d))
        o = (a @ v) @ p["Wo"]
        h = o.mean(1)
        return e, q, k, v, a, h, h @ p["head.W"] + p["head.b"]

    def summed(left: Array, right: Array) -> Array:
        return np.einsum("mli,mlj->ij", left, right)

    def backward(p: Params, step: Step) -> Params:
        e, q, k, v, a, h, z = forward(p)
        dz = scores_back(step, z, y, ("head.W", "head.b"))
        do = np.broadcast_to(((dz @ p["head.W"].T) / length)[:, None], (m, length, d))
        dc = do @ p["Wo"].T
        dv = step("flow v", a.transpose(0, 2, 1) @ dc, ("Wv",), derivative__a_not_transposed=lambda: a @ dc)
        da = dc @ v.transpose(0, 2, 1)
        ds = step(
            "flow softmax",
            a * (da - (da * a).sum(-1, keepdims=True)) / np.sqrt(d),
            ("Wk",),
            derivative__diagonal=lambda: a * (1 - a) * da / np.sqrt(d),
            reduction__axis=lambda: a * (da - (da * a).sum(1, keepdims=True)) / np.sqrt(d),
            scale__no_root=lambda: a * (da - (da * a).sum(-1, keepdims=True)),
        )
        dq, dk = ds @ k, ds.transpose(0, 2, 1) @ q
        de = step(
            "de",
            dq @ p["Wq"].T + dk @ p["Wk"].T + dv @ p["Wv"].T,
            ("Wi",),
            missing_term__v_path=lambda: dq @ p["Wq"].T + dk @ p["Wk"].T,
            missing_term__q_path=lambda: dk @ p["Wk"].T + dv @ p["Wv"].T,
        )
        di = step("flow tanh", de * (1 - e**2), ("Wi",), derivative__missing=lambda: de)
        return {
            "Wi": summed(x, di), "Wq": summed(e, dq), "Wk": summed(e, dk), "Wv": summed(e, dv), "Wo": summed(a @ v, do),
            "head.W": weights(step, "head.W", h, dz), "head.b": bias(step, "head.b", dz),
        }  # fmt: skip

    return Network(params, lambda p: cross_entropy(forward(p)[-1], y), backward, m)


def maxout_svm(rng: np.random.Generator) -> Network:
    """Maxout units and the multiclass hinge loss, with L2."""
    m, units, pieces, classes, l2 = 7, 6, 3, 5, 0.04
    x, y = rng.normal(size=(m, 4)), rng.integers(0, classes, m)
    params = {"W0": dense(rng, 4, units * pieces), "b0": rng.normal(size=units * pieces) * 0.3}
    params |= {"W1": dense(rng, units, classes), "b1": rng.normal(size=classes) * 0.1}
    rows = np.arange(m)

    def forward(p: Params) -> tuple[Array, ...]:
        z = (x @ p["W0"] + p["b0"]).reshape(m, units, pieces)
        a = z.max(-1)
        s = a @ p["W1"] + p["b1"]
        margins = np.maximum(0, s - s[rows, y][:, None] + 1)
        margins[rows, y] = 0
        return z, a, margins

    def loss(p: Params) -> float:
        penalty = l2 / 2 * (np.sum(p["W0"] ** 2) + np.sum(p["W1"] ** 2))
        return float(forward(p)[2].sum() / m + penalty)

    def backward(p: Params, step: Step) -> Params:
        z, a, margins = forward(p)
        active = (margins > 0).astype(float)
        ds = active.copy()
        ds[rows, y] = -active.sum(1)
        one = active.copy()
        one[rows, y] = -1
        dscores = step(
            "flow hinge",
            ds / m,
            ("W1", "b1"),
            scale__sum=lambda: ds,
            derivative__one_margin=lambda: one / m,
            derivative__no_true_class=lambda: active / m,
        )
        da = dscores @ p["W1"].T
        winner = z.argmax(-1)
        routed = np.eye(pieces)[winner] * da[:, :, None]
        dz = step(
            "flow maxout",
            routed.reshape(m, -1),
            ("W0", "b0"),
            mask__all_pieces=lambda: np.repeat(da, pieces, 1),
            mask__loser=lambda: (np.eye(pieces)[z.argmin(-1)] * da[:, :, None]).reshape(m, -1),
            mask__first=lambda: (np.eye(pieces)[winner * 0] * da[:, :, None]).reshape(m, -1),
        )
        return {
            "W0": weights(step, "W0", x, dz, l2, p["W0"]), "b0": bias(step, "b0", dz),
            "W1": weights(step, "W1", a, dscores, l2, p["W1"]), "b1": bias(step, "b1", dscores),
        }  # fmt: skip

    return Network(params, loss, backward, m, l2)


def tied(rng: np.random.Generator) -> Network:
    """An autoencoder whose decoder is the transpose of its encoder; mean squared error."""
    m = 6
    x = rng.normal(size=(m, 5))
    params = {"W": dense(rng, 5, 7), "b": rng.normal(size=7) * 0.3, "c": rng.normal(size=5) * 0.3}

    def forward(p: Params) -> tuple[Array, Array]:
        h = np.tanh(x @ p["W"] + p["b"])
        return h, h @ p["W"].T + p["c"]

    def backward(p: Params, step: Step) -> Params:
        h, out = forward(p)
        do = step("flow scores", 2 * (out - x) / x.size, ("c",), scale__no_two=lambda: (out - x) / x.size)
        dh = do @ p["W"]
        dz = step("flow tanh", dh * (1 - h**2), ("W", "b"), derivative__missing=lambda: dh)
        encoder, decoder = x.T @ dz, do.T @ h
        return {
            "W": step("dW", encoder + decoder, ("W",), accumulation__overwritten=lambda: decoder,
                      accumulation__encoder_only=lambda: encoder, accumulation__twice=lambda: encoder + 2 * decoder),
            "b": bias(step, "b", dz),
            "c": bias(step, "c", do),
        }  # fmt: skip

    return Network(params, lambda p: float(np.mean((forward(p)[1] - x) ** 2)), backward, m)


def residual(rng: np.random.Generator) -> Network:
    """Dense, a residual block of two layers with leaky ReLU, dense; mean squared error with L1."""
    m, width, slope, l1 = 9, 6, 0.1, 0.02
    x, t = rng.normal(size=(m, 4)), rng.normal(size=(m, 3))
    params = {"stem.W": dense(rng, 4, width), "stem.b": rng.normal(size=width)}
    params |= {"block.W1": dense(rng, width, width), "block.b1": rng.normal(size=width)}
    params |= {"block.W2": dense(rng, width, width), "block.b2": rng.normal(size=width)}
    params |= {"head.W": dense(rng, width, 3), "head.b": rng.normal(size=3)}

    def leaky(z: Array) -> Array:
        return np.where(z > 0, z, slope * z)

    def forward(p: Params) -> tuple[Array, ...]:
        z0 = x @ p["stem.W"] + p["stem.b"]
        a0 = leaky(z0)
        z1 = a0 @ p["block.W1"] + p["block.b1"]
        a1 = leaky(z1)
        a2 = a0 + a1 @ p["block.W2"] + p["block.b2"]
        return z0, a0, z1, a1, a2, a2 @ p["head.W"] + p["head.b"]

    def loss(p: Params) -> float:
        return float(np.mean((forward(p)[-1] - t) ** 2) + l1 * np.abs(p["head.W"]).sum())

    def backward(p: Params, step: Step) -> Params:
        z0, a0, z1, a1, a2, out = forward(p)
        blame = ("head.W", "head.b")
        do = step("flow scores", 2 * (out - t) / t.size, blame, scale__mean_over_rows=lambda: 2 * (out - t) / m)
        d2 = do @ p["head.W"].T
        d1 = step(
            "flow leaky",
            (d2 @ p["block.W2"].T) * np.where(z1 > 0, 1, slope),
            ("block.W1", "block.b1"),
            derivative__relu=lambda: (d2 @ p["block.W2"].T) * (z1 > 0),
        )
        da0 = step(
            "da0",
            d2 + d1 @ p["block.W1"].T,
            ("stem.W", "stem.b"),
            missing_term__skip=lambda: d1 @ p["block.W1"].T,
            missing_term__block=lambda: d2,
            accumulation__skip_twice=lambda: 2 * d2 + d1 @ p["block.W1"].T,
        )
        d0 = step("flow stem", da0 * np.where(z0 > 0, 1, slope), ("stem.W", "stem.b"), derivative__missing=lambda: da0)
        sign = l1 * np.sign(p["head.W"])
        return {
            "stem.W": weights(step, "stem.W", x, d0), "stem.b": bias(step, "stem.b", d0),
            "block.W1": weights(step, "block.W1", a0, d1), "block.b1": bias(step, "block.b1", d1),
            "block.W2": weights(step, "block.W2", a1, d2), "block.b2": bias(step, "block.b2", d2),
            "head.W": step("dhead", a2.T @ do + sign, ("head.W",), regularization__missing=lambda: a2.T @ do,
                           regularization__twice=lambda: a2.T @ do + 2 * sign),
            "head.b": bias(step, "head.b", do),
        }  # fmt: skip

    return Network(params, loss, backward, m)


UNSEEN: tuple[Family, ...] = (layer_norm, rnn, attention, maxout_svm, tied, residual)
