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


def sizes(rng: np.random.Generator) -> tuple[int, int]:
    m = int(rng.integers(400, 1201))
    return m, m + 300


def blobs(rng: np.random.Generator) -> Task:
    m, total = sizes(rng)
    k, n = int(rng.integers(3, 7)), int(rng.integers(4, 21))
    centres = rng.normal(size=(k, n)) * rng.uniform(0.8, 1.5)
    y = rng.integers(0, k, total)
    return divided("blobs", centres[y] + rng.normal(size=(total, n)), y, m, "softmax_cross_entropy", k)


def moons(rng: np.random.Generator) -> Task:
    m, total = sizes(rng)
    y = rng.integers(0, 2, total)
    t = rng.uniform(0, np.pi, total)
    X = np.stack([np.cos(t) + y, np.where(y == 1, 0.5, 0) + np.sin(t) * (1 - 2 * y)], axis=1)
    X += rng.normal(size=X.shape) * rng.uniform(0.05, 0.2)
    if rng.random() < 0.5:
        return divided("moons", X, y.astype(float), m, "binary_cross_entropy", 1)
    return divided("moons", X, y, m, "softmax_cross_entropy", 2)


def teacher(rng: np.random.Generator) -> Task:
    m, total = sizes(rng)
    n, k = int(rng.integers(6, 13)), int(rng.integers(2, 6))
    X = rng.normal(size=(total, n))
    scores = np.tanh(X @ rng.normal(size=(n, 8)) * 1.5 / np.sqrt(n)) @ rng.normal(size=(8, k))
    loss = "hinge" if rng.random() < 0.3 else "softmax_cross_entropy"
    scores = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    return divided("teacher", X, scores.argmax(axis=1), m, loss, k)


def waves(rng: np.random.Generator) -> Task:
    m, total = sizes(rng)
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
    m, total = sizes(rng)
    k = int(rng.integers(2, 4))
    y = rng.integers(0, k, total)
    t = rng.uniform(0.3, 1.0, total)
    angle = 3.5 * t + 2 * np.pi * y / k + 0.12 * rng.normal(size=total)
    return divided(
        "spirals", np.stack([t * np.cos(angle), t * np.sin(angle)], axis=1), y, m, "softmax_cross_entropy", k
    )


def xor(rng: np.random.Generator) -> Task:
    m, total = sizes(rng)
    X = rng.normal(size=(total, 2 + int(rng.integers(0, 4))))
    y = (X[:, 0] * X[:, 1] > 0).astype(float)
    return divided("xor", X, y, m, "binary_cross_entropy", 1)


def friedman(rng: np.random.Generator) -> Task:
    m, total = sizes(rng)
    X = rng.random((total, int(rng.integers(5, 9))))
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
    return divided("friedman", X, (y + rng.normal(size=total))[:, None], m, "mse", 1)


def shells(rng: np.random.Generator) -> Task:
    m, total = sizes(rng)
    X = rng.normal(size=(total, int(rng.integers(3, 7))))
    radius = np.linalg.norm(X, axis=1) + 0.1 * rng.normal(size=total)
    y = np.digitize(radius, np.quantile(radius, [1 / 3, 2 / 3]))
    loss = "hinge" if rng.random() < 0.3 else "softmax_cross_entropy"
    return divided("shells", X, y, m, loss, 3)


def clusters(rng: np.random.Generator) -> Task:
    m, total = sizes(rng)
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
    m, total = sizes(rng)
    k = int(rng.integers(2, 5))
    y = rng.integers(0, k, total)
    angle, radius = rng.uniform(0, 2 * np.pi, total), 1 + y + rng.uniform(0.1, 0.2) * rng.normal(size=total)
    X = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return divided("rings", X, y, m, "softmax_cross_entropy", k)


def checkers(rng: np.random.Generator) -> Task:
    m, total = sizes(rng)
    X = rng.uniform(-1.5, 1.5, (total, 2))
    y = ((np.floor(X[:, 0] + 0.5) + np.floor(X[:, 1] + 0.5)) % 2).astype(float)
    return divided("checkers", X, y, m, "binary_cross_entropy", 1)


def products(rng: np.random.Generator) -> Task:
    m, total = sizes(rng)
    X = rng.normal(size=(total, int(rng.integers(3, 7))))
    y = X[:, 0] * X[:, 1] + 0.5 * X[:, 2] ** 2 - X[:, 0] + 0.1 * rng.normal(size=total)
    return divided("products", X, y[:, None], m, "mse", 1)


def bands(rng: np.random.Generator) -> Task:
    m, total = sizes(rng)
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
    m, total = sizes(rng)
    angles = rng.uniform(-1.2, 1.2, (total, int(rng.integers(2, 4))))
    reach = np.cumsum(angles, axis=1)
    y = np.stack([np.cos(reach).sum(axis=1), np.sin(reach).sum(axis=1)], axis=1)
    return divided("arms", angles, y + 0.05 * rng.normal(size=y.shape), m, "mse", 2)


def categories(rng: np.random.Generator) -> Task:
    """One-hot columns, and a rule in which two of them act together; one row in twenty breaks it."""
    m, total = sizes(rng)
    columns, values = int(rng.integers(4, 7)), int(rng.integers(4, 7))
    codes = rng.integers(0, values, (total, columns))
    together = rng.normal(size=(values, values))
    score = together[codes[:, 0], codes[:, 1]] + 0.7 * rng.normal(size=values)[codes[:, 2]]
    y = (score > np.median(score)) ^ (rng.random(total) < 0.05)
    X = np.eye(values)[codes].reshape(total, -1)
    return divided("categories", X, y.astype(float), m, "binary_cross_entropy", 1)


def signals(rng: np.random.Generator) -> Task:
    """Which of some wave forms it is, at any phase, in noise."""
    m, total = sizes(rng)
    k, n = int(rng.integers(2, 5)), int(rng.integers(12, 25))
    y = rng.integers(0, k, total)
    angle = 2 * np.pi * (np.linspace(0, 1.3, n) + rng.random((total, 1)))
    forms = np.stack([np.sin(angle), np.sign(np.sin(angle)), np.sin(2 * angle), np.mod(angle, 2 * np.pi) / np.pi - 1])
    X = forms[y, np.arange(total)] + rng.uniform(0.05, 0.3) * rng.normal(size=(total, n))
    return divided("signals", X, y, m, "softmax_cross_entropy", k)


def documents(rng: np.random.Generator) -> Task:
    """Topics from how often words occur."""
    m, total = sizes(rng)
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
    m, total = sizes(rng)
    place, speed, stiffness, time = rng.uniform([-1, -1, 1, 0], [1, 1, 4, 1.5], (total, 4)).T
    beat = np.sqrt(stiffness)
    y = np.exp(-0.3 * time) * (place * np.cos(beat * time) + speed / beat * np.sin(beat * time))
    X = np.stack([place, speed, stiffness, time], axis=1)
    return divided("springs", X, (y + 0.03 * rng.normal(size=total))[:, None], m, "mse", 1)


def valleys(rng: np.random.Generator) -> Task:
    """On which side of a winding valley's floor a point lies, with columns that have nothing to do with it."""
    m, total = sizes(rng)
    X = rng.normal(size=(total, int(rng.integers(2, 6))))
    y = (X[:, 1] > np.sin(1.5 * X[:, 0]) + 0.2 * X[:, 0] ** 2 - 0.3 + 0.1 * rng.normal(size=total)).astype(int)
    return divided("valleys", X, y, m, "hinge" if rng.random() < 0.3 else "softmax_cross_entropy", 2)


def votes(rng: np.random.Generator) -> Task:
    """Answers to questions on a scale from one to five, and which of some characters would give them."""
    m, total = sizes(rng)
    k, questions = int(rng.integers(2, 5)), int(rng.integers(8, 21))
    leaning = rng.normal(size=(k, questions)) * rng.uniform(0.5, 1.0)
    y = rng.integers(0, k, total)
    X = np.clip(np.round(3 + 1.2 * (leaning[y] + rng.normal(size=(total, questions)))), 1, 5)
    return divided("votes", X, y, m, "softmax_cross_entropy", k)


def orbits(rng: np.random.Generator) -> Task:
    """Energy and angular momentum of a body from place and velocity in the plane."""
    m, total = sizes(rng)
    place, velocity = rng.uniform(-1, 1, (total, 2)), rng.uniform(-1, 1, (total, 2))
    energy = 0.5 * np.sum(velocity**2, axis=1) - 1 / np.sqrt(0.3 + np.sum(place**2, axis=1))
    momentum = place[:, 0] * velocity[:, 1] - place[:, 1] * velocity[:, 0]
    y = np.stack([energy / energy.std(), momentum / momentum.std()], axis=1)
    X = np.column_stack([place, velocity])
    return divided("orbits", X, y + 0.05 * rng.normal(size=y.shape), m, "mse", 2)


TUNING_FIRST = (
    *(blobs, moons, teacher, waves, digits, spirals, xor, friedman, shells, clusters, tumours),
    *(rings, checkers, products, bands, parity_of_digits, wines, arms, categories),
    *(signals, votes, documents, orbits, halves_of_digits, springs, valleys),
)
