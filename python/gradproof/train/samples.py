"""Training and validation data, checked once, and memory maps read in blocks."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof._messages import shown
from gradproof.nn import validate
from gradproof.train.step import sample_weights

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]

_BLOCK = 2**22  # bytes of a memory map that are read at a time: large enough to be fast, small beside everything else
_NEIGHBOURHOOD = 2**20  # bytes that the system may map around a place that is read: a large page


class Samples:
    """Inputs and targets that suit a model.

    Attributes
    ----------
    X : ndarray or sparse matrix of SciPy, (m, n_in)
        Of the model's dtype and in C order; or a memory map or sparse matrix, of which only rows are ever copied.
    targets : ndarray
        As the loss takes them.
    mapped : bool
        Whether `X` is such a memory map or sparse matrix.
    """

    def __init__(self, model: Sequential, X: Any, y: Any) -> None:
        self._sparse = hasattr(X, "tocsr")
        self.mapped = self._sparse or isinstance(X, np.memmap)
        if self._sparse:
            X = X.tocsr()
            validate.inputs(X[:1].toarray(), model.input_size, model.dtype)
        elif self.mapped:
            validate.table(X, model.input_size)
        self.X = X if self.mapped else validate.inputs(X, model.input_size, model.dtype)
        self._dtype = model.dtype
        self.targets = model._targets(y, len(self))
        if self.mapped:
            for _ in self.blocks():
                pass

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def gather(self, rows: NDArray[np.int64]) -> Array:
        """These rows, a copy."""
        return take(self.X, rows, self._dtype)

    def blocks(self) -> Iterator[tuple[int, Array]]:
        """All rows, in order and a few at a time: where each block starts, and the block."""
        count = len(self) if not self.mapped else max(1, _BLOCK // max(1, self.X.dtype.itemsize * self.X.shape[1]))
        for start in range(0, len(self), count):
            block = self._dense(slice(start, start + count))
            yield start, self._checked(block, start) if self.mapped else block
            _let_go(self.X)

    def _dense(self, rows: Any) -> Array:
        chosen: Any = self.X[rows]
        return np.asarray(chosen.toarray() if self._sparse else chosen)

    def _checked(self, block: Array, start: int) -> Array:
        with np.errstate(over="ignore"):
            converted = np.asarray(block, dtype=self._dtype, order="C")
        bad = ~np.isfinite(converted)
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            raise ValueError(f"X: X[{start + row}, {column}] is {block[row, column]}, expected finite numbers")
        return converted


def take(X: Any, rows: NDArray[np.int64], dtype: np.dtype[Any]) -> Array:
    """Rows of an array, memory map or sparse matrix, as a dense copy; of a map a few at a time, as each brings its
    neighbourhood into memory."""
    if hasattr(X, "tocsr"):
        return np.asarray(X.tocsr()[rows].toarray(), dtype=dtype, order="C")
    if not isinstance(X, np.memmap):
        return np.asarray(X[rows], dtype=dtype, order="C")
    taken = np.empty((len(rows), X.shape[1]), dtype)
    count = max(1, _BLOCK // max(_NEIGHBOURHOOD, X.dtype.itemsize * X.shape[1]))
    for start in range(0, len(rows), count):
        taken[start : start + count] = X[rows[start : start + count]]
        _let_go(X)
    return taken


def _let_go(X: Any) -> None:
    """Give the pages of a shared map back, which would count as this process's memory; they stay in the cache."""
    file = getattr(X, "_mmap", None)
    # What was written to a private map would be lost.
    if file is not None and getattr(X, "mode", "c") in ("r", "r+", "w+") and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)


def validation(model: Sequential, given: Any, seen: Array) -> Samples | None:
    """`validation_data`, checked; `seen` are the targets of the training set.

    Raises
    ------
    ValueError, TypeError
        Naming ``validation_data``: also for a class that does not occur in the training set.
    """
    if given is None:
        return None
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"validation_data: got {_kind(given)}, expected a tuple (X, y)")
    try:
        samples = Samples(model, *given)
    except (ValueError, TypeError) as error:
        raise type(error)(f"validation_data: {error}") from error
    if samples.targets.dtype.kind == "i":
        unseen = ~np.isin(samples.targets, np.unique(seen))
        if unseen.any():
            first = int(np.argmax(unseen))
            raise ValueError(
                f"validation_data: y[{first}] is {samples.targets[first]}, a label that does not occur "
                f"in the {len(seen)} targets trained on"
            )
    return samples


def weights(model: Sequential, targets: Array, sample_weight: Any, class_weight: Any) -> Array | None:
    """The weight of every row: `sample_weight` times the weight of its class; None if all count the same.

    Parameters
    ----------
    sample_weight : array_like, (m,), optional
        Finite numbers >= 0, not all 0.
    class_weight : dict or "balanced", optional
        Weight of a label, 1 for labels that are not named; ``"balanced"`` gives ``m / (k * count)`` with k the number
        of classes that occur, as scikit-learn does.
    """
    product: Array | None = None
    if sample_weight is not None:
        try:
            product = sample_weights(sample_weight, len(targets), np.dtype(np.float64))
        except (ValueError, TypeError) as error:
            raise type(error)(str(error).replace("weights", "sample_weight")) from error
        if not product.any():
            raise ValueError("sample_weight: got only zeros, expected a row that counts")
        product = relative(product, "sample_weight")
    if class_weight is not None:
        by_row = relative(_class_weights(model, targets, class_weight), "class_weight")
        product = by_row if product is None else relative(product * by_row, "sample_weight and class_weight")
        if not product.any():
            raise ValueError("class_weight: with these weights no row counts, expected a class that occurs above 0")
    if product is None:
        return None
    held = product.astype(model.dtype)
    _all_hold(product, held, "sample_weight")
    return held


def relative(weights: Array, name: str) -> Array:
    """Weights over a power of two, so that the largest is about 1: their ratios are all that matters, and neither the
    sum nor float32 is too small for them."""
    scaled = np.ldexp(weights, -np.frexp(weights.max())[1])
    _all_hold(weights, scaled, name)
    return scaled


def _all_hold(weights: Array, scaled: Array, name: str) -> None:
    """Refuse a row that would silently count for nothing."""
    lost = (weights > 0) & (scaled == 0)
    if lost.any():
        row = int(np.argmax(lost))
        raise ValueError(
            f"{name}: the weight of row {row} vanishes beside the largest, expected weights that one number type holds"
        )


def _class_weights(model: Sequential, targets: Array, class_weight: Any) -> Array:
    labels, classes = _labels(model, targets)
    by_class = np.ones(classes)
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(labels, minlength=classes)
        by_class = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(class_weight, Mapping):
        for label, weight in class_weight.items():
            index = validate.whole(label, "class_weight: label", 0, classes - 1)
            by_class[index] = validate.nonnegative(weight, f"class_weight[{label!r}]")
    else:
        raise TypeError(f"class_weight: got {shown(class_weight)}, expected a dict from label to weight, or 'balanced'")
    return by_class[labels]


def _labels(model: Sequential, targets: Array) -> tuple[NDArray[np.int64], int]:
    """The class of every row and the number of classes."""
    if targets.dtype.kind == "i":
        return targets, model.output_size
    binary = model.loss_name == "binary_cross_entropy" and targets.shape[1] == 1
    if not binary or not np.isin(targets, (0, 1)).all():
        raise ValueError(f"class_weight: the targets of this model (loss {model.loss_name!r}) are no classes")
    return targets[:, 0].astype(np.int64), 2


def _kind(given: Any) -> str:
    name = type(given).__name__
    return f"a {name} of {len(given)}" if isinstance(given, (tuple, list)) else name
