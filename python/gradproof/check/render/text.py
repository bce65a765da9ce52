"""Reports for a terminal, and as plain text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradproof.check.render.words import (
    HEADLINES,
    comparison,
    count,
    duration,
    explanation,
    index,
    number,
    place,
    shape,
    steps_compared,
)

if TYPE_CHECKING:
    from gradproof.check.precision import PrecisionReport
    from gradproof.check.report import GradientReport
    from gradproof.check.tensor_report import TensorReport

WIDTH = 110
COLUMNS = (
    "Relative error of backpropagation, of the propagated differences that checked it, and of the best ordinary "
    "central difference."
)
STYLES = {
    "pass": "bold green",
    "fail": "bold red",
    "inconclusive": "bold yellow",
    "nondeterministic": "bold red",
    "nonfinite": "bold red",
}


def plain(renderable: RenderableType) -> str:
    """Text without colour codes, at most `WIDTH` wide, without trailing spaces."""
    stream = io.StringIO()
    Console(file=stream, width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False).print(renderable)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def verdict_text(verdict: str) -> Text:
    """The verdict in its colour."""
    return Text(verdict, style=STYLES[verdict])


def report_text(report: GradientReport) -> Group:
    """The whole report: verdict, findings, tensors, worst entries, notes; parts and stages in full if they fail."""
    blocks: list[RenderableType] = [_headline(report), *(Text(line, style="dim") for line in _facts(report))]
    for path, below in report.walk():
        if path:
            head = f"{place(path)}: {below.verdict}, {count(below.checked, 'entry')}"
            blocks += [Text(head, style=STYLES[below.verdict.value])]
        if path and (below.verdict != "fail" or below.tensors == report.tensors):  # these may be a stage's
            continue
        blocks += [*_findings(below), Text(), tensor_table(below), *_worst(below), Text()]
    blocks += [Text(f"Note: {note}") for note in report.notes]
    return Group(*blocks)


def precision_text(report: PrecisionReport) -> Group:
    """Both precisions side by side: verdict of every tensor, errors, best ordinary difference; then what failed."""
    head = Text.assemble(
        (report.verdict.upper(), STYLES[report.verdict.value]),
        f"  {report.label}: " if report.label else "  ",
        (HEADLINES[report.verdict.value] + ". ", "bold"),
        comparison(report),
    )
    blocks: list[RenderableType] = [head, Text(), _precisions(report), Text(), Text(COLUMNS)]
    if steps_compared(report):
        blocks.append(Text(steps_compared(report)))
    blocks += [
        block
        for dtype, one in report.reports.items()
        if not one.ok
        for block in (Text(f"\n{dtype}", style="bold"), report_text(one))
    ]
    return Group(*blocks)


def _precisions(report: PrecisionReport) -> Table:
    table = new_table("tensor", "shape")
    for dtype in report.reports:
        table.add_column(f"{dtype}\nverdict", no_wrap=True)
        for title in ("\nbackprop", "\nmeasured", "best\ncentral"):
            table.add_column(title, justify="right", no_wrap=True)
    for tensor in report.tensors.values():
        row: list[Text | str] = [Text(tensor.name), shape(tensor.shape)]
        for dtype in report.reports:
            errors = (tensor.analytic_error[dtype], tensor.numeric_error[dtype])
            best = tensor.best[dtype].get("central")
            row += [verdict_text(tensor.verdict[dtype].value), *map(number, errors), number(best[1]) if best else "–"]
        table.add_row(*row)
    return table


def _headline(report: GradientReport) -> Text:
    return Text.assemble(
        (report.verdict.upper(), STYLES[report.verdict.value]),
        f"  {report.label}: " if report.label else "  ",
        (HEADLINES[report.verdict.value] + ". ", "bold"),
        explanation(report),
    )


def _facts(report: GradientReport) -> list[str]:
    whole, largest = report.relative_error, report.max_relative_error
    cost = [
        report.method,
        report.dtype,
        count(report.evaluations, "loss evaluation") if report.evaluations else "",
        duration(report.seconds) if report.seconds else "",
    ]
    compared = [
        f"Relative error {number(whole)} (Ng: {whole.band()}), in one entry up to {number(largest)} "
        f"(CS231n: {largest.band()}).",
        f"Would have been seen in any entry: a relative error of {number(report.detectable)}.",
    ]
    return [*(compared if report.checked or not report.size else []), ", ".join(fact for fact in cost if fact)]


def _findings(report: GradientReport) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for position, finding in enumerate(report.findings, 1):
        said = finding.tensor is None or finding.message.startswith(finding.tensor)
        where = "" if said else f" in {finding.tensor}"
        sure = f" ({finding.confidence:.0%})" if finding.confidence < 1 else ""
        head = Text.assemble(f"{position}. ", (finding.cause, "bold"), f"{where}{sure}: {finding.message}")
        lines.append(Padding(head, (0, 0, 0, 2)))
    return lines


def new_table(first: str, *titles: str, last: str = "") -> Table:
    """A table whose first and last column are text and the others numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    if last:
        table.add_column(last, no_wrap=True)
    return table


def tensor_table(report: GradientReport) -> Table:
    """One row per tensor."""
    counts, errors = ("checked", "match", "kink", "wrong", "open"), ("rel. error", "largest", "detectable")
    table = new_table("tensor", "shape", *counts, *errors, last="verdict")
    for tensor in report.tensors.values():
        table.add_row(Text(tensor.name), *_numbers(tensor), verdict_text(tensor.verdict.value))
    return table


def _numbers(tensor: TensorReport) -> list[str]:
    counts = (tensor.matched, tensor.kinks, tensor.mismatched, tensor.unresolved)
    errors = (tensor.relative_error, tensor.max_relative_error, tensor.detectable)
    return [
        shape(tensor.shape),
        count(tensor.checked),
        *(count(value) if value else "." for value in counts),
        *(number(error) for error in errors),
    ]


def _worst(report: GradientReport) -> list[RenderableType]:
    entries = [item for item in report.worst(8) if item[1].status not in ("match", "kink")]
    if not entries:
        return []
    table = new_table("worst entries", "analytic", "measured", "uncertainty", "rel. error", last="status")
    for name, entry in entries:
        table.add_row(
            Text(name + index(entry.index)),
            f"{entry.analytic:.8g}",
            f"{entry.numeric:.8g}",
            number(entry.uncertainty),
            number(entry.relative_error),
            entry.status,
        )
    return [Text(), table]
