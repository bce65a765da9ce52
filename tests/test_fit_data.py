"""What the training loop is fed with: augmented batches and memory maps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases.fitting import M, Recorder, assert_same, inputs, labels, network

import gradproof as gp

X, y = pytest.fixture(inputs, name="X"), pytest.fixture(labels, name="y")


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
