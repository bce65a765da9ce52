"""Patterns in which only a part of a tensor is wrong, and those that only a residual of low rank shows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradproof.check.diagnosis.explanation import Explanation
from gradproof.check.diagnosis.fits import proportion
from gradproof.check.diagnosis.tensor import CLEAR, Array, Tensor

LARGEST_SVD = 64  # rows or columns looked at for the rank


def explain_parts(t: Tensor) -> Iterator[Explanation]:
    """Explanations of a tensor that is right in places that could have been wrong."""
    right = t.clear & ~t.wrong if t.whole else np.zeros(t.a.shape, bool)
    if t.whole and right.any() and t.a.ndim:
        lines = list(_lines(t, right))
        yield from lines
        if not lines:
            yield from _scattered(t, right)
    elif not t.whole and t.entries:
        wrong = t.wrong & t.known
        if t.place != "throughout" or not wrong.all() or _common_place(t.indices(wrong)) is not None:
            yield _listed(t, wrong, 3)
    yield from _low_rank(t)


def _lines(t: Tensor, right: Array) -> Iterator[Explanation]:
    """Whole rows, columns or slices wrong, the others right."""
    if t.a.ndim < 2:
        return
    for axis in sorted(range(t.a.ndim), key=lambda i: wrong_places(t, i).size / t.shape[i]):
        wrong = wrong_places(t, axis)
        rest = tuple(i for i in range(t.a.ndim) if i != axis)
        fully_right = (right.any(axis=rest) & ~t.wrong.any(axis=rest)).sum()
        filled = t.wrong.sum() / max(1, (t.known & (t.clear | t.wrong)).take(wrong, axis).sum())
        if not fully_right or filled < 0.75 or (wrong.size == 1 and t.wrong.sum() < 2):
            continue
        yield _line(t, axis, wrong, int(fully_right))
        return


def _line(t: Tensor, axis: int, wrong: Array, right: int) -> Explanation:
    places = [int(i) for i in wrong]
    a, n, u = (array.take(wrong, axis) for array in (t.a, t.n, t.u))
    evidence: dict[str, object] = {"axis": axis, "indices": places}
    statement = f"wrong at {_some(places)} of axis {axis}, right at the other {t.shape[axis] - len(places)}"
    unit_axis = axis == t.a.ndim - 1
    edge = (
        len(places) == 1
        or places[-1] - places[0] == len(places) - 1
        and (not places[0] or places[-1] == t.shape[axis] - 1)
    )
    fit = proportion(a, n, u)
    if fit is not None and np.all(np.abs(a - fit[0] * n) <= 3 * (1 + abs(fit[0])) * u + fit[1] * np.abs(n)):
        evidence["factor"] = fit[0]
        shown = "0" if abs(fit[0]) < 1e-9 else f"{fit[0]:.4g} × numeric"
        hint = "A range ends early or starts late" if abs(fit[0]) < 1e-9 else "These places are treated differently"
        return Explanation(
            "indexing",
            5,
            a.size - 1,
            f"{statement}; analytic = {shown} there",
            hint,
            evidence,
            None,
            0.85,
            ("missing-term", "mask"),
        )
    if _unmasked(a, n, u):
        hint = "Values flow back where the forward pass let none through: the mask is missing"
        return Explanation(
            "mask", 4.5, a.size, f"{statement}; numeric = 0 there", hint, evidence, None, 0.85, ("derivative",)
        )
    if axis == 0 and len(places) > 1:
        hint = "Rows that occur several times: probably overwritten instead of added up (np.add.at)"
        empty = not np.all(t.clear.reshape(t.shape[0], -1).any(axis=1))
        return Explanation(
            "accumulation", 6, right, statement, hint, evidence, None, 0.8 if empty else 0.6, ("indexing", "mask")
        )
    if unit_axis and not edge:
        hint = "These units are treated differently on the way back: a mask, or the branches of a maximum"
        return Explanation("mask", 6.5, right, statement, hint, evidence, None, 0.55, ("derivative", "indexing"))
    return Explanation(
        "indexing", 6, right, statement, "An index is off", evidence, None, 0.6, ("mask", "accumulation")
    )


def _unmasked(a: Array, n: Array, u: Array) -> bool:
    """Whether everything there is zero and should have stayed it."""
    return bool(np.all(np.abs(n) <= CLEAR * u) and np.any(np.abs(a) > CLEAR * u))


def _scattered(t: Tensor, right: Array) -> Iterator[Explanation]:
    """Single entries, blocks, strides; or units of a vector."""
    wrong = t.wrong & t.known
    count, share = int(wrong.sum()), float(wrong.sum() / max(1, (right | wrong).sum()))
    if not count:
        return
    n, a, u = t.n[wrong], t.a[wrong], t.u[wrong]
    if np.all(np.abs(n) <= CLEAR * u) and np.any(np.abs(a) > CLEAR * u) and count > 1:
        statement = f"analytic is not 0 in {count} entries where numeric is, and right in the other {int(right.sum())}"
        hint = "Values flow back where the forward pass let none through: the mask is missing"
        yield Explanation("mask", 5, count, statement, hint, {"indices": t.indices(wrong)}, None, 0.7, ("derivative",))
        return
    if not np.any(a) and count > 2:
        statement = f"analytic = 0 in {count} entries where numeric is not, and right in the other {int(right.sum())}"
        evidence = {"indices": t.indices(wrong), "factor": 0.0}
        if _block(wrong) is not None or _block(~wrong) is not None:
            hint = "A range ends early or starts late, or these are not written"
            yield Explanation("indexing", 5, count, statement, hint, evidence, None, 0.8, ("missing-term", "mask"))
        else:
            hint = "These are masked, or never written"
            yield Explanation("mask", 5, count, statement, hint, evidence, None, 0.6, ("missing-term", "indexing"))
        return
    if share <= 0.25 or count <= 2 or _block(wrong) is not None:
        yield _listed(t, wrong, int(right.sum()))


def _listed(t: Tensor, wrong: Array, right: int) -> Explanation:
    count = int(wrong.sum())
    places = t.indices(wrong)
    evidence: dict[str, object] = {"indices": places}
    where = f"at {', '.join(map(str, places[:4]))}{', …' if count > 4 else ''}"
    statement = f"{count} {'entry is' if count == 1 else 'entries are'} wrong ({where})"
    statement += ", the others are right" if t.whole or t.rest_right else " of those looked at"
    fit = proportion(t.a[wrong], t.n[wrong], t.u[wrong]) if count else None
    if fit is not None and np.all(
        np.abs(t.a[wrong] - fit[0] * t.n[wrong]) <= 3 * (1 + abs(fit[0])) * t.u[wrong] + fit[1] * np.abs(t.n[wrong])
    ):
        evidence["factor"] = fit[0]
        statement += f"; analytic = {fit[0]:.4g} × numeric there"
    stride = _stride(wrong)
    if stride is not None:
        evidence["stride"] = stride
        statement += f"; every {stride}th"
    block = _block(wrong) if t.whole else None
    if block is not None:
        evidence["block"] = block
    cost = 5.5
    if not t.whole:
        line = _common_place(places)
        if line is not None:
            evidence["axis"], evidence["place"] = line
            statement += f"; all at {line[1]} of axis {line[0]}"
        if t.rest_right or line is not None:
            cost = 0.3
        if t.place not in ("", "throughout"):
            statement = f"wrong in {t.place}: {statement}"
            evidence["where"] = t.place
            cost = 0.3
    hint = "Look at how just these are computed and written"
    return Explanation("indexing", cost, right, statement, hint, evidence, None, 0.8, ("accumulation", "mask"))


def _common_place(places: list[list[int]]) -> tuple[int, int] | None:
    """Axis and place that all of several entries share."""
    if len(places) < 3 or len(places[0]) < 2:
        return None
    shared = [axis for axis, column in enumerate(zip(*places, strict=True)) if len(set(column)) == 1]
    return (shared[0], places[0][shared[0]]) if len(shared) == 1 else None


def _stride(wrong: Array) -> int | None:
    places = np.flatnonzero(wrong)
    steps = np.diff(places)
    return int(steps[0]) if steps.size > 1 and steps[0] > 1 and np.all(steps == steps[0]) else None


def _block(wrong: Array) -> list[list[int]] | None:
    """First and last index along every axis, if the wrong entries fill a box."""
    if not wrong.ndim:
        return None
    places = np.argwhere(wrong)
    low, high = places.min(axis=0), places.max(axis=0)
    filled = np.prod(high - low + 1) == len(places)
    return [[int(i), int(j)] for i, j in zip(low, high, strict=True)] if filled else None


def wrong_places(t: Tensor, axis: int) -> Array:
    """Places along an axis that hold a wrong entry."""
    rest = tuple(i for i in range(t.a.ndim) if i != axis)
    return np.flatnonzero(t.wrong.any(axis=rest))


def rank(t: Tensor) -> tuple[int, int] | None:
    """Rank of the residual to within the uncertainty, and what it could have been; None if it is no matrix."""
    if not t.whole or t.a.ndim < 2 or not t.known.all():
        return None
    r, u = t.r.reshape(-1, t.shape[-1]), t.u.reshape(-1, t.shape[-1])
    r, u = r[_spread(r.shape[0])], u[_spread(r.shape[0])]
    r, u = r[:, _spread(r.shape[1])], u[:, _spread(r.shape[1])]
    rows, columns = np.abs(r).max(axis=1) > CLEAR * u.max(axis=1), np.abs(r).max(axis=0) > CLEAR * u.max(axis=0)
    values = np.linalg.svd(r, compute_uv=False)
    floor = 3 * float(np.sqrt(np.sum(u**2)))
    return int((values > floor).sum()), int(min(rows.sum(), columns.sum()))


def _spread(count: int) -> Array:
    return np.arange(count) if count <= LARGEST_SVD else np.linspace(0, count - 1, LARGEST_SVD).astype(int)


def _low_rank(t: Tensor) -> Iterator[Explanation]:
    found = rank(t)
    if found is None or not 0 < found[0] <= found[1] // 3 or not t.is_wrong:
        return
    got, full = found
    statement = f"analytic - numeric has rank {got} of {full} possible"
    rows = "one row" if got == 1 else f"{got} rows"
    steps = "one step" if got == 1 else f"{got} steps"
    hint = f"What {rows} of the batch (or {steps} in time) adds to the sum is missing or wrong"
    support = max(1, full - got)
    yield Explanation(
        "missing-term",
        5.4 if got == 1 else 7,
        support,
        statement,
        hint,
        {"rank": got},
        None,
        0.65,
        ("indexing", "reduction"),
    )


def _some(places: list[int]) -> str:
    return str(places) if len(places) <= 8 else f"{places[:8]}…"
