"""One network in both precisions: how exactly quotients of differences, and propagated differences, can check it."""

from __future__ import annotations

import numpy as np

import gradproof as gp


def main() -> None:
    """Print the comparison, and what the step does to central differences."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10, 8)), rng.integers(0, 3, 10)
    layers = [gp.Dense(12), gp.BatchNorm(), gp.Tanh(), gp.Dense(3)]
    model = gp.Sequential(layers, 8, "softmax_cross_entropy", l2=1e-3, dtype="float32", seed=0)
    print(gp.compare_precisions(model, X, y))
    print()
    print("Relative error of central differences against backpropagation:")
    print(f"{'step':>8} {'float32':>10} {'float64':>10}")
    for step in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        errors = (
            gp.check_model(model.astype(dtype), X, y, scheme="central", step=step).relative_error
            for dtype in ("float32", "float64")
        )
        print(f"{step:8.0e} " + " ".join(f"{error:10.1e}" for error in errors))


if __name__ == "__main__":
    main()
