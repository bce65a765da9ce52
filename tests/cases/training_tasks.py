"""Data sets for training runs that the doctor's thresholds were set with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

import gradproof as gp

Array = np.ndarray


@dataclass(frozen=True)
class Task:
    """Training and validation set, standardized with the training set's mean and deviation."""

    name: str
    X: Array
    y: Array
    Xv: Array
    yv: Array
    loss: str
    outputs: int

    @property
    def classes(self) -> bool:
        return self.loss != "mse"

    def with_inputs(self, change: Callable[[Array], Array]) -> Task:
        return replace(self, X=change(self.X), Xv=change(self.Xv))


def divided(name: str, X: Array, y: Array, m: int, loss: str, outputs: int) -> Task:
    """The first m rows to train on, the rest to validate with."""
    mean, std = X[:m].mean(axis=0), X[:m].std(axis=0)
    X = (X - mean) / np.where(std > 0, std, 1)
    if loss == "mse":
        y = (y - y[:m].mean()) / y[:m].std()
    return Task(name, X[:m], y[:m], X[m:], y[m:], loss, outputs)


def _sizes(rng: np.random.Generator) -> tuple[int, int]:
    m = int(rng.integers(400, 1201))
    return m, m + 300


def blobs(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    k, n = int(rng.integers(3, 7)), int(rng.integers(4, 21))
    centres = rng.normal(size=(k, n)) * rng.uniform(0.8, 1.5)
    y = rng.integers(0, k, total)
    return divided("blobs", centres[y] + rng.normal(size=(total, n)), y, m, "softmax_cross_entropy", k)


def moons(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    y = rng.integers(0, 2, total)
    t = rng.uniform(0, np.pi, total)
    X = np.stack([np.cos(t) + y, np.where(y == 1, 0.5, 0) + np.sin(t) * (1 - 2 * y)], axis=1)
    X += rng.normal(size=X.shape) * rng.uniform(0.05, 0.2)
    if rng.random() < 0.5:
        return divided("moons", X, y.astype(float), m, "binary_cross_entropy", 1)
    return divided("moons", X, y, m, "softmax_cross_entropy", 2)


def teacher(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    n, k = int(rng.integers(6, 13)), int(rng.integers(2, 6))
    X = rng.normal(size=(total, n))
    scores = np.tanh(X @ rng.normal(size=(n, 8)) * 1.5 / np.sqrt(n)) @ rng.normal(size=(8, k))
    loss = "hinge" if rng.random() < 0.3 else "softmax_cross_entropy"
    scores = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    return divided("teacher", X, scores.argmax(axis=1), m, loss, k)


def waves(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    n = int(rng.integers(1, 5))
    X = rng.normal(size=(total, n))
    y = np.sin(1.5 * X @ rng.normal(size=n)) + 0.5 * X[:, 0] + 0.1 * rng.normal(size=total)
    return divided("waves", X, y[:, None], m, "mse", 1)


def digits(rng: np.random.Generator) -> Task:
    X, y = gp.data.load_digits()
    order = rng.permutation(len(y))
    m = int(rng.integers(600, 1300))
    chosen = order[: m + 400]
    return divided("digits", X[chosen], y[chosen], m, "softmax_cross_entropy", 10)


def spirals(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    k = int(rng.integers(2, 4))
    y = rng.integers(0, k, total)
    t = rng.uniform(0.3, 1.0, total)
    angle = 3.5 * t + 2 * np.pi * y / k + 0.12 * rng.normal(size=total)
    return divided(
        "spirals", np.stack([t * np.cos(angle), t * np.sin(angle)], axis=1), y, m, "softmax_cross_entropy", k
    )


def xor(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    X = rng.normal(size=(total, 2 + int(rng.integers(0, 4))))
    y = (X[:, 0] * X[:, 1] > 0).astype(float)
    return divided("xor", X, y, m, "binary_cross_entropy", 1)


def friedman(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    X = rng.random((total, int(rng.integers(5, 9))))
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
    return divided("friedman", X, (y + rng.normal(size=total))[:, None], m, "mse", 1)


def shells(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    X = rng.normal(size=(total, int(rng.integers(3, 7))))
    radius = np.linalg.norm(X, axis=1) + 0.1 * rng.normal(size=total)
    y = np.digitize(radius, np.quantile(radius, [1 / 3, 2 / 3]))
    loss = "hinge" if rng.random() < 0.3 else "softmax_cross_entropy"
    return divided("shells", X, y, m, loss, 3)


def clusters(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    n, k = int(rng.integers(8, 31)), int(rng.integers(2, 9))
    centres = rng.normal(size=(3 * k, n)) * rng.uniform(1.0, 1.6)
    part = rng.integers(0, 3 * k, total)
    return divided("clusters", centres[part] + rng.normal(size=(total, n)), part % k, m, "softmax_cross_entropy", k)


def tumours(rng: np.random.Generator) -> Task:
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    order = rng.permutation(len(y))
    return divided("tumours", X[order], y[order].astype(float), 400, "binary_cross_entropy", 1)


def rings(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    k = int(rng.integers(2, 5))
    y = rng.integers(0, k, total)
    angle, radius = rng.uniform(0, 2 * np.pi, total), 1 + y + rng.uniform(0.1, 0.2) * rng.normal(size=total)
    X = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return divided("rings", X, y, m, "softmax_cross_entropy", k)


def checkers(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    X = rng.uniform(-1.5, 1.5, (total, 2))
    y = ((np.floor(X[:, 0] + 0.5) + np.floor(X[:, 1] + 0.5)) % 2).astype(float)
    return divided("checkers", X, y, m, "binary_cross_entropy", 1)


def products(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    X = rng.normal(size=(total, int(rng.integers(3, 7))))
    y = X[:, 0] * X[:, 1] + 0.5 * X[:, 2] ** 2 - X[:, 0] + 0.1 * rng.normal(size=total)
    return divided("products", X, y[:, None], m, "mse", 1)


def bands(rng: np.random.Generator) -> Task:
    m, total = _sizes(rng)
    n = int(rng.integers(4, 9))
    X = rng.normal(size=(total, n))
    value = np.cos(X @ rng.normal(size=n) / np.sqrt(n) * 2) + 0.4 * X[:, 0] + 0.1 * rng.normal(size=total)
    y = np.digitize(value, np.quantile(value, [1 / 3, 2 / 3]))
    return divided("bands", X, y, m, "hinge" if rng.random() < 0.3 else "softmax_cross_entropy", 3)


def parity_of_digits(rng: np.random.Generator) -> Task:
    X, y = gp.data.load_digits()
    order = rng.permutation(len(y))[: int(rng.integers(900, 1700))]
    return divided(
        "parity of digits", X[order], (y[order] % 2).astype(float), len(order) - 300, "binary_cross_entropy", 1
    )


def wines(rng: np.random.Generator) -> Task:
    from sklearn.datasets import load_wine

    X, y = load_wine(return_X_y=True)
    order = rng.permutation(len(y))
    return divided("wines", X[order], y[order], 118, "softmax_cross_entropy", 3)


def arms(rng: np.random.Generator) -> Task:
    """Where the end of a jointed arm is: two numbers from two or three angles."""
    m, total = _sizes(rng)
    angles = rng.uniform(-1.2, 1.2, (total, int(rng.integers(2, 4))))
    reach = np.cumsum(angles, axis=1)
    y = np.stack([np.cos(reach).sum(axis=1), np.sin(reach).sum(axis=1)], axis=1)
    return divided("arms", angles, y + 0.05 * rng.normal(size=y.shape), m, "mse", 2)


def categories(rng: np.random.Generator) -> Task:
    """One-hot columns, and a rule in which two of them act together; one row in twenty breaks it."""
    m, total = _sizes(rng)
    columns, values = int(rng.integers(4, 7)), int(rng.integers(4, 7))
    codes = rng.integers(0, values, (total, columns))
    together = rng.normal(size=(values, values))
    score = together[codes[:, 0], codes[:, 1]] + 0.7 * rng.normal(size=values)[codes[:, 2]]
    y = (score > np.median(score)) ^ (rng.random(total) < 0.05)
    X = np.eye(values)[codes].reshape(total, -1)
    return divided("categories", X, y.astype(float), m, "binary_cross_entropy", 1)


def signals(rng: np.random.Generator) -> Task:
    """Which of some wave forms it is, at any phase, in noise."""
    m, total = _sizes(rng)
    k, n = int(rng.integers(2, 5)), int(rng.integers(12, 25))
    y = rng.integers(0, k, total)
    angle = 2 * np.pi * (np.linspace(0, 1.3, n) + rng.random((total, 1)))
    forms = np.stack([np.sin(angle), np.sign(np.sin(angle)), np.sin(2 * angle), np.mod(angle, 2 * np.pi) / np.pi - 1])
    X = forms[y, np.arange(total)] + rng.uniform(0.05, 0.3) * rng.normal(size=(total, n))
    return divided("signals", X, y, m, "softmax_cross_entropy", k)


def documents(rng: np.random.Generator) -> Task:
    """Topics from how often words occur."""
    m, total = _sizes(rng)
    k, words = int(rng.integers(3, 7)), int(rng.integers(20, 41))
    rates = rng.gamma(0.6, 1.5, (k, words))
    y = rng.integers(0, k, total)
    X = np.sqrt(rng.poisson(rates[y] * rng.uniform(0.2, 0.6)))
    return divided("documents", X, y, m, "hinge" if rng.random() < 0.2 else "softmax_cross_entropy", k)


def halves_of_digits(rng: np.random.Generator) -> Task:
    """Pixels as they are, from 0 to 1: below five or not, or which of the ten."""
    X, y = gp.data.load_digits()
    order = rng.permutation(len(y))[: int(rng.integers(900, 1700))]
    m = len(order) - 300
    X, y = X[order], y[order]
    if rng.random() < 0.5:
        return Task("pixels", X[:m], y[:m], X[m:], y[m:], "softmax_cross_entropy", 10)
    y = (y >= 5).astype(float)
    return Task("pixels", X[:m], y[:m], X[m:], y[m:], "binary_cross_entropy", 1)


def springs(rng: np.random.Generator) -> Task:
    """Where a damped spring is, from its start, its stiffness and the time."""
    m, total = _sizes(rng)
    place, speed, stiffness, time = rng.uniform([-1, -1, 1, 0], [1, 1, 4, 1.5], (total, 4)).T
    beat = np.sqrt(stiffness)
    y = np.exp(-0.3 * time) * (place * np.cos(beat * time) + speed / beat * np.sin(beat * time))
    X = np.stack([place, speed, stiffness, time], axis=1)
    return divided("springs", X, (y + 0.03 * rng.normal(size=total))[:, None], m, "mse", 1)


def valleys(rng: np.random.Generator) -> Task:
    """On which side of a winding valley's floor a point lies, with columns that have nothing to do with it."""
    m, total = _sizes(rng)
    X = rng.normal(size=(total, int(rng.integers(2, 6))))
    y = (X[:, 1] > np.sin(1.5 * X[:, 0]) + 0.2 * X[:, 0] ** 2 - 0.3 + 0.1 * rng.normal(size=total)).astype(int)
    return divided("valleys", X, y, m, "hinge" if rng.random() < 0.3 else "softmax_cross_entropy", 2)


def votes(rng: np.random.Generator) -> Task:
    """Answers to questions on a scale from one to five, and which of some characters would give them."""
    m, total = _sizes(rng)
    k, questions = int(rng.integers(2, 5)), int(rng.integers(8, 21))
    leaning = rng.normal(size=(k, questions)) * rng.uniform(0.5, 1.0)
    y = rng.integers(0, k, total)
    X = np.clip(np.round(3 + 1.2 * (leaning[y] + rng.normal(size=(total, questions)))), 1, 5)
    return divided("votes", X, y, m, "softmax_cross_entropy", k)


def orbits(rng: np.random.Generator) -> Task:
    """Energy and angular momentum of a body from place and velocity in the plane."""
    m, total = _sizes(rng)
    place, velocity = rng.uniform(-1, 1, (total, 2)), rng.uniform(-1, 1, (total, 2))
    energy = 0.5 * np.sum(velocity**2, axis=1) - 1 / np.sqrt(0.3 + np.sum(place**2, axis=1))
    momentum = place[:, 0] * velocity[:, 1] - place[:, 1] * velocity[:, 0]
    y = np.stack([energy / energy.std(), momentum / momentum.std()], axis=1)
    X = np.column_stack([place, velocity])
    return divided("orbits", X, y + 0.05 * rng.normal(size=y.shape), m, "mse", 2)


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


TUNING = (
    *(blobs, moons, teacher, waves, digits, spirals, xor, friedman, shells, clusters, tumours),
    *(rings, checkers, products, bands, parity_of_digits, wines, arms, categories),
    *(signals, votes, documents, orbits, halves_of_digits, springs, valleys),
    *(seasons, reviews, claims, strokes, customers, faults, pairs),
)
