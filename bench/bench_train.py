"""Training steps, forward, backward and Adam: time per step."""

from __future__ import annotations

import argparse
import multiprocessing
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
            rows += _compare(trainers.Task(text, dtype), text, dtype, arguments)
    return rows


def _compare(task: Any, text: str, dtype: str, arguments: argparse.Namespace) -> list[Row]:
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
        made = _Remote(name, text, dtype)
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
            times[row["contender"]].append(made.run(steps) / steps)
    for row, made, steps in alive:
        seconds = times[row["contender"]]
        row |= {"best": min(seconds), "median": statistics.median(seconds), "steps": steps, "rounds": len(seconds)}
        made.close()
    ours = next((row["best"] for row in rows if row["contender"] == OURS and "best" in row), None)
    for row, _, _ in alive:
        row["ratio"] = row["best"] / ours if ours else None
    return rows


class _Remote:
    """A trainer in a process of its own, where no other library's threads and settings reach it."""

    def __init__(self, name: str, text: str, dtype: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, text, dtype), daemon=True)
        self._process.start()
        theirs.close()

    def losses(self, count: int) -> list[float]:
        self._connection.send(("losses", count))
        return list(self._connection.recv())

    def run(self, steps: int) -> float:
        """Seconds that the steps took."""
        self._connection.send(("run", steps))
        return float(self._connection.recv())

    def close(self) -> None:
        self._connection.send(None)
        self._process.join()


def _serve(connection: Any, name: str, text: str, dtype: str) -> None:
    import trainers

    trainer = trainers.TRAINERS[name][0](trainers.Task(text, dtype))
    while (request := connection.recv()) is not None:
        method, count = request
        if method == "losses":
            connection.send(trainer.losses(count))
            continue
        started = time.perf_counter()
        trainer.run(count)
        connection.send(time.perf_counter() - started)


def _steps(trainer: _Remote, seconds: float) -> int:
    """How many steps fill the time of a round. Warms up on the way."""
    steps = 2
    while True:
        elapsed = trainer.run(steps)
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
