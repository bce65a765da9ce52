"""What a search refuses."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from cases.searches import SPACE, bowl, build, data

import gradproof as gp

optuna = pytest.importorskip("optuna")
tune = gp.tune


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"trials": -1}, ValueError, "trials: got -1"),
        ({"trials": 1.5}, TypeError, "trials: got 1.5"),
        ({"method": "grid"}, ValueError, "method: got 'grid'"),
        ({"method": 3}, TypeError, "method: got 3"),
        ({"direction": "up"}, ValueError, "direction: got 'up'"),
        ({"pruning": "mean"}, ValueError, "pruning: got 'mean'"),
        ({"pruning": 1}, TypeError, "pruning: got 1"),
        ({"space": {}}, TypeError, "space: got {}"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"n_jobs": 0}, ValueError, "n_jobs: got 0"),
        ({"timeout": 0}, ValueError, "timeout: got 0"),
        ({"grace": -1.0}, ValueError, "grace: got -1"),
        ({"study_name": ""}, TypeError, "study_name: got ''"),
        ({"catch": 5}, TypeError, "catch: got 5"),
        ({"callbacks": [1]}, TypeError, "callbacks: got 1"),
        ({"progress": 3}, TypeError, "progress: got 3"),
        ({"storage": 5}, TypeError, "storage: got 5"),
        ({"monitor": "val_loss"}, ValueError, "monitor: got 'val_loss' without data"),
        ({"X": np.zeros((3, 2))}, ValueError, "X, y: got X alone"),
        ({"objective": 3}, TypeError, "objective: got 3"),
        ({"objective": lambda p: None}, TypeError, "objective: gave None"),
        ({"objective": lambda p: np.ones(1)}, TypeError, r"objective: gave array\(\[1.\]\), expected a number"),
        ({"objective": lambda p: np.array("a")}, TypeError, "objective: gave 'a', expected a number"),
        ({"objective": lambda p, report: report(-1, 0.0)}, ValueError, "epoch: got -1"),
        ({"objective": lambda p, report: report(0, "a")}, TypeError, "value: got 'a'"),
    ],
)
def test_nonsense_is_named(arguments, error, text):
    arguments = {"objective": bowl, "space": SPACE, "trials": 2} | arguments
    with pytest.raises(error, match=text):
        tune.search(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"epochs": 0}, ValueError, "epochs: got 0"),
        ({"validation": 1.5}, ValueError, "validation: got 1.5"),
        ({"validation": (1,)}, ValueError, "validation: got 1 arrays"),
        ({"monitor": "val_r2"}, ValueError, "monitor: got 'val_r2', expected one of 'loss'"),
        ({"monitor": 3}, TypeError, "monitor: got 3"),
        ({"objective": lambda p: 3}, TypeError, "build: gave int"),
        ({"objective": lambda p: (build(p)[0], 3)}, TypeError, "build: gave Sequential and int"),
        ({"objective": lambda p: (build(p)[0], {"X": 3})}, ValueError, "build: gave X"),
        ({"objective": lambda p: (build(p)[0], {"epoch": 3})}, TypeError, "epoch"),
    ],
)
def test_nonsense_about_networks_is_named(arguments, error, text):
    X, y = data()
    arguments = {"objective": build, "space": {"rate": tune.log(1e-3, 1)}, "trials": 1, "epochs": 1} | arguments
    with pytest.raises(error, match=text):
        tune.search(X=X, y=y, **arguments)


@pytest.mark.parametrize("options", [{"coarse": 1.5}, {"best": 0}, {"margin": -1}, {"least": math.nan}])
def test_nonsense_about_the_method_is_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        tune.CoarseToFine(**options)


def test_without_optuna_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install gradproof\[tune\]"):
        tune.search(bowl, space=SPACE)
    assert tune.babysit(build({"rate": 0.1})[0], *data(), rounds=1).log
