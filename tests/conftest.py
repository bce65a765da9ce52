"""What all tests share: the two precisions, one table of tolerances, and random data that repeats."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

# Largest error of a result, relative to the largest entry of what is expected.
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def pytest_configure() -> None:
    """Ctrl-C is for the tests of it also where the shell had it ignored, as it does for jobs in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=list(TOLERANCE))
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tolerance(dtype: str) -> float:
    return TOLERANCE[dtype]


@pytest.fixture
def assert_close(tolerance: float) -> Callable[[Any, Any], None]:
    """``assert_close(actual, expected)`` within the tolerance of the test's dtype."""

    def check(actual: Any, expected: Any) -> None:
        expected = np.asarray(expected)
        scale = np.max(np.abs(expected), initial=0.0)
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * float(scale))

    return check


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def targets(rng: np.random.Generator) -> Callable[[str, int, int], np.ndarray]:
    """``targets(loss, m, n_out)``: random targets that suit a loss."""

    def make(loss: str, m: int, n_out: int) -> np.ndarray:
        if loss in ("softmax_cross_entropy", "hinge"):
            return rng.integers(0, n_out, m)
        return rng.random((m, n_out)) if loss == "binary_cross_entropy" else rng.normal(size=(m, n_out))

    return make
