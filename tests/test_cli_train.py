"""The command ``gradproof train``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof import cli, cli_train
from gradproof.cli_errors import InputError

MODELS = """
import os, signal
import gradproof as gp

def build(dtype="float64", loss="softmax_cross_entropy", units=3):
    return gp.Sequential([gp.Dense(5), gp.Tanh(), gp.Dense(units)], input_size=4, loss=loss, dtype=dtype)

def regression():
    return build(loss="mse", units=1)

class Interrupts(gp.Layer):
    calls = 0
    def build(self, n_in, rng): return {}
    def forward(self, x, parameters, training):
        Interrupts.calls += training and len(x) == 12  # the last batch of an epoch of 60 rows in batches of 16
        if Interrupts.calls == 3:
            Interrupts.calls = 4
            raise KeyboardInterrupt
        return x, None
    def backward(self, dy, cache, parameters): return dy, {}

def interrupted():
    return gp.Sequential([gp.Dense(5), Interrupts(), gp.Dense(3)], input_size=4, loss="softmax_cross_entropy")
"""


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 4))
    return X, np.argmax(X[:, :3], axis=1)


@pytest.fixture
def folder(tmp_path: Path, data: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a module of models and data."""
    (tmp_path / "train_models.py").write_text(MODELS)
    np.savez(tmp_path / "data.npz", X=data[0], y=data[1])
    np.savez(tmp_path / "other.npz", X=data[0][:20] + 0.1, y=data[1][:20])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "train_models", raising=False)
    return tmp_path


def build(dtype: str = "float64") -> gp.Sequential:
    layers = [gp.Dense(5), gp.Tanh(), gp.Dense(3)]
    return gp.Sequential(layers, input_size=4, loss="softmax_cross_entropy", dtype=dtype)


MODEL = "train_models:build"


def run(*arguments: str) -> int:
    return cli.main(["train", MODEL, "--data", "data.npz", *arguments])


class TestTraining:
    def test_it_is_fit(self, folder: Path, data: Any, capsys: pytest.CaptureFixture[str]):
        options = ["--epochs", "7", "--batch-size", "16", "--optimizer", "momentum", "--learning-rate", "0.5"]
        status = run(*options, "--schedule", "staircase:0.5,3", "--seed", "4", "--save", "net.safetensors")
        assert status == 0
        model = build()
        schedule = gp.schedules.Staircase(0.5, 3)
        history = model.fit(*data, epochs=7, batch_size=16, optimizer=gp.Momentum(0.5), schedule=schedule, seed=4)
        np.testing.assert_array_equal(gp.load("net.safetensors").theta, model.theta)
        printed = capsys.readouterr().out
        assert printed.count("epoch ") >= 7 and f"loss {history['loss'][6]:.4g}" in printed
        assert f"finished; best loss {history.best.value:.4g} in epoch 6" in printed

    def test_a_saved_model_goes_on(self, folder: Path, data: Any):
        build().save("net.safetensors")
        arguments = ["train", "net.safetensors", "--data", "data.npz", "--epochs", "2", "--quiet"]
        assert cli.main([*arguments, "--save", "net.safetensors"]) == 0
        model = build()
        model.fit(*data, epochs=2)
        np.testing.assert_array_equal(gp.load("net.safetensors").theta, model.theta)

    def test_the_digits_by_default(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        assert cli.main(["train", "--rows", "300", "--epochs", "2", "--dtype", "float64"]) == 0
        assert "epoch 1  loss" in capsys.readouterr().out

    def test_validation_and_patience(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        arguments = ["--validation", "0.25", "--learning-rate", "0.3", "--epochs", "400", "--patience", "3"]
        assert run(*arguments, "--json", "run.jsonl") == 0
        history = gp.History.from_json("run.jsonl")
        assert history.stopped == "early stopping" and len(history) < 400
        assert history.settings["rows"] == 45 and "val_accuracy" in history
        assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]) <= 21

    def test_validation_data_of_its_own(self, folder: Path, data: Any):
        assert run("--validation", "other.npz", "--epochs", "2", "--json", "run.jsonl", "--quiet") == 0
        expected = build().fit(*data, epochs=2, validation_data=(data[0][:20] + 0.1, data[1][:20]))
        assert gp.History.from_json("run.jsonl")["val_loss"] == expected["val_loss"]

    def test_percents(self, folder: Path):
        assert run("--validation", "25", "--epochs", "1", "--json", "run.jsonl", "--quiet") == 0
        assert gp.History.from_json("run.jsonl").settings["rows"] == 45

    def test_files(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        arguments = ["--csv", "run.csv", "--json", "run.jsonl", "--save", "net", "--checkpoint", "check"]
        assert run("--epochs", "3", *arguments) == 0
        history = gp.History.from_json("run.jsonl")
        assert Path("run.csv").read_text() == history.to_csv()
        np.testing.assert_array_equal(gp.load("net").theta, gp.load("check").theta)
        printed = capsys.readouterr().out
        assert "The model: net" in printed and "The checkpoint: check" in printed

    def test_resuming(self, folder: Path, data: Any):
        for epochs in ("2", "5"):
            assert run("--epochs", epochs, "--checkpoint", "check", "--resume", "--quiet", "--save", "net") == 0
        model = build()
        model.fit(*data, epochs=5)
        np.testing.assert_array_equal(gp.load("net").theta, model.theta)

    def test_silence(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        assert run("--epochs", "2", "--quiet", "--save", "net") == 0
        assert capsys.readouterr() == ("", "")

    def test_regression(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        assert cli.main(["train", "train_models:regression", "--data", "data.npz", "--epochs", "2"]) == 0
        assert "r2" in capsys.readouterr().out


class TestExitStatus:
    def test_a_run_that_diverges_fails(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        assert run("--optimizer", "sgd", "--learning-rate", "1e308", "--epochs", "5", "--save", "net") == 1
        assert "diverged in epoch" in capsys.readouterr().out
        assert np.isfinite(gp.load("net").theta).all()

    def test_an_interrupted_run_saves_what_there_is(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        arguments = ["train", "train_models:interrupted", "--data", "data.npz", "--json", "run.jsonl"]
        assert cli.main([*arguments, "--epochs", "50", "--batch-size", "16"]) == 130
        assert gp.History.from_json("run.jsonl").epochs == [0, 1]
        assert "interrupted in epoch 2" in capsys.readouterr().out

    @pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
    def test_a_real_interrupt(self, folder: Path):
        command = [sys.executable, "-m", "gradproof.cli", "train", MODEL, "--data", "data.npz", "--save", "net"]
        command += ["--epochs", "100000000", "--checkpoint", "check"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while child.poll() is None and not Path("check").exists():
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        printed, _ = child.communicate()
        assert child.returncode == 130 and b"interrupted in epoch" in printed
        assert Path("net").exists()

    @pytest.mark.parametrize(
        "arguments, message",
        [
            (["--resume"], "--resume: only with --checkpoint PATH"),
            (["--schedule", "zigzag"], "--schedule: got 'zigzag', expected one of constant"),
            (["--schedule", "exponential:x"], "--schedule: got 'exponential:x', expected numbers"),
            (["--schedule", "exponential:-1"], "--schedule: 'exponential:-1': base: got -1"),
            (["--schedule", "exponential:1,2,3"], "--schedule: 'exponential:1,2,3'"),
            (["--validation", "120"], "--validation: got 120"),
            (["--validation", "0"], "--validation: got 0"),
            (["--validation", "0.001"], "--validation: sizes"),
            (["--validation", "none.npz"], "--validation: cannot read 'none.npz'"),
            (["--validation", "none.txt"], "--validation: 'none.txt', expected"),
            (["--save", "none/net"], "--save: 'none/net', but there is no folder"),
            (["--csv", "none/table"], "--csv: 'none/table', but there is no folder"),
            (["--json", "none/lines"], "--json: 'none/lines', but there is no folder"),
            (["--html", "."], "--html: '.' is a folder, expected a file"),
            (["--checkpoint", "none/net"], "there is no folder"),
            (["--checkpoint", "."], "a folder; expected the path of a file"),
        ],
    )
    def test_bad_input(self, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str):
        assert run("--epochs", "1", *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("gradproof train: error:") and message in error and error.count("\n") == 1

    @pytest.mark.parametrize(
        "arguments", [["--epochs", "-1"], ["--optimizer", "lbfgs"], ["--learning-rate", "0"], ["--patience", "x"]]
    )
    def test_bad_usage(self, folder: Path, arguments: list[str]):
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert caught.value.code == 2

    def test_a_damaged_checkpoint(self, folder: Path, capsys: pytest.CaptureFixture[str]):
        Path("check").write_bytes(b"nothing")
        assert run("--checkpoint", "check", "--resume") == 2
        assert "check: not a readable gradproof checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, expected",
    [
        (None, None),
        ("constant", gp.schedules.Constant()),
        ("inverse_time:0.1", gp.schedules.InverseTime(0.1)),
        ("inverse_sqrt:2", gp.schedules.InverseSqrt(2)),
        ("staircase:0.1,5", gp.schedules.Staircase(0.1, 5)),
        ("cosine", gp.schedules.Cosine(30)),
        ("cosine:10,0.1", gp.schedules.Cosine(10, 0.1)),
        ("one_cycle", gp.schedules.OneCycle(30)),
        ("warm_up:3", gp.schedules.WarmUp(3)),
    ],
)
def test_schedules_by_name(text: str | None, expected: Any):
    assert cli_train._schedule(text, 30) == expected


def test_a_schedule_that_needs_an_argument():
    with pytest.raises(InputError, match="--schedule: 'warm_up'"):
        cli_train._schedule("warm_up", 30)


def test_a_run_without_epochs(folder: Path):
    assert run("--epochs", "0", "--schedule", "cosine", "--json", "run.jsonl") == 0
    assert json.loads(Path("run.jsonl").read_text().splitlines()[0])["stopped"] == "finished"
    assert os.path.getsize("run.jsonl") > 0
