"""A measured gradient: numbers with their uncertainty, and one-sided derivatives where there is a kink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof.check.tensor_report import Status

Array = NDArray[Any]


@dataclass(frozen=True)
class Measurement:
    """What was measured of a gradient, one element per parameter (or per entry asked for).

    Attributes
    ----------
    numeric : float64 array
        The derivative.
    uncertainty : float64 array
        Bound on what rounding and truncation may put between `numeric` and a right gradient of the same precision.
    kink : bool array
        Where the loss has a kink at the point itself: the derivatives from the left and from the right differ.
    left, right : float64 array
        One-sided derivatives, equal to `numeric` where there is no kink.
    recorded : float64 array
        The derivative of the piece that the forward pass took, for every maximum at a tie the branch that it chose.
    evaluations : int
        Evaluations of the loss (structured or ordinary) that it took.
    """

    numeric: Array
    uncertainty: Array
    kink: Array
    left: Array
    right: Array
    recorded: Array
    evaluations: int

    @classmethod
    def smooth(cls, numeric: Array, uncertainty: Array, evaluations: int) -> Measurement:
        """Without a kink anywhere."""
        return cls(numeric, uncertainty, np.zeros(numeric.shape, bool), numeric, numeric, numeric, evaluations)

    @classmethod
    def joined(cls, parts: list[Measurement]) -> Measurement:
        """Several measurements one behind the other."""
        if len(parts) == 1:
            return parts[0]
        columns = ("numeric", "uncertainty", "kink", "left", "right", "recorded")
        return cls(
            *(np.concatenate([getattr(part, column) for part in parts]) for column in columns),
            evaluations=sum(part.evaluations for part in parts),
        )

    def __add__(self, other: Measurement) -> Measurement:
        """The measurement of a sum of two functions."""
        return Measurement(
            self.numeric + other.numeric,
            self.uncertainty + other.uncertainty,
            self.kink | other.kink,
            self.left + other.left,
            self.right + other.right,
            self.recorded + other.recorded,
            self.evaluations + other.evaluations,
        )

    def either(self, other: Measurement) -> Measurement:
        """Two measurements of one function from base points that differ by rounding.

        Where they disagree, a maximum stands so close to a tie that rounding decides which branch is taken: both
        derivatives, and all between, are right.
        """
        apart = np.abs(self.numeric - other.numeric) > self.uncertainty
        return Measurement(
            self.numeric,
            self.uncertainty,
            self.kink | other.kink | apart,
            np.where(apart, np.minimum(self.left, other.left), self.left),
            np.where(apart, np.maximum(self.right, other.right), self.right),
            np.where(apart, other.recorded, self.recorded),
            self.evaluations + other.evaluations,
        )

    def slice(self, start: int, stop: int) -> Measurement:
        """The elements of one tensor."""
        columns = ("numeric", "uncertainty", "kink", "left", "right", "recorded")
        return Measurement(*(getattr(self, column)[start:stop] for column in columns), evaluations=0)

    def judge(self, analytic: Array, rtol: float | None = None) -> tuple[Array, Array]:
        """Compare a gradient with what was measured.

        Parameters
        ----------
        analytic : array
            The gradient under test.
        rtol : float, optional
            Relative errors up to this are accepted as well.

        Returns
        -------
        status : uint8 array
            Codes of :class:`~gradproof.check.tensor_report.Status`. ``match``: within the uncertainty. At a kink any
            value between the one-sided derivatives is right (``kink``). ``unresolved``: within an uncertainty that is
            itself too large to tell, above a tenth of the entry and a hundredth of the root mean square of all.
        numeric : float64 array
            The measured value to report: at a kink, of those between the one-sided derivatives, the nearest to
            `analytic`.
        """
        a = analytic.astype(np.float64)
        allowed = self.uncertainty
        if rtol is not None:
            allowed = np.maximum(allowed, rtol * np.maximum(np.abs(a), np.abs(self.numeric)))
        with np.errstate(invalid="ignore"):
            wrong = ~(np.abs(a - self.numeric) <= allowed)
        status = np.where(wrong, np.uint8(Status.MISMATCH), np.uint8(Status.MATCH))
        numeric = self.numeric
        if self.kink.any():
            sides = np.stack([self.left, self.right, self.recorded])
            low, high = sides.min(axis=0), sides.max(axis=0)
            kink = self.kink & (high - low > self.uncertainty)
            inside = (a >= low - allowed) & (a <= high + allowed)
            status[kink] = np.where(inside[kink], Status.KINK, Status.KINK_MISMATCH)
            numeric = np.where(kink, np.clip(a, low, high), numeric)
        if np.isfinite(self.uncertainty).all():
            size = np.maximum(np.abs(a), np.abs(self.numeric))
            coarse = self.uncertainty > 0.1 * size
            if coarse.any():
                coarse &= self.uncertainty > 0.01 * np.sqrt(np.mean(np.square(self.numeric)))
                coarse &= self.uncertainty > 1e-6 * np.max(size, initial=0.0)
                status[coarse & ~wrong & (status == Status.MATCH)] = Status.UNRESOLVED
        else:
            status[~np.isfinite(self.uncertainty) | ~np.isfinite(self.numeric)] = Status.UNRESOLVED
        return status, numeric
