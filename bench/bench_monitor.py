"""What it costs to watch a training run: fit with the monitor and without, per epoch and at both ends."""

from __future__ import annotations

import argparse
import time
from typing import Any

Row = dict[str, Any]

# Widths of the layers, rows, batch size; the first three are as small as training gets.
CASES = (
    ((64, 64, 10), 1000, 32),
    ((64, 64, 10), 1000, 1000),
    ((2, 16, 1), 400, 32),
    ((64, 256, 128, 10), 1500, 64),
    ((784, 512, 512, 10), 4000, 64),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7, help="the fastest of so many counts")
    parser.add_argument("--epochs", type=int, default=40)


def run(arguments: argparse.Namespace) -> list[Row]:
    import numpy as np

    import gradproof as gp
    from gradproof.train.monitor import Monitor

    rng = np.random.default_rng(0)
    rows: list[Row] = []
    for widths, m, batch in CASES:
        epochs = arguments.epochs if m * widths[0] < 1_000_000 else 4
        X = rng.normal(size=(m, widths[0])).astype("float32")
        y = (X @ rng.normal(size=(widths[0], max(widths[-1], 2)))).argmax(axis=1)
        loss = "softmax_cross_entropy" if widths[-1] > 1 else "binary_cross_entropy"
        hidden = [layer for units in widths[1:-1] for layer in (gp.Dense(units), gp.ReLU())]
        model = gp.Sequential([*hidden, gp.Dense(widths[-1])], widths[0], loss)
        seconds: dict[Any, float] = {}
        for _ in range(arguments.rounds):  # in turn, so that a slow moment hits all of them
            for monitor in (True, False):
                for count in (epochs, 3 * epochs):
                    copy = model.copy()
                    began = time.process_time()  # of this process alone, whatever else the machine does
                    copy.fit(X, y, epochs=count, batch_size=batch, monitor=monitor, progress=False)
                    took = time.process_time() - began
                    seconds[monitor, count] = min(took, seconds.get((monitor, count), took))
        each = {
            monitor: (seconds[monitor, 3 * epochs] - seconds[monitor, epochs]) / (2 * epochs)
            for monitor in (True, False)
        }
        rows.append(
            {
                "network": "-".join(map(str, widths)),
                "rows": m,
                "batch": batch,
                "every": Monitor(model, batch, -(-m // batch)).every,
                "epoch": each[False],
                "per_epoch": each[True] - each[False],
                "ends": seconds[True, epochs] - seconds[False, epochs] - epochs * (each[True] - each[False]),
            }
        )
    return rows


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    lines = [
        [
            row["network"],
            str(row["rows"]),
            str(row["batch"]),
            str(row["every"]),
            f"{1e6 * row['epoch']:.0f}",
            f"{1e6 * row['per_epoch']:.1f}",
            f"{100 * row['per_epoch'] / row['epoch']:.1f} %",
            f"{1e3 * row['ends']:.1f}",
        ]
        for row in rows
    ]
    columns = ["network", "rows", "batch", "one epoch in", "epoch, us", "watching, us", "share", "both ends, ms"]
    return [("Watching a run (both ends: facts before the first step and after the last, once a run)", columns, lines)]
