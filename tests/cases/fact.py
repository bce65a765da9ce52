"""A known fact about a gradient: what other people's checkers are tested with, or get wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

H = 1e-200


class Fact(NamedTuple):
    """A loss, a gradient and parameters; the right verdicts, and of a wrong gradient the tensors and the cause."""

    name: str
    loss: Callable[[Any], Any]
    gradient: Any
    params: Any
    verdicts: tuple[str, ...] = ("pass",)
    culprits: tuple[str, ...] = ()
    cause: str | None = None


def complex_step(f: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], np.ndarray]:
    """The gradient of a holomorphic function, exact to rounding: Im f(x + ih) / h (Squire and Trapp 1998)."""

    def gradient(x: np.ndarray) -> np.ndarray:
        g = np.empty(x.shape)
        for index in np.ndindex(*x.shape):
            moved = x.astype(complex)
            moved[index] += 1j * H
            g[index] = np.imag(f(moved)) / H
        return g

    return gradient
