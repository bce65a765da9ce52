"""Patterns along an axis: constants, missing means, a factor for every row or column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradproof.check.diagnosis.explanation import Explanation, trial
from gradproof.check.diagnosis.fits import proportion
from gradproof.check.diagnosis.tensor import CLEAR, Array, Tensor


def explain_axes(t: Tensor, others: Sequence[Tensor]) -> Iterator[Explanation]:
    """Explanations that treat an axis as a whole."""
    if not t.whole or t.count < 2 or not t.known.all():
        return
    found = [*_factors(t, others), *_sizes_of_others(t, others), *_radial_parts(t)]
    if not t.mostly_right:
        found = [*_constant(t), *_missing_mean(t), *found]
    yield from found
    if not found and not t.mostly_right:
        yield from _same_total(t, others)


def _groups(t: Tensor) -> Iterator[tuple[tuple[int, ...], str]]:
    for axis, size in enumerate(t.shape):
        if size > 1:
            yield (axis,), f"along axis {axis}"
    if t.a.ndim > 1:
        yield tuple(range(t.a.ndim)), "everywhere"


def _constant(t: Tensor) -> Iterator[Explanation]:
    """The analytic gradient is one value along an axis: a sum or mean was taken over it and broadcast."""
    for axes, where in _groups(t):
        a = t.a.mean(axis=axes, keepdims=True)
        size = float(np.max(np.abs(t.a)))
        length = t.a.size // a.size
        if not size or np.max(np.abs(t.a - a)) > 1e-12 * size or t.a.size - a.size < 2 or length < 2:
            continue
        total = t.n.sum(axis=axes, keepdims=True)
        spread = np.sqrt(np.sum(t.u**2, axis=axes, keepdims=True)) + t.u.max()
        fit = proportion(a.ravel(), total.ravel(), spread.ravel())
        evidence: dict[str, object] = {"axis": list(axes)}
        hint = "A sum or mean over that axis is broadcast back over it: look at axis= and keepdims="
        if fit is not None and a.size > 1 and np.all(np.abs(a - fit[0] * total) <= 3 * (1 + abs(fit[0])) * spread):
            known = (
                "sum"
                if abs(fit[0] - 1) < 1e-5
                else "mean"
                if abs(fit[0] * length - 1) < 1e-5
                else f"{fit[0]:.4g} × the sum"
            )
            statement = f"analytic is constant {where}: the {known} of numeric over it"
        elif fit is not None and any(abs(fit[0] - c) < 1e-6 for c in (1.0, 1 / length)):
            statement = (
                f"analytic is constant {where}: the {'sum' if abs(fit[0] - 1) < 1e-6 else 'mean'} of numeric over it"
            )
        else:
            statement = f"analytic is constant {where}, numeric is not"
        support = t.a.size - a.size - 1
        yield Explanation("reduction", 4, support, statement, hint, evidence, None, 0.95, ("mask",))
        return


def _missing_mean(t: Tensor) -> Iterator[Explanation]:
    """The residual is one value along an axis: a mean that was to be subtracted is missing."""
    for axes, where in _groups(t):
        shift = t.r.mean(axis=axes, keepdims=True)
        if t.a.size - shift.size < 3:
            continue
        found = trial(t, t.n + shift, 2 * t.u, fitted=0, exact=True)
        support = int((np.abs(np.broadcast_to(shift, t.shape)) > CLEAR * t.u).sum()) - shift.size
        if found.accepted and support > 0:
            statement = f"analytic - numeric is constant {where} ({float(np.abs(shift).max()):.3g} at most)"
            hint = "The path through a mean over that axis is missing, or a mean is taken over the wrong axis"
            others = ("missing-term",)
            certainty = 0.7 if t.a.ndim == 1 else 0.85
            yield Explanation("reduction", 4, support, statement, hint, {"axis": list(axes)}, None, certainty, others)
            return


def _factors(t: Tensor, others: Sequence[Tensor]) -> Iterator[Explanation]:
    """One factor per row or column."""
    for axis, size in enumerate(t.shape):
        rest = t.a.size // size
        if size < 2 or rest < 3:
            continue
        a, n, u = (np.moveaxis(array, axis, 0).reshape(size, -1) for array in (t.a, t.n, t.u))
        with np.errstate(all="ignore"):
            weight = np.where(np.abs(n) > CLEAR * u, n / u**2, 0.0)
            s = np.sum(weight * a, axis=1) / np.sum(weight * n, axis=1)
        s = np.where(np.isfinite(s), s, 1.0)
        shape = [1] * t.a.ndim
        shape[axis] = size
        column = s.reshape(shape)
        found = trial(t, column * t.n, (1 + np.abs(column)) * t.u, fitted=size, exact=True)
        clear = (weight != 0).sum(axis=1)
        if not found.accepted or found.support < size or np.all(clear < 2):
            continue
        telling = clear > 0
        if not np.any(telling & (np.abs(s - 1) > 1e-6)):  # all factors are 1 but for the last digits
            continue
        yield _per_unit(t, axis, s, telling, found.support, others)
        return


def _radial_parts(t: Tensor) -> Iterator[Explanation]:
    """Every row or column has a part along its parameters that the measured gradient has not."""
    for axis, size in enumerate(t.shape):
        rest = tuple(i for i in range(t.a.ndim) if i != axis)
        if size < 2 or t.a.size // size < 3:
            continue
        squares = np.sum(t.x**2, axis=rest, keepdims=True)
        along = np.abs(np.sum(t.n * t.x, axis=rest, keepdims=True))
        room = 3 * np.sqrt(np.sum((t.u * t.x) ** 2, axis=rest, keepdims=True))
        length = np.sqrt(np.sum(t.n**2, axis=rest, keepdims=True) * squares)
        if not np.all(squares) or np.any(along > room) or np.any(room > 1e-3 * length):
            continue
        k = np.sum(t.r * t.x, axis=rest, keepdims=True) / squares
        found = trial(t, t.n + k * t.x, 2 * t.u, fitted=size)
        if found.accepted and found.support > 2:
            statement = f"analytic = numeric + k θ with one k per place of axis {axis}"
            hint = "Numeric is at right angles to θ there: the derivative of the norm is left out"
            others = ("derivative",)
            yield Explanation("missing-term", 5, found.support, statement, hint, {"axis": axis}, None, 0.9, others)
            return


def _sizes_of_others(t: Tensor, others: Sequence[Tensor]) -> Iterator[Explanation]:
    """A factor per place of an axis, which a tensor's values or lengths of rows or columns give."""
    if t.a.size < 3:
        return
    for other in others:
        for words, size in _sizes(other).items():
            if not np.all(size) or np.ptp(size) <= 1e-6 * np.abs(size).max():
                continue
            for axis in (axis for axis, length in enumerate(t.shape) if length == size.size):
                shape = [1] * t.a.ndim
                shape[axis] = size.size
                found = _by_powers(t, other, words, size.reshape(shape))
                if found is not None:
                    yield found
                    return


def _by_powers(t: Tensor, other: Tensor, words: str, size: Array) -> Explanation | None:
    for power in (1, -1, 2, -2):
        factors = size**power
        found = trial(t, factors * t.n, (1 + np.abs(factors)) * t.u, exact=True)
        if found.accepted and found.support > 2:
            times, squared = "×" if power > 0 else "/", " squared" if abs(power) == 2 else ""
            name = "itself" if other is t else other.name
            statement = f"analytic = numeric {times} {name} ({words}{squared})"
            hint = f"A factor from {name} is {'too many' if power > 0 else 'missing'}, or taken twice"
            evidence = {"other": other.name, "factors": factors.ravel().tolist()}
            return Explanation("scale", 4, found.support, statement, hint, evidence, None, 0.9)
    return None


def _sizes(other: Tensor) -> dict[str, Array]:
    theta = np.asarray(other.theta, np.float64)
    if theta.ndim == 1:
        return {"its values": theta}
    if theta.ndim != 2:
        return {}
    lengths = {axis: np.sqrt(np.sum(np.square(theta), axis=axis)) for axis in (0, 1)}
    return {"the length of its columns": lengths[0], "the length of its rows": lengths[1]}


def _per_unit(t: Tensor, axis: int, s: Array, telling: Array, support: int, others: Sequence[Tensor]) -> Explanation:
    off = telling & (np.abs(s - 1) > 1e-6)
    where = [int(i) for i in np.flatnonzero(off)]
    evidence: dict[str, object] = {"axis": axis, "factors": s.tolist(), "indices": where}
    same = np.ptp(s[off]) < 1e-6
    each = f"{s[off][0]:.4g} where it is wrong" if same else f"{s[off].min():.4g} to {s[off].max():.4g}"
    statement = f"analytic = c × numeric with one c per place of axis {axis} ({each})"
    with np.errstate(divide="ignore"):
        k = 1 / s[off]
    counts = np.all(np.abs(s[off] - np.rint(s[off])) < 1e-6) and np.all(s[off] > 1.5)
    shares = np.all(np.abs(k - np.rint(k)) < 1e-6) and np.all(k > 1.5)
    if np.all(s[off] == 0) or np.all(np.abs(s[off]) < 1e-9):
        return _zeroed(t, axis, where, support, evidence)
    if (counts or shares) and axis == 0 and off.sum() < telling.sum():
        hint = "Rows that occur several times are counted wrongly: add up with np.add.at, once each"
        return Explanation("accumulation", 4, support, statement, hint, evidence, None, 0.9, ("scale", "indexing"))
    for other in others:
        for power, words in ((1, "is applied once too often"), (-1, "is missing")):
            theta = np.asarray(other.theta, np.float64).ravel()
            if other is t or theta.size != s.size or not theta.all():
                continue
            ratio = s[telling] / theta[telling] ** power
            if np.ptp(theta) > 1e-6 and np.all(np.abs(ratio - 1) < 1e-5):
                evidence["other"] = other.name
                return Explanation("scale", 4, support, statement, f"The factor {other.name} {words}", evidence, None)
    if off.sum() < telling.sum():
        hint = f"Only the places {where[:8]} of axis {axis} are wrong"
        if same:
            evidence["factor"] = float(s[off][0])
        if same and abs(s[off][0] + 1) < 1e-6:
            return Explanation("sign", 5, support, statement, hint, evidence, None, 0.8, ("indexing", "mask"))
        return Explanation("indexing", 5, support, statement, hint, evidence, None, 0.8, ("scale", "mask"))
    hint = "A factor that belongs to each unit (γ, 1/σ, a slope, a mask of the unit) is missing or applied twice"
    return Explanation("scale", 5, support, statement, hint, evidence, None, 0.6, ("derivative", "mask"))


def _zeroed(t: Tensor, axis: int, where: list[int], support: int, evidence: dict[str, object]) -> Explanation:
    last = where == list(range(where[0], where[0] + len(where))) and (where[0] == 0 or where[-1] == t.shape[axis] - 1)
    evidence["factor"] = 0.0
    statement = f"analytic = 0 at {where[:8]} of axis {axis}, right elsewhere"
    if last or len(where) == 1:
        hint = "A range ends early or starts late (off by one)"
        return Explanation("indexing", 4, support, statement, hint, evidence, None, 0.9, ("missing-term", "mask"))
    hint = "These places are masked, or never written"
    cause, other = ("mask", "indexing") if axis == t.a.ndim - 1 else ("indexing", "mask")
    return Explanation(cause, 4.5, support, statement, hint, evidence, None, 0.6, (other, "missing-term"))


def _same_total(t: Tensor, others: Sequence[Tensor]) -> Iterator[Explanation]:
    """A sum over the wrong axis of a square array keeps the total."""
    total, spread = float(t.n.sum()), float(np.sqrt(np.sum(t.u**2)) + t.u.max())
    typical = float(np.sqrt(np.sum(t.r**2)))
    if (
        t.a.ndim == 1
        and abs(t.a.sum() - total) <= 3 * spread
        and typical > 1e3 * spread
        and abs(total) > 1e-3 * typical
    ):
        statement = f"analytic and numeric have the same sum ({total:.6g}), but not the same entries"
        hint = "The values stand in the wrong places, or a sum over rows is one over columns"
        behind = any(len(other.shape) > 1 and other.shape[-1] == t.a.size for other in others)  # a bias
        cause, rival = ("reduction", "indexing") if behind else ("indexing", "reduction")
        flow = 1.0 if behind else None
        yield Explanation(cause, 7, 1, statement, hint, {"sum": total}, flow, 0.6, (rival,))
