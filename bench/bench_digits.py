"""scikit-learn's perceptron and ours on the digits: accuracy on rows not seen, and time of a fit."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]

SHAPES = ((100,), (64, 32), (512, 256))
THEIRS, OURS, NORMALIZED = "scikit-learn", "gradproof", "gradproof, batch norm and dropout"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=5, help="of split, initialization and order")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--shapes", nargs="+", default=["-".join(map(str, shape)) for shape in SHAPES], metavar="N-N")
    parser.add_argument("--keep-prob", type=float, default=0.9, help="of every hidden unit, in the third contender")


def run(arguments: argparse.Namespace) -> list[Row]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    import gradproof as gp

    warnings.simplefilter("ignore", ConvergenceWarning)  # 200 epochs are what both get
    contenders: dict[str, Callable[..., Any]] = {
        THEIRS: MLPClassifier,
        OURS: gp.sklearn.MLPClassifier,
        NORMALIZED: lambda *shape, **keywords: gp.sklearn.MLPClassifier(
            *shape, batch_norm=True, keep_prob=arguments.keep_prob, **keywords
        ),
    }
    X, y = gp.data.load_digits()
    X = X.astype(arguments.dtype)
    rows: list[Row] = []
    for text in arguments.shapes:
        shape = tuple(map(int, text.split("-")))
        found: dict[str, Row] = {
            name: {
                "shape": text,
                "contender": name,
                "dev": [],
                "test": [],
                "seconds": [],
                "cpu_seconds": [],
                "epochs": [],
            }
            for name in contenders
        }
        for seed in range(arguments.seeds):
            (X_train, y_train), *others = gp.data.split(X, y, (60, 20, 20), seed=seed)
            for name, make in contenders.items():  # in turn, so that a disturbance meets all of them
                print(f"{text}, seed {seed}: {name}", file=sys.stderr)
                classifier = make(shape, random_state=seed)
                started, worked = time.perf_counter(), time.process_time()
                classifier.fit(X_train, y_train)
                found[name]["seconds"].append(time.perf_counter() - started)
                found[name]["cpu_seconds"].append(time.process_time() - worked)  # steadier on a busy machine
                found[name]["epochs"].append(classifier.n_iter_)
                for part, (X_other, y_other) in zip(("dev", "test"), others, strict=True):
                    found[name][part].append(classifier.score(X_other, y_other))
        for row in found.values():
            for clock in ("seconds", "cpu_seconds"):
                ratios = [a / b for a, b in zip(found[THEIRS][clock], row[clock], strict=True)]
                row[f"times_as_fast_{clock}"] = statistics.median(ratios)
            rows.append(row)
    return rows


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    result = []
    for shape in dict.fromkeys(row["shape"] for row in rows):
        lines = [
            [
                row["contender"],
                f"{100 * statistics.mean(row['dev']):.2f}",
                f"{100 * statistics.mean(row['test']):.2f}",
                f"{100 * statistics.mean(row['dev'] + row['test']):.2f}",
                f"{statistics.mean(row['epochs']):.0f}",
                f"{min(row['seconds']):.3f}",
                f"{statistics.median(row['seconds']):.3f}",
                f"{row['times_as_fast_seconds']:.2f}",
                f"{row['times_as_fast_cpu_seconds']:.2f}",
            ]
            for row in rows
            if row["shape"] == shape
        ]
        seeds = len(rows[0]["test"])
        columns = ["", "dev, %", "test, %", "both, %", "epochs", "best s", "median s", "times as fast", "by CPU time"]
        result.append((f"Digits, hidden layers {shape}, mean over {seeds} seeds", columns, lines))
    return result
