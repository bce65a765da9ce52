"""Check a gradient that was written by hand: logistic regression with an L2 penalty, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import gradproof as gp

Array = NDArray[Any]

PENALTY = 0.1


def main() -> tuple[gp.GradientReport, gp.GradientReport]:
    """Print the report of a right gradient, and what is found when the penalty is left out of it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 6))
    y = (X[:, 0] - X[:, 1] + 0.5 * rng.normal(size=50) > 0).astype(float)

    def loss(p: dict[str, Array]) -> float:
        z = X @ p["w"] + p["b"]
        return float(np.mean(np.logaddexp(0, z) - y * z) + PENALTY / 2 * np.sum(p["w"] ** 2))

    def gradient(p: dict[str, Array]) -> dict[str, Array]:
        dz = (1 / (1 + np.exp(-(X @ p["w"] + p["b"]))) - y) / len(X)
        return {"w": X.T @ dz + PENALTY * p["w"], "b": dz.sum()}

    def without_penalty(p: dict[str, Array]) -> dict[str, Array]:
        return gradient(p) | {"w": gradient(p)["w"] - PENALTY * p["w"]}

    parameters = {"w": rng.normal(size=6), "b": np.array(0.3)}
    right = gp.check_gradients(loss, gradient, parameters)
    wrong = gp.check_gradients(loss, without_penalty, parameters)
    print(right, wrong, sep="\n\n")
    return right, wrong


if __name__ == "__main__":
    main()
