"""What the doctor says of starts: losses that are far off, signals that vanish."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases.training_setup import Setup, clear_rule, deep

import gradproof as gp
from gradproof.train.doctor.case import Case


@pytest.fixture
def healthy() -> Setup:
    return clear_rule()


@pytest.mark.parametrize("seed", [1, 2, 6])
def test_two_sigmoid_layers_let_enough_through(rng: np.random.Generator, seed: int) -> None:
    X = rng.normal(size=(500, 3))
    y = np.column_stack([np.sin(X[:, 0]) + X[:, 1], X[:, 2] * X[:, 0]])
    hidden = [gp.Dense(56, "xavier"), gp.Sigmoid(), gp.Dense(28, "xavier"), gp.Sigmoid()]
    model = gp.Sequential([*hidden, gp.Dense(2, "he")], 3, "mse", seed=seed)
    history = model.fit(X, y, optimizer=gp.Momentum(0.01), epochs=40, batch_size=150, progress=False, monitor=True)
    assert [symptom.tag for symptom in history.diagnose()] == ["learning_rate_too_low"]


def test_a_start_that_is_far_off_says_nothing_of_what_vanishes(healthy: Setup) -> None:
    def edit(model: gp.Sequential) -> None:
        model.parameters["dense_2.b"][0] += 60

    two = (gp.Dense(56, "xavier"), gp.Sigmoid(), gp.Dense(28, "xavier"), gp.Sigmoid())
    assert replace(healthy, hidden=two, optimizer=gp.SGD(0.1), edit=edit).tags() == ["bad_initial_loss"]


def test_signals_that_vanish_made_a_run_begin_late(healthy: Setup) -> None:
    hidden = deep(gp.Tanh(), lambda rng, shape: 0.35 * rng.standard_normal(shape) / np.sqrt(shape[0]), 6)
    late = replace(healthy, hidden=hidden, optimizer=gp.Adam(1e-2), epochs=60)
    history = late.fit()
    case = Case(history)
    assert case.held_up and case.learned > 0.9
    assert [symptom.tag for symptom in history.diagnose()] == ["vanishing_gradient"]


def _louder(factor: float) -> Any:
    def edit(model: gp.Sequential) -> None:
        model.parameters["dense_2.W"][...] *= factor

    return edit


def test_a_start_that_a_run_gets_over_does_no_harm(healthy: Setup) -> None:
    for factor, tags in ((8.0, []), (30.0, ["bad_initial_loss"])):  # some nets are as loud as the first by nature
        sick = replace(healthy, edit=_louder(factor), optimizer=gp.Adam(0.01))
        assert gp.diagnose(sick.model(), sick.X, sick.y)[0].tag == "bad_initial_loss"
        history = sick.fit()
        constant = history.settings["facts"]["targets"]["constant_loss"]
        history["accuracy"][:] = history["val_accuracy"][:] = [0.99] * 20
        history["val_loss"][:] = history["data_loss"][:] = [0.5 * constant, *[0.02 * constant] * 19]
        assert history.diagnose() == []
        history["data_loss"][:5] = [constant * level for level in (0.95, 0.9, 0.8, 0.7, 0.6)]  # slow to learn half
        assert [symptom.tag for symptom in history.diagnose()] == tags


@pytest.mark.parametrize(("factor", "cause"), [(8.0, "learning_rate_too_low"), (30.0, "bad_initial_loss")])
def test_only_a_start_that_is_far_off_explains_what_follows(healthy: Setup, factor: float, cause: str) -> None:
    history = replace(healthy, edit=_louder(factor), optimizer=gp.Adam(1e-6)).fit()
    facts = history.settings["facts"]
    assert (5 if factor == 8 else 12) < facts["start"]["data_loss"] / facts["targets"]["constant_loss"]
    assert [symptom.tag for symptom in history.diagnose()] == [cause]


def test_a_start_that_is_somewhat_off_is_said_before_the_swings_it_may_have_made(healthy: Setup) -> None:
    history = replace(healthy, edit=_louder(8.0), batch=16).fit()
    constant = history.settings["facts"]["targets"]["constant_loss"]
    history["data_loss"][-12:] = [constant * level for level in (0.2, 0.25) * 6]
    assert [symptom.tag for symptom in history.diagnose()] == ["bad_initial_loss", "oscillating_loss"]
