"""How large rounding errors are, in the units that the checker's tolerances are stated in.

The tolerance of an entry is ``ROUNDING`` standard deviations of its rounding error (gradproof/check/structured.py),
that of the guard ``TOLERANCE`` of the loss's (gradproof/check/guard.py). Over random networks this measures

    a - n      backpropagation (precision of the model) against the structured differences
    n - truth  the structured differences against backpropagation in extended precision
    a - truth  backpropagation against the same
    t - n      tangents against differences, less the error of measured slopes
    guard      structured losses against ordinary forward passes
    slack      log10 of tolerance / |n|, median over the entries: the price of a generous error model

each but the last as its maximum over all entries of a network. A family is safe while its largest is below the
constant, and comfortable while it is below half of it. Gradients are those of the networks themselves, so every verdict
but `pass` is a false alarm; these are counted.

    python bench/calibrate.py [--networks 2000] [--seed 0] [--json out.json]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from typing import Any

import numpy as np
from exact import Exact
from numpy.typing import NDArray

import gradproof as gp
from gradproof.check import guard
from gradproof.check.structured import DIFFERENCE, ROUNDING, SLOPE_ERROR, Point, measure_at

Array = NDArray[Any]
Case = dict[str, Any]

LOSSES = ("softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse")
ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid", "softmax", "maxout", "none")
QUANTITIES = ("a - n", "n - truth", "a - truth", "t - n", "guard", "slack")
FAMILIES = ("dtype", "loss", "activation", "layers", "batch_norm", "dropout", "m", "weights", "inputs")


def draw(rng: np.random.Generator, dtype: str) -> Case:
    """Settings of a random network."""
    return {
        "dtype": dtype,
        "loss": str(rng.choice(LOSSES)),
        "activation": str(rng.choice(ACTIVATIONS)),
        "layers": int(rng.integers(1, 9)),
        "widest": int(rng.choice([2, 8, 32, 64])),
        "batch_norm": bool(rng.random() < 0.3),
        "dropout": bool(rng.random() < 0.3),
        "m": int(rng.choice([1, 2, 3, 8, 32, 128, 512, 2048], p=[0.1, 0.15, 0.15, 0.25, 0.15, 0.1, 0.07, 0.03])),
        "weights": float(rng.choice([0.01, 0.1, 1.0, 3.0])),
        "inputs": float(rng.choice([0.1, 1.0, 30.0])),
        "seed": int(rng.integers(2**31)),
    }


def build(case: Case) -> tuple[gp.Sequential, Array, Array]:
    """The network of a case, with data. Constants are dyadic, so that both precisions mean the same network."""
    rng = np.random.default_rng(case["seed"])

    def width() -> int:
        return int(rng.integers(1, case["widest"] + 1))

    simple = {"relu": gp.ReLU(), "leaky_relu": gp.LeakyReLU(0.125), "tanh": gp.Tanh()}
    simple |= {"sigmoid": gp.Sigmoid(), "softmax": gp.Softmax()}
    layers: list[Any] = [gp.Dropout(0.8)] if case["dropout"] else []
    for _ in range(case["layers"] - 1):
        if case["activation"] == "maxout":
            layers.append(gp.Maxout(width(), 3))
        else:
            layers.append(gp.Dense(width()))
        if case["batch_norm"]:
            layers.append(gp.BatchNorm(epsilon=2.0**-10))
        if case["activation"] in simple:
            layers.append(simple[case["activation"]])
        if case["dropout"]:
            layers.append(gp.Dropout(0.5))
    n_in, n_out = width(), int(rng.integers(2, 11))
    model = gp.Sequential(
        [*layers, gp.Dense(n_out)], n_in, loss=case["loss"], dtype=case["dtype"], seed=case["seed"] % 1000
    )
    for name, parameter in model.parameters.items():
        if name.endswith(".W"):
            parameter *= case["weights"]
        else:  # biases, gamma and beta anywhere but at their special values
            parameter += 0.3 * max(case["weights"], 0.1) * rng.standard_normal(parameter.shape)
    X = (case["inputs"] * rng.standard_normal((case["m"], n_in))).astype(case["dtype"])
    if case["loss"] in LOSSES[:2]:
        y = rng.integers(0, n_out, case["m"])
    else:
        y = (rng.random if case["loss"] == LOSSES[2] else rng.standard_normal)((case["m"], n_out))
        y = y.astype(case["dtype"])
    return model, X, y


def ratio(difference: Array, scale: Array) -> float:
    """The largest quotient; 0/0 is 0, what is not a number is infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.where(difference == 0, 0.0, np.abs(difference) / scale)
    return float(np.max(np.where(np.isnan(quotient), np.inf, quotient), initial=0.0))


def guard_ratio(point: Point, rng: np.random.Generator) -> float:
    """What the guard compares, in its own units: at its large steps, and at its small ones where those do not do."""
    theta, unit, error = point.model.theta, np.finfo(point.model.dtype).eps / 2, point.rounding[1]

    def quotient(entries: Array, wanted: Array) -> Array:
        steps = (theta[entries] + wanted.astype(theta.dtype)) - theta[entries]
        ordinary = point.ordinary(entries, steps)
        difference = point.run(DIFFERENCE, steps, entries) - (ordinary - point.value)
        return np.nan_to_num(np.abs(difference) / (error + unit * np.abs(ordinary)), nan=np.inf)

    largest = 0.0
    for entry in point.model.layout.slices:
        entries = rng.choice(entry.size, min(guard.ENTRIES, entry.size), replace=False) + entry.offset
        size = np.sqrt(np.mean(np.square(theta[entry.offset : entry.stop], dtype=np.float64)))
        wanted = np.full(len(entries), min(max(size, 2.0**-10), 1.0))
        found = quotient(entries, wanted)
        again = found > guard.TOLERANCE
        if again.any():
            found[again] = np.minimum(found[again], quotient(entries[again], guard.SMALLER * wanted[again]))
        largest = max(largest, float(found.max()))
    return largest


def study(case: Case) -> tuple[str, dict[str, float] | None]:
    """The verdict on one network, and its largest errors; None where it stands on a kink or overflows."""
    model, X, y = build(case)
    verdict = gp.check_model(model, X, y).verdict.value
    unit = np.finfo(model.dtype).eps / 2
    point = Point(model, X, y)
    analytic = model.loss_and_gradient(X, y)[1].astype(np.float64)
    measured = measure_at(point)
    if measured.kink.any() or not np.isfinite(analytic).all():
        return verdict, None
    scale = measured.rounding / ROUNDING
    nonzero = measured.numeric != 0
    tangent = np.abs(measure_at(point, "tangent").numeric - measured.numeric)
    found = {
        "a - n": ratio(analytic - measured.numeric, scale),
        "t - n": ratio(np.maximum(tangent - SLOPE_ERROR / unit * scale, 0), scale),
        "guard": guard_ratio(point, np.random.default_rng(case["seed"])),
    }
    if nonzero.any():
        found["slack"] = float(np.median(np.log10(ROUNDING * scale[nonzero] / np.abs(measured.numeric[nonzero]))))
    exact = Exact(model)
    truth = exact.gradient_of_data_loss(X, y)
    if exact.closest > 1e4 * unit:
        found["n - truth"] = ratio((measured.numeric - truth).astype(np.float64), scale)
        found["a - truth"] = ratio((analytic - truth).astype(np.float64), scale)
    return verdict, found


def table(results: list[tuple[Case, dict[str, float]]]) -> list[dict[str, Any]]:
    """Per family and quantity: the number of networks, median, 99th percentile and maximum."""
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for case, found in results:
        for quantity, value in found.items():
            for family in FAMILIES:
                groups[family, str(case[family]), quantity].append(value)
            groups["all", "", quantity].append(value)
    order = {family: index for index, family in enumerate(("all", *FAMILIES))}
    rows = []
    for (family, member, quantity), values in sorted(groups.items(), key=lambda g: (order[g[0][0]], g[0])):
        median, high = np.quantile(values, [0.5, 0.99], method="higher")  # no arithmetic: some are infinite
        rows.append(
            {
                "family": family,
                "member": member,
                "quantity": quantity,
                "networks": len(values),
                "median": float(median),
                "p99": float(high),
                "max": max(values),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=2000, help="of each precision")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="also write the table, and the worst networks, to this file")
    arguments = parser.parse_args()

    rng = np.random.default_rng(arguments.seed)
    results: list[tuple[Case, dict[str, float]]] = []
    verdicts: Counter[str] = Counter()
    left_out = 0
    for _ in range(arguments.networks):
        for dtype in ("float64", "float32"):
            case = draw(rng, dtype)
            with np.errstate(all="ignore"):
                verdict, found = study(case)
            verdicts[f"{dtype} {verdict}"] += 1
            if found is None:
                left_out += 1
            else:
                results.append((case, found))

    rows = table(results)
    print(f"{'':14}{'':24}" + "".join(f"{quantity:>26}" for quantity in QUANTITIES))
    print(f"{'family':14}{'':24}" + f"{'median':>10}{'99 %':>8}{'max':>8}" * len(QUANTITIES))
    cells = {(row["family"], row["member"], row["quantity"]): row for row in rows}
    for family, member in dict.fromkeys((row["family"], row["member"]) for row in rows):
        line = f"{family:14}{member:24}"
        for quantity in QUANTITIES:
            row = cells.get((family, member, quantity))
            line += f"{row['median']:10.2g}{row['p99']:8.2g}{row['max']:8.2g}" if row else " " * 26
        print(line)
    print(f"{len(results)} networks; {left_out} left out (an exact kink, or overflow).")
    print("verdicts: " + ", ".join(f"{name} {count}" for name, count in sorted(verdicts.items())))
    worst = {}
    for quantity in QUANTITIES[:-1]:
        worst[quantity] = max(results, key=lambda r: r[1].get(quantity, 0.0))
        limit = guard.TOLERANCE if quantity == "guard" else ROUNDING
        value = worst[quantity][1][quantity]
        print(f"largest {quantity}: {value:.3g} of {limit:g}, {worst[quantity][0]}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            document = {
                "rounding": ROUNDING,
                "guard_tolerance": guard.TOLERANCE,
                "verdicts": verdicts,
                "rows": rows,
                "worst": worst,
            }
            json.dump(document, file, indent=1)


if __name__ == "__main__":
    main()
