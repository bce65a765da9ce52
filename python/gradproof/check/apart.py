"""What to say of a cost whose parts were measured apart: a mistake shows best in the part that it is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from gradproof.check.report import Finding, GradientReport, TensorReport

HIDDEN: Final = 1e-7  # relative errors of the whole below this pass by the courses' measure
SURER: Final = 0.05  # by less, one diagnosis is no surer than another


def told_apart(
    findings: Sequence[Finding], tensors: Mapping[str, TensorReport], parts: Mapping[str, GradientReport]
) -> list[Finding]:
    """Findings about the whole gradient, each wrong tensor's from where its mistake shows best.

    Parameters
    ----------
    findings : sequence of Finding
        What the diagnosis makes of the whole gradient.
    tensors : mapping
        The whole gradient, compared.
    parts : mapping
        Reports of the parts of the cost; empty if they were not measured apart.

    Returns
    -------
    list of Finding
        Of a tensor that is wrong in one part, what the diagnosis makes of this part, as the others only blur the
        pattern; of one that is wrong in several what it makes of the whole, unless it is surer of a part.
    """
    whole = {finding.tensor: finding for finding in findings if _accuses(finding, tensors)}
    wrong = [(part, f) for part, report in parts.items() for f in report.findings if _accuses(f, report.tensors)]
    seen: dict[str | None, list[tuple[str, Finding]]] = {}
    for part, finding in wrong:
        seen.setdefault(finding.tensor, []).append((part, finding))
    told = []
    for part, finding in wrong:
        name = finding.tensor
        if name not in whole or _blurred(whole[name], seen[name]):
            told.append(_of_part(finding, part, len(seen[name]) == 1, tensors, parts))
        elif finding is seen[name][0][1]:
            told.append(whole[name])
    told += [finding for name, finding in whole.items() if name not in seen]
    told.sort(key=lambda finding: finding.cause == "upstream")
    return told + [finding for finding in findings if not _accuses(finding, tensors)]


def _blurred(whole: Finding, seen: Sequence[tuple[str, Finding]]) -> bool:
    """Whether the parts in which a mistake is seen tell more of it than the whole does."""
    if len(seen) == 1:
        return whole.cause != seen[0][0]  # else the pattern of the whole names the part by itself
    return max(finding.confidence for _, finding in seen) > whole.confidence + SURER


def _accuses(finding: Finding, tensors: Mapping[str, TensorReport]) -> bool:
    name = finding.tensor
    return name is not None and name in tensors and tensors[name].mismatched > 0


def _of_part(
    finding: Finding,
    part: str,
    alone: bool,
    tensors: Mapping[str, TensorReport],
    parts: Mapping[str, GradientReport],
) -> Finding:
    name = finding.tensor
    assert name is not None
    others = [label for label in parts if label != part and _is_there(parts[label].tensors[name])]
    if not others:
        return finding
    message = f"{finding.message} Seen in the {part} part{' alone' if alone else ''}"
    if tensors[name].mismatched and tensors[name].relative_error >= HIDDEN:
        return replace(finding, message=f"{message}.")
    return replace(finding, message=f"{message}; in the whole gradient the {' and '.join(others)} hides it.")


def _is_there(tensor: TensorReport) -> bool:
    """Whether a part of the cost depends on a tensor at all."""
    return tensor.numeric is None or bool(tensor.numeric.any())
