"""The command ``gradproof tune``: what it reads and writes, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gradproof import cli, cli_tune

pytest.importorskip("optuna")

MODULE = """
import math
import gradproof as gp

space = {"x": gp.tune.uniform(-1, 1)}

def score(p): return -p["x"] ** 2
def nothing(p): return math.nan
def interrupted(p): raise KeyboardInterrupt
def broken(p): raise KeyError("x")
def build(p):
    model = gp.Sequential([gp.Dense(p["units"]), gp.Tanh(), gp.Dense(2)], input_size=3, loss="softmax_cross_entropy")
    return model, {"optimizer": gp.Adam(p["rate"])}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a module and data."""
    (tmp_path / "tune_models.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    np.savez(tmp_path / "data.npz", X=X, y=(X[:, 0] > 0).astype(int))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_function_of_a_module_is_searched_in_the_space_of_the_module(folder, capsys):
    arguments = ["tune", "tune_models:score", "--trials", "8", "--json", "a.json", "--csv", "a.csv"]
    assert cli.main(arguments) == cli.PASS
    assert "8 of 8 trials. Best: -" in capsys.readouterr().out
    stored = json.loads((folder / "a.json").read_text())
    assert len(stored["trials"]) == 8 and stored["best"]["value"] == max(row["value"] for row in stored["trials"])
    assert len((folder / "a.csv").read_text().splitlines()) == 9


def test_a_network_is_searched_on_data_and_gone_on_with(folder, capsys):
    arguments = ["tune", "tune_models:build", "--data", "data.npz", "-p", "units=choice:2:4", "-p", "rate=log:1e-3:1"]
    arguments += ["--epochs", "2", "--method", "random", "--storage", "a.journal", "--html", "a.html", "--trials"]
    assert cli.main([*arguments, "2"]) == cli.PASS
    assert cli.main([*arguments, "3"]) == cli.PASS
    printed = capsys.readouterr().out
    assert "2 of 2 trials" in printed and "3 of 3 trials" in printed and "a.html" in printed
    assert (folder / "a.html").read_text(encoding="utf-8").count("<tr>") == 4


def test_without_a_model_there_are_the_digits(capsys):
    arguments = ["tune", "--trials", "2", "--epochs", "1", "-p", "units=integer:4:8:log"]
    assert cli.main(arguments) == cli.PASS
    out = capsys.readouterr().out
    assert "learning_rate" in out and "keep_prob" in out


def test_what_it_finds_is_its_status(capsys):
    assert cli.main(["tune", "tune_models:nothing", "--trials", "2"]) == cli.FAIL
    assert cli.main(["tune", "tune_models:score", "--trials", "100000000", "--timeout", "0.1"]) == cli.INCONCLUSIVE
    assert cli.main(["tune", "tune_models:interrupted", "--trials", "2", "--quiet"]) == cli.INTERRUPTED
    capsys.readouterr()
    assert cli.main(["tune", "tune_models:broken", "--trials", "2"]) == cli.USAGE
    told = capsys.readouterr().err
    assert "KeyError: 'x' in broken" in told and "tune_models.py" in told


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["tune_models"], "expected module:function"),
        (["tune_models:missing"], "tune_models:missing"),
        (["no_such_module:f"], "no_such_module"),
        (["json:loads"], "--parameter: missing; 'json' has no 'space' either"),
        (["tune_models:score", "-p", "x"], "--parameter: got 'x'"),
        (
            ["tune_models:score", "-p", "x=log:1:2", "-p", "x=log:1:3"],
            "--parameter: got 'x' twice, the second time as 'x=log:1:3'",
        ),
        (["tune_models:score", "-p", "x=grid:1:2"], "KIND one of"),
        (["tune_models:score", "-p", "x=log:0:2"], "low: got 0"),
        (["tune_models:score", "-p", "x=log:1"], "expected two ends"),
        (["tune_models:score", "-p", "x=integer:1:2.5"], "high: got 2.5"),
        (["tune_models:score", "--labels", "y.npy"], "--labels: only with --data"),
        (["-p", "depth=integer:1:3"], "expected one of learning_rate"),
        (["tune_models:build", "--data", "data.npz", "--validation", "3"], "validation: got 3"),
        (["tune_models:score", "--storage", "nowhere/a.journal"], "there is no folder"),
        (["tune_models:broken", "--csv", "nowhere/a.csv"], "--csv: 'nowhere/a.csv', but there is no folder"),
        (["tune_models:score", "--jobs", "0"], "n_jobs: got 0"),
    ],
)
def test_nonsense_is_named(arguments, text, capsys):
    assert cli.main(["tune", *arguments]) == cli.USAGE
    assert text in capsys.readouterr().err


def test_parameters_in_words():
    said = ["a=log:1e-4:0.1", "b=integer:16:256:log", "c=one_minus:0.9:0.999", "d=uniform:0:1", "e=choice:relu:2:0.5"]
    assert [repr(cli_tune._parameter(text)[1]) for text in said] == [
        "log(0.0001, 0.1)",
        "integer(16, 256, log=True)",
        "one_minus(0.9, 0.999)",
        "uniform(0.0, 1.0)",
        "choice(['relu', 2, 0.5])",
    ]
