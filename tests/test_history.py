"""What a run leaves behind: columns, files, and the way back from files."""

from __future__ import annotations

import csv
import json
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradproof as gp


@pytest.fixture
def history() -> gp.History:
    history = gp.History({"seed": 3, "optimizer": "Adam(learning_rate=0.001)"})
    history.record(
        0, {"loss": 0.1 + 0.2, "val_loss": 3.0, "update_ratio/dense_0.W": 1e-3, "update_ratio/dense_0.b": nan}
    )
    history.record(1, {"loss": inf, "val_loss": 1.0, "update_ratio/dense_0.W": 1e-4})
    history.record(2, {"loss": np.float32(0.5), "val_loss": 2.0, "late": 7})
    history.batches += [2.5, -inf, nan]
    history.stopped, history.message = "early stopping", "no val_loss is better,\nreally"
    history.changes = [{"epoch": 1, "setting": "schedule", "before": "None", "after": "Cosine(3)"}]
    return history


def fitted(**options: Any) -> gp.History:
    rng = np.random.default_rng(1)
    model = gp.Sequential([gp.Dense(4), gp.ReLU(), gp.Dense(2)], input_size=3, loss="softmax_cross_entropy")
    return model.fit(rng.normal(size=(20, 3)), rng.integers(0, 2, 20), **{"epochs": 3, **options})


class TestColumns:
    def test_lists_and_dicts_of_lists(self, history: gp.History):
        assert history.epochs == [0, 1, 2] and len(history) == 3
        assert history["val_loss"] == [3.0, 1.0, 2.0]
        assert history["update_ratio"]["dense_0.W"][:2] == [1e-3, 1e-4]
        assert list(history) == history.keys() == ["loss", "val_loss", "update_ratio", "late"]
        assert "late" in history and "later" not in history

    def test_what_is_missing_is_nan(self, history: gp.History):
        np.testing.assert_array_equal(history["late"], [nan, nan, 7.0])
        np.testing.assert_array_equal(history["update_ratio"]["dense_0.W"], [1e-3, 1e-4, nan])

    def test_flat_columns_and_rows(self, history: gp.History):
        assert list(history.flat()) == ["loss", "val_loss", "update_ratio/dense_0.W", "update_ratio/dense_0.b", "late"]
        assert history.row(1)["update_ratio/dense_0.W"] == 1e-4 and history.row(-1)["late"] == 7.0

    def test_an_unknown_column(self, history: gp.History):
        with pytest.raises(KeyError, match="no column is called 'lost'; there are loss, val_loss"):
            history["lost"]

    def test_one_name_for_two_kinds(self, history: gp.History):
        with pytest.raises(ValueError, match="loss/a: there is a column 'loss' of the other kind"):
            history.record(3, {"loss/a": 1.0})
        with pytest.raises(ValueError, match="update_ratio: there is a column"):
            history.record(3, {"update_ratio": 1.0})
        assert history.epochs == [0, 1, 2]

    def test_the_best_epoch(self, history: gp.History):
        assert history.best == (1, "val_loss", 1.0)
        without = gp.History()
        assert without.best is None
        for epoch, loss in enumerate([nan, 4.0, 3.0, inf, 3.0]):
            without.record(epoch, {"loss": loss})
        assert without.best == (2, "loss", 3.0)

    def test_its_line(self, history: gp.History):
        assert repr(history) == "<History of 3 epochs, loss 0.5, val_loss 2, early stopping>"
        assert repr(gp.History()) == "<History of 0 epochs, going on>"

    def test_what_fit_records(self):
        history = fitted(batch_size=8)
        expected = ["loss", "data_loss", "penalty", "accuracy", "learning_rate", "update_ratio", "gradient_norm"]
        assert set(expected) <= set(history)
        assert all(type(value) is float for value in history["loss"] + history.batches)
        assert len(history.batches) == 9
        assert history.settings["batch_size"] == 8 and history.settings["rows"] == 20
        assert history.settings["optimizer"].startswith("Adam(learning_rate=0.001")


class TestFiles:
    def test_json_and_back(self, history: gp.History, tmp_path: Path):
        history.to_json(tmp_path / "run.jsonl")
        for source in (tmp_path / "run.jsonl", str(tmp_path / "run.jsonl"), history.to_json()):
            again = gp.History.from_json(source)
            assert repr(again.flat()) == repr(history.flat())
            assert repr(again.batches) == repr(history.batches) and again.epochs == history.epochs
            for name in ("settings", "stopped", "message", "changes"):
                assert getattr(again, name) == getattr(history, name)
            assert again.to_json() == history.to_json()

    def test_an_empty_history(self):
        again = gp.History.from_json(gp.History().to_json())
        assert len(again) == 0 and again.keys() == [] and again.stopped is None

    def test_every_line_is_strict_json(self, history: gp.History):
        def refuse(name: str) -> None:
            raise AssertionError(name)

        lines = [json.loads(line, parse_constant=refuse) for line in history.to_json().splitlines()]
        assert len(lines) == 5
        assert lines[2]["loss"] == "inf" and lines[1]["loss"] == 0.1 + 0.2

    def test_csv(self, history: gp.History, tmp_path: Path):
        text = history.to_csv(tmp_path / "run.csv")
        assert (tmp_path / "run.csv").read_text() == text
        rows = list(csv.DictReader(text.splitlines()))
        assert [row["epoch"] for row in rows] == ["0", "1", "2"]
        assert float(rows[0]["loss"]) == 0.1 + 0.2 and rows[1]["loss"] == "inf"
        assert rows[2]["update_ratio/dense_0.W"] == "nan"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\n",
            "{}\n{}\n",
            "not json\n",
            '{"format": "gradproof-history", "version": 9}\n{"batches": []}\n',
            "[1]\n[2]\n",
            "\udcff\n",
        ],
    )
    def test_what_is_no_history(self, tmp_path: Path, text: str):
        (tmp_path / "file").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(ValueError, match="file: not a history that gradproof wrote"):
            gp.History.from_json(tmp_path / "file")

    def test_a_line_that_was_changed(self, history: gp.History):
        for wrong in ('"x"', "[1]", "null"):
            with pytest.raises(ValueError, match="the text: not a history"):
                gp.History.from_json(history.to_json().replace('"inf"', wrong))

    def test_a_missing_file(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError):
            gp.History.from_json(tmp_path / "none")

    def test_a_real_run_goes_there_and_back(self, tmp_path: Path):
        history = fitted()
        history.to_json(tmp_path / "run.jsonl")
        assert gp.History.from_json(tmp_path / "run.jsonl").to_json() == history.to_json()
