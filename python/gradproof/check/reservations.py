"""Doubts about single entries that only show beside the others of a gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.entries import Measured
from gradproof.check.judgement import TYPICAL
from gradproof.check.tensor_report import Status

Float64Array = NDArray[np.float64]

HALF: Final = 0.5  # of an entry: then it could as well be twice as large
NOTHING: Final = 16.0  # standard deviations of the loss's noise: such a change of it cannot be seen for sure
SMALL: Final = 0.1  # of the largest effect that an entry has on the loss
FEW: Final = 0.02  # share of a tensor's entries that chance may put out of place


def doubt_blind(
    effects: Sequence[Float64Array],
    analytic: Sequence[Float64Array],
    measured: Sequence[Measured],
    rounding: Sequence[Float64Array],
    sigma: float,
) -> None:
    """Leave entries open that could as well be twice as large, unless their effect is small beside others'.

    Or none: what is no more than the rounding of the gradient and of the loss is a zero, as at a minimum.
    """
    zero = [
        (np.abs(a.ravel()) <= own) & (e <= NOTHING * sigma)
        for e, a, own in zip(effects, analytic, rounding, strict=True)
    ]
    effects = [np.where(nothing, 0.0, effect) for effect, nothing in zip(effects, zero, strict=True)]
    largest = max((float(np.max(effect, initial=0.0)) for effect in effects), default=0.0)
    for effect, a, m in zip(effects, analytic, measured, strict=True):
        blind = m.uncertainty > HALF * np.maximum(np.abs(a.ravel()), np.abs(m.numeric))
        right = np.isin(m.status, (Status.MATCH, Status.KINK))
        m.status[blind & (effect > SMALL * largest) & right] = Status.UNRESOLVED


def doubt_outliers(analytic: Float64Array, measured: Measured) -> None:
    """Leave single entries of a tensor open that are off by no more than others which kinks nearby explain.

    In float32 a step that noise allows goes over many kinks. Most show; where they hide, in few entries of many, these
    are not off by more than others are where they were seen.
    """
    wrong = np.isin(measured.status, (Status.MISMATCH, Status.KINK_MISMATCH))
    if not 0 < np.count_nonzero(wrong) <= FEW * wrong.size:
        return
    off = np.abs(analytic.ravel() - measured.numeric)
    seen = off[np.isin(measured.status, (Status.MATCH, Status.KINK))]
    doubtful = wrong & (off <= 3 * np.max(seen, initial=0.0))
    rms = math.sqrt(float(np.mean(np.square(analytic, dtype=np.float64))))
    small = off <= TYPICAL * np.maximum(np.abs(analytic.ravel()), rms)  # by then that is an uncertainty like any other
    measured.status[doubtful] = np.where(small, Status.MATCH, Status.UNRESOLVED)[doubtful]
    measured.uncertainty[doubtful] = np.maximum(measured.uncertainty[doubtful], off[doubtful])
