"""One small training run, healthy, and what spoils it in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gradproof as gp
from gradproof.train.history import History


@dataclass
class Setup:
    """A small healthy run; tests spoil one thing."""

    X: np.ndarray
    y: np.ndarray
    Xv: np.ndarray
    yv: np.ndarray
    hidden: tuple[Any, ...] = (gp.Dense(32), gp.ReLU(), gp.Dense(32), gp.ReLU())
    last_init: Any = "xavier"
    optimizer: Any = gp.Adam(3e-3)
    epochs: int = 20
    batch: int = 32
    l2: float = 0.0
    loss: str = "softmax_cross_entropy"
    schedule: Any = None
    edit: Callable[[gp.Sequential], None] | None = None

    def model(self) -> gp.Sequential:
        outputs = 1 if self.loss == "mse" else 4
        layers = [*self.hidden, gp.Dense(outputs, init=self.last_init)]
        model = gp.Sequential(layers, self.X.shape[1], self.loss, l2=self.l2)
        if self.edit:
            self.edit(model)
        return model

    def fit(self, **options: Any) -> History:
        options = {"validation_data": (self.Xv, self.yv), "monitor": True, **options}
        with np.errstate(all="ignore"):
            return self.model().fit(
                self.X,
                self.y,
                optimizer=self.optimizer,
                schedule=self.schedule,
                epochs=self.epochs,
                batch_size=self.batch,
                progress=False,
                **options,
            )

    def tags(self) -> list[str]:
        return [symptom.tag for symptom in self.fit().diagnose()]


def clear_rule() -> Setup:
    """A healthy run: four classes by a curved rule, 400 rows."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(600, 6))
    y = 2 * (X[:, 0] ** 2 + X[:, 1] > 1) + (X[:, 2] + 0.3 * X[:, 3] ** 2 > 0.2)
    return Setup(X[:400], y[:400].astype(int), X[400:], y[400:].astype(int))


def deep(layer: Any, init: Any, depth: int = 7) -> tuple[Any, ...]:
    return tuple(entry for _ in range(depth) for entry in (gp.Dense(24, init=init), layer))


def _dead(model: gp.Sequential) -> None:
    model.parameters["dense_1.b"][:28] = -20


def _loud(model: gp.Sequential) -> None:
    model.parameters["dense_2.W"][...] *= 60


SICK: dict[str, dict[str, Any]] = {
    "symmetric_init": {
        "hidden": (gp.Dense(32, lambda rng, shape: np.full(shape, 0.1)), gp.Tanh()),
        "last_init": "zeros",
    },
    "bad_initial_loss": {"edit": _loud},
    "exploding_gradient": {"hidden": deep(gp.ReLU(), 1.2)},
    "saturated_activation": {"hidden": deep(gp.Tanh(), 4.0, 2)},
    "vanishing_gradient": {"hidden": deep(gp.Sigmoid(), "xavier")},
    "dead_relu": {"edit": _dead},
    "small_batch_norm": {"hidden": (gp.Dense(32), gp.BatchNorm(), gp.ReLU()), "batch": 2, "epochs": 8},
    "over_regularized": {"l2": 1000.0},
    "learning_rate_too_high": {"optimizer": gp.Adam(0.5)},
    "learning_rate_too_low": {"optimizer": gp.Adam(1e-6)},
    "underfitting": {"hidden": (), "optimizer": gp.Adam(1e-2), "epochs": 40},
    "plateau": {"schedule": gp.schedules.Exponential(0.03), "optimizer": gp.Adam(1e-3)},
}
