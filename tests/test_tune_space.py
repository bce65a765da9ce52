"""Scales of hyper-parameters: what is drawn, and how a part of a range is found."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof.tune.space import Space

tune = gp.tune
N = 4000


def drawn(parameter: tune.Parameter, part: Any = None, n: int = N) -> list[Any]:
    rng = np.random.default_rng(0)
    return [parameter.value(parameter.draw(rng, part)) for _ in range(n)]


@pytest.mark.parametrize(
    ("parameter", "median"),
    [
        (tune.uniform(0.5, 1), 0.75),
        (tune.uniform(-3, 1), -1),
        (tune.log(1e-4, 1), 1e-2),
        (tune.one_minus(0.9, 0.999), 0.99),
        (tune.integer(0, 100), 50),
        (tune.integer(1, 10_000, log=True), math.sqrt(0.5 * 10_000.5)),  # 1 stands for 0.5 to 1.5
    ],
    ids=repr,
)
def test_half_of_what_is_drawn_is_below_the_middle_of_the_scale(parameter, median):
    values = np.array(drawn(parameter))
    assert parameter.low <= values.min() and values.max() <= parameter.high
    below = np.mean(values < median) + 0.5 * np.mean(values == median)
    assert abs(below - 0.5) < 0.03  # four standard deviations of the share


def test_a_log_scale_gives_every_decade_the_same_share():
    values = np.log10(drawn(tune.log(1e-4, 1)))
    assert np.all(np.abs(np.histogram(values, [-4, -3, -2, -1, 0])[0] / N - 0.25) < 0.03)
    # the lecture's point: drawn evenly, nine in ten would be in the last decade
    assert np.mean(np.array(drawn(tune.uniform(1e-4, 1))) > 0.1) > 0.85


def test_the_distance_from_one_is_what_is_drawn():
    distances = np.log10(1 - np.array(drawn(tune.one_minus(0.9, 0.999))))
    assert np.all(np.abs(np.histogram(distances, [-3 - 1e-9, -2, -1 + 1e-9])[0] / N - 0.5) < 0.03)


def test_all_whole_numbers_and_options_are_equally_likely():
    counts = np.bincount(drawn(tune.integer(1, 8)), minlength=9)[1:]
    assert np.all(np.abs(counts / N - 1 / 8) < 0.025)
    values = drawn(tune.choice(["a", "b", "c"]))
    assert all(abs(values.count(option) / N - 1 / 3) < 0.03 for option in "abc")


def test_options_of_any_kind_have_labels():
    parameter = tune.choice({"relu": gp.ReLU, "tanh": gp.Tanh})
    assert set(drawn(parameter, n=50)) == {gp.ReLU, gp.Tanh}
    assert parameter.label("relu") == "relu" and parameter.value("tanh") is gp.Tanh


@pytest.mark.parametrize("parameter", [tune.uniform(0, 10), tune.log(1e-5, 1), tune.one_minus(0.5, 0.999)], ids=repr)
def test_a_part_holds_the_best_and_a_margin_on_their_scale(parameter):
    rng = np.random.default_rng(1)
    stored = [parameter.draw(rng) for _ in range(3)]
    tight = np.array(drawn(parameter, parameter.around(stored, 0.0, 0.0)))
    values = [parameter.value(each) for each in stored]
    span = max(values) - min(values)
    assert min(values) - 1e-9 * span <= tight.min() < min(values) + 0.01 * span
    assert max(values) - 0.01 * span < tight.max() <= max(values) + 1e-9 * span
    low, high = parameter.around(stored, 0.0, 0.0)
    wide = parameter.around(stored, 0.1, 0.0)
    whole = parameter.around(stored, 1e6, 0.0)
    assert wide[0] == pytest.approx(max(low - 0.1 * (high - low), whole[0]))
    assert wide[1] == pytest.approx(min(high + 0.1 * (high - low), whole[1]))


def test_a_part_is_never_narrower_than_asked_for():
    low, high = tune.log(1e-4, 1).around([1e-2], 0.5, 0.1)
    assert high - low == pytest.approx(0.1 * math.log(1e4))
    assert (low + high) / 2 == pytest.approx(math.log(1e-2))


def test_parts_of_whole_numbers_and_options_hold_just_the_best():
    assert set(drawn(tune.integer(1, 100, log=True), tune.integer(1, 100, log=True).around([7, 9], 0, 0))) == {7, 8, 9}
    assert set(drawn(tune.integer(0, 9), tune.integer(0, 9).around([0], 0, 0))) == {0}
    assert set(drawn(tune.choice([1, 2, 3]), tune.choice([1, 2, 3]).around([3, 1, 3], 0.5, 0.5))) == {1, 3}


def test_the_space_counts_its_combinations():
    finite = {"n": tune.integer(1, 5), "c": tune.choice([0, 1, 2]), "x": tune.uniform(2, 2)}
    assert Space(finite).size == 15
    assert Space(finite | {"rate": tune.log(1e-3, 1)}).size == math.inf


def test_a_study_stores_the_distance_under_a_name_that_says_so():
    pytest.importorskip("optuna", reason="Optuna is not installed")
    space = Space({"beta": tune.one_minus(0.9, 0.999), "rate": tune.log(1e-4, 1)})
    stored = space.draw(np.random.default_rng(0))
    assert set(stored) == {"1-beta", "rate"} == set(space.distributions())
    assert space.values(stored)["beta"] == 1 - stored["1-beta"]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: tune.log(0, 1), ValueError, "low: got 0, expected a finite number > 0"),
        (lambda: tune.log(1e-2, 1e-4), ValueError, "low <= high"),
        (lambda: tune.log("a", 1), TypeError, "low: got 'a'"),
        (lambda: tune.uniform(0, math.nan), ValueError, "high: got nan"),
        (lambda: tune.uniform(True, 2), TypeError, "low: got True"),
        (lambda: tune.one_minus(0.9, 1), ValueError, "high: got 1, expected a finite number < 1"),
        (lambda: tune.integer(0, 8, log=True), ValueError, "low: got 0, expected at least 1"),
        (lambda: tune.integer(1.5, 8), TypeError, "low: got 1.5"),
        (lambda: tune.integer(9, 8), ValueError, "low <= high"),
        (lambda: tune.integer(1, 8, log=1), TypeError, "log: got 1"),
        (lambda: tune.choice("relu"), TypeError, "options: got 'relu'"),
        (lambda: tune.choice([]), ValueError, "at least one option"),
        (lambda: tune.choice([1, 1.0]), ValueError, "none twice"),
        (lambda: tune.choice([gp.ReLU]), TypeError, "dict from labels"),
        (lambda: tune.choice({1: "a"}), TypeError, "label 1"),
        (lambda: tune.choice([math.inf]), ValueError, "finite"),
        (lambda: Space({}), TypeError, "space: got {}"),
        (lambda: Space([1]), TypeError, "space: got"),
        (lambda: Space({1: tune.log(1, 2)}), TypeError, "name 1"),
        (lambda: Space({"epochs": 5}), TypeError, r"space\['epochs'\]: got 5"),
        (lambda: Space({"b": tune.one_minus(0, 0.5), "1-b": tune.log(1, 2)}), ValueError, "not distinct"),
    ],
)
def test_nonsense_is_named(make, error, text):
    with pytest.raises(error, match=text):
        make()
