"""The losses row by row, in plain NumPy: what the mean losses of :mod:`gradproof.kernels` are means of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def row_losses(loss: str, scores: Array, targets: Array) -> Array:
    """The loss of every row.

    Parameters
    ----------
    loss : str
        Name of the loss.
    scores : array, (m, n)
        Scores of the network.
    targets : array
        Labels (m,) or values (m, n), as the kernel of that name takes them.

    Returns
    -------
    array, (m,)
        Its mean is the data loss.
    """
    rows = np.arange(len(scores))
    if loss == "softmax_cross_entropy":
        shifted = scores - scores.max(axis=1, keepdims=True)
        return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - shifted[rows, targets])
    if loss == "hinge":
        margins = np.maximum(scores - scores[rows, targets][:, None] + 1, 0)
        margins[rows, targets] = 0
        return np.asarray(margins.sum(axis=1))
    if loss == "binary_cross_entropy":
        softplus = np.maximum(scores, 0) + np.log1p(np.exp(-np.abs(scores)))
        return np.asarray((softplus - targets * scores).mean(axis=1))
    return np.asarray(np.square(scores - targets).mean(axis=1))
