"""What the two gradients of a tensor have to do with each other along a few directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from gradproof.check.diagnosis.tensor import Array

CLEAR = 30.0  # uncertainties by which a slope must stand out to say something
SLACK = 1e-4  # what is left of a tensor that is as good as zero may show by this much


@dataclass(frozen=True)
class Comparison:
    """Slopes along random directions: under test, measured, the uncertainty of that; and the parameters along them."""

    a: Array
    n: Array
    u: Array
    x: Array

    @property
    def telling(self) -> bool:
        """Whether the measured slope is no zero."""
        return bool(np.max(np.abs(self.n)) > CLEAR * np.max(self.u))

    @property
    def error(self) -> float:
        """Relative size of the mismatch."""
        return float(np.linalg.norm(self.a - self.n) / max(float(np.linalg.norm(self.n)), 1e-300))

    @property
    def penalty_only(self) -> bool:
        """Whether the measured gradient is in proportion to the parameters: nothing but their L2 penalty is left."""
        size = float(np.dot(self.x, self.x))
        if self.a.size < 2 or not size:
            return False
        k = float(np.dot(self.n, self.x)) / size
        return bool(np.all(np.abs(self.n - k * self.x) <= 3 * self.u + SLACK * np.max(np.abs(self.n))))

    def factor(self, slack: float = SLACK) -> float | None:
        """The c of ``a = c n``, if there is one: 1 if they match, 0 if nothing is left of `a`."""
        if not self.telling:
            return None
        room = 3 * self.u + slack * float(np.max(np.abs(self.n)))
        for c in (1.0, 0.0):
            if np.all(np.abs(self.a - c * self.n) <= room):
                return c if np.min(room) < 0.1 * np.max(np.abs(self.n)) else None
        if self.a.size < 2:
            return None
        c = float(np.dot(self.a, self.n) / np.dot(self.n, self.n))
        return c if np.all(np.abs(self.a - c * self.n) <= (1 + abs(c)) * room) else None


class Comparing(Protocol):
    """What the experiments need of a laboratory."""

    @property
    def open(self) -> bool:
        """Whether there may be more experiments."""

    def compare(
        self, changed: Mapping[int, Any], tensors: Sequence[int], step: float | None = None, directions: int = 3
    ) -> Mapping[int, Comparison]:
        """Both gradients of some tensors along directions, at another point; nothing for those not to be measured."""
