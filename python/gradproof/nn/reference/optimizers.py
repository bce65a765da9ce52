"""Optimizer steps in plain NumPy, in place on the parameters and slots: the formulas, to be read.

``weight_decay`` is the decoupled one of Loshchilov and Hutter (2019). Arguments are not validated here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sgd_update(theta: Array, gradient: Array, learning_rate: float, weight_decay: float = 0.0) -> None:
    """``theta -= learning_rate gradient``."""
    _descend(theta, gradient, learning_rate, weight_decay)


def momentum_update(
    theta: Array, velocity: Array, gradient: Array, learning_rate: float, beta: float = 0.9, weight_decay: float = 0.0
) -> None:
    """``v = beta v + (1 - beta) g``, then ``theta -= learning_rate v``."""
    _average(velocity, gradient, beta)
    _descend(theta, velocity, learning_rate, weight_decay)


def rmsprop_update(
    theta: Array,
    second_moment: Array,
    gradient: Array,
    learning_rate: float,
    beta: float = 0.9,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """``s = beta s + (1 - beta) g^2``, then ``theta -= learning_rate g / (sqrt(s) + epsilon)``."""
    _average(second_moment, gradient**2, beta)
    _descend(theta, gradient / (np.sqrt(second_moment) + epsilon), learning_rate, weight_decay)


def adam_update(
    theta: Array,
    first_moment: Array,
    second_moment: Array,
    gradient: Array,
    t: int,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """``m = beta1 m + (1 - beta1) g``, ``s = beta2 s + (1 - beta2) g^2``, then
    ``theta -= learning_rate m_hat / (sqrt(s_hat) + epsilon)``, the averages corrected for having started at 0.
    """
    _average(first_moment, gradient, beta1)
    _average(second_moment, gradient**2, beta2)
    m_hat, s_hat = first_moment / (1 - beta1**t), second_moment / (1 - beta2**t)
    _descend(theta, m_hat / (np.sqrt(s_hat) + epsilon), learning_rate, weight_decay)


# ---- Helpers ----
def _average(average: Array, value: Array, beta: float) -> None:
    """``beta average + (1 - beta) value``, written so that rounded to float32 the two factors need not add up to 1."""
    average += (1 - beta) * (value - average)


def _descend(theta: Array, direction: Array, learning_rate: float, weight_decay: float) -> None:
    theta -= learning_rate * weight_decay * theta + learning_rate * direction
