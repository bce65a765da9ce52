"""Training runs that are healthy, and runs that are sick in a known way.

A recipe is a network, an optimizer and a data set; its learning rate is found by trying. Sick runs are recipes with one
thing spoiled. What is claimed of a run is verified by its outcome: a healthy one must come near the best rate's, a sick
one must be clearly worse than the recipe it was made from. Runs that are neither are not used.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import gradproof as gp
from cases.training_tasks import TUNING, Task
from cases.training_tasks_unseen import UNSEEN

RATES = tuple(10.0 ** (e / 2) for e in range(-12, 5))  # 1e-6 to 100


@dataclass
class Recipe:
    """Everything that a run is made from."""

    task: Task
    hidden: list[Any]
    optimizer: Any
    rate: float
    batch: int
    epochs: int
    seed: int
    last_init: Any = "xavier"
    l1: float = 0.0
    l2: float = 0.0
    schedule: Any = None
    dtype: str = "float32"
    edit: Any = None  # called with the model before training
    notes: dict[str, Any] = field(default_factory=dict)

    def model(self) -> gp.Sequential:
        layers = [*self.hidden, gp.Dense(self.task.outputs, init=self.last_init)]
        model = gp.Sequential(
            layers, self.task.X.shape[1], self.task.loss, l1=self.l1, l2=self.l2, dtype=self.dtype, seed=self.seed
        )
        if self.edit is not None:
            self.edit(model)
        return model

    def train(self, **options: Any) -> tuple[gp.Sequential, Any]:
        model = self.model()
        task = self.task
        options = {"validation_data": (task.Xv, task.yv), "schedule": self.schedule, **options}
        history = model.fit(
            task.X,
            task.y,
            optimizer=self.optimizer(self.rate),
            epochs=self.epochs,
            batch_size=self.batch,
            seed=self.seed,
            progress=False,
            **options,
        )
        return model, history


def outcome(history: Any, task: Task, part: str = "") -> float:
    """The score at the end (mean of the last epochs) on a scale from 0, chance, to 1, perfect."""
    if history.stopped == "diverged" or not len(history):
        return 0.0
    last = max(1, len(history) // 10)
    score = float(np.mean(history[part + ("accuracy" if task.classes else "r2")][-last:]))
    if not np.isfinite(score):
        return 0.0
    chance = 0.0
    if task.classes:
        chance = max(np.mean(np.asarray(task.yv).ravel() == c) for c in np.unique(task.yv))
    return max(0.0, (score - chance) / (1 - chance))


def recipe(unseen: bool, seed: int) -> Recipe:
    """A sensible recipe, but for the rate."""
    rng = np.random.default_rng([int(unseen), seed])
    tasks = UNSEEN if unseen else TUNING
    task = tasks[seed % len(tasks)](rng)
    activation = rng.choice(["relu", "relu", "relu", "tanh", "leaky", "sigmoid", "maxout"])
    depth = int(rng.integers(1, 5 if unseen else 4)) if activation != "sigmoid" else 1
    widths = [20, 48, 96, 160] if unseen else [16, 24, 32, 40, 64, 128]
    batch_norm = activation in ("relu", "leaky", "tanh") and rng.random() < 0.3
    dropout = rng.random() < 0.2
    hidden: list[Any] = []
    for _ in range(depth):
        units = int(rng.choice(widths))
        if activation == "maxout":
            hidden.append(gp.Maxout(units // 2, 2))
            continue
        hidden.append(gp.Dense(units, init="he" if activation in ("relu", "leaky") else "xavier"))
        if batch_norm:
            hidden.append(gp.BatchNorm())
        hidden.append(
            {"relu": gp.ReLU(), "tanh": gp.Tanh(), "leaky": gp.LeakyReLU(0.05), "sigmoid": gp.Sigmoid()}[activation]
        )
    if dropout:
        hidden.append(gp.Dropout(float(rng.choice([0.8, 0.9]))))
    optimizers = [gp.SGD, gp.Momentum, gp.RMSprop, gp.Adam, gp.Adam]
    batch = int(
        rng.choice(
            [32, 64, 128] if batch_norm else ([25, 40, 90, 200] if unseen else [16, 20, 32, 50, 64, 100, 128, 256])
        )
    )
    return Recipe(
        task=task,
        hidden=hidden,
        optimizer=optimizers[int(rng.integers(0, len(optimizers)))],
        rate=float("nan"),
        batch=batch,
        epochs=int(rng.integers(25, 61)),
        seed=seed,
        last_init=str(rng.choice(["xavier", "glorot", "he"])),
        l2=float(rng.choice([0.0, 0.0, 0.1])),
        dtype=str(rng.choice(["float32", "float32", "float64"])),
        notes={
            "activation": activation,
            "depth": depth,
            "batch_norm": batch_norm,
            "dropout": dropout,
            "task": task.name,
        },
    )


@dataclass
class Sweep:
    """A recipe with every rate: losses at the end, scores."""

    recipe: Recipe
    losses: dict[float, float]
    scores: dict[float, float]
    best: float

    @property
    def tuned(self) -> Recipe:
        return replace(self.recipe, rate=self.best)


def level(history: Any) -> float:
    """Mean data loss of the last tenth of the epochs; inf if it diverged."""
    if history.stopped == "diverged" or not len(history):
        return np.inf
    value = float(np.mean(history["data_loss"][-max(2, len(history) // 10) :]))
    return value if np.isfinite(value) else np.inf


def sweep(base: Recipe) -> Sweep:
    """Train with every rate from 1e-6 to 100, stopping above where it has become hopeless."""
    losses: dict[float, float] = {}
    scores: dict[float, float] = {}
    for rate in RATES:
        _, history = replace(base, rate=rate).train(monitor=False)
        losses[rate] = level(history)
        scores[rate] = min(outcome(history, base.task), outcome(history, base.task, "val_"))
        best = max(scores.values())
        if rate > 1e-2 and best > 0.3 and scores[rate] < 0.2 * best and losses[rate] > 2 * min(losses.values()):
            if sum(score < 0.2 * best for r, score in scores.items() if r > max(scores, key=lambda r: scores[r])) >= 2:
                break
    top = max(scores.values())
    # Of the rates whose score is near the best, the middle one (in logarithm): what a person would settle on.
    near = [r for r in scores if scores[r] >= top - 0.02 and losses[r] <= 2 * min(losses.values()) + 0.05]
    near = near or [max(scores, key=lambda r: scores[r])]
    return Sweep(base, losses, scores, near[len(near) // 2])


def curable(swept: Sweep) -> bool:
    """Whether a poor score comes from the steps: Adam with batches of 32 gets a fifth more out of the network.

    Then the recipe's best rate is the best of a bad choice, and no run with it is one that nothing is wrong with.
    """
    base, top = swept.recipe, swept.scores[swept.best]
    if top >= 0.8:
        return False
    others = [replace(base, optimizer=gp.Adam, rate=rate, batch=32).train(monitor=False)[1] for rate in (3e-3, 1e-2)]
    return max(min(outcome(h, base.task), outcome(h, base.task, "val_")) for h in others) > top + 0.2


def began(history: Any) -> float:
    """The loss before the first step, or that of the best constant answer if that is larger."""
    facts = history.settings["facts"]
    return max(facts["start"]["data_loss"] or 0.0, facts["targets"]["constant_loss"])


def clean(history: Any, recipe: Recipe) -> bool:
    """A run that nothing is wrong with: validation goes along with training, and the loss does not jump up again."""
    if history.stopped == "diverged" or jumps(history, 0.15 * began(history)) > 1:
        return False
    gap = outcome(history, recipe.task) - outcome(history, recipe.task, "val_")
    value = np.array(history["val_loss"])
    return gap < 0.12 and float(np.mean(value[-3:])) < 1.15 * value.min() + 0.01 and outcome(history, recipe.task) > 0.4


def reaches(history: Any, loss: float) -> float:
    """In how many epochs the loss gets as low as that."""
    below = np.flatnonzero(np.array(history["data_loss"] if len(history) else []) <= loss)
    return float(below[0]) + 1 if len(below) else np.inf


def swings(history: Any) -> float:
    """How much the loss goes up within the second half, relative to its level."""
    value = np.array(history["data_loss"])
    value = value[len(value) // 2 :]
    return float(np.sum(np.maximum(np.diff(value), 0)) / len(value) / np.mean(value))


def jumps(history: Any, size: float) -> int:
    """How often the loss rises by so much within the second half."""
    value = np.array(history["data_loss"])
    return int(np.sum(np.diff(value[len(value) // 2 :]) > size))
