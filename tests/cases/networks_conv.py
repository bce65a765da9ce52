"""Convolutional networks written by hand.

Images are (batch, channel, height, width), kernels (out, in, height, width).
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .slip import Network, Parameters, Slip, cross_entropy, one_hot, softmax


def convolve(x: np.ndarray, K: np.ndarray, pad: int = 0, stride: int = 1) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(x, K.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    return np.einsum("bchwij,ocij->bohw", windows, K)


def convolve_backward(
    dz: np.ndarray, x: np.ndarray, K: np.ndarray, pad: int = 0, stride: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the input and of the kernel."""
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = sliding_window_view(padded, K.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    dK = np.einsum("bchwij,bohw->ocij", windows, dz)
    dx = np.zeros_like(padded)
    height, width = dz.shape[2:]
    for i in range(K.shape[2]):
        for j in range(K.shape[3]):
            dx[:, :, i : i + stride * height : stride, j : j + stride * width : stride] += np.einsum(
                "bohw,oc->bchw", dz, K[:, :, i, j]
            )
    return dx[:, :, pad : dx.shape[2] - pad, pad : dx.shape[3] - pad], dK


def conv_max(rng: np.random.Generator) -> Network:
    """Two 3x3 convolutions (padded) with tanh, 2x2 max pooling between them, dense, softmax cross-entropy."""
    m = 3
    X, labels = rng.normal(size=(m, 2, 4, 4)), rng.integers(0, 3, m)
    params = {
        "K1": rng.normal(size=(3, 2, 3, 3)) / 2, "b1": rng.normal(size=3),
        "K2": rng.normal(size=(2, 3, 3, 3)) / 2, "b2": rng.normal(size=2),
        "W": rng.normal(size=(8, 3)), "c": rng.normal(size=3),
    }  # fmt: skip

    def blocks(a: np.ndarray) -> np.ndarray:
        """(b, c, 4, 4) as 2x2 blocks (b, c, 2, 2, 4)."""
        return a.reshape(m, -1, 2, 2, 2, 2).swapaxes(3, 4).reshape(m, -1, 2, 2, 4)

    def unblocks(a: np.ndarray) -> np.ndarray:
        return a.reshape(m, -1, 2, 2, 2, 2).swapaxes(3, 4).reshape(m, -1, 4, 4)

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        h1 = np.tanh(convolve(X, p["K1"], pad=1) + p["b1"][:, None, None])
        pooled = blocks(h1).max(-1)
        h2 = np.tanh(convolve(pooled, p["K2"], pad=1) + p["b2"][:, None, None])
        return h1, pooled, h2, softmax(h2.reshape(m, -1) @ p["W"] + p["c"])

    def loss(p: Parameters) -> float:
        return cross_entropy(forward(p)[-1], labels)

    def backward(p: Parameters, slip: Slip) -> Parameters:
        h1, pooled, h2, prob = forward(p)
        ds = (prob - one_hot(labels, 3)) / m
        flat = slip("channels last in the flattening", h2, np.moveaxis(h2, 1, -1)).reshape(m, -1)
        dh2 = (ds @ p["W"].T).reshape(h2.shape)
        dz2 = dh2 * (1 - h2**2)
        dz2 = slip("second tanh without derivative", dz2, dh2)
        dpooled, dK2 = convolve_backward(dz2, pooled, p["K2"], pad=1)
        flipped = p["K2"][:, :, ::-1, ::-1]
        dpooled = slip("kernel flipped on the way back", dpooled, convolve_backward(dz2, pooled, flipped, pad=1)[0])
        winner = one_hot(blocks(h1).argmax(-1), 4)
        winner = slip("pooling spreads evenly", winner, np.full_like(winner, 0.25))
        winner = slip("pooling gives all of it to all", winner, np.ones_like(winner))
        winner = slip("pooling picks the first of the block", winner, np.broadcast_to(np.eye(4)[0], winner.shape))
        dh1 = unblocks(dpooled[..., None] * winner)
        dh1 = slip("pooling block transposed", dh1, dh1.swapaxes(2, 3))
        dz1 = dh1 * (1 - h1**2)
        dz1 = slip("dz1 halved", dz1, dz1 / 2)
        dK1 = convolve_backward(dz1, X, p["K1"], pad=1)[1]
        dK1 = slip("dK1 flipped", dK1, dK1[:, :, ::-1, ::-1])
        dK1 = slip("dK1 transposed in space", dK1, dK1.swapaxes(2, 3))
        dK1 = slip("padding forgotten in dK1", dK1, _unpadded(dz1, X, dK1))
        dK2 = slip("channels of dK2 rolled", dK2, np.roll(dK2, 1, axis=1))
        dK2 = slip("one filter of dK2 zero", dK2, dK2 * np.array([1, 0])[:, None, None, None])
        dK2 = slip("dK2 only of the last image", dK2, convolve_backward(dz2[-1:], pooled[-1:], p["K2"], pad=1)[1])
        db1, db2 = dz1.sum((0, 2, 3)), dz2.sum((0, 2, 3))
        db1 = slip("db1 averaged over the image", db1, dz1.mean((2, 3)).sum(0))
        db1 = slip("db1 not summed over the width", db1, dz1.sum((0, 2))[:, 0])
        db2 = slip("db2 averaged over the batch", db2, dz2.sum((2, 3)).mean(0))
        return {"K1": dK1, "b1": db1, "K2": dK2, "b2": db2, "W": flat.T @ ds, "c": ds.sum(0)}

    return Network(loss, backward, params)


def _unpadded(dz: np.ndarray, x: np.ndarray, dK: np.ndarray) -> np.ndarray:
    """The border's share of the kernel gradient left out."""
    inner = np.zeros_like(dK)
    for i in range(3):
        for j in range(3):
            inner[:, :, i, j] = np.einsum("bchw,bohw->oc", x[:, :, i : i + 2, j : j + 2], dz[:, :, 1:3, 1:3])
    return inner


def conv_average(rng: np.random.Generator) -> Network:
    """A strided convolution, ReLU, a depthwise scale per channel, global average pooling, squared error."""
    m = 3
    X, Y = rng.normal(size=(m, 2, 7, 7)), rng.normal(size=(m, 3))
    params = {
        "K": rng.normal(size=(4, 2, 3, 3)), "b": rng.normal(size=4), "scale": rng.normal(size=4),
        "W": rng.normal(size=(4, 3)),
    }  # fmt: skip

    def forward(p: Parameters) -> tuple[np.ndarray, ...]:
        z = convolve(X, p["K"], stride=2) + p["b"][:, None, None]
        pooled = np.maximum(z, 0).mean((2, 3))
        return z, pooled, (pooled * p["scale"]) @ p["W"]

    def loss(p: Parameters) -> float:
        return float(((forward(p)[-1] - Y) ** 2).sum() / (2 * m))

    def backward(p: Parameters, slip: Slip) -> Parameters:
        z, pooled, out = forward(p)
        dout = (out - Y) / m
        dscaled = dout @ p["W"].T
        dpooled = dscaled * slip("channel scale not applied", p["scale"], 1)
        area = slip("average not divided by the area", 9, 1)
        area = slip("area of the input used", area, 49)
        dz = (z > 0) * dpooled[:, :, None, None] / area
        dz = slip("gradient into the last pixel only", dz, np.where(np.arange(9).reshape(3, 3) == 8, 9 * dz, 0))
        dK = convolve_backward(dz, X, p["K"], stride=2)[1]
        dK = slip("stride forgotten in dK", dK, np.einsum("bchwij,bohw->ocij", _dense_windows(X), dz))
        dK = slip("input channels exchanged in dK", dK, dK[:, ::-1])
        return {
            "K": slip("dK halved", dK, dK / 2),
            "b": slip("db forgotten", dz.sum((0, 2, 3)), np.zeros(4)),
            "scale": slip("dscale with the scale in it", (dscaled * pooled).sum(0), (dpooled * pooled).sum(0)),
            "W": slip("dW before the scale", pooled * p["scale"], pooled).T @ dout,
        }

    return Network(loss, backward, params)


def _dense_windows(x: np.ndarray) -> np.ndarray:
    return sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, :3, :3]
