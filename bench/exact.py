"""Gradients by backpropagation in extended precision: the truth that a calibration measures against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import gradproof as gp
from gradproof.nn.layers import LeakyReLU, Maxout, ReLU

Array = NDArray[Any]


class Exact(gp.reference.Sequential):
    """The NumPy twin of a model, in ``np.longdouble`` (80 bits on x86, more than float64 nearly everywhere).

    Attributes
    ----------
    closest : float
        Smallest distance of any value from a kink (of ReLU, maxout or hinge), relative to the largest value beside it.
        Where it is near the round-off of the model, twin and model may stand on different sides of the kink.
    """

    def __init__(self, model: gp.Sequential) -> None:
        super().__init__(model.layers, model.input_size, model.loss_name, dtype="float64", seed=model.seed)
        self._dtype = np.dtype(np.longdouble)
        self._theta = model.theta.astype(self._dtype)
        self._buffers = model.buffers.astype(self._dtype)
        self.dropout_step = model.dropout_step
        self.closest = np.inf

    def gradient_of_data_loss(self, X: Array, y: Array) -> Array:
        """The gradient of the data loss (training mode) with respect to theta."""
        X = X.astype(self._dtype)
        y = y if y.dtype.kind in "iu" else y.astype(self._dtype)
        scores, tape = self._forward(X, True)
        if self.loss_name == "hinge":
            rows = np.arange(len(scores))
            margins = scores - scores[rows, y][:, None] + 1
            margins[rows, y] = np.inf
            self._keep_away(margins, np.abs(scores).max() + 1)
        gradient = np.zeros_like(self._theta)
        self._backward(self._data_loss(scores, y)[1], tape, gradient)
        return gradient

    def _layer_forward(self, node: Any, x: Array, training: bool) -> tuple[Array, Any]:
        y, cache = super()._layer_forward(node, x, training)
        if isinstance(node.layer, (ReLU, LeakyReLU)):
            self._keep_away(x[x != 0], np.abs(x).max(initial=0))
        elif isinstance(node.layer, Maxout) and node.layer.pieces > 1:
            z = x @ self.parameters[node.path("W")] + self.parameters[node.path("b")]
            best = np.sort(z.reshape(len(z), node.n_out, node.layer.pieces), axis=2)
            self._keep_away(best[..., -1] - best[..., -2], np.abs(z).max(initial=0))
        return y, cache

    def _keep_away(self, distances: Array, scale: Any) -> None:
        self.closest = min(self.closest, float(np.min(np.abs(distances), initial=np.inf) / max(scale, 1e-300)))
