"""Whatever comes as an argument, the error names it, is short, and leaves everything as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof._messages import shown

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 4)), RNG.integers(0, 3, 12)
VAST = 10**5000  # more digits than Python turns into text


class Broken:
    """Neither shown nor turned into an array."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise RuntimeError("no array")


NEVER: dict[str, Any] = {
    "complex": 1j,
    "bytes": b"x",
    "vast": VAST,
    "negative vast": -VAST,
    "object": object(),
    "broken": Broken(),
    "ellipsis": ...,
    "slice": slice(3),
    "text array": np.array("a"),
    "objects": np.array([1, "a"], object),
    "records": np.zeros(3, [("a", int)]),
    "masked": np.ma.masked_array([1.0, 2.0], [True, False]),
    "date": np.datetime64("2020"),
    "complex array": np.array([1 + 2j]),
    "long list": [1] * 100_000,
    "0-d": np.array(1),
}
"""What no argument below takes."""


def model() -> gp.Sequential:
    return gp.Sequential([gp.Dense(5), gp.BatchNorm(), gp.ReLU(), gp.Dense(3)], 4, "softmax_cross_entropy", seed=0)


def fitted(**options: Any) -> Any:
    trained = model()
    before = trained.theta.copy()
    try:
        trained.fit(**{"X": X, "y": Y, "epochs": 1, "progress": False} | options)
    finally:
        assert (trained.theta == before).all()


def stepped(**options: Any) -> Any:
    trained, rule = model(), gp.Adam()
    before = trained.theta.copy()
    try:
        trained.step(**{"x": X, "y": Y, "optimizer": rule, "state": rule.init(before)} | options)
    finally:
        assert (trained.theta == before).all()


def updated(**options: Any) -> Any:
    rule = gp.Adam()
    rule.update(**{"theta": np.zeros(3), "gradient": np.ones(3), "state": rule.init(np.zeros(3))} | options)


def assigned(**options: Any) -> None:
    for name, value in options.items():
        setattr(model(), name, value)


CALLS: dict[str, tuple[Callable[..., Any], str]] = {
    "fit": (
        fitted,
        "X y optimizer schedule epochs batch_size validation_data callbacks progress seed sample_weight class_weight "
        "frozen shuffle augment monitor score resume",
    ),
    "step": (stepped, "x y optimizer state learning_rate rows"),
    "update": (updated, "theta gradient state learning_rate decayed frozen"),
    "set": (assigned, "theta l1 l2"),
    "loss": (lambda **options: model().loss(**{"X": X, "y": Y} | options), "X y training parts rows"),
    "Sequential": (
        lambda **options: gp.Sequential(**{"layers": [gp.Dense(3)], "input_size": 4, "loss": "mse"} | options),
        "layers input_size loss l1 l2 dtype seed",
    ),
    "Dense": (lambda **options: gp.Dense(**{"units": 3} | options), "units init bias"),
    "Adam": (gp.Adam, "learning_rate weight_decay clip_norm beta1 beta2 epsilon"),
    "Staircase": (gp.schedules.Staircase, "factor every"),
    "WarmUp": (lambda **options: gp.schedules.WarmUp(**{"epochs": 3} | options), "epochs then start"),
    "Manual": (gp.schedules.Manual, "rates"),
    "EWA": (lambda **options: gp.averages.EWA(**{"beta": 0.9} | options), "beta bias_correction"),
    "diagnose_fit": (
        lambda **options: gp.diagnose_fit(**{"train_error": 0.1, "dev_error": 0.2} | options),
        "train_error dev_error baseline test_error dev_rows",
    ),
    "split": (lambda **options: gp.data.split(**{"X": X, "y": Y} | options), "sizes stratify shuffle seed"),
    "batches": (
        lambda **options: gp.data.batches(**{"X": X} | options),
        "batch_size seed epoch shuffle drop_last",
    ),
    "augment": (
        lambda **options: gp.data.augment(**{"X": X, "y": Y, "changes": gp.data.Noise()} | options),
        "X y changes copies seed",
    ),
    "Flip": (lambda **options: gp.data.Flip(**{"image_shape": (2, 2)} | options), "image_shape axis probability"),
    "load_npz": (lambda **options: gp.data.load_npz(**{"path": "missing"} | options), "X y"),
    "find_learning_rate": (
        lambda **options: gp.find_learning_rate(**{"model": model(), "X": X, "y": Y} | options),
        "model X y optimizer lowest highest steps batch_size smoothing seed",
    ),
    "EarlyStopping": (gp.callbacks.EarlyStopping, "monitor patience min_delta restore_best"),
    "inverse_transform": (lambda **options: gp.data.Normalizer().fit(X).inverse_transform(**options), "Z"),
}


def cases() -> Iterator[Any]:
    for name, (call, arguments) in CALLS.items():
        for argument in arguments.split():
            yield pytest.param(call, argument, id=f"{name}-{argument}")


@pytest.mark.parametrize(("call", "argument"), list(cases()))
def test_the_error_names_the_argument(call: Callable[..., Any], argument: str) -> None:
    for what, value in NEVER.items():
        with pytest.raises((ValueError, TypeError)) as caught:
            call(**{argument: value})
        named = str(caught.value)
        if not (argument == "theta" and call is updated):  # another length is told of the gradient
            assert argument in named, (what, named)
        assert len(named) < 1000, what


PATHS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "load": (gp.load, "path"),
    "save": (lambda path: model().save(path), "path"),
    "load_idx": (gp.data.load_idx, "path"),
    "load_csv": (gp.data.load_csv, "path"),
    "load_npy": (gp.data.load_npy, "path"),
    "load_npz": (gp.data.load_npz, "path"),
    "load_cifar10": (gp.data.load_cifar10, "folder"),
    "resume": (lambda path: fitted(resume=path), "resume"),
    "Checkpoint": (gp.callbacks.Checkpoint, "path"),
    "CSVLogger": (gp.callbacks.CSVLogger, "path"),
    "JSONLogger": (gp.callbacks.JSONLogger, "path"),
    "from_json": (gp.History.from_json, "source"),
}


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("path", [0, 5, -1, True, 1.5, b"x", [], "", "a\0b", "\ud800"], ids=repr)
def test_what_is_no_path_is_refused(name: str, path: Any) -> None:
    """A number is none: ``open`` would read, and close, whatever file is open under it."""
    call, argument = PATHS[name]
    with pytest.raises((ValueError, TypeError), match=f"{argument}: got "):
        call(path)


class TestShown:
    def test_short_values_are_their_repr(self) -> None:
        for value in (1, "a", None, [1, 2], np.arange(3)):
            assert shown(value) == repr(value)

    def test_long_ones_are_cut(self) -> None:
        text = shown("a" * 10_000 + "b")
        assert len(text) < 200 and text.startswith("'aaa") and text.endswith("ab'") and " ... " in text

    def test_what_cannot_be_shown(self) -> None:
        assert shown(VAST) == f"a whole number of {VAST.bit_length()} bits"
        assert shown(Broken()) == "an object of the class Broken, whose repr fails"


def test_numbers_of_a_schedule_are_plain() -> None:
    """With a float32 of NumPy, the rates would be rounded to float32."""
    schedule = gp.schedules.InverseTime(np.float32(0.1))
    assert type(schedule.decay_rate) is float and type(schedule(3)) is float
    assert schedule(3) == 1 / (1 + float(np.float32(0.1)) * 3)
    assert repr(gp.schedules.Exponential(base=10)) == "Exponential(base=10)"


def test_a_numpy_flag_stratifies_as_the_python_one() -> None:
    labels = np.repeat([0, 1], [9, 3])
    for flag in (True, False):
        for part, other in zip(
            gp.data.split(X, labels, (50, 50), stratify=flag),
            gp.data.split(X, labels, (50, 50), stratify=np.bool_(flag)),  # type: ignore[arg-type]
            strict=True,
        ):
            assert (part[0] == other[0]).all()
