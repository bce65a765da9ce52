"""What the command line is given: a model by name or file, data from a file or the digits."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof.cli_errors import InputError, described
from gradproof.data import load

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]

_TABLES: dict[str, Callable[[str], Any]] = {".npz": load.load_npz, ".csv": load.load_csv}  # with targets of their own


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


def load_function(module: str, function: str, spec: str) -> Callable[..., Any]:
    """A function of a module that can be imported from here."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with _told_of(spec):
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


@contextmanager
def _told_of(spec: str) -> Iterator[None]:
    """What the user's module raises becomes an error about the command line."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise InputError(f"MODEL: {spec!r} raised {described(error)}; --traceback shows where") from error


def _called(module: str, function: str, spec: str) -> tuple[Sequential, Array | None, Array | None]:
    from gradproof.nn.model import Sequential

    builder = load_function(module, function, spec)
    with _told_of(spec):
        built = builder()
    model, X, y = built if isinstance(built, tuple) and len(built) == 3 else (built, None, None)
    if not isinstance(model, Sequential):
        raise InputError(
            f"MODEL: {spec!r} gave {type(model).__name__}, expected a gradproof.Sequential or (model, X, y)"
        )
    return (model, None, None) if X is None and y is None else (model, *_samples(X, y, f"MODEL: {spec!r}"))


def load_data(path: str, labels: str | None, option: str = "--data") -> tuple[Array, Array]:
    """Inputs and targets from ``digits``, a .npz (X, y), a .npy with `labels`, or a .csv (targets last).

    `option` is named in errors.
    """
    if path == "digits":
        if labels is not None:
            raise InputError("--labels: not with the digits, which have labels of their own")
        return load.load_digits()
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        if labels is None:
            raise InputError(f"--labels: missing; the targets of {path!r} are in a .npy file of their own")
        X, y = (_read(source, load.load_npy, name) for source, name in ((option, path), ("--labels", labels)))
        return _samples(X, y, option)
    if suffix not in _TABLES:
        raise InputError(f"{option}: {path!r}, expected 'digits' or a file ending in .npz, .npy or .csv")
    if labels is not None:
        raise InputError(f"--labels: not with {path!r}, which holds its own targets")
    X, y = _read(option, _TABLES[suffix], path)
    return X, y


def _read(option: str, reader: Callable[[str], Any], path: str) -> Any:
    try:
        return reader(path)
    except (ValueError, TypeError) as error:
        raise InputError(f"{option}: {error}") from error
    except OSError as error:
        raise InputError(f"{option}: cannot read {path!r}: {error}") from error


def _samples(X: Any, y: Any, source: str) -> tuple[Array, Array]:
    try:
        return load.samples(X, y)
    except (ValueError, TypeError) as error:
        raise InputError(f"{source}: {error}") from error


def writable(option: str, path: str) -> None:
    """Whether a file can be written: to be known before the work, not after it."""
    if not path:
        raise InputError(f"{option}: got an empty name, expected a file")
    if os.path.isdir(path):
        raise InputError(f"{option}: {path!r} is a folder, expected a file")
    if os.path.exists(path) and not os.path.isfile(path):
        return  # /dev/stdout
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise InputError(f"{option}: {path!r}, but there is no folder {folder!r}")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{option}: {path!r}, but nothing can be written to {folder!r}")


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
