"""Relative errors of a gradient, and what two courses make of them.

``a`` is the analytic gradient, ``n`` the numeric one.

* Andrew Ng's deep learning course measures a whole vector by ``||a - n|| / (||a|| + ||n||)`` (Euclidean norms).
* CS231n measures entry by entry: ``|a - n| / max(|a|, |n|)``, 0 where both are 0.

Both are computed in float64, without overflow or underflow whatever the scale of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
Source = Literal["ng", "cs231n"]

# Upper edges of the bands, each with its words; beyond the last edge the last words hold.
NG_BANDS = (
    (1e-7, "great"),
    (1e-5, "probably right, look at single entries"),
    (1e-3, "suspicious, look at single entries"),
    (math.inf, "worrying, probably a bug"),
)
CS231N_BANDS = (
    (1e-7, "happy"),
    (1e-4, "okay with kinks, high without"),
    (1e-2, "uncomfortable"),
    (math.inf, "probably wrong"),
)
DEEP = 10  # CS231n's example of a network so deep that 1e-2 can be all right


class RelativeError(float):
    """A relative error: a float that knows which course's measure it is.

    Parameters
    ----------
    value : float
        The error; NaN where nothing could be compared.
    source : {"ng", "cs231n"}
        The measure, see the module's description.
    """

    source: Source

    def __new__(cls, value: float, source: Source = "ng") -> RelativeError:
        self = super().__new__(cls, value)
        self.source = source
        return self

    def band(self, *, kinks: bool | None = None, depth: int | None = None, source: Source | None = None) -> str:
        """Say in words what the course thinks of an error of this size.

        Both courses speak of float64 and of central differences with a step of the caller's choice. In float32 a
        correct gradient can land in a bad band; the verdict of a report does not use the bands.

        Parameters
        ----------
        kinks : bool, optional
            CS231n only: whether the function has kinks (ReLU, max, hinge). Errors up to 1e-4 are usually all right
            with them and too high without; not given, the words say both.
        depth : int, optional
            CS231n only: the number of layers. Errors build up, so that from 10 layers on 1e-2 can be all right.
        source : {"ng", "cs231n"}, optional
            The course to ask; by default the one whose measure this is.

        Returns
        -------
        str
            Ng: up to 1e-7 great, about 1e-5 look closer, 1e-3 and more probably a bug.
            CS231n: up to 1e-7 happy, up to 1e-4 see `kinks`, up to 1e-2 uncomfortable, more probably wrong.
        """
        if math.isnan(self):
            return "undefined"
        bands = NG_BANDS if (source or self.source) == "ng" else CS231N_BANDS
        words = next(words for edge, words in bands if self <= edge)
        if bands is CS231N_BANDS and 1e-7 < self <= 1e-2 and depth is not None and depth >= DEEP:
            return f"can be all right {depth} layers deep"
        if bands is CS231N_BANDS and 1e-7 < self <= 1e-4 and kinks is not None:
            return "usually okay, with kinks" if kinks else "too high without kinks"
        return words


class Norms(NamedTuple):
    """Euclidean norms of ``a - n``, ``a`` and ``n``, all to be multiplied by ``2**exponent``."""

    difference: float
    analytic: float
    numeric: float
    exponent: int

    @classmethod
    def of(cls, analytic: FloatArray, numeric: FloatArray) -> Norms:
        """Norms of two arrays of one shape. The scale is a power of two, so scaling is exact."""
        a, n = np.ravel(analytic).astype(np.float64, copy=False), np.ravel(numeric).astype(np.float64, copy=False)
        largest = max(float(np.max(np.abs(a), initial=0.0)), float(np.max(np.abs(n), initial=0.0)))
        if not math.isfinite(largest):
            return cls(math.nan, math.nan, math.nan, 0)
        exponent = math.frexp(largest)[1]
        a, n = np.ldexp(a, -exponent), np.ldexp(n, -exponent)
        return cls(_length(a - n), _length(a), _length(n), exponent)

    @classmethod
    def joined(cls, parts: Iterable[Norms]) -> Norms:
        """Norms of the concatenation of several arrays."""
        parts = [part for part in parts if part.analytic + part.numeric != 0]
        if not parts:
            return cls(0.0, 0.0, 0.0, 0)
        exponent = max(part.exponent for part in parts)
        scaled = [[math.ldexp(x, part.exponent - exponent) for x in part[:3]] for part in parts]
        difference, analytic, numeric = (math.hypot(*column) for column in zip(*scaled, strict=True))
        return cls(difference, analytic, numeric, exponent)

    @property
    def relative_error(self) -> RelativeError:
        """Ng's measure; 0 where both gradients are 0."""
        total = self.analytic + self.numeric
        return RelativeError(self.difference / total if total != 0 else 0.0)


def _length(x: npt.NDArray[np.float64]) -> float:
    return math.sqrt(float(np.dot(x, x)))


def relative_error(analytic: FloatArray, numeric: FloatArray) -> RelativeError:
    """Ng's ``||a - n|| / (||a|| + ||n||)`` of two arrays of one shape; 0 where both are 0."""
    return Norms.of(analytic, numeric).relative_error


def entry_relative_errors(analytic: FloatArray, numeric: FloatArray) -> npt.NDArray[np.float64]:
    """CS231n's ``|a - n| / max(|a|, |n|)`` entry by entry; 0 where both are 0, NaN where either is not finite."""
    a, n = np.asarray(analytic, np.float64), np.asarray(numeric, np.float64)
    largest = np.maximum(np.abs(a), np.abs(n))
    huge = np.where(largest > 1e300, 0.25, 1.0)  # keeps a - n finite
    with np.errstate(invalid="ignore"):
        difference = np.abs(huge * a - huge * n)
        errors = np.divide(difference, huge * largest, out=np.zeros_like(difference), where=largest != 0)
    return np.asarray(errors)


def max_relative_error(analytic: FloatArray, numeric: FloatArray) -> RelativeError:
    """Largest of `entry_relative_errors`, 0 for empty arrays."""
    return RelativeError(float(np.max(entry_relative_errors(analytic, numeric), initial=0.0)), "cs231n")
