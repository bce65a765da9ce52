"""Checks of networks under a budget, with a bar, interrupted, by several workers, and at a nearby point."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof as gp
from gradproof.check import portions
from gradproof.check.portions import Terms, measure_portions
from gradproof.check.structured import Point, measure_at

COLUMNS = ("numeric", "uncertainty", "rounding", "kink", "left", "right", "recorded")


class Slope(gp.Layer):
    """y = s x, whose backward pass is right at s = 1 only."""

    def build(self, n_in, rng):
        return {"s": np.ones(n_in)}

    def forward(self, x, parameters, training):
        return x * parameters["s"], x

    def backward(self, dy, cache, parameters):
        return dy * parameters["s"] ** 2, {"s": np.sum(dy * cache, axis=0)}


def network(dtype="float64", middle=(), l2=0.0):
    layers = [gp.Dense(20), gp.BatchNorm(), gp.ReLU(), *middle, gp.Maxout(9, pieces=2), gp.Tanh(), gp.Dense(4)]
    return gp.Sequential(layers, 7, "softmax_cross_entropy", l2=l2, dtype=dtype, seed=3)


@pytest.fixture
def batch(rng):
    return rng.normal(size=(6, 7)), rng.integers(0, 4, 6)


@pytest.mark.parametrize("scheme", ["difference", "tangent", "central"])
def test_portions_give_the_numbers_of_one_pass(dtype, batch, scheme, monkeypatch):
    monkeypatch.setattr(portions, "WORK", 2e4)
    point = Point(network(dtype), *batch)
    whole = measure_at(point, scheme)
    told = []
    parts, skipped = measure_portions(point, scheme, None, Terms(progress=lambda done, total: told.append(done)))
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name), err_msg=name)
    assert not skipped.any() and parts.evaluations >= point.model.layout.size
    assert told[-1] == point.model.layout.size


def test_long_checks_go_by_portions_unasked(batch, monkeypatch):
    seen = []
    measure = portions.measure_at
    monkeypatch.setattr(portions, "measure_at", lambda *a: seen.append(len(a)) or measure(*a))
    gp.check_model(network(), *batch)
    assert len(seen) == 1
    monkeypatch.setattr(portions, "LONG", 1.0)
    monkeypatch.setattr(portions, "WORK", 2e4)
    assert gp.check_model(network(), *batch).ok
    assert len(seen) > 3


def test_a_budget_of_evaluations_leaves_the_rest_unchecked(batch):
    model = network(l2=0.1)
    report = gp.check_model(model, *batch, max_evaluations=100)
    assert report.verdict == "inconclusive"
    assert 50 <= report.checked <= 150
    assert report.checked == report.matched
    assert any("max_evaluations=100 is used up" in note for note in report.notes)
    assert all(tensor.checked for tensor in report.tensors.values())
    for tensor in report.tensors.values():
        assert np.array_equal(np.isnan(tensor.numeric), tensor.status == 0)
    assert gp.check_model(model, *batch, max_evaluations=10**6).ok


@pytest.mark.parametrize("budget", [0, 1, 10, 100, 300])
@pytest.mark.parametrize("scheme", ["difference", "tangent", "central", "forward"])
def test_no_more_is_evaluated_than_the_budget_and_the_rest_of_a_portion(batch, scheme, budget):
    report = gp.check_model(network(l2=0.1), *batch, scheme=scheme, max_evaluations=budget)
    rest = max(4, budget // portions.PIECES)
    assert min(budget, 1) * max(1, budget - rest) <= report.evaluations <= budget + min(budget, 1) * rest
    assert report.checked and report.parts["data"].checked or not budget
    assert report.parts["regularization"].evaluations == 0  # it is in closed form


def test_a_budget_that_is_just_enough_is_not_used_up(batch):
    model = network(l2=0.1)
    assert gp.check_model(model, *batch, max_evaluations=model.theta.size).ok


def test_behind_a_python_layer_the_smallest_budget_checks_something(batch):
    report = gp.check_model(network(middle=[Slope()]), *batch, max_evaluations=10, nearby=False)
    assert report.tensors["maxout_0.b"].checked and report.tensors["dense_1.b"].checked


def test_a_mistake_within_the_budget_is_still_a_failure(batch):
    model = network()
    wrong = model.loss_and_gradient(*batch)[1]
    wrong *= 2
    report = gp.check_model(model, *batch, gradient=wrong, max_evaluations=100)
    assert report.verdict == "fail" and report.findings[0].cause == "scale"


def test_no_time_checks_nothing(batch):
    report = gp.check_model(network(), *batch, max_seconds=0)
    assert report.verdict == "inconclusive" and report.checked == 0


def test_an_interrupt_keeps_what_is_known(batch, monkeypatch):
    monkeypatch.setattr(portions, "WORK", 2e4)

    def interrupt(done, total):
        if done > 0:
            raise KeyboardInterrupt

    report = gp.check_model(network(), *batch, progress=interrupt)
    assert report.verdict == "inconclusive"
    assert 0 < report.checked < report.size
    assert any("interrupted" in note for note in report.notes)


def steps_that(monkeypatch, step):
    """Training steps that do something else first; how many were made."""
    made, plain = [], gp.Sequential._gradient_step

    def replaced(self, *arguments):
        step(len(made))
        made.append(None)
        return plain(self, *arguments)

    monkeypatch.setattr(gp.Sequential, "_gradient_step", replaced)
    return made


def test_steps_that_time_does_not_allow_are_not_made_and_said(batch, monkeypatch):
    made = steps_that(monkeypatch, lambda done: None)
    report = gp.check_model(network(), *batch, after_steps=(0, 10**6, 10**7), max_seconds=0, nearby=True)
    assert not made and report.verdict == "inconclusive"
    assert [stage.label for stage in report.stages] == [f"after {k} steps" for k in (0, 10**6, 10**7)]
    assert all(stage.notes[0] == "Not reached: max_seconds=0 is used up." for stage in report.stages[1:])
    assert report.stages[-1].notes[-1] == "No nearby point was checked." and not report.stages[-1].checked
    assert "Not reached" in str(gp.check_model(network(), *batch, after_steps=5, max_seconds=0))


def test_time_that_runs_out_between_steps_ends_them(batch, monkeypatch):
    clock = portions.time.monotonic()
    monkeypatch.setattr(portions.time, "monotonic", lambda: clock)

    def step(done):
        nonlocal clock
        clock += 1.0

    made = steps_that(monkeypatch, step)
    report = gp.check_model(network(), *batch, after_steps=(0, 50), max_seconds=10)
    assert [stage.verdict for stage in report.stages] == ["pass", "inconclusive"] and len(made) == 10
    assert "Not reached: max_seconds=10 is used up." in str(report)
    assert gp.check_model(network(), *batch, after_steps=(0, 5), max_seconds=10).ok


def test_an_interrupt_between_steps_keeps_what_is_known(batch, monkeypatch):
    def step(done):
        if done == 3:
            raise KeyboardInterrupt

    steps_that(monkeypatch, step)
    model = network()
    before = model.theta.copy()
    report = gp.check_model(model, *batch, after_steps=(0, 2, 5, 9))
    assert [stage.verdict for stage in report.stages] == ["pass", "pass", "inconclusive", "inconclusive"]
    assert report.stages[0].checked == report.stages[1].checked == model.theta.size
    assert all(stage.notes == ["Not reached: interrupted."] for stage in report.stages[2:])
    assert np.array_equal(model.theta, before)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_give_the_numbers_of_one_pass(batch, backend, monkeypatch):
    pytest.importorskip("joblib", reason="sharing out needs joblib")
    monkeypatch.setattr(portions, "WORK", 2e4)
    model = network()
    alone, shared = gp.check_model(model, *batch), gp.check_model(model, *batch, backend=backend, n_jobs=2)
    assert shared.verdict == alone.verdict == "pass"
    for name, tensor in alone.tensors.items():
        for column in ("analytic", "numeric", "uncertainty", "status"):
            np.testing.assert_array_equal(getattr(shared.tensors[name], column), getattr(tensor, column), column)


def test_what_vanishes_at_one_shows_nearby(batch):
    report = gp.check_model(network(middle=[Slope()]), *batch)
    assert report.verdict == "fail"
    assert [stage.verdict for stage in report.stages] == ["pass", "fail"]
    assert report.label == "at a nearby point"
    assert "slope_0.s" not in report.culprits and "dense_0.W" in report.culprits
    assert gp.check_model(network(middle=[Slope()]), *batch, nearby=False).ok


def test_nearby_on_request(batch):
    report = gp.check_model(network(), *batch, nearby=True)
    assert report.ok and any("nearby" in note for note in report.notes)
    with pytest.raises(ValueError, match="nearby"):
        gp.check_model(network(), *batch, nearby=True, gradient=network().theta)


@pytest.mark.parametrize(
    ("keywords", "error"),
    [({"max_evaluations": -1}, ValueError), ({"max_seconds": "1"}, TypeError), ({"n_jobs": 0}, ValueError)],
)
def test_wrong_keywords_are_named(batch, keywords, error):
    with pytest.raises(error, match=next(iter(keywords))):
        gp.check_model(network(), *batch, **keywords)
