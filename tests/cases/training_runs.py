"""Training runs that are healthy, and runs that are sick in a known way.

A recipe is a network, an optimizer and a data set; its learning rate is found by trying. Sick runs are recipes with one
thing spoiled. What is claimed of a run is verified by its outcome: a healthy one must come near the best rate's, a sick
one must be clearly worse than the recipe it was made from. Runs that are neither are not used.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

import gradproof as gp
from cases.training_tasks import Task
from cases.training_tasks_looked_at import TUNING
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
    return knowledge(float(np.mean(history[part + ("accuracy" if task.classes else "r2")][-last:])), task)


def knowledge(score: float, task: Task) -> float:
    """A score on that scale."""
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
    if unseen:
        return _varied_recipe(task, rng, seed, UNSEEN_STYLE)
    return _plain_recipe(task, rng, seed) if rng.random() < 0.6 else _varied_recipe(task, rng, seed, TUNING_STYLE)


def _plain_recipe(task: Task, rng: np.random.Generator, seed: int) -> Recipe:
    activation = rng.choice(["relu", "relu", "relu", "tanh", "leaky", "sigmoid", "maxout"])
    depth = int(rng.integers(1, 4)) if activation != "sigmoid" else 1
    batch_norm = activation in ("relu", "leaky", "tanh") and rng.random() < 0.3
    dropout = rng.random() < 0.2
    hidden: list[Any] = []
    for _ in range(depth):
        units = int(rng.choice([16, 24, 32, 40, 64, 128]))
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
    return Recipe(
        task=task,
        hidden=hidden,
        batch=int(rng.choice([32, 64, 128] if batch_norm else [16, 20, 32, 50, 64, 100, 128, 256])),
        optimizer=optimizers[int(rng.integers(0, len(optimizers)))],
        rate=float("nan"),
        epochs=int(rng.integers(25, 61)),
        seed=seed,
        last_init=str(rng.choice(["xavier", "glorot", "he"])),
        l2=float(rng.choice([0.0, 0.0, 0.1])),
        dtype=str(rng.choice(["float32", "float32", "float64"])),
        notes={"activation": activation},
    )


@dataclass(frozen=True)
class Style:
    """What varied recipes are made from."""

    slopes: tuple[float, ...]
    widths: tuple[int, ...]
    batches: tuple[int, ...]
    keeps: tuple[float, ...]
    mixed: tuple[str, ...]
    optimizers: tuple[Any, ...]
    schedules: tuple[Any, ...]  # of the number of epochs


TUNING_STYLE = Style(
    slopes=(0.01, 0.2, 0.3),
    widths=(12, 28, 56, 80, 112),
    batches=(12, 24, 48, 80, 150),
    keeps=(1.0, 1.0, 1.0, 0.85, 0.95),
    mixed=("relu", "tanh", "leaky"),
    optimizers=(
        gp.SGD,
        partial(gp.SGD, clip_norm=1.0),
        partial(gp.Momentum, beta=0.8),
        partial(gp.Momentum, beta=0.95),
        partial(gp.RMSprop, beta=0.99),
        gp.Adam,
        partial(gp.Adam, beta1=0.8, beta2=0.99),
        partial(gp.Adam, weight_decay=1e-3),
    ),
    schedules=(
        lambda epochs: None,
        lambda epochs: None,
        lambda epochs: gp.schedules.Cosine(epochs, 0.1),
        lambda epochs: gp.schedules.InverseTime(0.05),
        lambda epochs: gp.schedules.WarmUp(3),
    ),
)
UNSEEN_STYLE = Style(
    slopes=(0.02, 0.1, 0.4),
    widths=(18, 36, 44, 72, 100),
    batches=(14, 30, 60, 100, 180),
    keeps=(1.0, 1.0, 1.0, 0.9),
    mixed=("leaky", "relu", "tanh"),
    optimizers=(
        partial(gp.SGD, clip_norm=3.0),
        partial(gp.SGD, weight_decay=1e-3),
        partial(gp.Momentum, beta=0.7),
        partial(gp.Momentum, beta=0.9, clip_norm=2.0),
        partial(gp.RMSprop, beta=0.95),
        partial(gp.RMSprop, beta=0.9, epsilon=1e-5),
        partial(gp.Adam, beta1=0.85),
        partial(gp.Adam, clip_norm=5.0),
    ),
    schedules=(
        lambda epochs: None,
        lambda epochs: None,
        lambda epochs: gp.schedules.Exponential(0.97),
        lambda epochs: gp.schedules.Staircase(0.5, max(5, epochs // 3)),
        lambda epochs: gp.schedules.WarmUp(2, gp.schedules.Cosine(epochs, 0.2)),
    ),
)


def _varied_recipe(task: Task, rng: np.random.Generator, seed: int, style: Style) -> Recipe:
    """Layers that get narrower, or of several kinds, batch normalization before or behind the activation or of the
    inputs, dropout in between; other constants, penalties and schedules.
    """
    kinds = {
        "relu": (gp.ReLU(), "he"),
        "tanh": (gp.Tanh(), "glorot"),
        "leaky": (gp.LeakyReLU(float(rng.choice(style.slopes))), "he"),
        "sigmoid": (gp.Sigmoid(), "glorot"),
    }
    activation = str(rng.choice(["relu", "relu", "tanh", "leaky", "sigmoid", "maxout", "mixed"]))
    depth = int(rng.integers(1, 5)) if activation not in ("sigmoid", "maxout") else int(rng.integers(1, 3))
    normalized = str(rng.choice(["", "", "", "before", "behind", "inputs"])) if activation != "maxout" else ""
    units, narrower = int(rng.choice(style.widths)), rng.random() < 0.5
    keep = float(rng.choice(style.keeps))
    hidden: list[Any] = [gp.BatchNorm()] if normalized == "inputs" else []
    for at in range(depth):
        if activation == "maxout":
            hidden.append(gp.Maxout(max(units // 3, 6), 3))
            continue
        kind = activation if activation != "mixed" else style.mixed[at % 3]
        layer, init = kinds[kind]
        hidden.append(gp.Dense(units, init=init))
        hidden += [gp.BatchNorm(), layer] if normalized == "before" else [layer]
        if normalized == "behind":
            hidden.append(gp.BatchNorm())
        if keep < 1 and at + 1 < depth:
            hidden.append(gp.Dropout(keep))
        units = max(units // 2, 12) if narrower else units
    epochs = int(rng.integers(20, 46))
    return Recipe(
        task=task,
        hidden=hidden,
        batch=int(rng.choice(style.batches[1:4] if normalized else style.batches)),
        optimizer=style.optimizers[int(rng.integers(0, len(style.optimizers)))],
        rate=float("nan"),
        epochs=epochs,
        seed=seed,
        last_init=str(rng.choice(["xavier", "glorot", "he"])),
        l1=float(rng.choice([0.0, 0.0, 0.0, 0.01])),
        l2=float(rng.choice([0.0, 0.0, 0.03])),
        schedule=style.schedules[int(rng.integers(0, len(style.schedules)))](epochs),
        dtype=str(rng.choice(["float32", "float32", "float64"])),
        notes={"activation": activation},
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
    """A run that nothing is wrong with: validation goes along with training, the loss does not jump up again, and where
    in its last quarter it is stopped does not decide what it has learned."""
    if history.stopped == "diverged" or jumps(history, 0.15 * began(history)) > 1 or dip(history, recipe.task) > 0.25:
        return False
    gap = outcome(history, recipe.task) - outcome(history, recipe.task, "val_")
    value = np.array(history["val_loss"])
    return gap < 0.12 and float(np.mean(value[-3:])) < 1.15 * value.min() + 0.01 and outcome(history, recipe.task) > 0.4


def dip(history: Any, task: Task) -> float:
    """How much less a run knows in the worst epoch of its last quarter than at its end."""
    name = "accuracy" if task.classes else "r2"
    quarter = max(3, len(history) // 4)
    return max(
        outcome(history, task, part) - knowledge(min(history[part + name][-quarter:]), task) for part in ("", "val_")
    )


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
