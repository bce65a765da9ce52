"""A generic point near the given one: mistakes that vanish at special values show there."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from gradproof.check.evaluate import Problem

REACHES: Final = (0.25, 0.05, 0.01, 1e-3)  # relative to the size of the parameters, tried in turn


def generic_point(problem: Problem, rng: np.random.Generator) -> Any | None:
    """The structure at a point where no parameter is what it was and the loss is finite; None if none is found."""
    moves = {}
    for tensor in range(len(problem.working)):
        x = problem.x(tensor)
        signs = rng.choice((-1.0, 1.0), x.shape)
        moves[tensor] = problem.scales(tensor).reshape(x.shape) * signs * rng.uniform(0.5, 1.0, x.shape)
    for reach in REACHES:
        for direction in (1.0, -1.0):
            value, _ = problem.value_along(moves, direction * reach)
            if value == value:
                return problem.moved_to(moves, direction * reach)
    up = {tensor: np.abs(move) for tensor, move in moves.items()}
    for direction in (REACHES[1], -REACHES[1]):
        if problem.value_along(up, direction)[0] == problem.value_along(up, direction)[0]:
            return problem.moved_to(up, direction)
    return None
