"""Random directions and bisection: evaluations, power and what is found, up to ten million parameters."""

from __future__ import annotations

import argparse
import time
from typing import Any

Row = dict[str, Any]

MISTAKES = ("none", "one doubled", "one zeroed", "five, rms", "five, 10 rms", "two exchanged")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", nargs="+", type=float, default=(1e4, 1e5, 1e6), metavar="P", help="parameters")
    parser.add_argument("--dtypes", nargs="+", default=("float64", "float32"), choices=("float64", "float32"))
    parser.add_argument("--mistakes", nargs="+", default=MISTAKES, choices=MISTAKES)
    parser.add_argument("--tries", type=int, default=3, help="functions, each with wrong entries of its own")


def run(arguments: argparse.Namespace) -> list[Row]:
    return [
        _measure(int(size), dtype, mistake, arguments.tries)
        for size in arguments.sizes
        for dtype in arguments.dtypes
        for mistake in arguments.mistakes
    ]


def _measure(size: int, dtype: str, mistake: str, tries: int) -> Row:
    import numpy as np

    import gradproof as gp

    row: Row = {"parameters": size, "dtype": dtype, "mistake": mistake, "tries": tries}
    row |= {"right_verdicts": 0, "wrong": 0, "found": 0, "falsely_named": 0, "evaluations": [], "seconds": []}
    row["detectable"] = []
    for seed in range(tries):
        rng = np.random.default_rng((size, seed))
        x, loss, gradient = _separable(size, dtype, rng)
        planted = gradient.copy()
        _plant(planted, mistake, rng)
        expected = set(np.flatnonzero(planted != gradient).tolist())
        started = time.perf_counter()
        report = gp.check_gradients(loss, planted, x, method="projected", nearby=False, seed=seed, progress=False)
        row["seconds"].append(time.perf_counter() - started)
        tensor = report.tensors["params"]
        named = {entry.index[0] for entry in tensor.worst(1000) if entry.status.endswith("mismatch")}
        row["right_verdicts"] += report.verdict == ("fail" if expected else "pass")
        row["wrong"] += len(expected)
        row["found"] += len(named & expected)
        row["falsely_named"] += len(named - expected)
        row["evaluations"].append(report.evaluations)
        row["detectable"].append(tensor.detectable)
    return row


def _separable(size: int, dtype: str, rng: Any) -> Any:
    """``w . tanh(x) + (u . x)^2 / 2`` at a random point, with its gradient."""
    import numpy as np

    x, w, u = (rng.standard_normal(size, dtype=dtype) for _ in range(3))
    u /= np.sqrt(np.asarray(size, dtype))

    def loss(x: Any) -> float:
        return float(w @ np.tanh(x) + (u @ x) ** 2 / 2)

    return x, loss, w * (1 - np.tanh(x) ** 2) + (u @ x) * u


def _plant(gradient: Any, mistake: str, rng: Any) -> None:
    import numpy as np

    rms = float(np.sqrt(np.mean(np.square(gradient, dtype=np.float64))))
    at = rng.choice(gradient.size, 5, replace=False)
    middle = int(np.argmin(np.abs(np.abs(gradient) - rms)))
    if mistake.startswith("one"):
        gradient[middle] *= 2 if mistake == "one doubled" else 0
    elif mistake.startswith("five"):
        gradient[at] += rng.choice((-1, 1), 5) * rms * (10 if mistake == "five, 10 rms" else 1)
    elif mistake == "two exchanged":
        gradient[at[:2]] = gradient[at[1::-1]]


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    lines = [
        [
            f"{row['parameters']:,} {row['dtype']}, {row['mistake']}",
            f"{row['right_verdicts']} of {row['tries']}",
            f"{row['found']} of {row['wrong']}",
            str(row["falsely_named"]),
            f"{min(row['evaluations'])}-{max(row['evaluations'])}",
            f"{max(row['detectable']):.1e}",
            f"{min(row['seconds']):.2f}",
        ]
        for row in rows
    ]
    columns = ["", "verdict right", "entries found", "falsely named", "evaluations", "detectable", "best s"]
    return [("Projected mode, separable function with a coupling, errors of one typical entry", columns, lines)]
