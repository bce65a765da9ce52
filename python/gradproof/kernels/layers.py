"""Kernels of the layers. A batch is (m, n), one row per sample; ``dy`` is the derivative of the cost by ``y``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _core
from gradproof.kernels.arguments import Array, batch, floats, integers, number
from gradproof.nn import validate
from gradproof.nn.validate import SMALLEST_EPSILON, SMALLEST_KEEP_PROB


# ---- Dense ----
def matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Array:
    """The matrix product ``c = op(a) op(b)``, where ``op`` transposes or not.

    Parameters
    ----------
    a : array (m, k), or (k, m) to be transposed
    b : array (k, n), or (n, k) to be transposed; of the dtype of `a`
    transpose_a, transpose_b : bool

    Returns
    -------
    array (m, n)

    Raises
    ------
    TypeError
        If an argument is not float32 or float64, or their dtypes differ. So do all kernels.
    ValueError
        If a shape does not fit. So do all kernels.
    """
    a = floats(a, "a", ("k", "m") if transpose_a else ("m", "k"))
    m, k = a.shape[::-1] if transpose_a else a.shape
    b = floats(b, "b", ("n", k) if transpose_b else (k, "n"), ("a", a))
    n = b.shape[0] if transpose_b else b.shape[1]
    c = np.empty((m, n), a.dtype)
    _core.matmul(c, a, b, bool(transpose_a), bool(transpose_b))
    return c


def dense_forward(x: Any, W: Any, b: Any = None) -> Array:
    """``y = x W + b``, of shape (m, n_out).

    Parameters
    ----------
    x : array (m, n_in)
    W : array (n_in, n_out)
    b : array (n_out,), optional
    """
    x = floats(x, "x", ("m", "n_in"))
    W = floats(W, "W", (x.shape[1], "n_out"), ("x", x))
    bias = None if b is None else floats(b, "b", (W.shape[1],), ("x", x))
    y = np.empty((x.shape[0], W.shape[1]), x.dtype)
    _core.dense_forward(y, x, W, bias)
    return y


def dense_backward(dy: Any, x: Any, W: Any) -> tuple[Array, Array, Array]:
    """``dx = dy W^T``, ``dW = x^T dy``, ``db`` = sum of dy over the rows, for `dense_forward`.

    Parameters
    ----------
    dy : array (m, n_out)
    x : array (m, n_in)
    W : array (n_in, n_out)

    Returns
    -------
    dx (m, n_in), dW (n_in, n_out), db (n_out,)
    """
    dy = floats(dy, "dy", ("m", "n_out"))
    x = floats(x, "x", (dy.shape[0], "n_in"), ("dy", dy))
    W = floats(W, "W", (x.shape[1], dy.shape[1]), ("dy", dy))
    dx, dW, db = np.empty_like(x), np.zeros_like(W), np.zeros(dy.shape[1], dy.dtype)
    _core.dense_backward(dx, dW, db, dy, x, W)
    return dx, dW, db


# ---- Activations ----
def relu_forward(x: Any) -> Array:
    """``y = max(x, 0)``.

    Parameters
    ----------
    x : array, of any shape
    """
    return _forward(_core.relu_forward, x)


def relu_backward(dy: Any, x: Any) -> Array:
    """``dx = dy`` where x > 0, else 0.

    Parameters
    ----------
    dy, x : array, of one shape
    """
    return _backward(_core.relu_backward, dy, x, "x")


def leaky_relu_forward(x: Any, slope: float) -> Array:
    """``y = x`` where x > 0, else ``slope x``.

    Parameters
    ----------
    x : array, of any shape
    slope : float
    """
    return _forward(_core.leaky_relu_forward, x, _slope(slope))


def leaky_relu_backward(dy: Any, x: Any, slope: float) -> Array:
    """``dx = dy`` where x > 0, else ``slope dy``.

    Parameters
    ----------
    dy, x : array, of one shape
    slope : float
    """
    return _backward(_core.leaky_relu_backward, dy, x, "x", _slope(slope))


def tanh_forward(x: Any) -> Array:
    """``y = tanh x``.

    Parameters
    ----------
    x : array, of any shape
    """
    return _forward(_core.tanh_forward, x)


def tanh_backward(dy: Any, y: Any) -> Array:
    """``dx = dy (1 - y^2)``.

    Parameters
    ----------
    dy, y : array, of one shape; `y` is the result of `tanh_forward`
    """
    return _backward(_core.tanh_backward, dy, y, "y")


def sigmoid_forward(x: Any) -> Array:
    """``y = 1 / (1 + e^-x)``.

    Parameters
    ----------
    x : array, of any shape
    """
    return _forward(_core.sigmoid_forward, x)


def sigmoid_backward(dy: Any, y: Any) -> Array:
    """``dx = dy y (1 - y)``.

    Parameters
    ----------
    dy, y : array, of one shape; `y` is the result of `sigmoid_forward`
    """
    return _backward(_core.sigmoid_backward, dy, y, "y")


def softmax_forward(x: Any) -> Array:
    """``y = e^x / sum of e^x``, over each row.

    Parameters
    ----------
    x : array (m, n)
    """
    return _forward(_core.softmax_forward, floats(x, "x", ("m", "n")))


def softmax_backward(dy: Any, y: Any) -> Array:
    """``dx = y (dy - sum of dy y)``, the sum over each row.

    Parameters
    ----------
    dy, y : array (m, n); `y` is the result of `softmax_forward`
    """
    return _backward(_core.softmax_backward, floats(dy, "dy", ("m", "n")), y, "y")


# ---- Maxout ----
def maxout_forward(x: Any, pieces: int) -> tuple[Array, NDArray[np.int32]]:
    """The largest of the pieces of each unit (Goodfellow et al. 2013).

    Parameters
    ----------
    x : array (m, units * pieces); piece p of unit u is column ``u * pieces + p``
    pieces : int, at least 1

    Returns
    -------
    y : array (m, units)
    winner : int32 array (m, units)
        The piece that is the largest, the first of several.
    """
    pieces = validate.whole(pieces, "pieces", 1, 2**31 - 1)
    x = floats(x, "x", ("m", "units * pieces"))
    m, columns = x.shape
    if columns % pieces:
        raise ValueError(f"x: got {columns} columns, expected a multiple of pieces = {pieces}")
    y = np.empty((m, columns // pieces), x.dtype)
    winner = np.empty(y.shape, np.int32)
    _core.maxout_forward(y, winner, x)
    return y, winner


def maxout_backward(dy: Any, winner: Any, pieces: int) -> Array:
    """``dx = dy`` for the piece that won, 0 for the others, of shape (m, units * pieces).

    Parameters
    ----------
    dy : array (m, units)
    winner : int32 array (m, units), of `maxout_forward`
    pieces : int, at least 1
    """
    pieces = validate.whole(pieces, "pieces", 1, 2**31 - 1)
    dy = floats(dy, "dy", ("m", "units"))
    winner = integers(winner, "winner", dy.shape, pieces, np.int32)
    dx = np.empty((dy.shape[0], dy.shape[1] * pieces), dy.dtype)
    _core.maxout_backward(dx, dy, winner)
    return dx


# ---- Dropout ----
def dropout_mask(
    shape: int | Sequence[int], keep_prob: float, seed: int = 0, stream: int = 0, step: int = 0, dtype: Any = "float64"
) -> Array:
    """A mask for inverted dropout: ``1 / keep_prob`` with probability `keep_prob`, otherwise 0.

    Each element depends on (seed, stream, step) and its position alone (Philox, a counter-based generator), so a mask
    can be made again, and is the same on every machine and in both precisions.

    Parameters
    ----------
    shape : int or tuple of int
    keep_prob : float from 2^-24 (a mask has 24 random bits for each element) to 1
    seed, stream, step : int
        64, 32 and 64 bits: by convention of the model, of the layer, and of the training step.
    dtype : "float32" or "float64"
    """
    keep_prob = number(keep_prob, "keep_prob", SMALLEST_KEEP_PROB, 1, "a probability from 2^-24 to 1")
    seed = validate.whole(seed, "seed", 0, 2**64 - 1)
    stream = validate.whole(stream, "stream", 0, 2**32 - 1)
    step = validate.whole(step, "step", 0, 2**64 - 1)
    extents = list(shape) if isinstance(shape, Iterable) else [shape]
    mask = np.empty([validate.whole(extent, "shape", 0, 2**34) for extent in extents], validate.dtype(dtype))
    _core.dropout_mask(mask, keep_prob, seed, stream, step)
    return mask


def dropout_forward(x: Any, mask: Any) -> Array:
    """``y = x mask``.

    Parameters
    ----------
    x, mask : array, of one shape
    """
    return _backward(_core.dropout_forward, x, mask, "mask", first="x")


def dropout_backward(dy: Any, mask: Any) -> Array:
    """``dx = dy mask``.

    Parameters
    ----------
    dy, mask : array, of one shape
    """
    return _backward(_core.dropout_backward, dy, mask, "mask")


# ---- Batch normalization ----
def batch_norm_forward(
    x: Any, gamma: Any, beta: Any, epsilon: float = 1e-5
) -> tuple[Array, Array, Array, Array, Array]:
    """``y = gamma x_hat + beta`` with ``x_hat = (x - mean) / sqrt(variance + epsilon)`` (Ioffe and Szegedy 2015).

    Parameters
    ----------
    x : array (m, n), with at least one row
    gamma, beta : array (n,)
    epsilon : float, positive

    Returns
    -------
    y, x_hat (m, n); mean, inv_std, variance (n,)
        ``inv_std = 1 / sqrt(variance + epsilon)``; the variance is the biased one, divided by m.
    """
    x = batch(x, "x")
    n = x.shape[1]
    gamma, beta = floats(gamma, "gamma", (n,), ("x", x)), floats(beta, "beta", (n,), ("x", x))
    epsilon = _epsilon(epsilon)
    y, x_hat = np.empty_like(x), np.empty_like(x)
    mean, inv_std, variance = (np.empty(n, x.dtype) for _ in range(3))
    _core.batch_norm_forward(y, x_hat, mean, inv_std, variance, x, gamma, beta, epsilon)
    return y, x_hat, mean, inv_std, variance


def batch_norm_inference(
    x: Any, gamma: Any, beta: Any, running_mean: Any, running_variance: Any, epsilon: float = 1e-5
) -> Array:
    """``y = gamma (x - running_mean) / sqrt(running_variance + epsilon) + beta``.

    Parameters
    ----------
    x : array (m, n)
    gamma, beta, running_mean, running_variance : array (n,)
    epsilon : float, positive
    """
    x = floats(x, "x", ("m", "n"))
    vector, like = x.shape[1:], ("x", x)
    gamma, beta = floats(gamma, "gamma", vector, like), floats(beta, "beta", vector, like)
    running_mean = floats(running_mean, "running_mean", vector, like)
    running_variance = floats(running_variance, "running_variance", vector, like)
    y: Array = np.empty_like(x)
    _core.batch_norm_inference(y, x, gamma, beta, running_mean, running_variance, _epsilon(epsilon))
    return y


def batch_norm_backward(dy: Any, x_hat: Any, inv_std: Any, gamma: Any) -> tuple[Array, Array, Array]:
    """The derivatives of `batch_norm_forward`, through the batch's mean and variance.

    ``dgamma`` = sum of dy x_hat, ``dbeta`` = sum of dy over the rows, and
    ``dx = gamma inv_std (dy - mean(dy) - x_hat mean(dy x_hat))``.

    Parameters
    ----------
    dy, x_hat : array (m, n), with at least one row
    inv_std, gamma : array (n,)

    Returns
    -------
    dx (m, n), dgamma (n,), dbeta (n,)
    """
    dy = batch(dy, "dy")
    x_hat = floats(x_hat, "x_hat", dy.shape, ("dy", dy))
    n = dy.shape[1]
    inv_std, gamma = floats(inv_std, "inv_std", (n,), ("dy", dy)), floats(gamma, "gamma", (n,), ("dy", dy))
    dx, dgamma, dbeta = np.empty_like(dy), np.zeros(n, dy.dtype), np.zeros(n, dy.dtype)
    _core.batch_norm_backward(dx, dgamma, dbeta, dy, x_hat, inv_std, gamma)
    return dx, dgamma, dbeta


def batch_norm_update(
    running_mean: Any, running_variance: Any, mean: Any, variance: Any, decay: float = 0.9
) -> tuple[Array, Array]:
    """``running = decay running + (1 - decay) batch``, for the mean and the variance.

    Parameters
    ----------
    running_mean, running_variance, mean, variance : array (n,)
    decay : float in [0, 1]

    Returns
    -------
    running_mean, running_variance
        New arrays.
    """
    mean = floats(mean, "mean", ("n",))
    variance = floats(variance, "variance", mean.shape, ("mean", mean))
    running_mean = floats(running_mean, "running_mean", mean.shape, ("mean", mean)).copy()
    running_variance = floats(running_variance, "running_variance", mean.shape, ("mean", mean)).copy()
    decay = number(decay, "decay", 0, 1, "a number in [0, 1]")
    _core.batch_norm_update(running_mean, running_variance, mean, variance, decay)
    return running_mean, running_variance


# ---- Helpers ----
def _forward(kernel: Callable[..., None], x: Any, *more: float) -> Array:
    x = floats(x, "x")
    y: Array = np.empty_like(x)
    kernel(y, x, *more)
    return y


def _backward(kernel: Callable[..., None], dy: Any, other: Any, name: str, *more: float, first: str = "dy") -> Array:
    dy = floats(dy, first)
    other = floats(other, name, dy.shape, (first, dy))
    dx: Array = np.empty_like(dy)
    kernel(dx, dy, other, *more)
    return dx


def _slope(slope: float) -> float:
    return number(slope, "slope", -inf, inf, "a finite number")


def _epsilon(epsilon: float) -> float:
    return number(epsilon, "epsilon", SMALLEST_EPSILON, inf, f"a number >= {SMALLEST_EPSILON:.3g}")
