"""The elementary functions and the losses against arithmetic of 50 digits, over the whole range of each precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from gradproof import _core, kernels, reference

# Largest error in units of the last place. Measured: 0.95, 1.9, 0.8, 0.8, 2.6, 2.2.
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "exp": (mpmath.exp, 1.0),
    "expm1": (mpmath.expm1, 2.0),
    "log": (mpmath.log, 1.0),
    "log1p": (mpmath.log1p, 1.0),
    "tanh": (mpmath.tanh, 3.0),
    "sigmoid": (lambda x: 1 / (1 + mpmath.exp(-x)), 2.5),
}
EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, -2.0]
INF, NAN = np.inf, np.nan
AT_EDGES = {
    "exp": [1, 1, INF, 0, NAN, np.exp(-1), np.exp(-2)],
    "expm1": [0.0, -0.0, INF, -1, NAN, np.expm1(-1), np.expm1(-2)],
    "log": [-INF, -INF, INF, NAN, NAN, NAN, NAN],
    "log1p": [0.0, -0.0, INF, NAN, NAN, -INF, NAN],
    "tanh": [0.0, -0.0, 1, -1, NAN, np.tanh(-1), np.tanh(-2)],
    "sigmoid": [0.5, 0.5, 1, 0, NAN, 1 / (1 + np.e), 1 / (1 + np.e**2)],
}


@pytest.fixture(autouse=True)
def digits():
    with mpmath.workdps(50):
        yield


def compiled(name: str, x: np.ndarray) -> np.ndarray:
    y = np.empty_like(x)
    getattr(_core, name if hasattr(_core, name) else f"{name}_forward")(y, x)
    return y


def sample(name: str, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Points of all magnitudes, with more of them where the function bends, overflows or underflows."""
    limits = np.finfo(dtype)
    magnitudes = np.exp(rng.uniform(np.log(limits.tiny), np.log(limits.max), 400))
    low, high = (-105, 90) if dtype == "float32" else (-750, 711)
    x = np.concatenate(
        [
            magnitudes,
            -magnitudes,
            rng.uniform(low, high, 400),
            rng.uniform(-3, 3, 600),
            rng.uniform(-0.01, 0.01, 200),
            1 + rng.uniform(-0.01, 0.01, 200),
            rng.integers(1, 1000, 100) * float(limits.smallest_subnormal),
            [limits.max, limits.tiny, limits.smallest_subnormal],
        ]
    ).astype(dtype)
    if name == "log":
        return np.abs(x)
    return x[x > -1] if name == "log1p" else x


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_accurate_everywhere(name, dtype, rng):
    exact, bound = FUNCTIONS[name]
    limits = np.finfo(dtype)
    x = sample(name, dtype, rng)
    for point, value in zip(x.tolist(), compiled(name, x).tolist(), strict=True):
        expected = exact(mpmath.mpf(point))
        if np.isinf(value):
            assert abs(expected) > limits.max
        else:
            exponent = (
                max(int(mpmath.floor(mpmath.log(abs(expected), 2))), limits.minexp) if expected else limits.minexp
            )
            assert abs(value - expected) <= bound * mpmath.mpf(2) ** (exponent - limits.nmant), (point, value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_at_the_edges(name, dtype):
    actual = compiled(name, np.array(EDGES, dtype))
    expected = np.array(AT_EDGES[name], dtype)
    np.testing.assert_allclose(actual, expected, rtol=4 * np.finfo(dtype).eps)
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(actual[known]), np.signbit(expected[known]))


# ---- Losses ----
def exact_cross_entropy(scores: np.ndarray, labels: np.ndarray) -> tuple[Any, list[list[Any]]]:
    """The loss and its gradient without rounding."""
    m, n = scores.shape
    loss, gradient = mpmath.mpf(0), []
    for row, label in zip(scores.tolist(), labels, strict=True):
        e = [mpmath.exp(mpmath.mpf(s) - mpmath.mpf(row[label])) for s in row]
        others = sum(e[j] for j in range(n) if j != label)
        loss += mpmath.log1p(others) / m
        gradient.append([(-others if j == label else e[j]) / (1 + others) / m for j in range(n)])
    return loss, gradient


def exact_binary_cross_entropy(scores: np.ndarray, targets: np.ndarray) -> tuple[Any, list[list[Any]]]:
    loss, gradient = mpmath.mpf(0), []
    for z, t in zip(scores.ravel().tolist(), targets.ravel().tolist(), strict=True):
        z, t = mpmath.mpf(z), mpmath.mpf(t)
        p, q = 1 / (1 + mpmath.exp(-z)), 1 / (1 + mpmath.exp(z))
        loss += (t * mpmath.log1p(mpmath.exp(-z)) + (1 - t) * mpmath.log1p(mpmath.exp(z))) / scores.size
        gradient.append(((1 - t) * p - t * q) / scores.size)
    return loss, [gradient[i : i + scores.shape[1]] for i in range(0, len(gradient), scores.shape[1])]


def check_loss(name: str, exact: Any, scores: np.ndarray, targets: np.ndarray) -> None:
    """Relative accuracy of every entry, in the compiled kernel and in its twin."""
    limits = np.finfo(scores.dtype)
    expected_loss, expected_gradient = exact(scores, targets)
    largest = max(1, float(np.max(np.ptp(scores, axis=1))) if scores.shape[1] > 1 else 1)
    relative = 4 * float(limits.eps) * largest  # a difference of scores, rounded, is the argument of the exponential
    for module in (kernels, reference):
        loss, dscores = getattr(module, name)(scores, targets)
        assert abs(loss - expected_loss) <= relative * expected_loss + float(limits.tiny), module
        for actual_row, expected_row in zip(dscores.tolist(), expected_gradient, strict=True):
            for actual, expected in zip(actual_row, expected_row, strict=True):
                assert abs(actual - expected) <= relative * abs(expected) + float(limits.tiny), module


@pytest.mark.parametrize("scale", [1e-3, 1, 20, 80, 1e4])
def test_cross_entropy_keeps_its_digits(scale, dtype, rng):
    scores = (scale * rng.uniform(-0.5, 0.5, (6, 4))).astype(dtype)
    check_loss("softmax_cross_entropy", exact_cross_entropy, scores, rng.integers(0, 4, 6))


def test_cross_entropy_of_a_certain_prediction(dtype):
    """p_y is 1 to all digits, and still the loss and every entry of the gradient are right to the last ones."""
    scores = np.array([[60, 0, -3, 1], [0, 0, 50, 0]], dtype)
    check_loss("softmax_cross_entropy", exact_cross_entropy, scores, np.array([0, 2]))


@pytest.mark.parametrize("scale", [1e-3, 1, 30, 80])
def test_binary_cross_entropy_keeps_its_digits(scale, dtype, rng):
    scores = rng.uniform(-scale, scale, (20, 1)).astype(dtype)
    targets = rng.choice([0, 1], (20, 1)).astype(dtype)
    check_loss("binary_cross_entropy", exact_binary_cross_entropy, scores, targets)


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "hinge", "binary_cross_entropy"])
def test_enormous_scores_are_safe(name, dtype):
    scores = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    right = {"binary_cross_entropy": np.array([[1, 0], [0, 1]], dtype)}.get(name, np.array([0, 1]))
    wrong = 1 - right
    for module in (kernels, reference):
        loss, dscores = getattr(module, name)(scores, right)
        assert loss == 0
        assert (dscores == 0).all()
        loss, dscores = getattr(module, name)(scores, wrong)
        assert loss == {"binary_cross_entropy": 1e4, "hinge": 2e4 + 1, "softmax_cross_entropy": 2e4}[name]
        assert np.isfinite(dscores).all() and (dscores != 0).all()


# ---- Batch statistics ----
def test_variance_of_numbers_far_from_zero(dtype, rng):
    """The textbook's mean(x^2) - mean(x)^2 would be wrong in all digits."""
    x = (1e3 + 1e-2 * rng.normal(size=(500, 3))).astype(dtype)
    gamma, beta = np.ones(3, dtype), np.zeros(3, dtype)
    for module in (kernels, reference):
        *_, variance = module.batch_norm_forward(x, gamma, beta)
        np.testing.assert_allclose(variance, np.var(x.astype(np.longdouble), axis=0), rtol=4 * np.finfo(dtype).eps)


def test_sums_over_many_rows_of_float32_do_not_lose_digits():
    dy = np.full((100_000, 2), 0.1, np.float32)
    expected = len(dy) * float(dy[0, 0])
    x, W = np.zeros((len(dy), 1), np.float32), np.zeros((1, 2), np.float32)
    for module in (kernels, reference):
        np.testing.assert_allclose(module.dense_backward(dy, x, W)[2], expected, rtol=np.finfo(np.float32).eps)
        assert module.l1(dy, 1.0)[0] == pytest.approx(2 * expected, rel=1e-9)
