"""Patterns in which the right values stand in the wrong places."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from gradproof.check.diagnosis.explanation import Explanation, everywhere, odd_ones, trial
from gradproof.check.diagnosis.fits import proportion
from gradproof.check.diagnosis.tensor import SAMPLE, Array, Tensor

ROLLS = 16  # shifts tried beside a penalty, where no slice can be recognized


def explain_arrangement(t: Tensor, others: Sequence[Tensor]) -> Iterator[Explanation]:
    """Transposed, flipped, rolled, permuted, or another tensor's."""
    if not t.whole or t.count < 2 or not t.known.any():
        return
    found: list[Explanation] = []
    if not t.mostly_right:
        found = [*_swapped(t, others), *_transposed(t), *_symmetrized(t), *_flipped(t), *_rolled(t)]
    if not found:
        found = [*_permuted(t)]
    yield from found
    if not found and t.a.ndim > 1 and t.a.size <= SAMPLE:
        yield from _beside_penalty(t)


def _explains(
    t: Tensor, n: Array, u: Array, cause: str, cost: float, words: str, hint: str, **evidence: object
) -> Iterator[Explanation]:
    found = trial(t, n, np.maximum(t.u, u))
    if found.accepted and found.support > 1 and np.any(t.wrong & ~found.odd):
        statement = f"analytic = {words} {everywhere(t, found.odd)}"
        moved = int(t.wrong.sum())
        yield Explanation(
            cause, cost, min(found.support, moved), statement, hint, {**evidence, **odd_ones(t, found.odd)}
        )


def _swapped(t: Tensor, others: Sequence[Tensor]) -> Iterator[Explanation]:
    norm = float(np.linalg.norm(t.a))
    for other in others:
        if other is t or not (other.is_wrong and other.whole) or other.a.size != t.a.size or not other.known.all():
            continue
        if abs(float(np.linalg.norm(other.n)) - norm) <= 1e-3 * norm:
            n, u = other.n.reshape(t.shape), other.u.reshape(t.shape)
            hint = f"The gradients of {t.name} and {other.name} are exchanged or mixed up"
            yield from _explains(t, n, u, "swapped", 3, f"numeric of {other.name}", hint, other=other.name)


def _transposed(t: Tensor) -> Iterator[Explanation]:
    hint = "A transpose is missing or one too many, or a reshape in the other order"
    for axes in itertools.permutations(range(t.a.ndim)) if t.a.ndim <= 4 else ():
        if list(axes) == sorted(axes):
            continue
        n, u = t.n.transpose(axes), t.u.transpose(axes)
        words = "numericᵀ" if t.a.ndim == 2 else f"numeric with axes {list(axes)}"
        if n.shape == t.shape:
            yield from _explains(t, n, u, "transpose", 3.5, words, hint, axes=list(axes))
        n, u = n.reshape(t.shape), u.reshape(t.shape)
        yield from _explains(t, n, u, "transpose", 3.8, f"{words} read in the other order", hint, axes=list(axes))


def _symmetrized(t: Tensor) -> Iterator[Explanation]:
    if t.a.ndim > 1 and t.shape[-1] == t.shape[-2] > 1:
        n, u = (t.n + t.n.swapaxes(-1, -2)) / 2, np.maximum(t.u, t.u.swapaxes(-1, -2))
        hint = "The mean with its transpose is given: right only for a symmetric argument"
        yield from _explains(t, n, u, "transpose", 3.9, "the symmetric part of numeric", hint)


def _flipped(t: Tensor) -> Iterator[Explanation]:
    longer = [axis for axis, size in enumerate(t.shape) if size > 1]
    for count in range(1, len(longer) + 1):
        for axes in itertools.combinations(longer, count):
            n, u = np.flip(t.n, axes), np.flip(t.u, axes)
            words = f"numeric flipped along {_axes(axes)}"
            yield from _explains(
                t, n, u, "indexing", 4, words, "An index runs backwards", axis=list(axes), pattern="flip"
            )


def _rolled(t: Tensor) -> Iterator[Explanation]:
    for axis, size in enumerate(t.shape):
        a, n = np.moveaxis(t.a, axis, 0).reshape(size, -1), np.moveaxis(t.n, axis, 0).reshape(size, -1)
        u = np.moveaxis(t.u, axis, 0).reshape(size, -1)
        shifts: set[int] = set()
        for pivot in np.argsort(-np.nansum(np.abs(n), axis=1))[:3]:  # the largest may be shifted out
            same = np.flatnonzero((np.abs(a - n[pivot]) <= 2 * np.maximum(u, u[pivot])).all(axis=1))
            shifts.update(int(place - pivot) for place in same[:3])
        for shift in sorted(shifts, key=abs):
            if not shift or size < 2:
                continue
            shown = shift if abs(shift) <= size // 2 else shift - int(np.copysign(size, shift))
            words, hint = f"numeric shifted by {shown} along {_axes((axis,))}", "An index is off"
            rolled, spread = np.roll(t.n, shift, axis), np.roll(t.u, shift, axis)
            whole = list(
                _explains(t, rolled, spread, "indexing", 4, words, hint, axis=axis, shift=shown, pattern="roll")
            )
            yield from whole
            if not whole and abs(shift) < size / 2:
                # Shifted without coming in again at the other end: nothing is predicted for what is left there.
                cut = np.moveaxis(rolled, axis, 0)
                cut[slice(0, shift) if shift > 0 else slice(shift, None)] = np.nan
                yield from _explains(
                    t, rolled, spread, "indexing", 4.5, words, hint, axis=axis, shift=shown, pattern="shift"
                )


def _permuted(t: Tensor) -> Iterator[Explanation]:
    if not t.known.all():
        return
    hint = "Values are written to the wrong places"
    for axis, size in enumerate(t.shape):
        if size < 2 or size == t.a.size:
            continue
        a, n = np.moveaxis(t.a, axis, 0).reshape(size, -1), np.moveaxis(t.n, axis, 0).reshape(size, -1)
        direction = np.random.default_rng(0).standard_normal(n.shape[1])
        order = np.empty(size, int)
        order[np.argsort(a @ direction)] = np.argsort(n @ direction)
        predicted, spread = np.take(t.n, order, axis), np.take(t.u, order, axis)
        moved = [int(i) for i in np.flatnonzero(order != np.arange(size))]
        words = f"numeric with places {_some(moved)} of {_axes((axis,))} permuted"
        found = list(
            _explains(
                t,
                predicted,
                spread,
                "indexing",
                5,
                words,
                hint,
                axis=axis,
                indices=moved,
                order=order.tolist(),
                pattern="permutation",
            )
        )
        yield from found
        if found:
            return
    order = np.empty(t.a.size, int)
    order[np.argsort(t.a, axis=None)] = np.argsort(t.n, axis=None)
    predicted, spread = t.n.ravel()[order].reshape(t.shape), t.u.ravel()[order].reshape(t.shape)
    indices = t.indices(t.wrong)
    yield from _explains(
        t, predicted, spread, "indexing", 5.5, "numeric in another order", hint, indices=indices, pattern="permutation"
    )


def moves(t: Tensor) -> Iterator[tuple[str, str, Callable[[Array], Array]]]:
    """Rearrangements by cause, words and function."""
    for axis, size in enumerate(t.shape):
        yield "indexing", f"flipped along axis {axis}", partial(np.flip, axis=axis)
        for shift in range(1, min(size, ROLLS)):
            shown = shift if shift <= size // 2 else shift - size
            yield "indexing", f"shifted by {shown} along axis {axis}", partial(np.roll, shift=shift, axis=axis)
    square = len(t.shape) == 2 and t.shape[0] == t.shape[1]
    words = "transposed" if square else "in the other order"
    yield "transpose", words, lambda array: array.T.reshape(array.shape)


def _beside_penalty(t: Tensor) -> Iterator[Explanation]:
    """The data part is rearranged and an L2 penalty is not: ``a = P(n - k θ) + k θ``, linear in k."""
    for cause, words, move in moves(t):
        moved = move(t.n)
        u, rest = np.maximum(t.u, move(t.u)), t.x - move(t.x)
        fit = proportion(t.a - moved, rest, u)
        if fit is None:
            continue
        found = trial(t, moved + fit[0] * rest, u + fit[1] * np.abs(rest), fitted=1)
        if found.accepted and found.support > 2:
            statement = f"analytic = numeric {words} {everywhere(t, found.odd)}, but for a penalty of {fit[0]:.6g} θ"
            evidence = {"coefficient": fit[0], "pattern": words, **odd_ones(t, found.odd)}
            yield Explanation(cause, 6, found.support, statement, "The data part stands in the wrong places", evidence)
            return


def _axes(axes: Sequence[int]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else "axes " + ", ".join(map(str, axes))


def _some(places: Sequence[int]) -> str:
    return ", ".join(map(str, places[:6])) + (", …" if len(places) > 6 else "")
