"""What a constant factor probably is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

ROUGH: Final = 0.01  # relative error from which on a factor is next to some number with a name always


def name_factor(c: float, error: float, dimensions: Mapping[int, str]) -> str | None:
    """A factor in words, or None if it is no number that one meets.

    Parameters
    ----------
    c, error : float
        The factor and its standard error.
    dimensions : mapping
        Sizes in sight, with what they are the size of.
    """
    size = abs(c)
    if not size:
        return None

    def near(value: float) -> bool:
        return abs(size - value) <= max(4 * error, 1e-6 * value)

    words = None
    if error > ROUGH * size:
        return None
    if near(1):
        return "the sign is the wrong way round" if c < 0 else None
    if near(2):
        words = "a factor 2 too many: the 2 of a square beside its ½, or the term added twice"
    elif near(0.5):
        words = "a factor 2 missing: the 2 of a square, ½ applied twice, or keep_prob = 0.5"
    elif near(round(size)) and 2 < size < 1e5:
        words = f"a sum where a mean over {round(size)} belongs (1/{round(size)} missing)"
        if round(size) in dimensions:
            words += f"; {round(size)} is {dimensions[round(size)]}"
    elif near(1 / round(1 / size)) if 1e-5 < size < 1 else False:
        k = round(1 / size)
        words = f"a mean where a sum over {k} belongs, or 1/{k} applied twice"
        if k in dimensions:
            words += f"; {k} is {dimensions[k]}"
    else:
        words = _rare(size, near, dimensions)
    if words is None:
        return None
    return words + ", and the sign is the wrong way round" if c < 0 else words


def _rare(size: float, near: Callable[[float], bool], dimensions: Mapping[int, str]) -> str | None:
    for k, what in dimensions.items():
        if k > 1 and near(math.sqrt(k)):
            return f"√{k}, where {k} is {what}: a division by it is missing"
        if k > 1 and near(1 / math.sqrt(k)):
            return f"1/√{k}, where {k} is {what}: a multiplication by it is missing, or it is divided by twice"
    for twentieths in range(1, 20):
        p = twentieths / 20
        if near(p):
            return f"{p:g}: 1/keep_prob missing, if keep_prob = {p:g}"
        if near(1 / p):
            return f"1/{p:g}: 1/keep_prob applied twice, if keep_prob = {p:g}"
    for k in sorted({*dimensions, *range(2, 33)}):
        if k > 1 and (near(k / (k - 1)) or near((k - 1) / k)):
            return f"{k} against {k - 1}: one row too few or too many in a mean"
    return None


def shown(c: float) -> str:
    """A factor with the digits that a reader wants: one that is nearly 1 shows by how much it is not."""
    if 0 < abs(abs(c) - 1) < 5e-3:
        off = abs(c) - 1
        return f"{'-' if c < 0 else ''}(1 {'+' if off > 0 else '-'} {abs(off):.2g})"
    return f"{c:.3f}" if 0.01 <= abs(c) < 1e4 else f"{c:.4g}"
