"""Optimizer steps, in place on the parameters and on the optimizer's slots. A fused pass over contiguous memory.

Every array has the shape and dtype of `theta`; `theta` and the slots must be writable, C-contiguous and apart from each
other. `weight_decay` is the decoupled one: ``theta -= learning_rate weight_decay theta`` with each step.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from gradproof import _core
from gradproof.kernels.arguments import Array, floats, number
from gradproof.nn import validate
from gradproof.nn.validate import SMALLEST_EPSILON

SGD, MOMENTUM, RMSPROP, ADAM = range(4)
"""The kinds of the compiled update."""


def sgd_update(theta: Any, gradient: Any, learning_rate: float, weight_decay: float = 0.0) -> None:
    """``theta -= learning_rate gradient``.

    Parameters
    ----------
    theta : array, updated
    gradient : array of the shape and dtype of `theta`
    learning_rate, weight_decay : float, not negative

    Raises
    ------
    TypeError
        If an array is not an ndarray of float32 or float64, or dtypes differ. So do all optimizers.
    ValueError
        If a shape differs, what is updated is read-only, not contiguous or overlaps, or a number is out of range.
        So do all optimizers.
    """
    _update(theta, {}, gradient, SGD, learning_rate, weight_decay)


def momentum_update(
    theta: Any, velocity: Any, gradient: Any, learning_rate: float, beta: float = 0.9, weight_decay: float = 0.0
) -> None:
    """``v = beta v + (1 - beta) g``, then ``theta -= learning_rate v``: an exponentially weighted average of gradients.

    Parameters
    ----------
    theta, velocity : array, updated
    gradient : array
    learning_rate, weight_decay : float, not negative
    beta : float in [0, 1)
    """
    slots = {"velocity": velocity}
    _update(theta, slots, gradient, MOMENTUM, learning_rate, weight_decay, beta1=valid_beta(beta, "beta"))


def rmsprop_update(
    theta: Any,
    second_moment: Any,
    gradient: Any,
    learning_rate: float,
    beta: float = 0.9,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """``s = beta s + (1 - beta) g^2``, then ``theta -= learning_rate g / (sqrt(s) + epsilon)`` (Tieleman, Hinton 2012).

    Parameters
    ----------
    theta, second_moment : array, updated
    gradient : array
    learning_rate, weight_decay : float, not negative
    beta : float in [0, 1)
    epsilon : float, positive
    """
    beta, epsilon = valid_beta(beta, "beta"), valid_epsilon(epsilon)
    slots = {"second_moment": second_moment}
    _update(theta, slots, gradient, RMSPROP, learning_rate, weight_decay, beta2=beta, epsilon=epsilon)


def adam_update(
    theta: Any,
    first_moment: Any,
    second_moment: Any,
    gradient: Any,
    t: int,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """Adam (Kingma and Ba 2015, algorithm 1); with a weight decay it is AdamW (Loshchilov and Hutter 2019).

    ``m = beta1 m + (1 - beta1) g`` and ``s = beta2 s + (1 - beta2) g^2``, then
    ``theta -= learning_rate m_hat / (sqrt(s_hat) + epsilon)`` with ``m_hat = m / (1 - beta1^t)`` and
    ``s_hat = s / (1 - beta2^t)``.

    Parameters
    ----------
    theta, first_moment, second_moment : array, updated
    gradient : array
    t : int
        The number of this step, from 1.
    learning_rate, weight_decay : float, not negative
    beta1, beta2 : float in [0, 1)
    epsilon : float, positive
    """
    _update(
        theta,
        {"first_moment": first_moment, "second_moment": second_moment},
        gradient,
        ADAM,
        learning_rate,
        weight_decay,
        t=validate.whole(t, "t", 1, 2**63 - 1),
        beta1=valid_beta(beta1, "beta1"),
        beta2=valid_beta(beta2, "beta2"),
        epsilon=valid_epsilon(epsilon),
    )


# ---- Helpers ----
def updated(value: Any, name: str, like: tuple[str, Array] | None = None) -> Array:
    """An array that an optimizer writes to, as it is: nothing is converted, since a copy would be updated in vain."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: got {type(value).__name__}, expected an ndarray to update in place")
    validate.whole_array(value, name)
    if value.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: got dtype {value.dtype}, expected float32 or float64")
    if not value.flags.writeable:
        raise ValueError(f"{name}: got a read-only array, expected one to update in place")
    if not (value.flags.c_contiguous and value.flags.aligned):
        raise ValueError(f"{name}: got an array that is not C-contiguous and aligned, expected one to update in place")
    if like is not None:
        if value.dtype != like[1].dtype:
            raise TypeError(f"{name}: got {value.dtype}, expected {like[1].dtype} like {like[0]}")
        if value.shape != like[1].shape:
            raise ValueError(f"{name}: got shape {value.shape}, expected {like[1].shape} like {like[0]}")
    return value


def apart(arrays: list[tuple[str, Array]]) -> None:
    """Refuse arrays that overlap: an update of one would change the other."""
    for i, (name, array) in enumerate(arrays):
        for other_name, other in arrays[:i]:
            if np.may_share_memory(array, other):
                raise ValueError(f"{name}: got memory of {other_name}, expected an array of its own")


def valid_rate(value: Any, name: str) -> float:
    return number(value, name, 0, inf, "a number >= 0")


def valid_beta(value: Any, name: str) -> float:
    return number(value, name, 0, float(np.nextafter(1, 0)), "a number in [0, 1)")


def valid_epsilon(value: Any) -> float:
    return number(value, "epsilon", SMALLEST_EPSILON, inf, f"a number >= {SMALLEST_EPSILON:.3g}")


def _update(
    theta: Any,
    slots: dict[str, Any],
    gradient: Any,
    kind: int,
    learning_rate: float,
    weight_decay: float,
    *,
    t: int = 1,
    beta1: float = 0.0,
    beta2: float = 0.0,
    epsilon: float = 1.0,
) -> None:
    theta = updated(theta, "theta")
    like = ("theta", theta)
    checked = [updated(slot, name, like) for name, slot in slots.items()]
    gradient = floats(gradient, "gradient", theta.shape, like)
    apart([like, *zip(slots, checked, strict=True), ("gradient", gradient)])
    learning_rate, weight_decay = valid_rate(learning_rate, "learning_rate"), valid_rate(weight_decay, "weight_decay")
    slot0, slot1 = (*checked, None, None)[:2]
    runs = np.array([[0, theta.size, 1]])
    _core.optimizer_update(
        theta, slot0, slot1, gradient, runs, kind, t, learning_rate, beta1, beta2, epsilon, weight_decay, inf
    )
