"""Training runs with steps that are too small, too large, or gone too soon; and what sick runs have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import gradproof as gp
from cases.training_runs import Recipe, Sweep, began, jumps, level, outcome, swings


@dataclass
class Run:
    """A finished run with the truth about it."""

    truth: str | None  # the symptom that it was given; None for a healthy run
    admitted: frozenset[str]  # what may be said as well: consequences that are there
    history: Any
    model: gp.Sequential
    recipe: Recipe
    kind: str


def worse(history: Any, swept: Sweep, by: float = 0.3) -> bool:
    return outcome(history, swept.recipe.task) < (1 - by) * swept.scores[swept.best]


def checked(truth: str, admitted: str, recipe: Recipe, swept: Sweep, kind: str, by: float = 0.3) -> Iterator[Run]:
    model, history = recipe.train()
    if worse(history, swept, by):
        yield Run(truth, frozenset(admitted.split()), history, model, recipe, kind)


def rates(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    """One rate that is clearly too low, one that is clearly too high, by what they lead to."""
    top, lowest = swept.scores[swept.best], min(swept.losses.values())
    low = [
        r
        for r in swept.scores
        if r < swept.best and swept.scores[r] < 0.6 * top and swept.losses[r] > 2 * lowest + 0.05
    ]
    high = [r for r in swept.scores if r > swept.best and swept.scores[r] < 0.7 * top]
    for truth, admitted, some in (
        ("learning_rate_too_low", "", low),
        ("learning_rate_too_high", "diverged oscillating_loss dead_relu saturated_activation", high),
    ):
        if some:
            recipe = replace(swept.recipe, rate=float(rng.choice(some)), notes=swept.recipe.notes)
            model, history = recipe.train()
            if truth == "learning_rate_too_high" or history.stopped != "diverged":
                yield Run(
                    truth,
                    frozenset(admitted.split()),
                    history,
                    model,
                    recipe,
                    f"{np.log10(recipe.rate / swept.best):.1f}",
                )


def diverged(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    recipe = replace(swept.recipe, rate=10 ** rng.uniform(2, 8), optimizer=gp.SGD)
    model, history = recipe.train()
    if history.stopped == "diverged":
        yield Run("diverged", frozenset(["learning_rate_too_high"]), history, model, recipe, "huge rate")


def oscillating(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    """The lowest rate at which the loss goes up and down where a smaller one brings it further down, and quietly.

    Steps with all rows, by gradient descent plain or with momentum, and steps with batches, the recipe's own or Adam's.
    """
    everything = {"batch": len(swept.recipe.task.X), "epochs": 60}
    batches = {"batch": max(swept.recipe.batch, 64)}
    tries = [
        ("all rows", gp.SGD, everything, 0.03),
        ("all rows, momentum", gp.Momentum, everything, 0.03),
        ("batches", swept.recipe.optimizer, batches, swept.best / 3),
    ]
    if swept.recipe.optimizer is not gp.Adam:
        tries.append(("batches, Adam", gp.Adam, batches, 3e-3))
    hidden = [layer for layer in swept.recipe.hidden if not isinstance(layer, gp.Dropout)]
    constant = replace(swept.recipe, schedule=None)  # a rate that falls would end the swings
    for kind, optimizer, options, low in tries:
        base = replace(constant, hidden=hidden, optimizer=optimizer, **options)
        start = began(replace(base, rate=low, epochs=1).train()[1])
        calm = np.inf
        for rate in low * 1.5 ** np.arange(18):
            recipe = replace(base, rate=float(rate))
            _, history = recipe.train(monitor=False)
            here = level(history)
            if history.stopped == "diverged" or here > 5 * start:
                break
            often = swings(history) > 0.15 and jumps(history, 0.05 * start) >= 3
            if often and max(0.1 * start, 1.5 * calm) < here < 1.2 * start:
                model, history = recipe.train()
                yield Run("oscillating_loss", frozenset(["learning_rate_too_high"]), history, model, recipe, kind)
                break
            calm = min(calm, here) if swings(history) < 0.05 else calm


def plateau(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    """A rate that falls so fast that the run stands still before it has learned; or weights too small to begin.

    The fall starts from the best rate or from a smaller one, at which the run without it learns as well.
    """
    tuned, top = swept.tuned, swept.scores[swept.best]
    good = [rate for rate in swept.scores if tuned.rate / 30 < rate <= tuned.rate and swept.scores[rate] > 0.8 * top]
    for _ in range(4):
        rate, fall = float(rng.choice(good)), float(rng.choice([0.03, 0.06, 0.1, 0.2, 0.35]))
        schedule = gp.schedules.Exponential(fall)
        if rng.random() < 0.3:
            schedule = gp.schedules.Staircase(fall, int(rng.integers(1, 4)))
        recipe = replace(tuned, rate=rate, schedule=schedule, epochs=max(tuned.epochs, 40))
        found = [run for run in checked("plateau", "learning_rate_too_low", recipe, swept, "decayed") if _calm(run)]
        if found:
            yield from found
            break
    if rng.random() < 0.2:
        init = 10 ** rng.uniform(-4, -2.5)
        hidden = [layer for _ in range(3) for layer in (gp.Dense(24, init=init), gp.Tanh())]
        recipe = replace(tuned, hidden=hidden, last_init=init, optimizer=gp.SGD, rate=0.03)
        yield from checked("vanishing_gradient", "plateau", recipe, swept, "saddle", 0.6)


def _calm(run: Run) -> bool:
    """Whether the steps before the rate fell left the network whole; else the rate was too high before."""
    layers = run.history.settings["final"]["end"]["layers"].values()
    wild = level(run.history) > 1.2 * run.history.settings["facts"]["start"]["data_loss"]
    return not wild and all(row["dead_share"] < 0.6 for row in layers)
