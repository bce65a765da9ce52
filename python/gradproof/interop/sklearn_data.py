"""What scikit-learn's estimators are given: weights of rows, validation sets, matrices of either kind."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_sample_weight

from gradproof._messages import shown
from gradproof.nn import validate
from gradproof.train.samples import relative

Array = NDArray[Any]

_ROWS = 4096  # of a sparse matrix that are made dense at a time


def weights(y: Any, class_weight: Any, sample_weight: Any) -> Array | None:
    """How much each row counts, by its class and by itself; None if all count the same."""
    by_class = None if class_weight is None else compute_sample_weight(class_weight, y)
    if by_class is not None and not (np.isfinite(by_class).all() and (by_class >= 0).all() and by_class.any()):
        raise ValueError(f"class_weight: got {shown(class_weight)}, expected finite numbers >= 0, not all 0")
    if sample_weight is None:
        return by_class
    given = validate.numeric(sample_weight, "sample_weight")
    if given.shape not in ((), (y.shape[0],)):
        raise ValueError(f"sample_weight.shape == {given.shape}, expected {(y.shape[0],)}!")
    given = validate.finite(np.broadcast_to(given, y.shape[0]), np.dtype(np.float64), "sample_weight")
    if (given < 0).any():
        raise ValueError("sample_weight: got negative values, expected numbers >= 0")
    given = given if by_class is None else by_class * given
    if not given.any():
        raise ValueError("sample_weight: got only zeros, expected a row that counts (sample weights are all zero)")
    return given


def set_aside(
    X: Any, targets: Array, weights: Array | None, fraction: Any, strata: Array | None, rng: Any
) -> list[Any]:
    """Training and validation parts of inputs, targets and weights, with `fraction` of the rows, and of every stratum,
    for validation."""
    m = len(targets)
    share = validate.real(fraction, "validation_fraction", "a number in (0, 1)", lambda number: 0 < number < 1)
    aside = ceil(share * m)
    if aside < 2 or m - aside < 1:
        fewer = "fewer than 2 for validation" if aside < 2 else "none for training"
        raise ValueError(f"validation_fraction: {share:g} of {m} rows leaves {fewer}")
    if strata is not None:
        _check_strata(strata, share, aside)
    arrays = [X, targets] if weights is None else [X, targets, weights]
    halves = train_test_split(*arrays, random_state=rng, test_size=share, stratify=strata)
    parts = [halves[::2], halves[1::2]]
    if weights is None:
        return [*parts[0], None, *parts[1], None]
    if not (parts[0][2].any() and parts[1][2].any()):
        raise ValueError("sample_weight: got only zeros among the rows for training or among those for validation")
    return [*parts[0], *parts[1][:2], relative(parts[1][2], "sample_weight")]


def _check_strata(labels: Array, share: float, aside: int) -> None:
    classes, counts = np.unique(labels, return_counts=True)
    instead = "or a validation set of its own, X_val and y_val"
    if counts.min() < 2:
        raise ValueError(
            f"y: class {classes[np.argmin(counts)].item()!r} has a single row, but early_stopping keeps rows of every "
            f"class for training and for validation; expected at least 2, {instead}"
        )
    smaller = min(aside, len(labels) - aside)
    if smaller < len(classes):
        raise ValueError(
            f"validation_fraction: {share:g} of {len(labels)} rows makes parts of {aside} and {len(labels) - aside}, "
            f"expected room in both for a row of each of the {len(classes)} classes, {instead}"
        )


def dense(rows: Any) -> Array:
    """An array, of a sparse matrix too."""
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows)


def blocks(X: Any) -> Iterator[Array]:
    """All of an array at once, a sparse matrix a few rows at a time."""
    if not hasattr(X, "toarray"):
        yield X
        return
    for start in range(0, X.shape[0], _ROWS):
        yield dense(X[start : start + _ROWS])
