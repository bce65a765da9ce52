from __future__ import annotations

import collections

import numpy as np
import pytest

from gradproof.check.tree import Parameters, copy_layout

Pair = collections.namedtuple("Pair", "a b")


def structure():
    return {
        "layers": [{"W": np.arange(6.0).reshape(2, 3), "b": np.zeros(3, np.float32)}, Pair(np.ones(2), np.array(3.0))],
        "empty": np.zeros((0, 4)),
    }


def test_names_are_paths_in_insertion_order():
    parameters = Parameters(structure())
    assert parameters.names == ["layers.0.W", "layers.0.b", "layers.1.0", "layers.1.1", "empty"]
    assert parameters.sizes == [6, 3, 2, 1, 0]
    assert parameters.shapes == [(2, 3), (3,), (2,), (), (0, 4)]
    assert Parameters(np.ones(2)).names == ["params"]


def test_rebuild_gives_the_same_containers_with_other_leaves():
    parameters = Parameters(collections.OrderedDict(structure()))
    rebuilt = parameters.rebuild(["a", "b", "c", "d", "e"])
    assert type(rebuilt) is collections.OrderedDict
    assert rebuilt == {"layers": [{"W": "a", "b": "b"}, Pair("c", "d")], "empty": "e"}
    assert isinstance(rebuilt["layers"][1], Pair)


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(24.0)[::2],
        np.arange(12.0)[::-1],
        np.arange(12.0).reshape(3, 4).T[::-1],
        np.array(1.0),
        np.ones((0, 3)),
    ],
)
def test_copies_keep_dtype_and_strides(array, dtype):
    array = array.astype(dtype, copy=False) if array.dtype == dtype else array.astype(dtype, order="K")
    copied = copy_layout(array)
    assert copied.dtype == array.dtype
    assert copied.strides == array.strides
    assert np.array_equal(copied, array)
    assert not np.shares_memory(copied, array)


def test_overlapping_and_sparse_arrays_are_copied_without_their_strides():
    assert copy_layout(np.broadcast_to(1.0, (3, 4))).strides == (32, 8)
    assert copy_layout(np.arange(1000.0)[::100]).strides == (8,)


def test_read_only_stays_read_only_for_the_caller_and_can_be_moved():
    frozen = np.ones(3)
    frozen.flags.writeable = False
    given, mine = Parameters([frozen]).working()
    assert not given[0].flags.writeable
    mine[0][1] = 7.0
    assert given[0][1] == 7.0
    assert frozen[1] == 1.0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"a": {"b": [1.0]}}, "params.a.b.0: got float 1.0, expected an ndarray"),
        ({"a": None}, "params.a: got None"),
        ([np.arange(3)], "params.0: got an array of int64, expected float32 or float64"),
        (np.ones(2, np.float16), "params: got an array of float16"),
        (np.ones(2, complex), "params: got an array of complex128"),
        ("text", "params: got str 'text'"),
    ],
)
def test_what_is_not_an_array_of_floats_is_refused_by_name(params, message):
    with pytest.raises(TypeError, match=message):
        Parameters(params)


def test_cycles_and_equal_names_are_refused():
    cycle: list = [np.ones(1)]
    cycle.append({"again": cycle})
    with pytest.raises(ValueError, match=r"params\.1\.again: the structure contains itself"):
        Parameters(cycle)
    with pytest.raises(ValueError, match=r"two tensors are called 'a\.b'"):
        Parameters({"a": {"b": np.ones(1)}, "a.b": np.ones(1)})


def test_the_same_container_twice_is_no_cycle():
    shared = [np.ones(1)]
    assert Parameters({"a": shared, "b": shared}).names == ["a.0", "b.0"]


def test_gradient_is_copied_as_float64():
    parameters = Parameters(structure())
    buffer = parameters.rebuild([np.full(shape, 2.0, np.float32) for shape in parameters.shapes])
    taken = parameters.gradient(buffer)
    buffer["layers"][0]["W"][...] = 9.0
    assert all(array.dtype == np.float64 and np.all(array == 2.0) for array in taken)
    assert [array.shape for array in taken] == parameters.shapes


def test_a_scalar_stands_for_a_0d_gradient():
    parameters = Parameters({"x": np.array(2.0)})
    for value in (3.0, np.float64(3.0), np.float32(3.0)):
        assert parameters.gradient({"x": value})[0].shape == ()


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (None, TypeError, "grad: got None, expected a dict"),
        ({"a": np.ones(2)}, ValueError, r"grad: got the keys \['a'\], expected \['a', 'b'\]"),
        ({"a": np.ones(2), "b": (np.ones(1), np.ones(1))}, ValueError, r"grad\.b: got 2 items, expected 1"),
        ({"a": np.ones(3), "b": [np.ones(1)]}, ValueError, r"grad\.a: got shape \(3,\), expected \(2,\)"),
        ({"a": np.ones(2, int), "b": [np.ones(1)]}, TypeError, r"grad\.a: got an array of int64"),
        ({"a": np.ones(2, complex), "b": [np.ones(1)]}, TypeError, r"grad\.a: got an array of complex128"),
        ({"a": np.ones(2), "b": np.ones(1)}, TypeError, r"grad\.b: got an array of shape \(1,\), expected a list"),
        ({"a": None, "b": [np.ones(1)]}, TypeError, r"grad\.a: got None"),
    ],
)
def test_a_gradient_of_another_structure_is_refused_by_name(gradient, error, message):
    with pytest.raises(error, match=message):
        Parameters({"a": np.ones(2), "b": [np.ones(1)]}).gradient(gradient)


def test_lists_and_tuples_stand_for_one_another_in_gradients():
    taken = Parameters([np.ones(1), np.ones(2)]).gradient((np.zeros(1), np.zeros(2)))
    assert len(taken) == 2
