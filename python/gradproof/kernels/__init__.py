"""The compiled kernels, float32 and float64: one function each, with validated arguments and new arrays as results.

:mod:`gradproof.reference` has the same names and signatures in plain NumPy.
"""

from __future__ import annotations

from gradproof.kernels.layers import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    batch_norm_update,
    dense_backward,
    dense_forward,
    dropout_backward,
    dropout_forward,
    dropout_mask,
    leaky_relu_backward,
    leaky_relu_forward,
    matmul,
    maxout_backward,
    maxout_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    softmax_backward,
    softmax_forward,
    tanh_backward,
    tanh_forward,
)
from gradproof.kernels.losses import binary_cross_entropy, hinge, l1, l2, mse, softmax_cross_entropy
from gradproof.kernels.optimizers import adam_update, momentum_update, rmsprop_update, sgd_update

__all__ = [
    "adam_update",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "batch_norm_update",
    "binary_cross_entropy",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "dropout_mask",
    "hinge",
    "l1",
    "l2",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "matmul",
    "maxout_backward",
    "maxout_forward",
    "momentum_update",
    "mse",
    "relu_backward",
    "relu_forward",
    "rmsprop_update",
    "sgd_update",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_forward",
    "tanh_backward",
    "tanh_forward",
]
