"""A data set in parts: training, development, test."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._messages import shown
from gradproof.nn import validate
from gradproof.train import streams

Array = NDArray[Any]


def split(
    X: Any,
    y: Any = None,
    sizes: Sequence[float] = (60, 20, 20),
    *others: Any,
    stratify: bool | None = None,
    shuffle: bool = True,
    seed: int = 0,
) -> tuple[tuple[Array, ...], ...]:
    """Divide the rows of several arrays among parts, every row in exactly one.

    Parameters
    ----------
    X : array_like, (m, ...)
        Inputs.
    y : array_like, (m, ...), optional
        Targets.
    sizes : sequence of numbers
        Percents (that add up to 100), fractions (to 1) or numbers of rows (to m), one per part.
    *others : array_like, (m, ...)
        More to be divided in the same way, such as weights.
    stratify : bool, optional
        Whether every part gets its share of every class, up to one row. None: if `y` is labels and each class has at
        least as many rows as there are parts.
    shuffle : bool
        If False, the rows stay in their order, and without `stratify` the parts are consecutive.
    seed : int
        What is drawn depends on.

    Returns
    -------
    tuple of tuples
        Per part ``(X, y)`` or ``(X, y, *others)``; without `y` just ``(X, *others)``. Copies.

    Raises
    ------
    ValueError, TypeError
        If lengths differ, sizes add up to nothing known, a part would be empty, or with ``stratify=True`` a class has
        fewer rows than there are parts.

    Examples
    --------
    >>> (X, y), (X_dev, y_dev), (X_test, y_test) = split(X, y, (60, 20, 20))
    """
    named = [("X", X), *([] if y is None else [("y", y)]), *((f"others[{i}]", other) for i, other in enumerate(others))]
    arrays = [validate.rows(value, name) for name, value in named]
    for (name, _), array in zip(named, arrays, strict=True):
        if len(array) != len(arrays[0]):
            raise ValueError(f"{name}: got {len(array)} rows, expected {len(arrays[0])} rows as in X")
    counts = _counts(sizes, len(arrays[0]))
    seed = validate.whole(seed, "seed", 0, 2**64 - 1)
    shuffle = validate.flag(shuffle, "shuffle")
    rng = streams.split(seed)
    classes = _classes(None if y is None else arrays[1], len(counts), stratify)
    if classes is None:
        rows = rng.permutation(len(arrays[0])) if shuffle else np.arange(len(arrays[0]))
        parts = np.split(rows, np.cumsum(counts)[:-1])
    else:
        parts = _stratified(classes, counts, rng if shuffle else None)
    return tuple(tuple(array[rows] for array in arrays) for rows in parts)


def _counts(sizes: Sequence[float], m: int) -> list[int]:
    """Rows per part: those asked for, or the nearest whole numbers that add up to m."""
    array = isinstance(sizes, np.ndarray) and sizes.ndim == 1
    sequence = array or (isinstance(sizes, Sequence) and not isinstance(sizes, str))
    if not sequence or len(sizes) == 0:
        raise TypeError(f"sizes: got {shown(sizes)}, expected a sequence of numbers such as (60, 20, 20)")
    for size in sizes:
        if not isinstance(size, Real) or isinstance(size, bool) or not 0 < size < np.inf:
            raise ValueError(f"sizes: got {shown(size)} in {shown(tuple(sizes))}, expected numbers greater than 0")
    total = float(sum(sizes))
    if total == m and all(float(size).is_integer() for size in sizes):
        return [int(size) for size in sizes]
    if not (np.isclose(total, 100, rtol=1e-9) or np.isclose(total, 1, rtol=1e-9)):
        raise ValueError(
            f"sizes: {shown(tuple(sizes))} add up to {total:g}, expected 100 (percents), 1 or {m} (all rows)"
        )
    exact = np.array(sizes, float) / total * m
    counts = np.floor(exact + 1e-9).astype(int)
    for part in np.argsort(counts - exact, kind="stable")[: m - counts.sum()]:  # the largest remainders
        counts[part] += 1
    if counts.min() == 0:
        raise ValueError(f"sizes: {shown(tuple(sizes))} of {m} rows leave part {int(counts.argmin())} empty")
    return [int(count) for count in counts]


def _classes(y: Array | None, parts: int, stratify: bool | None) -> NDArray[np.int64] | None:
    """Per row the number of its class; None if the classes are not to be looked at."""
    if not (stratify is None or isinstance(stratify, (bool, np.bool_))):
        raise TypeError(f"stratify: got {shown(stratify)}, expected True, False or None")
    if stratify is not None and not stratify:
        return None
    if y is None or y.ndim != 1 or y.dtype.kind not in "iubUSO":
        if stratify is None:
            return None
        given = "no y" if y is None else f"y of dtype {y.dtype} and shape {y.shape}"
        raise ValueError(f"stratify: got True with {given}, expected labels of shape (m,)")
    try:
        labels, classes, counts = np.unique(y, return_inverse=True, return_counts=True)
    except TypeError as error:  # such as 1 and "a"
        raise TypeError(f"y: got labels that cannot be compared ({error}); stratify=False does not ask") from error
    if counts.min() < parts:
        if stratify is None:
            return None
        label = labels[counts.argmin()].item() if labels.dtype.kind != "O" else labels[counts.argmin()]
        raise ValueError(
            f"stratify: class {label!r} has {counts.min()} of the rows of y, expected at least {parts}, one for a part"
        )
    return np.asarray(classes, np.int64)


def _stratified(classes: NDArray[np.int64], counts: list[int], rng: np.random.Generator | None) -> list[Array]:
    """Rows per part, every class within one row of its share and every part of exactly its size."""
    m, members = len(classes), np.bincount(classes)
    rows = np.arange(m) if rng is None else rng.permutation(m)
    rows = rows[np.argsort(classes[rows], kind="stable")]
    shares = members[:, None] * np.array(counts)  # in rows, times m: whole numbers, so that nothing is rounded
    table = shares // m
    missing = np.array(counts) - table.sum(axis=0)
    # What is left over, less than one row per class and part, goes where most is missing. That always comes out even:
    # it is how a 0-1 matrix with given sums is built (Gale and Ryser 1957).
    for index in range(len(members)):
        left = int(members[index] - table[index].sum())
        chosen = np.lexsort((-(shares[index] % m), -missing))[:left]
        table[index, chosen] += 1
        missing[chosen] -= 1
    stops = np.cumsum(table.ravel())[:-1]
    pieces = np.split(rows, stops)  # class by class, part by part
    parts = [np.concatenate(pieces[part :: len(counts)]) for part in range(len(counts))]
    return [np.sort(part) if rng is None else rng.permutation(part) for part in parts]
