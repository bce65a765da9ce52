"""What the doctor takes down of a run, and how a symptom looks."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases.training_setup import SICK, Setup, clear_rule

import gradproof as gp
from gradproof.train.doctor.facts import facts, final
from gradproof.train.doctor.symptom import TAGS
from gradproof.train.history import History


@pytest.fixture
def healthy() -> Setup:
    return clear_rule()


def test_a_symptom_has_numbers_and_advice(healthy: Setup) -> None:
    (symptom,) = replace(healthy, **SICK["dead_relu"]).fit().diagnose()
    assert symptom.tag in TAGS and symptom.layer == "relu_1"
    assert symptom.evidence["dead_at_start"] == pytest.approx(28 / 32, abs=0.1)
    assert "LeakyReLU" in symptom.advice
    assert "dead_share" in str(symptom) and symptom.message in str(symptom)
    assert json.loads(json.dumps(symptom.to_dict()))["tag"] == "dead_relu"


def test_a_run_from_a_file_is_diagnosed_alike(healthy: Setup) -> None:
    history = replace(healthy, optimizer=gp.Adam(0.5)).fit()
    read = History.from_json(history.to_json())
    assert [str(symptom) for symptom in read.diagnose()] == [str(symptom) for symptom in history.diagnose()] != []


def test_without_a_monitor_only_divergence_is_seen(healthy: Setup) -> None:
    assert replace(healthy, optimizer=gp.Adam(0.5)).fit(monitor=False).diagnose() == []
    found = replace(healthy, optimizer=gp.SGD(1e6)).fit(monitor=False).diagnose()
    assert [symptom.tag for symptom in found] == ["diverged"]


def test_facts_change_nothing(healthy: Setup) -> None:
    model = replace(healthy, hidden=(gp.Dense(8), gp.BatchNorm(), gp.ReLU(), gp.Dropout(0.5))).model()
    model.fit(healthy.X, healthy.y, epochs=1, batch_size=50, progress=False)
    theta, buffers, step = model.theta.copy(), model.buffers.copy(), model.dropout_step
    optimizer = gp.Adam(0.1)
    state = optimizer.init(model.theta)
    facts(model, healthy.X, healthy.y, healthy.Xv)
    found = final(model, healthy.X, healthy.y, optimizer, state, 0.1)
    assert set(found) == {"end", "baseline", "probe"} and set(found["probe"]["after"]) == {"0.1", "1", "10", "100"}
    assert (model.theta == theta).all() and (model.buffers == buffers).all() and model.dropout_step == step
    assert state.step == 0 and not any(slot.any() for slot in state.slots.values())


def test_the_end_is_examined_when_it_is_asked_for(healthy: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def watched(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        return final(*arguments, **options)

    monkeypatch.setattr("gradproof.train.doctor.examination.final", watched)
    model = replace(healthy, l2=0.1).model()
    histories = []
    for _ in range(2):
        twin = model.copy()
        options = {"optimizer": gp.Adam(0.5), "epochs": 2, "batch_size": 32, "progress": False}
        histories.append(twin.fit(healthy.X, healthy.y, **options))
        twin.theta[...] = np.nan  # what comes after the run is not looked at
    assert not asked
    assert histories[0].diagnose() == histories[0].diagnose() != []
    assert len(asked) == 1
    read = pickle.loads(pickle.dumps(histories[1]))
    assert len(asked) == 2 and read.settings == histories[0].settings
    assert [str(symptom) for symptom in read.diagnose()] == [str(symptom) for symptom in histories[0].diagnose()]


def test_the_doctor_does_not_change_the_training(healthy: Setup) -> None:
    weights = []
    for monitor in (True, False):
        model = healthy.model()
        model.fit(healthy.X, healthy.y, epochs=2, batch_size=32, monitor=monitor, progress=False)
        weights.append(model.theta.copy())
    assert (weights[0] == weights[1]).all()


def test_layers_of_your_own(healthy: Setup) -> None:
    class Half(gp.Layer):
        def forward(self, x: np.ndarray, parameters: dict[str, np.ndarray], training: bool) -> tuple[np.ndarray, Any]:
            return x / 2, None

        def backward(
            self, dy: np.ndarray, cache: Any, parameters: dict[str, np.ndarray]
        ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
            return dy / 2, {}

    own = replace(healthy, hidden=(gp.Dense(32), gp.ReLU(), Half()))
    assert own.tags() == []
    assert "learning_rate_too_high" in replace(own, optimizer=gp.SGD(300.0)).tags()


def test_wrong_arguments_are_named(healthy: Setup) -> None:
    model = healthy.model()
    with pytest.raises(TypeError, match="model: got int"):
        gp.diagnose(3, healthy.X, healthy.y)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="X: got 5 features"):
        gp.diagnose(model, healthy.X[:, :5], healthy.y)
    with pytest.raises(ValueError, match="validation_data: X: got 5 features"):
        gp.diagnose(model, healthy.X, healthy.y, validation_data=(healthy.X[:, :5], healthy.y))
    with pytest.raises(ValueError, match="batch_size: got 0"):
        gp.diagnose(model, healthy.X, healthy.y, batch_size=0)
