"""Data sets for training runs that nobody had looked at when the doctor's thresholds were set."""

from __future__ import annotations

import numpy as np

from cases.training_tasks import Array, Task, divided
from cases.training_tasks_looked_at import as_they_are, small


def boards(rng: np.random.Generator) -> Task:
    """Who is ahead on a small board, stones of two players: by threes in a row, and the middle counts for more."""
    m, total = small(rng)
    board = rng.integers(-1, 2, (total, 3, 3))
    lines = np.concatenate([board, board.transpose(0, 2, 1)], axis=1).sum(axis=2)
    score = np.sum(np.sign(lines) * (np.abs(lines) > 1), axis=1) + 0.8 * board[:, 1, 1]
    y = np.digitize(score + 0.1 * rng.normal(size=total), [-0.6, 0.6])
    return as_they_are("boards", board.reshape(total, -1).astype(float), y, m, "softmax_cross_entropy", 3)


def crossings(rng: np.random.Generator) -> Task:
    """How long a way takes between two places with a river in between that has one bridge."""
    m, total = small(rng)
    start, end = rng.uniform(-1, 1, (2, total, 2))
    bridge = np.array([rng.uniform(-0.5, 0.5), 0.0])
    around = np.linalg.norm(start - bridge, axis=1) + np.linalg.norm(end - bridge, axis=1)
    way = np.where(start[:, 1] * end[:, 1] < 0, around, np.linalg.norm(start - end, axis=1))
    way *= np.exp(rng.uniform(0.02, 0.08) * rng.normal(size=total))
    return divided("crossings", np.column_stack([start, end]), way[:, None], m, "mse", 1)


def samples(rng: np.random.Generator) -> Task:
    """Which of some distributions a handful of sorted numbers was drawn from."""
    m, total = small(rng)
    k, n = int(rng.integers(2, 5)), int(rng.integers(10, 21))
    y = rng.integers(0, k, total)
    kinds = [
        rng.normal(size=(total, n)),
        rng.uniform(-1.7, 1.7, (total, n)),
        rng.exponential(1.0, (total, n)) - 1,
        rng.choice([-1.0, 1.0], (total, n)) + 0.2 * rng.normal(size=(total, n)),
    ]
    X = np.sort(np.stack(kinds)[y, np.arange(total)], axis=1)
    return divided("samples", X, y, m, "hinge" if rng.random() < 0.4 else "softmax_cross_entropy", k)


def lenses(rng: np.random.Generator) -> Task:
    """Where two lenses in a row put a picture and how large, by strengths, the gap and the distance of the object."""
    m, total = small(rng)
    first, second, gap, far = rng.uniform([0.3, 0.3, 0.1, 0.2], [1.0, 1.0, 0.8, 1.5], (total, 4)).T
    behind = first - 1 / (1 + far)
    after = second + behind / (1 - 0.5 * gap * behind)
    size = 1 / (1 + far * first + gap * second)
    y = np.column_stack([after / after.std(), size / size.std()])
    X = np.column_stack([first, second, gap, far])
    return divided("lenses", X, y + rng.uniform(0.03, 0.1) * rng.normal(size=y.shape), m, "mse", 2)


def vowels(rng: np.random.Generator) -> Task:
    """Vowels by their formants, all higher for smaller speakers; amplitudes say little."""
    m, total = small(rng)
    k, extra = int(rng.integers(3, 7)), int(rng.integers(1, 5))
    places = rng.uniform([0.3, 0.9, 2.2], [0.9, 2.3, 3.2], (k, 3))
    y = rng.integers(0, k, total)
    speaker = np.exp(0.12 * rng.normal(size=(total, 1)))
    formants = places[y] * speaker * np.exp(0.06 * rng.normal(size=(total, 3)))
    X = np.column_stack([formants, rng.normal(size=(total, extra)) + 0.3 * speaker])
    return divided("vowels", X, y, m, "softmax_cross_entropy", k)


def ledgers(rng: np.random.Generator) -> Task:
    """Which of several checks a booking fails: several answers, each by two or three of the columns."""
    m, total = small(rng)
    n, checks = int(rng.integers(6, 13)), int(rng.integers(2, 4))
    X = rng.normal(size=(total, n))
    y = np.column_stack(
        [X[:, 2 * c] > 0.6 * np.abs(X[:, 2 * c + 1]) + 0.2 * rng.normal(size=total) - 0.2 for c in range(checks)]
    )
    return divided("ledgers", X, y.astype(float), m, "binary_cross_entropy", checks)


def mosaics(rng: np.random.Generator) -> Task:
    """Colours of the tiles of a small mosaic, as red, green and blue from 0 to 1: warm, cold or mixed."""
    m, total = small(rng)
    tiles = int(rng.integers(3, 9))
    warm, cold = np.array([0.8, 0.45, 0.25]), np.array([0.25, 0.45, 0.75])
    share = rng.beta(0.7, 0.7, total)
    kind = rng.random((total, tiles)) < share[:, None]
    X = np.where(kind[:, :, None], warm, cold) + rng.uniform(0.1, 0.25) * rng.normal(size=(total, tiles, 3))
    y = np.digitize(kind.mean(axis=1), [0.34, 0.67])
    return as_they_are("mosaics", np.clip(X, 0, 1).reshape(total, -1), y, m, "softmax_cross_entropy", 3)


def queues(rng: np.random.Generator) -> Task:
    """Logarithm of how long people wait, from arrivals, hands, the time for one, and the hour as two columns."""
    m, total = small(rng)
    hands, each, hour = rng.integers(2, 9, total), rng.uniform(0.5, 2.0, total), rng.uniform(0, 2 * np.pi, total)
    arrivals = hands / each * rng.uniform(0.2, 0.95, total)
    load = arrivals * each / hands * (1 + 0.2 * np.sin(hour))
    wait = each * np.log1p(np.exp(6 * (load - 0.7))) / hands
    y = np.log(wait + 0.02) + 0.1 * rng.normal(size=total)
    X = np.column_stack([arrivals, hands, each, np.sin(hour), np.cos(hour)])
    return divided("queues", X, y[:, None], m, "mse", 1)


def knots(rng: np.random.Generator) -> Task:
    """Whether two strokes cross: four points in the plane."""
    m, total = small(rng)
    a, b, c, d = rng.uniform(-1, 1, (4, total, 2))
    if rng.random() < 0.5:
        a, c = 0.5 * a - 0.5, 0.5 * c + [-0.5, 0.5]

    def side(p: Array, q: Array, r: Array) -> Array:
        return (q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (r[:, 0] - p[:, 0])

    y = (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
    y ^= rng.random(total) < 0.02
    return divided("knots", np.column_stack([a, b, c, d]), y.astype(float), m, "binary_cross_entropy", 1)


UNSEEN = (boards, crossings, samples, lenses, vowels, ledgers, mosaics, queues, knots)
