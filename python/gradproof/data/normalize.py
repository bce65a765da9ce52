"""Inputs with mean 0 and variance 1, by the statistics of the training set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof.nn import validate

Array = NDArray[Any]

_BLOCK = 2**17  # values read at a time: a megabyte of float64, so that it stays in the cache


class Normalizer:
    """``(x - mean) / sqrt(variance)`` per column, with the biased variance (divided by m) of the rows fitted.

    Fit it on the training set and transform all sets with it: the same mean and variance for each. A column that is
    constant there is divided by 1, so that it becomes 0. (The notes of some courses print ``x / variance``; that does
    not give variance 1.)

    Attributes
    ----------
    mean, variance : ndarray of float64, (n,)
        Of the rows fitted.
    scale : ndarray of float64, (n,)
        ``sqrt(variance)``, 1 where that is 0.
    rows : int
        Number of rows fitted.

    Notes
    -----
    Rows are read in blocks, so that memory-mapped files of any size can be given. Each block's squares are summed about
    its own mean and merged with those before it (Chan, Golub and LeVeque 1979): there is no difference of large sums,
    in float64 whatever the dtype of the data.

    Examples
    --------
    >>> normalizer = Normalizer().fit(X_train)
    >>> model.fit(normalizer.transform(X_train), y_train, validation_data=(normalizer.transform(X_dev), y_dev))
    """

    def __init__(self) -> None:
        self.rows = 0
        self.mean: NDArray[np.float64] = np.empty(0)
        self.variance: NDArray[np.float64] = np.empty(0)

    def fit(self, X: ArrayLike) -> Normalizer:
        """Take mean and variance from the rows of `X`, (m, n); what was fitted before is forgotten.

        Raises
        ------
        ValueError, TypeError
            If `X` has no rows, is not two-dimensional, or holds anything but finite real numbers.
        """
        array = _matrix(X)
        if len(array) == 0:
            raise ValueError("X: got no rows, expected at least one")
        rows, n = 0, array.shape[1]
        mean, squares = np.zeros(n), np.zeros(n)
        lowest, highest = np.full(n, np.inf), np.full(n, -np.inf)
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            for _, block in _blocks(array):
                block_mean = block.mean(axis=0)
                delta, m = block_mean - mean, len(block)
                mean += delta * (m / (rows + m))
                squares += np.square(block - block_mean).sum(axis=0) + delta**2 * (rows * m / (rows + m))
                rows += m
                np.minimum(lowest, block.min(axis=0), out=lowest)
                np.maximum(highest, block.max(axis=0), out=highest)
        constant = lowest == highest  # the mean of equal numbers may be rounded; their variance is 0 all the same
        mean, variance = np.where(constant, lowest, mean), np.where(constant, 0.0, squares / rows)
        if not np.isfinite(variance).all():
            column = int(np.argmin(np.isfinite(variance)))
            raise ValueError(f"X: the variance of column {column} is too large for float64")
        self.rows, self.mean, self.variance = rows, mean, variance
        return self

    @property
    def scale(self) -> NDArray[np.float64]:
        """What columns are divided by: ``sqrt(variance)``, 1 for constant ones."""
        return np.where(self.variance > 0, np.sqrt(self.variance), 1.0)

    def transform(self, X: ArrayLike, out: Array | None = None) -> Array:
        """``(X - mean) / scale``, float32 for float32 and float64 for everything else.

        Parameters
        ----------
        X : array_like, (m, n)
            Rows with the columns that were fitted.
        out : ndarray, (m, n), optional
            Where to write to: a memory-mapped file, for instance, or `X` itself. Untouched if anything is wrong.

        Raises
        ------
        ValueError, TypeError
            If nothing was fitted yet, or `X` does not have its columns or anything but finite real numbers.
        """
        mean, scale = self.mean, self.scale
        return self._map(X, out, lambda block: (block - mean) / scale)

    def fit_transform(self, X: ArrayLike) -> Array:
        """:meth:`fit`, then :meth:`transform`."""
        return self.fit(X).transform(X)

    def inverse_transform(self, Z: ArrayLike, out: Array | None = None) -> Array:
        """``Z * scale + mean``, the reverse of :meth:`transform` with its arguments and errors."""
        mean, scale = self.mean, self.scale
        return self._map(Z, out, lambda block: block * scale + mean, "Z")

    def to_dict(self) -> dict[str, Any]:
        """As plain data, of which JSON keeps every digit."""
        self._fitted()
        return {"rows": self.rows, "mean": self.mean.tolist(), "variance": self.variance.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Normalizer:
        """The Normalizer of which :meth:`to_dict` gave `values`.

        Raises
        ------
        ValueError, TypeError
            If `values` is anything else.
        """
        if not isinstance(values, Mapping) or set(values) != {"rows", "mean", "variance"}:
            given = ", ".join(map(repr, values)) if isinstance(values, Mapping) else type(values).__name__
            raise ValueError(f"values: got {given}, expected a dict with 'rows', 'mean' and 'variance'")
        made = cls()
        made.rows = validate.whole(values["rows"], "rows", 1, 2**63 - 1)
        made.mean, made.variance = (
            validate.finite(validate.numeric(values[name], name), np.dtype(np.float64), name).copy()
            for name in ("mean", "variance")
        )
        if made.mean.ndim != 1 or made.mean.shape != made.variance.shape or (made.variance < 0).any():
            raise ValueError("values: expected a 'mean' and a 'variance' >= 0 of one length")
        return made

    def __repr__(self) -> str:
        return (
            f"<Normalizer of {len(self.mean)} columns, {self.rows} rows>" if self.rows else "<Normalizer, not fitted>"
        )

    def _fitted(self) -> None:
        if not self.rows:
            raise ValueError("this Normalizer was not fitted: call fit(X) with the training set first")

    def _map(self, X: ArrayLike, out: Array | None, function: Any, name: str = "X") -> Array:
        self._fitted()
        array = _matrix(X, name)
        if array.shape[1] != len(self.mean):
            raise ValueError(f"{name}: got {array.shape[1]} columns, expected {len(self.mean)}")
        if out is None:
            out = np.empty(array.shape, np.float32 if array.dtype == np.float32 else np.float64)
        elif not isinstance(out, np.ndarray) or out.shape != array.shape or out.dtype.kind != "f":
            given = f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
            raise ValueError(f"out: got {given}, expected an array of real numbers of shape {array.shape}")
        elif np.may_share_memory(array, out):  # all is looked at before anything is written over it
            for _ in _blocks(array, name):
                pass
        for start, block in _blocks(array, name):
            out[start : start + len(block)] = function(block)
        return out


def _matrix(X: ArrayLike, name: str = "X") -> Array:
    array = validate.numeric(X, name)
    if array.ndim != 2:
        raise ValueError(f"{name}: got shape {array.shape}, expected (m, n)")
    return array


def _blocks(array: Array, name: str = "X") -> Iterator[tuple[int, NDArray[np.float64]]]:
    """First row and float64 copy of one block after the other, finite numbers all."""
    step = max(1, _BLOCK // max(1, array.shape[1]))
    for start in range(0, len(array), step):
        block = np.asarray(array[start : start + step], np.float64)
        good = np.isfinite(block)
        if not good.all():
            row, column = (int(i) for i in np.argwhere(~good)[0])
            raise ValueError(f"{name}[{start + row}, {column}] is {block[row, column]}, expected finite numbers")
        yield start, block
