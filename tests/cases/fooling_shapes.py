"""Correct gradients in arrays and structures of all kinds, and of functions that are complicated."""

from __future__ import annotations

from typing import Any

import numpy as np

from .correct import Cases, at_zero, points, quiet, signed

CASES = Cases()
case = CASES.add

# Arrays of all kinds, structures, buffers.

square = {"loss": lambda x: float((x**2).sum()), "gradient": lambda x: 2 * x}
case("0-d array", **square, params=np.array(1.3))
case("empty array", **square, params=np.zeros((0, 3)))
case("one entry", **square, params=np.array([[[0.7]]]))
case("Fortran order", **square, params=np.asfortranarray(points(6, 12).reshape(3, 4)))
case("strided view", **square, params=points(7, 40)[::5])
case("negative strides", **square, params=points(8).reshape(2, 4)[::-1, ::-1])
case("transposed view", **square, params=points(9, 12).reshape(3, 4).T)
read_only = points(10)
read_only.flags.writeable = False
case("read-only", **square, params=read_only)
case("empty beside full", lambda p: float((p[0] ** 2).sum()), lambda p: [2 * p[0], np.zeros(0)], [signed, np.zeros(0)])
nested = {"layers": [{"W": points(11, 6).reshape(2, 3), "b": points(12, 3)}, (points(13, 3), np.array(0.5))]}


def nested_loss(p: Any) -> float:
    (first, (v, c)), x = p["layers"], np.array([0.3, -0.8])
    return float(np.tanh(x @ first["W"] + first["b"]) @ v * c)


def nested_gradient(p: Any) -> Any:
    (first, (v, c)), x = p["layers"], np.array([0.3, -0.8])
    h = np.tanh(x @ first["W"] + first["b"])
    dz = v * c * (1 - h**2)
    return {"layers": [{"W": np.outer(x, dz), "b": dz}, (h * c, h @ v)]}


case("nested structure", nested_loss, nested_gradient, nested)
case("gradient given as numbers", lambda x: (x**3).sum(), 3 * signed**2, signed)
case("read-only gradient", lambda x: 2 * x.sum(), lambda x: np.broadcast_to(np.float64(2), x.shape), np.ones(3))
buffer = np.empty(8)
case("gradient in a reused buffer", lambda x: np.sin(x).sum(), lambda x: np.cos(x, out=buffer), signed)
case("list of scalars as arrays", lambda p: float(p[0] * p[1]), lambda p: [p[1], p[0]], [np.array(2.0), np.array(-3.0)])
case("loss as a 0-d array", lambda x: np.array((x**2).sum()), lambda x: 2 * x, signed)
case(
    "the same array twice",
    lambda p: float((p["a"] * p["b"]).sum()),
    lambda p: {"a": p["b"], "b": p["a"]},
    {"a": signed, "b": signed},
)

# Complicated but right.


def logistic(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    slope = np.ones_like(x)
    for _ in range(8):
        x, slope = 3.9 * x * (1 - x), slope * 3.9 * (1 - 2 * x)
    return x, slope


def eigenvalue_gradient(x: np.ndarray) -> np.ndarray:
    """Of the largest eigenvalue of the symmetric part."""
    v = np.linalg.eigh((x + x.T) / 2)[1][:, -1]
    return np.outer(v, v)


case(
    "largest eigenvalue",
    lambda x: float(np.linalg.eigvalsh((x + x.T) / 2)[-1]),
    eigenvalue_gradient,
    points(14, 16).reshape(4, 4),
)
case(
    "log-determinant",
    lambda x: float(np.linalg.slogdet(x)[1]),
    lambda x: np.linalg.inv(x).T,
    points(15, 16).reshape(4, 4),
)
case(
    "nuclear norm",
    lambda x: float(np.linalg.svd(x, compute_uv=False).sum()),
    lambda x: np.matmul(*np.linalg.svd(x, full_matrices=False)[::2]),
    points(16, 12).reshape(4, 3),
)
case("median", np.median, lambda x: 1.0 * (np.arange(7) == x.argsort()[3]), points(17, 7))
case(
    "softmax of large scores",
    lambda x: np.log(np.exp(x - x.max()).sum()) + x.max(),
    lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
    1e3 + points(18),
)
case("product of many", np.prod, lambda x: np.prod(x) / x, 1 + 0.3 * points(19, 20))
case(
    "iterated sine",
    lambda x: float(np.sin(np.sin(np.sin(x))).sum()),
    lambda x: np.cos(np.sin(np.sin(x))) * np.cos(np.sin(x)) * np.cos(x),
    signed,
)
case(
    "logistic map, eight steps",
    lambda x: float(logistic(x)[0].sum()),
    lambda x: logistic(x)[1],
    np.array([0.2, 0.37, 0.61]),
)
case(
    "narrow bump",
    lambda x: np.exp(-((x / 1e-4) ** 2)).sum(),
    lambda x: -2 * x / 1e-8 * np.exp(-((x / 1e-4) ** 2)),
    np.array([0.7e-4, -1.1e-4]),
)
case(
    "Huber at its joint",
    lambda x: np.where(abs(x) < 1, x**2 / 2, abs(x) - 0.5).sum(),
    lambda x: np.clip(x, -1, 1),
    np.array([1.0, 0.2]),
)
case(
    "ELU at 0",
    quiet(lambda x: np.where(x > 0, x, np.expm1(x)).sum()),
    quiet(lambda x: np.where(x > 0, 1, np.exp(x))),
    at_zero,
)
