"""Bias or variance, and what to do next, from two or three error rates (Ng's course, "Bias and variance").

avoidable bias   = training error - baseline         (what people, or the best known method, get wrong)
variance         = dev error - training error
fitted to dev    = test error - dev error            (the dev set was used for choosing until it was learned, too)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

from gradproof.nn import validate

#: A gap counts when it is more than this, in error, and ...
_SMALLEST = 0.01
#: ... this share of the error that it adds to: of 15 % and 16 % the one is not worth the while.
_SHARE = 0.15
#: One that is so much smaller than another is not what to work on next.
_NEXT_TO = 0.25


@dataclass(frozen=True)
class FitDiagnosis:
    """What the error rates say.

    Attributes
    ----------
    verdict : str
        ``"good"``, or what is wrong joined by ``" and "``, the largest first: ``"high bias"``, ``"high variance"``,
        ``"fitted to the dev set"``, ``"training set unlike the dev set"``.
    avoidable_bias, variance : float
        Training error over the baseline, dev error over the training error.
    fitted_to_dev : float or None
        Test error over the dev error.
    message : str
        The same in words.
    advice : tuple of str
        What to try, in this order.
    """

    verdict: str
    avoidable_bias: float
    variance: float
    fitted_to_dev: float | None
    message: str
    advice: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict == "good"

    def __str__(self) -> str:
        return "\n".join([f"{self.verdict}: {self.message}", *(f"  - {entry}" for entry in self.advice)])


def diagnose_fit(
    train_error: float,
    dev_error: float,
    baseline: float = 0.0,
    test_error: float | None = None,
    *,
    dev_rows: int | None = None,
    test_rows: int | None = None,
) -> FitDiagnosis:
    """Tell bias from variance, and say what to do next.

    Parameters
    ----------
    train_error, dev_error : float
        Shares of wrong answers, in [0, 1], on the training and on the dev (validation) set.
    baseline : float
        The error that cannot be helped: of people, or of the best method known.
    test_error : float, optional
        On a test set that nothing was chosen with.
    dev_rows, test_rows : int, optional
        Rows of the two sets: a gap within two standard errors is then taken for chance.

    Returns
    -------
    FitDiagnosis

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected.

    Examples
    --------
    >>> gp.diagnose_fit(0.01, 0.11).verdict
    'high variance'
    >>> gp.diagnose_fit(0.15, 0.16).verdict
    'high bias'
    >>> gp.diagnose_fit(0.15, 0.16, baseline=0.14).verdict
    'good'
    >>> gp.diagnose_fit(0.15, 0.30).verdict
    'high bias and high variance'
    """
    train_error, dev_error = _rate(train_error, "train_error"), _rate(dev_error, "dev_error")
    baseline = _rate(baseline, "baseline")
    bias, variance = train_error - baseline, dev_error - train_error
    fitted = None
    if test_error is not None:
        fitted = _rate(test_error, "test_error") - dev_error
    noise = _noise(dev_error, dev_rows, "dev_rows")
    problems: list[tuple[float, str]] = []
    if bias > max(_SMALLEST, _SHARE * train_error):
        problems.append((bias, "high bias"))
    if variance > max(_SMALLEST, _SHARE * dev_error, noise):
        problems.append((variance, "high variance"))
    elif -variance > max(2 * _SMALLEST, _SHARE * train_error, noise):
        problems.append((-variance, "training set unlike the dev set"))
    if fitted is not None:
        assert test_error is not None
        larger = max(_SMALLEST, _SHARE * float(test_error), noise + _noise(float(test_error), test_rows, "test_rows"))
        if fitted > larger:
            problems.append((fitted, "fitted to the dev set"))
    largest = max((gap for gap, _ in problems), default=0.0)
    found = [name for gap, name in sorted(problems, key=lambda problem: -problem[0]) if gap > _NEXT_TO * largest]
    message = (
        f"the training error is {100 * bias:.3g} points over the baseline of {baseline:.3g}, the dev error "
        f"{100 * variance:.3g} points over the training error of {train_error:.3g}"
    )
    if fitted is not None:
        message += f", the test error {100 * fitted:.3g} points over the dev error of {dev_error:.3g}"
    advice = tuple(entry for name in found for entry in _ADVICE[name]) or tuple(_good(test_error))
    return FitDiagnosis(" and ".join(found) or "good", bias, variance, fitted, message, advice)


_ADVICE = {
    "high bias": (
        "a larger network: more units, another layer",
        "train longer, or with a better optimizer (Adam, a rate that decays)",
        "less regularization: l2, dropout",
        "another architecture, or features that say more",
    ),
    "high variance": (
        "more data, or data augmentation",
        "regularization: l2, dropout, early stopping",
        "a smaller network, or another architecture",
    ),
    "fitted to the dev set": (
        "a larger dev set",
        "fewer choices made on the dev set before looking at the test set",
    ),
    "training set unlike the dev set": (
        "compare how the two sets came about: the dev set is easier than what the network trains on",
        "measure the training error in inference mode: dropout and augmentation make it look worse",
    ),
}


def _good(test_error: float | None) -> Iterator[str]:
    if test_error is None:
        yield "measure the error on a test set that nothing was chosen with"
    yield "watch the errors on the data that the model meets in use"


def _rate(value: Any, argument: str) -> float:
    number = validate.real(value, argument, "a share of wrong answers in [0, 1]", lambda x: isfinite(x) and 0 <= x <= 1)
    return float(number)


def _noise(error: float, rows: int | None, argument: str) -> float:
    """Two standard errors of an error rate measured on so many rows; 0 if that is not known."""
    if rows is None:
        return 0.0
    return 2 * sqrt(error * (1 - error) / validate.whole(rows, argument, 1, 2**63 - 1))
