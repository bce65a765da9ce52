"""Bad input to fit is refused before anything changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases.fitting import N_IN, M, assert_same, inputs, labels, network

import gradproof as gp

X, y = pytest.fixture(inputs, name="X"), pytest.fixture(labels, name="y")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nan in X": ({"X": np.full((M, N_IN), np.nan)}, r"X: X\[0, 0\] is nan, expected finite"),
    "columns": ({"X": np.zeros((M, 5))}, "X: got 5 features, expected 6"),
    "rows": ({"y": np.zeros(5, int)}, "y: got 5 targets"),
    "labels": ({"y": np.full(M, 3)}, r"y: y\[0\] is 3, expected labels from 0 to 2"),
    "epochs": ({"epochs": -1}, "epochs: got -1"),
    "epochs kind": ({"epochs": 2.5}, "epochs: got 2.5, expected a whole number"),
    "batch size": ({"batch_size": 0}, "batch_size: got 0"),
    "seed": ({"seed": -1}, "seed: got -1"),
    "optimizer": ({"optimizer": "adam"}, "optimizer: got 'adam', expected an optimizer such as"),
    "optimizer class": ({"optimizer": gp.Adam}, "optimizer: got the class Adam"),
    "schedule": ({"schedule": 0.5}, "schedule: got 0.5"),
    "schedule class": ({"schedule": gp.schedules.InverseTime}, "schedule: got <class"),
    "frozen kind": ({"frozen": 3}, "frozen: got 3, expected a list of names"),
    "frozen": ({"frozen": ("dense_7",)}, "frozen: got 'dense_7', expected .* dense_0.W"),
    "shuffle": ({"shuffle": 1}, "shuffle: got 1"),
    "augment": ({"augment": 3}, "augment: got 3, expected a function of .*, or a list of them"),
    "one of several": ({"augment": [gp.data.Noise(), 3]}, r"augment\[1\]: got 3, expected a function"),
    "a class": ({"augment": gp.data.Noise}, "augment: got <class .*Noise'>, expected a function"),
    "monitor": ({"monitor": "val_loss"}, "monitor: got 'val_loss', expected True or False"),
    "callbacks": ({"callbacks": [gp.callbacks.EarlyStopping]}, r"callbacks\[0\]: got the class EarlyStopping"),
    "callback": ({"callbacks": [print]}, r"callbacks\[0\]: got builtin"),
    "no list": ({"callbacks": 3}, "callbacks: got int"),
    "progress": ({"progress": "yes"}, "progress: got 'yes'"),
    "resume": ({"resume": 3}, "resume: got 3"),
    "weights": ({"sample_weight": np.ones(3)}, r"sample_weight: got shape \(3,\), expected one for each of the 83"),
    "negative weight": ({"sample_weight": -np.ones(M)}, r"sample_weight: sample_weight\[0\] is -1"),
    "no weight": ({"sample_weight": np.zeros(M)}, "sample_weight: got only zeros"),
    "weight nan": ({"sample_weight": np.full(M, np.nan)}, r"sample_weight: sample_weight\[0\] is nan"),
    "class weight": ({"class_weight": "even"}, "class_weight: got 'even', expected a dict"),
    "class": ({"class_weight": {3: 1.0}}, "class_weight: label: got 3"),
    "class weight value": ({"class_weight": {0: -1.0}}, r"class_weight\[0\]: got -1"),
    "weights far apart": (
        {"sample_weight": np.r_[1e300, 1e-300, np.ones(81)]},
        "sample_weight: the weight of row 1 van",
    ),
    "no class": ({"class_weight": {0: 0, 1: 0, 2: 0}}, "class_weight: with these weights no row counts"),
    "validation": ({"validation_data": np.zeros((4, N_IN))}, "validation_data: got ndarray, expected a tuple"),
    "three": ({"validation_data": (1, 2, 3)}, "validation_data: got a tuple of 3, expected"),
    "validation X": ({"validation_data": (np.full((2, 6), np.inf), [0, 1])}, r"validation_data: X: X\[0, 0\] is inf"),
    "validation y": ({"validation_data": (np.zeros((2, 6)), [0, 7])}, r"validation_data: y: y\[1\] is 7, expected"),
}


class TestBadInput:
    @pytest.mark.parametrize("name", list(WRONG))
    def test_it_is_refused_before_anything_changes(self, X: np.ndarray, y: np.ndarray, name: str):
        arguments, message = WRONG[name]
        model = network()
        before = model.copy()
        with pytest.raises((ValueError, TypeError), match=message):
            model.fit(**{"X": X, "y": y, "epochs": 1, **arguments})
        assert_same(model, before)

    def test_a_validation_label_that_training_never_shows(self, X: np.ndarray, y: np.ndarray):
        seen = np.where(y == 2, 0, y)
        with pytest.raises(ValueError, match=r"validation_data: y\[\d+\] is 2, a label that does not occur in the 83"):
            network().fit(X, seen, epochs=1, validation_data=(X, y))

    def test_a_weight_that_float32_cannot_hold_beside_the_others(self, X: np.ndarray, y: np.ndarray):
        weights = np.r_[1, 1e-60, np.ones(M - 2)]
        with pytest.raises(ValueError, match="sample_weight: the weight of row 1 vanishes beside the largest"):
            network().astype("float32").fit(X, y, epochs=1, sample_weight=weights)
        network().astype("float64").fit(X, y, epochs=1, sample_weight=weights)

    def test_class_weights_without_classes(self, X: np.ndarray):
        model = gp.Sequential([gp.Dense(1)], input_size=N_IN, loss="mse")
        with pytest.raises(ValueError, match="class_weight: the targets of this model .* are no classes"):
            model.fit(X, X[:, 0], class_weight="balanced", epochs=1)

    def test_a_mapped_array_of_the_wrong_shape(self, tmp_path: Path, y: np.ndarray):
        for shape, message in (((M,), r"got shape \(83,\)"), ((M, 5), "got 5 features"), ((0, N_IN), "no rows")):
            np.save(tmp_path / "X.npy", np.zeros(shape))
            if 0 not in shape:
                with pytest.raises(ValueError, match=message):
                    network().fit(np.load(tmp_path / "X.npy", mmap_mode="r"), y, epochs=1)
