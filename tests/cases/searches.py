"""Spaces, and what is searched in them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import gradproof as gp

tune = gp.tune

SPACE = {
    "rate": tune.log(1e-4, 1),
    "units": tune.integer(1, 64, log=True),
    "beta": tune.one_minus(0.9, 0.999),
    "kind": tune.choice(["a", "b"]),
}
LINE = {"x": tune.uniform(-4, 4)}


def bowl(parameters: dict[str, Any]) -> float:
    """Best at rate 0.01, 16 units, kind b."""
    distance = math.log10(parameters["rate"] / 0.01) ** 2 + 0.2 * math.log2(parameters["units"] / 16) ** 2
    return -distance - (parameters["kind"] == "a")


def data(m: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(m, 3))
    return X, (X @ [1, -1, 0.5] > 0).astype(int)


def build(parameters: dict[str, Any]) -> tuple[gp.Sequential, dict[str, Any]]:
    model = gp.Sequential([gp.Dense(4), gp.Tanh(), gp.Dense(2)], input_size=3, loss="softmax_cross_entropy", seed=0)
    return model, {"optimizer": gp.Adam(parameters["rate"])}
