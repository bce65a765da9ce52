"""How well simple methods do on a few rows: what a network should at least reach.

Nearest neighbours and kernel ridge regression with a linear and a Gaussian kernel, each judged by leaving one row out.
On the few hundred rows that they are given they do worse than on the whole set, so what they reach can be reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]

_RIDGE = 0.1  # relative to the diagonal of the kernel
_NEIGHBOURS = 5


def baseline(model: Sequential, X: Array, targets: Array) -> dict[str, Any]:
    """The best score (accuracy, or R² for ``mse``) of the simple methods, and which one had it."""
    code = codes(model, targets)
    scores = {name: _score(model, predicted, code) for name, predicted in _predictions(X, code).items()}
    best = max(scores, key=lambda name: scores[name], default=None)
    if best is None or not np.isfinite(scores[best]):
        return {"score": None, "method": None}
    return {"score": scores[best], "method": best}


def predictable(X: Array, values: NDArray[np.float64]) -> float:
    """The best R² of the simple methods for values, (m, n); 0 if there are too few rows."""
    return max((_r2(predicted, values) for predicted in _predictions(X, values).values()), default=0.0)


def _predictions(X: Array, code: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """What every method predicts for each row from all others; nothing where there is nothing to tell from."""
    if len(X) < 10:
        return {}
    data = X.astype(np.float64)
    with np.errstate(all="ignore"):
        std = data.std(axis=0)
        varying = std > 1e-9 * np.abs(data).max(axis=0)
        z = (data[:, varying] - data[:, varying].mean(axis=0)) / std[varying]
    if not z.shape[1] or not np.isfinite(z).all():
        return {}
    products = z @ z.T / z.shape[1]
    squares = np.diag(products)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0)
    typical = np.median(distances) or 1.0
    with np.errstate(all="ignore"):  # squares of targets may be too large
        return {
            "linear": _ridge(products + 1, code),
            "gaussian kernel": _ridge(np.exp(-distances / typical), code),
            "nearest neighbours": _neighbours(distances, code),
        }


def chance(model: Sequential, targets: Array) -> float:
    """The score of the best answer that does not look at the input."""
    if model.loss_name == "mse":
        return 0.0
    code = codes(model, targets)
    if targets.dtype.kind == "i":
        return float(code.mean(axis=0).max())
    ones = (code > 0.5).mean(axis=0)
    return float(np.mean(np.maximum(ones, 1 - ones)))


def codes(model: Sequential, targets: Array) -> NDArray[np.float64]:
    """Targets as numbers, (m, outputs): one-hot rows for labels."""
    if targets.dtype.kind == "i":
        return np.eye(model.output_size)[targets]
    return targets.reshape(len(targets), -1).astype(np.float64)


def _ridge(kernel: NDArray[np.float64], code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predictions for each row from all others, in closed form: y - (A^-1 y)_i / (A^-1)_ii."""
    mean = code.mean(axis=0)
    inverse = np.linalg.inv(kernel + _RIDGE * np.trace(kernel) / len(kernel) * np.eye(len(kernel)))
    return code - (inverse @ (code - mean)) / np.diag(inverse)[:, None]


def _neighbours(distances: NDArray[np.float64], code: NDArray[np.float64]) -> NDArray[np.float64]:
    apart = distances + np.diag(np.full(len(distances), np.inf))
    nearest = np.argpartition(apart, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    return np.asarray(code[nearest].mean(axis=1))


def _score(model: Sequential, predicted: NDArray[np.float64], code: NDArray[np.float64]) -> float:
    if model.loss_name == "mse":
        return _r2(predicted, code)
    if model.loss_name == "binary_cross_entropy":
        return float(np.mean((predicted > 0.5) == (code > 0.5)))
    return float(np.mean(predicted.argmax(axis=1) == code.argmax(axis=1)))


def _r2(predicted: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    with np.errstate(all="ignore"):
        total = np.sum((values - values.mean(axis=0)) ** 2)
        return float(1 - np.sum((values - predicted) ** 2) / total) if total > 0 else 0.0
