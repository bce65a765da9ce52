"""Checkpoints: a run that was stopped, killed or refused a disk goes on as if nothing had happened."""

from __future__ import annotations

import errno
import random
import resource
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases.checkpoints import stored

import gradproof as gp
from gradproof import _files
from gradproof.train.callbacks import Checkpoint, EarlyStopping

M, N_IN, CLASSES = 50, 4, 3


def network(dtype: str = "float64", **options: Any) -> gp.Sequential:
    layers = [gp.Dense(6), gp.BatchNorm(), gp.ReLU(), gp.Dropout(keep_prob=0.7), gp.Dense(CLASSES)]
    settings = {"input_size": N_IN, "loss": "softmax_cross_entropy", "l2": 1e-2, "dtype": dtype, "seed": 5}
    return gp.Sequential(layers, **{**settings, **options})


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(M, N_IN))


@pytest.fixture
def y() -> np.ndarray:
    return np.arange(M) % CLASSES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


def assert_same(a: gp.Sequential, b: gp.Sequential) -> None:
    """Bit by bit."""
    np.testing.assert_array_equal(a.theta, b.theta)
    np.testing.assert_array_equal(a.buffers, b.buffers)
    assert a.dropout_step == b.dropout_step


def jitter(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return batch + 0.1 * rng.normal(size=batch.shape)


class TestResuming:
    @pytest.mark.parametrize(
        "optimizer", [gp.SGD(0.1), gp.Momentum(0.1), gp.RMSprop(0.01), gp.Adam(0.01, clip_norm=1.0)]
    )
    def test_it_is_as_if_it_had_never_stopped(
        self, dtype: str, X: np.ndarray, y: np.ndarray, path: Path, optimizer: Any
    ):
        options: dict[str, Any] = {
            "optimizer": optimizer,
            "schedule": gp.schedules.OneCycle(9),
            "batch_size": 16,
            "seed": 2,
            "augment": jitter,
            "class_weight": "balanced",
            "validation_data": (X, y),
        }
        whole = network(dtype)
        expected = whole.fit(X, y, epochs=9, callbacks=[EarlyStopping(patience=20)], **options)
        for epochs in (2, 3, 9):
            model = network(dtype)
            callbacks = [Checkpoint(path), EarlyStopping(patience=20)]
            history = model.fit(X, y, epochs=epochs, callbacks=callbacks, resume=path, **options)
        assert_same(model, whole)
        for name in expected.flat():
            np.testing.assert_array_equal(history.flat()[name], expected.flat()[name])
        assert history.batches == expected.batches and history.epochs == expected.epochs
        assert history.stopped == "finished" and history.changes == []

    def test_early_stopping_remembers(self, X: np.ndarray, y: np.ndarray, path: Path):
        """Its counter, its best value and its best weights, wherever the run was stopped."""
        y = np.argmax(X[:, :CLASSES], axis=1)
        options = {"optimizer": gp.Adam(0.05), "batch_size": 16, "validation_data": (X + np.sin(7 * X), y)}
        whole = network()
        expected = whole.fit(X, y, epochs=60, callbacks=[EarlyStopping(patience=4)], **options)
        assert expected.stopped == "early stopping" and 6 < len(expected) < 60
        for epochs in (*range(1, len(expected) + 2), 60):
            model = network()
            stopping = EarlyStopping(patience=4)
            history = model.fit(X, y, epochs=epochs, callbacks=[Checkpoint(path), stopping], resume=path, **options)
        assert_same(model, whole)
        assert (history.stopped, history.message) == (expected.stopped, expected.message)
        assert history["val_loss"] == expected["val_loss"]

    def test_without_a_file_it_starts(self, X: np.ndarray, y: np.ndarray, path: Path):
        a, b = network(), network()
        assert a.fit(X, y, epochs=2, resume=path).epochs == [0, 1]
        b.fit(X, y, epochs=2)
        assert_same(a, b)
        assert not path.exists()

    def test_a_run_that_is_done(self, X: np.ndarray, y: np.ndarray, path: Path):
        whole, model = network(), network()
        whole.fit(X, y, epochs=3, callbacks=[Checkpoint(path)])
        before = path.read_bytes()
        history = model.fit(X, y, epochs=2, callbacks=[Checkpoint(path)], resume=path)
        assert history.epochs == [0, 1, 2] and path.read_bytes() == before
        assert_same(model, whole)

    def test_it_holds_the_model(self, X: np.ndarray, y: np.ndarray, path: Path, dtype: str):
        model = network(dtype)
        model.fit(X, y, epochs=3, callbacks=[Checkpoint(path)])
        assert_same(gp.load(path), model)

    def test_a_python_layer(self, X: np.ndarray, y: np.ndarray, path: Path):
        class Scale(gp.Layer):
            def build(self, n_in: int, rng: np.random.Generator) -> dict[str, Any]:
                return {"s": rng.normal(size=n_in)}

            def forward(self, x: Any, parameters: Any, training: bool) -> tuple[Any, Any]:
                return x * parameters["s"], x

            def backward(self, dy: Any, cache: Any, parameters: Any) -> tuple[Any, dict[str, Any]]:
                return dy * parameters["s"], {"s": (dy * cache).sum(axis=0)}

        def build() -> gp.Sequential:
            layers = [gp.Dense(6), Scale(), gp.Tanh(), gp.Dense(3)]
            return gp.Sequential(layers, input_size=N_IN, loss="hinge", dtype="float64")

        whole, model = build(), build()
        whole.fit(X, y, epochs=4, batch_size=16)
        build().fit(X, y, epochs=2, batch_size=16, callbacks=[Checkpoint(path)])
        model.fit(X, y, epochs=4, batch_size=16, resume=path)
        assert_same(model, whole)

    def test_callbacks_of_ones_own(self, X: np.ndarray, y: np.ndarray, path: Path):
        class Keeps(gp.callbacks.Callback):
            def __init__(self) -> None:
                self.seen: list[int] = []
                self.sums = np.zeros(2)

            def on_epoch_end(self, model: Any, run: Any) -> None:
                self.seen.append(run.epoch)
                self.sums += model.theta[:2]

            def state(self) -> dict[str, Any]:
                return {"seen": self.seen, "sums": self.sums}

            def restore(self, state: dict[str, Any]) -> None:
                self.seen, self.sums = state["seen"], state["sums"]

        whole = [Keeps(), Keeps()]
        network().fit(X, y, epochs=4, callbacks=whole)
        parts = [Keeps(), Keeps()]
        network().fit(X, y, epochs=2, callbacks=[*parts, Checkpoint(path)])
        later = [Keeps(), Keeps()]
        network().fit(X, y, epochs=4, callbacks=later, resume=path)
        for a, b in zip(whole, later, strict=True):
            assert a.seen == b.seen == [0, 1, 2, 3]
            np.testing.assert_array_equal(a.sums, b.sums)


class TestWhenItWrites:
    def epochs_written(
        self, X: np.ndarray, y: np.ndarray, path: Path, checkpoint: Checkpoint, **options: Any
    ) -> list[int]:
        class Looks(gp.callbacks.Callback):
            order = 2
            found: list[int] = []

            def on_epoch_end(self, model: Any, run: Any) -> None:
                if path.exists():
                    self.found.append(stored(path)["epoch"])

        Looks.found = []
        network().fit(X, y, callbacks=[Looks(), checkpoint], **options)
        return Looks.found

    def test_every_so_many_epochs_and_the_last(self, X: np.ndarray, y: np.ndarray, path: Path):
        assert self.epochs_written(X, y, path, Checkpoint(path), epochs=3) == [0, 1, 2]
        path.unlink()
        assert self.epochs_written(X, y, path, Checkpoint(path, every=3), epochs=8) == [2, 2, 2, 5, 5, 7]

    def test_the_last_of_a_run_that_is_stopped(self, X: np.ndarray, y: np.ndarray, path: Path):
        class Stops(gp.callbacks.Callback):
            def on_epoch_end(self, model: Any, run: Any) -> None:
                if run.epoch == 1:
                    run.stop("enough")

        network().fit(X, y, epochs=9, callbacks=[Checkpoint(path, every=5), Stops()])
        assert stored(path)["epoch"] == 1 and stored(path)["stopping"] == ["enough", ""]

    def test_only_the_best(self, X: np.ndarray, y: np.ndarray, path: Path):
        class Feigned(gp.callbacks.Callback):
            def on_epoch_end(self, model: Any, run: Any) -> None:
                run.logs["loss"] = [5, 3, 4, 2, 2, 9][run.epoch]

        class Looks(gp.callbacks.Callback):
            order = 2
            found: list[int] = []

            def on_epoch_end(self, model: Any, run: Any) -> None:
                self.found.append(stored(path)["epoch"])

        network().fit(X, y, epochs=6, callbacks=[Feigned(), Checkpoint(path, best_only=True), Looks()])
        assert Looks.found == [0, 1, 1, 3, 3, 3]

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"path": 3}, "path: got 3"),
            ({"path": "a", "every": 0}, "every: got 0"),
            ({"path": "a", "best_only": 1}, "best_only: got 1"),
            ({"path": "a", "monitor": 1}, "monitor: got 1"),
        ],
    )
    def test_bad_arguments(self, options: dict[str, Any], message: str):
        with pytest.raises((ValueError, TypeError), match=message):
            Checkpoint(**options)


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "seed of the model": ({"seed": 6}, {}, "another model: seed is 5, this model has 6"),
    "dtype": ({"dtype": "float32"}, {}, "another model: dtype is 'float64', this model has 'float32'"),
    "loss": ({"loss": "hinge"}, {}, "another model: loss is 'softmax_cross_entropy'"),
    "seed": ({}, {"seed": 1}, "trained with seed 0, this run has 1"),
    "batch size": ({}, {"batch_size": 7}, "trained with batch_size 16, this run has 7"),
    "shuffle": ({}, {"shuffle": False}, "trained with shuffle True"),
    "optimizer": ({}, {"optimizer": gp.SGD(0.1)}, "trained with optimizer 'Adam', this run has 'SGD'"),
    "weights": ({}, {"sample_weight": np.arange(M)}, "trained on other data"),
    "X": ({}, {"X": np.ones((M, N_IN))}, "trained on other data"),
    "y": ({}, {"y": np.zeros(M, int)}, "trained on other data"),
    "rows": ({}, {"X": np.ones((30, N_IN)), "y": np.zeros(30, int)}, "trained with rows 50, this run has 30"),
}


class TestWhatIsRefused:
    @pytest.mark.parametrize("name", list(OTHERS))
    def test_a_file_of_another_run(self, X: np.ndarray, y: np.ndarray, path: Path, name: str):
        of_model, of_run, message = OTHERS[name]
        network().fit(X, y, epochs=2, batch_size=16, callbacks=[Checkpoint(path)])
        model = network(**of_model)
        before = model.copy()
        with pytest.raises(ValueError, match=message) as caught:
            model.fit(**{"X": X, "y": y, "epochs": 4, "batch_size": 16, "resume": path, **of_run})
        assert str(path) in str(caught.value)
        assert_same(model, before)

    def test_other_layers(self, X: np.ndarray, y: np.ndarray, path: Path):
        network().fit(X, y, epochs=2, callbacks=[Checkpoint(path)])
        for layers in (
            [gp.Dense(CLASSES)],
            [gp.Dense(6), gp.BatchNorm(), gp.Tanh(), gp.Dropout(0.7), gp.Dense(CLASSES)],
        ):
            model = gp.Sequential(layers, input_size=N_IN, loss="softmax_cross_entropy", dtype="float64", seed=5)
            with pytest.raises(ValueError, match="it is of another model: layers is"):
                model.fit(X, y, epochs=4, resume=path)

    def test_settings_that_may_change_are_noted(self, X: np.ndarray, y: np.ndarray, path: Path):
        network().fit(X, y, epochs=2, callbacks=[Checkpoint(path)])
        with pytest.warns(
            UserWarning, match=r"resume: .* other settings: optimizer was Adam\(.*0.001.*; schedule was None"
        ):
            history = network(l2=0.0).fit(
                X, y, epochs=3, optimizer=gp.Adam(0.5), schedule=gp.schedules.Manual({2: 0.25}), resume=path
            )
        assert [change["setting"] for change in history.changes] == ["optimizer", "schedule", "l2"]
        assert history.changes[2] == {"epoch": 2, "setting": "l2", "before": 0.01, "after": 0.0}
        assert history["learning_rate"] == [1e-3, 1e-3, 0.25]

    def test_a_model_file(self, X: np.ndarray, y: np.ndarray, path: Path):
        network().save(path)
        with pytest.raises(ValueError, match="it holds a model without its training; read it with gp.load"):
            network().fit(X, y, epochs=1, resume=path)

    @pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", b"\x00" * 64, b"{}"])
    def test_a_foreign_file(self, X: np.ndarray, y: np.ndarray, path: Path, content: bytes):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="run.safetensors: not a readable gradproof checkpoint"):
            network().fit(X, y, epochs=1, resume=path)

    def test_a_folder(self, X: np.ndarray, y: np.ndarray, tmp_path: Path):
        with pytest.raises(ValueError, match="not a regular file"):
            network().fit(X, y, epochs=1, resume=tmp_path)

    def test_any_damage(self, X: np.ndarray, y: np.ndarray, path: Path):
        """One byte changed anywhere, the file cut off anywhere, or something behind it."""
        network().fit(X, y, epochs=2, monitor=False, callbacks=[Checkpoint(path), EarlyStopping()])
        whole = path.read_bytes()
        model = network()
        before = model.copy()
        (length,) = struct.unpack("<Q", whole[:8])
        rng = random.Random(0)
        positions = {*range(8), *rng.sample(range(8, 8 + length), 100), *rng.sample(range(8 + length, len(whole)), 100)}
        damaged = [whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :] for at in sorted(positions)]
        damaged += [whole[:at] for at in rng.sample(range(len(whole)), 30)] + [whole + b"\0"]
        for content in damaged:
            path.write_bytes(content)
            with pytest.raises(ValueError, match="not a readable gradproof checkpoint"):
                model.fit(X, y, epochs=3, resume=path)
        assert_same(model, before)
        path.write_bytes(whole)
        assert model.fit(X, y, epochs=3, monitor=False, resume=path).epochs == [0, 1, 2]


class TestDisk:
    def test_a_full_one(self, X: np.ndarray, y: np.ndarray, path: Path):
        """The limit of file sizes stands in for it: the error says what was to be written, the old file stays."""
        model, plain = network(), network()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)

        class Fills(gp.callbacks.Callback):
            def on_epoch_begin(self, model: Any, run: Any) -> None:
                if run.epoch == 2:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))

        try:
            with pytest.raises(OSError, match="checkpoint of epoch 2: File too large") as caught:
                model.fit(X, y, epochs=5, callbacks=[Fills(), Checkpoint(path)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.filename == str(path) and caught.value.errno == errno.EFBIG
        plain.fit(X, y, epochs=3)
        assert_same(model, plain)
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        again = network()
        assert again.fit(X, y, epochs=3, resume=path).epochs == [0, 1, 2]
        assert_same(again, plain)

    def test_a_folder_that_may_not_be_written(
        self, X: np.ndarray, y: np.ndarray, path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def refuses(path: Any, content: bytes) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(_files, "write", refuses)
        with pytest.raises(PermissionError, match="checkpoint of epoch 0: Permission denied"):
            network().fit(X, y, epochs=2, callbacks=[Checkpoint(path)])

    def test_no_folder(self, X: np.ndarray, y: np.ndarray, tmp_path: Path):
        model = network()
        before = model.copy()
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            model.fit(X, y, epochs=2, callbacks=[Checkpoint(tmp_path / "none" / "run")])
        with pytest.raises(IsADirectoryError, match="a folder; expected the path of a file"):
            model.fit(X, y, epochs=2, callbacks=[Checkpoint(tmp_path)])
        assert_same(model, before)


class TestMorePatience:
    """A run that had ended by itself, resumed with more patience, or with another number to go by."""

    def run(self, path, patience, **keywords):
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(60, 5)), rng.integers(0, 2, 60)
        model = gp.Sequential([gp.Dense(8), gp.ReLU(), gp.Dense(2)], 5, "softmax_cross_entropy", seed=0)
        callbacks = [gp.callbacks.EarlyStopping(patience=patience, restore_best=False), gp.callbacks.Checkpoint(path)]
        options = {"epochs": 60, "batch_size": 8, "optimizer": gp.Adam(0.02)}
        options |= {"validation_data": (X[:20] + 1, y[:20]), "resume": path, "callbacks": callbacks}
        return model.fit(X, y, **(options | keywords)), model.theta

    def test_it_goes_on_as_if_it_had_had_it_from_the_start(self, tmp_path):
        short, _ = self.run(tmp_path / "a", 3)
        again, _ = self.run(tmp_path / "a", 3)
        assert short.stopped == again.stopped == "early stopping" and short.epochs == again.epochs
        resumed, theta = self.run(tmp_path / "a", 12)
        whole, expected = self.run(tmp_path / "b", 12)
        assert len(resumed.epochs) > len(short.epochs)
        assert resumed.epochs == whole.epochs
        np.testing.assert_array_equal(theta, expected)

    def test_the_best_of_another_column_begins_anew(self, tmp_path):
        self.run(tmp_path / "a", 50, epochs=5)
        with pytest.warns(UserWarning, match="val_loss.*loss"):
            self.run(tmp_path / "a", 50, epochs=8, validation_data=None)
