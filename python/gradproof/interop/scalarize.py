"""From a function with many outputs to one number: fixed signed weights, and what a check by them can see.

Reverse mode pulls a cotangent ``w`` back to ``J^T w``, which is the gradient of ``sum_i w_i y_i``. No weight is zero,
and their sizes are drawn at random, so a mistake in whichever entry of the Jacobian ``J`` shows, and several mistakes
in one column do not cancel. Weights are small multiples of powers of two: every precision holds them exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from gradproof.check.report import Finding, GradientError, GradientReport, Verdict

Array = npt.NDArray[np.float64]

STEPS = 64  # sizes 32/64 to 96/64 fit into the 8 significant bits of bfloat16
SPREAD = 10  # powers of two by which the weights of outputs of different scales may differ
MOVE = 2.0**-10  # relative size of the move that shows how far outputs change


def signed_weights(size: int, rng: np.random.Generator) -> Array:
    """`size` numbers with random signs and random sizes from 0.5 to 1.5."""
    return np.asarray(
        rng.choice([-1.0, 1.0], size) * rng.integers(STEPS // 2, 3 * STEPS // 2, size, endpoint=True) / STEPS
    )


def moved(array: npt.NDArray[np.floating], rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """A copy with every entry moved a little, by the tensor's own scale."""
    scale = float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) if array.size else 0.0
    step = MOVE * (scale if 0.0 < scale < np.inf else 1.0)
    return np.asarray(array + step * rng.choice([-1.0, 1.0], array.shape), array.dtype)


def weights(value: Array, change: Array, rng: np.random.Generator) -> Array:
    """Weights of all outputs together.

    Parameters
    ----------
    value, change : ndarray
        The outputs at the point, and how far the move of `moved` changed them (NaN where unknown), both flat.
    rng : numpy.random.Generator
        Source of the signs and sizes.

    Returns
    -------
    ndarray
        `signed_weights`; exactly 1 for a single output. Those of small outputs are multiplied by a power of two that
        makes up for their scale, so that rounding in a large output does not hide them; up to ``2**SPREAD``, because
        what an operator loses next to its largest results is not to be magnified at will.
    """
    if value.size == 1:
        return np.ones(1)
    chosen = signed_weights(value.size, rng)
    with np.errstate(all="ignore"):
        scale = np.fmax(np.abs(value), np.abs(change) / MOVE)
    known = (scale > 0) & np.isfinite(scale)
    if not known.any():
        return chosen
    exponent = np.frexp(np.where(known, scale, np.max(scale[known])))[1]
    return np.asarray(np.ldexp(chosen, np.minimum(np.max(exponent) - exponent, SPREAD)))


def power(outputs: int) -> str:
    """The sentence that says what one cotangent of so many output elements can see."""
    return (
        f"All {outputs} output elements were checked together, weighted by fixed random signed numbers of which none "
        "is zero: a mistake of size d in one entry of the Jacobian changes the checked gradient by at least d/2 and is "
        "seen from twice the stated uncertainty on; mistakes do not cancel, except by chance."
    )


def with_findings(report: GradientReport, findings: Sequence[Finding], verdict: Verdict | None) -> GradientReport:
    """The report with `findings` before its own, and with another verdict if one is given."""
    return GradientReport(
        report.tensors,
        findings=[*findings, *report.findings],
        verdict=verdict or report.verdict,
        evaluations=report.evaluations,
        seconds=report.seconds,
        dtype=report.dtype,
        method=report.method,
        environment=lambda: report.environment,
        parts=report.parts,
        stages=report.stages,
        label=report.label,
        notes=report.notes,
        curves=report.curves,
    )


def in_stages(reports: Sequence[GradientReport], labels: Iterable[str]) -> GradientReport:
    """One report of several stages; its own tensors are those of the last, the one that decides."""
    last = reports[-1]
    if len(reports) == 1:
        return last
    for report, label in zip(reports, labels, strict=True):
        report.label = label
    return GradientReport(
        last.tensors,
        findings=last.findings,
        verdict=Verdict.worst([report.verdict for report in reports]),
        evaluations=sum(report.evaluations for report in reports),
        seconds=sum(report.seconds for report in reports),
        dtype=last.dtype,
        method=last.method,
        environment=lambda: last.environment,
        stages=reports,
        notes=last.notes,
    )


def judged(report: GradientReport, raise_exception: bool) -> GradientReport:
    """The report, or `GradientError` if it does not pass and this is asked for."""
    if raise_exception and not report.ok:
        raise GradientError(report)
    return report
