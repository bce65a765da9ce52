"""Exponentially weighted averages: of losses that are to be read, of gradients, of parameters.

``v_t = beta v_(t-1) + (1 - beta) x_t`` from ``v_0 = 0`` is an average over about ``1 / (1 - beta)`` values. Early on it
is too small by the factor ``1 - beta^t``; the bias correction divides by that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof._messages import shown
from gradproof.kernels.optimizers import valid_beta
from gradproof.nn import validate

Array = NDArray[Any]


class EWA:
    """An exponentially weighted average that values are added to, one by one.

    Parameters
    ----------
    beta : float in [0, 1)
        Weight of the past.
    bias_correction : bool
        Divide by ``1 - beta^t``: the first value is then its own average.

    Examples
    --------
    >>> average = EWA(0.9)
    >>> average.update(3.0)
    3.0
    """

    def __init__(self, beta: float, bias_correction: bool = True) -> None:
        self.beta = valid_beta(beta, "beta")
        self.bias_correction = validate.flag(bias_correction, "bias_correction")
        self.count = 0
        self._value: Any = None

    @property
    def value(self) -> Any:
        """The average of all values so far, a float or an array; None before the first."""
        return self._value.copy() if isinstance(self._value, np.ndarray) else self._value

    @property
    def effective_window(self) -> float:
        """About how many values count, ``1 / (1 - beta)``: the weight of older ones is below 1/e of the newest's."""
        return 1 / (1 - self.beta)

    def update(self, x: ArrayLike) -> Any:
        """Add a value and return the average.

        Parameters
        ----------
        x : float or array
            All of one shape. Float32 arrays are averaged in float32, all else in float64.

        Raises
        ------
        ValueError, TypeError
            If `x` is not numeric, or of another shape than before.
        """
        value = _numeric(x, "x")
        if self.count and np.shape(value) != np.shape(self._value):
            raise ValueError(f"x: got shape {np.shape(value)}, expected {np.shape(self._value)} as before")
        self.count += 1
        self._value = _moved(self._value, value, self._gain(self.count))
        return self.value

    @property
    def state(self) -> dict[str, Any]:
        """What goes on with the same values elsewhere: ``other.state = average.state``."""
        return {"beta": self.beta, "bias_correction": self.bias_correction, "count": self.count, "value": self.value}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict) or state.keys() != self.state.keys():
            raise ValueError(f"state: got {shown(state)}, expected a dict with {', '.join(self.state)}")
        count = validate.whole(state["count"], "state['count']", 0, 2**63 - 1)
        if (state["value"] is None) != (count == 0):
            raise ValueError(f"state: got value {shown(state['value'])} after {count} updates")
        value = None if state["value"] is None else _numeric(state["value"], "state['value']")
        beta = valid_beta(state["beta"], "state['beta']")
        correction = validate.flag(state["bias_correction"], "state['bias_correction']")
        self.beta, self.bias_correction, self.count, self._value = beta, correction, count, value

    def __repr__(self) -> str:
        correction = "" if self.bias_correction else ", bias_correction=False"
        return f"EWA({self.beta:g}{correction})"

    def _gain(self, t: int) -> float:
        """The weight of the t-th value in the average after it."""
        return (1 - self.beta) / (1 - self.beta**t if self.bias_correction else 1)


def ewa(series: ArrayLike, beta: float, bias_correction: bool = True) -> Array:
    """The exponentially weighted average of a series, at every one of its values.

    Parameters
    ----------
    series : array_like, (n, ...)
        Numbers, or arrays along the first axis.
    beta, bias_correction
        As for :class:`EWA`.

    Returns
    -------
    array (n, ...)
    """
    values = np.asarray(_numeric(series, "series"))
    if values.ndim == 0:
        raise ValueError("series: got a number, expected a sequence")
    average = EWA(beta, bias_correction)
    result: Array = np.empty_like(values)
    previous: Any = None
    for t, value in enumerate(values):
        previous = result[t] = _moved(previous, value, average._gain(t + 1))
    return result


def _moved(average: Any, value: Any, gain: float) -> Any:
    """``(1 - gain) average + gain value``, from nothing at first, and exact for values that are all the same."""
    if average is None:
        average = 0.0
    return value if gain == 1 else average + gain * (value - average)


def _numeric(x: ArrayLike, name: str) -> Any:
    array = validate.numeric(x, name)
    if array.dtype != np.float32:
        array = array.astype(np.float64)
    return float(array) if array.ndim == 0 else array.copy()
