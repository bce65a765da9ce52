"""Optimizers refuse hyper-parameters, arrays and states that make no sense, and name them."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import gradproof as gp
from gradproof import _core, kernels
from gradproof.train.optimizers import OptimizerState, runs


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e-3])
@pytest.mark.parametrize("field", ["learning_rate", "weight_decay", "clip_norm"])
@pytest.mark.parametrize("kind", [gp.SGD, gp.Momentum, gp.RMSprop, gp.Adam])
def test_numbers_that_make_no_sense_are_refused(kind, field, value):
    with pytest.raises(ValueError, match=f"{field}: got {value:g}, expected a number"):
        kind(**{field: value})


@pytest.mark.parametrize("value", [1.0, -0.1, 1.5, float("nan")])
@pytest.mark.parametrize(
    ("kind", "field"), [(gp.Momentum, "beta"), (gp.RMSprop, "beta"), (gp.Adam, "beta1"), (gp.Adam, "beta2")]
)
def test_betas_are_in_the_half_open_interval(kind, field, value):
    with pytest.raises(ValueError, match=rf"{field}: got {value:g}, expected a number in \[0, 1\)"):
        kind(**{field: value})
    kind(**{field: 0})


@pytest.mark.parametrize("value", [0.0, -1e-8, 1e-50, float("inf"), float("nan")])
@pytest.mark.parametrize("kind", [gp.RMSprop, gp.Adam])
def test_epsilon_is_positive(kind, value):
    with pytest.raises(ValueError, match=f"epsilon: got {value:g}, expected a number >= "):
        kind(epsilon=value)


def test_numbers_are_numbers():
    for value in ("0.1", None, True, [0.1]):
        with pytest.raises(TypeError, match="learning_rate: got"):
            gp.SGD(value)
    with pytest.raises(ValueError, match="clip_norm: got 0, expected a number > 0, or None"):
        gp.SGD(clip_norm=0)


THETA = np.ones(3)


def read_only():
    theta = np.ones(3)
    theta.flags.writeable = False
    return theta


REFUSED = {
    "a list": ([1.0, 2.0, 3.0], THETA, {}, TypeError, "theta: got list, expected an ndarray"),
    "dtype": (np.ones(3, "f2"), THETA, {}, TypeError, "theta: got dtype float16, expected float32 or float64"),
    "integers": (np.ones(3, int), THETA, {}, TypeError, "theta: got dtype int64"),
    "byte order": (np.ones(3, ">f8"), THETA, {}, TypeError, "theta: got dtype >f8"),
    "shape": (np.ones((3, 1)), THETA, {}, ValueError, r"theta: got shape \(3, 1\), expected a flat vector"),
    "read-only": (read_only(), THETA, {}, ValueError, "theta: got a read-only array"),
    "strided": (np.ones(6)[::2], THETA, {}, ValueError, "theta: got an array that is not C-contiguous"),
    "other dtype": (
        np.ones(3),
        THETA.astype("f4"),
        {},
        TypeError,
        "gradient: got float32, expected float64 like theta",
    ),
    "other size": (np.ones(3), np.ones(4), {}, ValueError, r"gradient: got shape \(4,\), expected \(3,\)"),
    "rate": (np.ones(3), THETA, {"learning_rate": np.nan}, ValueError, "learning_rate: got nan"),
    "negative rate": (np.ones(3), THETA, {"learning_rate": -1}, ValueError, "learning_rate: got -1"),
    "frozen": (np.ones(3), THETA, {"frozen": [(1, 4)]}, ValueError, r"frozen: got \(1, 4\), expected 0 <= start"),
    "decayed": (np.ones(3), THETA, {"decayed": [(2, 1)]}, ValueError, r"decayed: got \(2, 1\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arguments_of_update_are_named(case):
    theta, gradient, options, error, message = REFUSED[case]
    optimizer, state = gp.Momentum(), OptimizerState(0, {"velocity": np.zeros(3)})
    before = copy.deepcopy(theta)
    with pytest.raises(error, match=message):
        optimizer.update(theta, gradient, state, **options)
    np.testing.assert_array_equal(theta, before)
    assert state.step == 0
    assert (state.slots["velocity"] == 0).all()


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"velocity": np.zeros(3)}, TypeError, r"state: got dict, expected what init\(theta\) returned"),
        (OptimizerState(), ValueError, "state: got slots none, expected velocity"),
        (gp.Adam().init(THETA), ValueError, "state: got slots first_moment, second_moment, expected velocity"),
        (gp.Momentum().init(np.ones(4)), ValueError, r"velocity'\]: got shape \(4,\), expected \(3,\) like theta"),
        (gp.Momentum().init(np.ones(3, "f4")), TypeError, r"velocity'\]: got float32, expected float64 like theta"),
        (OptimizerState(-1, {"velocity": np.zeros(3)}), ValueError, "state.step: got -1"),
    ],
)
def test_the_state_must_be_the_optimizers_own(state, error, message):
    theta = np.ones(3)
    with pytest.raises(error, match=message):
        gp.Momentum().update(theta, np.ones(3), state)
    assert (theta == 1).all()


def test_arrays_that_overlap_are_refused():
    memory = np.zeros(5)
    state = OptimizerState(0, {"velocity": np.zeros(3)})
    with pytest.raises(ValueError, match="gradient: got memory of theta, expected an array of its own"):
        gp.Momentum().update(memory[:3], memory[2:], state)
    with pytest.raises(ValueError, match="velocity: got memory of theta"):
        gp.Momentum().update(memory[:3], np.ones(3), OptimizerState(0, {"velocity": memory[1:4]}))
    with pytest.raises(ValueError, match="second_moment: got memory of first_moment"):
        kernels.adam_update(np.ones(3), memory[:3], memory[1:4], np.ones(3), 1, 0.1)


def test_wrong_numbers_of_kernels_are_named():
    with pytest.raises(ValueError, match="t: got 0"):
        kernels.adam_update(np.ones(3), np.zeros(3), np.zeros(3), np.ones(3), 0, 0.1)
    with pytest.raises(ValueError, match="learning_rate: got -0.1, expected a number >= 0"):
        kernels.sgd_update(np.ones(3), np.ones(3), -0.1)
    with pytest.raises(ValueError, match="beta: got 1, expected a number in"):
        kernels.momentum_update(np.ones(3), np.zeros(3), np.ones(3), 0.1, beta=1)
    with pytest.raises(ValueError, match="epsilon: got 0"):
        kernels.rmsprop_update(np.ones(3), np.zeros(3), np.ones(3), 0.1, epsilon=0)
    with pytest.raises(ValueError, match="weight_decay: got nan"):
        kernels.sgd_update(np.ones(3), np.ones(3), 0.1, weight_decay=float("nan"))


def test_the_core_refuses_what_only_internal_mistakes_could_pass():
    three = np.ones(3)
    with pytest.raises(ValueError, match="kind"):
        _core.optimizer_update(three, None, None, three.copy(), runs(3), 4, 1, 0.1, 0, 0, 1, 0, np.inf)
    with pytest.raises(ValueError, match="slots: expected 2"):
        _core.optimizer_update(three, three.copy(), None, three.copy(), runs(3), 3, 1, 0.1, 0, 0, 1, 0, np.inf)
    with pytest.raises(ValueError, match="t: expected"):
        _core.optimizer_update(three, None, None, three.copy(), runs(3), 0, 0, 0.1, 0, 0, 1, 0, np.inf)
