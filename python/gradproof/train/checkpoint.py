"""Checkpoints: everything that training needs to go on as if it had never stopped, in one safetensors file.

The file is a model file (:mod:`gradproof.nn.serialize`) with more in it: the optimizer's slots and step, the history,
the settings of the run, and what the callbacks keep. Random numbers need nothing, they are functions of seed, epoch and
batch. It is replaced as a whole, and its checksum tells damage. Nothing in it is ever run.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _files
from gradproof.nn import serialize, validate
from gradproof.train import options
from gradproof.train.callback import EARLY, Callback
from gradproof.train.history import History

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential
    from gradproof.train.run import Run

Array = NDArray[Any]

_SLOTS, _HISTORY, _CALLBACKS = (serialize.EXTRA + name for name in ("slots.", "history.", "callbacks."))
_OF_THE_MODEL = ("layers", "input_size", "loss", "dtype", "seed")  # what must be the same in the file and in the model


def write(path: str | os.PathLike[str], model: Sequential, run: Run) -> None:
    """Write a checkpoint at the end of an epoch.

    Raises
    ------
    OSError
        If the file cannot be written, saying which epoch was to be.
    """
    tensors, metadata = serialize.contents(model)
    tensors |= {_SLOTS + name: slot for name, slot in run.state.slots.items()}
    head, arrays = run.history.packed()
    tensors |= {_HISTORY + name: array for name, array in arrays.items()}
    states: dict[str, dict[str, Any]] = {}
    for name, callback in _named(run.callbacks):
        state = callback.state()
        kept = {key for key, value in state.items() if isinstance(value, np.ndarray)}
        tensors |= {f"{_CALLBACKS}{name}.{key}": state[key] for key in kept}
        states[name] = {key: value for key, value in state.items() if key not in kept}
    training = {
        "epoch": run.epoch,
        "step": run.state.step,
        "optimizer": type(run.optimizer).__name__,
        "stopping": run.stopping,
        "callbacks": states,
    }
    metadata |= {serialize.TRAINING: json.dumps(training), serialize.HISTORY: json.dumps(head)}
    try:
        serialize.write(path, tensors, metadata)
    except OSError as error:
        what = f"checkpoint of epoch {run.epoch}: {error.strerror or error}"
        raise type(error)(error.errno, what, os.fspath(path)) from error


@dataclass
class Found:
    """A checkpoint that was read and suits the run."""

    model: Sequential
    slots: dict[str, Array]
    step: int
    history: History
    stopping: tuple[str, str] | None
    callbacks: dict[str, dict[str, Any]]

    def put_back(self, model: Sequential, run: Run) -> None:
        """Take over parameters, statistics, optimizer and history."""
        model.theta[...] = self.model.theta
        model.buffers[...] = self.model.buffers
        model.dropout_step = self.model.dropout_step
        for name, slot in self.slots.items():
            run.state.slots[name][...] = slot
        run.state.step = self.step
        self.history.settings |= run.history.settings
        run.history = self.history

    def restore(self, callbacks: Sequence[Callback], run: Run) -> None:
        """Give the callbacks what they kept; one that is new starts as it is. A run that had ended by itself has ended,
        unless those it ended for have more patience now."""
        for name, callback in _named(callbacks):
            if name in self.callbacks:
                callback.restore(self.callbacks[name])
        waiting = [callback.waiting for callback in callbacks if callback.waiting is not None]
        if self.stopping is not None and not (self.stopping[0] == EARLY and waiting and all(waiting)):
            run.stop(*self.stopping)


def read(path: str | os.PathLike[str], model: Sequential, run: Run) -> Found | None:
    """The checkpoint at `path`, None if there is no file; nothing is changed yet.

    Raises
    ------
    ValueError
        If the file is damaged, is no checkpoint, or is one of another model, data set or kind of run.

    Warns
    -----
    UserWarning
        If the optimizer's settings, the schedule or the penalties are others; ``history.changes`` keeps them.
    """
    name = _files.named(path, "resume")
    if not os.path.lexists(path):
        return None
    found = serialize.opened(path, "checkpoint", lambda file: _read(file, model, run))
    _note_changes(found.history, run, name)
    return found


def _read(file: Any, model: Sequential, run: Run) -> Found:
    metadata = file.metadata() or {}
    if metadata.get("format") == "gradproof" and serialize.TRAINING not in metadata:
        raise ValueError("it holds a model without its training; read it with gp.load")
    python_layers = {type(layer).__name__: layer for layer in model.layers if not hasattr(layer, "kind")}
    stored = serialize.read(file, python_layers)
    before, now = serialize.settings(stored), json.loads(json.dumps(serialize.settings(model)))
    for name in _OF_THE_MODEL:
        if _comparable(before[name]) != _comparable(now[name]):
            raise ValueError(f"it is of another model: {name} is {before[name]!r}, this model has {now[name]!r}")

    arrays = {name: file.get_tensor(_HISTORY + name) for name in ("epochs", "values", "batches")}
    history = History.unpacked(json.loads(metadata[serialize.HISTORY]), arrays)
    training = json.loads(metadata[serialize.TRAINING])
    for name in options.FIXED:
        if history.settings[name] != run.history.settings[name]:
            raise ValueError(_other(name, history.settings[name], run.history.settings[name]))
    if training["optimizer"] != type(run.optimizer).__name__:
        raise ValueError(_other("optimizer", training["optimizer"], type(run.optimizer).__name__))
    slots = {name: validate.finite(file.get_tensor(_SLOTS + name), model.dtype, name) for name in run.state.slots}
    if any(slot.shape != model.theta.shape for slot in slots.values()):
        raise ValueError("the optimizer's slots have another size than the model's parameters")
    if not history.epochs or history.epochs[-1] != training["epoch"]:
        raise ValueError("its history does not end with its epoch")
    states = {name: dict(state) for name, state in training["callbacks"].items()}
    for key in file.keys():
        if key.startswith(_CALLBACKS):
            name, _, entry = key[len(_CALLBACKS) :].partition(".")
            states[name][entry] = file.get_tensor(key)
    step = validate.whole(training["step"], "step", 0, 2**62)
    stopping = training["stopping"]
    return Found(stored, slots, step, history, None if stopping is None else (stopping[0], stopping[1]), states)


def _comparable(value: Any) -> Any:
    """Layers without their initializers, which have done their work."""
    if isinstance(value, list):
        return [{key: entry for key, entry in layer.items() if key != "init"} for layer in value]
    return value


def _other(name: str, before: Any, now: Any) -> str:
    if name == "data":
        return "it was trained on other data (targets, weights or inputs differ)"
    return f"it was trained with {name} {before!r}, this run has {now!r}"


def _note_changes(history: History, run: Run, path: str) -> None:
    changes = [
        {"epoch": history.epochs[-1] + 1, "setting": name, "before": history.settings.get(name), "after": value}
        for name, value in run.history.settings.items()
        if name != "epochs" and history.settings.get(name) != value
    ]
    history.changes += changes
    if changes:
        text = "; ".join(f"{change['setting']} was {change['before']}, is {change['after']}" for change in changes)
        warnings.warn(f"resume: {path} was written with other settings: {text}", UserWarning, stacklevel=5)


def _named(callbacks: Sequence[Callback]) -> list[tuple[str, Callback]]:
    """Callbacks by class, and by how many of that class came before."""
    counts: Counter[str] = Counter()
    named = []
    for callback in callbacks:
        kind = type(callback).__name__
        named.append((f"{kind}_{counts[kind]}", callback))
        counts[kind] += 1
    return named
