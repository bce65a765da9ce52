"""Training steps, forward, backward and Adam: time per step."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from importlib.util import find_spec
from typing import Any

Row = dict[str, Any]

TASKS = ("64-64-10:32", "64-128-64-10:64:normalized", "784-512-512-10:128", "784-2048-2048-10:256")
OURS = "gradproof, many batches"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tasks", nargs="+", default=TASKS, metavar="N-N-N:M[:normalized]", help="layer widths and rows per batch"
    )
    parser.add_argument("--dtypes", nargs="+", default=("float32", "float64"), choices=("float32", "float64"))
    parser.add_argument("--rounds", type=int, default=7, help="of which the best and the median are given")
    parser.add_argument("--seconds", type=float, default=0.06, help="of one round of one contender, at least")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="contenders whose name contains one of these")


def run(arguments: argparse.Namespace) -> list[Row]:
    import trainers

    rows: list[Row] = []
    for dtype in arguments.dtypes:
        for text in arguments.tasks:
            rows += _compare(trainers.Task(text, dtype), arguments)
    return rows


def _compare(task: Any, arguments: argparse.Namespace) -> list[Row]:
    import trainers

    rows: list[Row] = []
    alive: list[tuple[Row, Any, int]] = []
    expected: list[float] = []
    for name, (trainer, package) in trainers.TRAINERS.items():
        if arguments.only and not any(word in name for word in arguments.only):
            continue
        row: Row = {"task": task.name, "parameters": task.size, "flops": task.flops, "contender": name}
        rows.append(row)
        if package and find_spec(package) is None:
            row["missing"] = f"{package} is not installed"
        elif not trainer.can(task):
            row["missing"] = "does not have these layers"
        if "missing" in row:
            continue
        print(f"{task.name}: {name}", file=sys.stderr)
        made = trainer(task)
        losses = made.losses(3)
        expected = expected or losses
        # The same work, or no comparison. Dropout masks differ, and with them the losses.
        row["agrees"] = max(abs(a / b - 1) for a, b in zip(losses, expected, strict=True))
        assert row["agrees"] < (0.5 if task.normalized else 1e-4), (name, losses, expected)
        alive.append((row, made, _steps(made, arguments.seconds)))
    times: dict[str, list[float]] = {row["contender"]: [] for row, _, _ in alive}
    for _ in range(arguments.rounds):  # asked in turn, so that a disturbance meets all of them
        for row, made, steps in alive:
            made.run(max(1, steps // 10))  # back into the caches
            started = time.perf_counter()
            made.run(steps)
            times[row["contender"]].append((time.perf_counter() - started) / steps)
    for row, _, steps in alive:
        seconds = times[row["contender"]]
        row |= {"best": min(seconds), "median": statistics.median(seconds), "steps": steps, "rounds": len(seconds)}
    ours = next((row["best"] for row in rows if row["contender"] == OURS and "best" in row), None)
    for row, _, _ in alive:
        row["ratio"] = row["best"] / ours if ours else None
    return rows


def _steps(trainer: Any, seconds: float) -> int:
    """How many steps fill the time of a round. Warms up on the way."""
    steps = 2
    while True:
        started = time.perf_counter()
        trainer.run(steps)
        elapsed = time.perf_counter() - started
        if elapsed > seconds / 4:
            return max(2, round(steps * seconds / elapsed))
        steps *= 2


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    result = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        lines = []
        for row in own:
            if "missing" in row:
                lines.append([row["contender"], row["missing"], "", "", ""])
                continue
            best, median = 1e6 * row["best"], 1e6 * row["median"]
            ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
            lines.append(
                [row["contender"], f"{best:.1f}", f"{median:.1f}", ratio, f"{row['flops'] / row['best'] / 1e9:.1f}"]
            )
        title = f"{task}, {own[0]['parameters']:,} parameters, {own[0]['flops'] / 1e6:.1f} MFLOP in products"
        result.append((title, ["", "best us", "median us", "times ours", "GFLOP/s"], lines))
    return result
