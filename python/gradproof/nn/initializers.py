"""How weights start: normal draws with a spread that keeps signals alive through the layers.

=========  =================================  ==========================================
name       standard deviation                 source
=========  =================================  ==========================================
he         ``sqrt(2 / n_in)``                 He et al. 2015, for ReLU
xavier     ``sqrt(1 / n_in)``                 the form of Ng's course (LeCun 1998)
glorot     ``sqrt(2 / (n_in + n_out))``       Glorot and Bengio 2010, normal form
zeros      0                                  breaks no symmetry: for output layers and tests
=========  =================================  ==========================================

A number is the standard deviation itself; a function ``(rng, shape) -> array`` is called.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof._messages import shown
from gradproof.nn.validate import real

Initializer: TypeAlias = str | float | Callable[[np.random.Generator, tuple[int, ...]], ArrayLike]

_SPREAD: dict[str, Callable[[int, int], float]] = {
    "he": lambda n_in, n_out: sqrt(2.0 / n_in),
    "xavier": lambda n_in, n_out: sqrt(1.0 / n_in),
    "glorot": lambda n_in, n_out: sqrt(2.0 / (n_in + n_out)),
    "zeros": lambda n_in, n_out: 0.0,
}


def validate(init: Any, argument: str = "init") -> None:
    """Refuse what is not a known name, a standard deviation or a function."""
    if isinstance(init, str):
        if init not in _SPREAD:
            raise ValueError(f"{argument}: got {shown(init)}, expected one of {', '.join(map(repr, _SPREAD))}")
    elif isinstance(init, Real) and not isinstance(init, bool):
        real(init, argument, "a finite standard deviation >= 0", lambda std: std >= 0)
    elif not callable(init):
        raise TypeError(
            f"{argument}: got {type(init).__name__}, expected a name ({', '.join(map(repr, _SPREAD))}), "
            "a standard deviation or a function (rng, shape) -> array"
        )


def draw(
    init: Initializer, rng: np.random.Generator, shape: tuple[int, ...], n_in: int, n_out: int
) -> NDArray[np.float64]:
    """Initial weights in float64, so that models of either precision start from the same numbers.

    Parameters
    ----------
    init : str, float or callable
        See the table above.
    rng : numpy.random.Generator
        Where the numbers come from.
    shape : tuple of int
        Shape of the weights.
    n_in, n_out : int
        Values going into and coming out of one linear map of the layer.

    Raises
    ------
    ValueError, TypeError
        If a function returns anything but finite real numbers of the right shape.
    """
    if callable(init):
        return checked(init(rng, shape), shape, "init")
    std = _SPREAD[init](n_in, n_out) if isinstance(init, str) else float(init)
    return rng.standard_normal(shape) * std


def checked(values: ArrayLike, shape: tuple[int, ...] | None, source: str) -> NDArray[np.float64]:
    """What a user's function returned as initial values, as float64."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{source}: returned dtype {array.dtype}, expected real numbers")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{source}: returned shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{source}: returned NaN or infinity, expected finite numbers")
    return array.astype(np.float64)
