"""Each symptom on a clear case and on its healthy twin; the table over families of runs is a benchmark."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from cases.training_runs import recipe, sweep
from cases.training_sick import runs

import gradproof as gp
from gradproof.train.doctor.causes import Finding, causes
from gradproof.train.doctor.facts import facts, final
from gradproof.train.doctor.symptom import TAGS
from gradproof.train.history import History


@dataclass
class Setup:
    """A small healthy run; tests spoil one thing."""

    X: np.ndarray
    y: np.ndarray
    Xv: np.ndarray
    yv: np.ndarray
    hidden: tuple[Any, ...] = (gp.Dense(32), gp.ReLU(), gp.Dense(32), gp.ReLU())
    last_init: Any = "xavier"
    optimizer: Any = gp.Adam(3e-3)
    epochs: int = 20
    batch: int = 32
    l2: float = 0.0
    loss: str = "softmax_cross_entropy"
    schedule: Any = None
    edit: Callable[[gp.Sequential], None] | None = None

    def model(self) -> gp.Sequential:
        outputs = 1 if self.loss == "mse" else 4
        layers = [*self.hidden, gp.Dense(outputs, init=self.last_init)]
        model = gp.Sequential(layers, self.X.shape[1], self.loss, l2=self.l2)
        if self.edit:
            self.edit(model)
        return model

    def fit(self, **options: Any) -> History:
        options = {"validation_data": (self.Xv, self.yv), "monitor": True, **options}
        with np.errstate(all="ignore"):
            return self.model().fit(
                self.X,
                self.y,
                optimizer=self.optimizer,
                schedule=self.schedule,
                epochs=self.epochs,
                batch_size=self.batch,
                progress=False,
                **options,
            )

    def tags(self) -> list[str]:
        return [symptom.tag for symptom in self.fit().diagnose()]


@pytest.fixture
def healthy() -> Setup:
    """Four classes by a curved rule, 400 rows."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(600, 6))
    y = 2 * (X[:, 0] ** 2 + X[:, 1] > 1) + (X[:, 2] + 0.3 * X[:, 3] ** 2 > 0.2)
    return Setup(X[:400], y[:400].astype(int), X[400:], y[400:].astype(int))


def test_a_healthy_run_has_no_symptoms(healthy: Setup) -> None:
    assert healthy.tags() == []
    assert gp.diagnose(healthy.model(), healthy.X, healthy.y, validation_data=(healthy.Xv, healthy.yv)) == []


TWINS: dict[str, dict[str, Any]] = {
    "tanh": {"hidden": (gp.Dense(32, "xavier"), gp.Tanh())},
    "batch_norm_dropout": {"hidden": (gp.Dense(48), gp.BatchNorm(), gp.ReLU(), gp.Dropout(0.9))},
    "maxout": {"hidden": (gp.Maxout(16, 2),)},
    "sgd": {"optimizer": gp.SGD(0.1), "epochs": 40},
    "weight_decay": {"l2": 0.1},
    "hinge": {"loss": "hinge"},
    "decay": {"schedule": gp.schedules.Exponential(0.95), "optimizer": gp.Adam(5e-3)},
    "full_batch": {"batch": 400, "epochs": 150, "optimizer": gp.Adam(0.01)},
}


@pytest.mark.parametrize("name", TWINS)
def test_healthy_variants_have_no_symptoms(healthy: Setup, name: str) -> None:
    assert replace(healthy, **TWINS[name]).tags() == []


def _deep(layer: Any, init: Any, depth: int = 7) -> tuple[Any, ...]:
    return tuple(entry for _ in range(depth) for entry in (gp.Dense(24, init=init), layer))


def _dead(model: gp.Sequential) -> None:
    model.parameters["dense_1.b"][:28] = -20


def _loud(model: gp.Sequential) -> None:
    model.parameters["dense_2.W"][...] *= 60


SICK: dict[str, dict[str, Any]] = {
    "symmetric_init": {
        "hidden": (gp.Dense(32, lambda rng, shape: np.full(shape, 0.1)), gp.Tanh()),
        "last_init": "zeros",
    },
    "bad_initial_loss": {"edit": _loud},
    "exploding_gradient": {"hidden": _deep(gp.ReLU(), 1.2)},
    "saturated_activation": {"hidden": _deep(gp.Tanh(), 4.0, 2)},
    "vanishing_gradient": {"hidden": _deep(gp.Sigmoid(), "xavier")},
    "dead_relu": {"edit": _dead},
    "small_batch_norm": {"hidden": (gp.Dense(32), gp.BatchNorm(), gp.ReLU()), "batch": 2, "epochs": 8},
    "over_regularized": {"l2": 1000.0},
    "learning_rate_too_high": {"optimizer": gp.Adam(0.5)},
    "learning_rate_too_low": {"optimizer": gp.Adam(1e-6)},
    "underfitting": {"hidden": (), "optimizer": gp.Adam(1e-2), "epochs": 40},
    "plateau": {"schedule": gp.schedules.Exponential(0.03), "optimizer": gp.Adam(1e-3)},
}


@pytest.mark.parametrize("tag", SICK)
def test_each_symptom_is_said_alone(healthy: Setup, tag: str) -> None:
    assert replace(healthy, **SICK[tag]).tags() == [tag]


def test_unnormalized_inputs_are_the_cause_of_what_follows(healthy: Setup) -> None:
    for change in (lambda X: 1000 * X, lambda X: X + 100.0, lambda X: X * np.geomspace(1e-3, 1e3, 6)):
        sick = replace(healthy, X=change(healthy.X), Xv=change(healthy.Xv), optimizer=gp.SGD(0.1))
        found = sick.fit().diagnose()
        assert [symptom.tag for symptom in found] == ["unnormalized_inputs"]
        assert gp.diagnose(sick.model(), sick.X, sick.y)[0].tag == "unnormalized_inputs"


def test_what_the_cause_does_not_explain_is_said_after_it(healthy: Setup) -> None:
    leaked = [np.column_stack([100 * X, 100 * y]) for X, y in ((healthy.X, healthy.y), (healthy.Xv, healthy.yv))]
    sick = replace(healthy, X=leaked[0], Xv=leaked[1], optimizer=gp.SGD(0.1))
    assert sick.tags() == ["unnormalized_inputs", "label_leakage"]


def test_identical_inputs(healthy: Setup) -> None:
    same = replace(healthy, X=np.repeat(healthy.X[:1], 400, axis=0))
    assert same.tags() == ["identical_inputs"]
    assert [symptom.tag for symptom in gp.diagnose(same.model(), same.X, same.y)] == ["identical_inputs"]


def test_divergence_is_said_with_its_cause(healthy: Setup) -> None:
    found = replace(healthy, optimizer=gp.SGD(1e6)).fit().diagnose()
    assert [symptom.tag for symptom in found] == ["learning_rate_too_high", "diverged"]
    assert "epoch 0" in found[1].message


def test_oscillation(healthy: Setup) -> None:
    calm = replace(healthy, optimizer=gp.SGD(0.5), batch=400, epochs=80)
    assert calm.tags() == []
    assert replace(calm, optimizer=gp.SGD(2.0)).tags() == ["learning_rate_too_high", "oscillating_loss"]


@pytest.mark.parametrize(
    ("optimizer", "swings"), [(gp.RMSprop(0.05), True), (gp.Adam(0.03), True), (gp.Adam(0.003), False)], ids=str
)
def test_swings_of_a_run_that_learns_and_unlearns(optimizer: Any, swings: bool) -> None:
    X, y = gp.data.load_digits()
    X = gp.data.Normalizer().fit_transform(X)
    layers = [gp.Dense(64), gp.ReLU(), gp.Dense(64), gp.ReLU(), gp.Dense(10)]
    model = gp.Sequential(layers, 64, "softmax_cross_entropy")
    found = model.fit(X[:1400], y[:1400], optimizer=optimizer, epochs=40, batch_size=16, progress=False).diagnose()
    assert ("oscillating_loss" in [symptom.tag for symptom in found]) == swings


def test_overfitting_and_random_labels(healthy: Setup) -> None:
    rng = np.random.default_rng(0)
    y = healthy.y.copy()
    wrong = rng.random(400) < 0.2
    y[wrong] = rng.permutation(y[wrong])
    few = replace(healthy, X=healthy.X[:60], y=y[:60], hidden=(gp.Dense(128), gp.ReLU()), epochs=120, batch=16)
    assert few.tags() == ["overfitting"]
    shuffled = replace(healthy, y=rng.permutation(healthy.y), hidden=(gp.Dense(128), gp.ReLU()), epochs=120)
    assert shuffled.tags() == ["random_labels"]


def test_label_leakage(healthy: Setup) -> None:
    rng = np.random.default_rng(0)
    y = healthy.y + 0.02 * rng.normal(size=400), healthy.yv + 0.02 * rng.normal(size=200)
    leaky = replace(healthy, X=np.insert(healthy.X, 2, y[0], axis=1), Xv=np.insert(healthy.Xv, 2, y[1], axis=1))
    (symptom,) = leaky.fit().diagnose()
    assert symptom.tag == "label_leakage" and symptom.evidence["feature"] == 2
    shared = replace(healthy, Xv=healthy.X[:100], yv=healthy.y[:100])
    (symptom,) = shared.fit().diagnose()
    assert symptom.tag == "label_leakage" and symptom.evidence["shared_rows"] == 1.0


def test_rows_that_repeat_by_nature_are_no_leak() -> None:
    rng = np.random.default_rng(1)
    X = rng.integers(0, 2, (500, 5)).astype(float)  # 32 different rows
    y = (X.sum(axis=1) > 2).astype(int)
    model = gp.Sequential([gp.Dense(16), gp.ReLU(), gp.Dense(2)], 5, "softmax_cross_entropy")
    assert gp.diagnose(model, X[:300], y[:300], validation_data=(X[300:], y[300:])) == []


def test_rows_of_categories_are_no_leak_and_copies_are(rng: np.random.Generator) -> None:
    def tags(X: np.ndarray) -> list[str]:
        model = gp.Sequential([gp.Dense(16), gp.ReLU(), gp.Dense(2)], X.shape[1], "softmax_cross_entropy")
        y = (X @ np.arange(X.shape[1]) > np.median(X @ np.arange(X.shape[1]))).astype(int)
        found = gp.diagnose(model, X[:560], y[:560], validation_data=(X[560:], y[560:]))
        return [symptom.tag for symptom in found]

    assert tags(np.eye(8)[rng.integers(0, 8, (800, 3))].reshape(800, 24)) == []  # 512 different rows
    assert tags(rng.integers(0, 3, (800, 5)) - 1.0) == []  # 243
    twice = np.repeat(rng.integers(0, 17, (400, 20)) / 8.0 - 1, 2, axis=0)  # resampled before the split
    assert tags(rng.permutation(twice)) == ["label_leakage"]


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_law_that_one_feature_dominates_is_no_leak_and_a_copy_is(rng: np.random.Generator, noise: float) -> None:
    X = rng.normal(size=(600, 3))
    for weight in (5.0, 15.0):
        y = weight * X[:, 0] + 0.3 * X[:, 1] - 0.2 * X[:, 2] ** 2
        assert gp.diagnose(gp.Sequential([gp.Dense(1, 0.01)], 3, "mse"), X, y) == []
    y = X[:, 0] ** 2 + X[:, 1] + rng.normal(size=600)
    leaky = np.column_stack([X, (y + noise * rng.normal(size=600)) / y.std()])
    (symptom,) = gp.diagnose(gp.Sequential([gp.Dense(1, 0.01)], 4, "mse"), leaky, y)
    assert symptom.tag == "label_leakage" and symptom.evidence["feature"] == 3


def test_classes_far_apart_in_one_feature_are_no_leak(rng: np.random.Generator) -> None:
    y = rng.integers(0, 2, 400)
    X = np.column_stack([2.0 * y - 1, 0 * y]) + rng.normal(size=(400, 2)) * [0.1, 1.0]
    model = gp.Sequential([gp.Dense(8), gp.ReLU(), gp.Dense(2)], 2, "softmax_cross_entropy")
    assert gp.diagnose(model, X, y) == []
    X[:, 0] = 2.0 * y - 1 + 0.05 * rng.normal(size=400)
    assert [symptom.tag for symptom in gp.diagnose(model, X, y)] == ["label_leakage"]


def test_one_feature_that_honestly_decides_is_no_leak(rng: np.random.Generator) -> None:
    X = rng.normal(size=(300, 4))
    model = gp.Sequential([gp.Dense(16), gp.ReLU(), gp.Dense(2)], 4, "softmax_cross_entropy")
    assert gp.diagnose(model, X, (X[:, 1] > 0).astype(int)) == []


def test_saturation_that_does_no_harm_is_not_named(rng: np.random.Generator) -> None:
    X = 2 * rng.normal(size=(400, 4))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = gp.Sequential([gp.Dense(32), gp.Tanh(), gp.Dense(2)], 4, "softmax_cross_entropy")
    assert gp.diagnose(model, X, y) == []
    history = model.fit(X, y, optimizer=gp.SGD(0.3), epochs=80, batch_size=16, progress=False)
    assert history.settings["facts"]["start"]["layers"]["tanh_0"]["saturated_share"] > 0.4
    assert history.diagnose() == []


@pytest.mark.parametrize(("rows", "tags"), [(5, []), (50, ["overfitting"])])
def test_a_gap_within_chance_is_no_overfitting(healthy: Setup, rows: int, tags: list[str]) -> None:
    history = replace(healthy, Xv=healthy.Xv[:rows], yv=healthy.yv[:rows], epochs=40).fit()
    assert history.diagnose() == [] and history["accuracy"][-1] > 0.95
    history["val_accuracy"][-4:], history["val_loss"][-4:] = [0.6] * 4, [4.0] * 4  # two of five wrong, twenty of fifty
    assert [symptom.tag for symptom in history.diagnose()] == tags


def test_nothing_trained_and_nothing_to_learn_say_nothing_of_the_rate(healthy: Setup) -> None:
    assert healthy.fit(frozen=("dense_0", "dense_1", "dense_2")).diagnose() == []
    assert healthy.fit(frozen=("dense_0", "dense_1")).diagnose() == []
    for y in (0 * healthy.y, 0 * healthy.y + 3):
        for loss in ("softmax_cross_entropy", "hinge", "mse"):
            assert (
                replace(healthy, y=y, loss=loss, optimizer=gp.Adam(1e-5), epochs=5).fit(validation_data=None).diagnose()
                == []
            )


def test_what_dropout_adds_to_the_loss_is_no_underfitting(rng: np.random.Generator) -> None:
    X = rng.normal(size=(200, 5))
    history = gp.Sequential([gp.Dropout(0.5)], 5, "mse").fit(X, X, epochs=20, progress=False)
    assert history["r2"][-1] == 1.0 and history.diagnose() == []


def test_one_row_leaves_nothing_to_batch_normalization(healthy: Setup) -> None:
    hidden = (gp.Dense(32), gp.BatchNorm(), gp.ReLU())
    for sick in (replace(healthy, X=healthy.X[:1], y=healthy.y[:1]), replace(healthy, batch=1)):
        found = replace(sick, hidden=hidden).fit(validation_data=None).diagnose()
        assert [symptom.tag for symptom in found] == ["small_batch_norm"]
    silent = gp.Sequential(
        [gp.Dense(8, lambda rng, shape: -np.ones(shape)), gp.ReLU(), gp.Dense(2)], 3, "softmax_cross_entropy"
    )
    found = gp.diagnose(silent, np.ones((1, 3)), [0])
    assert "dead_relu" not in [symptom.tag for symptom in found]  # a unit may well be zero for one row


def test_a_rare_class_whose_score_is_hardly_known_does_not_fail() -> None:
    rng = np.random.default_rng(12)
    y = rng.choice(2, 1600, p=[0.97, 0.03])
    X = rng.normal(size=(1600, 6)) + 1.2 * y[:, None]
    model = gp.Sequential([gp.Dense(16), gp.ReLU(), gp.Dense(1)], 6, "binary_cross_entropy", l2=2.0, seed=2)
    options = {"epochs": 30, "batch_size": 64, "optimizer": gp.Adam(2e-3), "progress": False}
    assert model.fit(X, y, **options).diagnose() == []


def test_before_training(healthy: Setup) -> None:
    for tag in ("symmetric_init", "bad_initial_loss", "exploding_gradient", "saturated_activation", "dead_relu"):
        model = replace(healthy, **SICK[tag]).model()
        assert [symptom.tag for symptom in gp.diagnose(model, healthy.X, healthy.y)] == [tag]
    model = replace(healthy, **SICK["vanishing_gradient"]).model()
    assert [symptom.tag for symptom in gp.diagnose(model, healthy.X, healthy.y)] == ["vanishing_gradient"]
    model = replace(healthy, **SICK["small_batch_norm"]).model()
    assert gp.diagnose(model, healthy.X, healthy.y) == []
    assert gp.diagnose(model, healthy.X, healthy.y, batch_size=2)[0].layer == "batch_norm_0"


def test_digits() -> None:
    X, y = gp.data.load_digits()
    for inputs, allowed in ((X, []), (16 * X, ["unnormalized_inputs"])):  # the latter starts with six times the loss
        model = gp.Sequential([gp.Dense(32), gp.ReLU(), gp.Dense(10, "xavier")], 64, "softmax_cross_entropy")
        history = model.fit(
            inputs[:800],
            y[:800],
            epochs=15,
            batch_size=32,
            validation_data=(inputs[800:1100], y[800:1100]),
            progress=False,
        )
        assert [symptom.tag for symptom in history.diagnose()] == allowed


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


@pytest.mark.parametrize(
    ("X", "y"), [(np.zeros((1, 3)), [0]), (np.ones((5, 3)), [0, 1, 0, 1, 0]), (1e30 * np.ones((4, 3)), [0, 1, 1, 0])]
)
def test_tiny_and_odd_data_give_a_verdict(X: np.ndarray, y: list[int]) -> None:
    model = gp.Sequential([gp.Dense(4), gp.ReLU(), gp.Dense(2)], 3, "softmax_cross_entropy")
    assert isinstance(gp.diagnose(model, X, y), list)
    with np.errstate(all="ignore"):
        assert isinstance(model.fit(X, y, epochs=2, progress=False).diagnose(), list)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e160, 1e300, 1e307])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "mse"])
def test_numbers_too_large_for_their_squares(rng: np.random.Generator, loss: str, scale: float) -> None:
    X, X_dev = rng.uniform(-10, 10, size=(60, 5)) * scale, rng.uniform(-10, 10, size=(20, 5)) * scale
    y, y_dev = (np.arange(60) % 3, np.arange(20) % 3) if loss != "mse" else (rng.normal(size=60), rng.normal(size=20))
    model = gp.Sequential([gp.Dense(8), gp.ReLU(), gp.Dense(1 + 2 * (loss != "mse"))], 5, loss, dtype="float64")
    assert gp.diagnose(model, X, y)[0].tag == "unnormalized_inputs"
    history = model.fit(X, y, validation_data=(X_dev, y_dev), epochs=3)
    assert history.diagnose()[0].tag == "unnormalized_inputs"
    assert "NaN" not in history.to_json() and "Infinity" not in history.to_json()
    if loss == "mse":  # targets of that size
        history = model.copy().fit(X / scale, y * scale, epochs=2)
        assert all(str(symptom) for symptom in history.diagnose())


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


def test_causes_come_first_and_explain() -> None:
    def finding(tag: str, acquired: bool = False) -> Finding:
        return Finding(gp.Symptom(tag, None, tag), acquired)

    def said(*findings: Finding) -> list[str]:
        return [symptom.tag for symptom in causes(findings)]

    assert said(finding("plateau"), finding("diverged"), finding("unnormalized_inputs")) == ["unnormalized_inputs"]
    assert said(finding("dead_relu", True), finding("learning_rate_too_high")) == ["learning_rate_too_high"]
    assert said(finding("dead_relu"), finding("learning_rate_too_high")) == ["dead_relu"]
    assert said(finding("overfitting"), finding("label_leakage")) == ["label_leakage", "overfitting"]


class TestDiagnoseFit:
    @pytest.mark.parametrize(
        ("errors", "options", "verdict"),
        [  # the table of Ng's course
            ((0.01, 0.11), {}, "high variance"),
            ((0.15, 0.16), {}, "high bias"),
            ((0.15, 0.30), {}, "high bias and high variance"),
            ((0.005, 0.01), {}, "good"),
            ((0.15, 0.16), {"baseline": 0.14}, "good"),
            ((0.02, 0.021), {"baseline": 0.015, "test_error": 0.08}, "fitted to the dev set"),
            ((0.10, 0.02), {"baseline": 0.09}, "training set unlike the dev set"),
        ],
    )
    def test_verdicts(self, errors: tuple[float, float], options: dict[str, float], verdict: str) -> None:
        found = gp.diagnose_fit(*errors, **options)
        assert found.verdict == verdict and found.ok == (verdict == "good")
        assert found.advice and verdict in str(found)

    def test_the_advice_follows_the_verdict(self) -> None:
        assert "larger network" in gp.diagnose_fit(0.2, 0.21).advice[0]
        assert "more data" in gp.diagnose_fit(0.01, 0.2).advice[0]
        assert "larger dev set" in gp.diagnose_fit(0.01, 0.011, test_error=0.1).advice[0]

    def test_a_small_dev_set_leaves_room_for_chance(self) -> None:
        assert gp.diagnose_fit(0.05, 0.08, baseline=0.05).verdict == "high variance"
        assert gp.diagnose_fit(0.05, 0.08, baseline=0.05, dev_rows=100).verdict == "good"

    @pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "a", None])
    def test_wrong_rates_are_named(self, value: Any) -> None:
        with pytest.raises((ValueError, TypeError), match="dev_error: got"):
            gp.diagnose_fit(0.1, value)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", [3000, 3001, 3002, 3003])
def test_families(seed: int) -> None:
    """A few recipes of the benchmark's unseen families: nearly everything right, nothing said of healthy runs."""
    with np.errstate(all="ignore"):
        found = [
            (run.truth, [symptom.tag for symptom in run.history.diagnose()])
            for run in runs(sweep(recipe(True, seed)), np.random.default_rng([77, seed]))
        ]
    wrong = [(truth, said) for truth, said in found if (truth not in said if truth else said)]
    assert len(wrong) <= 1, wrong
