"""float32 networks of many ReLUs: within every step that noise allows there are kinks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

import gradproof as gp
from gradproof.check.stages import activations


def network(seed: int, layers: int, width: int, rows: int, wrong: float = 1.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, width)).astype(np.float32)
    weights = [(rng.normal(size=(width, width)) * np.sqrt(2 / width)).astype(np.float32) for _ in range(layers)]

    def forward(p):
        outputs = [X]
        for W in p:
            outputs.append(np.maximum(outputs[-1] @ W, 0))
        return outputs

    def grad(p):
        outputs, found = forward(p), []
        d = 2 * outputs[-1] / outputs[-1].size
        for W, x, y in zip(p[::-1], outputs[-2::-1], outputs[:0:-1], strict=True):
            d = d * (y > 0)
            found.append(x.T @ d)
            d = d @ W.T
        found[layers // 2] = found[layers // 2] * np.float32(wrong)
        return found[::-1]

    return lambda p: np.mean(forward(p)[-1] ** 2), grad, weights


SHAPES = [(4, 12, 64), (3, 10, 32), (5, 16, 16)]
SEEDS = range(3, 7)


@lru_cache(None)
def verdict(seed: int, shape: tuple[int, int, int]) -> str:
    return str(gp.check_gradients(*network(seed, *shape), nearby=False).verdict)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_right_gradients_are_not_accused(shape, seed):
    assert verdict(seed, shape) in ("pass", "inconclusive")


def test_most_right_gradients_pass():
    verdicts = [verdict(seed, shape) for seed in SEEDS for shape in SHAPES]
    assert verdicts.count("pass") >= 0.75 * len(verdicts)


def test_slight_mistakes_are_seen_in_a_single_entry():
    """What kinks may explain is judged by the entry, not by how many there are."""
    loss, grad, weights = network(0, 3, 10, 32)

    def wrong(p):
        g = grad(p)
        g[1][2, 3] += np.float32(0.2 * np.sqrt(np.mean(g[1] ** 2)))
        return g

    assert gp.check_gradients(loss, wrong, weights, nearby=False).verdict == "fail"


@pytest.mark.parametrize("seed", range(3))
def test_a_tenth_too_much_is_seen(seed):
    report = gp.check_gradients(*network(seed, 4, 12, 32, wrong=1.1), nearby=False)
    assert report.verdict == "fail" and report.culprits[0] == "1"
    assert report.findings[0].cause == "scale"


class Threshold(gp.Layer):
    """``max(x - s, 0)``, whose backward takes numbers a little below ``s`` for larger ones."""

    row_independent = True

    def __init__(self, reach: float) -> None:
        self.reach = reach

    def build(self, n_in, rng):
        return {"s": np.zeros(n_in)}

    def forward(self, x, parameters, training):
        return np.maximum(x - parameters["s"], 0), x

    def backward(self, dy, cache, parameters):
        passed = dy * (cache > parameters["s"] - np.float32(self.reach))
        return passed, {"s": -np.sum(passed, axis=0)}


def places_below(places: int, seed: int):
    """A float32 network of which one row stands so many places of the last digit below all thresholds."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)
    layers = [gp.Dense(6), gp.Tanh(), gp.Dense(5), Threshold(2e-5), gp.Dense(3)]
    model = gp.Sequential(layers, 4, "mse", dtype="float32", seed=seed)
    above = activations(model, X)[3][0]
    for _ in range(places):
        above = np.nextafter(above, np.float32(np.inf))
    model.parameters["threshold_0.s"][...] = above
    return model, X, y


@pytest.mark.parametrize("seed", range(4))
def test_the_piece_above_a_flat_one_is_right_where_rounding_leads_there(seed):
    """On the flat piece nothing is rounded; on the other the sum of a number and a fine step is."""
    for places, expected in ((1, "pass"), (16, "fail")):
        model, X, y = places_below(places, seed)
        report = gp.check_model(model, X, y, nearby=False)
        assert report.verdict == expected, report
        gradient = model.loss_and_gradient(X, y)[1]
        assert gp.check_model(model, X, y, gradient=gradient * np.float32(1.01), nearby=False).verdict == "fail"
