"""Every kernel of :mod:`gradproof.kernels` again, in plain NumPy: the formulas, to be read.

Shapes: a batch ``x`` is (m, n), one row per sample. ``dy`` is the derivative of the cost with respect to ``y``, so each
``*_backward`` is the chain rule for one operation. Arguments are not validated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


# ---- Dense ----
def matmul(a: Array, b: Array, transpose_a: bool = False, transpose_b: bool = False) -> Array:
    """``c = op(a) op(b)``, where ``op`` transposes or not."""
    return (a.T if transpose_a else a) @ (b.T if transpose_b else b)


def dense_forward(x: Array, W: Array, b: Array | None = None) -> Array:
    """``y = x W + b``."""
    y = x @ W
    return y if b is None else y + b


def dense_backward(dy: Array, x: Array, W: Array) -> tuple[Array, Array, Array]:
    """``dx = dy W^T``, ``dW = x^T dy``, ``db`` = sum of dy over the rows."""
    return dy @ W.T, x.T @ dy, _sum(dy, axis=0)


# ---- Activations ----
def relu_forward(x: Array) -> Array:
    """``y = max(x, 0)``."""
    return np.maximum(x, 0)


def relu_backward(dy: Array, x: Array) -> Array:
    """``dx = dy`` where x > 0, else 0."""
    return np.where(x > 0, dy, np.zeros_like(dy))


def leaky_relu_forward(x: Array, slope: float) -> Array:
    """``y = x`` where x > 0, else ``slope x``."""
    return np.where(x > 0, x, slope * x)


def leaky_relu_backward(dy: Array, x: Array, slope: float) -> Array:
    """``dx = dy`` where x > 0, else ``slope dy``."""
    return np.where(x > 0, dy, slope * dy)


def tanh_forward(x: Array) -> Array:
    """``y = tanh x``."""
    return np.tanh(x)


def tanh_backward(dy: Array, y: Array) -> Array:
    """``dx = dy (1 - y^2)``."""
    return dy * ((1 - y) * (1 + y))


def sigmoid_forward(x: Array) -> Array:
    """``y = 1 / (1 + e^-x)``, written so that the exponential cannot overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, np.ones_like(e)) / (1 + e)


def sigmoid_backward(dy: Array, y: Array) -> Array:
    """``dx = dy y (1 - y)``."""
    return dy * (y * (1 - y))


def softmax_forward(x: Array) -> Array:
    """``y = e^x / sum of e^x`` over each row. Subtracting the row's maximum changes nothing but prevents overflow."""
    e = np.exp(x - _row_maximum(x))
    return e / _sum(e, axis=1, keepdims=True)


def softmax_backward(dy: Array, y: Array) -> Array:
    """``dx = y (dy - sum of dy y)``, the sum over each row."""
    return y * (dy - _sum(dy * y, axis=1, keepdims=True))


# ---- Maxout ----
def maxout_forward(x: Array, pieces: int) -> tuple[Array, NDArray[np.int32]]:
    """``y`` = the largest of the pieces of each unit, and which piece that was (the first of several)."""
    x = x.reshape(x.shape[0], x.shape[1] // pieces, pieces)
    winner = np.argmax(x, axis=2)
    return np.take_along_axis(x, winner[..., None], axis=2)[..., 0], winner.astype(np.int32)


def maxout_backward(dy: Array, winner: NDArray[np.int32], pieces: int) -> Array:
    """``dx = dy`` for the piece that won, 0 for the others."""
    won = winner[..., None] == np.arange(pieces)
    dx = np.where(won, dy[..., None], np.zeros((), dy.dtype))
    return dx.reshape(dy.shape[0], dy.shape[1] * pieces)


# ---- Dropout ----
def dropout_mask(
    shape: int | Sequence[int], keep_prob: float, seed: int = 0, stream: int = 0, step: int = 0, dtype: str = "float64"
) -> Array:
    """``1 / keep_prob`` with probability `keep_prob`, else 0: the same mask as that of the compiled kernel."""
    size = int(np.prod(shape))
    uniform = _philox(size, seed, stream, step) >> np.uint64(8)  # integers of 24 bits
    keep = uniform < round(keep_prob * 2**24)
    return (keep * np.dtype(dtype).type(1 / keep_prob)).reshape(shape)


def dropout_forward(x: Array, mask: Array) -> Array:
    """``y = x mask``."""
    return x * mask


def dropout_backward(dy: Array, mask: Array) -> Array:
    """``dx = dy mask``."""
    return dy * mask


# ---- Batch normalization ----
def batch_norm_forward(
    x: Array, gamma: Array, beta: Array, epsilon: float = 1e-5
) -> tuple[Array, Array, Array, Array, Array]:
    """``y = gamma x_hat + beta``, ``x_hat = (x - mean) inv_std``, ``inv_std = 1 / sqrt(variance + epsilon)``.

    Returns y, x_hat, mean, inv_std, variance.
    """
    m = x.shape[0]
    exact_mean = np.sum(x, axis=0, dtype=_wide(x)) / m
    exact_variance = np.sum((x - exact_mean) ** 2, axis=0) / m  # biased: divided by m, not m - 1
    mean, variance = exact_mean.astype(x.dtype), exact_variance.astype(x.dtype)
    inv_std = (1 / np.sqrt(exact_variance + epsilon)).astype(x.dtype)
    x_hat = (x - mean) * inv_std
    return gamma * x_hat + beta, x_hat, mean, inv_std, variance


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, running_mean: Array, running_variance: Array, epsilon: float = 1e-5
) -> Array:
    """``y = gamma (x - running_mean) / sqrt(running_variance + epsilon) + beta``."""
    return gamma * ((x - running_mean) / np.sqrt(running_variance + x.dtype.type(epsilon))) + beta


def batch_norm_backward(dy: Array, x_hat: Array, inv_std: Array, gamma: Array) -> tuple[Array, Array, Array]:
    """``dx = gamma inv_std (dy - mean(dy) - x_hat mean(dy x_hat))``, and the two derivatives it contains as sums:
    ``dgamma`` = sum of dy x_hat, ``dbeta`` = sum of dy.
    """
    m = dy.shape[0]
    dgamma, dbeta = _sum(dy * x_hat, axis=0), _sum(dy, axis=0)
    return gamma * inv_std * (dy - dbeta / m - x_hat * (dgamma / m)), dgamma, dbeta


def batch_norm_update(
    running_mean: Array, running_variance: Array, mean: Array, variance: Array, decay: float = 0.9
) -> tuple[Array, Array]:
    """``running = decay running + (1 - decay) batch``, for the mean and the variance."""
    return decay * running_mean + (1 - decay) * mean, decay * running_variance + (1 - decay) * variance


# ---- Losses: the mean loss, and its derivative with respect to the scores ----
def softmax_cross_entropy(scores: Array, labels: NDArray[np.int64]) -> tuple[float, Array]:
    """``L = log(sum of e^s) - s_y``; ``ds = p - [j = y]``, for the true class as minus the sum of the other p.

    With the row's maximum subtracted first; 1 - p_y would lose all digits when p_y approaches 1.
    """
    m = scores.shape[0]
    rows = np.arange(m)
    shifted = scores - _row_maximum(scores)
    e = np.exp(shifted).astype(_wide(shifted))
    e_true = e[rows, labels]
    e[rows, labels] = 0
    others = e.sum(axis=1)
    losses = np.log1p(others + (e_true - 1)) - shifted[rows, labels]
    dscores = e
    dscores[rows, labels] = -others
    dscores /= ((others + e_true) * m)[:, None]
    return float(losses.sum() / m), dscores.astype(scores.dtype)


def hinge(scores: Array, labels: NDArray[np.int64], margin: float = 1.0) -> tuple[float, Array]:
    """``L`` = sum over the wrong classes of ``max(0, s_j - s_y + margin)``; ``ds_j = 1`` where that is positive.

    A score that is NaN keeps no margin.
    """
    m = scores.shape[0]
    rows = np.arange(m)
    excess = np.maximum(scores - scores[rows, labels][:, None] + scores.dtype.type(margin), 0)
    excess[rows, labels] = 0
    dscores = (~(excess <= 0)).astype(scores.dtype)
    dscores[rows, labels] = -dscores.sum(axis=1)
    return float(np.sum(excess, dtype=np.float64) / m), dscores / m


def binary_cross_entropy(scores: Array, targets: Array) -> tuple[float, Array]:
    """``L = log(1 + e^z) - t z`` of a logit z; ``dz = sigmoid(z) - t``, both without cancellation."""
    z, t = scores, targets.reshape(scores.shape)
    losses = np.log1p(np.exp(-np.abs(z))) + np.where(z > 0, (1 - t) * z, -t * z)
    dscores = (1 - t) * sigmoid_forward(z) - t * sigmoid_forward(-z)
    return float(np.sum(losses, dtype=np.float64) / z.size), dscores / z.size


def mse(predictions: Array, targets: Array) -> tuple[float, Array]:
    """``L = (p - t)^2``, mean over all elements; ``dp = 2 (p - t) / size``."""
    difference = predictions - targets.reshape(predictions.shape)
    return float(np.sum(difference.astype(np.float64) ** 2) / difference.size), 2 * difference / difference.size


# ---- Penalties ----
def l1(W: Array, coefficient: float) -> tuple[float, Array]:
    """``c sum |W|`` and ``c sign(W)``, where the sign of 0 and of NaN is 0."""
    sign = (W > 0).astype(W.dtype) - (W < 0)
    return float(coefficient * np.sum(np.abs(W), dtype=np.float64)), coefficient * sign.astype(W.dtype)


def l2(W: Array, coefficient: float) -> tuple[float, Array]:
    """``c/2 sum W^2`` and ``c W``."""
    return float(coefficient / 2 * np.sum(W.astype(np.float64) ** 2)), coefficient * W


# ---- Helpers ----
def _sum(x: Array, axis: int, keepdims: bool = False) -> Array:
    """A sum accumulated in float64 or wider: in float32, a digit is lost per hundred rows."""
    return np.sum(x, axis=axis, keepdims=keepdims, dtype=_wide(x)).astype(x.dtype)


def _wide(x: Array) -> np.dtype[Any]:
    """float64, or the type of x where that is wider."""
    return np.promote_types(x.dtype, np.float64)


def _row_maximum(x: Array) -> Array:
    return np.max(x, axis=1, keepdims=True, initial=-np.inf)


def _philox(size: int, seed: int, stream: int, step: int) -> NDArray[np.uint64]:
    """The first `size` numbers of Philox4x32-10 (Salmon et al. 2011), of 32 bits each.

    Key: `seed`. Counter: (block, `stream`, `step`). 16 consecutive blocks of 4 words make a group of 64 numbers, in
    which the first words of all blocks come first.
    """
    low, bits = np.uint64(0xFFFFFFFF), np.uint64(32)
    blocks = np.arange(-(-size // 64) * 16, dtype=np.uint64)
    x0, x1, x2, x3 = (
        blocks,
        np.full_like(blocks, stream),
        np.full_like(blocks, step & 0xFFFFFFFF),
        np.full_like(blocks, step >> 32),
    )
    key0, key1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * x0, np.uint64(0xCD9E8D57) * x2
        x0, x1, x2, x3 = (p1 >> bits) ^ x1 ^ np.uint64(key0), p1 & low, (p0 >> bits) ^ x3 ^ np.uint64(key1), p0 & low
        key0, key1 = (key0 + 0x9E3779B9) & 0xFFFFFFFF, (key1 + 0xBB67AE85) & 0xFFFFFFFF
    words = np.stack([x0, x1, x2, x3]).reshape(4, -1, 16)
    return words.transpose(1, 0, 2).reshape(-1)[:size]
