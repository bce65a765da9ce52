"""Models on disk: one safetensors file, a tensor per parameter and buffer, the architecture as JSON in its header.

Reading a file never runs code from it and never believes it: the architecture is held against the tensors that are
really there before anything is allocated. A checksum in the header tells damage.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradproof import _files
from gradproof.nn import validate
from gradproof.nn.checksum import NAME as CHECKSUM
from gradproof.nn.checksum import checksum
from gradproof.nn.layers import BUILT_IN, Layer
from gradproof.nn.model import Sequential
from gradproof.nn.structure import AnyLayer, Structure, resolve

Array = NDArray[Any]
LayerSource: TypeAlias = Layer | Callable[..., Layer]
T = TypeVar("T")

FORMAT = "1"
TRAINING = "training"  # in the metadata of a checkpoint: where the training is
HISTORY = "history"  # also there, what was recorded so far
_METADATA = {"format", "version", "model", TRAINING, HISTORY, CHECKSUM}
EXTRA = "training."  # begins the names of the tensors that only training needs
_BUFFER = "buffers."  # tells the running statistics from a parameter of the same name
_CUSTOM = "custom"  # stands for an initializer that was a function
_WIDEST_PYTHON_INPUT = 2**24  # a file may not make a Python layer allocate for inputs wider than this


def save(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Write `model` to `path`, whole or not at all; see :func:`gradproof._files.write`.

    Parameters, running statistics, layers and settings are kept, with a Python layer by the name of its class and its
    ``config()``; not kept are the last gradient and initializers that are functions.

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError
        If the ``config()`` of a Python layer holds anything but JSON types.
    ValueError
        If a parameter or statistic is not finite: such a file could not be loaded.
    """
    tensors, metadata = contents(model)
    for name, values in tensors.items():
        validate.finite(values, model.dtype, name)
    write(path, tensors, metadata)


def write(path: str | os.PathLike[str], tensors: dict[str, Array], metadata: dict[str, str]) -> None:
    """Write a safetensors file with a checksum, whole or not at all."""
    from safetensors.numpy import save as to_bytes

    _files.write(path, to_bytes(tensors, metadata | {CHECKSUM: checksum(tensors, metadata)}))


def contents(model: Sequential) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors and the metadata of a model's file; the tensors are views."""
    tensors = dict(model.parameters) | {_BUFFER + name: view for name, view in model.statistics.items()}
    return tensors, {"format": "gradproof", "version": FORMAT, "model": json.dumps(settings(model))}


def settings(model: Sequential) -> dict[str, Any]:
    """Everything about a model that is not an array, as plain data."""
    return {
        "layers": [_describe(layer) for layer in model.layers],
        "input_size": model.input_size,
        "loss": model.loss_name,
        "l1": model.l1,
        "l2": model.l2,
        "dtype": model.dtype.name,
        "seed": model.seed,
        "dropout_step": model.dropout_step,
    }


def load(path: str | os.PathLike[str], *, layers: Mapping[str, LayerSource] | None = None) -> Sequential:
    """Read a model that :meth:`Sequential.save` wrote, or that is in a checkpoint of its training.

    Parameters
    ----------
    path : str or path-like
        The file.
    layers : mapping, optional
        Name of a class to the class itself, to a function of its ``config()``, or to an instance: for a model with
        Python layers. A file never makes anything be imported.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        Naming the file and the reason, if it is damaged, of another version, or not such a file, or holds parameters
        or statistics that are not finite or variances below 0.
    """
    return opened(path, "model", lambda file: read(file, layers or {}))


def opened(path: str | os.PathLike[str], what: str, use: Callable[[Any], T]) -> T:
    """What `use` makes of an open safetensors file; whatever is wrong with that becomes a ValueError that names it."""
    from safetensors import SafetensorError, safe_open

    path = _files.named(path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path}: not a regular file")
    with open(path, "rb"):  # of a file that may not be read safetensors says that there is none
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            return use(file)
    except (SafetensorError, ValueError, TypeError, KeyError, OverflowError, RecursionError, MemoryError) as error:
        reason = "too large" if isinstance(error, MemoryError) else error
        raise ValueError(f"{path}: not a readable gradproof {what}: {reason}") from error


def read(file: Any, sources: Mapping[str, LayerSource]) -> Sequential:
    """The model in an open file; `sources` as for :func:`load`."""
    metadata = file.metadata() or {}
    if metadata.get("format") != "gradproof":
        raise ValueError("its header does not say that gradproof wrote it")
    if metadata.get("version") != FORMAT:
        raise ValueError(f"its format version is {metadata.get('version')!r}, this gradproof reads {FORMAT!r}")
    settings = _object(json.loads(metadata.get("model", "null")), "model")
    entries = settings.pop("layers", None)
    _same_names(settings, ["input_size", "loss", "l1", "l2", "dtype", "seed", "dropout_step"], "model")
    if not isinstance(entries, list) or not entries:
        raise ValueError("model: layers: expected a list with at least one layer")

    layers = [_layer(_object(entry, f"layers[{index}]"), sources, index) for index, entry in enumerate(entries)]
    input_size = validate.whole(settings["input_size"], "input_size", 1, validate.WIDEST)
    seed = validate.whole(settings["seed"], "seed", 0, 2**64 - 1)
    structure, _ = resolve(layers, input_size, seed, widest_python_input=_WIDEST_PYTHON_INPUT)
    dtype = validate.dtype(settings["dtype"])
    _hold_against(file, structure, dtype)

    model = Sequential.__new__(Sequential)
    theta, buffers = np.empty(structure.layout.size, dtype), np.empty(structure.buffer_layout.size, dtype)
    model._assemble(structure, settings["loss"], settings["l1"], settings["l2"], dtype, seed, theta, buffers)
    model.dropout_step = settings["dropout_step"]
    for name in model.parameters:
        model.parameters[name] = validate.finite(file.get_tensor(name), dtype, name)
    for name in model.statistics:
        model.statistics[name] = _statistic(file.get_tensor(_BUFFER + name), dtype, name)
    check_whole(file)
    return model


def check_whole(file: Any) -> None:
    """Hold the contents against the checksum; files of older versions have none."""
    metadata = file.metadata() or {}
    strange = sorted(set(metadata) - _METADATA)
    if strange:
        raise ValueError(f"metadata: unexpected {_few(strange)}")
    if CHECKSUM in metadata:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        if checksum(tensors, metadata) != metadata[CHECKSUM]:
            raise ValueError("its checksum is wrong: it was damaged after it was written")


def _statistic(values: Array, dtype: np.dtype[Any], name: str) -> Array:
    validate.finite(values, dtype, name)
    if name.endswith(".running_variance") and (values < 0).any():
        raise ValueError(f"{name}: {name}[{np.argmax(values < 0)}] is {values[values < 0][0]}, expected variances >= 0")
    return values


def _describe(layer: AnyLayer) -> dict[str, Any]:
    if isinstance(layer, Layer):
        return {"kind": "python", "class": type(layer).__name__, "config": layer.config()}
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}
    if callable(values.get("init")):
        values["init"] = _CUSTOM
    return {"kind": layer.kind, **values}


def _layer(entry: dict[str, Any], sources: Mapping[str, LayerSource], index: int) -> AnyLayer:
    kind = entry.pop("kind", None)
    if kind == "python":
        _same_names(entry, ["class", "config"], f"layers[{index}]")
        return _python_layer(entry["class"], _object(entry["config"], f"layers[{index}]: config"), sources)
    if not isinstance(kind, str) or kind not in BUILT_IN:
        raise ValueError(f"layers[{index}]: kind {kind!r} is none of {', '.join(BUILT_IN)}")
    layer = BUILT_IN[kind]
    _same_names(entry, [field.name for field in fields(layer)], f"layers[{index}] ({kind})")
    if entry.get("init") == _CUSTOM:
        entry["init"] = _lost_initializer
    return layer(**entry)


def _python_layer(name: Any, config: dict[str, Any], sources: Mapping[str, LayerSource]) -> Layer:
    if not isinstance(name, str) or name not in sources:
        raise ValueError(
            f"it has a layer of the Python class {name!r}, which a file cannot hold; "
            f"give it: load(path, layers={{{name!r}: {name}}})"
        )
    source = sources[name]
    layer = source if isinstance(source, Layer) else source(**config)
    if not isinstance(layer, Layer):
        raise TypeError(f"layers[{name!r}]: gave {type(layer).__name__}, expected a gradproof Layer")
    return layer


def _lost_initializer(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    raise ValueError("this model was loaded from a file, which cannot hold the function that initialized it")


def _hold_against(file: Any, structure: Structure, dtype: np.dtype[Any]) -> None:
    """Compare the tensors in the file with those that the architecture needs; nothing is allocated."""
    expected = {entry.name: entry.shape for entry in structure.layout.slices}
    expected |= {_BUFFER + entry.name: entry.shape for entry in structure.buffer_layout.slices}
    training = TRAINING in (file.metadata() or {})
    found_names = [name for name in file.keys() if not (training and name.startswith(EXTRA))]
    _same_names(dict.fromkeys(found_names), list(expected), "tensors")
    code = {"float32": "F32", "float64": "F64"}[dtype.name]
    for name, shape in expected.items():
        found = file.get_slice(name)
        if tuple(found.get_shape()) != shape or found.get_dtype() != code:
            given = f"{found.get_dtype()} of shape {tuple(found.get_shape())}"
            raise ValueError(f"tensor {name!r} is {given}, expected {code} of shape {shape}")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


def _same_names(found: Mapping[str, Any], expected: list[str], where: str) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        wrong = [f"{what} {_few(names)}" for what, names in (("missing", missing), ("unexpected", extra)) if names]
        raise ValueError(f"{where}: {'; '.join(wrong)}")


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
