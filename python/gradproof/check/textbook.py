"""The finite differences of the lectures, one parameter at a time: slow, plain, and for reading."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt


def numeric_gradient(
    loss: Callable[[Any], float], params: Any, step: float = 1e-5, scheme: Literal["central", "forward"] = "central"
) -> Any:
    """Estimate the gradient of any loss by moving one parameter after the other.

    * ``"forward"``: ``(J(theta + step) - J(theta)) / step``, with an error of order ``step``;
    * ``"central"``: ``(J(theta + step) - J(theta - step)) / (2 step)``, with an error of order ``step**2``
      (Ng's course, CS231n).

    For ``theta**3`` at 1 with a step of 0.01 the errors are 0.0301 and 0.0001.

    Parameters
    ----------
    loss : callable
        Gets the parameters in the structure of `params`, as float64 arrays; returns a number.
    params : array, number, or nested dict, list or tuple of these
        The point; it is not changed.
    step : float
        The distance, positive.
    scheme : {"central", "forward"}
        The formula.

    Returns
    -------
    The structure of `params`, every leaf a float64 array of its shape.

    Raises
    ------
    ValueError, TypeError
        If `step`, `scheme` or `params` is not as described.
    """
    if scheme not in ("central", "forward"):
        raise ValueError(f"scheme is {scheme!r}, expected 'central' or 'forward'")
    if not (math.isfinite(step) and step > 0):
        raise ValueError(f"step is {step!r}, expected a positive number")
    leaves: list[npt.NDArray[np.float64]] = []
    point = _copy(params, leaves)
    slopes: list[npt.NDArray[np.float64]] = []
    gradient = _copy(params, slopes)
    for values, slope in zip(leaves, slopes, strict=True):
        for index in np.ndindex(values.shape):
            value = values[index]
            values[index] = value + step
            ahead = float(loss(point))
            values[index] = value - step if scheme == "central" else value
            behind = float(loss(point))
            values[index] = value
            slope[index] = (ahead - behind) / (2 * step if scheme == "central" else step)
    return gradient


def _copy(tree: Any, leaves: list[npt.NDArray[np.float64]]) -> Any:
    """Copy a structure with float64 arrays as leaves, and list these in order."""
    if isinstance(tree, dict):
        return {key: _copy(item, leaves) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        items = [_copy(item, leaves) for item in tree]
        return tree._make(items) if hasattr(tree, "_make") else type(tree)(items)
    values = np.asarray(tree)
    if values.dtype.kind not in "fiu":
        raise TypeError(f"params holds {type(tree).__name__} of dtype {values.dtype}, expected real numbers")
    leaves.append(np.array(values, dtype=np.float64))
    return leaves[-1]


def lecture_table(steps: npt.ArrayLike | None = None) -> list[dict[str, float]]:
    """Errors of both schemes for the lectures' example, ``theta**3`` at 1, whose derivative is 3.

    Parameters
    ----------
    steps : sequence of float, optional
        By default 1e-1, 1e-2, ... 1e-8.

    Returns
    -------
    list of dict
        One row per step with keys ``step``, ``forward``, ``central`` (errors) and ``forward_order``,
        ``central_order``: the power of the step with which the error fell since the row before (NaN in the first
        row), 1 and 2 until rounding takes over.
    """
    rows: list[dict[str, float]] = []
    for step in np.asarray(10.0 ** -np.arange(1, 9) if steps is None else steps, dtype=np.float64).tolist():
        row = {"step": step}
        for scheme in ("forward", "central"):
            slope = numeric_gradient(lambda theta: float(theta**3), 1.0, step, scheme)
            row[scheme] = abs(float(slope) - 3.0)
            before = rows[-1][scheme] if rows else math.nan
            ratio = row[scheme] / before if row[scheme] and before else math.nan
            row[f"{scheme}_order"] = math.log(ratio) / math.log(step / rows[-1]["step"]) if rows else math.nan
        rows.append(row)
    return rows
