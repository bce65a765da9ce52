"""An explanation of one tensor's mismatch, and how it is put to the test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradproof.check.diagnosis.tensor import CLEAR, SAMPLE, Array, Tensor, sample

# A prediction may miss by this many uncertainties: its own and that of the value it is compared with.
SLACK = 2.0
# One odd entry in so many must not hide what all the others show.
ODD = 32
# Certainty up to which a pattern is doubted: other points are looked at.
DOUBTFUL = 0.85


@dataclass(frozen=True)
class Explanation:
    """A pattern that accounts for the right and the wrong entries of one tensor.

    Attributes
    ----------
    cause : str
        One of `gradproof.check.report.CAUSES`.
    cost : float
        Length of its description: of two that explain as well the shorter is preferred.
    support : int
        Number of entries that could have refuted it, less the numbers that were fitted.
    statement : str
        The pattern in numbers, such as "analytic = 2.000 × numeric in all 128 entries".
    hint : str
        Where to look.
    evidence : mapping
        The numbers, as plain Python values.
    factor : float or None
        What this says of the gradient flowing back into the layer: the factor on it (1: right; 0: cut off), or None if
        it says nothing.
    certainty : float
        Upper bound of the confidence, for patterns that several causes share.
    candidates : tuple of str
        Other causes with the same pattern.
    """

    cause: str
    cost: float
    support: int
    statement: str
    hint: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    factor: float | None = 1.0
    certainty: float = 0.99
    candidates: tuple[str, ...] = ()

    @property
    def confidence(self) -> float:
        """Grows with the number of entries that could have refuted it."""
        return self.certainty * (self.support + 1) / (self.support + 2)

    @property
    def rounded(self) -> bool:
        """Whether it shows beyond doubt how numbers are held, which needs no reason in any formula."""
        return self.cause == "precision" and self.certainty > DOUBTFUL


@dataclass(frozen=True)
class Trial:
    """Outcome of holding a prediction against the gradient under test."""

    accepted: bool
    support: int
    odd: Array  # mask of entries that do not follow


def trial(tensor: Tensor, prediction: Array, tolerance: Array, fitted: int = 0, exact: bool = False) -> Trial:
    """Hold a prediction of the whole tensor against `tensor.a`.

    Parameters
    ----------
    prediction, tolerance : array
        Predicted gradient, NaN where there is none, and the uncertainty of that.
    fitted : int
        Numbers taken from the data.
    exact : bool
        Whether no entry may be an exception.
    """
    a = tensor.a
    if a.size > SAMPLE and _refuted(a, prediction, tolerance, tensor.known, exact):
        return Trial(False, 0, ~tensor.known)
    known = tensor.known & np.isfinite(prediction)
    with np.errstate(invalid="ignore"):
        follows = np.abs(a - prediction) <= SLACK * tolerance
        telling = known & (np.maximum(np.abs(prediction), np.abs(tensor.n)) > CLEAR * tolerance)
    odd = known & ~follows
    exceptions = int(odd.sum())
    support = int((telling & follows).sum()) - fitted
    allowed = 0 if exact else int(known.sum()) // ODD
    return Trial(exceptions <= allowed and support >= 0 and support + fitted > 0, support, odd)


def _refuted(a: Array, prediction: Array, tolerance: Array, known: Array, exact: bool) -> bool:
    """Whether a sample tells already."""
    few = sample(a.size)
    p = prediction.ravel()[few]
    with np.errstate(invalid="ignore"):
        odd = np.abs(a.ravel()[few] - p) > SLACK * tolerance.ravel()[few]
    odd &= known.ravel()[few] & np.isfinite(p)
    return int(odd.sum()) > (0 if exact else SAMPLE // (ODD // 2))


def everywhere(tensor: Tensor, odd: Array) -> str:
    """ "in all 128 entries", or how many follow."""
    count, exceptions = tensor.count, int(odd.sum())
    if not tensor.whole:
        return f"in {count - exceptions} of {count} entries looked at"
    if exceptions:
        return f"in {count - exceptions} of {count} entries"
    return f"in all {count} entries" if count != 1 else "in its only entry"


def odd_ones(tensor: Tensor, odd: Array) -> dict[str, Any]:
    """The exceptions as evidence."""
    return {"exceptions": tensor.indices(odd)} if odd.any() else {}


def at_kink(tensor: Tensor) -> Explanation:
    """All that is wrong stands at a kink, where no pattern of slopes can be read."""
    count = int(tensor.wrong.sum())
    statement = f"{count} {'entry is' if count == 1 else 'entries are'} outside the two one-sided derivatives at a kink"
    hint = "Look at the branch taken there: any value between the two sides would be right"
    return Explanation("kink", 5, count, statement, hint, {"indices": tensor.indices(tensor.wrong)})
