from __future__ import annotations

import math

import numpy as np
import pytest

from gradproof.check.evaluate import BudgetSpent, Problem


def square(params):
    return float(np.sum(np.square(params["x"], dtype=np.float64)))


def problem(loss=square, grad=lambda p: {"x": 2 * p["x"]}, x=None, **keywords):
    return Problem(loss, grad, {"x": np.array([1.0, 2.0, 3.0]) if x is None else x}, **keywords)


def test_an_entry_is_moved_and_put_back(dtype):
    it = problem(x=np.array([1.0, -0.0, 3.1], dtype))
    before = it.working[0].tobytes()
    value, moved = it.value_at(0, 2, 1e-3)
    assert value > it.value()
    assert moved == float(it.x(0).dtype.type(float(it.x(0)[2]) + 1e-3)) - float(it.x(0)[2])
    it.value_at(0, 1, 1.0)
    assert it.working[0].tobytes() == before
    assert it.evaluations == 3


def test_directions_report_what_the_dtype_could_hold(dtype):
    it = problem(x=np.array([1.0, 2.0, 3.0], dtype))
    value, moved = it.value_along({0: np.array([1.0, -1.0, 0.0])}, 1e-5)
    assert value == pytest.approx(square({"x": it.x(0) + moved[0]}), rel=1e-12)
    assert moved[0] == pytest.approx([1e-5, -1e-5, 0.0], rel=0.03)
    assert moved[0].dtype == np.float64
    assert np.array_equal(it.working[0], it.x(0))


def test_gradients_at_shifted_points():
    it = problem()
    shifted = it.gradient_at({0: np.ones(3)}, 0.5)
    assert shifted is not None
    assert np.array_equal(shifted[0], [3.0, 5.0, 7.0])
    assert np.array_equal(it.gradient()[0], [2.0, 4.0, 6.0])
    assert it.gradients == 2


def test_a_gradient_may_be_given_as_numbers():
    it = problem(grad={"x": np.array([2.0, 4.0, 6.0])})
    assert np.array_equal(it.gradient()[0], [2.0, 4.0, 6.0])
    assert it.gradient_at({0: np.ones(3)}, 0.5) is None


def test_raising_at_a_shifted_point_is_nan_and_noted():
    def loss(params):
        if params["x"][1] > 2:
            raise ValueError("outside")
        return float(np.sum(params["x"]))

    it = problem(loss)
    assert math.isnan(it.value_at(0, 1, 0.5)[0])
    assert it.failures == {(0, 1): (0.5, "ValueError: outside")}
    assert it.value_at(0, 0, 0.5)[0] == 6.5
    assert it.value() == 6.0


def test_raising_at_the_point_comes_through():
    def loss(params):
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError):
        problem(loss).value()


@pytest.mark.parametrize(
    "value", [np.float32(1.5), np.float64(1.5), 1.5, np.array(1.5), np.array([1.5]), np.array([[1.5]], "f4")]
)
def test_one_real_number_in_any_dress(value):
    it = problem(lambda p: value)
    assert it.value() == 1.5
    assert it.returns_single == (getattr(value, "dtype", None) == np.float32)


@pytest.mark.parametrize(
    "value", [None, "1.5", 1.5 + 0j, np.complex128(1.5), np.ones(3), np.array([]), {}, True, np.array("a")]
)
def test_anything_else_is_a_type_error_that_names_it(value):
    with pytest.raises(TypeError, match="loss: returned .*expected one real number"):
        problem(lambda p: value).value()
    calls = []

    def later(params):
        calls.append(1)
        return value if len(calls) > 1 else 1.0

    it = problem(later)
    it.value()
    with pytest.raises(TypeError, match="loss: returned"):
        it.value_at(0, 0, 1e-3)


def test_a_loss_that_writes_into_its_argument_is_noticed_and_outwitted():
    def loss(params):
        params["x"] += 1.0
        return float(np.sum(params["x"]))

    it = problem(loss)
    assert it.value() == it.value() == 9.0
    assert it.value_at(0, 0, 0.5)[0] == 9.5
    assert it.disturbed == {"loss"}
    assert it.disturbances == {"x"}


def test_a_loss_that_takes_the_structure_apart_is_noticed():
    def loss(params):
        return float(np.sum(params.pop("x")))

    it = problem(loss)
    assert it.value() == it.value() == 6.0
    assert it.disturbed == {"loss"}


def test_a_gradient_that_writes_into_its_argument_is_noticed():
    def grad(params):
        params["x"] *= 2
        return params

    it = problem(grad=grad)
    assert np.array_equal(it.gradient()[0], it.gradient()[0])
    assert it.disturbed == {"grad"}
    assert it.value() == 14.0


def test_the_arguments_of_the_caller_are_never_touched():
    x = np.array([1.0, 2.0])
    it = problem(lambda p: float(np.sum(p["x"])), x=x)
    it.value_at(0, 0, 1.0)
    assert not np.shares_memory(it.working[0], x)
    assert np.array_equal(x, [1.0, 2.0])


def test_budgets_keep_their_word():
    it = problem(max_evaluations=2)
    it.value()
    assert it.remaining() == 1
    it.value()
    with pytest.raises(BudgetSpent, match="max_evaluations=2"):
        it.value_at(0, 0, 1e-3)
    it = problem(max_seconds=0.0)
    with pytest.raises(BudgetSpent, match="max_seconds"):
        it.value()


def test_an_interrupt_leaves_everything_in_place():
    def loss(params):
        if params["x"][0] != 1.0:
            raise KeyboardInterrupt
        return 1.0

    it = problem(loss)
    with pytest.raises(KeyboardInterrupt):
        it.value_at(0, 0, 1e-3)
    assert np.array_equal(it.working[0], it.x(0))
