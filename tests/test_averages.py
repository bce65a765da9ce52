"""Exponentially weighted averages: the definition, its bias correction, arrays, state."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

import gradproof as gp
from gradproof.train.averages import EWA, ewa


def exact(values, beta, bias_correction):
    """By the definition, in exact arithmetic."""
    beta, average, result = Fraction(beta), Fraction(0), []
    for t, x in enumerate(values, 1):
        average = beta * average + (1 - beta) * Fraction(x)
        result.append(float(average / (1 - beta**t) if bias_correction else average))
    return result


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.98, 0.999])
def test_numbers_are_averaged_by_the_definition(beta, bias_correction, rng):
    values = rng.normal(5, 1, 60).tolist()
    average = EWA(beta, bias_correction)
    results = [average.update(x) for x in values]
    assert results == pytest.approx(exact(values, beta, bias_correction), rel=1e-13)
    assert all(type(x) is float for x in results)
    assert average.value == results[-1]
    np.testing.assert_array_equal(ewa(values, beta, bias_correction), results)


def test_the_weather_of_the_lectures():
    """Without the correction an average of 20 degrees begins at 2, with it at 20."""
    assert EWA(0.9, bias_correction=False).update(20.0) == pytest.approx(2.0)
    assert EWA(0.9).update(20.0) == 20.0


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 4)], ids=str)
def test_arrays_are_averaged_entry_by_entry_in_their_own_precision(shape, dtype, rng, assert_close):
    values = rng.normal(size=(30, *shape)).astype(dtype)
    average = EWA(0.8)
    for x in values:
        result = average.update(x)
        assert isinstance(result, np.ndarray)
        assert result.dtype == dtype and result.shape == shape
    series = ewa(values, 0.8)
    assert series.dtype == dtype and series.shape == values.shape
    assert_close(average.value, series[-1])
    for index in np.ndindex(shape):
        assert_close(series[(slice(None), *index)], exact(values[(slice(None), *index)].tolist(), 0.8, True))


@pytest.mark.parametrize("bias_correction", [True, False])
def test_what_is_always_the_same_is_its_own_average(bias_correction, dtype):
    value = np.array([0.1, -1e30, 1e-30], dtype)
    average = EWA(0.99, bias_correction)
    for _ in range(3000):
        result = average.update(value)
    np.testing.assert_allclose(result, value, rtol=0 if bias_correction else 1e-5)


def test_without_a_past_every_value_is_the_average():
    average = EWA(0)
    assert [average.update(x) for x in (0.1, 1e30, 0.3)] == [0.1, 1e30, 0.3]


def test_neither_values_nor_results_are_shared():
    average, x = EWA(0.5), np.ones(2)
    result = average.update(x)
    x[:], result[:] = 7, 8
    assert average.value.tolist() == [1, 1]
    average.value[:] = 9
    assert average.update(np.ones(2)).tolist() == [1, 1]


def test_effective_window():
    assert EWA(0.9).effective_window == pytest.approx(10)
    assert EWA(0).effective_window == 1


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0, 5.0], np.arange(8.0).reshape(4, 2)], ids=["numbers", "arrays"])
def test_an_average_goes_on_from_its_state(values):
    straight, first = EWA(0.7), EWA(0.7)
    assert straight.value is None
    for x in values:
        expected = straight.update(x)
    for x in values[:2]:
        first.update(x)
    second = EWA(0.1, bias_correction=False)
    second.state = first.state
    for x in values[2:]:
        result = second.update(x)
    np.testing.assert_array_equal(result, expected)
    assert (second.beta, second.bias_correction, second.count) == (0.7, True, 4)


def test_the_state_of_numbers_is_plain_data_and_nothing_is_a_state_too():
    average = EWA(0.7)
    other = EWA(0.5)
    other.state = json.loads(json.dumps(average.state))
    assert other.value is None and other.update(3) == 3
    average.update(2)
    assert json.loads(json.dumps(average.state)) == {"beta": 0.7, "bias_correction": True, "count": 1, "value": 2.0}


def test_it_says_what_it_is():
    assert repr(EWA(0.9)) == "EWA(0.9)"
    assert repr(EWA(0.9, bias_correction=False)) == "EWA(0.9, bias_correction=False)"
    assert gp.averages.EWA is EWA


def state(**changed):
    def use():
        average = EWA(0.5)
        average.state = {**average.state, **changed}

    return use


REFUSED = {
    "beta 1": (lambda: EWA(1.0), ValueError, r"beta: got 1, expected a number in \[0, 1\)"),
    "beta nan": (lambda: EWA(float("nan")), ValueError, "beta: got nan"),
    "beta text": (lambda: EWA("0.9"), TypeError, "beta: got '0.9'"),
    "text": (lambda: EWA(0.9).update("1"), TypeError, "x: got str"),
    "complex": (lambda: EWA(0.9).update(1j), TypeError, "x: got complex"),
    "a number": (lambda: ewa(3.0, 0.9), ValueError, "series: got a number, expected a sequence"),
    "ragged": (lambda: ewa([[1], [1, 2]], 0.9), ValueError, "series: got list"),
    "state keys": (lambda: setattr(EWA(0.5), "state", {}), ValueError, "state: got {}, expected a dict with beta"),
    "state count": (state(count=-1), ValueError, r"state\['count'\]: got -1"),
    "state value": (state(count=2), ValueError, "state: got value None after 2 updates"),
    "state beta": (state(beta=2), ValueError, r"state\['beta'\]: got 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arguments_are_named(case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


def test_values_keep_their_shape():
    average = EWA(0.9)
    average.update([1.0, 2.0])
    with pytest.raises(ValueError, match=r"x: got shape \(3,\), expected \(2,\) as before"):
        average.update([1.0, 2.0, 3.0])
    assert average.count == 1
