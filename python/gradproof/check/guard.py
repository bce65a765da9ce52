"""The guard: the structured loop against the ordinary forward pass, in every check.

The loop is only as right as its difference forms; a mistake that the forms and the backward pass share would pass
unseen. The guard ties them to the function itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof.check.structured import DIFFERENCE, Point, shifted

Array = NDArray[Any]

ENTRIES = 16  # random entries per tensor
TOLERANCE = 16.0  # in standard deviations of the loss's rounding error (bench/calibrate.py: what is observed)
# ... at the point, or where the step leads to: at a minimum of the loss its rounding is of second order.
# Difference forms are exact at any step, and rounding shows least at large ones: as large as the parameters themselves,
# up to 1. A step that wakes up a unit whose own rounding the base point does not show is tried again in small.
SMALLER = 2.0**-6


def guard(point: Point, random: Random) -> tuple[Array, Array]:
    """Move single random parameters of every tensor, and compare the change of the loss by both ways.

    Parameters
    ----------
    point : Point
        The network at the point of the check.
    random : random.Random
        Picks the entries.

    Returns
    -------
    entries, wrong : int64 arrays
        Indices into theta that were compared, and those of them where the two disagree beyond rounding.
    """
    theta = point.model.theta
    picked: list[int] = []
    reach: list[float] = []
    for entry in point.model.layout.slices:
        if entry.offset < point.first or not entry.size:
            continue
        own = theta[entry.offset : entry.stop]
        indices: Sequence[int] = range(entry.offset, entry.stop)
        if entry.size > ENTRIES:  # a draw of each by itself is quicker than one without replacement
            indices = random.choices(indices, k=ENTRIES)
        picked += indices
        reach += [min(max((float(own.dot(own)) / entry.size) ** 0.5, 2.0**-10), 1.0)] * len(indices)
    entries, steps = np.array(picked, np.int64), np.array(reach)
    wrong = np.flatnonzero(_disagree(point, entries, steps))
    if wrong.size:
        wrong = wrong[_disagree(point, entries[wrong], SMALLER * steps[wrong])]
    return entries, entries[wrong]


def _disagree(point: Point, entries: Array, wanted: Array) -> Array:
    if not entries.size:
        return np.zeros(0, bool)
    dtype = point.model.dtype
    theta = point.model.theta[entries]
    steps = (theta + wanted.astype(dtype)) - theta  # what the sum can hold
    ordinary = point.ordinary(entries, steps)
    apart = np.abs(point.run(DIFFERENCE, steps, entries) - (ordinary - point.value))
    errors = point.rounding[1] + np.finfo(dtype).eps / 2 * np.abs(ordinary)
    disagree = ~(apart <= TOLERANCE * errors)
    for k in np.flatnonzero(disagree):
        moved = shifted(point, int(entries[k]), steps[k])
        disagree[k] = not apart[k] <= TOLERANCE * (errors[k] + moved.rounding[1])
    return disagree
