"""Numbers and outcomes in plain words, the same in every rendering."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradproof.check.precision import PrecisionReport
    from gradproof.check.report import GradientReport

HEADLINES = {
    "pass": "The gradient is right",
    "fail": "The gradient is wrong",
    "inconclusive": "Not decided",
    "nondeterministic": "Not checkable: the function is not repeatable",
    "nonfinite": "Not checkable: NaN or infinity at the point itself",
}

COURSES = (
    "Ng's course compares whole gradients by ‖a−n‖ / (‖a‖+‖n‖): about 1e-7 is great, at 1e-5 look at single entries, "
    "at 1e-3 worry. CS231n compares entry by entry by |a−n| / max(|a|,|n|): up to 1e-7 be happy, up to 1e-4 is usually "
    "okay with kinks (ReLU, max) and too high without, up to 1e-2 feel uncomfortable, above it is probably wrong; "
    "errors build up with depth, so that ten layers may reach 1e-2. Both assume float64."
)


def number(value: float) -> str:
    """A float with two digits in at most eight characters, such as ``3.1e-07`` or ``0.056``."""
    if math.isnan(value):
        return "–"
    if 1e-3 <= abs(value) < 99:
        return f"{value:#.2g}" if abs(value) < 9.9 else f"{value:.0f}"
    return f"{value:.1e}" if value and math.isfinite(value) else f"{value:g}"


def count(value: int, noun: str = "") -> str:
    """A whole number with thousands separators, and its noun in the plural if need be."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{value:,} {noun if value == 1 else plural}" if noun else f"{value:,}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return "0 s" if seconds <= 0 else f"{seconds / 1e-6:.2g} µs"


def shape(dimensions: Sequence[int]) -> str:
    """A shape such as ``64×32``."""
    return "×".join(map(str, dimensions)) if dimensions else "scalar"


def index(position: Sequence[int]) -> str:
    """A position such as ``[3, 17]``; empty for a scalar."""
    return f"[{', '.join(map(str, position))}]" if position else ""


def place(path: Sequence[str]) -> str:
    """Where a part or stage stands, such as ``after 50 steps, data``."""
    return ", ".join(path)


def explanation(report: GradientReport) -> str:
    """One plain sentence that says what the verdict rests on."""
    verdict, findings = report.verdict.value, report.findings
    if verdict in ("nondeterministic", "nonfinite"):
        messages = [finding.message for finding in findings if finding.cause == verdict]
        return " ".join(messages) or "See the findings."
    path, shown = next(
        ((path, below) for path, below in report.walk() if below.mismatched), ((), report)
    ) if verdict == "fail" else ((), report)  # fmt: skip
    checked = count(shown.checked, "entry") if shown.checked == shown.size else _checked(shown)
    if verdict == "fail":
        if not shown.mismatched:
            return "See the findings."
        where = f" in the check of {place(path)}" if path else ""
        origin = shown.culprits[0]
        return (
            f"{count(shown.mismatched)} of {checked} disagree with the measured slope{where}; look first at {origin}."
        )
    if verdict == "inconclusive":
        undecided = [below for _, below in report.walk() if below.unresolved]
        if undecided:
            return (
                f"{count(undecided[0].unresolved)} of {count(undecided[0].checked, 'entry')} could not be resolved: "
                "there the measurement is too uncertain to tell right from wrong. No mistake was found in the others."
            )
        return "Some tensors were not checked at all; no mistake was found in the others."
    agree = f"All {checked}" if shown.checked != 1 else "The one entry"
    agree += " agree" if shown.checked != 1 else " agrees"
    if report.method == "projected" and report.detectable > 1:
        return (
            f"No mistake shows along random directions through {checked}, but a single wrong entry need not: see the "
            "notes."
        )
    at_kinks = f"; {count(shown.kinks)} of them at a kink, where any subgradient is right" if shown.kinks else ""
    return f"{agree} with the measured slope to within the uncertainty of the measurement{at_kinks}."


def comparison(report: PrecisionReport) -> str:
    """One plain sentence on a comparison of precisions."""
    verdicts = {dtype: one.verdict.value for dtype, one in report.reports.items()}
    entries = count(next(iter(report.reports.values())).checked, "entry")
    if report.ok:
        return (
            f"In float32 and in float64 alike, all {entries} agree with the measured slope to within its uncertainty."
        )
    told = {dtype: explanation(one) for dtype, one in report.reports.items()}
    if len(set(verdicts.values())) == len(set(told.values())) == 1:
        return f"In float32 and in float64 alike: {told['float32']}"
    return " ".join(f"{dtype}: {verdict}. {told[dtype]}" for dtype, verdict in verdicts.items())


def steps_compared(report: PrecisionReport) -> str:
    """What the curves show, with their numbers."""
    (step32, best32), (step64, best64) = report.best("float32", "central"), report.best("float64", "central")
    if math.isnan(best32):
        return ""
    text = (
        f"The best central difference in float32 is off by {number(best32)} (step {number(step32)}), in float64 by "
        f"{number(best64)} (step {number(step64)})"
    )
    propagated = {dtype: report.best(dtype, "difference")[1] for dtype in report.reports}
    known = " and ".join(f"{number(error)} in {dtype}" for dtype, error in propagated.items() if not math.isnan(error))
    return f"{text}; propagated differences are off by {known} at any step." if known else f"{text}."


def _checked(report: GradientReport) -> str:
    return f"{count(report.checked)} checked {'entry' if report.checked == 1 else 'entries'} (of {count(report.size)})"


def circumstances(report: GradientReport) -> list[tuple[str, str]]:
    """Cost and environment as pairs of a name and a text."""
    pairs = [
        ("method", report.method),
        ("precision", report.dtype),
        ("loss evaluations", count(report.evaluations) if report.evaluations else ""),
        ("time", duration(report.seconds) if report.seconds else ""),
    ]
    pairs += [(str(name).replace("_", " "), _flat(value)) for name, value in report.environment.items()]
    return [(name, text) for name, text in pairs if text]


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_flat(item) for item in value)
    return "" if value is None else str(value)
