"""The command line: what it reads, what it writes, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import gradproof as gp
from gradproof import cli, cli_inputs

MODELS = """
import numpy as np
import gradproof as gp

def build(loss="softmax_cross_entropy"):
    return gp.Sequential([gp.Dense(5), gp.Tanh(), gp.Dense(3)], input_size=4, loss=loss)

def with_data():
    rng = np.random.default_rng(0)
    return build(), rng.normal(size=(9, 4)), rng.integers(0, 3, 9)

class Wrong(gp.Layer):
    def build(self, n_in, rng): return {}
    def forward(self, x, parameters, training): return np.sin(x), x
    def backward(self, dy, cache, parameters): return 1.01 * dy * np.cos(cache), {}

def wrong():
    model = gp.Sequential([gp.Dense(5), Wrong(), gp.Dense(3)], input_size=4, loss="softmax_cross_entropy")
    return model, *with_data()[1:]

def broken():
    raise RuntimeError("out of\\n order")

def leaves():
    raise SystemExit

def interrupted():
    raise KeyboardInterrupt

def without_rows():
    return build(), 1.0, 2

def uneven():
    return build(), np.zeros((3, 4)), [0, 1]

def lists():
    model, X, y = with_data()
    return model, X.tolist(), y.tolist()

class Raises(Wrong):
    def __init__(self, error): self.error = error
    def backward(self, dy, cache, parameters): raise self.error

def with_layer(error):
    model = gp.Sequential([gp.Dense(5), Raises(error), gp.Dense(3)], input_size=4, loss="softmax_cross_entropy")
    return model, *with_data()[1:]

def key_error(): return with_layer(KeyError("missing"))
def value_error(): return with_layer(ValueError("odd"))
def late_exit(): return with_layer(SystemExit(0))

def other():
    return 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a module of models and small data in every format."""
    (tmp_path / "cli_models.py").write_text(MODELS)
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(9, 4)), rng.integers(0, 3, 9)
    np.savez(tmp_path / "data.npz", X=X, y=y)
    np.savez(tmp_path / "other.npz", inputs=X)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    np.save(tmp_path / "short.npy", y[:5])
    np.savetxt(tmp_path / "plain.csv", np.column_stack([X, y]), delimiter=",")
    (tmp_path / "header.csv").write_text("a,b,c,d,label\n" + (tmp_path / "plain.csv").read_text())
    (tmp_path / "ragged.csv").write_text("1,2,3\n4,5\n")
    (tmp_path / "words.csv").write_text("1,2,3\n4,five,6\n")
    (tmp_path / "gap.csv").write_text("1,2,\n4,5,6\n")
    (tmp_path / "late_gap.csv").write_text("a,b,c\n1,2,3\n4,,6\n")
    (tmp_path / "blank.csv").write_text(",,\n1,2,3\n")
    (tmp_path / "long.csv").write_text("1,2,3\n4,5," + 200_000 * "6" + "\n")
    archive = (tmp_path / "data.npz").read_bytes()
    (tmp_path / "truncated.npz").write_bytes(archive[: len(archive) // 2])
    (tmp_path / "corrupt.npz").write_bytes(archive.replace(b"NUMPY", b"numpy"))
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04" + bytes(range(256)))
    (tmp_path / "array.npz").write_bytes((tmp_path / "X.npy").read_bytes())
    (tmp_path / "archive.npy").write_bytes(archive)
    np.savez(tmp_path / "scalar.npz", X=X, y=3)
    np.savez(tmp_path / "text.npz", X=X, y=y.astype(str))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "cli_models", raising=False)
    return tmp_path


def test_without_a_command_the_main_job_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    output = capsys.readouterr().out
    assert "float32" in output and "float64" in output and "dense_2.b" in output
    assert "<svg" in (folder / "gradproof-report.html").read_text(encoding="utf-8")


def test_options_without_a_command_belong_to_the_main_job(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--quiet", "--rows", "5", "--html", "mine.html", "--json", "mine.json"]) == 0
    assert capsys.readouterr().out == ""
    assert (folder / "mine.html").exists() and not (folder / "gradproof-report.html").exists()
    assert json.loads((folder / "mine.json").read_text())["ok"] is True


@pytest.mark.parametrize(
    "data",
    [["data.npz"], ["X.npy", "--labels", "y.npy"], ["plain.csv"], ["header.csv"]],
    ids=["npz", "npy", "csv", "header"],
)
def test_check_reads_every_format(folder: Path, data: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "cli_models:build", "--data", *data]) == 0
    assert capsys.readouterr().out.startswith("PASS")


def test_check_of_a_saved_model_writes_what_is_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gp.Sequential([gp.Dense(3)], input_size=4, loss="hinge").save(folder / "model.safetensors")
    outputs = ["--html", "r.html", "--json", "r.json", "--junit", "r.xml"]
    options = ["--after-steps", "0,3", "--dtype", "float64", "--dropout", "off", "--rows", "0"]
    assert cli.main(["check", "model.safetensors", "--data", "data.npz", *options, *outputs]) == 0
    values = json.loads((folder / "r.json").read_text())
    assert values["dtype"] == "float64"
    assert [stage["label"] for stage in values["stages"]] == ["after 0 steps", "after 3 steps"]
    assert ElementTree.parse(folder / "r.xml").getroot().tag == "testsuites"
    assert "r.html" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "compare"])
def test_a_wrong_gradient_fails(folder: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "cli_models:wrong"]) == 1
    assert "look first at dense_0" in " ".join(capsys.readouterr().out.split())
    assert not (folder / "gradproof-report.html").exists()


def test_what_cannot_be_resolved_is_inconclusive(folder: Path) -> None:
    arguments = ["check", "cli_models:with_data", "--scheme", "central", "--step", "1e-30", "--quiet"]
    assert cli.main(arguments) == 3


def test_sanity(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sanity", "cli_models:with_data"]) == 0
    assert "overfit" in capsys.readouterr().out


def test_lecture_and_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lecture"]) == 0
    assert "0.0301" in capsys.readouterr().out
    assert cli.main(["info"]) == 0
    assert gp.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["check", "missing:build"], "MODEL"),
        (["check", "cli_models:missing"], "MODEL"),
        (["check", "cli_models:broken"], "out of order"),
        (["check", "cli_models:leaves"], "raised SystemExit in leaves, line "),
        (["check", "cli_models:without_rows"], "X: got a single number"),
        (["check", "cli_models:uneven"], "3 rows of inputs, but 2 targets"),
        (["check", "cli_models:key_error"], "KeyError: 'missing' in backward, line "),
        (["check", "cli_models:value_error"], "ValueError: odd in backward, line "),
        (["check", "cli_models:late_exit"], "SystemExit: 0 in backward, line "),
        (["check", "cli_models:other"], "int"),
        (["check", "missing.safetensors"], "MODEL"),
        (["check", "plain.csv"], "MODEL"),
        (["check", "cli_models:build"], "--data"),
        (["check", "cli_models:with_data", "--labels", "y.npy"], "--labels"),
        (["check", "cli_models:build", "--data", "data.txt"], "--data"),
        (["check", "cli_models:build", "--data", "missing.npz"], "--data"),
        (
            ["check", "cli_models:build", "--data", "other.npz"],
            "it holds inputs; expected an archive of np.savez with the arrays X and y",
        ),
        (["check", "cli_models:build", "--data", "X.npy"], "--labels"),
        (["check", "cli_models:build", "--data", "X.npy", "--labels", "missing.npy"], "--labels"),
        (["check", "cli_models:build", "--data", "X.npy", "--labels", "short.npy"], "5 targets"),
        (["check", "cli_models:build", "--data", "data.npz", "--labels", "y.npy"], "--labels"),
        (["check", "cli_models:build", "--data", "plain.csv", "--labels", "y.npy"], "--labels"),
        (["check", "cli_models:build", "--data", "ragged.csv"], "line 2"),
        (["check", "cli_models:build", "--data", "words.csv"], "line 2"),
        (["check", "cli_models:build", "--data", "gap.csv"], "line 1, column 3: empty"),
        (["check", "cli_models:build", "--data", "late_gap.csv"], "line 3, column 2: empty"),
        (["check", "cli_models:build", "--data", "blank.csv"], "line 1, column 1: empty"),
        (["check", "cli_models:build", "--data", "long.csv"], "line 2: field larger than field limit"),
        (["check", "cli_models:build", "--data", "truncated.npz"], "--data: cannot read 'truncated.npz'"),
        (["check", "cli_models:build", "--data", "corrupt.npz"], "--data: cannot read 'corrupt.npz'"),
        (["check", "cli_models:build", "--data", "junk.npz"], "--data: cannot read 'junk.npz'"),
        (
            ["check", "cli_models:build", "--data", "array.npz"],
            "array.npz': it holds a single array; expected an archive",
        ),
        (["check", "cli_models:build", "--data", "scalar.npz"], "--data: 'scalar.npz': y: got a single number"),
        (["check", "cli_models:build", "--data", "text.npz"], "--data: 'text.npz': y: got ndarray of dtype <U"),
        (
            ["check", "cli_models:build", "--data", "archive.npy", "--labels", "y.npy"],
            "archive.npy': it holds several arrays; expected an array",
        ),
        (["check", "cli_models:build", "--data", "X.npy", "--labels", "data.npz"], "--labels: cannot read 'data.npz'"),
        (["check", "--data", "digits", "--labels", "y.npy"], "--labels"),
        (["check", "cli_models:build", "--data", "digits"], "64 features, expected 4"),
        (
            ["check", "cli_models:broken", "--html", "missing/r.html"],
            "--html: 'missing/r.html', but there is no folder",
        ),
        (["check", "cli_models:broken", "--junit", "."], "--junit: '.' is a folder"),
        (["check", "cli_models:broken", "--json", ""], "--json: got an empty name"),
        (["check", "cli_models:broken", "--json", "r", "--html", "./r"], "--html: './r' is what --json writes to"),
        (["check", ""], "MODEL: '' is neither"),
    ],
)
def test_bad_input_is_told_without_a_traceback(
    folder: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("gradproof check: error: ") and named in told.err
    assert len(told.err.splitlines()) == 1


@pytest.mark.parametrize(("function", "named"), [("broken", "RuntimeError: out"), ("late_exit", "in backward\n")])
def test_a_traceback_can_be_asked_for(
    folder: Path, function: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", f"cli_models:{function}", "--traceback"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("Traceback") and named in told
    assert told.splitlines()[-1].startswith("gradproof check: error: ")


@pytest.mark.parametrize("arguments", [["check", "cli_models:with_data"], ["sanity", "cli_models:with_data"], ["info"]])
def test_the_verdict_stays_when_the_reader_has_gone(folder: Path, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "gradproof.cli", *arguments], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupt_is_no_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "cli_models:interrupted"]) == 130
    assert capsys.readouterr().err == "gradproof check: interrupted\n"


def test_data_of_a_function_may_be_lists(folder: Path) -> None:
    assert cli.main(["check", "cli_models:lists", "--rows", "5", "--quiet"]) == 0


def test_a_report_goes_to_standard_output(folder: Path) -> None:
    command = [sys.executable, "-m", "gradproof.cli", "check", "cli_models:with_data", "--quiet", "--json"]
    done = subprocess.run([*command, "/dev/stdout"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["verdict"] == "pass"


@pytest.mark.parametrize(
    "arguments",
    [["frob"], ["check", "--step", "-1"], ["check", "--step", "x"], ["check", "--rows", "-3"], ["check", "--seed", "a"],
     ["check", "--after-steps", "0,x"], ["check", "--scheme", "odd"], ["info", "extra"]],
)  # fmt: skip
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_rows_are_drawn_by_the_seed() -> None:
    X, y = np.arange(100.0)[:, None], np.arange(100)
    first, labels = cli_inputs.rows(X, y, 10, 1)
    assert first.shape == (10, 1)
    np.testing.assert_array_equal(first[:, 0], labels)
    np.testing.assert_array_equal(labels, cli_inputs.rows(X, y, 10, 1)[1])
    assert not np.array_equal(labels, cli_inputs.rows(X, y, 10, 2)[1])
    assert cli_inputs.rows(X, y, 0, 1)[0] is X


def test_digits_are_scaled_to_one() -> None:
    X, y = cli_inputs.load_data("digits", None)
    assert X.shape == (1797, 64) and (X.min(), X.max()) == (0.0, 1.0) and set(y) == set(range(10))


def test_csv_targets_that_are_not_whole_stay_real(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("1,2,0.5\n3,4,1\n")
    X, y = cli_inputs.load_data(str(path), None)
    np.testing.assert_array_equal(X, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(y, [0.5, 1.0])


@pytest.mark.parametrize("target", ["1e30", "-1e19", "nan", "inf"])
def test_csv_targets_beyond_integers_stay_real(tmp_path: Path, target: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(f"1,2,{target}\n3,4,1\n")
    y = cli_inputs.load_data(str(path), None)[1]
    np.testing.assert_array_equal(y, [float(target), 1.0])


def test_importing_stays_light() -> None:
    code = (
        "import sys, gradproof, gradproof.cli; print(*{'rich', 'jinja2', 'matplotlib', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
