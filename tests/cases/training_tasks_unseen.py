"""Data sets for training runs that nobody had looked at when the doctor's thresholds were set."""

from __future__ import annotations

import numpy as np

from cases.training_tasks import Task, _sizes, divided


def seasons(rng: np.random.Generator) -> Task:
    """The next value of a series that has a season and a memory, from the last ones and the time of the year."""
    m, total = _sizes(rng)
    lags, period = int(rng.integers(4, 9)), int(rng.integers(12, 31))
    length = total + lags
    time = np.arange(length)
    season = np.sin(2 * np.pi * time / period) + 0.4 * np.cos(4 * np.pi * time / period)
    shocks, memory = rng.normal(size=length) * rng.uniform(0.2, 0.5), rng.uniform(0.4, 0.8)
    rest = np.zeros(length)
    for t in range(1, length):
        rest[t] = memory * rest[t - 1] - 0.2 * np.tanh(2 * rest[t - 1]) + shocks[t]
    values = season + rest
    past = np.stack([values[lags - 1 - lag : length - 1 - lag] for lag in range(lags)], axis=1)
    year = 2 * np.pi * time[lags:] / period
    X = np.column_stack([past, np.sin(year), np.cos(year)])
    order = rng.permutation(total)
    return divided("seasons", X[order], values[lags:][order][:, None], m, "mse", 1)


def reviews(rng: np.random.Generator) -> Task:
    """Praise or blame, from the words of short texts: a few are common and most are rare."""
    m, total = _sizes(rng)
    words = int(rng.integers(60, 121))
    often = 1 / np.arange(1, words + 1)
    counts = rng.poisson(rng.uniform(12, 25) * often / often.sum() * rng.uniform(0.5, 1.5, (total, 1)), (total, words))
    score = np.log1p(counts) @ (rng.normal(size=words) / np.sqrt(often))
    y = score > np.median(score)
    y ^= rng.random(total) < 0.03
    if rng.random() < 0.5:
        return divided("reviews", np.log1p(counts), y.astype(float), m, "binary_cross_entropy", 1)
    return divided("reviews", np.log1p(counts), y.astype(int), m, "softmax_cross_entropy", 2)


def claims(rng: np.random.Generator) -> Task:
    """A sum with a few parts that act together, and errors with heavy tails."""
    m, total = _sizes(rng)
    X = rng.standard_t(6, (total, int(rng.integers(4, 10))))
    y = X[:, 0] + 0.8 * np.abs(X[:, 1]) - 0.6 * X[:, 2] * (X[:, 3] > 0)
    return divided("claims", X, (y + 0.3 * rng.standard_t(3, total))[:, None], m, "mse", 1)


def strokes(rng: np.random.Generator) -> Task:
    """Small pictures of one of some shapes, anywhere in the frame, in noise."""
    m, total = _sizes(rng)
    shapes = [np.zeros((4, 4)) for _ in range(4)]
    shapes[0][1, :] = 1
    shapes[1][:, 1] = 1
    shapes[2][[0, 1, 2, 3], [0, 1, 2, 3]] = 1
    shapes[3][0, :] = shapes[3][:, 0] = 1
    k, side = int(rng.integers(2, 5)), int(rng.integers(6, 8))
    y = rng.integers(0, k, total)
    X = rng.uniform(0.1, 0.25) * rng.normal(size=(total, side, side))
    for row, at in enumerate(rng.integers(0, side - 3, (total, 2))):
        X[row, at[0] : at[0] + 4, at[1] : at[1] + 4] += shapes[y[row]]
    return divided("strokes", X.reshape(total, -1), y, m, "softmax_cross_entropy", k)


def customers(rng: np.random.Generator) -> Task:
    """Amounts, flags, ranks and a category, and a decision with three rules; some decide otherwise."""
    m, total = _sizes(rng)
    amount, age = rng.lognormal(1.0, 0.8, total), rng.uniform(18, 80, total)
    flags, visits = rng.random((total, 2)) < [0.3, 0.6], rng.poisson(3, total)
    region = rng.integers(0, 4, total)
    y = ((amount > 3) & (age < 50)) | (flags[:, 0] & (region < 2)) | (visits > 5)
    y ^= rng.random(total) < 0.04
    X = np.column_stack([np.log(amount), age, flags, visits, np.eye(4)[region]])
    return divided("customers", X, y.astype(float), m, "binary_cross_entropy", 1)


def faults(rng: np.random.Generator) -> Task:
    """Kinds of faults, each half as frequent as the one before, that show in a few readings of many."""
    m, total = _sizes(rng)
    k, n = int(rng.integers(3, 6)), int(rng.integers(8, 17))
    share = 0.55 ** np.arange(k)
    y = rng.choice(k, total, p=share / share.sum())
    shift = rng.normal(size=(k, n)) * (rng.random((k, n)) < 0.5) * rng.uniform(1.2, 2.0)
    spread = np.where(rng.random((k, n)) < 0.3, 0.4, 1.0)
    X = shift[y] + spread[y] * rng.normal(size=(total, n))
    return divided("faults", X, y, m, "hinge" if rng.random() < 0.3 else "softmax_cross_entropy", k)


def pairs(rng: np.random.Generator) -> Task:
    """Whether two points lie near each other."""
    m, total = _sizes(rng)
    n = int(rng.integers(1, 4))
    first, second = rng.normal(size=(2, total, n))
    apart = np.sum((first - second) ** 2, axis=1) * np.exp(0.1 * rng.normal(size=total))
    y = (apart < np.median(apart)).astype(float)
    return divided("pairs", np.column_stack([first, second]), y, m, "binary_cross_entropy", 1)


UNSEEN = (seasons, reviews, claims, strokes, customers, faults, pairs)
