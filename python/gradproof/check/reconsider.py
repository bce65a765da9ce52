"""Before an accusation: entries that a first measurement calls wrong are measured again in another way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof.check.measurement import Measurement
from gradproof.check.penalty import measure_penalty
from gradproof.check.structured import PROPAGATED, TEXTBOOK_STEP, Point, Scheme, measure_at

Array = NDArray[Any]


def reconsidered(
    point: Point,
    X: ArrayLike,
    y: ArrayLike,
    scheme: Scheme,
    step: float | None,
    measured: Mapping[str, Measurement],
    wrong: Array,
    vague: Array,
) -> dict[str, Measurement]:
    """Measurements that an accusation can rest on.

    Parameters
    ----------
    point : Point
        Of the first measurement, at the batch `X`, `y`.
    scheme, step
        As for :func:`gradproof.check.check_model`.
    measured : mapping
        What was found, by part of the cost.
    wrong : int64 array
        Indices into theta of the entries in question, ascending.
    vague : int64 array
        Those that textbook quotients leave open, which they do at kinks.

    Notes
    -----
    Propagated changes: from the model's own base point, where rounding may tip a maximum over. With a step of the
    caller's choice: at that of the scheme; textbook quotients: at a quarter of theirs. Quotients see one-sided slopes
    at best, which kinks of several rows can hide: at a kink it is the recorded branches that count. Parameters in front
    of a Python layer: with all branches at ties.
    """
    propagated = scheme in PROPAGATED and step is None
    other = None
    if scheme not in PROPAGATED and step is None:
        other = TEXTBOOK_STEP[scheme, point.model.dtype.name] / 4
    opinions = dict(measured)
    for part, first in measured.items():
        if part == "data":
            opinions[part] = _data(point, X, y, scheme, other, propagated, first, wrong, vague)
        elif not propagated and wrong.size:
            second = measure_penalty(point.model, len(point.X), scheme, other)
            opinions[part] = first.updated(wrong, first[wrong].widened(second[wrong]))
    return opinions


def _data(
    point: Point,
    X: ArrayLike,
    y: ArrayLike,
    scheme: Scheme,
    step: float | None,
    propagated: bool,
    measured: Measurement,
    wrong: Array,
    vague: Array,
) -> Measurement:
    ahead, tail = np.split(wrong, [np.searchsorted(wrong, point.first)])
    open_ = np.union1d(tail, vague[vague >= point.first])
    if ahead.size:
        measured = _updated(measured, ahead, point.ahead.measure(ahead, thoroughly=True))
    if not open_.size:
        return measured
    own = Point(point.model, X, y, careful=False)
    if tail.size:
        second = measure_at(own, scheme, step, tail)
        join = Measurement.either if propagated else Measurement.widened
        measured = measured.updated(tail, join(measured[tail], second))
    if propagated:
        return measured
    recorded = measure_at(own, "difference", None, open_)
    return _updated(measured, open_[recorded.kink], recorded[recorded.kink])


def _updated(measured: Measurement, where: Array, part: Measurement) -> Measurement:
    return measured.updated(where, replace(part, evaluations=measured.evaluations + part.evaluations))
