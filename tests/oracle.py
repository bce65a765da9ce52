"""Gradients in long double (64-bit mantissa on x86): 2,000 times more accurate than what is tested against them."""

from __future__ import annotations

import numpy as np

import gradproof as gp


def exact_gradient(model: gp.Sequential, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The gradient of the data loss in training mode: the NumPy twin's backpropagation, carried out in long double.

    It is that of the numbers the model holds: parameters and inputs rounded to its precision.
    """
    twin = gp.reference.Sequential(
        model.layers, model.input_size, model.loss_name, dtype=model.dtype.name, seed=model.seed
    )
    twin.dropout_step = model.dropout_step
    batch, targets = model._checked(X, y, None, ("data",))[:2]
    if targets.dtype != np.int64:
        targets = targets.astype(np.longdouble)
    twin._theta = model.theta.astype(np.longdouble)
    gradient = np.zeros_like(twin._theta)
    scores, tape = twin._forward(batch.astype(np.longdouble), True)
    twin._backward(twin._data_loss(scores, targets)[1], tape, gradient)
    assert scores.dtype == np.longdouble
    return gradient
