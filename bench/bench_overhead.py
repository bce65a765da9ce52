"""What checking every entry costs beside the loss itself: time per evaluation of a loss that does almost nothing."""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", nargs="+", type=int, default=(200, 2000, 20_000), help="parameters")
    parser.add_argument("--rounds", type=int, default=3, help="of which the best and the median are given")


def run(arguments: argparse.Namespace) -> list[Row]:
    import numpy as np

    rows: list[Row] = []
    for size in arguments.sizes:
        rng = np.random.default_rng(size)
        c, x = rng.normal(size=size), rng.normal(size=size)
        loss = _Counted(lambda x, c=c: float(c @ x + 0.5 * (x[0] - x[-1]) ** 2))
        gradient = _gradient(c)
        contenders = {"gradproof": _ours, "gradproof, a tensor of one": _ours_many, "scipy, 3-point": _scipy}
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        evaluations: dict[str, int] = {}
        for _ in range(arguments.rounds):
            for name, contender in contenders.items():  # asked in turn
                if contender is _ours_many and size > 2000:
                    continue
                loss.count = 0
                started = time.perf_counter()
                contender(loss, gradient, x)
                seconds[name].append(time.perf_counter() - started)
                evaluations[name] = loss.count
        alone = _alone(loss, x)
        rows += [
            {
                "parameters": size,
                "who": name,
                "evaluations": evaluations[name],
                "best": min(times),
                "median": statistics.median(times),
                "loss": alone,
                "overhead": min(times) / evaluations[name] - alone,
            }
            for name, times in seconds.items()
            if times
        ]
    return rows


class _Counted:
    def __init__(self, function: Any) -> None:
        self.function, self.count = function, 0

    def __call__(self, x: Any) -> Any:
        self.count += 1
        return self.function(x)


def _gradient(c: Any) -> Any:
    def gradient(x: Any) -> Any:
        g = c.copy()
        g[0] += x[0] - x[-1]
        g[-1] -= x[0] - x[-1]
        return g

    return gradient


def _ours(loss: Any, gradient: Any, x: Any) -> None:
    import gradproof as gp

    gp.check_gradients(loss, gradient, x, method="exhaustive", nearby=False, progress=False)


def _ours_many(loss: Any, gradient: Any, x: Any) -> None:
    """The same numbers in as many tensors as entries: what a tensor costs."""
    import numpy as np

    import gradproof as gp

    def joined(params: Any) -> Any:
        return np.array([float(p) for p in params])

    gp.check_gradients(
        lambda p: loss(joined(p)),
        lambda p: list(gradient(joined(p))),
        [np.array(v) for v in x],
        method="exhaustive",
        nearby=False,
        progress=False,
    )


def _scipy(loss: Any, gradient: Any, x: Any) -> None:
    import numpy as np
    from scipy.optimize._numdiff import approx_derivative

    np.linalg.norm(approx_derivative(loss, x, method="3-point") - gradient(x))


def _alone(loss: Any, x: Any) -> float:
    """Seconds of one evaluation by itself."""
    started = time.perf_counter()
    for _ in range(1000):
        loss(x)
    return (time.perf_counter() - started) / 1000


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    lines = [
        [
            f"{row['parameters']:,}",
            row["who"],
            f"{row['evaluations']:,}",
            f"{row['best']:.3f}",
            f"{row['median']:.3f}",
            f"{1e6 * row['loss']:.1f}",
            f"{1e6 * row['overhead']:.1f}",
        ]
        for row in rows
    ]
    columns = ["parameters", "", "evaluations", "best s", "median", "loss alone, µs", "beside it per evaluation, µs"]
    return [("Every entry of a cheap loss", columns, lines)]
