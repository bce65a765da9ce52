"""Searches in one process: what is tried, what comes of it, and what is said of it."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from cases.searches import LINE, SPACE, bowl, build, data

import gradproof as gp

optuna = pytest.importorskip("optuna")
tune = gp.tune


def combinations(result: tune.SearchResult) -> set[tuple[Any, ...]]:
    return {tuple(trial.parameters.values()) for trial in result.trials}


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize("method", ["random", "coarse_to_fine", "tpe", tune.CoarseToFine(best=2), "optuna"])
def test_every_method_runs_its_trials_within_the_space_and_repeats(method):
    def run(seed: int) -> tune.SearchResult:
        chosen = optuna.samplers.RandomSampler(seed=seed) if method == "optuna" else method
        return tune.search(bowl, space=SPACE, trials=15, method=chosen, seed=seed)

    first, again, other = run(0), run(0), run(1)
    assert first.stopped == "finished" and first.ok and not first.failed
    assert [trial.number for trial in first.trials] == list(range(15))
    assert len(combinations(first)) == 15
    for trial in first.trials:
        values = trial.parameters
        assert list(values) == list(SPACE)
        assert 1e-4 <= values["rate"] <= 1 and 1 <= values["units"] <= 64 and isinstance(values["units"], int)
        assert 0.9 <= values["beta"] <= 0.999 and values["kind"] in ("a", "b")
        assert trial.value == bowl(values)
    assert first.best.value == max(trial.value for trial in first.trials)
    assert [trial.parameters for trial in first.trials] == [trial.parameters for trial in again.trials]
    assert combinations(first) != combinations(other)


def test_the_second_half_is_drawn_around_the_best_few_so_far():
    method = tune.CoarseToFine(coarse=0.5, best=3, margin=0.2, least=0.01)
    result = tune.search(lambda p: -abs(p["x"] - 1), space=LINE, trials=24, method=method)
    coarse = tune.search(lambda p: 0.0, space=LINE, trials=24, method="random")
    xs = [trial.parameters["x"] for trial in result.trials]
    assert xs[:12] == [trial.parameters["x"] for trial in coarse.trials[:12]]
    for index in range(12, 24):
        best = sorted(xs[:index], key=lambda x: abs(x - 1))[:3]
        more = max(0.2 * (max(best) - min(best)), (0.08 - (max(best) - min(best))) / 2)
        assert min(best) - more - 1e-12 <= xs[index] <= max(best) + more + 1e-12
    spread = np.ptp(xs[18:])
    assert spread < 0.25 * np.ptp(xs[:12])


def test_from_coarse_to_fine_finds_more_than_chance_with_the_same_trials():
    gains = []
    for seed in range(10):
        fine, chance = (
            tune.search(bowl, space=SPACE, trials=40, method=method, seed=seed).best.value
            for method in ("coarse_to_fine", "random")
        )
        gains.append(fine - chance)
    assert np.mean(gains) > 0 and np.mean(np.array(gains) >= 0) >= 0.8


def test_minimize_zooms_into_what_is_small():
    result = tune.search(lambda p: abs(p["x"] - 1), space=LINE, trials=30, direction="minimize")
    assert result.best.value == min(trial.value for trial in result.trials) < 0.1
    assert np.median([trial.value for trial in result.trials[20:]]) < 0.5


def test_a_small_space_is_gone_through_without_repeating():
    space = {"a": tune.integer(1, 5), "b": tune.choice(["x", "y"])}
    for method in ("random", "coarse_to_fine", "tpe"):
        result = tune.search(lambda p: p["a"], space=space, trials=50, method=method)
        assert result.stopped == "exhausted" and result.ok and result.wanted == 10
        assert combinations(result) == {(a, b) for a in range(1, 6) for b in "xy"}


def test_options_reach_the_objective_and_labels_the_table():
    space = {"layer": tune.choice({"relu": gp.ReLU, "tanh": gp.Tanh})}
    result = tune.search(lambda p: float(p["layer"] is gp.Tanh), space=space, trials=2)
    assert result.best.parameters == {"layer": gp.Tanh} and result.best.labels == {"layer": "tanh"}
    assert {row["layer"] for row in result.table()} == {"relu", "tanh"}


# ---------------------------------------------------------------- at the same time


def test_threads_share_the_trials_and_none_is_one_too_many():
    together = threading.Barrier(3, timeout=30)

    def objective(p: dict[str, Any]) -> float:
        if not met.is_set():
            together.wait()
            met.set()
        return p["n"]

    met = threading.Event()
    result = tune.search(objective, space={"n": tune.integer(1, 30)}, trials=30, n_jobs=3)
    assert len(result.trials) == 30 and combinations(result) == {(n,) for n in range(1, 31)}
    assert result.stopped == "finished"


def test_an_error_in_one_thread_comes_through_and_ends_the_others():
    def objective(p: dict[str, Any]) -> float:
        if p["x"] > 0:
            raise RuntimeError("positive")
        return 0.0

    with pytest.raises(RuntimeError, match="positive"):
        tune.search(objective, space=LINE, trials=400, n_jobs=3)


def test_processes_of_joblib_share_a_file_or_one_of_their_own(tmp_path):
    pytest.importorskip("joblib")
    for storage in (None, tmp_path / "a.journal"):
        result = tune.search(bowl, space=SPACE, trials=6, n_jobs=2, backend="threading", storage=storage)
        assert len(result.trials) == 6 and len(combinations(result)) == 6 and result.stopped == "finished"
        assert result.best.value == max(bowl(trial.parameters) for trial in result.trials)
    with pytest.raises(ValueError, match="in memory"):
        tune.search(bowl, space=SPACE, backend="loky", storage=optuna.storages.InMemoryStorage())


# ---------------------------------------------------------------- ends


def test_an_interruption_gives_the_trial_back_and_the_next_call_goes_on_with_it(tmp_path):
    seen = []

    def objective(p: dict[str, Any]) -> float:
        seen.append(p["x"])
        if len(seen) == 4:
            raise KeyboardInterrupt
        return p["x"]

    storage = optuna.storages.InMemoryStorage()
    first = tune.search(objective, space=LINE, trials=8, method="random", storage=storage)
    assert first.stopped == "interrupted" and not first.ok and len(first.trials) == 3
    second = tune.search(objective, space=LINE, trials=8, method="random", storage=storage)
    assert second.ok and len(second.trials) == 8 and len(seen) == 9
    assert seen[4] == seen[3]
    whole = tune.search(lambda p: p["x"], space=LINE, trials=8, method="random")
    assert len(combinations(second) & combinations(whole)) >= 7  # one number went to the trial that was given back
    more = tune.search(objective, space=LINE, trials=10, method="random", storage=storage)
    assert len(more.trials) == 10 and len(seen) == 11
    assert tune.search(objective, space=LINE, trials=0, storage=storage).best == more.best and len(seen) == 11


def test_a_time_limit_begins_no_more():
    result = tune.search(lambda p: 1.0, space=LINE, trials=10**6, timeout=0.2)
    assert result.stopped == "timeout" and not result.ok and result.trials


def test_an_error_comes_through_and_its_trial_does_not_count():
    storage = optuna.storages.InMemoryStorage()
    calls = []

    def objective(p: dict[str, Any]) -> float:
        calls.append(p)
        if len(calls) == 3:
            raise ZeroDivisionError("third")
        return 1.0

    with pytest.raises(ZeroDivisionError, match="third"):
        tune.search(objective, space=LINE, trials=5, storage=storage)
    result = tune.search(objective, space=LINE, trials=5, storage=storage)
    assert result.ok and len(result.trials) == 5 and len(calls) == 6
    assert [trial.note for trial in result.failed] == ["ZeroDivisionError: third"]
    assert result.failed[0].parameters == calls[2]


def test_what_is_caught_or_no_number_is_the_worst():
    def objective(p: dict[str, Any]) -> float:
        if p["x"] < -1:
            raise ValueError("left")
        return math.nan if p["x"] < 1 else -p["x"]

    for direction, worst in (("maximize", -math.inf), ("minimize", math.inf)):
        result = tune.search(objective, space=LINE, trials=20, direction=direction, catch=ValueError)
        assert result.ok and len(result.trials) == 20 and not result.failed
        for trial in result.trials:
            x = trial.parameters["x"]
            assert trial.value == (-x if x >= 1 else worst)
            assert trial.note == ("ValueError: left" if x < -1 else "")
    empty = tune.search(lambda p: math.nan, space=LINE, trials=3)
    assert empty.best is None and not empty.ok and "None has a score" in str(empty)


def test_the_function_reports_and_is_pruned():
    told: list[int] = []

    def objective(p: dict[str, Any], report: Any) -> float:
        for epoch in range(5):
            told.append(epoch)
            report(epoch, p["x"] + 0.01 * epoch)
        return p["x"]

    result = tune.search(objective, space=LINE, trials=20, method="random", pruning="median")
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert len(result.trials) == 20 and 5 <= len(pruned) < 20
    assert len(told) == 5 * 20 - 4 * len(pruned)  # those that are worse are so from the first epoch
    assert result.best.state == "complete" and result.best.value == max(trial.value for trial in result.trials)
    assert result.ranked()[-1].state == "pruned"
    assert all(trial.state == "complete" for trial in tune.search(objective, space=LINE, trials=9).trials)


@pytest.mark.parametrize("wrap", [np.float64, np.float32, np.array, lambda x: np.array(round(x))])
def test_scores_may_be_numbers_of_numpy(wrap):
    told: list[Any] = []

    def objective(p: dict[str, Any], report: Any) -> Any:
        report(0, wrap(p["x"]))
        told.append(wrap(p["x"]))
        return told[-1]

    result = tune.search(objective, space=LINE, trials=3)
    assert [trial.value for trial in result.trials] == [float(value) for value in told]
    assert all(type(trial.value) is float for trial in result.trials)


def test_scores_may_be_tensors():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    score = torch.tensor(0.5, requires_grad=True)
    assert tune.search(lambda p: 2 * score, space=LINE, trials=1).best.value == 1.0


def test_callbacks_are_told_every_trial():
    told: list[tune.Trial] = []
    result = tune.search(bowl, space=SPACE, trials=5, callbacks=[told.append])
    assert told == result.trials


def test_progress_counts_trials():
    told: list[tuple[int, int]] = []
    tune.search(bowl, space=SPACE, trials=4, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (4, 4) and all(total == 4 for _, total in told)


# ---------------------------------------------------------------- networks


def test_a_network_is_built_trained_and_scored_on_data_it_has_not_seen():
    X, y = data()
    space = {"rate": tune.log(1e-3, 1e-1)}
    result = tune.search(build, X[:40], y[:40], space=space, validation=(X[40:], y[40:]), trials=3, epochs=4, seed=5)
    for trial in result.trials:
        model, options = build(trial.parameters)
        model.fit(X[:40], y[:40], epochs=4, seed=5, **options)
        assert trial.value == model.score(X[40:], y[40:])
    losses = tune.search(
        build, X[:40], y[:40], space=space, validation=(X[40:], y[40:]), trials=3, epochs=4, seed=5, monitor="val_loss"
    )
    assert losses.direction == "minimize"
    history = build(losses.best.parameters)[0].fit(
        X[:40],
        y[:40],
        optimizer=gp.Adam(losses.best.parameters["rate"]),
        epochs=4,
        seed=5,
        validation_data=(X[40:], y[40:]),
    )
    assert losses.best.value == history["val_loss"][-1] == min(trial.value for trial in losses.trials)


def test_a_share_of_the_rows_is_kept_to_score_on():
    X, y = data()
    rows: list[int] = []

    class Rows(gp.callbacks.Callback):
        def on_train_begin(self, model: Any, run: Any) -> None:
            rows.append(run.history.settings["rows"])

    def with_callback(parameters: dict[str, Any]) -> Any:
        model, options = build(parameters)
        return model, {**options, "callbacks": Rows(), "epochs": 1}

    result = tune.search(with_callback, X, y, space={"rate": tune.log(1e-3, 1)}, trials=2, validation=0.25)
    assert rows == [45, 45]
    assert all(15 * trial.value == pytest.approx(round(15 * trial.value)) for trial in result.trials)
    only = tune.search(lambda p: build(p)[0], X, y, space={"rate": tune.log(1e-3, 1)}, trials=1, epochs=1)
    assert 0 <= only.best.value <= 1


def test_a_training_that_diverges_is_the_worst_and_not_repeated():
    X = np.random.default_rng(0).normal(size=(30, 3))

    def explosive(parameters: dict[str, Any]) -> Any:
        model = gp.Sequential([gp.Dense(4), gp.Dense(1)], input_size=3, loss="mse", seed=0)
        return model, {"optimizer": gp.SGD(parameters["rate"])}

    result = tune.search(explosive, X, X[:, 0], space={"rate": tune.log(1e-3, 1e9)}, trials=10, epochs=30)
    diverged = [trial for trial in result.trials if trial.value == -math.inf]
    assert 2 <= len(diverged) < 10 and all("diverged" in trial.note for trial in diverged)
    assert result.ok and result.best.parameters["rate"] < min(trial.parameters["rate"] for trial in diverged)


def test_networks_are_pruned_by_epoch():
    X, y = data()
    epochs: list[int] = []

    class Count(gp.callbacks.Callback):
        def on_epoch_end(self, model: Any, run: Any) -> None:
            epochs.append(run.epoch)

    def counted(parameters: dict[str, Any]) -> Any:
        model, options = build(parameters)
        return model, {**options, "callbacks": [Count()]}

    result = tune.search(
        counted,
        X,
        y,
        space={"rate": tune.log(1e-6, 1e-1)},
        trials=16,
        epochs=6,
        pruning="median",
        method="random",
        monitor="val_loss",
    )
    pruned = sum(trial.state == "pruned" for trial in result.trials)
    assert pruned > 0 and len(epochs) < 16 * 6 and result.best.state == "complete"


# ---------------------------------------------------------------- other processes


@pytest.mark.campaign
def test_processes_of_loky_share_a_search():
    pytest.importorskip("joblib")
    result = tune.search(lambda p: p["rate"], space=SPACE, trials=20, n_jobs=2, backend="loky")
    assert len(combinations(result)) == 20 and result.stopped == "finished"
    assert result.best.value == max(trial.parameters["rate"] for trial in result.trials)


@pytest.mark.campaign
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_a_search_in_the_middle_of_a_training(tmp_path, jobs):
    command = [sys.executable, "-m", "gradproof.cli", "tune", "--epochs", "100000", "--jobs", str(jobs)]
    command += ["--storage", str(tmp_path / "a.journal")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "a.journal").exists() or "worker" not in (tmp_path / "a.journal").read_text():
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "0 of 40 trials" in out and "interrupted" in out and not err
    study = optuna.load_study(
        study_name="search",
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "a.journal"))),
    )
    states = Counter(trial.state.name for trial in study.get_trials())
    assert states == {"FAIL": jobs, "WAITING": jobs}
