"""Read the cause of a wrong gradient from the pattern of the mismatch.

Given per tensor the gradient under test ``a``, the measured one ``n`` and the uncertainty ``u`` of that, every pattern
is a prediction of ``a`` with at most two fitted numbers. One that meets right and wrong entries alike, to within the
uncertainty, is an explanation; of several the shortest is taken, and if there is none that is said. Across tensors in
forward order the origin is told from what is wrong only through it (:mod:`gradproof.check.diagnosis.origin`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradproof.check.diagnosis.arrangement import explain_arrangement
from gradproof.check.diagnosis.axes import explain_axes
from gradproof.check.diagnosis.comparison import Comparing
from gradproof.check.diagnosis.experiments import settle
from gradproof.check.diagnosis.explanation import DOUBTFUL, Explanation, at_kink
from gradproof.check.diagnosis.flow import clipped_to, explain_flow, explain_own
from gradproof.check.diagnosis.listed import explain_listed
from gradproof.check.diagnosis.origin import Case, assign, layers_of
from gradproof.check.diagnosis.parts import explain_parts
from gradproof.check.diagnosis.recurrence import untangle
from gradproof.check.diagnosis.rounding import explain_approximation, explain_rounding, norm_clipped
from gradproof.check.diagnosis.tensor import Tensor
from gradproof.check.diagnosis.values import explain_values
from gradproof.check.diagnosis.wording import either, message, worst
from gradproof.check.report import Finding

__all__ = ["Tensor", "diagnose"]

TOLD = ("accumulation", "indexing", "mask")  # which part of a tensor is wrong tells these as well as anything does
CONVINCING = 3  # entries that could have refuted a short explanation, so that no longer one need be tried


def diagnose(tensors: Sequence[Tensor], laboratory: Comparing | None = None) -> list[Finding]:
    """Say what is probably wrong.

    Parameters
    ----------
    tensors : sequence of Tensor
        All tensors in forward order, right and wrong.
    laboratory : optional
        Where both gradients can be compared at other points, for what one point cannot tell.

    Returns
    -------
    list of Finding
        One per wrong tensor, the most probable origin first; those wrong only because of another (``upstream``) last.
        ``evidence["candidates"]`` lists other causes where the pattern cannot tell.
    """
    if not any(tensor.is_wrong for tensor in tensors):
        return []
    cases = [Case(tensor, layer) for tensor, layer in zip(tensors, layers_of(tensors), strict=True)]
    dimensions = _dimensions(tensors)
    with np.errstate(all="ignore"):
        for case in cases:
            if case.tensor.is_wrong:
                case.explanations = explanations(case.tensor, tensors, dimensions)
        assign(cases)
        if laboratory is not None and laboratory.open:
            _experiment(cases, laboratory)
        findings = [(case, _finding(case, cases)) for case in cases if case.tensor.is_wrong]
    findings.sort(key=lambda item: (item[0].role == "upstream", -item[0].layer, -item[1].confidence))
    return [finding for _, finding in findings]


def explanations(tensor: Tensor, tensors: Sequence[Tensor], dimensions: dict[int, str]) -> list[Explanation]:
    """All that explain one wrong tensor, the preferred first."""
    if not np.any(tensor.wrong & tensor.known):
        return [at_kink(tensor)]
    approximation = explain_approximation(tensor)
    if approximation is not None:
        return [*(e for e in explain_rounding(tensor) if e.certainty > DOUBTFUL), approximation]
    found = list(explain_values(tensor, dimensions, tensors))
    found += explain_rounding(tensor)
    if not any(e.cost <= 3.5 and e.support >= CONVINCING for e in found):
        found += explain_arrangement(tensor, tensors)
        found += explain_axes(tensor, tensors)
        found += explain_listed(tensor, tensors)
    if not tensor.whole or not any(e.support >= CONVINCING for e in found):
        found += explain_parts(tensor)
    return sorted(found, key=lambda e: e.cost + (3 if e.support <= 0 else 0))


def _dimensions(tensors: Sequence[Tensor]) -> dict[int, str]:
    sizes: dict[int, str] = {}
    for tensor in tensors:
        for axis, size in enumerate(tensor.shape):
            sizes.setdefault(size, f"the length of axis {axis} of {tensor.name}")
    return sizes


def _finding(case: Case, cases: Sequence[Case]) -> Finding:
    statement = worst(case) if case.best is None else case.best.statement
    if case.role == "upstream" and case.origin is not None:
        text = message(case, cases, statement, "")
        evidence = {**(case.best.evidence if case.best else {}), "origin": case.origin.name}
        return Finding("upstream", case.tensor.name, text, 0.8, evidence)
    return _said(case.settled or _chosen(case, cases, statement), case, cases)


def _chosen(case: Case, cases: Sequence[Case], statement: str) -> Explanation:
    """What the patterns say of a tensor that is wrong by itself."""
    if case.role == "flow" and (case.best is None or case.best.factor is None):
        return explain_flow(case, cases, statement)
    return _as_clipping(explain_own(case, statement), case, cases)


def _experiment(cases: Sequence[Case], laboratory: Comparing) -> None:
    """Settle what the patterns leave open, the nearest to the loss first."""
    untangle(cases, laboratory)
    for case in reversed(cases):
        if case.role not in ("own", "flow") or case.settled is not None:
            continue
        statement = worst(case, False) if case.best is None else case.best.statement
        chosen = _chosen(case, cases, statement)
        if chosen.cause in TOLD or (chosen.certainty > DOUBTFUL and case.tensor.a.size > 1):
            continue
        case.settled = settle(case, cases, statement, laboratory)
        alone = [other for other in cases if other.tensor.is_wrong and other.layer <= case.layer] == [case]
        if case.settled is None and alone and chosen.cause == "derivative" and chosen.certainty < 0.6:
            plain = worst(case) if case.best is None else statement
            case.settled = explain_own(replace(case, explanations=[]), plain)


def _as_clipping(chosen: Explanation, case: Case, cases: Sequence[Case]) -> Explanation:
    """A factor that brings a norm to a round number."""
    c = chosen.evidence.get("factor")
    if chosen.cause != "scale" or c is None or chosen.evidence.get("meaning"):
        return chosen
    if case.role == "flow":
        bound = norm_clipped([other.tensor for other in cases], c)
    else:
        bound = norm_clipped([case.tensor], c)
    return chosen if bound is None else clipped_to(chosen, bound, case.role == "flow")


def _said(chosen: Explanation, case: Case, cases: Sequence[Case]) -> Finding:
    rivals = [e.cause for e in case.explanations if e is not chosen and e.cost <= chosen.cost + 2]
    candidates = [c for c in dict.fromkeys([*chosen.candidates, *rivals]) if c not in (chosen.cause, "unknown")]
    evidence: dict[str, Any] = {key: value for key, value in chosen.evidence.items() if value is not None}
    confidence = chosen.confidence
    if rivals and any(cause != chosen.cause for cause in rivals):
        confidence *= 0.75
    if candidates:
        evidence["candidates"] = [chosen.cause, *candidates] if chosen.cause != "unknown" else candidates
    together = _together(chosen, case, cases)
    text = message(case, cases, chosen.statement, chosen.hint + together)
    if candidates and chosen.certainty < 0.9 and chosen.cause != "unknown":
        text += f" It could also be {either(candidates)}."
    return Finding(chosen.cause, case.tensor.name, text, float(np.clip(confidence, 0, 1)), evidence)


def _together(chosen: Explanation, case: Case, cases: Sequence[Case]) -> str:
    """Other tensors with the same penalty coefficient make it that of one λ."""
    k = chosen.evidence.get("coefficient")
    if chosen.cause != "regularization" or k is None:
        return ""
    same = [
        other.tensor.name
        for other in cases
        if other is not case
        and other.best is not None
        and other.best.cause == "regularization"
        and abs(other.best.evidence["coefficient"] - k) <= 1e-4 * abs(k)
    ]
    return f". {', '.join(same)}: the same coefficient" if same else ""
