"""Data sets for training runs that were once new to the doctor, until its first look at them led to other rules."""

from __future__ import annotations

import numpy as np

from cases.training_tasks import TUNING_FIRST, Array, Task, divided, sizes


def seasons(rng: np.random.Generator) -> Task:
    """The next value of a series that has a season and a memory, from the last ones and the time of the year."""
    m, total = sizes(rng)
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
    m, total = sizes(rng)
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
    m, total = sizes(rng)
    X = rng.standard_t(6, (total, int(rng.integers(4, 10))))
    y = X[:, 0] + 0.8 * np.abs(X[:, 1]) - 0.6 * X[:, 2] * (X[:, 3] > 0)
    return divided("claims", X, (y + 0.3 * rng.standard_t(3, total))[:, None], m, "mse", 1)


def strokes(rng: np.random.Generator) -> Task:
    """Small pictures of one of some shapes, anywhere in the frame, in noise."""
    m, total = sizes(rng)
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
    m, total = sizes(rng)
    amount, age = rng.lognormal(1.0, 0.8, total), rng.uniform(18, 80, total)
    flags, visits = rng.random((total, 2)) < [0.3, 0.6], rng.poisson(3, total)
    region = rng.integers(0, 4, total)
    y = ((amount > 3) & (age < 50)) | (flags[:, 0] & (region < 2)) | (visits > 5)
    y ^= rng.random(total) < 0.04
    X = np.column_stack([np.log(amount), age, flags, visits, np.eye(4)[region]])
    return divided("customers", X, y.astype(float), m, "binary_cross_entropy", 1)


def faults(rng: np.random.Generator) -> Task:
    """Kinds of faults, each half as frequent as the one before, that show in a few readings of many."""
    m, total = sizes(rng)
    k, n = int(rng.integers(3, 6)), int(rng.integers(8, 17))
    share = 0.55 ** np.arange(k)
    y = rng.choice(k, total, p=share / share.sum())
    shift = rng.normal(size=(k, n)) * (rng.random((k, n)) < 0.5) * rng.uniform(1.2, 2.0)
    spread = np.where(rng.random((k, n)) < 0.3, 0.4, 1.0)
    X = shift[y] + spread[y] * rng.normal(size=(total, n))
    return divided("faults", X, y, m, "hinge" if rng.random() < 0.3 else "softmax_cross_entropy", k)


def pairs(rng: np.random.Generator) -> Task:
    """Whether two points lie near each other."""
    m, total = sizes(rng)
    n = int(rng.integers(1, 4))
    first, second = rng.normal(size=(2, total, n))
    apart = np.sum((first - second) ** 2, axis=1) * np.exp(0.1 * rng.normal(size=total))
    y = (apart < np.median(apart)).astype(float)
    return divided("pairs", np.column_stack([first, second]), y, m, "binary_cross_entropy", 1)


def spectra(rng: np.random.Generator) -> Task:
    """Where the peak of a spectrum lies and how wide it is, beside a second peak, on a slope."""
    m, total = sizes(rng)
    grid = np.linspace(-1, 1, int(rng.integers(16, 33)))
    place, width = rng.uniform(-0.7, 0.7, (total, 1)), rng.uniform(0.15, 0.4, (total, 1))
    other, slope = rng.uniform(-1, 1, (total, 1)), 0.3 * rng.normal(size=(total, 1))
    X = np.exp(-(((grid - place) / width) ** 2)) + 0.4 * np.exp(-(((grid - other) / 0.2) ** 2)) + slope * grid
    X += rng.uniform(0.02, 0.1) * rng.normal(size=X.shape)
    return divided("spectra", X, np.column_stack([place, width * 2]), m, "mse", 2)


def genes(rng: np.random.Generator) -> Task:
    """Many columns in groups that go together; a few groups make the difference."""
    m, total = sizes(rng)
    groups, members, k = int(rng.integers(8, 16)), int(rng.integers(5, 11)), int(rng.integers(2, 5))
    hidden = rng.normal(size=(total, groups))
    X = np.repeat(hidden, members, axis=1) * rng.uniform(0.4, 1.0, groups * members)
    X += 0.6 * rng.normal(size=X.shape)
    scores = hidden[:, :4] @ rng.normal(size=(4, k)) * 2 + 0.4 * rng.normal(size=(total, k))
    scores -= scores.mean(axis=0)
    return divided("genes", X, scores.argmax(axis=1), m, "softmax_cross_entropy", k)


def pendulums(rng: np.random.Generator) -> Task:
    """Angle and speed of a driven pendulum a little later."""
    m, total = sizes(rng)
    angle, speed, push = rng.uniform([-2.5, -2, -1], [2.5, 2, 1], (total, 3)).T
    X = np.column_stack([angle, speed, push])
    for _ in range(20):
        speed = speed + 0.08 * (push - 2 * np.sin(angle) - 0.2 * speed)
        angle = angle + 0.08 * speed
    y = np.column_stack([angle, speed])
    return divided("pendulums", X, y + 0.05 * rng.normal(size=y.shape), m, "mse", 2)


def houses(rng: np.random.Generator) -> Task:
    """Logarithms of prices, from size, age, rooms, a district and a distance."""
    m, total = sizes(rng)
    size, age = rng.gamma(6, 20, total), rng.exponential(25, total)
    rooms = np.maximum(1, np.round(size / 30 + rng.normal(size=total)))
    district, far = rng.integers(0, 5, total), rng.uniform(0, 10, total)
    value = 0.8 * np.log(size) - 0.01 * np.abs(age - 20) + 0.4 * rng.normal(size=5)[district] * (1 - far / 10)
    X = np.column_stack([size, age, rooms, far, np.eye(5)[district]])
    return divided("houses", X, (value + 0.08 * rng.normal(size=total))[:, None], m, "mse", 1)


def melodies(rng: np.random.Generator) -> Task:
    """Short sequences of notes, one-hot: how often they go up, few, some or many times."""
    m, total = sizes(rng)
    notes, length = int(rng.integers(3, 6)), int(rng.integers(5, 8))
    tune = rng.integers(0, notes, (total, length))
    up = np.sum(np.diff(tune, axis=1) > 0, axis=1) + 0.3 * rng.normal(size=total)
    y = np.digitize(up, np.quantile(up, [1 / 3, 2 / 3]))
    loss = "hinge" if rng.random() < 0.3 else "softmax_cross_entropy"
    return divided("melodies", np.eye(notes)[tune].reshape(total, -1), y, m, loss, 3)


def regions(rng: np.random.Generator) -> Task:
    """Which of some parties a place on the map belongs to, by the nearest of their seats; a few do not follow."""
    m, total = sizes(rng)
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


def small(rng: np.random.Generator) -> tuple[int, int]:
    m = int(rng.integers(320, 801))
    return m, m + 300


def as_they_are(name: str, X: Array, y: Array, m: int, loss: str, outputs: int) -> Task:
    """Inputs that nobody normalizes, since they come in a usual size."""
    return Task(name, X[:m], y[:m], X[m:], y[m:], loss, outputs)


def gestures(rng: np.random.Generator) -> Task:
    """What a hand draws: places on a path, of any size, turned a little, begun anywhere on it."""
    m, total = small(rng)
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
    m, total = small(rng)
    tones, pitches = int(rng.integers(2, 5)), int(rng.integers(14, 25))
    sound = rng.gamma(0.5, 1.0, (tones, pitches))
    y = rng.random((total, tones)) < 0.45
    X = np.log1p((y * rng.uniform(0.5, 1.5, (total, tones))) @ sound + 0.1 * rng.gamma(1.0, 1.0, (total, pitches)))
    return divided("chords", X, y.astype(float), m, "binary_cross_entropy", tones)


def reactions(rng: np.random.Generator) -> Task:
    """How much of two substances is there after a while, at some temperature: one becomes the other, which decays."""
    m, total = small(rng)
    start, heat, time = rng.uniform([0.3, -1.0, 0.2], [1.5, 1.0, 3.0], (total, 3)).T
    first, second = np.exp(1.2 * heat), 0.6 * np.exp(0.5 * heat)
    left = start * np.exp(-first * time)
    apart = np.where(np.abs(second - first) < 1e-3, 1e-3, second - first)
    made = start * first / apart * (np.exp(-first * time) - np.exp(-second * time))
    y = np.column_stack([left, made]) + 0.02 * rng.normal(size=(total, 2))
    return divided("reactions", np.column_stack([start, heat, time]), y, m, "mse", 2)


def choices(rng: np.random.Generator) -> Task:
    """Which of three offers somebody takes: all are judged alike, by price and quality, and one has to be taken."""
    m, total = small(rng)
    traits = int(rng.integers(2, 5))
    offers = rng.normal(size=(total, 3, traits))
    weights = rng.normal(size=traits)
    worth = np.tanh(offers @ weights) - 0.4 * offers[:, :, 0] ** 2 + 0.15 * rng.gumbel(size=(total, 3))
    loss = "hinge" if rng.random() < 0.4 else "softmax_cross_entropy"
    return divided("choices", offers.reshape(total, -1), worth.argmax(axis=1), m, loss, 3)


def mixtures(rng: np.random.Generator) -> Task:
    """Shares of ingredients that sum to one, as they are, and which recipe they are of."""
    m, total = small(rng)
    k, parts = int(rng.integers(3, 6)), int(rng.integers(4, 9))
    usual = rng.dirichlet(np.full(parts, 1.5), k)
    y = rng.integers(0, k, total)
    shares = rng.gamma(rng.uniform(8, 25) * usual[y] + 0.1)
    X = shares / shares.sum(axis=1, keepdims=True)
    return as_they_are("mixtures", X, y, m, "softmax_cross_entropy", k)


def cells(rng: np.random.Generator) -> Task:
    """The middle cell of a row of cells, after two steps of a rule for neighbours; one in fifty is misread."""
    m, total = small(rng)
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
    m, total = small(rng)
    ears = rng.uniform(-1, 1, (int(rng.integers(4, 7)), 2))
    place = rng.uniform(-1.5, 1.5, (total, 2))
    arrived = np.linalg.norm(place[:, None] - ears, axis=2)
    delays = arrived[:, 1:] - arrived[:, :1] + 0.02 * rng.normal(size=(total, len(ears) - 1))
    return divided("echoes", delays, place, m, "mse", 2)


def questionnaires(rng: np.random.Generator) -> Task:
    """Answers, some of them missing (0, and a column says so), and a decision by what is behind them."""
    m, total = small(rng)
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

    m, total = small(rng)
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
    m, total = small(rng)
    turns, load, mix = (rng.integers(0, 12, (total, 3)) / 11).T
    power = turns * load * (1 - 1.5 * (mix - 0.5) ** 2) * np.exp(-0.7 * turns)
    heat = load**1.5 + 0.5 * np.maximum(turns - 0.6, 0) + 0.3 * (1 - mix)
    use = (0.4 + load) * (0.3 + turns) / (0.8 + 0.4 * mix)
    y = np.column_stack([power / power.std(), heat / heat.std(), use / use.std()])
    y += rng.uniform(0.05, 0.2) * rng.normal(size=y.shape)
    return divided("engines", np.column_stack([turns, load, mix]), y, m, "mse", 3)


TUNING = (
    *TUNING_FIRST,
    *(seasons, reviews, claims, strokes, customers, faults, pairs),
    *(spectra, genes, pendulums, houses, melodies, regions, plants),
    *(gestures, chords, reactions, choices, mixtures),
    *(cells, echoes, questionnaires, photographs, engines),
)
