"""Data sets for training runs that nobody had looked at when the doctor's thresholds were set."""

from __future__ import annotations

import numpy as np

from cases.training_tasks import Task, _sizes, divided


def spectra(rng: np.random.Generator) -> Task:
    """Where the peak of a spectrum lies and how wide it is, beside a second peak, on a slope."""
    m, total = _sizes(rng)
    grid = np.linspace(-1, 1, int(rng.integers(16, 33)))
    place, width = rng.uniform(-0.7, 0.7, (total, 1)), rng.uniform(0.15, 0.4, (total, 1))
    other, slope = rng.uniform(-1, 1, (total, 1)), 0.3 * rng.normal(size=(total, 1))
    X = np.exp(-(((grid - place) / width) ** 2)) + 0.4 * np.exp(-(((grid - other) / 0.2) ** 2)) + slope * grid
    X += rng.uniform(0.02, 0.1) * rng.normal(size=X.shape)
    return divided("spectra", X, np.column_stack([place, width * 2]), m, "mse", 2)


def genes(rng: np.random.Generator) -> Task:
    """Many columns in groups that go together; a few groups make the difference."""
    m, total = _sizes(rng)
    groups, members, k = int(rng.integers(8, 16)), int(rng.integers(5, 11)), int(rng.integers(2, 5))
    hidden = rng.normal(size=(total, groups))
    X = np.repeat(hidden, members, axis=1) * rng.uniform(0.4, 1.0, groups * members)
    X += 0.6 * rng.normal(size=X.shape)
    scores = hidden[:, :4] @ rng.normal(size=(4, k)) * 2 + 0.4 * rng.normal(size=(total, k))
    scores -= scores.mean(axis=0)
    return divided("genes", X, scores.argmax(axis=1), m, "softmax_cross_entropy", k)


def pendulums(rng: np.random.Generator) -> Task:
    """Angle and speed of a driven pendulum a little later."""
    m, total = _sizes(rng)
    angle, speed, push = rng.uniform([-2.5, -2, -1], [2.5, 2, 1], (total, 3)).T
    X = np.column_stack([angle, speed, push])
    for _ in range(20):
        speed = speed + 0.08 * (push - 2 * np.sin(angle) - 0.2 * speed)
        angle = angle + 0.08 * speed
    y = np.column_stack([angle, speed])
    return divided("pendulums", X, y + 0.05 * rng.normal(size=y.shape), m, "mse", 2)


def houses(rng: np.random.Generator) -> Task:
    """Logarithms of prices, from size, age, rooms, a district and a distance."""
    m, total = _sizes(rng)
    size, age = rng.gamma(6, 20, total), rng.exponential(25, total)
    rooms = np.maximum(1, np.round(size / 30 + rng.normal(size=total)))
    district, far = rng.integers(0, 5, total), rng.uniform(0, 10, total)
    value = 0.8 * np.log(size) - 0.01 * np.abs(age - 20) + 0.4 * rng.normal(size=5)[district] * (1 - far / 10)
    X = np.column_stack([size, age, rooms, far, np.eye(5)[district]])
    return divided("houses", X, (value + 0.08 * rng.normal(size=total))[:, None], m, "mse", 1)


def melodies(rng: np.random.Generator) -> Task:
    """Short sequences of notes, one-hot: how often they go up, few, some or many times."""
    m, total = _sizes(rng)
    notes, length = int(rng.integers(3, 6)), int(rng.integers(5, 8))
    tune = rng.integers(0, notes, (total, length))
    up = np.sum(np.diff(tune, axis=1) > 0, axis=1) + 0.3 * rng.normal(size=total)
    y = np.digitize(up, np.quantile(up, [1 / 3, 2 / 3]))
    loss = "hinge" if rng.random() < 0.3 else "softmax_cross_entropy"
    return divided("melodies", np.eye(notes)[tune].reshape(total, -1), y, m, loss, 3)


def regions(rng: np.random.Generator) -> Task:
    """Which of some parties a place on the map belongs to, by the nearest of their seats; a few do not follow."""
    m, total = _sizes(rng)
    k = int(rng.integers(2, 5))
    seats = rng.uniform(-1, 1, (3 * k, 2))
    X = rng.uniform(-1, 1, (total, 2))
    y = np.argmin(np.sum((X[:, None] - seats) ** 2, axis=2), axis=1) % k
    y = np.where(rng.random(total) < 0.03, rng.integers(0, k, total), y)
    return divided("regions", X, y, m, "softmax_cross_entropy", k)


def plants(rng: np.random.Generator) -> Task:
    """The irises, or how far an illness has gone."""
    from sklearn.datasets import load_diabetes, load_iris

    if rng.random() < 0.5:
        X, y = load_iris(return_X_y=True)
        order = rng.permutation(len(y))
        return divided("plants", X[order], y[order], 100, "softmax_cross_entropy", 3)
    X, y = load_diabetes(return_X_y=True)
    order = rng.permutation(len(y))
    return divided("plants", X[order], y[order][:, None], 320, "mse", 1)


UNSEEN = (spectra, genes, pendulums, houses, melodies, regions, plants)
