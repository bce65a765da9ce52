"""What a check found out about one tensor of parameters, entry by entry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum, IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from gradproof._cached import cached_property
from gradproof.check.errors import FloatArray, Norms, RelativeError, entry_relative_errors, max_relative_error
from gradproof.nn.validate import whole

# Entries below this fraction of the tensor's root mean square do not count for `detectable`.
NEGLIGIBLE = 1e-3


class Verdict(str, Enum):
    """Outcome of a check, equal to its plain string: ``report.verdict == "pass"``."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NONDETERMINISTIC = "nondeterministic"
    NONFINITE = "nonfinite"

    def __str__(self) -> str:
        return self.value

    @classmethod
    def worst(cls, verdicts: Sequence[Verdict]) -> Verdict:
        """The verdict that stands for several: one failure fails all, nothing at all passes."""
        order = (cls.NONFINITE, cls.NONDETERMINISTIC, cls.FAIL, cls.INCONCLUSIVE)
        return next((verdict for verdict in order if verdict in verdicts), cls.PASS)


class Status(IntEnum):
    """Outcome for one entry; reports store one such code (uint8) per entry."""

    UNCHECKED = 0
    MATCH = 1
    MISMATCH = 2
    KINK = 3
    KINK_MISMATCH = 4
    UNRESOLVED = 5

    @property
    def label(self) -> str:
        """The name users see, such as ``"kink-mismatch"``."""
        return self.name.lower().replace("_", "-")


STATUS = tuple(status.label for status in Status)
MATCH, MISMATCH = np.uint8(Status.MATCH), np.uint8(Status.MISMATCH)  # arrays compare with these in a tenth of the time


@dataclass(frozen=True)
class EntryReport:
    """One entry of a tensor.

    Attributes
    ----------
    index : tuple of int
        Position in the tensor.
    analytic, numeric, uncertainty : float
        The gradient under test, the measured one, and the error bound of the comparison.
    relative_error : float
        ``|a - n| / max(|a|, |n|)``, 0 where both are 0 (CS231n).
    status : str
        ``"match"``, ``"mismatch"``, ``"kink"``, ``"kink-mismatch"``, ``"unresolved"`` or ``"unchecked"``.
    """

    index: tuple[int, ...]
    analytic: float
    numeric: float
    uncertainty: float
    relative_error: float
    status: str


class TensorReport:
    """The check of one tensor.

    Either the arrays are given, and every number below is derived from them when first asked for; or, where only
    projections of the gradient were measured, there are no arrays and the numbers are given (`from_counts`).

    Parameters
    ----------
    name : str
        Name of the tensor, such as ``"dense_0.W"``.
    shape : tuple of int
        Its shape.
    analytic, numeric, uncertainty : array, optional
        Gradient under test, measured gradient and uncertainty, of this shape or flat; NaN where not checked.
    status : uint8 array, optional
        A `Status` code per entry.
    counts : tuple of int, optional
        How often each `Status` occurs, if that is known.
    detectable : float, optional
        Replaces the derived value of the attribute of this name.
    verdict : Verdict, optional
        Replaces the derived verdict.

    Attributes
    ----------
    name, shape, analytic, numeric, uncertainty, status
        As given, the arrays in the tensor's shape, or None in projected mode.
    """

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        analytic: FloatArray | None = None,
        numeric: FloatArray | None = None,
        uncertainty: FloatArray | None = None,
        status: npt.NDArray[np.uint8] | None = None,
        *,
        counts: tuple[int, ...] | None = None,
        detectable: float | None = None,
        verdict: Verdict | None = None,
    ) -> None:
        self.name = name
        self.shape = tuple(shape)
        self.analytic = None if analytic is None else analytic.reshape(self.shape)
        self.numeric = None if numeric is None else numeric.reshape(self.shape)
        self.uncertainty = None if uncertainty is None else uncertainty.reshape(self.shape)
        self.status = None if status is None else status.reshape(self.shape)
        self._entries: tuple[EntryReport, ...] = ()
        # An instance's value hides the cached_property of the same name.
        if counts is not None:
            self.__dict__["_counts"] = counts
        if detectable is not None:
            self.__dict__["detectable"] = detectable
        if verdict is not None:
            self.__dict__["verdict"] = verdict

    @classmethod
    def from_counts(
        cls,
        name: str,
        shape: Sequence[int],
        *,
        matched: int = 0,
        mismatched: int = 0,
        kinks: int = 0,
        unresolved: int = 0,
        relative_error: float = math.nan,
        max_relative_error: float = math.nan,
        detectable: float = math.nan,
        verdict: Verdict | None = None,
        entries: Sequence[EntryReport] = (),
    ) -> TensorReport:
        """Build a report without arrays, from numbers measured another way (projected mode).

        Parameters
        ----------
        matched, mismatched, kinks, unresolved : int
            Numbers of entries, as in the attributes of these names; an entry counts as checked when a measured
            direction covers it.
        relative_error, max_relative_error, detectable : float
            As in the attributes of these names; NaN if unknown.
        entries : sequence of EntryReport
            The entries that were measured one by one, for `worst`.
        """
        counts = {
            Status.MATCH: matched,
            Status.MISMATCH: mismatched,
            Status.KINK: kinks,
            Status.UNRESOLVED: unresolved,
        }
        known = tuple(counts.get(status, 0) for status in Status)
        self = cls(name, shape, counts=known, detectable=detectable, verdict=verdict)
        self._entries = tuple(entries)
        self.__dict__["relative_error"] = RelativeError(relative_error)
        self.__dict__["max_relative_error"] = RelativeError(max_relative_error, "cs231n")
        return self

    @property
    def size(self) -> int:
        """Number of entries of the tensor, checked or not."""
        return math.prod(self.shape)

    @cached_property
    def _counts(self) -> tuple[int, ...]:
        if self.status is None:
            return (self.size,) + (0,) * (len(Status) - 1)
        return tuple(np.bincount(self.status.ravel(), minlength=len(Status)).tolist())

    @property
    def checked(self) -> int:
        """Entries that were checked: ``matched + mismatched + kinks + unresolved``."""
        return sum(self._counts[1:])

    @property
    def matched(self) -> int:
        """Entries whose analytic value agrees with the measured one to within its uncertainty."""
        return self._counts[Status.MATCH]

    @property
    def mismatched(self) -> int:
        """Entries whose analytic value is wrong (at a kink: outside the two one-sided derivatives)."""
        return self._counts[Status.MISMATCH] + self._counts[Status.KINK_MISMATCH]

    @property
    def kinks(self) -> int:
        """Entries exactly at a kink whose analytic value is a subgradient, hence right."""
        return self._counts[Status.KINK]

    @property
    def unresolved(self) -> int:
        """Entries whose measurement is too uncertain to tell."""
        return self._counts[Status.UNRESOLVED]

    @cached_property
    def verdict(self) -> Verdict:
        """``"fail"`` if an entry is wrong, else ``"inconclusive"`` if one is unresolved or none was checked."""
        if self.mismatched:
            return Verdict.FAIL
        return Verdict.INCONCLUSIVE if self.unresolved or (self.size and not self.checked) else Verdict.PASS

    @cached_property
    def _compared(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Both gradients (1-D) where they can be compared: not at accepted kinks, which have no one derivative."""
        if self.status is None or self.analytic is None or self.numeric is None:
            return np.empty(0), np.empty(0)
        status, a, n = self.status.ravel(), self.analytic.ravel(), self.numeric.ravel()
        chosen = (status != Status.UNCHECKED) & (status != Status.KINK)
        chosen &= (status != Status.UNRESOLVED) | np.isfinite(n)
        return a[chosen].astype(np.float64), n[chosen].astype(np.float64)

    @property
    def _comparable(self) -> bool:
        return self._compared[0].size > 0 or self.kinks > 0 or self.size == 0

    @cached_property
    def norms(self) -> Norms:
        """Norms behind `relative_error`."""
        return Norms.of(*self._compared)

    @cached_property
    def relative_error(self) -> RelativeError:
        """``||a - n|| / (||a|| + ||n||)`` over the checked entries (Ng's course); 0 where both are 0.

        Accepted kinks and entries without a measured value do not take part; NaN if nothing is left.
        """
        return self.norms.relative_error if self._comparable else RelativeError(math.nan)

    @cached_property
    def max_relative_error(self) -> RelativeError:
        """Largest ``|a - n| / max(|a|, |n|)`` of the same entries, 0 where both are 0 (CS231n)."""
        return max_relative_error(*self._compared) if self._comparable else RelativeError(math.nan, "cs231n")

    @cached_property
    def detectable(self) -> float:
        """Smallest relative error that would have been seen in whichever checked entry it had been.

        ``max uncertainty_i / |n_i|`` over the checked entries with ``|n_i| >= 1e-3 rms(n)``. Smaller entries are left
        out because a relative error means nothing next to zero: a mistake there has to be as large as `uncertainty`.
        NaN if the measured gradient is zero everywhere.
        """
        if self.status is None or self.numeric is None or self.uncertainty is None:
            return math.nan
        chosen = (self.status != Status.UNCHECKED) & (self.status != Status.KINK) & np.isfinite(self.numeric)
        n = np.abs(self.numeric[chosen], dtype=np.float64)
        largest = float(np.max(n, initial=0.0))
        if largest == 0.0:
            return math.nan
        n /= largest
        counted = n >= NEGLIGIBLE * math.sqrt(float(np.mean(n * n)))
        with np.errstate(over="ignore"):
            return float(np.max(self.uncertainty[chosen][counted] / largest / n[counted]))

    @cached_property
    def excess(self) -> npt.NDArray[np.float64] | None:
        """``|a - n| / uncertainty`` per entry: above 1 is beyond the uncertainty; NaN where not checked."""
        if self.status is None or self.analytic is None or self.numeric is None or self.uncertainty is None:
            return None
        with np.errstate(all="ignore"):
            difference = np.abs(np.subtract(self.analytic, self.numeric, dtype=np.float64))
            excess = np.where(difference == 0, 0.0, difference / self.uncertainty)
        excess[self.status == Status.UNCHECKED] = math.nan
        return np.asarray(excess)

    def worst(self, k: int = 5) -> list[EntryReport]:
        """The `k` worst checked entries: wrong ones first, then by distance in units of the uncertainty.

        Equal distances are ordered by relative error.

        Raises
        ------
        TypeError, ValueError
            If `k` is not a whole number >= 0.
        """
        k = whole(k, "k", 0, 2**63 - 1)
        if self.excess is None or self.status is None or self.analytic is None or self.numeric is None:
            return list(self._entries[:k])
        status, excess = self.status.ravel(), np.nan_to_num(self.excess.ravel(), nan=math.inf)
        candidates = np.flatnonzero((status == Status.MISMATCH) | (status == Status.KINK_MISMATCH))
        if candidates.size < k:  # accepted kinks are right however far the two values are apart
            others = np.flatnonzero((status == Status.MATCH) | (status == Status.UNRESOLVED))
            candidates = np.concatenate([candidates, _largest(others, excess, k)])
        candidates = _largest(candidates, excess, k)
        errors = entry_relative_errors(self.analytic.ravel()[candidates], self.numeric.ravel()[candidates])
        wrong = np.isin(status[candidates], (Status.MISMATCH, Status.KINK_MISMATCH))
        order = np.lexsort((-errors, -excess[candidates], ~wrong))[:k]
        return [self.entry([int(j) for j in np.unravel_index(candidates[i], self.shape)]) for i in order]

    def entry(self, index: Sequence[int]) -> EntryReport:
        """The entry at `index`, from the arrays."""
        position = tuple(index)
        if self.status is None or self.analytic is None or self.numeric is None or self.uncertainty is None:
            raise ValueError(f"tensor {self.name!r} was checked by projections and has no arrays to look into")
        a, n, u = (float(array[position]) for array in (self.analytic, self.numeric, self.uncertainty))
        error = float(entry_relative_errors(np.array([a]), np.array([n]))[0])
        return EntryReport(position, a, n, u, error, STATUS[self.status[position]])

    def to_dict(self, include_arrays: bool = False) -> dict[str, Any]:
        """Everything as plain Python values, see `GradientReport.to_dict`."""
        values: dict[str, Any] = {
            "shape": list(self.shape),
            "verdict": self.verdict.value,
            "relative_error": float(self.relative_error),
            "max_relative_error": float(self.max_relative_error),
            "detectable": self.detectable,
            "checked": self.checked,
            "matched": self.matched,
            "mismatched": self.mismatched,
            "kinks": self.kinks,
            "unresolved": self.unresolved,
            "worst": [asdict(entry) for entry in self.worst()],
        }
        if include_arrays and self.status is not None:
            for name in ("analytic", "numeric", "uncertainty"):
                values[name] = getattr(self, name).tolist()
            values["status"] = np.array(STATUS)[self.status].tolist()
        return values

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        return f"<TensorReport {self.name} {shape}: {self.verdict}, relative error {self.relative_error:.1e}>"


def all_match(size: int) -> tuple[int, ...]:
    """The counts of a tensor without any other status."""
    return (0, size) + (0,) * (len(Status) - 2)


def _largest(candidates: npt.NDArray[np.intp], excess: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.intp]:
    """Candidate indices worth sorting: of a large tensor only the `k` with the largest excess."""
    if candidates.size <= 4096:
        return candidates
    return np.asarray(candidates[np.argpartition(-excess[candidates], k - 1)[:k]])
