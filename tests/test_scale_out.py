"""Checks shared out to threads, processes and a cluster find the same, entry by entry, also when a worker dies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import cluster as dask

import gradproof as gp
from gradproof.check import workers

pytest.importorskip("joblib", reason="joblib is not installed")

WORKERS = 3
Array = np.ndarray[Any, Any]


def network(hidden: int = 512) -> tuple[gp.Sequential, Array, Array]:
    """With 512 hidden units, 669,706 parameters."""
    rng = np.random.default_rng(0)
    layers = [gp.Dense(hidden), gp.ReLU(), gp.Dense(hidden), gp.Tanh(), gp.Dense(10)]
    model = gp.Sequential(layers, 784, "softmax_cross_entropy", l2=1e-3, dtype="float64", seed=0)
    return model, rng.normal(size=(8, 784)), rng.integers(0, 10, 8)


def function() -> tuple[Callable[[Any], float], Callable[[Any], Any], dict[str, Array]]:
    """A loss in NumPy with a wrong gradient of `b`, for black-box checks."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(20, 30)), rng.normal(size=(20, 10))

    def loss(p: dict[str, Array]) -> float:
        return float(np.mean((np.tanh(X @ p["W"] + p["b"]) - y) ** 2))

    def grad(p: dict[str, Array]) -> dict[str, Array]:
        a = np.tanh(X @ p["W"] + p["b"])
        dz = 2 * (a - y) * (1 - a * a) / a.size
        return {"W": X.T @ dz, "b": 2 * dz.sum(0)}

    return loss, grad, {"W": rng.normal(size=(30, 10)) / 5, "b": rng.normal(size=10)}


def assert_same(found: gp.GradientReport, expected: gp.GradientReport) -> None:
    """Bit for bit."""
    assert found.verdict is expected.verdict
    assert list(found.tensors) == list(expected.tensors)
    for name, tensor in expected.tensors.items():
        for what in ("numeric", "uncertainty", "status"):
            np.testing.assert_array_equal(getattr(found.tensors[name], what), getattr(tensor, what))


def assert_alike(found: gp.GradientReport, expected: gp.GradientReport) -> None:
    """Within the uncertainty: the best steps are learned from entry to entry, in every shard anew."""
    assert found.verdict is expected.verdict and found.culprits == expected.culprits == ["b"]
    for name, tensor in expected.tensors.items():
        other = found.tensors[name]
        np.testing.assert_array_equal(other.status, tensor.status)
        assert (np.abs(other.numeric - tensor.numeric) <= other.uncertainty + tensor.uncertainty).all()


def check_function(backend: str | None = None, n_jobs: int = 1, **keywords: Any) -> gp.GradientReport:
    loss, grad, params = function()
    return gp.check_gradients(
        loss, grad, params, method="exhaustive", nearby=False, backend=backend, n_jobs=n_jobs, **keywords
    )


def killing(numbers: Path) -> Callable[..., Any]:
    """What workers do instead of calling the function: one of them, once a few tasks have begun, is killed."""

    def call(function: Callable[..., Any], task: tuple[Any, ...]) -> Any:
        number = 0
        while True:  # the number of this task, shared by all processes
            try:
                os.close(os.open(numbers / str(number), os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                number += 1
        if number == WORKERS:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*task)

    return call


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with dask.cluster(WORKERS, tmp_path_factory.mktemp("dask")) as running:
        yield running


def test_threads():
    model, X, y = network(16)
    assert_same(gp.check_model(model, X, y, backend="threading", n_jobs=2), gp.check_model(model, X, y))
    assert_alike(check_function("threading", 2), check_function())


@pytest.mark.campaign
class TestProcesses:
    def test_a_network(self):
        model, X, y = network()
        found = gp.check_model(model, X, y, backend="loky", n_jobs=2)
        assert found.ok and found.checked == 669_706
        assert_same(found, gp.check_model(model, X, y))

    def test_a_function(self):
        assert_alike(check_function("loky", 2), check_function())

    def test_a_model_that_was_sent_can_be_trained(self):
        import joblib

        model, X, y = network()
        alone = model.copy()
        alone._gradient_step(X, y, 0.1)
        (there,) = joblib.Parallel(n_jobs=2, backend="loky")([joblib.delayed(_step)(model, X, y)])
        np.testing.assert_array_equal(there.theta, alone.theta)


def _step(model: gp.Sequential, X: Array, y: Array) -> gp.Sequential:
    model._gradient_step(X, y, 0.1)
    return model


@pytest.mark.campaign
# Dask's own: tasks of several MB, and sockets that it leaves to the garbage collector.
@pytest.mark.filterwarnings("ignore::UserWarning:distributed")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestCluster:
    @pytest.fixture(params=[False, True], ids=["all alive", "one killed"])
    def killed(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
        if request.param:
            monkeypatch.setattr(workers, "_call", killing(tmp_path))
        yield
        assert (tmp_path / str(WORKERS + 1)).exists() == request.param  # the task that was begun again, at the latest

    def test_a_network(self, cluster: Any, killed: None) -> None:
        model, X, y = network()
        found = gp.check_model(model, X, y, backend="dask", n_jobs=WORKERS)
        assert found.ok and found.checked == 669_706
        assert_same(found, gp.check_model(model, X, y))

    def test_a_function(self, cluster: Any, killed: None) -> None:
        assert_alike(check_function("dask", WORKERS), check_function())


def test_a_backend_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    model = gp.Sequential([gp.Dense(2)], 3, "mse")
    with pytest.raises(ImportError, match=r"backend='dask' needs distributed: pip install gradproof\[scale\]"):
        gp.check_model(model, np.ones((4, 3)), np.ones((4, 2)), backend="dask", n_jobs=2)
