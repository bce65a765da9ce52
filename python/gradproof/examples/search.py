"""Hyper-parameters from coarse to fine: at random on scales that suit them, then around the best; and one looked after.

Of a learning rate nobody knows more than its order of magnitude, so its logarithm is drawn. Of two rates and a size it
is not known which one matters: random points try a new value of each in every trial, a grid would repeat them.
(Needs Optuna: pip install gradproof[tune].)
"""

from __future__ import annotations

from typing import Any

import optuna  # noqa: F401 - so that it is told at once when it is missing

import gradproof as gp

TRIALS, EPOCHS, SEEDS = 24, 6, range(3)
SPACE = {
    "learning_rate": gp.tune.log(1e-5, 1),
    "beta1": gp.tune.one_minus(0.8, 0.99),
    "units": gp.tune.integer(8, 64, log=True),
    "keep_prob": gp.tune.uniform(0.5, 1),
}


def build(parameters: dict[str, Any]) -> tuple[gp.Sequential, dict[str, Any]]:
    """A network for the digits, and how to train it."""
    layers = [
        gp.Dense(parameters["units"]),
        gp.ReLU(),
        gp.Dropout(keep_prob=parameters["keep_prob"]),
        gp.Dense(10),
    ]
    model = gp.Sequential(layers, input_size=64, loss="softmax_cross_entropy", dtype="float32", seed=0)
    return model, {"optimizer": gp.Adam(parameters["learning_rate"], beta1=parameters["beta1"]), "batch_size": 32}


def main() -> dict[str, Any]:
    """Search by chance and from coarse to fine, then look after one model that began badly; print and return it all."""
    (X, y), validation, _ = gp.data.split(*gp.data.load_digits(), (60, 20, 20))
    options: dict[str, Any] = {"space": SPACE, "validation": validation, "trials": TRIALS, "epochs": EPOCHS}
    found: dict[str, Any] = {
        method: [gp.tune.search(build, X, y, **options, method=method, seed=seed) for seed in SEEDS]
        for method in ("random", "coarse_to_fine")
    }
    print(f"Share of the validation digits that the best of {TRIALS} networks recognizes, in {len(SEEDS)} searches:\n")
    for method, results in found.items():
        best = [result.best.value for result in results]
        print(f"  {method:<15} {'  '.join(f'{value:.3f}' for value in best)}   mean {sum(best) / len(best):.3f}")
    print(f"\nThe last of them:\n\n{results[-1]}\n")

    model, settings = build({"learning_rate": 1e-4, "beta1": 0.9, "units": 32, "keep_prob": 1.0})
    found["babysit"] = gp.tune.babysit(model, X, y, validation_data=validation, rounds=5, **settings)
    print("Instead of many models one, that begins with a rate that is far too small:\n")
    print(found["babysit"])
    return found


if __name__ == "__main__":
    main()
