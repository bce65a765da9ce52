"""Error against step: the U-shaped curves of finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Curve:
    """Median relative error of one scheme on sampled entries of one tensor, for a range of steps.

    Attributes
    ----------
    tensor : str
        Name of the tensor.
    scheme : str
        ``"forward"``, ``"central"``, or ``"difference"`` (propagated differences, which do not depend on the step).
    dtype : str
        Precision in which the loss is computed.
    steps : tuple of float
        Steps, decreasing.
    errors : tuple of float
        Median of ``|n - truth| / |truth|`` over the sampled entries at each step.
    """

    tensor: str
    scheme: str
    dtype: str
    steps: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def best(self) -> tuple[float, float]:
        """The step with the smallest error, and that error; NaN if no error is a number."""
        errors = np.asarray(self.errors)
        if np.isnan(errors).all():
            return float("nan"), float("nan")
        position = int(np.nanargmin(errors))
        return self.steps[position], self.errors[position]

    def to_dict(self) -> dict[str, Any]:
        """The attributes and the best step as a dict."""
        best_step, best_error = self.best
        return {**asdict(self), "best_step": best_step, "best_error": best_error}


def median_curve(curves: Sequence[Curve]) -> Curve:
    """Median over the tensors of curves of one scheme and precision; a step is NaN where all of them are."""
    columns = np.array([curve.errors for curve in curves]).T
    middle = [
        float(np.median(column[~np.isnan(column)])) if not np.isnan(column).all() else np.nan for column in columns
    ]
    return Curve("", curves[0].scheme, curves[0].dtype, curves[0].steps, tuple(middle))


def half_decades(largest: float = 1e-1, smallest: float = 1e-12) -> npt.NDArray[np.float64]:
    """Steps from `largest` down to `smallest`, two per power of ten."""
    first, last = round(2 * np.log10(largest)), round(2 * np.log10(smallest))
    return np.asarray(10.0 ** (np.arange(first, last - 1, -1) / 2))
