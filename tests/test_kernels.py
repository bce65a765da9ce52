"""Every compiled kernel against its NumPy twin, and what the kernels accept and refuse."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof import kernels, reference

SHAPES = [(1, 1), (3, 10), (33, 17), (257, 130)]
Arguments = Callable[[np.random.Generator, int, int], tuple[Any, ...]]


def batch_norm_state(rng: np.random.Generator, n: int) -> tuple[Any, ...]:
    return tuple(rng.normal(size=n) for _ in range(3)) + (rng.uniform(0.1, 2, n),)


# Arguments of each kernel for a batch of m rows and n columns; floats are converted to the dtype of the test.
CASES: dict[str, Arguments] = {
    "matmul": lambda rng, m, n: (rng.normal(size=(m, 7)), rng.normal(size=(7, n))),
    "dense_forward": lambda rng, m, n: (rng.normal(size=(m, n)), rng.normal(size=(n, 5)), rng.normal(size=5)),
    "dense_backward": lambda rng, m, n: (rng.normal(size=(m, 5)), rng.normal(size=(m, n)), rng.normal(size=(n, 5))),
    "relu_forward": lambda rng, m, n: (rng.normal(size=(m, n)),),
    "relu_backward": lambda rng, m, n: (rng.normal(size=(m, n)), rng.normal(size=(m, n))),
    "leaky_relu_forward": lambda rng, m, n: (rng.normal(size=(m, n)), 0.1),
    "leaky_relu_backward": lambda rng, m, n: (rng.normal(size=(m, n)), rng.normal(size=(m, n)), 0.1),
    "tanh_forward": lambda rng, m, n: (rng.normal(size=(m, n)),),
    "tanh_backward": lambda rng, m, n: (rng.normal(size=(m, n)), rng.uniform(-1, 1, (m, n))),
    "sigmoid_forward": lambda rng, m, n: (rng.normal(size=(m, n)),),
    "sigmoid_backward": lambda rng, m, n: (rng.normal(size=(m, n)), rng.uniform(0, 1, (m, n))),
    "softmax_forward": lambda rng, m, n: (rng.normal(size=(m, n)),),
    "softmax_backward": lambda rng, m, n: (rng.normal(size=(m, n)), rng.uniform(0, 1, (m, n))),
    "maxout_forward": lambda rng, m, n: (rng.integers(-2, 3, (m, 3 * n)).astype(float), 3),  # with ties
    "maxout_backward": lambda rng, m, n: (rng.normal(size=(m, n)), rng.integers(0, 3, (m, n)), 3),
    "dropout_forward": lambda rng, m, n: (rng.normal(size=(m, n)), rng.integers(0, 2, (m, n)) / 0.5),
    "dropout_backward": lambda rng, m, n: (rng.normal(size=(m, n)), rng.integers(0, 2, (m, n)) / 0.5),
    "batch_norm_forward": lambda rng, m, n: (3 + rng.normal(size=(m, n)), rng.normal(size=n), rng.normal(size=n)),
    "batch_norm_inference": lambda rng, m, n: (rng.normal(size=(m, n)), *batch_norm_state(rng, n)),
    "batch_norm_backward": lambda rng, m, n: (
        rng.normal(size=(m, n)),
        rng.normal(size=(m, n)),
        rng.uniform(0.5, 2, n),
        rng.normal(size=n),
    ),
    "batch_norm_update": lambda rng, m, n: batch_norm_state(rng, n),
    "softmax_cross_entropy": lambda rng, m, n: (rng.normal(size=(m, n)), rng.integers(0, n, m)),
    "hinge": lambda rng, m, n: (rng.normal(size=(m, n)), rng.integers(0, n, m), 0.5),
    "binary_cross_entropy": lambda rng, m, n: (rng.normal(size=(m, n)), rng.uniform(0, 1, (m, n))),
    "mse": lambda rng, m, n: (rng.normal(size=(m, n)), rng.normal(size=(m, n))),
    "l1": lambda rng, m, n: (rng.integers(-1, 2, (m, n)) * rng.normal(size=(m, n)), 0.3),
    "l2": lambda rng, m, n: (rng.normal(size=(m, n)), 0.3),
}
LOSSES = {"softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse"}
MEANS_OVER_ROWS = {"batch_norm_forward", "batch_norm_backward", *LOSSES}


def arguments(name: str, rng: np.random.Generator, shape: tuple[int, int], dtype: str) -> list[Any]:
    return [
        value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value
        for value in CASES[name](rng, *shape)
    ]


def results(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def same(name: str, args: list[Any], dtype: str, assert_close: Callable[[Any, Any], None]) -> None:
    """The kernel agrees with its twin in values, shapes and dtypes."""
    actual, expected = results(getattr(kernels, name)(*args)), results(getattr(reference, name)(*args))
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e)
        if isinstance(e, np.ndarray):
            assert a.shape == e.shape
            assert a.dtype == e.dtype == (np.int32 if e.dtype.kind == "i" else dtype)
            assert a.flags.c_contiguous
        else:
            assert type(a) is type(e) is float


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_matches_the_reference(name, dtype, shape, rng, assert_close):
    same(name, arguments(name, rng, shape, dtype), dtype, assert_close)


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", CASES)
def test_matches_the_reference_where_numbers_end(name, poison, dtype, rng, assert_close):
    def alike(actual, expected):
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.where(finite, 0, actual), np.where(finite, 0, expected))
        assert_close(np.where(finite, actual, 0), np.where(finite, expected, 0))

    for shape in SHAPES[:2]:
        for place in range(min(shape[1], 3)):
            args = arguments(name, rng, shape, dtype)
            args[0].flat[place :: shape[1]] = poison
            with np.errstate(all="ignore"):
                same(name, args, dtype, alike)


@pytest.mark.parametrize("name", sorted(set(CASES) - MEANS_OVER_ROWS))
def test_no_rows(name, dtype, rng, assert_close):
    same(name, arguments(name, rng, (0, 3), dtype), dtype, assert_close)


@pytest.mark.parametrize("name", sorted(MEANS_OVER_ROWS))
def test_a_mean_of_no_rows_is_refused(name, dtype, rng):
    with pytest.raises(ValueError, match="at least one row"):
        getattr(kernels, name)(*arguments(name, rng, (0, 3), dtype))


def test_every_kernel_has_a_twin_and_a_case():
    assert kernels.__all__ == [name for name in reference.__all__ if name != "Sequential"]
    assert {*CASES, "dropout_mask"} <= set(kernels.__all__)
    for name in kernels.__all__:
        ours, twin = signature(getattr(kernels, name)), signature(getattr(reference, name))
        assert list(ours.parameters) == list(twin.parameters)
        assert [p.default for p in ours.parameters.values()] == [p.default for p in twin.parameters.values()]
    assert gp.kernels is kernels and gp.reference is reference


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_transposed_products(transpose_a, transpose_b, dtype, rng, assert_close):
    for m, k, n in [(1, 1, 1), (1, 9, 4), (8, 1, 3), (20, 33, 10), (65, 128, 2), (4, 0, 3)]:
        a = rng.normal(size=(k, m) if transpose_a else (m, k)).astype(dtype)
        b = rng.normal(size=(n, k) if transpose_b else (k, n)).astype(dtype)
        same("matmul", [a, b, transpose_a, transpose_b], dtype, assert_close)


def test_dense_without_bias(dtype, rng, assert_close):
    x, W = rng.normal(size=(4, 3)).astype(dtype), rng.normal(size=(3, 2)).astype(dtype)
    assert_close(kernels.dense_forward(x, W), x @ W)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("shape", [(0,), (5,), (2, 3, 4)], ids=str)
def test_elementwise_kernels_take_any_shape(name, shape, dtype, rng, assert_close):
    x = rng.normal(size=shape).astype(dtype)
    more = [0.1] if name == "leaky_relu" else []
    same(f"{name}_forward", [x, *more], dtype, assert_close)
    same(f"{name}_backward", [x, x, *more], dtype, assert_close)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "tanh", "sigmoid", "softmax", "maxout"])
def test_nan_comes_through(name, dtype):
    x = np.array([[1, np.nan, 2, 0], [0, 1, 2, 3]], dtype)
    more = {"leaky_relu": [0.1], "maxout": [2]}.get(name, [])
    y = results(getattr(kernels, f"{name}_forward")(x, *more))[0]
    assert np.isnan(y[0]).any()
    assert not np.isnan(y[1]).any()


def test_maxout_takes_the_first_maximum(dtype):
    y, winner = kernels.maxout_forward(np.array([[1, 3, 3, -1, -2, -1]], dtype), 3)
    assert y.tolist() == [[3, -1]]
    assert winner.tolist() == [[1, 0]]


def test_kinks_have_the_documented_subgradient(dtype):
    zero, one = np.zeros(2, dtype), np.ones(2, dtype)
    assert kernels.relu_backward(one, zero).tolist() == [0, 0]
    assert kernels.leaky_relu_backward(one, zero, 0.25).tolist() == [0.25, 0.25]
    assert kernels.l1(zero, 1.0)[1].tolist() == [0, 0]
    assert kernels.hinge(np.array([[1, 0]], dtype), [0])[1].tolist() == [[0, 0]]  # exactly on the margin


# ---- Dropout ----
@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("key", [(0, 0, 0), (2**64 - 1, 2**32 - 1, 2**64 - 1), (123456789, 3, 2**40 + 5)], ids=str)
def test_dropout_mask_is_bitwise_that_of_the_reference(size, key, dtype):
    actual = kernels.dropout_mask((size,), 0.7, *key, dtype)
    np.testing.assert_array_equal(actual, reference.dropout_mask((size,), 0.7, *key, dtype), strict=True)


@pytest.mark.parametrize("shape", [4, np.int64(4), (4,), [2, 3], (), 0], ids=repr)
def test_dropout_mask_takes_a_number_or_a_sequence_as_shape(shape):
    np.testing.assert_array_equal(kernels.dropout_mask(shape, 0.5), reference.dropout_mask(shape, 0.5), strict=True)


def test_dropout_mask_depends_on_position_and_key_alone():
    mask = kernels.dropout_mask((10, 13), 0.6, seed=1, stream=2, step=3)
    np.testing.assert_array_equal(mask.ravel()[:64], kernels.dropout_mask(64, 0.6, seed=1, stream=2, step=3))
    for other in ({"seed": 4}, {"stream": 4}, {"step": 4}):
        assert (mask != kernels.dropout_mask((10, 13), 0.6, **({"seed": 1, "stream": 2, "step": 3} | other))).any()


def test_dropout_mask_drops_the_same_elements_in_both_precisions():
    for keep_prob in (0.1, 0.5, 0.8, 1 / 3):
        single = kernels.dropout_mask(10_000, np.float32(keep_prob), dtype="float32")
        np.testing.assert_array_equal(single > 0, kernels.dropout_mask(10_000, keep_prob) > 0)


@pytest.mark.parametrize("keep_prob", [0.1, 0.5, 0.8])
def test_dropout_mask_keeps_the_share_asked_for(keep_prob, dtype):
    size = 100_000
    mask = kernels.dropout_mask(size, keep_prob, dtype=dtype)
    assert set(np.unique(mask)) == {0, np.dtype(dtype).type(1 / keep_prob)}
    kept = np.count_nonzero(mask)
    assert abs(kept - keep_prob * size) < 5 * np.sqrt(size * keep_prob * (1 - keep_prob))


def test_dropout_keeps_everything_at_one(dtype):
    assert (kernels.dropout_mask((50, 50), 1, dtype=dtype) == 1).all()


# ---- Arguments ----
def test_any_memory_layout_is_read_and_none_is_changed(dtype, rng, assert_close):
    x, W = rng.normal(size=(6, 4)).astype(dtype), rng.normal(size=(4, 3)).astype(dtype)
    expected = x @ W
    read_only = x.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(dtype).reshape(x.shape)
    big_endian = x.astype(x.dtype.newbyteorder(">"))
    wide = np.repeat(x, 2, axis=1)[:, ::2]
    for layout in (np.asfortranarray(x), x[::-1].copy()[::-1], wide, read_only, unaligned, big_endian):
        before = layout.tobytes()
        y = kernels.dense_forward(layout, W)
        assert y.dtype == dtype
        assert_close(y, expected)
        assert layout.tobytes() == before


def test_lists_of_floats_are_float64():
    assert kernels.relu_forward([[1.0, -1.0]]).dtype == np.float64


X = np.ones((2, 3))
LABELS = np.array([0, 2])
REFUSED = {
    "integers": (lambda: kernels.relu_forward([[1, 2]]), TypeError, "x: got dtype int64, expected float32 or float64"),
    "half": (lambda: kernels.relu_forward(np.ones(2, np.float16)), TypeError, "x: got dtype float16"),
    "text": (lambda: kernels.relu_forward(["a"]), TypeError, "x: "),
    "ragged": (lambda: kernels.relu_forward([[1.0], [1.0, 2.0]]), ValueError, "x: "),
    "mixed": (lambda: kernels.matmul(X, X.T.astype("f4")), TypeError, "b: got float32, expected float64 like a"),
    "ndim": (lambda: kernels.softmax_forward(np.ones(3)), ValueError, r"x: got shape \(3,\), expected \(m, n\)"),
    "inner": (lambda: kernels.matmul(X, X), ValueError, r"b: got shape \(2, 3\), expected \(3, n\)"),
    "bias": (lambda: kernels.dense_forward(X, X.T, X), ValueError, r"b: got shape \(2, 3\), expected \(2,\)"),
    "pair": (lambda: kernels.tanh_backward(X, X[:1]), ValueError, r"y: got shape \(1, 3\), expected \(2, 3\)"),
    "pieces": (lambda: kernels.maxout_forward(X, 2), ValueError, "x: got 3 columns, expected a multiple of pieces = 2"),
    "zero pieces": (lambda: kernels.maxout_forward(X, 0), ValueError, "pieces"),
    "winner": (lambda: kernels.maxout_backward(X, np.full(X.shape, 5), 3), ValueError, r"winner: got 5 at \[0, 0\]"),
    "keep_prob": (lambda: kernels.dropout_mask(3, 0.0), ValueError, r"keep_prob: got 0, expected a probability"),
    "keep_prob of no mask": (lambda: kernels.dropout_mask(3, 1e-310), ValueError, "keep_prob: got 1e-310"),
    "mask of no shape": (lambda: kernels.dropout_mask(None, 0.5), TypeError, "shape: got None"),
    "coefficient too large": (lambda: kernels.l1(np.ones(2), 10**400), ValueError, "coefficient: got inf"),
    "keep_prob type": (lambda: kernels.dropout_mask(3, "1"), TypeError, "keep_prob: got '1'"),
    "seed": (lambda: kernels.dropout_mask(3, 0.5, seed=-1), ValueError, "seed: got -1"),
    "mask dtype": (lambda: kernels.dropout_mask(3, 0.5, dtype="int32"), ValueError, "dtype: got 'int32'"),
    "negative shape": (lambda: kernels.dropout_mask(-3, 0.5), ValueError, "shape: got -3"),
    "slope": (lambda: kernels.leaky_relu_forward(X, np.nan), ValueError, "slope: got nan"),
    "epsilon": (lambda: kernels.batch_norm_forward(X, X[0], X[0], 0.0), ValueError, "epsilon: got 0,"),
    "decay": (lambda: kernels.batch_norm_update(*[X[0]] * 4, decay=1.5), ValueError, "decay: got 1.5"),
    "label too large": (
        lambda: kernels.softmax_cross_entropy(X, [0, 3]),
        ValueError,
        r"labels: got 3 at \[1\], expected integers from 0 to 2",
    ),
    "negative label": (lambda: kernels.hinge(X, [-1, 0]), ValueError, r"labels: got -1 at \[0\]"),
    "float labels": (lambda: kernels.hinge(X, [0.0, 1.0]), TypeError, "labels: got dtype float64, expected integers"),
    "bool labels": (lambda: kernels.hinge(X, [True, False]), TypeError, "labels: got dtype bool"),
    "labels shape": (lambda: kernels.hinge(X, [[0], [1]]), ValueError, r"labels: got shape \(2, 1\), expected \(2,\)"),
    "margin": (lambda: kernels.hinge(X, LABELS, margin=-1), ValueError, "margin: got -1"),
    "target above 1": (lambda: kernels.binary_cross_entropy(X, 2 * X), ValueError, r"targets: got 2.0 at \[0, 0\]"),
    "nan target": (lambda: kernels.binary_cross_entropy(X, np.nan * X), ValueError, "targets: got nan"),
    "infinite target": (lambda: kernels.mse(X, np.inf * X), ValueError, "targets: got inf.*expected finite numbers"),
    "targets shape": (lambda: kernels.mse(X, X[0]), ValueError, r"targets: got shape \(3,\), expected \(2, 3\)"),
    "targets dtype": (lambda: kernels.mse(X, X.astype("f4")), TypeError, "targets: got float32, expected float64"),
    "coefficient": (lambda: kernels.l2(X, -0.1), ValueError, "coefficient: got -0.1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arguments_are_named(case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


def test_one_column_takes_flat_targets(dtype, rng):
    scores, targets = rng.normal(size=(5, 1)).astype(dtype), rng.random(5).astype(dtype)
    for name in ("binary_cross_entropy", "mse"):
        flat, column = getattr(kernels, name)(scores, targets), getattr(kernels, name)(scores, targets[:, None])
        assert flat[0] == column[0]
        np.testing.assert_array_equal(flat[1], column[1])


@pytest.mark.parametrize("integer", ["uint8", "int16", "int32", "int64", "uint64"])
def test_labels_of_any_integer_type(integer):
    assert kernels.hinge(X, LABELS.astype(integer))[0] == kernels.hinge(X, LABELS)[0]
