"""What the command line is given: a model by name or file, data from a file or the digits."""

from __future__ import annotations

import csv
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import numpy.typing as npt

from gradproof.cli_errors import InputError, described
from gradproof.nn import validate

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = npt.NDArray[Any]

_LARGEST_LABEL = 2.0**53  # up to here float64 holds every whole number


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
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InputError(f"MODEL: {spec!r} raised {described(error)}; --traceback shows where") from error
    model, X, y = built if isinstance(built, tuple) and len(built) == 3 else (built, None, None)
    if not isinstance(model, Sequential):
        raise InputError(
            f"MODEL: {spec!r} gave {type(model).__name__}, expected a gradproof.Sequential or (model, X, y)"
        )
    return (model, None, None) if X is None and y is None else (model, *_samples(X, y, f"MODEL: {spec!r}"))


def load_data(path: str, labels: str | None) -> tuple[Array, Array]:
    """Inputs and targets from ``digits``, a .npz (X, y), a .npy with `labels`, or a .csv (targets last)."""
    if path == "digits":
        if labels is not None:
            raise InputError("--labels: not with the digits, which have labels of their own")
        return digits()
    readers = {".npz": _npz, ".npy": _npy, ".csv": _csv}
    suffix = Path(path).suffix.lower()
    if suffix not in readers:
        raise InputError(f"--data: {path!r}, expected 'digits' or a file ending in {', '.join(readers)}")
    try:
        X, y = readers[suffix](path, labels)
    except InputError:
        raise
    except Exception as error:  # a damaged file makes NumPy raise whatever the format's layers raise
        raise _unreadable("--data", path, error) from error
    return _samples(X, y, "--data")


def _unreadable(option: str, path: str, error: Exception) -> InputError:
    reason = str(error) if isinstance(error, (OSError, ValueError)) else described(error)
    return InputError(f"{option}: cannot read {path!r}: {reason}")


def _samples(X: Any, y: Any, source: str) -> tuple[Array, Array]:
    """Arrays with as many rows as targets; their values are the model's business."""
    arrays = []
    for name, values in (("X", X), ("y", y)):
        try:
            arrays.append(validate.numeric(values, name))
        except (ValueError, TypeError) as error:
            raise InputError(f"{source}: {error}") from error
        if arrays[-1].ndim == 0:
            raise InputError(f"{source}: {name}: got a single number, expected an array with one row per sample")
    X, y = arrays
    if len(X) != len(y):
        raise InputError(f"{source}: {len(X)} rows of inputs, but {len(y)} targets")
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
    with open(path, "rb") as file:  # NumPy leaves a name that it cannot read open
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise ValueError("it holds a single array, expected X and y")
        if "X" not in arrays or "y" not in arrays:
            raise ValueError(f"it holds {', '.join(arrays) or 'nothing'}, expected X and y")
        return arrays["X"], arrays["y"]


def _npy(path: str, labels: str | None) -> tuple[Array, Array]:
    if labels is None:
        raise InputError(f"--labels: missing; the targets of {path!r} are in a .npy file of their own")
    X = _array(path)
    try:
        return X, _array(labels)
    except Exception as error:
        raise _unreadable("--labels", labels, error) from error


def _array(path: str) -> Array:
    with open(path, "rb") as file:
        array = np.load(file, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("it holds several arrays, expected one")
    return array


def _csv(path: str, labels: str | None) -> tuple[Array, Array]:
    """Numbers separated by commas, targets in the last column; a first line without any number is a header."""
    if labels is not None:
        raise InputError(f"--labels: not with {path!r}, whose last column holds the targets")
    table: list[list[float]] = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        for position, (number, cells) in enumerate(_lines(file)):
            if position == 0 and any(cells) and not any(map(_is_number, cells)):
                continue
            table.append([_number(cell, number, column) for column, cell in enumerate(cells, 1)])
            if len(cells) != len(table[0]):
                raise ValueError(f"line {number} has {len(cells)} columns, the first has {len(table[0])}")
    if not table or len(table[0]) < 2:
        raise ValueError("expected rows of at least one input and a target")
    values = np.array(table)
    y = values[:, -1]
    whole = np.all(np.abs(y) <= _LARGEST_LABEL) and np.all(y == np.round(y))
    return values[:, :-1], y.astype(np.int64) if whole else y


def _lines(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty, as cells without surrounding space, with their numbers."""
    reader = csv.reader(file)
    try:
        for line in reader:
            if line:
                yield reader.line_num, [cell.strip() for cell in line]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _number(cell: str, line: int, column: int) -> float:
    if not _is_number(cell):
        text = f"{cell[:40]!r} is not a number" if cell else "empty, expected a number"
        raise ValueError(f"line {line}, column {column}: {text}")
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
