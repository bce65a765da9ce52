"""Hand-written NumPy networks with places for mistakes; the diagnosis was tuned on these.

The families it has not seen are in `networks_unseen`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .generated import Array, Family, Network, Params, Step

# Pieces


def dense(rng: np.random.Generator, n_in: int, n_out: int) -> Array:
    return rng.normal(size=(n_in, n_out)) / np.sqrt(n_in)


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cross_entropy(z: Array, y: Array) -> float:
    return float(-np.mean(np.log(softmax(z)[np.arange(len(y)), y])))


def scores_back(step: Step, z: Array, y: Array, blame: tuple[str, ...]) -> Array:
    hot = np.eye(z.shape[1])[y]
    p = softmax(z)
    return step(
        "flow scores",
        (p - hot) / len(y),
        blame,
        scale__sum=lambda: p - hot,
        derivative__no_target=lambda: p / len(y),
        derivative__softmax_diagonal=lambda: p * (1 - p) * (p - hot) / len(y),
        missing_term__last_row=lambda: np.concatenate([(p - hot)[:-1], 0 * p[-1:]]) / len(y),
    )


def weights(step: Step, name: str, x: Array, dz: Array, l2: float = 0.0, W: Array | None = None) -> Array:
    """The gradient of a dense layer's weights."""
    penalty = 0 if W is None else l2 * W
    wrong: dict[str, Callable[[], Array]] = {"missing_term__sample": lambda: x[:-1].T @ dz[:-1] + penalty}
    if l2 and W is not None:
        wrong["regularization__missing"] = lambda: x.T @ dz
        wrong["regularization__twice"] = lambda: x.T @ dz + 2 * penalty
        wrong["regularization__half"] = lambda: x.T @ dz + penalty / 2
        wrong["missing_term__data"] = lambda: penalty + 0 * W
    return step(f"d{name}", x.T @ dz + penalty, (name,), **wrong)


def bias(step: Step, name: str, dz: Array) -> Array:
    wrong: dict[str, Callable[[], Array]] = {
        "scale__mean": lambda: dz.mean(0),
        "missing_term__sample": lambda: dz[:-1].sum(0),
    }
    if dz.shape[0] == dz.shape[1]:
        wrong["reduction__axis"] = lambda: dz.sum(1)
    return step(f"d{name}", dz.sum(0), (name,), **wrong)


# Families


def mlp(rng: np.random.Generator) -> Network:
    """Dense, ReLU, dense, tanh, dense; softmax cross entropy."""
    m = 9
    x, y = rng.normal(size=(m, 7)), rng.integers(0, 4, m)
    params = {"W1": dense(rng, 7, 8), "b1": rng.normal(size=8) * 0.5, "W2": dense(rng, 8, 8)}
    params |= {"b2": rng.normal(size=8) * 0.1, "W3": dense(rng, 8, 4), "b3": rng.normal(size=4) * 0.1}

    def forward(p: Params) -> tuple[Array, ...]:
        z1 = x @ p["W1"] + p["b1"]
        a1 = np.maximum(z1, 0)
        a2 = np.tanh(a1 @ p["W2"] + p["b2"])
        return z1, a1, a2, a2 @ p["W3"] + p["b3"]

    def backward(p: Params, step: Step) -> Params:
        z1, a1, a2, z3 = forward(p)
        dz3 = scores_back(step, z3, y, ("W3", "b3"))
        da2 = dz3 @ p["W3"].T
        dz2 = step(
            "flow tanh",
            da2 * (1 - a2**2),
            ("W2", "b2"),
            derivative__missing=lambda: da2,
            derivative__no_square=lambda: da2 * (1 - a2),
            derivative__sigmoid=lambda: da2 * a2 * (1 - a2),
        )
        da1 = step("da1", dz2 @ p["W2"].T, ("W1", "b1"), derivative__W_not_transposed=lambda: dz2 @ p["W2"])
        dz1 = step(
            "flow relu",
            da1 * (z1 > 0),
            ("W1", "b1"),
            mask__missing=lambda: da1,
            mask__on_gradient=lambda: da1 * (da1 > 0),
            mask__inverted=lambda: da1 * (z1 <= 0),
        )
        return {
            "W1": weights(step, "W1", x, dz1), "b1": bias(step, "b1", dz1), "W2": weights(step, "W2", a1, dz2),
            "b2": bias(step, "b2", dz2), "W3": weights(step, "W3", a2, dz3), "b3": bias(step, "b3", dz3),
        }  # fmt: skip

    return Network(params, lambda p: cross_entropy(forward(p)[-1], y), backward, m)


def regularized(rng: np.random.Generator) -> Network:
    """Sigmoid network with L2; binary cross entropy on logits."""
    m, l2 = 11, 0.07
    x, t = rng.normal(size=(m, 5)), rng.random((m, 3))
    params = {"layers.0.W": dense(rng, 5, 6), "layers.0.b": rng.normal(size=6) * 0.3}
    params |= {"layers.1.W": dense(rng, 6, 3), "layers.1.b": rng.normal(size=3) * 0.3}

    def forward(p: Params) -> tuple[Array, Array]:
        a = 1 / (1 + np.exp(-(x @ p["layers.0.W"] + p["layers.0.b"])))
        return a, a @ p["layers.1.W"] + p["layers.1.b"]

    def loss(p: Params) -> float:
        z = forward(p)[1]
        data = float(np.mean(np.logaddexp(0, z) - t * z))
        return data + l2 / 2 * sum(float(np.sum(p[name] ** 2)) for name in p if name.endswith("W"))

    def backward(p: Params, step: Step) -> Params:
        a, z = forward(p)
        s = 1 / (1 + np.exp(-z))
        dz2 = step(
            "flow scores",
            (s - t) / z.size,
            ("layers.1.W", "layers.1.b"),
            derivative__sigmoid_twice=lambda: (s - t) * s * (1 - s) / z.size,
            scale__mean_over_rows=lambda: (s - t) / m,
        )
        da = dz2 @ p["layers.1.W"].T
        dz1 = step(
            "flow sigmoid",
            da * a * (1 - a),
            ("layers.0.W", "layers.0.b"),
            derivative__tanh=lambda: da * (1 - a**2),
            derivative__missing=lambda: da,
        )
        return {
            "layers.0.W": weights(step, "layers.0.W", x, dz1, l2, p["layers.0.W"]),
            "layers.0.b": bias(step, "layers.0.b", dz1),
            "layers.1.W": weights(step, "layers.1.W", a, dz2, l2, p["layers.1.W"]),
            "layers.1.b": bias(step, "layers.1.b", dz2),
        }

    return Network(params, loss, backward, m, l2)


def batch_norm(rng: np.random.Generator) -> Network:
    """Dense, batch norm, ReLU, dense; softmax cross entropy."""
    m, eps = 10, 1e-5
    x, y = rng.normal(size=(m, 6)), rng.integers(0, 3, m)
    params = {
        "dense_0.W": dense(rng, 6, 7),
        "norm_0.gamma": rng.uniform(0.5, 1.5, 7),
        "norm_0.beta": rng.normal(size=7),
    }
    params |= {"dense_1.W": dense(rng, 7, 3), "dense_1.b": rng.normal(size=3)}

    def forward(p: Params) -> tuple[Array, ...]:
        z = x @ p["dense_0.W"]
        inv = 1 / np.sqrt(z.var(0) + eps)
        x_hat = (z - z.mean(0)) * inv
        n = x_hat * p["norm_0.gamma"] + p["norm_0.beta"]
        a = np.maximum(n, 0)
        return inv, x_hat, n, a, a @ p["dense_1.W"] + p["dense_1.b"]

    def backward(p: Params, step: Step) -> Params:
        inv, x_hat, n, a, z2 = forward(p)
        dz2 = scores_back(step, z2, y, ("dense_1.W", "dense_1.b"))
        dn = (dz2 @ p["dense_1.W"].T) * (n > 0)
        g = dn * p["norm_0.gamma"]
        right = inv * (g - g.mean(0) - x_hat * (g * x_hat).mean(0))
        dz1 = step(
            "flow norm",
            right,
            ("dense_0.W",),
            reduction__no_mean_path=lambda: inv * (g - x_hat * (g * x_hat).mean(0)),
            derivative__no_variance_path=lambda: inv * (g - g.mean(0)),
            derivative__only_scale=lambda: inv * g,
            scale__gamma_missing=lambda: right / p["norm_0.gamma"],
        )
        return {
            "dense_0.W": weights(step, "dense_0.W", x, dz1),
            "norm_0.gamma": step(
                "dgamma", (dn * x_hat).sum(0), ("norm_0.gamma",), unknown__not_normalized=lambda: (dn * n).sum(0)
            ),
            "norm_0.beta": bias(step, "norm_0.beta", dn),
            "dense_1.W": weights(step, "dense_1.W", a, dz2),
            "dense_1.b": bias(step, "dense_1.b", dz2),
        }  # fmt: skip

    return Network(params, lambda p: cross_entropy(forward(p)[-1], y), backward, m)


def _patches(x: Array, k: int) -> Array:
    return np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))  # (m, c, h', w', k, k)


def conv(rng: np.random.Generator) -> Network:
    """Two convolutions with ReLU, mean over the map, dense; softmax cross entropy."""
    m, k = 5, 3
    x, y = rng.normal(size=(m, 2, 8, 8)), rng.integers(0, 3, m)
    params = {"K1": rng.normal(size=(4, 2, k, k)) * 0.3, "b1": rng.normal(size=4) * 0.1}
    params |= {"K2": rng.normal(size=(5, 4, k, k)) * 0.3, "b2": rng.normal(size=5) * 0.1}
    params |= {"W3": dense(rng, 5, 3), "b3": rng.normal(size=3)}

    def convolve(x: Array, kernel: Array) -> Array:
        return np.einsum("mchwij,ocij->mohw", _patches(x, k), kernel)

    def forward(p: Params) -> tuple[Array, ...]:
        z1 = convolve(x, p["K1"]) + p["b1"][:, None, None]
        a1 = np.maximum(z1, 0)
        z2 = convolve(a1, p["K2"]) + p["b2"][:, None, None]
        pooled = np.maximum(z2, 0).mean((2, 3))
        return z1, a1, z2, pooled, pooled @ p["W3"] + p["b3"]

    def kernel_back(step: Step, name: str, a: Array, dz: Array) -> Array:
        right = np.einsum("mchwij,mohw->ocij", _patches(a, k), dz)
        return step(
            f"d{name}",
            right,
            (name,),
            indexing__flipped=lambda: right[:, :, ::-1, ::-1].copy(),
            transpose__window=lambda: right.transpose(0, 1, 3, 2).copy(),
        )

    def backward(p: Params, step: Step) -> Params:
        z1, a1, z2, pooled, z3 = forward(p)
        dz3 = scores_back(step, z3, y, ("W3", "b3"))
        d = np.broadcast_to((dz3 @ p["W3"].T)[:, :, None, None], z2.shape)
        area = z2.shape[2] * z2.shape[3]
        dz2 = step("flow pool", d * (z2 > 0) / area, ("K2", "b2"), scale__area=lambda: d * (z2 > 0))
        padded = np.pad(dz2, ((0, 0), (0, 0), (k - 1, k - 1), (k - 1, k - 1)))
        flipped = p["K2"][:, :, ::-1, ::-1]
        da1 = step(
            "da1",
            np.einsum("mohwij,ocij->mchw", _patches(padded, k), flipped),
            ("K1", "b1"),
            derivative__not_flipped=lambda: np.einsum("mohwij,ocij->mchw", _patches(padded, k), p["K2"]),
        )
        dz1 = step("flow relu", da1 * (z1 > 0), ("K1", "b1"), derivative__missing=lambda: da1)
        return {
            "K1": kernel_back(step, "K1", x, dz1),
            "b1": step("db1", dz1.sum((0, 2, 3)), ("b1",), scale__mean=lambda: dz1.mean((0, 2, 3))),
            "K2": kernel_back(step, "K2", a1, dz2),
            "b2": step("db2", dz2.sum((0, 2, 3)), ("b2",), scale__mean=lambda: dz2.mean((0, 2, 3))),
            "W3": weights(step, "W3", pooled, dz3),
            "b3": bias(step, "b3", dz3),
        }

    return Network(params, lambda p: cross_entropy(forward(p)[-1], y), backward, m)


def embedding(rng: np.random.Generator) -> Network:
    """Embedding of words, mean over the sentence, dense; softmax cross entropy."""
    m, length = 4, 5
    words = np.array([[1, 2, 2, 5, 6], [0, 1, 7, 3, 3], [6, 6, 6, 8, 9], [4, 10, 2, 1, 11]])
    y = rng.integers(0, 3, m)
    params = {"E": rng.normal(size=(14, 4)), "W": dense(rng, 4, 3), "b": rng.normal(size=3)}

    def forward(p: Params) -> tuple[Array, Array]:
        h = np.tanh(p["E"][words].mean(1))
        return h, h @ p["W"] + p["b"]

    def backward(p: Params, step: Step) -> Params:
        h, z = forward(p)
        dz = scores_back(step, z, y, ("W", "b"))
        dh = dz @ p["W"].T
        de = step("flow tanh", dh * (1 - h**2) / length, ("E",), derivative__missing=lambda: dh / length)
        each = np.broadcast_to(de[:, None], (m, length, 4))

        def added() -> Array:
            dE = np.zeros_like(p["E"])
            np.add.at(dE, words, each)
            return dE

        def overwritten() -> Array:
            dE = np.zeros_like(p["E"])
            dE[words] = each
            return dE

        def buffered() -> Array:
            dE = np.zeros_like(p["E"])
            dE[words] += each
            return dE

        def averaged() -> Array:
            return added() / np.maximum(np.bincount(words.ravel(), minlength=14), 1)[:, None]

        return {
            "E": step("dE", added(), ("E",), accumulation__overwritten=overwritten, accumulation__buffered=buffered,
                      accumulation__averaged=averaged, indexing__off_by_one=lambda: np.roll(added(), 1, 0)),
            "W": weights(step, "W", h, dz),
            "b": bias(step, "b", dz),
        }  # fmt: skip

    return Network(params, lambda p: cross_entropy(forward(p)[-1], y), backward, m)


def dropout(rng: np.random.Generator) -> Network:
    """Dense, tanh, dropout with a fixed mask, dense; mean squared error."""
    m, keep = 6, 0.7
    x, t = rng.normal(size=(m, 5)), rng.normal(size=(m, 2))
    mask = (rng.random((m, 12)) < keep) / keep
    params = {"W1": dense(rng, 5, 12), "b1": rng.normal(size=12), "W2": dense(rng, 12, 2), "b2": rng.normal(size=2)}

    def forward(p: Params) -> tuple[Array, Array, Array]:
        h = np.tanh(x @ p["W1"] + p["b1"])
        return h, h * mask, (h * mask) @ p["W2"] + p["b2"]

    def backward(p: Params, step: Step) -> Params:
        h, dropped, z = forward(p)
        blame = ("W2", "b2")
        dz2 = step("flow scores", 2 * (z - t) / t.size, blame, scale__no_two=lambda: (z - t) / t.size)
        da = dz2 @ p["W2"].T
        dh = step(
            "flow dropout",
            da * mask,
            ("W1", "b1"),
            mask__missing=lambda: da,
            scale__keep_prob_missing=lambda: da * (mask > 0),
            mask__other=lambda: da * np.roll(mask, 1, 0),
        )
        dz1 = step("flow tanh", dh * (1 - h**2), ("W1", "b1"), derivative__of_dropped=lambda: dh * (1 - dropped**2))
        return {
            "W1": weights(step, "W1", x, dz1),
            "b1": bias(step, "b1", dz1),
            "W2": step("dW2", dropped.T @ dz2, ("W2",), unknown__not_dropped=lambda: h.T @ dz2),
            "b2": bias(step, "b2", dz2),
        }

    return Network(params, lambda p: float(np.mean((forward(p)[-1] - t) ** 2)), backward, m)


TUNING: tuple[Family, ...] = (mlp, regularized, batch_norm, conv, embedding, dropout)
