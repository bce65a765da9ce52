"""What choices of branches make of the derivative of one row's loss, where maxima stand at ties one behind another.

A derivative is linear in the choice that every single output makes, so its extremes are at the corners: choices of one
branch or the other, throughout. Few outputs of a row stand at ties, so all corners are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

MOST: Final = 10  # outputs of one row at ties


@dataclass(frozen=True)
class Jacobians:
    """Of an operation that treats rows by themselves, by row: (row, input, output) each.

    Attributes
    ----------
    mean : array
        Between the two pieces, where an output stands at a tie.
    turn : array
        Half of what the piece above has more than that below; 0 where there is no tie.
    """

    mean: Array
    turn: Array

    @property
    def tied(self) -> Array:
        """Outputs at ties, (row, output)."""
        return np.asarray(self.turn.any(axis=1))


def extremes(mean: Array, jump: Array, behind: Sequence[Jacobians]) -> tuple[Array, Array] | None:
    """The least and the largest derivative of every row's loss, (line, row); None if there are too many corners.

    Parameters
    ----------
    mean, jump : array, (line, row, column)
        How the outputs of an operation move along lines: between its pieces, and half the jump from one to the other.
    behind : sequence of Jacobians
        Of the operations behind it, the loss being the last.
    """
    low, high = np.empty(mean.shape[:2]), np.empty(mean.shape[:2])
    for row in range(mean.shape[1]):
        weights = _corners(row, behind)
        if weights is None:
            return None
        centre = mean[:, row] @ weights.T
        spread = np.abs(jump[:, row]) @ np.abs(weights).T
        low[:, row], high[:, row] = np.min(centre - spread, axis=1), np.max(centre + spread, axis=1)
    return low, high


def _corners(row: int, behind: Sequence[Jacobians]) -> Array | None:
    """By how much the loss changes with every output in front, at all corners: (corner, output)."""
    tied = [np.flatnonzero(jacobians.tied[row]) for jacobians in behind]
    count = sum(map(len, tied))
    if count > MOST:
        return None
    signs = np.array(list(product((-1.0, 1.0), repeat=count))).reshape(2**count, count)
    weights = np.ones((len(signs), 1))
    for jacobians, own in zip(reversed(behind), reversed(tied), strict=True):
        signs, chosen = np.split(signs, [signs.shape[1] - len(own)], axis=1)
        turned = np.zeros((len(weights), weights.shape[1]))
        turned[:, own] = chosen * weights[:, own]
        weights = weights @ jacobians.mean[row].T + turned @ jacobians.turn[row].T
    return weights
