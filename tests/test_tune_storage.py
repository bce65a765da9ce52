"""Searches shared by processes: as many trials as asked for, none twice, and what a killed one was at is done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import gradproof as gp

optuna = pytest.importorskip("optuna")
from gradproof.tune import queue, storage  # noqa: E402
from gradproof.tune.samplers import RandomSampler  # noqa: E402
from gradproof.tune.space import Space  # noqa: E402

tune = gp.tune
posix = pytest.mark.skipif(os.name != "posix", reason="kills processes by signal")

LINE = {"x": tune.uniform(0, 1), "n": tune.integer(1, 4)}

WORKER = """
import sys, time
from pathlib import Path
import gradproof as gp

folder, storage, trials = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
victim, kind = sys.argv[4] == "victim", sys.argv[5]
tune = gp.tune
count = 0

def about_to_run():
    global count
    count += 1
    if victim and count == 3:
        (folder / "hangs").touch()
        time.sleep(600)

if kind == "function":
    space = {"x": tune.uniform(0, 1), "n": tune.integer(1, 4)}
    data = ()
    def objective(p):
        about_to_run()
        time.sleep(0.02)
        return p["x"]
else:
    space = {
        "learning_rate": tune.log(1e-8, 1e2),  # nobody knows better
        "units": tune.integer(8, 64, log=True),
        "keep_prob": tune.uniform(0.5, 1),
        "beta1": tune.one_minus(0.8, 0.999),
    }
    X, y = gp.data.load_digits()
    (X, y), validation, _ = gp.data.split(X, y, (60, 20, 20))
    data = (X, y)
    def objective(p):
        about_to_run()
        layers = [gp.Dense(p["units"]), gp.ReLU(), gp.Dropout(keep_prob=p["keep_prob"]), gp.Dense(10)]
        model = gp.Sequential(layers, input_size=64, loss="softmax_cross_entropy", dtype="float32", seed=0)
        return model, {"optimizer": gp.Adam(p["learning_rate"], beta1=p["beta1"]), "batch_size": 64, "epochs": 8}
    data_options = {"validation": validation}

def run(method="coarse_to_fine", storage=storage, seed=0):
    options = {"trials": trials, "storage": storage, "method": method, "seed": seed}
    return tune.search(objective, *data, space=space, **options, **({} if kind == "function" else data_options))

if __name__ == "__main__":
    (folder / f"ready-{sys.argv[6]}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    result = run()
    (folder / f"done-{sys.argv[6]}.json").write_text(result.to_json())
"""


def wait_for(condition: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def share(tmp_path: Path, kept: str, trials: int, kind: str) -> dict[str, Any]:
    """Three processes on one storage, one of them killed in its third trial; the result that both others give."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    roles = ["victim", "-", "-"]
    processes = [
        subprocess.Popen([sys.executable, script, tmp_path, kept, str(trials), role, kind, str(index)])
        for index, role in enumerate(roles)
    ]
    try:
        wait_for(lambda: len(list(tmp_path.glob("ready-*"))) == 3)
        (tmp_path / "go").touch()
        wait_for((tmp_path / "hangs").exists)
        processes[0].send_signal(signal.SIGKILL)
        assert processes[0].wait() == -signal.SIGKILL
        assert [process.wait(120) for process in processes[1:]] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    first, second = (json.loads((tmp_path / f"done-{index}.json").read_text()) for index in (1, 2))
    assert first == second
    return dict(first)


def check_shared(result: dict[str, Any], names: list[str], trials: int) -> None:
    assert result["stopped"] == "finished" and len(result["trials"]) == trials
    assert all(trial["state"] == "complete" for trial in result["trials"])
    parameters = [tuple(trial[name] for name in names) for trial in result["trials"]]
    assert len(set(parameters)) == trials
    (given_back,) = result["failed"]  # what the killed process was at, repeated by another
    assert tuple(given_back[name] for name in names) in parameters


@posix
def test_a_killed_process_gives_its_trial_back(tmp_path):
    result = share(tmp_path, str(tmp_path / "study.journal"), 12, "function")
    check_shared(result, ["x", "n"], 12)
    # calling again, nothing is left to do
    again = tune.search(lambda p: 1 / 0, space=LINE, trials=12, storage=tmp_path / "study.journal")
    assert len(again.trials) == 12 and again.best.value == result["best"]["value"]


@posix
@pytest.mark.campaign
@pytest.mark.parametrize("kept", ["journal", "sqlite"])
def test_forty_trials_on_digits_by_three_processes_with_one_killed(tmp_path, kept):
    url = f"sqlite:///{tmp_path}/study.db" if kept == "sqlite" else str(tmp_path / "study.journal")
    result = share(tmp_path, url, 40, "digits")
    check_shared(result, ["learning_rate", "units", "keep_prob", "beta1"], 40)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import worker; print(worker.run('random', None).to_json())"
    command = [sys.executable, "-c", code, tmp_path, "", "40", "-", "digits"]
    random = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"coarse to fine {result['best']['value']:.4f}, random {random['best']['value']:.4f}")
    assert len(random["trials"]) == 40 and result["best"]["value"] >= random["best"]["value"]


@pytest.mark.parametrize("kept", ["journal", "sqlite", "object"])
def test_a_study_is_gone_on_with_from_its_storage(tmp_path, kept):
    place: Any = {
        "journal": tmp_path / "study.journal",
        "sqlite": f"sqlite:///{tmp_path}/study.db",
        "object": optuna.storages.InMemoryStorage(),
    }[kept]
    first = tune.search(lambda p: p["x"], space=LINE, trials=3, storage=place, method="random")
    second = tune.search(lambda p: p["x"], space=LINE, trials=5, storage=place, method="random")
    assert second.table()[:3] == first.table() and len(second.trials) == 5
    whole = tune.search(lambda p: p["x"], space=LINE, trials=5, method="random")
    assert [trial.parameters for trial in second.trials] == [trial.parameters for trial in whole.trials]
    other = tune.search(lambda p: 0.0, space=LINE, trials=1, storage=place, study_name="other")
    assert len(other.trials) == 1


def test_a_study_of_something_else_is_refused(tmp_path):
    place = optuna.storages.InMemoryStorage()
    tune.search(lambda p: p["x"], space=LINE, trials=1, storage=place)
    with pytest.raises(ValueError, match=r"space: got .* but the study 'search' in the storage is of"):
        tune.search(lambda p: p["x"], space={"x": tune.uniform(0, 2)}, trials=2, storage=place)
    with pytest.raises(ValueError, match="direction: got 'minimize', but the study 'search' .* is to maximize"):
        tune.search(lambda p: p["x"], space=LINE, trials=2, storage=place, direction="minimize")
    foreign = optuna.create_study(storage=place, study_name="foreign", direction="maximize")
    foreign.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(ValueError, match="was not made by gp.tune.search"):
        tune.search(lambda p: p["x"], space=LINE, storage=place, study_name="foreign")


def test_files_that_are_no_journals_are_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        tune.search(lambda p: 0.0, space=LINE, storage=tmp_path / "nowhere" / "a.journal")
    text = tmp_path / "notes.txt"
    text.write_text("a line\nand no end")
    with pytest.raises(ValueError, match="is not a journal"):
        tune.search(lambda p: 0.0, space=LINE, storage=text)
    assert text.read_text() == "a line\nand no end"
    text.write_text('{"op_code": 17, "worker_id": "a"}\n')
    with pytest.raises(ValueError, match="is not a journal"):
        tune.search(lambda p: 0.0, space=LINE, storage=text)
    (tmp_path / "a.db").write_bytes(b"SQLite format 3\0" + bytes(84))
    with pytest.raises(ValueError, match="is a database, expected 'sqlite:///"):
        tune.search(lambda p: 0.0, space=LINE, storage=tmp_path / "a.db")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        tune.search(lambda p: 0.0, space=LINE, storage=f"sqlite:///{tmp_path}/nowhere/a.db")
    for url in ("nosuchdb://a/b", "://", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ValueError, match="storage: "):
            tune.search(lambda p: 0.0, space=LINE, storage=url)


@posix
def test_a_line_that_was_not_finished_is_cut_off(tmp_path):
    place = tmp_path / "study.journal"
    first = tune.search(lambda p: p["x"], space=LINE, trials=2, storage=place)
    with open(place, "ab") as file:
        file.write(b'{"op_code":4,"worker')
    second = tune.search(lambda p: p["x"], space=LINE, trials=3, storage=place)
    assert second.table()[:2] == first.table() and len(second.trials) == 3


# ---------------------------------------------------------------- the queue


def a_queue(kept: Any, trials: int = 5, grace: float = 0.3) -> queue.Queue:
    space = Space(LINE)
    study = optuna.create_study(
        storage=kept, study_name="s", load_if_exists=True, direction="maximize", sampler=RandomSampler(space, 0)
    )
    return queue.Queue(study, space, trials, grace, time.monotonic() + 60)


@pytest.fixture
def kept() -> Any:
    with storage.quiet():
        yield optuna.storages.InMemoryStorage()


def states(one: queue.Queue) -> Counter[str]:
    return Counter(trial.state.name for trial in one.study.get_trials())


def test_a_silent_trial_is_given_back_with_its_parameters_and_its_result_does_not_count(kept):
    mine, theirs = a_queue(kept), a_queue(kept)
    silent = mine.next()
    assert silent is not None
    silent.set_user_attr(queue.WORKER, {"place": "another machine", "process": 1, "beats": 1})
    got: list[Any] = []
    while not any(trial.params == silent.params for trial in got):
        trial = theirs.next()
        assert trial is not None
        got.append(trial)
        theirs.complete(trial, 1.0)
    mine.complete(silent, 100.0)  # it was not dead after all
    assert silent.number not in [trial.number for trial in got]
    assert mine.study.get_trials()[silent.number].state.name == "FAIL"
    assert theirs.study.best_value == 1.0
    while (trial := theirs.next()) is not None:
        theirs.complete(trial, 1.0)
    assert states(theirs) == {"COMPLETE": 5, "FAIL": 1}


def test_a_trial_with_a_sign_of_life_is_waited_for(kept):
    mine, theirs = a_queue(kept, trials=1, grace=1.0), a_queue(kept, trials=1, grace=1.0)
    slow = mine.next()
    assert slow is not None
    waited: list[Any] = []
    other = threading.Thread(target=lambda: waited.append(theirs.next()))
    with mine.running(slow):
        other.start()
        other.join(1.6)  # longer than the grace
        assert other.is_alive() and states(mine) == {"RUNNING": 1}
        mine.complete(slow, 1.0)
    other.join()
    assert waited == [None]


@posix
def test_a_trial_of_a_process_that_is_gone_is_given_back_at_once(kept):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine, theirs = a_queue(kept, 1, grace=1e6), a_queue(kept, 1, grace=1e6)
    for process, state in ((os.getpid(), "RUNNING"), (gone.pid, "FAIL")):
        trial = mine.study.ask(mine.space.distributions())
        trial.set_user_attr(queue.WORKER, {"place": queue._place(), "process": process, "beats": 1})
        theirs._give_back_silent(theirs._trials())
        assert mine.study.get_trials()[trial.number].state.name == state
    assert states(mine) == {"RUNNING": 1, "FAIL": 1, "WAITING": 1}


def test_one_too_many_and_one_that_exists_are_withdrawn(kept):
    mine = a_queue(kept, trials=2)
    first = mine._claim()
    assert first is not None
    mine.study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.WAITING, params=first.params, distributions=mine.space.distributions()
        )
    )
    assert mine._claim() is None and states(mine) == {"RUNNING": 1, "FAIL": 1}
    assert mine._claim() is not None
    assert mine._claim() is None and states(mine) == {"RUNNING": 2, "FAIL": 2}
    mine.complete(first, 1.0)
    shown = tune.SearchResult.of(mine.study, mine.space, 2, "finished")
    assert len(shown.trials) == 1 and not shown.failed


def test_many_threads_on_one_journal_never_do_one_too_many(tmp_path):
    place = storage.opened(tmp_path / "study.journal")
    places = [place, storage.opened(tmp_path / "study.journal")]
    with storage.quiet():
        queues = [a_queue(places[index % 2], trials=6, grace=60.0) for index in range(4)]
        ran: list[int] = []

        def work(one: queue.Queue) -> None:
            while (trial := one.next()) is not None:
                ran.append(trial.number)
                one.complete(trial, 1.0)

        threads = [threading.Thread(target=work, args=(one,)) for one in queues]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ran) == 6 == len(set(ran)) and states(queues[0])["COMPLETE"] == 6
        complete = [trial for trial in queues[0].study.get_trials() if trial.state.name == "COMPLETE"]
        assert len({tuple(trial.params.values()) for trial in complete}) == 6
