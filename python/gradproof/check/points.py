"""Points beside the one given, at which a network is checked as well: a generic one nearby, and some steps on."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from gradproof.check.portions import INTERRUPTED, Terms
from gradproof.check.report import GradientReport, TensorReport, Verdict
from gradproof.nn.model import Sequential

BURN_IN_RATE = 0.05  # learning rate of the training steps of after_steps
NEARBY = (0.25, 0.01)  # how far the nearby point is, in sizes of the parameters


def nearby_point(model: Sequential, X: ArrayLike, y: ArrayLike, rng: np.random.Generator) -> Sequential | None:
    """A copy with every parameter moved by a part of its tensor's size; None if the loss is finite at none."""
    moves = np.zeros(model.layout.size)
    for entry in model.layout.slices:
        own = model.theta[entry.offset : entry.stop]
        size = max(float(np.sqrt(np.mean(np.square(own)))) if entry.size else 0.0, 0.1)
        moves[entry.offset : entry.stop] = size * rng.choice((-1.0, 1.0), entry.size) * rng.uniform(0.5, 1, entry.size)
    for reach in NEARBY:
        moved = model.copy()
        moved.theta[...] = (model.theta + reach * moves).astype(model.dtype)
        with np.errstate(all="ignore"):
            try:
                if np.isfinite(moved.loss(X, y)):
                    return moved
            except Exception:  # a layer's own: beyond the edge of its domain
                continue
    return None


def burn_in(model: Sequential, X: ArrayLike, y: ArrayLike, steps: int, terms: Terms) -> bool:
    """Steps of gradient descent at a rate at which the loss does not run away: from BURN_IN_RATE down by eights.

    False if the terms, or a Ctrl-C, ended them early: the model is then at no point that was asked for.
    """
    try:
        start = model.theta.copy(), model.buffers.copy(), model.dropout_step
        before = model.loss(X, y)
        for power in range(12):
            with np.errstate(all="ignore"):
                for _ in range(steps):
                    if terms.spent(0):
                        return False
                    model._gradient_step(X, y, BURN_IN_RATE / 8**power)
                after = model.loss(X, y) if np.isfinite(model.theta).all() else np.inf
            if after <= 2 * max(before, 1.0) or not np.isfinite(before):
                return True
            model.theta[...], model.buffers[...], model.dropout_step = start
    except KeyboardInterrupt:
        terms.stopped = INTERRUPTED
        return False
    return True


def unreached(model: Sequential, label: str, terms: Terms) -> GradientReport:
    """The report of a check at a point that the terms left no room to get to."""
    return GradientReport(
        [TensorReport(entry.name, entry.shape) for entry in model.layout.slices],
        verdict=Verdict.INCONCLUSIVE,
        dtype=model.dtype.name,
        label=label,
        notes=[f"Not reached: {terms.stopped}."],
    )
