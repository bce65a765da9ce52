"""Callbacks: when they are called, what they may do, and what each of ours does."""

from __future__ import annotations

import builtins
import csv
import json
import sys
import types
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof.train.callbacks import Callback, CSVLogger, EarlyStopping, JSONLogger, TensorBoard

M, N_IN, CLASSES = 40, 4, 3


def network() -> gp.Sequential:
    layers = [gp.Dense(5), gp.BatchNorm(), gp.Tanh(), gp.Dense(CLASSES)]
    return gp.Sequential(layers, input_size=N_IN, loss="softmax_cross_entropy", dtype="float64", seed=1)


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(M, N_IN))


@pytest.fixture
def y(X: np.ndarray) -> np.ndarray:
    return np.argmax(X[:, :CLASSES], axis=1)


class Feigned(Callback):
    """Puts values of a monitored number in place of the real ones, and keeps the weights of every epoch."""

    def __init__(self, name: str, values: list[float]) -> None:
        self.name, self.values = name, values
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, model: Any, run: Any) -> None:
        run.logs[self.name] = self.values[run.epoch]
        self.weights.append(np.concatenate([model.theta, model.buffers]))


def weights(model: gp.Sequential) -> np.ndarray:
    return np.concatenate([model.theta, model.buffers])


class TestHooks:
    def test_their_order(self, X: np.ndarray, y: np.ndarray):
        calls: list[str] = []

        def hook(name: str) -> Callable[..., None]:
            return lambda self, model, run: calls.append(f"{self.name}.{name[3:]} {run.epoch} {run.batch}")

        hooks = {name: hook(name) for name in vars(Callback) if name.startswith("on_")}
        kind = type("All", (Callback,), hooks)
        a, b = kind(), kind()
        a.name, b.name, b.order = "a", "b", -1
        network().fit(X, y, epochs=1, batch_size=20, callbacks=[a, b])
        expected = ["train_begin 0 0", "epoch_begin 0 0"]
        for batch in range(2):
            expected += [f"batch_begin 0 {batch}", f"gradient 0 {batch}", f"batch_end 0 {batch}"]
        expected += ["epoch_end 0 2", "train_end 0 2"]
        assert calls == [f"{name}.{call}" for call in expected for name in "ba"]

    def test_the_gradient_may_be_changed(self, X: np.ndarray, y: np.ndarray):
        class Doubles(Callback):
            def on_gradient(self, model: Any, run: Any) -> None:
                model.gradient[...] *= 2

        a, b = network(), network()
        a.fit(X, y, epochs=3, batch_size=16, optimizer=gp.SGD(0.1), callbacks=[Doubles()])
        b.fit(X, y, epochs=3, batch_size=16, optimizer=gp.SGD(0.2))
        np.testing.assert_allclose(a.theta, b.theta, rtol=1e-12)

    def test_looking_changes_nothing(self, X: np.ndarray, y: np.ndarray):
        """One batch at a time or many in the core: the same numbers, bit by bit."""

        class Looks(Callback):
            losses: list[float] = []

            def on_gradient(self, model: Any, run: Any) -> None:
                assert np.isfinite(model.gradient).all() and run.learning_rate == 1e-3

            def on_batch_end(self, model: Any, run: Any) -> None:
                self.losses.append(run.data_loss + run.penalty)

        a, b = network(), network()
        history = a.fit(X, y, epochs=3, batch_size=16, callbacks=[Looks()])
        assert history.batches == Looks.losses == b.fit(X, y, epochs=3, batch_size=16).batches
        np.testing.assert_array_equal(weights(a), weights(b))

    def test_a_hook_of_an_instance_counts(self, X: np.ndarray, y: np.ndarray):
        callback = Callback()
        calls: list[int] = []
        callback.on_batch_end = lambda model, run: calls.append(run.batch)  # type: ignore[method-assign]
        network().fit(X, y, epochs=1, batch_size=16, callbacks=callback)
        assert calls == [0, 1, 2]

    def test_stopping_at_the_end_of_an_epoch(self, X: np.ndarray, y: np.ndarray):
        class Stops(Callback):
            def on_epoch_end(self, model: Any, run: Any) -> None:
                if run.epoch == 1:
                    run.stop("enough", "it is good")
                    run.stop("late")

        history = network().fit(X, y, epochs=9, callbacks=[Stops()])
        assert (history.epochs, history.stopped, history.message) == ([0, 1], "enough", "it is good")

    def test_stopping_in_the_middle_of_an_epoch(self, X: np.ndarray, y: np.ndarray):
        class Stops(Callback):
            def on_batch_end(self, model: Any, run: Any) -> None:
                if (run.epoch, run.batch) == (1, 0):
                    run.stop("enough")

        history = network().fit(X, y, epochs=9, batch_size=16, callbacks=[Stops()])
        assert history.epochs == [0] and len(history.batches) == 4 and history.stopped == "enough"


class TestEarlyStopping:
    @pytest.mark.parametrize(
        "patience, min_delta, values, epochs, best",
        [
            (2, 0.0, [5, 4, 3, 4, 3, 1], 5, 2),  # as good is not better
            (1, 0.0, [5, 6, 1, 1, 1, 1], 2, 0),
            (0, 0.0, [5, 6, 1, 1, 1, 1], 2, 0),
            (2, 0.0, [5, 6, 4, 5, 3, 2], 6, 5),  # the count begins again
            (2, 1.0, [5, 4.5, 4, 3.9, 3.5, 3], 3, 0),
            (2, 0.0, [5, nan, nan, 1, 1, 1], 3, 0),
            (3, 0.0, [inf, 3, 2, 1, 0.5, 0.4], 6, 5),
        ],
    )
    def test_when(
        self, X: np.ndarray, y: np.ndarray, patience: int, min_delta: float, values: list[float], epochs: int, best: int
    ):
        model, feigned = network(), Feigned("val_loss", values)
        stopping = EarlyStopping(patience=patience, min_delta=min_delta)
        history = model.fit(X, y, epochs=6, callbacks=[feigned, stopping])
        assert len(history) == epochs
        assert (stopping.best_epoch, stopping.best) == (best, values[best])
        np.testing.assert_array_equal(weights(model), feigned.weights[best])
        if epochs < 6:
            assert history.stopped == "early stopping"
            assert f"than the {values[best]} of epoch {best}; the weights are those of epoch {best}" in history.message
        else:
            assert history.stopped == "finished"

    def test_without_restoring(self, X: np.ndarray, y: np.ndarray):
        model, feigned = network(), Feigned("val_loss", [1, 2, 3, 4])
        history = model.fit(X, y, epochs=4, callbacks=[feigned, EarlyStopping(patience=2, restore_best=False)])
        np.testing.assert_array_equal(weights(model), feigned.weights[2])
        assert "the weights are" not in history.message

    def test_larger_is_better_for_accuracy(self, X: np.ndarray, y: np.ndarray):
        model, feigned = network(), Feigned("val_accuracy", [0.2, 0.9, 0.8, 0.9, 0.1])
        stopping = EarlyStopping("val_accuracy", patience=2)
        assert len(model.fit(X, y, epochs=5, callbacks=[feigned, stopping])) == 4
        assert stopping.best_epoch == 1

    def test_by_default_the_validation_loss_else_the_loss(self, X: np.ndarray, y: np.ndarray):
        a, b = EarlyStopping(patience=50), EarlyStopping(patience=50)
        first = network().fit(X, y, epochs=3, callbacks=[a], validation_data=(X, y))
        second = network().fit(X, y, epochs=3, callbacks=[b])
        assert a.best == min(first["val_loss"]) and b.best == min(second["loss"])

    def test_it_starts_afresh(self, X: np.ndarray, y: np.ndarray):
        stopping = EarlyStopping(patience=1)
        network().fit(X, y, epochs=3, callbacks=[Feigned("val_loss", [0, 1, 2]), stopping])
        history = network().fit(X, y, epochs=3, callbacks=[Feigned("val_loss", [9, 8, 7]), stopping])
        assert len(history) == 3 and stopping.best == 7

    def test_interrupted_weights_stay(self, X: np.ndarray, y: np.ndarray):
        class Interrupts(Callback):
            def on_epoch_begin(self, model: Any, run: Any) -> None:
                if run.epoch == 3:
                    raise KeyboardInterrupt

        model, feigned = network(), Feigned("val_loss", [1, 2, 3, 4])
        model.fit(X, y, epochs=4, callbacks=[feigned, EarlyStopping(), Interrupts()])
        np.testing.assert_array_equal(weights(model), feigned.weights[2])

    def test_a_number_that_is_not_there(self, X: np.ndarray, y: np.ndarray):
        with pytest.raises(
            ValueError, match="monitor: got 'val_loss', expected one of 'loss', .*; give validation_data"
        ):
            network().fit(X, y, epochs=2, callbacks=[EarlyStopping("val_loss")])

    @pytest.mark.parametrize(
        "options, message",
        [
            ({"patience": -1}, "patience: got -1"),
            ({"patience": 1.5}, "patience: got 1.5"),
            ({"min_delta": -1e-3}, "min_delta: got -0.001"),
            ({"monitor": 3}, "monitor: got 3"),
            ({"restore_best": 1}, "restore_best: got 1"),
        ],
    )
    def test_bad_arguments(self, options: dict[str, Any], message: str):
        with pytest.raises((ValueError, TypeError), match=message):
            EarlyStopping(**options)


class TestLoggers:
    def test_csv(self, tmp_path: Path, X: np.ndarray, y: np.ndarray):
        (tmp_path / "log.csv").write_text("from before\n")
        seen: list[int] = []

        class Reads(Callback):
            order = 1

            def on_epoch_end(self, model: Any, run: Any) -> None:
                seen.append(len((tmp_path / "log.csv").read_text().splitlines()))

        history = network().fit(X, y, epochs=4, callbacks=[CSVLogger(tmp_path / "log.csv"), Reads()])
        assert (tmp_path / "log.csv").read_text() == history.to_csv()
        assert seen == [2, 3, 4, 5]
        rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
        assert [float(row["loss"]) for row in rows] == history["loss"]

    def test_json_lines(self, tmp_path: Path, X: np.ndarray, y: np.ndarray):
        history = network().fit(X, y, epochs=3, callbacks=[JSONLogger(tmp_path / "log.jsonl")])
        rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == [0, 1, 2]
        assert [row["loss"] for row in rows] == history["loss"]
        ratios = [float(row["update_ratio/dense_0.W"]) for row in rows]
        np.testing.assert_array_equal(ratios, history["update_ratio"]["dense_0.W"])

    @pytest.mark.parametrize("logger", [CSVLogger, JSONLogger])
    def test_a_resumed_run_has_the_whole_table(self, tmp_path: Path, X: np.ndarray, y: np.ndarray, logger: Any):
        log, path = tmp_path / "log", tmp_path / "checkpoint"
        options = {"callbacks": [gp.callbacks.Checkpoint(path), logger(log)], "resume": path}
        network().fit(X, y, epochs=2, **options)
        with log.open("a") as file:
            file.write("half a li")  # as after a crash
        network().fit(X, y, epochs=4, **options)
        whole = tmp_path / "whole"
        network().fit(X, y, epochs=4, callbacks=[logger(whole)])
        assert log.read_text() == whole.read_text()

    @pytest.mark.parametrize("logger", [CSVLogger, JSONLogger])
    def test_a_folder_that_is_not_there(self, tmp_path: Path, X: np.ndarray, y: np.ndarray, logger: Any):
        model = network()
        before = weights(model)
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            model.fit(X, y, epochs=2, callbacks=[logger(tmp_path / "none" / "log")])
        np.testing.assert_array_equal(weights(model), before)
        with pytest.raises(TypeError, match="path: got 3"):
            logger(3)


class TestTensorBoard:
    def test_what_it_writes(self, tmp_path: Path, X: np.ndarray, y: np.ndarray, monkeypatch: pytest.MonkeyPatch):
        """Against a stand-in for tensorboard's Writer."""
        calls: list[Any] = []

        class Writer:
            def __init__(self, folder: str) -> None:
                calls.append(folder)

            def add_scalar(self, name: str, value: float, step: int) -> None:
                calls.append((name, value, step))

            def flush(self) -> None:
                calls.append("flush")

            def close(self) -> None:
                calls.append("close")

        module = types.ModuleType("tensorboard.summary")
        module.Writer = Writer  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "tensorboard", types.ModuleType("tensorboard"))
        monkeypatch.setitem(sys.modules, "tensorboard.summary", module)
        history = network().fit(X, y, epochs=2, callbacks=[TensorBoard(tmp_path)])
        assert calls[0] == str(tmp_path) and calls[-1] == "close" and calls.count("flush") == 2
        scalars = [call for call in calls if isinstance(call, tuple)]
        assert [value for name, value, _ in scalars if name == "loss"] == history["loss"]
        assert {name for name, _, step in scalars if step == 1} == set(history.flat())

    def test_event_files(self, tmp_path: Path, X: np.ndarray, y: np.ndarray):
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        history = network().fit(X, y, epochs=3, callbacks=[TensorBoard(tmp_path)])
        events = accumulator.EventAccumulator(str(tmp_path))
        events.Reload()
        tags = events.Tags()
        name = "tensors" if "loss" in tags["tensors"] else "scalars"
        assert set(tags[name]) == set(history.flat())

    def test_without_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        real = builtins.__import__

        def missing(name: str, *rest: Any) -> Any:
            if name.startswith("tensorboard"):
                raise ImportError(name)
            return real(name, *rest)

        monkeypatch.setattr(builtins, "__import__", missing)
        with pytest.raises(ImportError, match=r"pip install gradproof\[tensorboard\]"):
            TensorBoard(tmp_path)
