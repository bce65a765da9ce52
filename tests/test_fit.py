"""The training loop: batches, random streams, weights, memory maps, and every way in which a run can end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof import _core
from gradproof.train import streams
from gradproof.train.step import Step

M, N_IN, CLASSES = 83, 6, 3


def network(dtype: str = "float64", **options: Any) -> gp.Sequential:
    layers = [gp.Dense(7), gp.BatchNorm(), gp.ReLU(), gp.Dropout(keep_prob=0.8), gp.Dense(CLASSES)]
    settings = {"input_size": N_IN, "loss": "softmax_cross_entropy", "l2": 1e-2, "dtype": dtype, "seed": 3}
    return gp.Sequential(layers, **{**settings, **options})


class Recorder(gp.callbacks.Callback):
    """Every hook that was called, with epoch and batch."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []


def _recording(hook: str) -> Callable[..., None]:
    return lambda self, model, run: self.calls.append((hook, run.epoch, run.batch))


for hook in [name for name in vars(gp.callbacks.Callback) if name.startswith("on_")]:
    setattr(Recorder, hook, _recording(hook))


class Sine(gp.Layer):
    """A layer in Python, so that steps take the plain path."""

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, Any]:
        return {}

    def forward(self, x: Any, parameters: Any, training: bool) -> tuple[Any, Any]:
        return np.sin(x), x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> tuple[Any, dict[str, Any]]:
        return dy * np.cos(cache), {}


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(M, N_IN))


@pytest.fixture
def y(X: np.ndarray) -> np.ndarray:
    labels = np.argmax(X[:, :CLASSES] + 0.3 * X[:, CLASSES:], axis=1)
    assert set(labels) == {0, 1, 2}
    return labels


def assert_same(a: gp.Sequential, b: gp.Sequential) -> None:
    """Bit by bit."""
    np.testing.assert_array_equal(a.theta, b.theta)
    np.testing.assert_array_equal(a.buffers, b.buffers)
    assert a.dropout_step == b.dropout_step


class TestLoop:
    def test_it_is_the_plainest_loop(self, dtype: str, X: np.ndarray, y: np.ndarray):
        """Permute, cut, step, change the rate: written out, with the same numbers."""
        model, plain = network(dtype), network(dtype)
        optimizer, schedule = gp.Momentum(0.05), gp.schedules.InverseTime(0.5)
        history = model.fit(X, y, optimizer=optimizer, schedule=schedule, epochs=3, batch_size=16, seed=11)

        state = optimizer.init(plain.theta)
        step = Step(plain, X.astype(dtype), y, optimizer, state)
        expected: list[np.ndarray] = []
        for epoch in range(3):
            order = streams.order(11, epoch, M)
            rate = 0.05 / (1 + 0.5 * epoch)
            expected.append(step.run(order, 16, rate))
            assert history["learning_rate"][epoch] == rate
        assert_same(model, plain)
        assert history.batches == np.concatenate(expected).sum(axis=1).tolist()
        sizes = [16, 16, 16, 16, 16, 3]
        means = [np.average(losses, axis=0, weights=sizes) for losses in expected]
        np.testing.assert_allclose(history["data_loss"], [mean[0] for mean in means], rtol=1e-14)
        np.testing.assert_allclose(history["penalty"], [mean[1] for mean in means], rtol=1e-14)
        np.testing.assert_allclose(history["loss"], [mean.sum() for mean in means], rtol=1e-14)
        assert history["accuracy"][-1] == model.score(X, y)
        assert history.epochs == [0, 1, 2] and history.stopped == "finished" and history.message == ""

    def test_it_learns(self, dtype: str, X: np.ndarray, y: np.ndarray):
        model = network(dtype)
        history = model.fit(X, y, optimizer=gp.Adam(0.01), epochs=60, batch_size=16, validation_data=(X, y))
        assert history["loss"][-1] < 0.5 * history["loss"][0]
        assert history["val_accuracy"][-1] > 0.9

    @pytest.mark.parametrize("m, batch_size, expected", [(2000, None, 1), (2001, None, 32), (83, 20, 5), (83, 500, 1)])
    def test_number_of_batches(self, rng: np.random.Generator, m: int, batch_size: int | None, expected: int):
        """All rows up to 2000, else 64; no more than there are, without a word, as in Keras."""
        model = gp.Sequential([gp.Dense(1)], input_size=1, loss="mse")
        history = model.fit(rng.normal(size=(m, 1)), rng.normal(size=m), epochs=1, batch_size=batch_size)
        assert len(history.batches) == expected
        assert history.settings["batch_size"] == {1: m, 32: 64, 5: 20}[expected]

    def test_a_single_row_left_over_joins_its_neighbour_before_batch_normalization(self, rng: np.random.Generator):
        X, y = rng.normal(size=(33, N_IN)), rng.integers(0, CLASSES, 33)
        model = network()
        history = model.fit(X, y, epochs=2, batch_size=16, callbacks=[recorder := Recorder()])
        again = network()
        assert again.fit(X, y, epochs=2, batch_size=16).batches == history.batches
        assert len(history.batches) == 4 and sum(call[0] == "on_batch_end" for call in recorder.calls) == 4
        assert_same(model, again)
        state = (optimizer := gp.Adam()).init(model.theta)
        plain = network()
        step = Step(plain, X, y, optimizer, state)
        for epoch in range(2):
            order = streams.order(0, epoch, 33)
            step.run(order[:16], 16)
            step.run(order[16:], 17)
        assert_same(model, plain)

        without = gp.Sequential([gp.Dense(CLASSES)], input_size=N_IN, loss="softmax_cross_entropy")
        assert len(without.fit(X, y, epochs=1, batch_size=16).batches) == 3

    def test_validation_is_the_loss_of_predicting(self, X: np.ndarray, y: np.ndarray):
        model = network(l2=0.0)
        history = model.fit(X[:60], y[:60], epochs=2, batch_size=16, validation_data=(X[60:], y[60:]))
        assert history["val_loss"][-1] == pytest.approx(model.loss(X[60:], y[60:], training=False), rel=1e-14)
        assert history["val_accuracy"][-1] == model.score(X[60:], y[60:])

    def test_regression_is_scored_by_r2(self, X: np.ndarray):
        model = gp.Sequential([gp.Dense(8), gp.Tanh(), gp.Dense(1)], input_size=N_IN, loss="mse")
        y = np.sin(X[:, 0])
        history = model.fit(X, y, epochs=3, validation_data=(X[:20], y[:20]))
        assert history["r2"][-1] == model.score(X, y) and history["val_r2"][-1] == model.score(X[:20], y[:20])
        assert "accuracy" not in history

    def test_a_large_training_set_is_scored_on_evenly_spaced_rows(self, rng: np.random.Generator):
        X, y = rng.normal(size=(5000, N_IN)), rng.integers(0, CLASSES, 5000)
        model = network()
        history = model.fit(X, y, epochs=1)
        rows = np.linspace(0, 4999, 2000).astype(int)
        assert history["accuracy"] == [model.score(X[rows], y[rows])]

    def test_a_second_call_goes_on_with_a_fresh_optimizer(self, X: np.ndarray, y: np.ndarray):
        model, plain = network(), network()
        for seed in (1, 2):
            model.fit(X, y, epochs=1, batch_size=16, seed=seed)
            optimizer = gp.Adam()
            Step(plain, X, y, optimizer, optimizer.init(plain.theta)).run(streams.order(seed, 0, M), 16)
        assert_same(model, plain)

    def test_no_epochs_give_an_empty_history(self, X: np.ndarray, y: np.ndarray):
        model = network()
        before = model.theta.copy()
        history = model.fit(X, y, epochs=0)
        np.testing.assert_array_equal(model.theta, before)
        assert len(history) == 0 and history.stopped == "finished" and history.best is None

    def test_a_rate_of_zero_changes_no_weights(self, X: np.ndarray, y: np.ndarray):
        model = network()
        before = model.theta.copy()
        model.fit(X, y, epochs=2, optimizer=gp.Adam(0.0))
        np.testing.assert_array_equal(model.theta, before)

    def test_frozen_tensors_stay(self, X: np.ndarray, y: np.ndarray):
        model = network()
        before = {name: view.copy() for name, view in model.parameters.items()}
        model.fit(X, y, epochs=2, frozen=("dense_0", "dense_1.b"), optimizer=gp.Adam(weight_decay=0.1))
        same = [name for name, view in model.parameters.items() if np.array_equal(view, before[name])]
        assert same == ["dense_0.W", "dense_1.b"]

    def test_a_python_layer(self, X: np.ndarray, y: np.ndarray):
        layers = [gp.Dense(7), Sine(), gp.Dense(CLASSES)]
        model = gp.Sequential(layers, input_size=N_IN, loss="softmax_cross_entropy", dtype="float64")
        history = model.fit(X, y, epochs=40, batch_size=16, optimizer=gp.Adam(0.02))
        assert history["accuracy"][-1] > 0.9
        assert "update_ratio" in history

    def test_the_monitor_sees_the_last_step(self, X: np.ndarray, y: np.ndarray):
        model = network()
        history = model.fit(X, y, epochs=1, batch_size=16, optimizer=gp.SGD(0.1))
        norm = float(np.linalg.norm(model.layout.view(model.gradient, "dense_0.W")))
        assert history["gradient_norm"]["dense_0.W"] == [pytest.approx(norm, rel=1e-12)]
        assert history["update_ratio"]["dense_0.W"][0] == pytest.approx(
            0.1
            * norm
            / np.linalg.norm(model.parameters["dense_0.W"] + 0.1 * model.layout.view(model.gradient, "dense_0.W"))
        )
        assert "update_ratio" not in network().fit(X, y, epochs=1, monitor=False)


class TestRandomStreams:
    def test_same_seed_same_result_for_any_number_of_threads(self, rng: np.random.Generator):
        X, y = rng.normal(size=(600, 40)), rng.integers(0, CLASSES, 600)
        results = []
        threads = _core.thread_count()
        try:
            for count in (1, 2, 5):
                _core.set_thread_count(count)
                model = network("float32", input_size=40)
                model.fit(X, y, epochs=2, batch_size=256)
                results.append(model)
        finally:
            _core.set_thread_count(threads)
        assert_same(results[0], results[1])
        assert_same(results[0], results[2])

    def test_another_seed_another_order(self, X: np.ndarray, y: np.ndarray):
        a, b, c = network(), network(), network()
        histories = [
            model.fit(X, y, epochs=1, batch_size=16, seed=seed) for model, seed in ((a, 0), (b, 1), (c, 2**64 - 1))
        ]
        assert histories[0].batches != histories[1].batches != histories[2].batches

    def test_without_shuffling_the_rows_keep_their_order(self, X: np.ndarray, y: np.ndarray):
        a, b = network(), network()
        a.fit(X, y, epochs=2, batch_size=16, shuffle=False, seed=0)
        b.fit(X, y, epochs=2, batch_size=16, shuffle=False, seed=1)
        assert_same(a, b)

    def test_every_epoch_has_its_own_permutation(self):
        orders = [streams.order(5, epoch, 50) for epoch in range(3)]
        assert all(sorted(order) == list(range(50)) for order in orders)
        assert not np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[1], orders[2])
        np.testing.assert_array_equal(orders[1], streams.order(5, 1, 50))

    def test_dropout_does_not_touch_order_or_initialization(self, X: np.ndarray, y: np.ndarray):
        with_, without = network(), network().without_dropout()
        np.testing.assert_array_equal(with_.theta, without.theta)
        without.fit(X, y, epochs=1, batch_size=16)
        np.testing.assert_array_equal(streams.order(0, 0, M), streams.order(0, 0, M))
        assert without.dropout_step == 6


class TestWeights:
    def test_whole_weights_are_repeated_rows(self, X: np.ndarray, y: np.ndarray, assert_close: Callable[..., None]):
        """In a full batch, without batch normalization and dropout."""
        counts = np.arange(M) % 3
        layers = [gp.Dense(7), gp.Tanh(), gp.Dense(CLASSES)]
        a = gp.Sequential(layers, input_size=N_IN, loss="softmax_cross_entropy", dtype="float64")
        b = a.copy()
        left = a.fit(X, y, sample_weight=counts, epochs=5, optimizer=gp.SGD(0.1))
        right = b.fit(np.repeat(X, counts, axis=0), np.repeat(y, counts), epochs=5, optimizer=gp.SGD(0.1))
        np.testing.assert_allclose(a.theta, b.theta, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(left["loss"], right["loss"], rtol=1e-12)

    def test_classes(self, X: np.ndarray, y: np.ndarray):
        by_class = {0: 2.0, 2: 0.5}
        a, b, c = network(), network(), network()
        a.fit(X, y, class_weight=by_class, epochs=2, batch_size=16)
        b.fit(X, y, sample_weight=np.array([2.0, 1.0, 0.5])[y], epochs=2, batch_size=16)
        c.fit(X, y, epochs=2, batch_size=16)
        assert_same(a, b)
        assert not np.array_equal(a.theta, c.theta)

    def test_balanced(self, X: np.ndarray, y: np.ndarray):
        counts = np.bincount(y)
        a, b = network(), network()
        a.fit(X, y, class_weight="balanced", sample_weight=1 + np.arange(M) % 2, epochs=1)
        b.fit(X, y, sample_weight=(M / (3 * counts))[y] * (1 + np.arange(M) % 2), epochs=1)
        assert_same(a, b)

    @pytest.mark.parametrize("unit", [1e-310, 1e-40, 1e38, 1e307])
    def test_only_their_ratios_matter(self, X: np.ndarray, y: np.ndarray, dtype: str, unit: float):
        """Neither the sum nor float32 is too small for them."""
        weights = 1.0 + np.arange(M) % 4
        a, b, c = network(dtype), network(dtype), network(dtype)
        a.fit(X, y, sample_weight=weights, class_weight={0: 0.5, 1: 1.0, 2: 3.0}, epochs=2, batch_size=16)
        scaled = {0: 0.5 / unit, 1: 1.0 / unit, 2: 3.0 / unit} if 1 / unit < 1e300 else {0: 0.5, 1: 1.0, 2: 3.0}
        b.fit(X, y, sample_weight=unit * weights, class_weight=scaled, epochs=2, batch_size=16)
        np.testing.assert_allclose(b.theta, a.theta, rtol=1e-4 if dtype == "float32" else 1e-9, atol=1e-6)
        c.fit(X, y, sample_weight=weights, epochs=2, batch_size=16)
        assert not np.allclose(c.theta, a.theta, atol=1e-6)

    def test_balanced_classes_of_a_single_output(self, X: np.ndarray):
        y = (X[:, 0] > 0.8).astype(float)
        build = lambda: gp.Sequential([gp.Dense(1)], input_size=N_IN, loss="binary_cross_entropy", dtype="float64")  # noqa: E731
        a, b = build(), build()
        a.fit(X, y, class_weight="balanced", epochs=2)
        b.fit(X, y, sample_weight=(M / (2 * np.bincount(y.astype(int))))[y.astype(int)], epochs=2)
        assert_same(a, b)

    def test_the_mean_over_an_epoch_is_weighted(self, X: np.ndarray, y: np.ndarray):
        weights = 1 + np.arange(M) % 4
        history = network(l2=0.0).fit(X, y, sample_weight=weights, epochs=1, batch_size=16)
        order = streams.order(0, 0, M)
        sums = np.add.reduceat(weights[order], np.arange(0, M, 16))
        assert history["data_loss"][0] == pytest.approx(np.average(history.batches, weights=sums), rel=1e-13)


class TestAugment:
    def test_it_gets_its_own_numbers_for_every_batch(self, X: np.ndarray, y: np.ndarray):
        def noisy(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            seen.append(rng.random())
            batch += rng.normal(size=batch.shape)  # in place: the batch is a copy
            return batch

        seen: list[float] = []
        before = X.copy()
        a, b, c = network(), network(), network()
        a.fit(X, y, epochs=2, batch_size=16, augment=noisy)
        assert len(set(seen)) == 12
        first = seen.copy()
        seen.clear()
        b.fit(X, y, epochs=2, batch_size=16, augment=noisy, callbacks=[Recorder()])
        assert seen == first
        c.fit(X, y, epochs=2, batch_size=16)
        assert_same(a, b)
        assert not np.array_equal(a.theta, c.theta)
        np.testing.assert_array_equal(X, before)

    @pytest.mark.parametrize("sequence", [list, tuple])
    def test_several_are_made_one_after_the_other(self, dtype: str, X: np.ndarray, y: np.ndarray, sequence: Any):
        changes = [lambda batch, rng: 2 * batch, gp.data.Noise(0.1), lambda batch, rng: batch - rng.random()]

        def whole(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            for change in changes:
                batch = change(batch, rng).astype(dtype)
            return batch

        a, b, c = network(dtype), network(dtype), network(dtype)
        a.fit(X, y, epochs=2, batch_size=16, augment=sequence(changes))
        b.fit(X, y, epochs=2, batch_size=16, augment=whole)
        assert_same(a, b)
        c.fit(X, y, epochs=2, batch_size=16, augment=sequence(reversed(changes)))
        assert not np.array_equal(a.theta, c.theta)
        plain, none = network(dtype), network(dtype)
        plain.fit(X, y, epochs=1)
        none.fit(X, y, epochs=1, augment=sequence())
        assert_same(plain, none)

    def test_an_augmentation_that_changes_nothing_changes_nothing(self, dtype: str, X: np.ndarray, y: np.ndarray):
        weights = np.linspace(0.5, 2, M)
        a, b = network(dtype), network(dtype)
        left = a.fit(X, y, epochs=3, batch_size=16, sample_weight=weights, augment=lambda batch, rng: batch)
        right = b.fit(X, y, epochs=3, batch_size=16, sample_weight=weights)
        assert_same(a, b)
        assert left.batches == right.batches and left["loss"] == right["loss"]

    @pytest.mark.parametrize(
        "back, message",
        [
            (lambda batch, rng: batch[:, 1:], r"augment: got shape \(83, 5\) back, expected .* \(83, 6\)"),
            (lambda batch, rng: batch * np.nan, "augment: got back X: .* nan, expected finite"),
            (lambda batch, rng: None, "augment: got shape"),
        ],
    )
    def test_what_it_gives_back_is_checked(self, X: np.ndarray, y: np.ndarray, back: Any, message: str):
        with pytest.raises(ValueError, match=message):
            network().fit(X, y, epochs=1, augment=back)


class TestMemoryMaps:
    @pytest.mark.parametrize("stored", ["float32", "float64", "uint8"])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_they_train_like_arrays(self, tmp_path: Path, X: np.ndarray, y: np.ndarray, stored: str, order: Any):
        np.save(tmp_path / "X.npy", np.asarray(np.abs(100 * X), dtype=stored, order=order))
        mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
        a, b = network("float32"), network("float32")
        left = a.fit(mapped, y, epochs=2, batch_size=16, validation_data=(mapped, y))
        right = b.fit(np.array(mapped), y, epochs=2, batch_size=16, validation_data=(np.array(mapped), y))
        assert_same(a, b)
        assert left["val_loss"] == right["val_loss"] and left["accuracy"] == right["accuracy"]

    def test_a_private_map_keeps_what_was_written_to_it(self, tmp_path: Path, X: np.ndarray, y: np.ndarray):
        np.save(tmp_path / "X.npy", X)
        mapped = np.load(tmp_path / "X.npy", mmap_mode="c")
        mapped[:] = 1.5
        network().fit(mapped, y, epochs=1, batch_size=16)
        assert (mapped == 1.5).all()

    def test_a_value_that_is_no_number_is_found_wherever_it_is(self, tmp_path: Path, rng: np.random.Generator):
        X = rng.normal(size=(40_000, 40)).astype("float32")  # more than a block
        X[39_000, 7] = np.nan
        np.save(tmp_path / "X.npy", X)
        model = network("float32", input_size=40)
        with pytest.raises(ValueError, match=r"X: X\[39000, 7\] is nan"):
            model.fit(np.load(tmp_path / "X.npy", mmap_mode="r"), np.zeros(40_000, int), epochs=1)

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
    def test_a_large_one_is_never_in_memory_as_a_whole(self, tmp_path: Path):
        """Peak resident memory of a process of its own, pages of the file included."""
        code = """
import re, sys
import numpy as np
import gradproof as gp

def peak():
    with open("/proc/self/status") as file:  # getrusage would count what the parent had
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", file.read())[1])

X = np.load(sys.argv[1], mmap_mode="r")
y = np.arange(len(X)) % 3
model = gp.Sequential([gp.Dense(3)], input_size=X.shape[1], loss="softmax_cross_entropy")
small = np.zeros((64, X.shape[1]), "float32")
model.fit(small, y[:64], epochs=1, batch_size=32)
before = peak()
model.fit(X, y, epochs=1, batch_size=64, validation_data=(X, y))
print(X.nbytes, peak() - before)
"""
        shape = (48_000, 512)  # 98 MB, 750 batches
        written = np.lib.format.open_memmap(tmp_path / "X.npy", mode="w+", dtype="float32", shape=shape)
        written[:, ::64] = np.random.default_rng(0).normal(size=(shape[0], shape[1] // 64))
        written.flush()
        del written
        ran = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "X.npy")], capture_output=True, text=True, check=True
        )
        size, grown = map(int, ran.stdout.split())
        assert grown < size / 2


class TestEnds:
    def test_a_loss_that_is_not_finite(self, dtype: str, X: np.ndarray, y: np.ndarray):
        """It is noticed before it does harm: the weights are those of the steps before."""
        model, plain = network(dtype), network(dtype)
        huge = lambda epoch: 1.0 if epoch < 2 else {"float32": 1e30, "float64": 1e250}[dtype]  # noqa: E731
        history = model.fit(X, y, optimizer=gp.SGD(0.1), schedule=huge, epochs=5, batch_size=16)
        assert history.stopped == "diverged" and "epoch 2, batch" in history.message
        assert history.epochs == [0, 1]
        assert np.isfinite(model.theta).all() and np.isfinite(model.buffers).all()
        steps = len(history.batches) - 1 if not np.isfinite(history.batches[-1]) else len(history.batches)

        optimizer = gp.SGD(0.1)
        step = Step(plain, X.astype(dtype), y, optimizer, optimizer.init(plain.theta))
        for batch in range(steps):
            epoch, start = batch // 6, batch % 6 * 16
            before = plain.theta.copy()
            step.run(streams.order(0, epoch, M)[start : start + 16], 16, 0.1 * huge(epoch))
            if not np.isfinite(plain.theta).all():
                plain.theta[...] = before
        np.testing.assert_array_equal(model.theta, plain.theta)

    @pytest.mark.parametrize("hooks", [False, True])
    @pytest.mark.parametrize("bad", [2, 5])
    def test_weights_that_are_not_finite_are_taken_back(self, X: np.ndarray, y: np.ndarray, bad: int, hooks: bool):
        """A finite loss with a step that overflows: also when it is the last of all."""

        class Overflows(gp.SGD):
            def update(self, theta, gradient, state, learning_rate=None, **runs):  # type: ignore[no-untyped-def]
                super().update(theta, gradient, state, learning_rate, **runs)
                if state.step == bad + 1:
                    theta[3] = np.inf

        model, plain = network(), network()
        callbacks = [Recorder()] if hooks else []
        history = model.fit(X, y, optimizer=Overflows(0.1), epochs=1, batch_size=16, callbacks=callbacks)
        assert history.stopped == "diverged"
        assert f"epoch 0, batch {bad}" in history.message and "taken back" in history.message
        assert len(history.batches) == bad + 1
        optimizer = gp.SGD(0.1)
        step = Step(plain, X, y, optimizer, optimizer.init(plain.theta))
        step.run(streams.order(0, 0, M)[: 16 * bad], 16)
        assert_same(model, plain)

    def test_a_gradient_of_a_loss_that_is_not_finite_is_not_shown(self, X: np.ndarray, y: np.ndarray):
        class Looks(gp.callbacks.Callback):
            def on_gradient(self, model: Any, run: Any) -> None:
                assert np.isfinite(run.data_loss)

        optimizer, schedule = gp.SGD(0.1), lambda epoch: 1e308 if epoch else 1.0
        history = network().fit(X, y, optimizer=optimizer, schedule=schedule, epochs=9, callbacks=[Looks()])
        assert history.stopped == "diverged"

    def test_interrupted_by_a_callback(self, X: np.ndarray, y: np.ndarray):
        class Interrupts(gp.callbacks.Callback):
            ended = False

            def on_epoch_begin(self, model: Any, run: Any) -> None:
                if run.epoch == 2:
                    raise KeyboardInterrupt

            def on_train_end(self, model: Any, run: Any) -> None:
                self.ended = True

        model, plain = network(), network()
        history = model.fit(X, y, epochs=9, callbacks=[callback := Interrupts()])
        plain.fit(X, y, epochs=2)
        assert history.stopped == "interrupted" and "epoch 2" in history.message
        assert history.epochs == [0, 1] and callback.ended
        assert_same(model, plain)

    @pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="no signals")
    def test_interrupted_by_the_keyboard(self, rng: np.random.Generator):
        """A real SIGINT in the middle of an epoch: the run ends between two steps, and the handler is as it was."""
        X, y = rng.normal(size=(4000, N_IN)), rng.integers(0, CLASSES, 4000)
        model, plain = network(), network()

        class Sends(gp.callbacks.Callback):
            def on_gradient(self, model: Any, run: Any) -> None:
                if (run.epoch, run.batch) == (1, 7):
                    os.kill(os.getpid(), signal.SIGINT)

        history = model.fit(X, y, epochs=50, batch_size=50, callbacks=[Sends()])
        assert history.stopped == "interrupted"
        assert history.epochs == [0] and len(history.batches) == 80 + 8
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        optimizer = gp.Adam()
        step = Step(plain, X, y, optimizer, optimizer.init(plain.theta))
        for epoch in range(2):
            step.run(streams.order(0, epoch, 4000)[: (4000, 400)[epoch]], 50)
        assert_same(model, plain)

    def test_the_keyboard_reaches_compiled_steps(self, rng: np.random.Generator):
        X, y = rng.normal(size=(4000, N_IN)), rng.integers(0, CLASSES, 4000)
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        history = network().fit(X, y, epochs=10**9, batch_size=10, monitor=False)
        timer.join()
        assert history.stopped == "interrupted" and len(history.batches) > 0

    def test_the_keyboard_at_the_very_end(self, X: np.ndarray, y: np.ndarray):
        class Sends(gp.callbacks.Callback):
            def on_train_end(self, model: Any, run: Any) -> None:
                os.kill(os.getpid(), signal.SIGINT)

        history = network().fit(X, y, epochs=2, callbacks=[Sends()])
        assert history.stopped == "interrupted" and history.epochs == [0, 1]

    def test_a_second_one_comes_through_at_once(self, X: np.ndarray, y: np.ndarray):
        class Sends(gp.callbacks.Callback):
            after = 0

            def on_epoch_end(self, model: Any, run: Any) -> None:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                self.after += 1

        history = network().fit(X, y, epochs=2, callbacks=[callback := Sends()])
        assert history.stopped == "interrupted" and callback.after == 0
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_outside_of_the_main_thread(self, X: np.ndarray, y: np.ndarray):
        model, plain = network(), network()
        thread = threading.Thread(target=lambda: model.fit(X, y, epochs=2))
        thread.start()
        thread.join()
        plain.fit(X, y, epochs=2)
        assert_same(model, plain)

    def test_an_error_in_a_callback_comes_through(self, X: np.ndarray, y: np.ndarray):
        class Fails(gp.callbacks.Callback):
            def on_epoch_end(self, model: Any, run: Any) -> None:
                raise RuntimeError("out of order")

        model, plain = network(), network()
        with pytest.raises(RuntimeError, match="out of order"):
            model.fit(X, y, epochs=2, callbacks=[Fails()])
        plain.fit(X, y, epochs=1)
        assert_same(model, plain)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, "high", None])
    def test_a_schedule_that_gives_nonsense(self, X: np.ndarray, y: np.ndarray, value: Any):
        model, plain = network(), network()
        with pytest.raises(ValueError, match=r"schedule: .* in epoch 2"):
            model.fit(X, y, epochs=4, schedule=lambda epoch: value if epoch == 2 else 0.5)
        plain.fit(X, y, epochs=2, schedule=lambda epoch: 0.5)
        assert_same(model, plain)

    def test_a_rate_that_changes_with_every_batch(self, X: np.ndarray, y: np.ndarray):
        model, plain = network(), network()
        schedule = gp.schedules.OneCycle(2)
        history = model.fit(X, y, epochs=2, batch_size=16, schedule=schedule, optimizer=gp.SGD(0.1))
        optimizer = gp.SGD(0.1)
        step = Step(plain, X, y, optimizer, optimizer.init(plain.theta))
        for epoch in range(2):
            order = streams.order(0, epoch, M)
            for batch in range(6):
                step.run(order[16 * batch : 16 * batch + 16], 16, 0.1 * schedule(epoch + batch / 6))
        assert_same(model, plain)
        assert history["learning_rate"] == [0.1 * schedule(0), 0.1 * schedule(1)]


class TestProgress:
    def test_a_callable_hears_of_batches(self, X: np.ndarray, y: np.ndarray):
        heard: list[tuple[int, int]] = []
        network().fit(X, y, epochs=3, batch_size=16, progress=lambda done, total: heard.append((done, total)))
        assert heard[-1] == (18, 18) and heard == sorted(heard)

    def test_a_bar(self, X: np.ndarray, y: np.ndarray, capsys: pytest.CaptureFixture[str]):
        network().fit(X, y, epochs=3, batch_size=16, progress=True)
        assert "Trained 3 of 3 epochs" in capsys.readouterr().err
        network().fit(X, y, epochs=3, batch_size=16, optimizer=gp.SGD(1e40), progress=True)
        assert "diverged in epoch 0" in capsys.readouterr().err

    def test_silence(self, X: np.ndarray, y: np.ndarray, capsys: pytest.CaptureFixture[str]):
        network().fit(X, y, epochs=3, progress=False)
        network().fit(X, y, epochs=3)
        assert capsys.readouterr() == ("", "")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nan in X": ({"X": np.full((M, N_IN), np.nan)}, r"X: X\[0, 0\] is nan, expected finite"),
    "columns": ({"X": np.zeros((M, 5))}, "X: got 5 features, expected 6"),
    "rows": ({"y": np.zeros(5, int)}, "y: got 5 targets"),
    "labels": ({"y": np.full(M, 3)}, r"y: y\[0\] is 3, expected labels from 0 to 2"),
    "epochs": ({"epochs": -1}, "epochs: got -1"),
    "epochs kind": ({"epochs": 2.5}, "epochs: got 2.5, expected a whole number"),
    "batch size": ({"batch_size": 0}, "batch_size: got 0"),
    "seed": ({"seed": -1}, "seed: got -1"),
    "optimizer": ({"optimizer": "adam"}, "optimizer: got 'adam', expected an optimizer such as"),
    "optimizer class": ({"optimizer": gp.Adam}, "optimizer: got the class Adam"),
    "schedule": ({"schedule": 0.5}, "schedule: got 0.5"),
    "schedule class": ({"schedule": gp.schedules.InverseTime}, "schedule: got <class"),
    "frozen kind": ({"frozen": 3}, "frozen: got 3, expected a list of names"),
    "frozen": ({"frozen": ("dense_7",)}, "frozen: got 'dense_7', expected .* dense_0.W"),
    "shuffle": ({"shuffle": 1}, "shuffle: got 1"),
    "augment": ({"augment": 3}, "augment: got 3, expected a function of .*, or a list of them"),
    "one of several": ({"augment": [gp.data.Noise(), 3]}, r"augment\[1\]: got 3, expected a function"),
    "a class": ({"augment": gp.data.Noise}, "augment: got <class .*Noise'>, expected a function"),
    "monitor": ({"monitor": "val_loss"}, "monitor: got 'val_loss', expected True or False"),
    "callbacks": ({"callbacks": [gp.callbacks.EarlyStopping]}, r"callbacks\[0\]: got the class EarlyStopping"),
    "callback": ({"callbacks": [print]}, r"callbacks\[0\]: got builtin"),
    "no list": ({"callbacks": 3}, "callbacks: got int"),
    "progress": ({"progress": "yes"}, "progress: got 'yes'"),
    "resume": ({"resume": 3}, "resume: got 3"),
    "weights": ({"sample_weight": np.ones(3)}, r"sample_weight: got shape \(3,\), expected one for each of the 83"),
    "negative weight": ({"sample_weight": -np.ones(M)}, r"sample_weight: sample_weight\[0\] is -1"),
    "no weight": ({"sample_weight": np.zeros(M)}, "sample_weight: got only zeros"),
    "weight nan": ({"sample_weight": np.full(M, np.nan)}, r"sample_weight: sample_weight\[0\] is nan"),
    "class weight": ({"class_weight": "even"}, "class_weight: got 'even', expected a dict"),
    "class": ({"class_weight": {3: 1.0}}, "class_weight: label: got 3"),
    "class weight value": ({"class_weight": {0: -1.0}}, r"class_weight\[0\]: got -1"),
    "no class": ({"class_weight": {0: 0, 1: 0, 2: 0}}, "class_weight: with these weights no row counts"),
    "validation": ({"validation_data": np.zeros((4, N_IN))}, "validation_data: got ndarray, expected a tuple"),
    "three": ({"validation_data": (1, 2, 3)}, "validation_data: got a tuple of 3, expected"),
    "validation X": ({"validation_data": (np.full((2, 6), np.inf), [0, 1])}, r"validation_data: X: X\[0, 0\] is inf"),
    "validation y": ({"validation_data": (np.zeros((2, 6)), [0, 7])}, r"validation_data: y: y\[1\] is 7, expected"),
}


class TestBadInput:
    @pytest.mark.parametrize("name", list(WRONG))
    def test_it_is_refused_before_anything_changes(self, X: np.ndarray, y: np.ndarray, name: str):
        arguments, message = WRONG[name]
        model = network()
        before = model.copy()
        with pytest.raises((ValueError, TypeError), match=message):
            model.fit(**{"X": X, "y": y, "epochs": 1, **arguments})
        assert_same(model, before)

    def test_a_validation_label_that_training_never_shows(self, X: np.ndarray, y: np.ndarray):
        seen = np.where(y == 2, 0, y)
        with pytest.raises(ValueError, match=r"validation_data: y\[\d+\] is 2, a label that does not occur in the 83"):
            network().fit(X, seen, epochs=1, validation_data=(X, y))

    def test_class_weights_without_classes(self, X: np.ndarray):
        model = gp.Sequential([gp.Dense(1)], input_size=N_IN, loss="mse")
        with pytest.raises(ValueError, match="class_weight: the targets of this model .* are no classes"):
            model.fit(X, X[:, 0], class_weight="balanced", epochs=1)

    def test_a_mapped_array_of_the_wrong_shape(self, tmp_path: Path, y: np.ndarray):
        for shape, message in (((M,), r"got shape \(83,\)"), ((M, 5), "got 5 features"), ((0, N_IN), "no rows")):
            np.save(tmp_path / "X.npy", np.zeros(shape))
            if 0 not in shape:
                with pytest.raises(ValueError, match=message):
                    network().fit(np.load(tmp_path / "X.npy", mmap_mode="r"), y, epochs=1)


def test_the_training_set_need_not_be_scored() -> None:
    X, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    models = [gp.Sequential([gp.Dense(3)], input_size=4, loss="hinge") for _ in range(2)]
    scored, bare = (
        model.fit(X, y, epochs=2, validation_data=(X, y), progress=False, score=score)
        for model, score in zip(models, (True, False), strict=True)
    )
    assert "accuracy" in scored and "accuracy" not in bare
    assert bare["val_accuracy"] == scored["val_accuracy"] == scored["accuracy"]
    np.testing.assert_array_equal(models[0].theta, models[1].theta)
    with pytest.raises(TypeError, match="score: got 1"):
        models[0].fit(X, y, score=1)
