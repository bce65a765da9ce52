"""L2 regularization equals weight decay for gradient descent, and does not for Adam.

The penalty ``c/2 sum W^2`` adds ``c W`` to the gradient. Gradient descent then subtracts ``a c W``: the weights decay
by the factor ``1 - a c``. Adam divides the gradient, and the penalty's part with it, by its usual size: where gradients
are large, weights hardly decay. Decoupled weight decay shrinks all of them alike (AdamW: Loshchilov and Hutter 2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import gradproof as gp

ROWS = 200
STRENGTH = 0.002  # c, of the penalty and of the decay
STEPS = 100


def train(optimizer: Any, l2: float) -> gp.Sequential:
    """A network after full-batch steps on the first digits, with a penalty of the strength c = l2 / rows."""
    X, y = gp.data.load_digits()
    X, y = X[:ROWS] / 16, y[:ROWS]
    layers: list[Any] = [gp.Dense(16), gp.Tanh(), gp.Dense(10)]
    model = gp.Sequential(layers, input_size=64, loss="softmax_cross_entropy", l2=l2, dtype="float64", seed=0)
    state = optimizer.init(model.theta)
    for _ in range(STEPS):
        _, gradient = model.loss_and_gradient(X, y)
        optimizer.update(model.theta, gradient, state, decayed=model.layout.regularized_runs)  # weights, not biases
    return model


def compare(optimizer: type[Any], rate: float) -> dict[str, float]:
    """Train with the penalty and with the decay of the same strength."""
    penalty = train(optimizer(rate), l2=STRENGTH * ROWS)
    decay = train(optimizer(rate, weight_decay=STRENGTH), l2=0.0)
    norms = {f"norm, {name}": float(np.linalg.norm(model.theta)) for name, model in (("l2", penalty), ("decay", decay))}
    return {"difference": float(np.max(np.abs(penalty.theta - decay.theta))), **norms}


def main() -> dict[str, dict[str, float]]:
    """Print how far apart the two trained networks are, for both optimizers, and return that."""
    results = {"SGD": compare(gp.SGD, 0.5), "Adam": compare(gp.Adam, 0.01)}
    print(f"A network after {STEPS} steps with the penalty {STRENGTH}/2 sum W^2, and with weight decay {STRENGTH}:\n")
    print(f"  {'optimizer':<10} {'largest difference':>18} {'|theta| with penalty':>21} {'with weight decay':>18}")
    for name, row in results.items():
        print(f"  {name:<10} {row['difference']:>18.1e} {row['norm, l2']:>21.3f} {row['norm, decay']:>18.3f}")
    print("\nFor SGD they are one network, but for rounding. For Adam they are two: its steps have the size of")
    print("the rate however small the gradient is, so that the same penalty shrinks the weights by another amount.")
    return results


if __name__ == "__main__":
    main()
