"""Correct gradients chosen to fool checkers, each with the verdicts that are right: none may be accused."""

from __future__ import annotations

from . import fooling_kinks, fooling_numbers, fooling_shapes
from .correct import Case

__all__ = ["CASES", "Case"]

CASES = [*fooling_kinks.CASES, *fooling_numbers.CASES, *fooling_shapes.CASES]
