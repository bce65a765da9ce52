"""Whether the answer is among the inputs, or rows of the validation set among those of the training set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof.train.doctor.baseline import baseline, predictable
from gradproof.train.doctor.plain import number

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]
Facts = dict[str, Any]

_ROUNDING = 1e-10  # share of a variance that is float32's


def leaks(model: Sequential, X: Array, targets: Array, few: NDArray[np.int64]) -> Facts:
    """How well single features tell the target: the share of a feature's variance that the target explains."""
    shares = explained(X.astype(np.float64), targets)
    best = int(np.argmax(shares))
    found: Facts = {"feature": best, "explained": number(float(shares[best]))}
    if shares[best] > 0.9 and X.shape[1] > 1:
        rest = shares < 0.9
        if rest.any():
            found["second"] = number(float(shares[rest].max()))
            found["suspects"] = np.flatnonzero(~rest).tolist()[:10]
            if targets.dtype.kind != "i":
                found |= _without(X[few].astype(np.float64), best, rest, targets[few])
            if model.loss_name != "mse":  # what counts is which class, not how far from 0 or 1
                found["without"] = baseline(model, X[few][:, rest], targets[few])["score"]
    return found


def _without(X: NDArray[np.float64], feature: int, rest: NDArray[np.bool_], targets: Array) -> Facts:
    """The share of the output that a feature tells, and of what the feature leaves of it, that other features know.

    Nothing of the noise on a copy of the target; of a law, where other features have their part, much.
    """
    column = X[:, feature] - X[:, feature].mean()
    values = targets.reshape(len(targets), -1).astype(np.float64)
    values = values - values.mean(axis=0)
    with np.errstate(all="ignore"):
        slopes = values.T @ column / np.sum(column**2)
        remainder = values - np.outer(column, slopes)
        left = np.nan_to_num(np.sum(remainder**2, axis=0) / np.sum(values**2, axis=0), nan=np.inf)
        told = int(np.argmin(left))
    found: Facts = {"without": number(predictable(X[:, rest], values[:, told : told + 1]))}
    if _ROUNDING < left[told] < np.inf:
        found["remainder"] = number(predictable(X[:, rest], remainder[:, told : told + 1]))
    return found


def explained(X: NDArray[np.float64], targets: Array) -> NDArray[np.float64]:
    """Per feature the share of its variance that the classes explain, or (for values) that one output does."""
    with np.errstate(all="ignore"):
        centred = X - X.mean(axis=0)
        total = np.sum(centred**2, axis=0)
        smallest = 1e-18 * np.maximum(np.sum(X**2, axis=0), 1e-300)
        if targets.dtype.kind == "i":
            order = np.argsort(targets, kind="stable")
            starts = np.flatnonzero(np.diff(targets[order], prepend=-1))
            counts = np.diff(starts, append=len(targets))[:, None]
            shares = np.sum(np.add.reduceat(centred[order], starts) ** 2 / counts, axis=0) / total
        else:
            values = targets.reshape(len(targets), -1).astype(np.float64)
            values = values - values.mean(axis=0)
            products = (values.T @ centred) ** 2 / np.sum(values**2, axis=0)[:, None]
            shares = np.nanmax(np.vstack([np.zeros(X.shape[1]), products]), axis=0) / total
    return np.where(total > smallest, np.nan_to_num(shares), 0.0)


def shared_rows(X: Array, validation: Array) -> float:
    """The share of validation rows that are training rows, beyond what repeats by nature."""
    direction = np.random.default_rng(0).normal(size=(X.shape[1],))
    with np.errstate(all="ignore"):
        seen, asked = X @ direction, validation @ direction
    return max(float(np.mean(np.isin(asked, seen))) - _repeating(X, seen, direction), 0.0)


def _repeating(X: Array, keys: Array, direction: Array) -> float:
    """How likely one more row is one that is there already, `keys` being the rows times the direction.

    Two rows that are alike by chance, such as those of a few categories, agree in half of their columns more often
    still. Then one more row is as likely a repeat as a row has its like among the others. Otherwise repeats are copies,
    and only as many count as there are rows too many.
    """
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    copies, alike = 1 - len(first) / len(keys), float(counts[counts > 1].sum()) / len(keys)
    if not copies:
        return 0.0
    different = X[first]
    columns = np.random.default_rng(1).permutation(np.flatnonzero((different != different[0]).any(axis=0)))
    if len(columns) < 2:  # one number per row: nothing tells copies from values that are met again
        return alike
    for half in (columns[::2], columns[1::2]):
        with np.errstate(all="ignore"):
            part = np.unique(different[:, half] @ direction[half], return_counts=True)[1]
        if _alike(part) <= _alike(counts):
            return copies
    return alike


def _alike(counts: NDArray[np.int64]) -> float:
    """The share of pairs that are equal, from how often each value is there."""
    total = float(counts.sum())
    return float(np.sum(counts * (counts - 1.0)) / max(total * (total - 1), 1.0))
