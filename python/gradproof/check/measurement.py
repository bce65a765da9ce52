"""A measured gradient: numbers with their uncertainty, and one-sided derivatives where there is a kink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.tensor_report import MISMATCH, Status

Array = NDArray[Any]

# An uncertainty that is not rounding leaves an entry undecided if it exceeds a tenth of the entry, unless it is small
# beside the others: a hundredth of their root mean square, or a millionth of the scale of the whole gradient. So does a
# difference of that size that nothing but rounding excuses: the entry could as well be zero, or twice as large.
COARSE: Final = (0.1, 0.01, 1e-6)


@dataclass(frozen=True)
class Measurement:
    """What was measured of a gradient, one element per parameter (or per entry asked for).

    Attributes
    ----------
    numeric : float64 array
        The derivative.
    uncertainty : float64 array
        Bound on what rounding and truncation may put between `numeric` and a right gradient of the same precision.
    rounding : float64 array
        The part of `uncertainty` that is the rounding of the gradient itself, however it is computed.
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
    rounding: Array
    kink: Array
    left: Array
    right: Array
    recorded: Array
    evaluations: int

    @classmethod
    def smooth(cls, numeric: Array, uncertainty: Array, rounding: Array, evaluations: int) -> Measurement:
        """Without a kink anywhere."""
        kink = np.zeros(numeric.shape, bool)
        return cls(numeric, uncertainty, rounding, kink, numeric, numeric, numeric, evaluations)

    @property
    def _columns(self) -> tuple[Array, ...]:
        return (self.numeric, self.uncertainty, self.rounding, self.kink, self.left, self.right, self.recorded)

    @classmethod
    def _of(cls, columns: Sequence[Array], evaluations: int) -> Measurement:
        numeric, uncertainty, rounding, kink, left, right, recorded = columns
        return cls(numeric, uncertainty, rounding, kink, left, right, recorded, evaluations)

    @classmethod
    def joined(cls, parts: Sequence[Measurement]) -> Measurement:
        """Several measurements one behind the other."""
        if len(parts) == 1:
            return parts[0]
        columns = [np.concatenate(column) for column in zip(*(part._columns for part in parts), strict=True)]
        return cls._of(columns, sum(part.evaluations for part in parts))

    def widened(self, other: Measurement) -> Measurement:
        """The same numbers with an uncertainty that covers another measurement: an accusation has to hold in both."""
        sides = np.stack([other.numeric, other.left, other.right, other.recorded])
        gap = np.max(np.abs(self.numeric - sides), axis=0)
        uncertainty = np.fmax(self.uncertainty, gap + other.uncertainty)
        return replace(self, uncertainty=uncertainty, evaluations=self.evaluations + other.evaluations)

    def __getitem__(self, where: Any) -> Measurement:
        """The elements at an index, a slice or an array of indices."""
        return self._of([column[where] for column in self._columns], self.evaluations)

    def __add__(self, other: Measurement) -> Measurement:
        """The measurement of a sum of two functions."""
        join: Callable[[Array, Array], Array] = np.add  # which is "or" for the flags
        columns = [join(mine, theirs) for mine, theirs in zip(self._columns, other._columns, strict=True)]
        return self._of(columns, self.evaluations + other.evaluations)

    def updated(self, where: Array, part: Measurement) -> Measurement:
        """The same with the elements `where` replaced, and the evaluations of both."""
        columns = [column.copy() for column in self._columns]
        for column, values in zip(columns, part._columns, strict=True):
            column[where] = values
        return self._of(columns, part.evaluations)

    def either(self, other: Measurement) -> Measurement:
        """Two measurements of one function from base points that differ by rounding.

        Where they disagree, a maximum stands so close to a tie that rounding decides which branch is taken: both
        derivatives, and all between, are right.
        """
        uncertainty = np.maximum(self.uncertainty, other.uncertainty)
        apart = np.abs(self.numeric - other.numeric) > uncertainty
        sides = np.stack([self.left, self.right, self.recorded, other.left, other.right])
        return Measurement(
            self.numeric,
            uncertainty,
            np.maximum(self.rounding, other.rounding),
            self.kink | other.kink | apart,
            np.where(apart, sides.min(axis=0), self.left),
            np.where(apart, sides.max(axis=0), self.right),
            other.recorded,
            self.evaluations + other.evaluations,
        )

    def judge(
        self,
        analytic: Array,
        tensors: Sequence[slice],
        scale: float | Array,
        rtol: float | None = None,
        natural: float = 0.0,
    ) -> tuple[Array, Array]:
        """Compare a gradient with what was measured.

        Parameters
        ----------
        analytic : float64 array
            The gradient under test.
        tensors : sequence of slice
            Where each tensor lies: small entries are small beside the others of their tensor.
        scale : float, or float64 array
            Size of the largest entries of the whole gradient: far smaller ones need not be known.
        rtol : float, optional
            Relative errors up to this are accepted as well.
        natural : float
            What the largest would be elsewhere: at a minimum of the loss all of the gradient may be rounding.

        Returns
        -------
        status : uint8 array
            Codes of :class:`~gradproof.check.tensor_report.Status`. ``match``: within the uncertainty. At a kink any
            value between the one-sided derivatives is right (``kink``). ``unresolved``: within an uncertainty that is
            itself too large to tell (`COARSE`).
        numeric : float64 array
            The measured value to report: at a kink, of those between the one-sided derivatives, the nearest to
            `analytic`.
        """
        a = analytic
        allowed = self.uncertainty
        kinks = self.kink.any()
        if rtol is not None:
            allowed = np.maximum(allowed, rtol * np.maximum(np.abs(a), np.abs(self.numeric)))
        with np.errstate(invalid="ignore"):
            apart = np.abs(a - self.numeric)
            right = apart <= allowed
            if kinks:
                apart = np.abs(a - self._nearest(a))
        status = MISMATCH - right.view(np.uint8)  # the code before it is that of a match
        coarse = self._coarse(a, apart, tensors, scale, max(rtol or 0.0, COARSE[0]), natural)
        if coarse is not None:
            status[right & coarse] = Status.UNRESOLVED
        finite = np.isfinite(self.numeric + self.uncertainty)
        if not finite.all():
            status[~finite] = Status.UNRESOLVED
        if not kinks:
            return status, self.numeric
        low, high = self._sides
        kink = self.kink & (high - low > self.uncertainty)
        inside = (a >= low - allowed) & (a <= high + allowed)
        status[kink] = np.where(inside[kink], Status.KINK, Status.KINK_MISMATCH)
        return status, np.where(kink, self._nearest(a), self.numeric)

    @property
    def _sides(self) -> tuple[Array, Array]:
        sides = np.stack([self.left, self.right, self.recorded])
        return sides.min(axis=0), sides.max(axis=0)

    def _nearest(self, analytic: Array) -> Array:
        """What was measured; at a kink, of the values between the one-sided derivatives the nearest to `analytic`."""
        return np.where(self.kink, np.clip(analytic, *self._sides), self.numeric) if self.kink.any() else self.numeric

    def _coarse(
        self,
        analytic: Array,
        apart: Array,
        tensors: Sequence[slice],
        scale: float | Array,
        entry: float,
        natural: float,
    ) -> Array | None:
        """Where the uncertainty is too large to tell; None for nowhere."""
        _, typical, largest = COARSE
        if self.uncertainty is self.rounding and not (apart > largest * np.maximum(scale, natural)).any():
            return None
        doubt = np.where(apart > largest * natural, apart, 0.0)
        with np.errstate(invalid="ignore"):
            doubt = np.maximum(doubt, self.uncertainty - self.rounding)
        coarse = np.asarray(doubt > largest * scale)
        if not coarse.any():
            return None
        size = np.maximum(np.abs(analytic), np.abs(self.numeric))
        coarse &= (doubt > entry * size) & (size > 0)  # nothing against nothing: such a tensor is vacuous
        for own in tensors:
            most = float(np.max(size[own], initial=0.0))
            rms = most * np.sqrt(np.mean(np.square(self.numeric[own] / most))) if most > 0 else 0.0
            coarse[own] &= doubt[own] > max(typical * rms, largest * most)
        return coarse
