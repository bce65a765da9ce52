"""A search as data, as a picture and as a page."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from cases.searches import SPACE, bowl

import gradproof as gp

pytest.importorskip("optuna")
tune = gp.tune


def test_the_result_is_data(tmp_path):
    result = tune.search(bowl, space=SPACE, trials=12)
    table = result.table()
    assert [row["trial"] for row in table] == list(range(12))
    assert table[3]["rate"] == result.trials[3].parameters["rate"] and table[3]["state"] == "complete"
    rows = list(csv.DictReader(result.to_csv(tmp_path / "a.csv").splitlines()))
    assert [float(row["value"]) for row in rows] == [trial.value for trial in result.trials]
    stored = json.loads(result.to_json(tmp_path / "a.json"))
    assert stored == json.loads((tmp_path / "a.json").read_text())
    assert stored["best"]["parameters"] == result.best.labels and stored["direction"] == "maximize"
    assert (tmp_path / "a.csv").read_text() == result.to_csv()
    text = str(result)
    assert "12 of 12 trials" in text and "and 2 more" in text and f"trial {result.best.number}" in text
    assert max(map(len, text.splitlines())) <= 110
    best = result.best_so_far()
    assert best == list(np.maximum.accumulate([trial.value for trial in result.trials]))
    assert result.study.best_value == result.best.value


def test_the_plot_has_its_data_and_the_page_everything(tmp_path):
    pytest.importorskip("matplotlib")
    result = tune.search(lambda p: math.nan if p["kind"] == "a" else bowl(p), space=SPACE, trials=12)
    figure, drawn = result.plot()
    assert len(figure.axes) == 5
    assert drawn["rate"] == [trial.parameters["rate"] for trial in result.trials]
    assert drawn["best"][-1] == result.best.value
    scales = {ax.get_xlabel(): ax.get_xscale() for ax in figure.axes}
    assert scales["rate"] == scales["units"] == scales["1-beta"] == "log"
    result.to_html(tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<svg" in page and page.count("<tr>") == 13 and "one_minus(0.9, 0.999)" in page
    nothing = tune.search(lambda p: math.nan, space=SPACE, trials=2)
    nothing.plot()
    nothing.to_html(tmp_path / "b.html")
    assert "No score" in (tmp_path / "b.html").read_text(encoding="utf-8")
