"""Runs that are killed at any moment go on as if nothing had happened, and nothing is left of the attempt."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cases.checkpoints import stored

import gradproof as gp

CHILD = """
import os, signal, sys
import numpy as np
import gradproof as gp
from gradproof import _files

folder, where, count, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

def die_at(function, after):
    def called(*arguments):
        global count
        count -= 1
        if count == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments)
        if count == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return called

class Dies(gp.callbacks.Callback):
    def on_gradient(self, model, run):
        if where == "step" and 10 * run.epoch + run.batch == count:
            os.kill(os.getpid(), signal.SIGKILL)

if where in ("fsync", "replace", "replaced"):
    name = where.rstrip("d")
    setattr(os, name, die_at(getattr(os, name), where == "replaced"))
rng = np.random.default_rng(0)
X, y = rng.normal(size=(100, 4)), np.arange(100) % 3
layers = [gp.Dense(30), gp.BatchNorm(), gp.ReLU(), gp.Dropout(0.8), gp.Dense(3)]
model = gp.Sequential(layers, input_size=4, loss="softmax_cross_entropy", l2=1e-3)
path = os.path.join(folder, "run.safetensors")
print("ready", flush=True)
history = model.fit(
    X, y, epochs=epochs, batch_size=10, optimizer=gp.Adam(0.01), schedule=gp.schedules.Cosine(epochs),
    validation_data=(X[::-1], y), resume=path, augment=lambda batch, rng: batch + 0.01 * rng.normal(size=batch.shape),
    callbacks=[gp.callbacks.Checkpoint(path), gp.callbacks.EarlyStopping(patience=10**6), Dies()],
)
np.savez(os.path.join(folder, "result.npz"), theta=model.theta, buffers=model.buffers, batches=history.batches)
with open(os.path.join(folder, "history.jsonl"), "w") as file:
    file.write(history.to_json())
"""


def start(folder: Path, where: str, count: int, epochs: int) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, folder, where, str(count), str(epochs)], stdout=subprocess.PIPE
    )


def finish(child: subprocess.Popen[bytes]) -> int:
    child.communicate()
    return child.returncode


def assert_same_results(a: Path, b: Path) -> None:
    with np.load(a / "result.npz") as left, np.load(b / "result.npz") as right:
        for name in ("theta", "buffers", "batches"):
            np.testing.assert_array_equal(left[name], right[name])
    assert (a / "history.jsonl").read_text() == (b / "history.jsonl").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
class TestKilled:
    def test_while_writing_and_while_training(self, tmp_path: Path):
        """Before the file is on the disk, before and after it takes its name, and in the middle of an epoch."""
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        reference = start(whole, "never", 0, 8)
        for where, count, epoch in (("fsync", 2, 0), ("replace", 2, 1), ("replaced", 2, 3), ("step", 55, 4)):
            assert finish(start(killed, where, count, 8)) == -9
            assert stored(killed / "run.safetensors")["epoch"] == epoch
            gp.load(killed / "run.safetensors")
        assert finish(start(killed, "never", 0, 8)) == finish(reference) == 0
        assert_same_results(whole, killed)
        assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}

    @pytest.mark.campaign
    def test_fifty_times_at_any_moment(self, tmp_path: Path):
        epochs = 1500
        whole, killed = tmp_path / "whole", tmp_path / "killed"
        assert finish(start(whole, "never", 0, epochs)) == 0
        rng = random.Random(1)
        kills, reached, path = 0, [0], killed / "run.safetensors"
        while kills < 50:
            child = start(killed, "never", 0, epochs)
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
            before = path.stat().st_mtime_ns if path.exists() else 0
            early = rng.random() < 0.2  # else some progress is made first
            while not early and child.poll() is None and not (path.exists() and path.stat().st_mtime_ns != before):
                time.sleep(1e-3)
            time.sleep(rng.uniform(0, 0.05))
            child.kill()
            if finish(child) == 0:
                break
            kills += 1
            if path.exists():
                gp.load(path)
                reached.append(stored(path)["epoch"])
        assert kills == 50, "the run was over too soon"
        assert reached == sorted(reached) and len(set(reached)) > 30
        assert finish(start(killed, "never", 0, epochs)) == 0
        assert_same_results(whole, killed)
