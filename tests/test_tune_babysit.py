"""One model looked after: several settings from one checkpoint, on with the best or back, resumed after a crash."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradproof as gp

babysit = gp.tune.babysit


def data() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    y = (X @ [1, -1, 0.5] > 0).astype(int)
    return {"X": X[:50], "y": y[:50], "validation_data": (X[50:], y[50:])}


def network(dtype: str = "float64", l2: float = 0.0) -> gp.Sequential:
    layers = [gp.Dense(8), gp.BatchNorm(), gp.Tanh(), gp.Dropout(keep_prob=0.9), gp.Dense(2)]
    return gp.Sequential(layers, input_size=3, loss="softmax_cross_entropy", l2=l2, dtype=dtype, seed=0)


def assert_same(a: gp.Sequential, b: gp.Sequential) -> None:
    assert np.array_equal(a.theta, b.theta) and np.array_equal(a.buffers, b.buffers)
    assert a.dropout_step == b.dropout_step


def test_where_nothing_else_is_better_it_is_plain_training(dtype):
    looked_after, plain = network(dtype), network(dtype)
    options = data() | {"batch_size": 16, "seed": 3}
    care = babysit(looked_after, **options, optimizer=gp.Adam(0.01), vary={"learning_rate": [1e-6]}, rounds=3, epochs=2)
    history = plain.fit(**options, optimizer=gp.Adam(0.01), epochs=6)
    assert_same(looked_after, plain)
    assert care.history["val_loss"] == history["val_loss"] and care.score == history["val_loss"][-1]
    assert [entry["decision"] for entry in care.log] == ["kept"] * 3
    assert care.stopped == "finished" and care.setting == {"learning_rate": 0.01}


def test_the_best_goes_on_and_changes_are_written_down():
    model = network(l2=0.01)
    vary = {"learning_rate": (0.2, 5), "beta1": (0.5, 2), "l2": (0.1,)}
    care = babysit(model, **data(), optimizer=gp.Adam(1e-4), vary=vary, rounds=4)
    for entry in care.log:
        tried = entry["tried"]
        assert entry["score"] == min(one["score"] for one in tried)
        (taken,) = [one for one in tried if one["setting"] == entry["setting"]]
        assert taken["score"] == entry["score"] and len(tried) == 6
        before = tried[0]["setting"]
        assert all(sum(before[name] != one["setting"][name] for name in vary) <= 1 for one in tried)
    first = care.log[0]["tried"]
    assert [one["setting"]["learning_rate"] for one in first] == pytest.approx([1e-4, 2e-5, 5e-4, 1e-4, 1e-4, 1e-4])
    assert [one["setting"]["beta1"] for one in first] == pytest.approx([0.9, 0.9, 0.9, 0.95, 0.8, 0.9])
    assert care.setting["learning_rate"] > 2e-3  # the rate was far too small
    assert model.l2 == care.setting["l2"]
    assert [entry["epoch"] for entry in care.log] == [0, 2, 4, 6] and care.history.epochs == list(range(8))
    changed = [entry["epoch"] for entry in care.log if entry["decision"] == "changed"]
    assert [change["epoch"] for change in care.history.changes if change["setting"] == "optimizer"] == changed[1:]
    scores = [entry["score"] for entry in care.log]
    assert [care.history["val_loss"][epoch] for epoch in (1, 3, 5, 7)] == scores and care.score == scores[-1]
    X, y = data()["validation_data"]
    assert -np.mean(np.log(model.predict_proba(X)[np.arange(len(y)), y])) == pytest.approx(care.score, rel=1e-12)


def test_a_rate_that_is_too_large_goes_back_until_it_is_small_enough():
    model = gp.Sequential([gp.Dense(1)], input_size=3, loss="mse", seed=0)
    X = np.random.default_rng(0).normal(size=(40, 3))
    model_loss = model.loss(X, X @ [1, 2, 3])
    care = babysit(model, X, X @ [1, 2, 3], optimizer=gp.SGD(1e4), vary={"learning_rate": (0.1,)}, rounds=9, patience=9)
    decisions = [entry["decision"] for entry in care.log]
    assert decisions[0] == "back" and "changed" in decisions
    first = next(index for index, decision in enumerate(decisions) if decision != "back")
    assert all(entry["score"] == pytest.approx(model_loss) and entry["epoch"] == 0 for entry in care.log[:first])
    assert care.monitor == "loss" and care.score < 14 and care.setting["learning_rate"] <= 1
    rates = [one["setting"]["learning_rate"] for entry in care.log[:first] for one in entry["tried"]]
    assert rates == pytest.approx(sorted(set(rates), reverse=True))  # nothing is tried twice from one place


def test_a_score_that_cannot_get_better_ends_it_with_the_model_as_it_was():
    model = network()
    X = np.ones((20, 3))
    babysit(model, X, np.zeros(20, int), optimizer=gp.Adam(0.1), rounds=4)
    before = model.copy()
    care = babysit(model, X, np.zeros(20, int), monitor="accuracy", optimizer=gp.Adam(0.1), rounds=20, patience=3)
    assert care.stopped == "patience" and [entry["decision"] for entry in care.log] == ["back"] * 3
    assert care.score == 1.0 and not care.history.epochs
    assert_same(model, before)
    tried = [one["setting"]["learning_rate"] for entry in care.log for one in entry["tried"]]
    assert len(tried) == len(set(np.round(tried, 9))) >= 5  # other rates each time


def test_it_goes_on_from_its_folder_as_if_it_had_never_stopped(tmp_path):
    options = data() | {"optimizer": gp.Adam(1e-3), "batch_size": 16}
    whole, first, second = network(), network(), network()
    once = babysit(whole, **options, rounds=4, folder=tmp_path / "once")
    babysit(first, **options, rounds=2, folder=tmp_path / "twice")
    twice = babysit(second, **options, rounds=4, folder=tmp_path / "twice")
    assert_same(whole, second)
    assert once.log == twice.log and once.to_json() == twice.to_json()
    third = network()
    assert babysit(third, **options, rounds=4, folder=tmp_path / "twice").log == once.log
    assert_same(whole, third)
    assert sorted(path.name for path in (tmp_path / "twice").iterdir()) == ["babysit.json", "round-3.safetensors"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_a_crash_the_round_is_repeated(tmp_path, error):
    options = data() | {"optimizer": gp.Adam(1e-3), "batch_size": 25}
    whole, crashing, again = network(), network(), network()
    once = babysit(whole, **options, rounds=3, augment=lambda x, rng: x)
    calls = []

    def breaks(x: np.ndarray, rng: Any) -> np.ndarray:
        calls.append(len(x))
        if len(calls) == 18:  # of 12 per round: 3 settings, 2 epochs, 2 batches
            raise error("crash")
        return x

    before = crashing.theta.copy()
    if error is RuntimeError:
        with pytest.raises(RuntimeError, match="crash"):
            babysit(crashing, **options, rounds=3, augment=breaks, folder=tmp_path)
        assert np.array_equal(crashing.theta, before)
    else:
        care = babysit(crashing, **options, rounds=3, augment=breaks, folder=tmp_path)
        assert care.stopped == "interrupted" and len(care.log) == 1 and len(care.history) == 2
        assert not np.array_equal(crashing.theta, before)
    assert babysit(again, **options, rounds=3, augment=lambda x, rng: x, folder=tmp_path).log == once.log
    assert_same(again, whole)


def test_a_folder_of_another_run_is_refused(tmp_path):
    babysit(network(), **data(), rounds=1, folder=tmp_path)
    for change, text in (
        ({"epochs": 3}, "epochs: got 3"),
        ({"monitor": "val_accuracy"}, "monitor: got 'val_accuracy'"),
        ({"optimizer": gp.SGD()}, "optimizer: got 'SGD'"),
        ({"vary": {"learning_rate": (0.5,)}}, "vary: got"),
    ):
        with pytest.raises(ValueError, match=text):
            babysit(network(), **data(), **change, rounds=2, folder=tmp_path)
    (tmp_path / "babysit.json").write_text("{}")
    with pytest.raises(ValueError, match="was not written by gp.tune.babysit"):
        babysit(network(), **data(), rounds=2, folder=tmp_path)


def test_the_care_is_data(tmp_path: Path):
    told: list[tuple[int, int]] = []
    care = babysit(network(), **data(), rounds=3, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (3, 3)
    stored = json.loads(care.to_json(tmp_path / "a.json"))
    assert stored["log"] == care.log and (tmp_path / "a.json").read_text() == care.to_json()
    rows = list(csv.DictReader(care.to_csv(tmp_path / "a.csv").splitlines()))
    assert len(rows) == sum(len(entry["tried"]) for entry in care.log)
    assert [row["decision"] for row in rows if row["decision"]] == [entry["decision"] for entry in care.log]
    text = str(care)
    assert text.startswith("3 rounds, 6 epochs (finished): val_loss") and len(text.splitlines()) == 7


def test_the_plot_has_its_data():
    pytest.importorskip("matplotlib")
    care = babysit(network(), **data(), optimizer=gp.Adam(1e-4), rounds=3)
    figure, drawn = care.plot()
    assert len(figure.axes) == 1 and drawn["score"] == care.history["val_loss"]
    assert len(drawn["tried"]) == sum(len(entry["tried"]) for entry in care.log)
    assert drawn["changes"] == [e["epoch"] for e in care.log if e["decision"] == "changed"]
    babysit(network(), **data(), rounds=0).plot()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"model": 3}, TypeError, "model: got int, expected a gradproof.Sequential"),
        ({"optimizer": "adam"}, TypeError, "optimizer: got 'adam'"),
        ({"vary": {}}, TypeError, "vary: got {}"),
        ({"vary": {"momentum": (2,)}}, ValueError, "vary: got 'momentum', which Adam does not have"),
        ({"vary": {"l2": (2,)}}, ValueError, "vary: got 'l2', which is 0"),
        ({"vary": {"clip_norm": (2,)}}, ValueError, "vary: got 'clip_norm', which is None"),
        ({"vary": {"learning_rate": 3}}, TypeError, r"vary\['learning_rate'\]: got 3"),
        ({"vary": {"learning_rate": [1]}}, ValueError, r"vary\['learning_rate'\]: got 1"),
        ({"rounds": -1}, ValueError, "rounds: got -1"),
        ({"epochs": 0}, ValueError, "epochs: got 0"),
        ({"patience": 0}, ValueError, "patience: got 0"),
        ({"monitor": 3}, TypeError, "monitor: got 3"),
        ({"monitor": "val_r2"}, ValueError, "monitor: got 'val_r2', expected one of 'loss'"),
        ({"folder": 3}, TypeError, "folder: got 3"),
        ({"callbacks": []}, TypeError, "unexpected argument 'callbacks'"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0"),
    ],
)
def test_nonsense_is_named_and_changes_nothing(arguments, error, text):
    model = network()
    with pytest.raises(error, match=text):
        babysit(**({"model": model} | data() | arguments))
    assert_same(model, network())
