"""Checking every parameter of a network: time, memory, and how they grow."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Row = dict[str, Any]

SIZES = ("64-32-10:8", "64-128-64-10:8", "784-100-10:8", "784-512-512-10:4")
OURS = "gradproof, difference"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="N-N-N:M", help="layer widths and batch size")
    parser.add_argument("--activations", nargs="+", default=("relu", "tanh"), choices=("relu", "tanh"))
    parser.add_argument("--rounds", type=int, default=5, help="of which the best and the median are given")
    parser.add_argument("--budget", type=float, default=4.0, help="seconds of one round of one contender")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="contenders whose name contains one of these")


def run(arguments: argparse.Namespace) -> list[Row]:
    import peers

    rows: list[Row] = []
    for text in arguments.sizes:
        widths, _, m = text.partition(":")
        for activation in arguments.activations:
            net = peers.Net([int(width) for width in widths.split("-")], int(m or 8), activation)
            rows += _compare(net, arguments)
    return rows


def _compare(net: Any, arguments: argparse.Namespace) -> list[Row]:
    import peers

    rows: list[Row] = []
    alive: list[tuple[Row, Any]] = []
    for name, (contender, package) in peers.CONTENDERS.items():
        if arguments.only and not any(word in name for word in arguments.only):
            continue
        row: Row = {"net": net.name, "parameters": net.size, "contender": name, "exhaustive": contender.exhaustive}
        rows.append(row)
        if package and find_spec(package) is None:
            row["missing"] = package
            continue
        print(f"{net.name}: {name}", file=sys.stderr)
        made = contender(net)
        row["count"] = _affordable(made, arguments.budget)
        alive.append((row, made))
    seconds: dict[str, list[float]] = {row["contender"]: [] for row, _ in alive}
    for _ in range(arguments.rounds):  # asked in turn, so that a disturbance meets all of them
        for row, made in alive:
            # At least 50 ms, so that quick ones are not timed on caches that the others left behind.
            times: list[float] = []
            while sum(times) < 0.05:
                started = time.perf_counter()
                row["checked"] = made.run(row["count"])
                times.append(time.perf_counter() - started)
            seconds[row["contender"]].append(min(times) * net.size / row["checked"])
    for row, made in alive:
        row |= {
            "best": min(seconds[row["contender"]]),
            "median": statistics.median(seconds[row["contender"]]),
            "rounds": arguments.rounds,
            "extrapolated": row["checked"] < net.size,
            "note": made.note,
        }
    ours = next((row["best"] for row in rows if row["contender"] == OURS and "best" in row), None)
    for row, _ in alive:
        row["ratio"] = row["best"] / ours if ours else None
        if row["contender"] in (OURS, "gradproof, tangent"):
            row["flops"] = net.flops
            row["memory"] = _peak_memory(net, row["contender"].split(", ")[1])
    return rows


def _affordable(contender: Any, budget: float) -> int:
    """How many parameters fit the budget of a round. Warms up on the way."""
    size: int = contender.net.size
    if contender.whole:
        contender.run(size)
        return size
    contender.run(1)
    count = min(20, size)
    while True:
        started = time.perf_counter()
        checked = contender.run(count)
        elapsed = time.perf_counter() - started
        if checked >= size:
            return size
        count *= 4
        if elapsed * count / checked > budget:
            return min(size, max(1, int(checked * budget / elapsed)))


_MEMORY = """
import sys
import gradproof as gp, peers
from gradproof import _core
def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))
_core.set_thread_count(int(sys.argv[4]))
small = peers.Net([4, 3, 2], 2, sys.argv[3])
gp.check_model(small.model, small.X, small.y, scheme=sys.argv[5]).verdict
net = peers.Net([int(n) for n in sys.argv[1].split("-")], int(sys.argv[2]), sys.argv[3])
net.model.loss_and_gradient(net.X, net.y)
open("/proc/self/clear_refs", "w").write("5")  # the peak starts again from here
before = status("VmRSS")
report = gp.check_model(net.model, net.X, net.y, scheme=sys.argv[5])
report.verdict, report.relative_error, report.max_relative_error
print((status("VmHWM") - before) * 1024)
"""


def _peak_memory(net: Any, scheme: str) -> int | None:
    """Bytes that a check needs beyond what its process held before, in a process of its own; None where unknown."""
    if not os.path.exists("/proc/self/clear_refs"):
        return None
    from gradproof import _core

    sizes = "-".join(map(str, net.sizes))
    command = [sys.executable, "-c", _MEMORY, sizes, str(net.m), net.activation, str(_core.thread_count()), scheme]
    paths = [str(Path(__file__).parent), str(Path(_core.__file__).parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else None


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    nets = list(dict.fromkeys(row["net"] for row in rows))
    result = []
    for net in nets:
        own = [row for row in rows if row["net"] == net]
        lines = []
        for row in own:
            if "missing" in row:
                lines.append([row["contender"], f"missing: {row['missing']} is not installed", *[""] * 5])
                continue
            star = "*" if row["extrapolated"] else ""
            lines.append(
                [
                    row["contender"],
                    f"{row['best']:.5f}{star}",
                    f"{row['median']:.5f}{star}",
                    f"{row['ratio']:.1f}" if row["ratio"] else "",
                    f"{row['checked']:,}" if row["exhaustive"] else "none by itself",
                    f"{1e6 * row['best'] / row['parameters']:.3f}",
                    row["note"],
                ]
            )
        columns = ["", "best s", "median s", "times ours", "parameters checked", "us/parameter", "result"]
        title = f"{net}, float64, {own[0]['parameters']:,} parameters (* from the parameters checked to all)"
        result.append((title, columns, lines))
    result.append(_growth([row for row in rows if "flops" in row]))
    return result


def _growth(rows: list[Row]) -> tuple[str, list[str], list[list[str]]]:
    lines = []
    for row in rows:
        memory = row["memory"]
        lines.append(
            [
                row["net"],
                row["contender"].split(", ")[1],
                f"{row['parameters']:,}",
                f"{1e9 * row['best'] / row['parameters']:.0f}",
                f"{row['flops'] / row['parameters']:.0f}",
                f"{row['flops'] / row['best'] / 1e9:.1f}",
                "" if memory is None else f"{memory / 2**20:.1f}",
                "" if memory is None else f"{memory / row['parameters']:.0f}",
            ]
        )
    columns = ["", "scheme", "parameters", "ns/parameter", "flop/parameter", "GFLOP/s", "memory MiB", "bytes/parameter"]
    return "How the cost grows (flop: of the products, by the sizes of the layers)", columns, lines
