"""Measure a network portion by portion: with a budget, a progress bar, an interrupt in between, or by several workers.

A portion is some columns of one layer with all parameters that feed them, which is what the structured loop does in one
go: the numbers are those of a pass over everything, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.measurement import Measurement
from gradproof.check.progress import Progress
from gradproof.check.structured import PROPAGATED, Point, Scheme, measure_at
from gradproof.check.workers import SHARDS_PER_WORKER, count, share_out
from gradproof.nn.model import Sequential
from gradproof.nn.plan import Op, Plan

Array = NDArray[Any]

WORK: Final = 1e9  # multiplications of a portion: a few hundredths of a second
LONG: Final = 6e10  # a few seconds: from here on a check goes by portions unasked, and tells how far it is
STACKED: Final = 64  # entries of a portion in front of a Python layer
PIECES: Final = 16  # a portion spends about this part of a budget of evaluations at most, or is a single entry
EACH: Final = {"difference": 3, "tangent": 1, "central": 4, "forward": 4}  # evaluations that an entry takes at most
EACH_AHEAD: Final = 12  # ... and usually in front of a Python layer
INTERRUPTED: Final = "interrupted"  # why a check stopped


@dataclass
class Terms:
    """How much may be spent, who is told, and who does the work.

    Attributes
    ----------
    max_evaluations, max_seconds, progress, backend, n_jobs
        As for :func:`gradproof.check_gradients`.
    stopped : str
        Why the measurement ended early; empty if it did not.
    """

    max_evaluations: int | None = None
    max_seconds: float | None = None
    progress: bool | Callable[[int, int], object] | None = None
    backend: str | None = None
    n_jobs: int = 1
    stopped: str = ""

    def __post_init__(self) -> None:
        self._started, self._spent = time.monotonic(), 0

    @property
    def asked(self) -> bool:
        """Whether anything but one pass over everything was asked for."""
        limited = self.max_evaluations is not None or self.max_seconds is not None
        return limited or self.progress not in (None, False) or self.backend is not None or self.n_jobs != 1

    def spent(self, evaluations: int) -> bool:
        """Account for so many evaluations. Whether the budget is used up."""
        self._spent += evaluations
        if self.stopped == INTERRUPTED:
            return True
        if self.max_evaluations is not None and self._spent >= self.max_evaluations:
            self.stopped = f"max_evaluations={self.max_evaluations} is used up"
        elif self.max_seconds is not None and time.monotonic() - self._started >= self.max_seconds:
            self.stopped = f"max_seconds={self.max_seconds:g} is used up"
        return bool(self.stopped)


def measure_portions(point: Point, scheme: Scheme, step: float | None, terms: Terms) -> tuple[Measurement, Array]:
    """:func:`~gradproof.check.structured.measure_at` for all parameters, as far as the terms allow.

    Returns
    -------
    measured : Measurement
    skipped : bool array
        Parameters that were not measured; what `measured` holds there means nothing.
    """
    size = point.model.layout.size
    if not terms.asked and not point.first and sum(_costs(point)) < LONG:
        return _at_once(point, scheme, step, terms)
    portions = list(islice(_portions(point, scheme, terms.max_evaluations), terms.max_evaluations))
    places: list[Array] = [np.empty(0, np.int64)]
    parts: list[Measurement] = [Measurement.smooth(np.empty(0), np.empty(0), np.empty(0), 0)]
    try:
        with Progress(terms.progress, size, every_call=True) as bar:
            if not terms.spent(0):
                for entries, part in zip(portions, _measured(point, scheme, step, portions, terms), strict=False):
                    places.append(entries)
                    parts.append(part)
                    bar.advance(entries.size)
                    if terms.spent(part.evaluations) and bar.done < size:
                        break
                else:
                    terms.stopped = ""
    except KeyboardInterrupt:
        terms.stopped = INTERRUPTED
    done = np.concatenate(places)
    skipped = np.ones(size, bool)
    skipped[done] = False
    left = np.flatnonzero(skipped)
    return Measurement.joined([*parts, _nothing(left.size)])[
        np.argsort(np.concatenate([done, left]), kind="stable")
    ], skipped


def _at_once(point: Point, scheme: Scheme, step: float | None, terms: Terms) -> tuple[Measurement, Array]:
    point.salvages = True
    try:
        measured = measure_at(point, scheme, step)
    finally:
        interrupted = point.interrupted
        point.salvages = point.interrupted = False
    if not interrupted:
        return measured, np.zeros(point.model.layout.size, bool)
    terms.stopped = INTERRUPTED
    skipped = ~np.isfinite(measured.numeric)
    left = _nothing(int(skipped.sum()))
    return measured.updated(skipped, replace(left, evaluations=measured.evaluations)), skipped


def _nothing(count: int) -> Measurement:
    return Measurement.smooth(np.zeros(count), np.full(count, np.inf), np.zeros(count), 0)


def _measured(
    point: Point, scheme: Scheme, step: float | None, portions: list[Array], terms: Terms
) -> Iterator[Measurement]:
    """The measurements of the portions, in their order."""
    if terms.backend is None and terms.n_jobs == 1:
        yield from (measure_at(point, scheme, step, entries) for entries in portions)
        return
    together = -(-len(portions) // (SHARDS_PER_WORKER * count(terms.backend, terms.n_jobs)))
    shards = [portions[at : at + together] for at in range(0, len(portions), max(1, together))]
    tasks = [(point.model, point.X, point.targets, scheme, step, shard) for shard in shards]
    for measured in share_out(_shard, tasks, terms.backend, terms.n_jobs):
        yield from measured


def _shard(
    model: Sequential, X: Array, y: Array, scheme: Scheme, step: float | None, portions: list[Array]
) -> list[Measurement]:
    point = Point(model, X, y, careful=scheme in PROPAGATED)
    return [measure_at(point, scheme, step, entries) for entries in portions]


def _portions(point: Point, scheme: Scheme, max_evaluations: int | None) -> Iterator[Array]:
    """Indices into theta, ascending in each portion: some columns of every layer before more of any."""

    def most(each: int) -> int:
        """Entries of a portion."""
        return point.model.layout.size if max_evaluations is None else max(1, max_evaluations // (PIECES * each))

    layers = [_of_op(op, cost, most(EACH[scheme])) for cost, op in zip(_costs(point), _rows(point), strict=True)]
    layers.append(_cut(np.arange(point.first), min(STACKED, most(EACH_AHEAD))))  # the first of these costs most
    for together in zip_longest(*layers):
        yield from (entries for entries in together if entries is not None)


def _of_op(op: Array, cost: float, most: int) -> Iterator[Array]:
    """The portions of one op: some columns each; of a column that is too much its end, with the bias, comes first."""
    rows = int(op[1]) if op[0] == Op.DENSE else 1
    columns = int(op[2])
    width = max(1, min(int(WORK * columns / max(cost, 1.0)), most // (rows + 1), columns))
    for at in range(0, columns, width):
        yield from reversed(list(_cut(_columns(op, rows, at, min(at + width, columns)), most)))


def _cut(entries: Array, most: int) -> Iterator[Array]:
    return (entries[at : at + most] for at in range(0, len(entries), most))


def _columns(op: Array, rows: int, begin: int, end: int) -> Array:
    """The parameters that feed the columns begin .. end-1 of an op."""
    _, _, columns, weight, bias, _ = (int(value) for value in op)
    chosen = np.arange(begin, end)
    weights = (weight + np.arange(rows)[:, None] * columns + chosen).ravel()
    return np.concatenate([weights, bias + chosen]) if bias >= 0 else weights


def _rows(point: Point) -> list[Array]:
    """The ops of the last plan that have parameters."""
    segment = point.model.segments[-1]
    return [op for op in segment.ops if op[3] >= 0] if isinstance(segment, Plan) else []


def _costs(point: Point) -> list[float]:
    """Multiplications of the structured loop for each op with parameters."""
    segment = point.model.segments[-1]
    return [cost * len(point.X) for cost in segment.loop_costs] if isinstance(segment, Plan) else []
