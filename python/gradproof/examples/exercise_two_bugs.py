"""The classic exercise of gradient checking: a network of three layers with two mistakes in its backward pass.

As in the programming exercise of Andrew Ng's course: ``dW2`` is doubled, and ``db1`` has 4/m in place of 1/m. The
exercise ends with one number that says that there is a mistake; the report says where, and which.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import gradproof as gp

Parameters = dict[str, NDArray[Any]]

WIDTHS = (4, 5, 3, 1)


def main() -> gp.GradientReport:
    """Print what is found."""
    rng = np.random.default_rng(1)
    m = 3
    X, y = rng.normal(size=(m, WIDTHS[0])), np.array([[1.0], [1.0], [0.0]])
    parameters: Parameters = {}
    for i, (n_in, n_out) in enumerate(zip(WIDTHS, WIDTHS[1:], strict=False), start=1):
        parameters[f"W{i}"], parameters[f"b{i}"] = rng.normal(size=(n_in, n_out)), rng.normal(size=n_out)

    def forward(p: Parameters) -> tuple[NDArray[Any], ...]:
        z1 = X @ p["W1"] + p["b1"]
        z2 = np.maximum(z1, 0) @ p["W2"] + p["b2"]
        return z1, z2, np.maximum(z2, 0) @ p["W3"] + p["b3"]

    def cost(p: Parameters) -> float:
        z3 = forward(p)[2]
        return float(np.sum(np.logaddexp(0, z3) - y * z3) / m)  # cross-entropy of sigmoid(z3)

    def backward(p: Parameters) -> Parameters:
        z1, z2, z3 = forward(p)
        dz3 = 1 / (1 + np.exp(-z3)) - y
        dz2 = (dz3 @ p["W3"].T) * (z2 > 0)
        dz1 = (dz2 @ p["W2"].T) * (z1 > 0)
        return {
            "W1": X.T @ dz1 / m,
            "b1": 4 / m * np.sum(dz1, axis=0),  # mistake: 1 / m
            "W2": np.maximum(z1, 0).T @ dz2 / m * 2,  # mistake: without the 2
            "b2": np.sum(dz2, axis=0) / m,
            "W3": np.maximum(z2, 0).T @ dz3 / m,
            "b3": np.sum(dz3, axis=0) / m,
        }

    report = gp.check_gradients(cost, backward, parameters)
    print(report)
    print()
    print(f"The exercise's number is {report.relative_error:.3f}; wrong are {' and '.join(sorted(report.culprits))}.")
    return report


if __name__ == "__main__":
    main()
