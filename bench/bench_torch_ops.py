"""Every differentiable operator of PyTorch's database: right gradients and planted mistakes, ours beside torch's."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=1, help="per operator")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="operators to check")


def run(arguments: argparse.Namespace) -> list[Row]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import torch
    import torch_ops

    torch.set_num_threads(arguments.threads)
    rows: list[Row] = []
    for op in torch_ops.operators():
        if arguments.only and torch_ops.name_of(op) not in arguments.only:
            continue
        for case in torch_ops.cases(op, arguments.samples):
            rows.append(_row(case))
            if rows[-1]["ours"] != "pass":
                print(case.operator, rows[-1]["ours"], file=sys.stderr, flush=True)
    return rows


def _row(case: Any) -> Row:
    import torch_ops

    row: Row = {"operator": case.operator, "sample": case.sample, "found": {}, "found_by_torch": {}}
    try:
        started = time.perf_counter()
        report = torch_ops.ours(case, case.fn)
        row |= {"ours": report.verdict.value, "seconds": time.perf_counter() - started, "entries": report.size}
        row |= {"evaluations": report.evaluations, "findings": [finding.message for finding in report.findings[:2]]}
    except ValueError as error:  # sparse inputs are refused
        return {**row, "ours": "refused", "findings": [str(error)]}
    started = time.perf_counter()
    row["torch"] = torch_ops.theirs(case, case.fn)
    row["torch_seconds"] = time.perf_counter() - started
    place = torch_ops.largest_entry(report)
    for mistake in torch_ops.MISTAKES if place else ():
        fn = torch_ops.planted(case, mistake, *place)
        row["found"][mistake] = torch_ops.ours(case, fn).verdict.value == "fail"
        row["found_by_torch"][mistake] = not torch_ops.theirs(case, fn)
    return row


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    checked = [row for row in rows if "torch" in row]
    verdicts = Counter(row["ours"] for row in rows)
    outcome = [[name, str(count)] for name, count in verdicts.most_common()]
    outcome.append(["torch slow mode passes", str(sum(row["torch"] for row in checked))])
    found = []
    for mistake in ("scaled", "zeroed", "sign"):
        asked = [row for row in checked if mistake in row["found"]]
        ours, theirs = (sum(row[key][mistake] for row in asked) for key in ("found", "found_by_torch"))
        found.append([mistake, str(len(asked)), str(ours), str(theirs)])
    seconds = [sum(row[key] for row in checked) for key in ("seconds", "torch_seconds")]
    others = [
        [row["operator"], row["ours"], _torch(row), " ".join(row["findings"])[:90]]
        for row in rows
        if row["ours"] != "pass"
    ]
    return [
        ("Right gradients", ["verdict", "operators"], outcome),
        ("Planted mistakes found", ["mistake", "planted", "gradproof", "torch slow mode"], found),
        ("Seconds for the right ones", ["gradproof", "torch slow mode"], [[f"{value:.2f}" for value in seconds]]),
        ("Not passed", ["operator", "gradproof", "torch slow mode", "finding"], others),
    ]


def _torch(row: Row) -> str:
    return {True: "passes", False: "fails"}.get(row.get("torch"), "")
