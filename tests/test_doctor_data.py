"""What the doctor says of inputs and targets: their size, leaks, copies, odd numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases.training_setup import Setup, clear_rule

import gradproof as gp


@pytest.fixture
def healthy() -> Setup:
    return clear_rule()


def test_unnormalized_inputs_are_the_cause_of_what_follows(healthy: Setup) -> None:
    for change in (lambda X: 1000 * X, lambda X: X + 100.0, lambda X: X * np.geomspace(1e-3, 1e3, 6)):
        sick = replace(healthy, X=change(healthy.X), Xv=change(healthy.Xv), optimizer=gp.SGD(0.1))
        found = sick.fit().diagnose()
        assert [symptom.tag for symptom in found] == ["unnormalized_inputs"]
        assert gp.diagnose(sick.model(), sick.X, sick.y)[0].tag == "unnormalized_inputs"


def test_inputs_that_hardly_vary_around_their_means(healthy: Setup) -> None:
    small = replace(healthy, X=0.06 + 0.02 * healthy.X, Xv=0.06 + 0.02 * healthy.Xv)
    assert replace(small, optimizer=gp.SGD(0.1)).tags() == ["unnormalized_inputs"]
    history = replace(small, optimizer=gp.Adam(1e-2), hidden=(gp.Dense(128), gp.ReLU()), epochs=100).fit()
    assert history["val_accuracy"][-1] > 0.8 and history.diagnose() == []  # which gets over it


def test_features_that_are_lost_beside_others_in_a_run_that_fails(rng: np.random.Generator) -> None:
    """Of two features one is 20 times as large as the other, which knows as much; small sizes are no matter if not."""
    X = rng.uniform(-1, 1, (700, 2))
    y = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).astype(int)
    model = gp.Sequential([gp.Dense(16), gp.ReLU(), gp.Dense(2, 0.1)], 2, "softmax_cross_entropy", seed=1)

    def tags(X: np.ndarray, y: np.ndarray, rate: float = 3e-2) -> list[str]:
        validation = X[400:], y[400:]
        net = model.copy()
        history = net.fit(
            X[:400], y[:400], optimizer=gp.SGD(rate), epochs=40, validation_data=validation, progress=False
        )
        return [symptom.tag for symptom in history.diagnose()]

    uneven = X * [0.6, 0.03]
    assert tags(uneven, y) == ["unnormalized_inputs"]
    assert "unnormalized_inputs" not in tags(uneven, (uneven[:, 0] > 0.2).astype(int), 1e-4)  # fails for its rate


def test_what_the_cause_does_not_explain_is_said_after_it(healthy: Setup) -> None:
    leaked = [np.column_stack([100 * X, 100 * y]) for X, y in ((healthy.X, healthy.y), (healthy.Xv, healthy.yv))]
    sick = replace(healthy, X=leaked[0], Xv=leaked[1], optimizer=gp.SGD(0.1))
    assert sick.tags() == ["unnormalized_inputs", "label_leakage"]


def test_identical_inputs(healthy: Setup) -> None:
    same = replace(healthy, X=np.repeat(healthy.X[:1], 400, axis=0))
    assert same.tags() == ["identical_inputs"]
    assert [symptom.tag for symptom in gp.diagnose(same.model(), same.X, same.y)] == ["identical_inputs"]


@pytest.mark.parametrize(("scale", "tags"), [(1, []), (16, []), (255, ["unnormalized_inputs"])])
def test_digits_of_any_size_are_judged_by_what_it_does(scale: float, tags: list[str]) -> None:
    X, y = gp.data.load_digits()
    X = scale * X
    model = gp.Sequential([gp.Dense(32), gp.ReLU(), gp.Dense(10, "xavier")], 64, "softmax_cross_entropy")
    validation = X[800:1100], y[800:1100]
    history = model.fit(X[:800], y[:800], epochs=15, batch_size=32, validation_data=validation, progress=False)
    assert [symptom.tag for symptom in history.diagnose()] == tags  # 16: six times the loss at first, 95 % at last


def test_targets_that_few_validation_rows_do_not_confirm_are_random(healthy: Setup) -> None:
    shuffled = np.random.default_rng(0).permutation(healthy.y)
    sick = replace(healthy, y=shuffled, hidden=(gp.Dense(128), gp.ReLU()), epochs=100)
    for rows, tags in ((40, ["random_labels"]), (200, ["overfitting"])):
        history = replace(sick, Xv=healthy.Xv[:rows], yv=healthy.yv[:rows]).fit()
        history["val_accuracy"][-10:] = [history.settings["facts"]["targets"]["chance"] + 0.1] * 10
        assert [symptom.tag for symptom in history.diagnose()] == tags


def test_label_leakage(healthy: Setup) -> None:
    rng = np.random.default_rng(0)
    y = healthy.y + 0.02 * rng.normal(size=400), healthy.yv + 0.02 * rng.normal(size=200)
    leaky = replace(healthy, X=np.insert(healthy.X, 2, y[0], axis=1), Xv=np.insert(healthy.Xv, 2, y[1], axis=1))
    (symptom,) = leaky.fit().diagnose()
    assert symptom.tag == "label_leakage" and symptom.evidence["feature"] == 2
    shared = replace(healthy, Xv=healthy.X[:100], yv=healthy.y[:100])
    (symptom,) = shared.fit().diagnose()
    assert symptom.tag == "label_leakage" and symptom.evidence["shared_rows"] == 1.0


def test_values_copied_to_the_last_digit_are_a_leak_whatever_else_is_known(rng: np.random.Generator) -> None:
    X = rng.normal(size=(400, 4))
    y = X @ [1.0, -2.0, 0.5, 1.0]
    leaky = np.column_stack([X, y])
    tags = [symptom.tag for symptom in gp.diagnose(gp.Sequential([gp.Dense(1, 0.01)], 5, "mse"), leaky, y)]
    assert tags == ["label_leakage"]
    both = np.column_stack([y, X[:, 0] + X[:, 1] ** 2])  # one of two outputs may well be an input
    assert gp.diagnose(gp.Sequential([gp.Dense(2, 0.01)], 5, "mse"), leaky, both) == []


def test_a_close_copy_is_a_leak_though_the_other_inputs_know_all_but_the_noise(rng: np.random.Generator) -> None:
    X = rng.normal(size=(600, 4))
    y = X @ [1.0, -2.0, 0.5, 1.0] + 0.4 * rng.normal(size=600)  # a line knows 97 % of it
    other = X[:, 0] ** 2 + rng.normal(size=600)  # a second output, that hardly anything is known of
    for targets in (y, np.column_stack([y, other])):
        model = gp.Sequential([gp.Dense(targets.ndim, 0.01)], 5, "mse")
        for leak, tags in ((y + 0.01 * rng.normal(size=600), ["label_leakage"]), (X[:, 1], [])):
            found = gp.diagnose(model, np.column_stack([X, leak]), targets)
            assert [symptom.tag for symptom in found] == tags


def test_what_is_known_beside_a_leak_is_asked_of_the_output_that_it_tells(rng: np.random.Generator) -> None:
    X = rng.normal(size=(600, 4))
    y = X @ [1.0, -2.0, 0.5, 1.0]  # which a line knows
    both = np.column_stack([y, rng.normal(size=600)])
    near = np.column_stack([X, y + 0.01 * rng.normal(size=600)])
    assert gp.diagnose(gp.Sequential([gp.Dense(2, 0.01)], 5, "mse"), near, both) == []


def test_classes_copied_to_the_last_digit_are_a_leak_whatever_else_is_known(rng: np.random.Generator) -> None:
    y = rng.integers(0, 2, 400)
    X = rng.normal(size=(400, 4)) + 4.0 * y[:, None] * [0, 1, 1, 1]  # which a line tells apart
    for leak, tags in ((y, ["label_leakage"]), (y + 1e-3 * rng.normal(size=400), [])):
        leaky = np.column_stack([X, 2.0 * leak - 1])
        for model in (
            gp.Sequential([gp.Dense(2)], 5, "softmax_cross_entropy"),
            gp.Sequential([gp.Dense(1)], 5, "binary_cross_entropy"),
        ):
            found = gp.diagnose(model, leaky, y if model.output_size == 2 else y.astype(float))
            assert [symptom.tag for symptom in found] == tags


def test_a_leak_is_named_before_what_it_makes_of_the_run(healthy: Setup) -> None:
    y = healthy.y + 0.02 * np.random.default_rng(0).normal(size=400)
    slow = replace(healthy, X=np.column_stack([healthy.X, y]), optimizer=gp.Adam(1e-5))
    found = slow.fit(validation_data=None).diagnose()
    assert [symptom.tag for symptom in found] == ["label_leakage", "learning_rate_too_low"]


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
        m = 7 * len(X) // 10
        found = gp.diagnose(model, X[:m], y[:m], validation_data=(X[m:], y[m:]))
        return [symptom.tag for symptom in found]

    assert tags(np.eye(8)[rng.integers(0, 8, (800, 3))].reshape(800, 24)) == []  # 512 different rows
    assert tags(rng.integers(0, 3, (800, 5)) - 1.0) == []  # 243
    assert tags(np.eye(4)[rng.integers(0, 4, (1600, 4))].reshape(1600, 16)) == []  # 256: all of them repeat
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
