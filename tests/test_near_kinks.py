"""float32 networks of many ReLUs: within every step that noise allows there are kinks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

import gradproof as gp


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
