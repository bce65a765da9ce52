"""What a training run leaves behind: numbers per epoch and per batch, and why it ended."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from math import inf, isfinite, isnan, nan
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradproof import _files

Array = NDArray[Any]
Column: TypeAlias = "list[float] | dict[str, list[float]]"

FORMAT = "gradproof-history"
VERSION = 1

_NON_FINITE = {"nan": nan, "inf": inf, "-inf": -inf}  # JSON has no numbers for these


class Best(NamedTuple):
    """The best epoch of a run."""

    epoch: int
    monitor: str
    value: float


class History:
    """Numbers of a training run by name: ``history["loss"]`` has one per epoch of :attr:`epochs`.

    ``loss`` (``data_loss`` + ``penalty``), ``data_loss``, ``penalty`` and ``learning_rate`` are always there: means
    over the batches of the epoch, as they were before each update; ``learning_rate`` is that of its first batch.
    ``accuracy`` (``r2`` with the loss ``mse``) is the score of the weights at the end of the epoch on the training set
    (on evenly spaced rows of a large one); ``val_loss`` (without the penalty, to be held against ``data_loss``) and
    ``val_accuracy`` come with validation data. Columns of the monitor, such as ``update_ratio``, are dicts from tensor
    or layer to a list.

    Attributes
    ----------
    epochs : list of int
        The epochs that were completed, counted from 0.
    batches : list of float
        The loss of every batch, also of an epoch that was not completed.
    stopped : str or None
        Why the run ended: ``"finished"``, ``"early stopping"``, ``"interrupted"``, ``"diverged"`` or what a callback
        gave; None while it goes on.
    message : str
        The same as a sentence; empty for a run that finished.
    settings : dict
        Optimizer, schedule, batch size, rows and so on, as plain data.
    changes : list of dict
        Settings that a resumed run was given anew: ``epoch``, ``setting``, ``before``, ``after``.
    """

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self._settings: dict[str, Any] = dict(settings or {})
        self._pending: Callable[[History], None] | None = None
        self.epochs: list[int] = []
        self.batches: list[float] = []
        self.stopped: str | None = None
        self.message = ""
        self.changes: list[dict[str, Any]] = []
        self._columns: dict[str, Column] = {}
        self._entries: dict[str, list[float]] = {}  # the lists of all columns by the names of `flat`, for `record`

    @property
    def settings(self) -> dict[str, Any]:
        """See the attributes of the class."""
        if self._pending is not None:
            complete, self._pending = self._pending, None
            complete(self)
        return self._settings

    @settings.setter
    def settings(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    def complete_later(self, complete: Callable[[History], None]) -> None:
        """Have something put into :attr:`settings` as soon as they are asked for, and not before."""
        self._pending = complete

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_settings": self.settings, "_pending": None}

    def __getitem__(self, name: str) -> Any:
        try:
            return self._columns[name]
        except KeyError:
            raise KeyError(f"no column is called {name!r}; there are {', '.join(self._columns) or 'none'}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        """Number of completed epochs."""
        return len(self.epochs)

    def keys(self) -> list[str]:
        """Names of the columns."""
        return list(self._columns)

    @property
    def best(self) -> Best | None:
        """The epoch with the smallest ``val_loss``, or ``loss`` without validation data; None if there is none."""
        monitor = "val_loss" if "val_loss" in self else "loss"
        values = self._columns.get(monitor, [])
        assert isinstance(values, list)
        finite = [(value, index) for index, value in enumerate(values) if isfinite(value)]
        if not finite:
            return None
        value, index = min(finite)
        return Best(self.epochs[index], monitor, value)

    def record(self, epoch: int, values: Mapping[str, float]) -> None:
        """Append one epoch.

        A name such as ``"update_ratio/dense_0.W"`` belongs into the dict of that column. What is new, or missing this
        time, holds nan where it has no value.
        """
        known = self._entries
        new = [name for name in values if name not in known]
        for name in new:
            group, slash, _ = name.partition("/")
            if group in self and isinstance(self._columns[group], dict) != bool(slash):
                raise ValueError(f"{name}: there is a column {group!r} of the other kind")
        self.epochs.append(int(epoch))
        for name in new:
            self._list(name)
        for name, value in values.items():
            known[name].append(float(value))
        if len(values) < len(known):
            for name in known.keys() - values.keys():
                known[name].append(nan)

    def _list(self, name: str) -> list[float]:
        """A new list for an entry, in its column, as long as the epochs before the last."""
        before = [nan] * (len(self.epochs) - 1)
        group, slash, key = name.partition("/")
        column = self._columns.setdefault(group, {} if slash else before)
        entries = self._entries[name] = column.setdefault(key, before) if isinstance(column, dict) else column
        return entries

    def row(self, index: int) -> dict[str, float]:
        """The values of one of the :attr:`epochs`, by the names of :meth:`flat`."""
        return {name: entries[index] for name, entries in self.flat().items()}

    # ---------------------------------------------------------------- files

    def flat(self) -> dict[str, list[float]]:
        """Every column as a list; those of the monitor are called ``"update_ratio/dense_0.W"``."""
        flat: dict[str, list[float]] = {}
        for name, column in self._columns.items():
            if isinstance(column, dict):
                flat |= {f"{name}/{key}": entries for key, entries in column.items()}
            else:
                flat[name] = column
        return flat

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """One line per epoch, columns as in :meth:`flat`; written to `path` if given."""
        flat = self.flat()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", *flat])
        writer.writerows(zip(self.epochs, *flat.values(), strict=True))
        return _delivered(text.getvalue(), path)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """JSON lines: settings and how the run ended first, then a line per epoch, then the losses of the batches.

        Numbers that JSON does not have are the strings ``"nan"``, ``"inf"`` and ``"-inf"``.
        """
        lines = [json.dumps(self._head() | {"stopped": self.stopped, "message": self.message})]
        for index, epoch in enumerate(self.epochs):
            lines.append(json.dumps({"epoch": epoch, **encoded(self.row(index))}, allow_nan=False))
        lines.append(json.dumps({"batches": encoded(self.batches)}, allow_nan=False))
        return _delivered("\n".join(lines) + "\n", path)

    @classmethod
    def from_json(cls, source: str | os.PathLike[str]) -> History:
        """Read what :meth:`to_json` wrote: a path, or the text itself.

        Raises
        ------
        ValueError
            If it is not such a text.
        OSError
            If the file cannot be read.
        """
        path = None if isinstance(source, str) and "\n" in source else _files.named(source, "source")
        try:
            text = str(source) if path is None else _read(path)
            head, *rows, tail = (json.loads(line) for line in text.splitlines())
            history = cls._begun(head)
            history.stopped, history.message = head["stopped"], str(head["message"])
            for row in rows:
                history.record(row.pop("epoch"), decoded(row))
            history.batches = list(decoded(tail["batches"]))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            what = "the text" if path is None else path
            raise ValueError(f"{what}: not a history that gradproof wrote: {error}") from error
        return history

    def packed(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """What a checkpoint keeps, as plain data and arrays: a run of thousands of epochs has many numbers."""
        flat = self.flat()
        values = np.array(list(flat.values()), np.float64).reshape(len(flat), len(self.epochs))
        arrays = {
            "epochs": np.array(self.epochs, np.int64),
            "values": values,
            "batches": np.array(self.batches, np.float64),
        }
        return self._head() | {"columns": list(flat)}, arrays

    @classmethod
    def unpacked(cls, head: Mapping[str, Any], arrays: Mapping[str, Array]) -> History:
        """The way back from :meth:`packed`.

        Raises
        ------
        ValueError, TypeError, KeyError
            If they are something else.
        """
        history = cls._begun(head)
        history.epochs, history.batches = arrays["epochs"].tolist(), arrays["batches"].tolist()
        if arrays["values"].shape != (len(head["columns"]), len(history.epochs)):
            raise ValueError(f"a history of {len(history.epochs)} epochs has values of shape {arrays['values'].shape}")
        for name, values in zip(head["columns"], arrays["values"].tolist(), strict=True):
            history._list(name)[:] = values
        return history

    def _head(self) -> dict[str, Any]:
        return {"format": FORMAT, "version": VERSION, "settings": self.settings, "changes": self.changes}

    @classmethod
    def _begun(cls, head: Mapping[str, Any]) -> History:
        if head["format"] != FORMAT or head["version"] != VERSION:
            raise ValueError(f"its format is {head['format']!r} {head['version']!r}")
        history = cls(head["settings"])
        history.changes = list(head["changes"])
        return history

    # ---------------------------------------------------------------- for people

    def plot(self, **options: Any) -> Any:
        """Curves over the epochs with matplotlib, see :func:`gradproof.train.plot.plot_history`."""
        from gradproof.train.plot import plot_history

        return plot_history(self, **options)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the run as a page, see :func:`gradproof.train.page.to_html`."""
        from gradproof.train.page import to_html

        to_html(self, path)

    def diagnose(self) -> Any:
        """Symptoms of trouble, an empty list for a healthy run, see :mod:`gradproof.train.doctor`."""
        from gradproof.train.doctor import diagnose_history

        return diagnose_history(self)

    def __repr__(self) -> str:
        shown = [name for name in ("loss", "accuracy", "r2", "val_loss", "val_accuracy", "val_r2") if name in self]
        values = "".join(f", {name} {self._columns[name][-1]:.4g}" for name in shown if self.epochs)  # type: ignore[index]
        return f"<History of {len(self)} epochs{values}, {self.stopped or 'going on'}>"


def encoded(value: Any) -> Any:
    """Plain data as strict JSON holds it: nan and infinities become strings."""
    if isinstance(value, float) and not isfinite(value):
        return "nan" if isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {key: encoded(entry) for key, entry in value.items()}
    return [encoded(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def decoded(value: Any) -> Any:
    """The way back from :func:`encoded`, for numbers."""
    if isinstance(value, Mapping):
        return {key: decoded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [decoded(entry) for entry in value]
    return _NON_FINITE[value] if isinstance(value, str) else float(value)


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _delivered(text: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        _files.write(path, text.encode())
    return text
