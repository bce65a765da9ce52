"""A second opinion on wrong entries: the complex step, where the loss can be evaluated on complex numbers.

``Im f(x + ih) / h`` subtracts nothing, so it is exact to rounding for whatever small `h` (Squire and Trapp, "Using
complex variables to estimate derivatives of real functions", SIAM Review 40, 1998). But a loss that casts, takes an
absolute value or compares loses the imaginary part on the way and says nothing of it. So the opinion counts only where
it agrees with the measured slope, to within its uncertainty: two wrong numbers found in such different ways do not.
"""

from __future__ import annotations

import cmath
import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from gradproof.check.evaluate import Problem
from gradproof.check.tensor_report import EntryReport, TensorReport

TINY: Final = 2.0**-100  # step, relative to the scale of the parameter
TENSORS: Final = 3
ENTRIES: Final = 3  # of each


def second_opinions(problem: Problem, tensors: Sequence[TensorReport]) -> list[tuple[str, EntryReport, float]]:
    """Complex steps for the worst entries of wrong tensors: name, entry, derivative, where they confirm it wrong."""
    found = []
    for number in [i for i, tensor in enumerate(tensors) if tensor.mismatched][:TENSORS]:
        for entry in tensors[number].worst(ENTRIES):
            if entry.status != "mismatch":
                continue
            value = complex_step(problem, number, entry.index)
            if value is None:
                break
            bar = entry.uncertainty
            if abs(value - entry.numeric) <= bar < abs(value - entry.analytic):
                found.append((tensors[number].name, entry, value))
    return found


def complex_step(problem: Problem, tensor: int, index: tuple[int, ...]) -> float | None:
    """The derivative by one entry; None if the loss does not take complex numbers, or gives none back."""
    if problem.remaining() < 1:
        return None
    problem.evaluations += 1
    x = problem.x(tensor)
    arrays: list[Any] = [array.copy() for array in problem.parameters.arrays]
    h = TINY * float(problem.scales(tensor)[np.ravel_multi_index(index, x.shape) if x.shape else 0])
    arrays[tensor] = np.asarray(x, np.complex128).copy()
    arrays[tensor][index] += 1j * h
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numbers that lose their imaginary part
            value = problem.loss(problem.parameters.rebuild(arrays))
            number = complex(value.item() if isinstance(value, np.ndarray) else value)
    except Exception:  # the loss was not made for this
        return None
    if not cmath.isfinite(number) or number.imag == 0.0:
        return None
    return number.imag / h


def in_words(opinions: Sequence[tuple[str, EntryReport, float]]) -> str:
    """A sentence for the report."""
    shown = "; ".join(
        f"{name}[{', '.join(map(str, entry.index))}]: {value:.10g}, measured {entry.numeric:.8g}"
        for name, entry, value in opinions[:3]
    )
    return f"The complex step, which subtracts nothing, agrees with what was measured: {shown}."
