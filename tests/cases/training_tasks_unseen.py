"""Data sets for training runs that nobody had looked at when the doctor's thresholds were set."""

from __future__ import annotations

import numpy as np

from cases.training_tasks import Array, Task, divided


def _small(rng: np.random.Generator) -> tuple[int, int]:
    m = int(rng.integers(320, 801))
    return m, m + 300


def as_they_are(name: str, X: Array, y: Array, m: int, loss: str, outputs: int) -> Task:
    """Inputs that nobody normalizes, since they come in a usual size."""
    return Task(name, X[:m], y[:m], X[m:], y[m:], loss, outputs)


def gestures(rng: np.random.Generator) -> Task:
    """What a hand draws: places on a path, of any size, turned a little, begun anywhere on it."""
    m, total = _small(rng)
    k, steps = int(rng.integers(3, 5)), int(rng.integers(8, 15))
    y = rng.integers(0, k, total)
    t = np.linspace(0, 1, steps) + 0.15 * rng.random((total, 1))
    angle = 2 * np.pi * t
    forms = [
        (np.cos(angle), np.sin(angle)),
        (2 * t - 1, np.abs(4 * t % 2 - 1)),
        (np.sin(angle), np.sin(2 * angle)),
        (2 * t - 1, (2 * t - 1) ** 3),
    ]
    path = np.stack([np.stack(form, axis=2) for form in forms])[y, np.arange(total)]
    turn = rng.normal(size=total) * 0.3
    rotation = np.stack([np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)], axis=1).reshape(-1, 2, 2)
    path = np.einsum("mij,mtj->mti", rotation, path) * rng.uniform(0.6, 1.4, (total, 1, 1))
    path += rng.uniform(0.1, 0.3) * rng.normal(size=path.shape)
    return divided("gestures", path.reshape(total, -1), y, m, "softmax_cross_entropy", k)


def chords(rng: np.random.Generator) -> Task:
    """Which of some tones sound together, from the strength of all pitches: several answers per row."""
    m, total = _small(rng)
    tones, pitches = int(rng.integers(2, 5)), int(rng.integers(14, 25))
    sound = rng.gamma(0.5, 1.0, (tones, pitches))
    y = rng.random((total, tones)) < 0.45
    X = np.log1p((y * rng.uniform(0.5, 1.5, (total, tones))) @ sound + 0.1 * rng.gamma(1.0, 1.0, (total, pitches)))
    return divided("chords", X, y.astype(float), m, "binary_cross_entropy", tones)


def reactions(rng: np.random.Generator) -> Task:
    """How much of two substances is there after a while, at some temperature: one becomes the other, which decays."""
    m, total = _small(rng)
    start, heat, time = rng.uniform([0.3, -1.0, 0.2], [1.5, 1.0, 3.0], (total, 3)).T
    first, second = np.exp(1.2 * heat), 0.6 * np.exp(0.5 * heat)
    left = start * np.exp(-first * time)
    apart = np.where(np.abs(second - first) < 1e-3, 1e-3, second - first)
    made = start * first / apart * (np.exp(-first * time) - np.exp(-second * time))
    y = np.column_stack([left, made]) + 0.02 * rng.normal(size=(total, 2))
    return divided("reactions", np.column_stack([start, heat, time]), y, m, "mse", 2)


def choices(rng: np.random.Generator) -> Task:
    """Which of three offers somebody takes: all are judged alike, by price and quality, and one has to be taken."""
    m, total = _small(rng)
    traits = int(rng.integers(2, 5))
    offers = rng.normal(size=(total, 3, traits))
    weights = rng.normal(size=traits)
    worth = np.tanh(offers @ weights) - 0.4 * offers[:, :, 0] ** 2 + 0.15 * rng.gumbel(size=(total, 3))
    loss = "hinge" if rng.random() < 0.4 else "softmax_cross_entropy"
    return divided("choices", offers.reshape(total, -1), worth.argmax(axis=1), m, loss, 3)


def mixtures(rng: np.random.Generator) -> Task:
    """Shares of ingredients that sum to one, as they are, and which recipe they are of."""
    m, total = _small(rng)
    k, parts = int(rng.integers(3, 6)), int(rng.integers(4, 9))
    usual = rng.dirichlet(np.full(parts, 1.5), k)
    y = rng.integers(0, k, total)
    shares = rng.gamma(rng.uniform(8, 25) * usual[y] + 0.1)
    X = shares / shares.sum(axis=1, keepdims=True)
    return as_they_are("mixtures", X, y, m, "softmax_cross_entropy", k)


def cells(rng: np.random.Generator) -> Task:
    """The middle cell of a row of cells, after two steps of a rule for neighbours; one in fifty is misread."""
    m, total = _small(rng)
    row = rng.integers(0, 2, (total, int(rng.integers(6, 11))))
    rule = np.array([[int(digit) for digit in f"{number:08b}"] for number in (30, 90, 110, 54, 22, 150)])
    table = rule[int(rng.integers(0, len(rule)))]
    now = row
    for _ in range(2):
        now = table[4 * np.roll(now, 1, axis=1) + 2 * now + np.roll(now, -1, axis=1)]
    y = now[:, row.shape[1] // 2] ^ (rng.random(total) < 0.02)
    return as_they_are("cells", 2.0 * row - 1, y.astype(float), m, "binary_cross_entropy", 1)


def echoes(rng: np.random.Generator) -> Task:
    """Where a sound came from, by when it arrived at some ears in the plane."""
    m, total = _small(rng)
    ears = rng.uniform(-1, 1, (int(rng.integers(4, 7)), 2))
    place = rng.uniform(-1.5, 1.5, (total, 2))
    arrived = np.linalg.norm(place[:, None] - ears, axis=2)
    delays = arrived[:, 1:] - arrived[:, :1] + 0.02 * rng.normal(size=(total, len(ears) - 1))
    return divided("echoes", delays, place, m, "mse", 2)


def questionnaires(rng: np.random.Generator) -> Task:
    """Answers, some of them missing (0, and a column says so), and a decision by what is behind them."""
    m, total = _small(rng)
    questions = int(rng.integers(6, 13))
    behind = rng.normal(size=(total, 2))
    answers = np.tanh(behind @ rng.normal(size=(2, questions)) + 0.4 * rng.normal(size=(total, questions)))
    missing = rng.random((total, questions)) < rng.uniform(0.05, 0.25)
    y = behind[:, 0] + 0.5 * behind[:, 1] ** 2 - 0.4 > 0.2 * rng.normal(size=total)
    X = np.column_stack([np.where(missing, 0.0, answers), missing])
    if rng.random() < 0.5:
        return divided("questionnaires", X, y.astype(float), m, "binary_cross_entropy", 1)
    return divided("questionnaires", X, y.astype(int), m, "hinge", 2)


def photographs(rng: np.random.Generator) -> Task:
    """Small patches of two photographs, a temple's and a flower's, as grey values from 0 to 1: which one is it of?"""
    from sklearn.datasets import load_sample_image

    m, total = _small(rng)
    side = int(rng.integers(4, 8))
    grey = [load_sample_image(name).mean(axis=2) / 255 for name in ("china.jpg", "flower.jpg")]
    y = rng.integers(0, 2, total)
    tops, lefts = rng.integers(0, 427 - side, total), rng.integers(0, 640 - side, total)
    X = np.array([grey[c][i : i + side, j : j + side].ravel() for c, i, j in zip(y, tops, lefts, strict=True)])
    if rng.random() < 0.5:
        return as_they_are("photographs", X, y.astype(float), m, "binary_cross_entropy", 1)
    return as_they_are("photographs", X, y, m, "softmax_cross_entropy", 2)


def engines(rng: np.random.Generator) -> Task:
    """Power, heat and use of an engine, from revolutions, load and mixture in steps that a bench can set."""
    m, total = _small(rng)
    turns, load, mix = (rng.integers(0, 12, (total, 3)) / 11).T
    power = turns * load * (1 - 1.5 * (mix - 0.5) ** 2) * np.exp(-0.7 * turns)
    heat = load**1.5 + 0.5 * np.maximum(turns - 0.6, 0) + 0.3 * (1 - mix)
    use = (0.4 + load) * (0.3 + turns) / (0.8 + 0.4 * mix)
    y = np.column_stack([power / power.std(), heat / heat.std(), use / use.std()])
    y += rng.uniform(0.05, 0.2) * rng.normal(size=y.shape)
    return divided("engines", np.column_stack([turns, load, mix]), y, m, "mse", 3)


UNSEEN = (
    *(gestures, chords, reactions, choices, mixtures),
    *(cells, echoes, questionnaires, photographs, engines),
)
