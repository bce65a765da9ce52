"""``gradproof bench``: how fast this machine checks and trains, beside the same work in plain NumPy, in one run."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gradproof._config import config
from gradproof.cli_types import positive

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

# Sizes, rows of a check, rows of a training step, and whether batch normalization and dropout take part in training.
NETWORKS: Final = (
    ((64, 32, 10), 8, 32, False),
    ((64, 128, 64, 10), 8, 64, True),
    ((784, 100, 10), 8, 64, False),
    ((784, 512, 512, 10), 4, 128, False),
)
SAMPLE: Final = 64  # parameters that the NumPy loop is timed on, of all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--seconds", type=positive, default=0.3, help="time to spend on each figure (0.3)")
    parser.add_argument("--dtype", choices=("float32", "float64", "both"), default="both", help="precision")
    parser.add_argument("--json", metavar="PATH", help="write the figures as JSON")


def bench(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure, and write the JSON file if one is asked for.

    Returns
    -------
    list of dict
        One per network, precision and kind of work: best ``seconds`` of gradproof and of NumPy, and their ratio.
    """
    rows = []
    for dtype in ("float32", "float64") if options.dtype == "both" else (options.dtype,):
        for sizes, few, batch, rich in NETWORKS:
            rows.append(_check(sizes, few, dtype, options.seconds))
            rows.append(_train(sizes, batch, rich, dtype, options.seconds))
    if options.json:
        from gradproof.check.render.files import write_text

        write_text(options.json, json.dumps({"environment": config(), "figures": rows}, indent=2) + "\n")
    return rows


def table(rows: list[dict[str, Any]]) -> Any:
    """The figures for a terminal."""
    from gradproof.check.render.text import new_table

    shown = new_table("network", "rows", "precision", "work", "gradproof", "NumPy", "ratio")
    for row in rows:
        figures = (
            f"{row['seconds'] * 1e3:.3g} ms",
            f"{row['numpy'] * 1e3:.3g} ms",
            f"{row['numpy'] / row['seconds']:.3g}",
        )
        shown.add_row(row["network"], str(row["rows"]), row["dtype"], row["work"], *figures)
    return shown


def _check(sizes: tuple[int, ...], m: int, dtype: str, seconds: float) -> dict[str, Any]:
    """Every parameter, against two forward passes for each in NumPy: timed on some parameters, told for all."""
    from gradproof.check.networks import check_model
    from gradproof.nn.reference import Sequential as Reference

    model, X, y = _subject(sizes, m, False, dtype)
    twin = Reference(model.layers, model.input_size, model.loss_name, dtype=dtype, seed=0)
    entries = np.random.default_rng(0).integers(0, model.theta.size, SAMPLE)

    def loop() -> None:
        for entry in entries:
            kept = twin.theta[entry]
            for step in (1e-4, -1e-4):
                twin.theta[entry] = kept + step
                twin.loss(X, y)
            twin.theta[entry] = kept

    ours = _best(lambda: check_model(model, X, y, nearby=False).verdict, seconds)
    return _row(sizes, m, dtype, "check of all parameters", ours, _best(loop, seconds) * model.theta.size / SAMPLE)


def _train(sizes: tuple[int, ...], m: int, rich: bool, dtype: str, seconds: float) -> dict[str, Any]:
    """One step, forward, backward and Adam."""
    from gradproof.nn.reference import Sequential as Reference
    from gradproof.nn.reference import adam_update
    from gradproof.train.optimizers import Adam

    model, X, y = _subject(sizes, m, rich, dtype)
    twin = Reference(model.layers, model.input_size, model.loss_name, dtype=dtype, seed=0)
    optimizer = Adam(1e-3)
    state = optimizer.init(model.theta)
    m1, m2 = np.zeros_like(twin.theta), np.zeros_like(twin.theta)
    taken = 0

    def by_hand() -> None:
        nonlocal taken
        taken += 1
        twin._training_gradient(X, y)
        adam_update(twin.theta, m1, m2, twin.gradient, taken, 1e-3)

    ours = _best(lambda: model.step(X, y, optimizer, state), seconds)
    work = "training step, batch norm, dropout" if rich else "training step"
    return _row(sizes, m, dtype, work, ours, _best(by_hand, seconds))


def _subject(sizes: tuple[int, ...], m: int, rich: bool, dtype: str) -> tuple[Sequential, Any, Any]:
    import gradproof as gp

    layers: list[Any] = []
    for units in sizes[1:-1]:
        layers += [gp.Dense(units), *([gp.BatchNorm()] if rich else []), gp.ReLU()]
        layers += [gp.Dropout(0.8)] if rich else []
    model = gp.Sequential([*layers, gp.Dense(sizes[-1])], sizes[0], "softmax_cross_entropy", dtype=dtype, seed=0)
    rng = np.random.default_rng(0)
    return model, rng.standard_normal((m, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], m)


def _row(sizes: tuple[int, ...], m: int, dtype: str, work: str, ours: float, numpy: float) -> dict[str, Any]:
    network = "-".join(map(str, sizes))
    return {"network": network, "rows": m, "dtype": dtype, "work": work, "seconds": ours, "numpy": numpy}


def _best(work: Callable[[], object], seconds: float) -> float:
    """The best time of as many calls as fit, at least three."""
    end, best, calls = time.perf_counter() + seconds, float("inf"), 0
    while calls < 3 or time.perf_counter() < end:
        began = time.perf_counter()
        work()
        best, calls = min(best, time.perf_counter() - began), calls + 1
    return best
