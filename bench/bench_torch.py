"""gp.torch.gradcheck beside torch.autograd.gradcheck in slow mode on single operators: time and evaluations."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", nargs="+", type=int, default=(4, 8, 16, 32), help="rows and columns of the input")
    parser.add_argument("--rounds", type=int, default=7, help="of which the best and the median are given")


def operators() -> dict[str, Any]:
    import torch

    return {
        "tanh": torch.tanh,
        "relu": torch.relu,
        "matmul": lambda x: x @ x.T,
        "log_softmax": lambda x: torch.log_softmax(x, 1),
        "layer_norm": lambda x: torch.nn.functional.layer_norm(x, x.shape[1:]),
        "inverse": torch.linalg.inv,
    }


def run(arguments: argparse.Namespace) -> list[Row]:
    import torch

    import gradproof as gp

    torch.set_num_threads(arguments.threads)
    rows: list[Row] = []
    for name, fn in operators().items():
        for size in arguments.sizes:
            print(f"{name} {size}x{size}", file=sys.stderr)
            torch.manual_seed(0)
            x = torch.randn(size, size, dtype=torch.float64, requires_grad=True)
            seconds: dict[str, list[float]] = {"gradproof": [], "torch": []}
            for _ in range(arguments.rounds + 1):  # asked in turn; the first round warms up
                started = time.perf_counter()
                report = gp.torch.gradcheck(fn, x)
                between = time.perf_counter()
                torch.autograd.gradcheck(fn, x)
                seconds["gradproof"].append(between - started)
                seconds["torch"].append(time.perf_counter() - between)
            row: Row = {"operator": name, "entries": size * size, "evaluations": report.evaluations}
            for who, times in seconds.items():
                row[who] = {"best": min(times[1:]), "median": statistics.median(times[1:])}
            row["ratio"] = row["torch"]["best"] / row["gradproof"]["best"]
            rows.append(row)
    return rows


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    lines = [
        [
            row["operator"],
            str(row["entries"]),
            str(row["evaluations"]),
            *(f"{1e3 * row[who][kind]:.2f}" for who in ("gradproof", "torch") for kind in ("best", "median")),
            f"{row['ratio']:.2f}",
        ]
        for row in rows
    ]
    columns = ["operator", "entries", "evaluations", "ms, best", "median", "torch slow, best", "median", "torch / ours"]
    return [("One operator, every entry", columns, lines)]
