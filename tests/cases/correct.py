"""What the collections of correct gradients share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

PASS = ("pass",)
OPEN = ("pass", "inconclusive")  # no data can decide, or only at a price

rng = np.random.default_rng


class Case(NamedTuple):
    """A loss, its right gradient, parameters, the verdicts that are right and, where it is said, the kinks found."""

    name: str
    loss: Callable[[Any], Any]
    gradient: Any
    params: Any
    verdicts: tuple[str, ...] = PASS
    kinks: int | None = None


class Cases(list[Case]):
    """A collection that a case joins in one line: ``case = CASES.add``."""

    def add(self, *args: Any, **keywords: Any) -> None:
        self.append(Case(*args, **keywords))


def points(seed: int, size: int = 8) -> np.ndarray:
    return rng(seed).normal(size=size)


signed = points(1)
at_zero = np.append(signed, 0.0)


def quiet(f: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """NumPy's warnings about NaN are not the subject here."""

    def wrapped(x: np.ndarray) -> Any:
        with np.errstate(all="ignore"):
            return f(x)

    return wrapped
