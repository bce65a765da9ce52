"""What the command line is given: a model by name or file, data from a file or the digits."""

from __future__ import annotations

import csv
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = npt.NDArray[Any]


class InputError(Exception):
    """Something about the command line's input; its text names the argument."""


def load_model(spec: str) -> tuple[Sequential, Array | None, Array | None]:
    """The model named by ``module:function`` or by a file, and the data if the function gives some."""
    module, colon, function = spec.partition(":")
    if colon and not Path(spec).exists():
        return _called(module, function, spec)
    from gradproof.nn.serialize import load

    if not Path(spec).is_file():
        raise InputError(f"MODEL: {spec!r} is neither module:function nor a file")
    try:
        return load(spec), None, None
    except (OSError, ValueError) as error:
        raise InputError(f"MODEL: {error}") from error


def _called(module: str, function: str, spec: str) -> tuple[Sequential, Array | None, Array | None]:
    from gradproof.nn.model import Sequential

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        builder = getattr(importlib.import_module(module), function)
        built = builder()
    except Exception as error:
        raise InputError(f"MODEL: {spec!r} raised {type(error).__name__}: {error}; --traceback shows where") from error
    model, X, y = built if isinstance(built, tuple) and len(built) == 3 else (built, None, None)
    if not isinstance(model, Sequential):
        raise InputError(
            f"MODEL: {spec!r} gave {type(model).__name__}, expected a gradproof.Sequential or (model, X, y)"
        )
    return model, X, y


def load_data(path: str, labels: str | None) -> tuple[Array, Array]:
    """Inputs and targets from ``digits``, a .npz (X, y), a .npy with `labels`, or a .csv (targets last)."""
    if path == "digits":
        return digits()
    readers = {".npz": _npz, ".npy": _npy, ".csv": _csv}
    suffix = Path(path).suffix.lower()
    if suffix not in readers:
        raise InputError(f"--data: {path!r}, expected 'digits' or a file ending in {', '.join(readers)}")
    try:
        X, y = readers[suffix](path, labels)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"--data: cannot read {path!r}: {error}") from error
    if len(X) != len(y):
        raise InputError(f"--data: {len(X)} rows of inputs, but {len(y)} targets")
    return X, y


def digits() -> tuple[Array, Array]:
    """The 1,797 images of scikit-learn's digits, 8 x 8 pixels with values from 0 to 16, divided by 16."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError("--data: the digits come with scikit-learn: pip install gradproof[demo]") from error
    X, y = load_digits(return_X_y=True)
    return X / 16.0, y


def rows(X: Array, y: Array, count: int, seed: int) -> tuple[Array, Array]:
    """`count` rows drawn at random, in their order in the file; all of them if `count` is 0 or too large."""
    if count == 0 or count >= len(X):
        return X, y
    chosen = np.sort(np.random.default_rng(seed).choice(len(X), count, replace=False))
    return X[chosen], y[chosen]


def demo_model() -> Sequential:
    """The network of the main job: every kind of layer that is easy to get wrong, on 64 pixels and 10 digits."""
    from gradproof.nn.layers import BatchNorm, Dense, Dropout, ReLU, Tanh
    from gradproof.nn.model import Sequential

    layers = [Dense(64), BatchNorm(), ReLU(), Dropout(keep_prob=0.8), Dense(32), Tanh(), Dense(10)]
    return Sequential(layers, input_size=64, loss="softmax_cross_entropy", l2=1e-3, dtype="float32", seed=0)


def _npz(path: str, labels: str | None) -> tuple[Array, Array]:
    if labels is not None:
        raise InputError(f"--labels: not with {path!r}, which holds its own targets")
    with np.load(path, allow_pickle=False) as arrays:
        if "X" not in arrays or "y" not in arrays:
            raise ValueError(f"it holds {', '.join(arrays) or 'nothing'}, expected X and y")
        return arrays["X"], arrays["y"]


def _npy(path: str, labels: str | None) -> tuple[Array, Array]:
    if labels is None:
        raise InputError(f"--labels: missing; the targets of {path!r} are in a .npy file of their own")
    X = np.load(path, allow_pickle=False)
    try:
        return X, np.load(labels, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"--labels: cannot read {labels!r}: {error}") from error


def _csv(path: str, labels: str | None) -> tuple[Array, Array]:
    """Numbers separated by commas, targets in the last column; a first line that is not numbers is a header."""
    if labels is not None:
        raise InputError(f"--labels: not with {path!r}, whose last column holds the targets")
    table: list[list[float]] = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        for number, line in enumerate(csv.reader(file), 1):
            if not line:
                continue
            try:
                table.append([float(cell) for cell in line])
            except ValueError as error:
                if number > 1:
                    raise ValueError(f"line {number}: {error}") from error
                continue
            if len(line) != len(table[0]):
                raise ValueError(f"line {number} has {len(line)} columns, the first has {len(table[0])}")
    if not table or len(table[0]) < 2:
        raise ValueError("expected rows of at least one input and a target")
    values = np.array(table)
    y = values[:, -1]
    whole = np.isfinite(y).all() and (y == np.round(y)).all()
    return values[:, :-1], y.astype(np.int64) if whole else y
