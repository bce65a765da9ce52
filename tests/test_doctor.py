"""Each symptom on a clear case and on its healthy twin; the table over families of runs is a benchmark."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases.training_runs import recipe, sweep
from cases.training_setup import SICK, Setup, clear_rule
from cases.training_sick import runs

import gradproof as gp
from gradproof.train.doctor.causes import Finding, causes
from gradproof.train.history import History


@pytest.fixture
def healthy() -> Setup:
    return clear_rule()


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


@pytest.mark.parametrize("tag", SICK)
def test_each_symptom_is_said_alone(healthy: Setup, tag: str) -> None:
    assert replace(healthy, **SICK[tag]).tags() == [tag]


def test_divergence_is_said_with_its_cause(healthy: Setup) -> None:
    found = replace(healthy, optimizer=gp.SGD(1e6)).fit().diagnose()
    assert [symptom.tag for symptom in found] == ["learning_rate_too_high", "diverged"]
    assert "epoch 0" in found[1].message


def test_oscillation(healthy: Setup) -> None:
    calm = replace(healthy, optimizer=gp.SGD(0.5), batch=400, epochs=80)
    assert calm.tags() == []
    assert replace(calm, optimizer=gp.SGD(2.0)).tags() == ["learning_rate_too_high", "oscillating_loss"]


def test_swings_of_a_run_that_learns_and_unlearns(healthy: Setup) -> None:
    history = replace(healthy, batch=16).fit()
    constant = history.settings["facts"]["targets"]["constant_loss"]
    for high, tags in ((0.05, []), (0.13, ["oscillating_loss"])):  # from next to nothing, every other epoch
        history["data_loss"][-12:] = [constant * level for level in (high, 0.02) * 6]
        assert [symptom.tag for symptom in history.diagnose()] == tags
    history["data_loss"][-12:] = [constant * level for level in (*[0.02] * 6, 0.6, *[0.02] * 5)]  # once
    assert history.diagnose() == []
    history["data_loss"][-12:] = [constant * level for level in (0.0, 0.0, 0.9) * 4]  # from nothing at all
    assert "oscillating_loss" in [symptom.tag for symptom in history.diagnose()]


def test_swings_count_for_more_when_a_simple_method_knows_more(healthy: Setup) -> None:
    history = replace(healthy, batch=16).fit()
    assert history.diagnose() == []
    learned = history["accuracy"][:]
    targets = history.settings["facts"]["targets"]
    constant, score = targets["constant_loss"], 0.65 + 0.35 * targets["chance"]
    history["data_loss"][-12:] = [constant * level for level in (0.15, 0.185) * 6]  # up by 1.75 % an epoch
    assert history.diagnose() == []
    history["accuracy"][-12:] = history["val_accuracy"][-12:] = [score] * 12  # a simple method reaches 0.77
    assert [symptom.tag for symptom in history.diagnose()] == ["oscillating_loss"]
    history["val_accuracy"][-6] = learned[-1]  # it knew as much, and a swing undid it
    assert history.diagnose() == []
    history["accuracy"][:] = history["val_accuracy"][:] = learned
    history["data_loss"][-12:] = [constant * 0.02] * 12
    assert history.diagnose() == []
    history["data_loss"][-9] = 2 * constant  # one wave, twice as high as all there was to learn
    assert "oscillating_loss" in [symptom.tag for symptom in history.diagnose()]


@pytest.mark.parametrize(
    ("levels", "tags"),
    [
        ((0.20, 0.25) * 6, ["oscillating_loss"]),  # up by 2.5 % of all there was to learn, per epoch
        ((0.04, 0.09) * 6, []),  # alike, around a small loss
        ((0.40, 0.45) * 6, []),  # or a small part of the loss: what dropout makes of it
        ((*[0.20] * 9, 0.50, 0.20, 0.20), []),  # or once
    ],
)
def test_swings_harm_a_run_that_has_much_to_learn_left(
    healthy: Setup, levels: tuple[float, ...], tags: list[str]
) -> None:
    history = replace(healthy, batch=16).fit()
    constant = history.settings["facts"]["targets"]["constant_loss"]
    history["data_loss"][-12:] = [constant * level for level in levels]
    assert [symptom.tag for symptom in history.diagnose()] == tags


def _rewritten(history: History, losses: Any, score: float, ratio: float) -> History:
    """Another run's curves, with the facts of this one."""
    constant = history.settings["facts"]["targets"]["constant_loss"]
    history["data_loss"][:] = [float(constant * loss) for loss in losses]
    for name in ("accuracy", "val_accuracy"):
        history[name][:] = [score] * len(history)
    for values in history["update_ratio"].values():
        values[:] = [ratio] * len(history)
    return history


@pytest.mark.parametrize(
    ("ends", "ratio", "tags"),
    [
        ((1.0, 0.5), 5e-3, ["learning_rate_too_low"]),  # straight down, and not there yet
        ((0.8, 0.7), 5e-3, ["plateau"]),
        ((0.9, 0.7), 4e-4, ["learning_rate_too_low"]),  # hardly, with updates that small
        ((0.9, 0.7), 2e-3, []),
        ((0.9, 0.7), 0.05, []),  # large updates of a loss that falls
        ((0.8, 0.79), 0.05, ["learning_rate_too_high"]),
        ((1.4, 1.2), 0.05, ["learning_rate_too_high"]),
    ],
)
def test_how_steep_a_loss_still_falls(healthy: Setup, ends: tuple[float, float], ratio: float, tags: list[str]) -> None:
    history = _rewritten(replace(healthy, epochs=100).fit(), np.linspace(*ends, 100), 0.45, ratio)
    assert [symptom.tag for symptom in history.diagnose()] == tags


def test_a_loss_that_the_first_steps_threw_up_had_too_high_a_rate(healthy: Setup) -> None:
    history = _rewritten(replace(healthy, epochs=100).fit(), np.linspace(0.5, 0.49, 100), 0.45, 5e-3)
    assert [symptom.tag for symptom in history.diagnose()] == ["plateau"]
    history["data_loss"][0] = 50.0
    assert [symptom.tag for symptom in history.diagnose()] == ["learning_rate_too_high"]


def test_a_flat_loss_that_larger_steps_win_on_at_once_is_slow(healthy: Setup) -> None:
    history = _rewritten(replace(healthy, epochs=100).fit(), np.linspace(0.8, 0.75, 100), 0.45, 5e-3)
    assert [symptom.tag for symptom in history.diagnose()] == ["plateau"]
    probe = history.settings["final"]["probe"]
    probe["after"]["100"] = probe["before"] - 0.1
    assert [symptom.tag for symptom in history.diagnose()] == ["learning_rate_too_low"]


def test_a_short_way_is_slow_if_the_loss_still_falls_though_no_simple_method_does_better() -> None:
    rng = np.random.default_rng(11)
    X = rng.normal(size=(1500, 10))
    y = (X @ rng.normal(size=10) / 2 + rng.logistic(size=1500) > 0).astype(float)  # most of it is noise
    model = gp.Sequential([gp.Dense(512), gp.ReLU(), gp.Dense(1, "xavier")], 10, "binary_cross_entropy", seed=3)
    history = model.fit(X, y, optimizer=gp.Adam(7e-4), epochs=3, batch_size=32, progress=False)
    assert history.diagnose() == []  # as far as one can get, and soon
    constant = history.settings["facts"]["targets"]["constant_loss"]
    history["data_loss"][:] = [constant * level for level in (0.95, 0.85, 0.7)]
    assert [symptom.tag for symptom in history.diagnose()] == ["learning_rate_too_low"]


def test_a_loss_that_falls_for_the_rows_of_training_only_is_not_slow() -> None:
    rng = np.random.default_rng(11)
    X = rng.normal(size=(1500, 10))
    y = X @ rng.normal(size=10) / 2 + 1.2 * rng.normal(size=1500)
    model = gp.Sequential([gp.Dense(512), gp.ReLU(), gp.Dense(1, "xavier")], 10, "mse", seed=3)
    history = model.fit(
        *(X[:1000], y[:1000]),
        optimizer=gp.Adam(1e-4),
        epochs=6,
        batch_size=32,
        validation_data=(X[1000:], y[1000:]),
        progress=False,
    )
    constant = history.settings["facts"]["targets"]["constant_loss"]
    history["data_loss"][:] = [constant * level for level in (0.95, 0.9, 0.85, 0.8, 0.75, 0.7)]
    for last, tags in ((0.6, ["learning_rate_too_low"]), (0.75, [])):
        history["val_loss"][:] = [constant * level for level in (0.95, 0.9, 0.85, *np.linspace(0.75, last, 3))]
        assert [symptom.tag for symptom in history.diagnose()] == tags


def test_few_steps_are_named_as_such(healthy: Setup) -> None:
    (symptom,) = replace(healthy, batch=400, optimizer=gp.Adam(1e-3)).fit().diagnose()
    assert symptom.tag == "learning_rate_too_low" and symptom.evidence["steps"] == 20
    assert "batch_size=32 makes 13 of an epoch instead of 1" in symptom.advice


def test_a_few_steps_are_no_plateau(healthy: Setup) -> None:
    for epochs, level, tags in ((6, 0.4, []), (6, 0.8, ["plateau"]), (30, 0.4, ["plateau"])):
        curve = np.linspace(level, level - 0.01, epochs)
        history = _rewritten(replace(healthy, epochs=epochs).fit(), curve, 0.45, 8e-3)
        probe = history.settings["final"]["probe"]
        probe["after"] = dict.fromkeys(probe["after"], probe["before"])
        assert [symptom.tag for symptom in history.diagnose()] == tags


@pytest.mark.parametrize("activation", [gp.Tanh(), gp.ReLU()])
def test_a_rate_that_is_gone_is_named_before_what_was_left_as_it_was(healthy: Setup, activation: Any) -> None:
    decays = {"schedule": gp.schedules.Exponential(0.03), "hidden": (gp.Dense(32), activation)}
    history = replace(healthy, **decays, optimizer=gp.Adam(1e-3)).fit()
    assert [symptom.tag for symptom in history.diagnose()] == ["plateau"]
    for layer in history.settings["final"]["end"]["layers"].values():
        layer |= {"saturated_share": 0.9, "dead_share": 0.9}
    assert [symptom.tag for symptom in history.diagnose()] == ["plateau"]


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.06])
def test_weights_that_a_line_has_no_use_for_do_not_blame_the_rate(rate: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 4))
    y = (np.sum((X[:, :2] - X[:, 2:]) ** 2, axis=1) < 3).astype(float)  # whether two points are near each other
    model = gp.Sequential([gp.Dense(1)], 4, "binary_cross_entropy")
    history = model.fit(X, y, optimizer=gp.Adam(rate), epochs=40, batch_size=32, progress=False)
    assert [symptom.tag for symptom in history.diagnose()] == ["underfitting"]


def test_a_penalty_that_holds_large_weights(healthy: Setup) -> None:
    held = replace(healthy, hidden=(gp.Dense(32, "xavier"), gp.Tanh()), l2=15.0, optimizer=gp.Adam(0.2), epochs=40)
    assert held.tags() == ["over_regularized"]


def test_overfitting_and_random_labels(healthy: Setup) -> None:
    rng = np.random.default_rng(0)
    y = healthy.y.copy()
    wrong = rng.random(400) < 0.2
    y[wrong] = rng.permutation(y[wrong])
    few = replace(healthy, X=healthy.X[:60], y=y[:60], hidden=(gp.Dense(128), gp.ReLU()), epochs=120, batch=16)
    assert few.tags() == ["overfitting"]
    shuffled = replace(healthy, y=rng.permutation(healthy.y), hidden=(gp.Dense(128), gp.ReLU()), epochs=120)
    assert shuffled.tags() == ["random_labels"]


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


def test_a_gap_to_worse_than_nothing_is_beyond_chance_with_few_rows(healthy: Setup) -> None:
    few = replace(healthy, Xv=healthy.Xv[:16], yv=healthy.yv[:16], loss="mse", epochs=40)
    history = few.fit()
    history["r2"][:], history["data_loss"][-20:] = [1.0] * 40, [1e-3] * 20
    history["val_r2"][-20:], history["val_loss"][-20:] = [-0.45] * 20, [3.0] * 20
    assert [symptom.tag for symptom in history.diagnose()] == ["overfitting"]


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


def test_causes_come_first_and_explain() -> None:
    def finding(tag: str, acquired: bool = False) -> Finding:
        return Finding(gp.Symptom(tag, None, tag), acquired)

    def said(*findings: Finding) -> list[str]:
        return [symptom.tag for symptom in causes(findings)]

    assert said(finding("plateau"), finding("diverged"), finding("unnormalized_inputs")) == ["unnormalized_inputs"]
    assert said(finding("dead_relu", True), finding("learning_rate_too_high")) == ["learning_rate_too_high"]
    assert said(finding("dead_relu"), finding("learning_rate_too_high")) == ["dead_relu"]
    assert said(finding("over_regularized"), finding("bad_initial_loss")) == ["bad_initial_loss"]
    assert said(finding("over_regularized"), finding("exploding_gradient")) == ["exploding_gradient"]
    assert said(finding("overfitting"), finding("label_leakage")) == ["label_leakage", "overfitting"]


@pytest.mark.campaign
@pytest.mark.parametrize("seed", [3000, 3001, 3002, 3003])
def test_families(seed: int) -> None:
    """A few recipes of the families for tuning (a test does not look at the others): nearly everything right."""
    with np.errstate(all="ignore"):
        found = [
            (run.truth, [symptom.tag for symptom in run.history.diagnose()])
            for run in runs(sweep(recipe(False, seed)), np.random.default_rng([77, seed]))
        ]
    wrong = [(truth, said) for truth, said in found if (truth not in said if truth else said)]
    assert len(wrong) <= 1, wrong
