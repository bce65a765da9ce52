"""A generic point near the given one: mistakes that vanish at special values show there; and what to say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from gradproof.check.evaluate import Problem
from gradproof.check.report import Finding, GradientReport
from gradproof.check.tensor_report import TensorReport

REACHES: Final = (0.25, 0.05, 0.01, 1e-3)  # relative to the size of the parameters, tried in turn


def generic_point(problem: Problem, rng: np.random.Generator) -> Any | None:
    """The structure at a point where no parameter is what it was and the loss is finite; None if none is found."""
    moves = {}
    for tensor in range(len(problem.working)):
        x = problem.x(tensor)
        signs = rng.choice((-1.0, 1.0), x.shape)
        moves[tensor] = problem.scales(tensor).reshape(x.shape) * signs * rng.uniform(0.5, 1.0, x.shape)
    for reach in REACHES:
        for direction in (1.0, -1.0):
            value, _ = problem.value_along(moves, direction * reach)
            if value == value:
                return problem.moved_to(moves, direction * reach)
    up = {tensor: np.abs(move) for tensor, move in moves.items()}
    for direction in (REACHES[1], -REACHES[1]):
        if problem.value_along(up, direction)[0] == problem.value_along(up, direction)[0]:
            return problem.moved_to(up, direction)
    return None


def with_stage(report: GradientReport, nearby: GradientReport) -> GradientReport:
    """A report joined with the mistakes seen nearby: with all of them if it has none itself, else with the new ones."""
    if not report.ok and report.mismatched:
        return _with_more(report, nearby)
    report.label = "at the point"
    note = "At the point itself these mistakes do not show, or less: they vanish where a scale is 1 or a shift 0."
    return _joined(report, nearby.tensors, [*nearby.findings, *report.findings], [report, nearby], note)


def _with_more(report: GradientReport, nearby: GradientReport) -> GradientReport:
    known = {name for name, tensor in report.tensors.items() if tensor.mismatched}
    new = [tensor for name, tensor in nearby.tensors.items() if tensor.mismatched and name not in known]
    if not new:
        report.notes.append("At a generic nearby point the same is wrong, and nothing else.")
        return report
    names = {tensor.name for tensor in new}
    more = GradientReport(
        new,
        findings=[finding for finding in nearby.findings if finding.tensor in names],
        evaluations=nearby.evaluations,
        dtype=nearby.dtype,
        method=nearby.method,
        label="only at a nearby point",
        environment=nearby._environment,
    )
    report.label = "at the point"
    note = f"More mistakes show at a generic nearby point: in {', '.join(names)}."
    return _joined(report, report.tensors, report.findings, [report, more], note)


def _joined(
    report: GradientReport,
    tensors: Mapping[str, TensorReport],
    findings: Sequence[Finding],
    stages: Sequence[GradientReport],
    note: str,
) -> GradientReport:
    return GradientReport(
        tensors,
        findings=findings,
        evaluations=report.evaluations,
        seconds=report.seconds,
        dtype=report.dtype,
        method=report.method,
        environment=report._environment,
        stages=stages,
        notes=[*report.notes, note],
    )
