"""What can be wrong with a training run, done to a healthy recipe, with what must be seen for it to count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import gradproof as gp
from cases.training_runs import Recipe, Sweep, began, clean, curable, level, outcome, reaches, swings
from cases.training_steps import Run, checked, diverged, oscillating, plateau, rates, worse


def runs(swept: Sweep, rng: np.random.Generator, wanted: set[str] | None = None) -> Iterator[Run]:
    """Healthy and sick runs made from one recipe, those that are clear."""
    top = swept.scores[swept.best]
    if top < 0.4 or curable(swept):
        return  # a recipe that does not learn its task says nothing
    if wanted is None or "healthy" in wanted:
        tuned, lowest = swept.tuned, min(swept.losses.values())
        for rate in (tuned.rate, tuned.rate / 10**0.5, tuned.rate * 10**0.5):
            if swept.scores.get(rate, 0) < top - 0.02:
                continue
            recipe = replace(tuned, rate=rate)
            model, history = recipe.train()
            if not clean(history, recipe) or level(history) > 2 * lowest + 0.1 or _begins_badly(swept, recipe, history):
                if rate == tuned.rate:
                    break
                continue
            kind = "tuned" if rate == tuned.rate else "near the best rate"
            yield Run(None, frozenset(), history, model, recipe, kind)
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
    yield from checked("unnormalized_inputs", "", recipe, swept, kind, 0.2)


def identical(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    row = swept.recipe.task.X[:1] * float(rng.choice([0, 1]))
    recipe = replace(swept.tuned, task=swept.recipe.task.with_inputs(lambda X: np.repeat(row, len(X), axis=0)))
    yield from checked("identical_inputs", "", recipe, swept, "one row", 0.5)


def _reinit(hidden: list[Any], init: Any) -> list[Any]:
    return [replace(layer, init=init) if isinstance(layer, (gp.Dense, gp.Maxout)) else layer for layer in hidden]


def symmetric(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    value = float(rng.choice([0.0, 0.1, 0.5]))
    init = (lambda r, shape: np.full(shape, value)) if value else "zeros"
    recipe = replace(swept.tuned, hidden=_reinit(swept.recipe.hidden, init), last_init=init)
    yield from checked("symmetric_init", "", recipe, swept, f"all {value}", 0.15)


def _far(swept: Sweep, history: Any) -> bool:
    """Whether a run starts far above the loss of knowing nothing."""
    task = swept.recipe.task
    known = {"mse": 1.0, "hinge": task.outputs - 1.0, "binary_cross_entropy": np.log(2)}
    expected = known.get(task.loss, np.log(task.outputs))
    return bool(history.batches[0] > (40 if task.loss == "mse" else 8) * expected)


def _delayed(swept: Sweep, history: Any, twin: Any) -> bool:
    """Whether a run needs a tenth of its epochs longer than its twin, and two, to learn half of what the best do."""
    half = (twin.settings["facts"]["targets"]["constant_loss"] + min(swept.losses.values())) / 2
    return reaches(history, half) - reaches(twin, half) >= max(2.0, 0.1 * swept.recipe.epochs)


def _begins_badly(swept: Sweep, recipe: Recipe, history: Any) -> bool:
    """Whether the recipe itself has a bad start: with signals of the usual size it learns sooner."""

    def level_out(model: gp.Sequential) -> None:
        """Deviation 1 behind every layer with weights (LSUV, Mishkin and Matas 2016)."""
        weights = iter([name for name in model.parameters if name.endswith(".W")])
        for end, layer in enumerate(model.layers, 1):
            if isinstance(layer, (gp.Dense, gp.Maxout)):
                part = gp.Sequential(model.layers[:end], model.input_size, "mse", dtype=model.dtype)
                part.theta = model.theta[: part.theta.size]
                model.parameters[next(weights)][...] /= part.forward(recipe.task.X).std()

    return _far(swept, history) and _delayed(swept, history, replace(recipe, edit=level_out).train()[1])


def bad_initial_loss(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    twin = swept.tuned.train()[1]
    for _ in range(3):
        factor, offset = 10 ** rng.uniform(1.4, 2.5), rng.random() < 0.4

        def edit(model: gp.Sequential, factor: float = factor, offset: bool = offset) -> None:
            last = [name for name in model.parameters if name.startswith("dense_")][-2:]
            if offset:
                model.parameters[last[1]][0] += factor
            else:
                model.parameters[last[0]][...] *= factor

        recipe = replace(swept.tuned, edit=edit)
        model, history = recipe.train()
        if _far(swept, history) and (worse(history, swept, 0.1) or _delayed(swept, history, twin)):
            yield Run("bad_initial_loss", frozenset(), history, model, recipe, "offset" if offset else "scaled")
            return


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
    units = int(rng.choice([16, 24, 40]))
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
        yield from checked("vanishing_gradient", "plateau", recipe, swept, kind)


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
    units, depth, gain = int(rng.choice([16, 24, 40])), int(rng.integers(5, 11)), rng.uniform(3.5, 8.0)
    activation = [gp.ReLU(), gp.LeakyReLU(0.05)][int(rng.integers(0, 2))]
    init = lambda r, shape: r.standard_normal(shape) * gain / np.sqrt(shape[0])  # noqa: E731
    hidden = [layer for _ in range(depth) for layer in (gp.Dense(units, init=init), activation)]
    yield from checked("exploding_gradient", "", replace(swept.tuned, hidden=hidden), swept, "large weights")


def saturated(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    kind = str(rng.choice(["tanh", "sigmoid"]))
    depth = int(rng.integers(2, 4))
    gain = rng.uniform(8, 30) * (1 if kind == "tanh" else 3)
    init = lambda r, shape: r.standard_normal(shape) * gain / np.sqrt(shape[0])  # noqa: E731
    layer = gp.Tanh() if kind == "tanh" else gp.Sigmoid()
    hidden = [entry for _ in range(depth) for entry in (gp.Dense(32, init=init), layer)]
    yield from checked("saturated_activation", "", replace(swept.tuned, hidden=hidden), swept, kind, 0.2)


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
        if history.stopped != "diverged" and worse(history, swept, 0.3):
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


def _seen(X: Any, Xv: Any) -> float:
    """The share of validation rows that are rows of the training set."""
    rows = {row.tobytes() for row in X}
    return float(np.mean([row.tobytes() in rows for row in Xv]))


def leakage(swept: Sweep, rng: np.random.Generator) -> Iterator[Run]:
    task, tuned = swept.recipe.task, swept.tuned
    if rng.random() < 0.4:
        some = rng.choice(len(task.X), len(task.Xv), replace=len(task.X) < len(task.Xv))
        copies = rng.random(len(task.Xv)) < rng.uniform(0.4, 1.0)
        Xv, yv = task.Xv.copy(), task.yv.copy()
        Xv[copies], yv[copies] = task.X[some][copies], task.y[some][copies]
        if _seen(task.X, Xv) - _seen(task.X, task.Xv) < 0.25:
            return  # nearly all rows were on both sides before: copies of them change nothing
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
    clear = kind == "shared rows" or swept.scores[swept.best] < 0.9
    if clear and outcome(history, leaked) > 0.5 and clean(history, recipe):
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
