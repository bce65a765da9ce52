"""Numbers as JSON can hold them."""

from __future__ import annotations

from math import isfinite


def number(value: float) -> float | None:
    """A float for JSON; None for NaN and infinities."""
    return float(value) if isfinite(value) else None
