"""Normalizing, dividing, going through and enlarging data sets."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

import gradproof as gp
from gradproof.data import Flip, Noise, Normalizer, Rotate, Shift, augment, batches, split
from gradproof.train import streams

# ---------------------------------------------------------------- Normalizer


def test_normalized_columns_have_mean_0_and_variance_1(
    rng: np.random.Generator, dtype: str, assert_close: Callable[..., None]
) -> None:
    X = (rng.normal(size=(500, 4)) * [1, 100, 1e-3, 7] + [0, 5, 1, -90]).astype(dtype)
    Z = Normalizer().fit_transform(X)
    assert Z.dtype == dtype
    assert_close(Z.mean(axis=0, dtype=np.float64) + 1, np.ones(4))
    assert_close(np.square(Z, dtype=np.float64).mean(axis=0), np.ones(4))  # biased: divided by m
    assert_close(Z, (X - X.astype(float).mean(axis=0)) / X.astype(float).std(axis=0))


def test_the_training_sets_statistics_are_used_on_other_sets(rng: np.random.Generator) -> None:
    X, other = rng.normal(3, 2, (50, 3)), rng.normal(-1, 5, (7, 3))
    normalizer = Normalizer().fit(X)
    np.testing.assert_allclose(normalizer.transform(other), (other - X.mean(axis=0)) / X.std(axis=0), rtol=1e-13)


@pytest.mark.parametrize("constant", [0.1, 0.0, -3e9, 1e-300])
def test_constant_columns_become_exactly_0(constant: float) -> None:
    X = np.column_stack([np.full(30_000, constant), np.arange(30_000.0)])
    normalizer = Normalizer().fit(X)
    Z = normalizer.transform(X)
    assert not Z[:, 0].any() and normalizer.scale[0] == 1
    np.testing.assert_array_equal(normalizer.inverse_transform(Z)[:, 0], X[:, 0])


def test_a_large_mean_costs_no_digits(rng: np.random.Generator) -> None:
    """The textbook formula E[x²] - E[x]² has nothing left at a mean of 1e8 and a spread of 1."""
    noise = rng.normal(size=(40_000, 9))  # several blocks
    normalizer = Normalizer().fit(1e8 + noise)
    np.testing.assert_allclose(normalizer.variance, noise.var(axis=0), rtol=1e-7)
    single = Normalizer().fit((4096 + noise).astype(np.float32))
    np.testing.assert_allclose(single.variance, noise.var(axis=0), rtol=1e-5)


def test_blocks_of_unequal_means_are_merged(rng: np.random.Generator) -> None:
    X = np.sort(rng.normal(size=(50_000, 7)), axis=0)
    normalizer = Normalizer().fit(X)
    np.testing.assert_allclose(normalizer.mean, X.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(normalizer.variance, X.var(axis=0), rtol=1e-12)


def test_memory_maps_are_normalized_in_place(tmp_path: Path, rng: np.random.Generator) -> None:
    X = rng.normal(5, 3, (30_000, 11)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.lib.format.open_memmap(tmp_path / "X.npy", mode="r+")
    normalizer = Normalizer().fit(mapped)
    assert normalizer.transform(mapped, out=mapped) is mapped
    mapped.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), Normalizer().fit_transform(X))


def test_nothing_is_written_over_when_a_number_is_missing() -> None:
    X = np.arange(400_000.0).reshape(-1, 4)
    normalizer = Normalizer().fit(X)
    X[-1, 2] = np.nan
    before = X.copy()
    with pytest.raises(ValueError, match=r"X\[99999, 2\] is nan"):
        normalizer.transform(X, out=X)
    np.testing.assert_array_equal(X, before)


def test_there_and_back(rng: np.random.Generator) -> None:
    X = rng.normal(2, 9, (20, 3))
    normalizer = Normalizer().fit(X)
    np.testing.assert_allclose(normalizer.inverse_transform(normalizer.transform(X)), X, rtol=1e-14)


def test_a_normalizer_survives_json_and_pickle(rng: np.random.Generator) -> None:
    X = rng.normal(1 / 3, 1 / 7, (20, 3))
    normalizer = Normalizer().fit(X)
    for twin in (
        Normalizer.from_dict(json.loads(json.dumps(normalizer.to_dict()))),
        pickle.loads(pickle.dumps(normalizer)),
    ):
        np.testing.assert_array_equal(twin.transform(X), normalizer.transform(X))
        assert twin.rows == 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Normalizer().transform([[1.0]]), "call fit"),
        (lambda: Normalizer().to_dict(), "call fit"),
        (lambda: Normalizer().fit([1.0, 2.0]), r"got shape \(2,\)"),
        (lambda: Normalizer().fit(np.empty((0, 3))), "no rows"),
        (lambda: Normalizer().fit([[1.0], [np.inf]]), r"X\[1, 0\] is inf"),
        (lambda: Normalizer().fit([[1e300], [-1e300]]), "column 0 is too large"),
        (lambda: Normalizer().fit([[1.0]]).transform([[1.0, 2.0]]), "2 columns, expected 1"),
        (lambda: Normalizer().fit([[1.0]]).transform([[1.0]], out=np.empty(1)), "out: got float64 of shape"),
        (lambda: Normalizer().fit([[1.0]]).transform([[1.0]], out=np.empty((1, 1), int)), "out: got int64"),
        (lambda: Normalizer.from_dict({"mean": [0.0]}), "got 'mean', expected a dict with 'rows'"),
        (lambda: Normalizer.from_dict({"rows": 1, "mean": [0.0], "variance": [-1.0]}), "'variance' >= 0"),
        (lambda: Normalizer.from_dict({"rows": 1, "mean": [0.0], "variance": [1.0, 2.0]}), "of one length"),
    ],
)
def test_normalizer_refuses(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_normalizer_refuses_words() -> None:
    with pytest.raises(TypeError, match="X: got list of dtype <U1"):
        Normalizer().fit([["a"]])


# ---------------------------------------------------------------- split


@pytest.mark.parametrize("sizes", [(60, 20, 20), (0.6, 0.2, 0.2), (60, 20.0, 20), (59, 20, 20)])
@pytest.mark.parametrize("stratify", [True, False])
def test_every_row_is_in_one_part(sizes: tuple[float, ...], stratify: bool) -> None:
    m = 99
    X, y = np.arange(m)[:, None] * [1, 10], np.arange(m) % 3
    parts = split(X, y, sizes, np.arange(m), stratify=stratify)
    assert [len(part[0]) for part in parts] == [59, 20, 20]
    assert sorted(np.concatenate([part[2] for part in parts])) == list(range(m))
    for inputs, labels, rows in parts:
        np.testing.assert_array_equal(inputs, X[rows])
        np.testing.assert_array_equal(labels, y[rows])


def test_rounding_leaves_no_row_out() -> None:
    for m in range(3, 60):
        parts = split(np.zeros(m), None, (1 / 3, 1 / 3, 1 / 3))
        lengths = [len(part[0]) for part in parts]
        assert sum(lengths) == m and max(lengths) - min(lengths) <= 1


def test_every_part_has_its_share_of_every_class(rng: np.random.Generator) -> None:
    for _ in range(30):
        y = np.repeat(np.arange(6), rng.integers(3, 60, 6))
        sizes = rng.dirichlet([3, 2, 2]) * 0.7 + 0.1
        parts = split(np.arange(len(y)), y, tuple(sizes), stratify=True, seed=int(rng.integers(100)))
        lengths = np.array([len(part[0]) for part in parts])
        assert abs(lengths - sizes * len(y)).max() < 1
        for label in range(6):
            counts = [np.sum(part[1] == label) for part in parts]
            assert abs(counts - np.sum(y == label) * lengths / len(y)).max() <= 1


def test_classes_are_looked_at_where_they_can_be() -> None:
    y = np.repeat(["a", "b"], [96, 4])
    for part in split(np.zeros(100), y, (50, 25, 25), seed=3):
        assert np.mean(part[1] == "b") == 0.04
    split(np.zeros(4), ["a", "b", "b", "b"], (2, 1, 1))  # a single "a" cannot be divided
    split(np.zeros(4), [0.1, 0.2, 0.3, 0.4], (2, 1, 1))  # no classes


def test_a_split_is_a_function_of_the_seed() -> None:
    X, y = np.arange(300), np.arange(300) % 2
    for stratify in (True, False):
        first, again, other = (split(X, y, stratify=stratify, seed=seed)[0][0] for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        assert not np.array_equal(first, np.sort(first))


def test_without_shuffling_rows_stay_in_order() -> None:
    X, y = np.arange(10), np.arange(10) % 2
    first, second = split(X, y, (50, 50), shuffle=False, stratify=False)
    assert first[0].tolist() == [0, 1, 2, 3, 4] and second[0].tolist() == [5, 6, 7, 8, 9]
    for part in split(X, np.sort(y), (40, 60), shuffle=False, stratify=True):
        assert part[0].tolist() == sorted(part[0]) and np.mean(part[1]) == 0.5


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        (([1, 2], [1]), {}, ValueError, "y: got 1 rows, expected 2"),
        ((1.0,), {}, ValueError, "X: got a single value"),
        ((csr_array([[1.0], [0.0]]), [0, 1]), {}, ValueError, r"X: got a sparse matrix \(use .toarray\(\)\)"),
        (([1, 2], np.array([1, "a"], object), (1, 1)), {}, TypeError, "y: got labels that cannot be compared"),
        (([1, 2, 3], None, (60, 20)), {}, ValueError, "add up to 80, expected 100 .*, 1 or 3"),
        (([1, 2, 3], None, (60, -20, 60)), {}, ValueError, "sizes: got -20"),
        (([1, 2, 3], None, 60), {}, TypeError, "sizes: got 60"),
        (([1, 2, 3], None, (98, 1, 1)), {}, ValueError, "leave part 1 empty"),
        (([1, 2, 3], None, (98, "1", 1)), {}, ValueError, "sizes: got '1'"),
        (([1, 2, 3], [0, 0, 1], (2, 1)), {"stratify": True}, ValueError, "class 1 has 1 of the rows of y, .* least 2"),
        (([1, 2, 3], [0.5, 0.1, 1], (2, 1)), {"stratify": True}, ValueError, "with y of dtype float64"),
        (([1, 2, 3], None, (2, 1)), {"stratify": True}, ValueError, "with no y"),
        (([1, 2, 3], None, (2, 1)), {"stratify": "y"}, TypeError, "stratify: got 'y'"),
        (([1, 2, 3], None, (2, 1)), {"seed": -1}, ValueError, "seed: got -1"),
    ],
)
def test_split_refuses(arguments: Any, keywords: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        split(*arguments, **keywords)


# ---------------------------------------------------------------- batches


def test_batches_come_in_the_order_of_fit() -> None:
    X, y = np.arange(10.0)[:, None], np.arange(10)
    for epoch in range(3):
        rows = np.concatenate([t for _, t in batches(X, y, 4, seed=7, epoch=epoch)])
        np.testing.assert_array_equal(rows, streams.order(7, epoch, 10))
        assert sorted(rows) == list(range(10))
    orders = {tuple(streams.order(seed, epoch, 10)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_batches_keep_rows_together_and_leave_none_out() -> None:
    X, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    seen = list(batches(X, y, 4))
    assert [len(x) for x, _ in seen] == [4, 4, 2]
    for x, t in seen:
        assert t is not None
        np.testing.assert_array_equal(x, X[t])
    assert [len(x) for x, _ in batches(X, y, 4, drop_last=True)] == [4, 4]
    assert [t for _, t in batches(X, None, 5)] == [None, None]


def test_batches_that_are_not_shuffled_are_views() -> None:
    X = np.arange(6.0)[:, None]
    first, second = batches(X, None, 4, shuffle=False)
    assert np.shares_memory(first[0], X) and first[0].ravel().tolist() == [0, 1, 2, 3]
    assert second[0].ravel().tolist() == [4, 5]


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (([1, 2], [1]), {}, "y: got 1 rows"),
        ((3,), {}, "X: got a single value"),
        ((csr_array([[1.0], [0.0]]),), {}, r"X: got a sparse matrix \(use .toarray\(\)\)"),
        (([1, 2], None, 0), {}, "batch_size: got 0"),
        (([1, 2],), {"epoch": -1}, "epoch: got -1"),
        (([1, 2],), {"seed": 2**64}, "seed: got"),
    ],
)
def test_batches_refuse_at_once(arguments: Any, keywords: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batches(*arguments, **keywords)


# ---------------------------------------------------------------- augment

IMAGES = np.arange(2 * 12, dtype=np.float64).reshape(2, 12)  # of 3 rows and 4 columns
CHANGES = [Flip((3, 4)), Rotate((3, 4), 30), Shift((3, 4), 2), Noise(0.5)]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: type(change).__name__)
def test_changes_depend_on_the_seed_and_keep_shape_and_dtype(change: Any, dtype: str) -> None:
    X = np.tile(IMAGES, (10, 1)).astype(dtype)
    before = X.copy()
    first, again, other = (change(X, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == X.shape and first.dtype == dtype
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other) and not np.array_equal(first, X)
    np.testing.assert_array_equal(X, before)


def test_flip_mirrors_whole_images(rng: np.random.Generator) -> None:
    np.testing.assert_array_equal(Flip((3, 4), probability=1)(IMAGES, rng)[0, :4], [3, 2, 1, 0])
    np.testing.assert_array_equal(Flip((3, 4), "vertical", 1)(IMAGES, rng)[0, :4], [8, 9, 10, 11])
    np.testing.assert_array_equal(Flip((3, 2, 2), probability=1)(IMAGES, rng)[0, :4], [2, 3, 0, 1])  # colors stay
    np.testing.assert_array_equal(Flip((3, 4), probability=0)(IMAGES, rng), IMAGES)
    half = Flip((1, 2))(np.tile([[0.0, 1.0]], (4000, 1)), rng)[:, 0]
    assert 0.45 < half.mean() < 0.55


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 2)])
def test_shift_moves_whole_images(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    image = rng.random(shape) + 1
    padded = np.full((5 + 4, 7 + 4, *shape[2:]), -1.0)
    padded[2:-2, 2:-2] = image
    moved = {padded[2 - a : 7 - a, 2 - b : 9 - b].tobytes(): (a, b) for a in range(-2, 3) for b in range(-2, 3)}
    changed = Shift(shape, 2, fill=-1)(np.tile(image.ravel(), (500, 1)), rng)
    assert {moved[row.tobytes()] for row in changed} == set(moved.values())


def test_rotate_turns_about_the_center() -> None:
    class Quarter:
        def uniform(self, low: float, high: float, size: int) -> np.ndarray:
            assert (low, high) == (-90, 90)
            return np.full(size, 90.0)

    image = np.arange(9.0).reshape(1, 9)
    turned = Rotate((3, 3), 90)(image, Quarter())  # type: ignore[arg-type]
    np.testing.assert_allclose(turned.reshape(3, 3), np.rot90(image.reshape(3, 3)), atol=1e-12)
    colors = np.repeat(image, 2).reshape(1, 18)
    turned = Rotate((3, 3, 2), 90)(colors, Quarter())  # type: ignore[arg-type]
    np.testing.assert_allclose(turned.reshape(3, 3, 2)[..., 1], np.rot90(image.reshape(3, 3)), atol=1e-12)


def test_rotated_pixels_stay_in_their_range(rng: np.random.Generator) -> None:
    changed = Rotate((8, 8), 45)(rng.random((20, 64)), rng)
    assert changed.min() >= 0 and changed.max() <= 1


def test_noise_has_its_spread(rng: np.random.Generator) -> None:
    changed = Noise(0.5)(np.full((100, 100), 3.0), rng)
    assert abs(changed.mean() - 3) < 0.02 and abs(changed.std() - 0.5) < 0.02


def test_augmented_copies_keep_their_labels() -> None:
    X, y = np.arange(5.0)[:, None], np.arange(5)
    changed, labels = augment(X, y, [lambda x, rng: x + 100, Noise(0.01)], copies=2, seed=4)
    np.testing.assert_array_equal(changed[:5], X)
    np.testing.assert_array_equal(labels, np.tile(y, 3))
    np.testing.assert_allclose(changed[5:, 0], labels[5:] + 100, atol=0.1)
    assert not np.array_equal(changed[5:10], changed[10:])
    np.testing.assert_array_equal(augment(X, y, Noise(0.1))[0], augment(X, y, Noise(0.1))[0])
    assert augment(X.astype(np.float32), y, Noise())[0].dtype == np.float32
    assert augment(X.astype(int), y, Noise())[0].dtype == np.float64


def test_rotation_without_scipy_names_the_extra(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"pip install gradproof\[augment\]"):
        Rotate((3, 4))(IMAGES, rng)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda rng: Flip((3, 4), "diagonal"), ValueError, "axis: got 'diagonal'"),
        (lambda rng: Flip((3, 4), probability=2), ValueError, "probability: got 2"),
        (lambda rng: Flip((12,)), ValueError, r"image_shape: got \(12,\)"),
        (lambda rng: Shift((3, 0)), ValueError, "image_shape: got 0"),
        (lambda rng: Shift((3, 4), 4), ValueError, "pixels: got 4"),
        (lambda rng: Shift((3, 4), 1.5), TypeError, "pixels: got 1.5"),  # type: ignore[arg-type]
        (lambda rng: Rotate((3, 4), -1), ValueError, "degrees: got -1"),
        (lambda rng: Noise(float("nan")), ValueError, "std: got nan"),
        (lambda rng: Shift((3, 5))(IMAGES, rng), ValueError, r"expected \(m, 15\) for images of \(3, 5\)"),
        (lambda rng: augment(IMAGES, [0], Noise()), ValueError, "y: got 1 targets"),
        (lambda rng: augment(IMAGES[0], [0], Noise()), ValueError, r"X: got shape \(12,\)"),
        (lambda rng: augment(IMAGES, [0, 1], [3]), TypeError, r"changes\[0\]: got 3"),
        (lambda rng: augment(IMAGES, [0, 1], lambda x, rng: x[:1]), ValueError, r"gave shape \(1, 12\)"),
        (lambda rng: augment(IMAGES, [0, 1], Noise(), copies=0), ValueError, "copies: got 0"),
    ],
)
def test_augmentation_refuses(call: Any, error: type[Exception], message: str, rng: np.random.Generator) -> None:
    with pytest.raises(error, match=message):
        call(rng)


def test_the_names_are_reachable() -> None:
    assert gp.data.Normalizer is Normalizer and gp.data.split is split
