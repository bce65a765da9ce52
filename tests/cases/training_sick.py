"""What can be wrong with a training run, done to a healthy recipe, with what must be seen for it to count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import gradproof as gp
from cases.training_runs import Recipe, Sweep, began, clean, jumps, level, outcome, reaches, swings


@dataclass
class Run:
    """A finished run with the truth about it."""

    truth: str | None  # the symptom that it was given; None for a healthy run
    admitted: frozenset[str]  # what may be said as well: consequences that are there
    history: Any
    model: gp.Sequential
    recipe: Recipe
    kind: str


def runs(swept: Sweep, rng: np.random.Generator, wanted: set[str] | None = None) -> Iterator[Run]:
    """Healthy and sick runs made from one recipe, those that are clear."""
    tuned = swept.tuned
    top = swept.scores[swept.best]
    if top < 0.4:
        return  # a recipe that does not learn its task says nothing
    model, history = tuned.train()
    lowest = min(swept.losses.values())
    healthy = clean(history, tuned) and level(history) <= 2 * lowest + 0.1
    if healthy and (wanted is None or "healthy" in wanted):
        yield Run(None, frozenset(), history, model, tuned, "tuned")
        for rate in (tuned.rate / 10**0.5, tuned.rate * 10**0.5):
            if swept.scores.get(rate, 0) >= top - 0.02:
                other = replace(tuned, rate=rate)
                model, history = other.train()
                if clean(history, other) and level(history) <= 2 * lowest + 0.1:
                    yield Run(None, frozenset(), history, model, other, "near the best rate")
    for (name, make), own in zip(SICK.items(), rng.spawn(len(SICK)), strict=True):  # whatever else is wanted
        if wanted is None or name in wanted:
            for run in make(swept, own):
                yield replace(run, admitted=run.admitted | _also(run))


def _also(run: Run) -> set[str]:
    """What is verifiably there as well, whatever was done to the run."""
    found = set()
    task = run.recipe.task
    if outcome(run.history, task) - outcome(run.history, task, "val_") > 0.15:
        found.add("overfitting")
    if run.history.stopped != "diverged" and swings(run.history) > 0.15:
        found.add("oscillating_loss")
    if run.history.stopped == "diverged" or level(run.history) > 20 * began(run.history):
        found.add("diverged")
    return found


def _worse(history: Any, swept: Sweep, by: float = 0.3) -> bool:
    return outcome(history, swept.recipe.task) < (1 - by) * swept.scores[swept.best]


def _checked(truth: str, admitted: str, recipe: Recipe, swept: Sweep, kind: str, by: float = 0.3) -> Iterator[Run]:
    model, history = recipe.train()
    if _worse(history, swept, by):
        yield Run(truth, frozenset(admitted.split()), history, model, recipe, kind)


def unnormalized(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    n = swept.recipe.task.X.shape[1]
    kind = str(rng.choice(["scaled", "shifted", "uneven"]))
    if kind == "scaled":
        factor = 10 ** rng.uniform(1.5, 3.5)
        change: Callable[[Any], Any] = lambda X: X * factor  # noqa: E731
    elif kind == "shifted":
        offset = 10 ** rng.uniform(1.5, 3) * rng.choice([-1, 1], n)
        change = lambda X: X + offset  # noqa: E731
    else:
        scales = 10 ** rng.uniform(-3, 3, n)
        change = lambda X: X * scales + scales * 3  # noqa: E731
    recipe = replace(swept.tuned, task=swept.recipe.task.with_inputs(change))
    yield from _checked("unnormalized_inputs", "", recipe, swept, kind, 0.2)


def identical(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    row = swept.recipe.task.X[:1] * float(rng.choice([0, 1]))
    recipe = replace(swept.tuned, task=swept.recipe.task.with_inputs(lambda X: np.repeat(row, len(X), axis=0)))
    yield from _checked("identical_inputs", "", recipe, swept, "one row", 0.5)


def _reinit(hidden: list[Any], init: Any) -> list[Any]:
    return [replace(layer, init=init) if isinstance(layer, (gp.Dense, gp.Maxout)) else layer for layer in hidden]


def symmetric(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    value = float(rng.choice([0.0, 0.1, 0.5]))
    init = (lambda r, shape: np.full(shape, value)) if value else "zeros"
    recipe = replace(swept.tuned, hidden=_reinit(swept.recipe.hidden, init), last_init=init)
    yield from _checked("symmetric_init", "", recipe, swept, f"all {value}", 0.15)


def bad_initial_loss(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    factor, offset = 10 ** rng.uniform(1.4, 2.5), rng.random() < 0.4

    def edit(model: gp.Sequential) -> None:
        last = [name for name in model.parameters if name.startswith("dense_")][-2:]
        if offset:
            model.parameters[last[1]][0] += factor
        else:
            model.parameters[last[0]][...] *= factor

    recipe = replace(swept.tuned, edit=edit)
    model, history = recipe.train()
    edit_loss = history.batches[0]
    expected = {"mse": 1.0, "hinge": swept.recipe.task.outputs - 1.0, "binary_cross_entropy": np.log(2)}.get(
        swept.recipe.task.loss, np.log(swept.recipe.task.outputs)
    )
    twin = swept.tuned.train()[1]
    half = (twin.settings["facts"]["targets"]["constant_loss"] + min(swept.losses.values())) / 2
    delay = reaches(history, half) - reaches(twin, half)
    far = edit_loss > (40 if swept.recipe.task.loss == "mse" else 8) * expected
    if far and (_worse(history, swept, 0.1) or delay >= max(2.0, 0.1 * recipe.epochs)):
        yield Run("bad_initial_loss", frozenset(), history, model, recipe, "offset" if offset else "scaled")


def dead(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    share, depth = rng.uniform(0.8, 1.0), int(rng.integers(1, 4))
    which, how_far = int(rng.integers(0, depth)), 10 ** rng.uniform(0.9, 2)
    units = int(rng.choice([24, 48]))
    hidden = [layer for _ in range(depth) for layer in (gp.Dense(units), gp.ReLU())]

    def edit(model: gp.Sequential) -> None:
        model.parameters[f"dense_{which}.b"][: int(np.ceil(share * units))] = -how_far

    relu = swept.recipe.notes["activation"] == "relu"
    tuned = swept.tuned if relu else replace(swept.tuned, optimizer=gp.Adam, rate=2e-3)
    recipe = replace(tuned, hidden=hidden, edit=edit)
    model, history = recipe.train()
    part = gp.Sequential(model.layers[: 2 * which + 2], model.input_size, "mse", dtype=model.dtype)
    part.theta = model.theta[: part.theta.size]
    alive = (part.forward(recipe.task.X) > 0).any(axis=0).sum()
    if alive < 0.35 * units and history.stopped != "diverged":
        yield Run("dead_relu", frozenset(), history, model, recipe, f"{share:.0%}")


def vanishing(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    units = 24
    kind = str(rng.choice(["sigmoid", "small tanh", "small relu"]))
    depth = int(rng.integers(5, 10)) if kind == "sigmoid" else int(rng.integers(6, 13))
    gain = {"sigmoid": 1.0, "small tanh": rng.uniform(0.15, 0.4), "small relu": rng.uniform(0.2, 0.5)}[kind]
    hidden: list[Any] = []
    for _ in range(depth):
        init = lambda r, shape: r.standard_normal(shape) * gain / np.sqrt(shape[0])  # noqa: E731
        hidden += [
            gp.Dense(units, init=init),
            {"sigmoid": gp.Sigmoid, "small tanh": gp.Tanh, "small relu": gp.ReLU}[kind](),
        ]
    recipe = replace(swept.tuned, hidden=hidden)
    if kind != "small relu" or _alive(recipe):
        yield from _checked("vanishing_gradient", "plateau", recipe, swept, kind)


def _alive(recipe: Recipe) -> bool:
    """Whether most units of every ReLU layer are there at the start: small narrow layers may be dead by chance."""
    model = recipe.model()
    for end in range(2, len(model.layers), 2):
        part = gp.Sequential(model.layers[:end], model.input_size, "mse", dtype=model.dtype)
        part.theta = model.theta[: part.theta.size]
        if (part.forward(recipe.task.X) > 0).any(axis=0).mean() < 0.6:
            return False
    return True


def exploding(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    units, depth, gain = 24, int(rng.integers(5, 11)), rng.uniform(3.5, 8.0)
    activation = [gp.ReLU(), gp.LeakyReLU(0.05)][int(rng.integers(0, 2))]
    init = lambda r, shape: r.standard_normal(shape) * gain / np.sqrt(shape[0])  # noqa: E731
    hidden = [layer for _ in range(depth) for layer in (gp.Dense(units, init=init), activation)]
    yield from _checked("exploding_gradient", "", replace(swept.tuned, hidden=hidden), swept, "large weights")


def saturated(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    kind = str(rng.choice(["tanh", "sigmoid"]))
    depth = int(rng.integers(2, 4))
    gain = rng.uniform(8, 30) * (1 if kind == "tanh" else 3)
    init = lambda r, shape: r.standard_normal(shape) * gain / np.sqrt(shape[0])  # noqa: E731
    layer = gp.Tanh() if kind == "tanh" else gp.Sigmoid()
    hidden = [entry for _ in range(depth) for entry in (gp.Dense(32, init=init), layer)]
    yield from _checked("saturated_activation", "", replace(swept.tuned, hidden=hidden), swept, kind, 0.2)


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
    """A rate at which the loss goes up and down, where a smaller one brings it further down, and quietly.

    Either gradient descent with all rows or the recipe's own steps, with a constant rate.
    """
    full = rng.random() < 0.5
    if full:
        base = replace(swept.recipe, optimizer=gp.SGD, batch=len(swept.recipe.task.X), epochs=60)
    else:
        base = replace(swept.recipe, batch=max(swept.recipe.batch, 64))
    if base.notes["dropout"]:
        return
    rate, calm = 0.03 if full else swept.best / 3, np.inf
    for _ in range(20 if full else 11):
        model, history = replace(base, rate=rate).train()
        if history.stopped == "diverged":
            return
        start, here = began(history), level(history)
        often = swings(history) > 0.15 and jumps(history, 0.05) >= 3
        if often and max(0.1 * start, 1.5 * calm) < here < 1.2 * start:
            admitted = frozenset(["learning_rate_too_high"])
            kind = "full batch" if full else "batches"
            yield Run("oscillating_loss", admitted, history, model, replace(base, rate=rate), kind)
            return
        calm = min(calm, here) if swings(history) < 0.05 else calm
        rate *= 1.5


def plateau(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    tuned = swept.tuned
    if rng.random() < 0.8:
        base = float(rng.choice([0.03, 0.06, 0.1, 0.2]))
        recipe = replace(tuned, schedule=gp.schedules.Exponential(base), epochs=max(tuned.epochs, 40))
        for run in _checked("plateau", "learning_rate_too_low", recipe, swept, "decayed away"):
            layers = run.history.settings["final"]["end"]["layers"].values()
            wild = level(run.history) > 1.2 * run.history.settings["facts"]["start"]["data_loss"]
            if not wild and all(row["dead_share"] < 0.6 for row in layers):  # else the rate was too high before
                yield run
    else:
        init = 10 ** rng.uniform(-4, -2.5)
        hidden = [layer for _ in range(3) for layer in (gp.Dense(24, init=init), gp.Tanh())]
        recipe = replace(tuned, hidden=hidden, last_init=init, optimizer=gp.SGD, rate=0.03)
        yield from _checked("vanishing_gradient", "plateau", recipe, swept, "saddle", 0.6)


def overfitting(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    task = swept.recipe.task
    m = int(rng.integers(30, 90))
    rows = rng.choice(len(task.X), m, replace=False)
    if task.classes and len(np.unique(task.y[rows])) < len(np.unique(task.yv)):
        return
    y = task.y[rows].copy()
    if task.classes:
        wrong = rng.random(m) < 0.15
        y[wrong] = rng.permutation(task.y)[:m][wrong]
    else:
        y = y + 0.5 * rng.normal(size=y.shape)
    hidden = [gp.Dense(128), gp.ReLU(), gp.Dense(128), gp.ReLU()]
    small = replace(task, X=task.X[rows], y=y)
    recipe = replace(
        swept.recipe, task=small, hidden=hidden, optimizer=gp.Adam, rate=3e-3, batch=16, epochs=150, l2=0.0
    )
    model, history = recipe.train()
    value = np.array(history["val_loss"])
    gap = outcome(history, small) - outcome(history, small, "val_")
    # A validation score at chance would be that of random labels as well.
    if gap > 0.25 and value[-1] > 1.3 * value.min() and outcome(history, small, "val_") > 0.2:
        yield Run("overfitting", frozenset(), history, model, recipe, "few rows")


def underfitting(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    task = swept.recipe.task
    hidden = [[], [gp.Dense(1, init="xavier"), gp.Tanh()]][int(rng.integers(0, 2))]
    best = None
    for rate in (1e-3, 3e-3, 1e-2, 3e-2):
        recipe = replace(swept.recipe, hidden=hidden, optimizer=gp.Adam, rate=rate, batch=32, epochs=60, l2=0.0)
        model, history = recipe.train()
        score = outcome(history, task)
        if best is None or score > best[0]:
            best = score, model, history, recipe
    if best and best[0] < 0.6 * swept.scores[swept.best] and level(best[2]) > 2 * min(swept.losses.values()) + 0.05:
        yield Run("underfitting", frozenset(), best[2], best[1], best[3], "too small")


def over_regularized(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    m = len(swept.recipe.task.X)
    for strength in 10 ** rng.uniform(-2, 0.5) * np.array([1, 10, 100]):
        way = {"l1": strength * m / 3} if rng.random() < 0.3 else {"l2": strength * m}
        recipe = replace(swept.tuned, **way)
        model, history = recipe.train()
        if history.stopped != "diverged" and _worse(history, swept, 0.3):
            yield Run("over_regularized", frozenset(), history, model, recipe, str(way))
            return


def random_labels(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    task = swept.recipe.task
    m = min(len(task.X), 400)
    shuffled = replace(task, X=task.X[:m], y=rng.permutation(task.y)[:m])
    hidden = [gp.Dense(128), gp.ReLU(), gp.Dense(128), gp.ReLU()]
    recipe = replace(
        swept.recipe, task=shuffled, hidden=hidden, optimizer=gp.Adam, rate=2e-3, batch=32, epochs=100, l2=0.0
    )
    model, history = recipe.train()
    if outcome(history, shuffled) > 0.3 and outcome(history, shuffled, "val_") < 0.1:
        yield Run("random_labels", frozenset(), history, model, recipe, "shuffled")


def leakage(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    task, tuned = swept.recipe.task, swept.tuned
    if rng.random() < 0.4:
        some = rng.choice(len(task.X), len(task.Xv), replace=len(task.X) < len(task.Xv))
        copies = rng.random(len(task.Xv)) < rng.uniform(0.4, 1.0)
        Xv, yv = task.Xv.copy(), task.yv.copy()
        Xv[copies], yv[copies] = task.X[some][copies], task.y[some][copies]
        leaked, kind = replace(task, Xv=Xv, yv=yv), "shared rows"
    else:
        noise = rng.choice([0.0, 0.01, 0.05])
        at = int(rng.integers(0, task.X.shape[1] + 1))
        column = [y.reshape(len(y), -1)[:, 0].astype(float) for y in (task.y, task.yv)]
        mean, std = column[0].mean(), column[0].std()
        noise = noise * (0.2 if not task.classes else 1.0)
        put = [
            np.insert(X, at, (c - mean) / std + noise * rng.normal(size=len(c)), axis=1)
            for X, c in zip((task.X, task.Xv), column, strict=True)
        ]
        leaked, kind = replace(task, X=put[0], Xv=put[1]), "a feature"
    recipe = replace(tuned, task=leaked)
    model, history = recipe.train()
    if outcome(history, leaked) > 0.5 and (kind == "shared rows" or swept.scores[swept.best] < 0.9):
        yield Run("label_leakage", frozenset(), history, model, recipe, kind)


def small_batch_norm(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    hidden = [layer for _ in range(2) for layer in (gp.Dense(32), gp.BatchNorm(), gp.ReLU())]
    base = replace(swept.recipe, hidden=hidden, optimizer=gp.Adam, rate=3e-3, epochs=15)
    _, reference = replace(base, batch=32).train()
    recipe = replace(base, batch=int(rng.choice([2, 2, 3])))
    model, history = recipe.train()
    good, bad = (min(outcome(h, base.task), outcome(h, base.task, "val_")) for h in (reference, history))
    if bad < 0.85 * good and good > 0.3:
        yield Run("small_batch_norm", frozenset(), history, model, recipe, str(recipe.batch))


# What the makers are named after is what their runs show, but for these.
TRUTHS = {"rates": ("learning_rate_too_low", "learning_rate_too_high")}

SICK: dict[str, Callable[[Sweep, np.random.Generator], Iterator[Run]]] = {
    "unnormalized_inputs": unnormalized,
    "identical_inputs": identical,
    "symmetric_init": symmetric,
    "bad_initial_loss": bad_initial_loss,
    "dead_relu": dead,
    "vanishing_gradient": vanishing,
    "exploding_gradient": exploding,
    "saturated_activation": saturated,
    "rates": rates,
    "diverged": diverged,
    "oscillating_loss": oscillating,
    "plateau": plateau,
    "overfitting": overfitting,
    "underfitting": underfitting,
    "over_regularized": over_regularized,
    "random_labels": random_labels,
    "label_leakage": leakage,
    "small_batch_norm": small_batch_norm,
}
