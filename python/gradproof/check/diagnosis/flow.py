"""What is probably wrong in the step back into a layer, when no single tensor shows a simple pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gradproof.check.diagnosis.explanation import Explanation
from gradproof.check.diagnosis.origin import Case, units_of
from gradproof.check.diagnosis.parts import rank
from gradproof.check.diagnosis.tensor import CLEAR

DEFAULT = 0.55  # confidence in "derivative" where nothing tells it from a mask or a lost path


def explain_flow(case: Case, cases: Sequence[Case], statement: str) -> Explanation:
    """The step back into the layer of `case` is wrong, and what is before it through that."""
    best = case.best
    if best is not None and best.rounded:
        return best
    layer = [c for c in cases if c.layer == case.layer and c.tensor.is_wrong]
    before = [c for c in cases if c.layer <= case.layer and c.tensor.is_wrong]
    mean_path = _cancelling_bias(layer)
    if mean_path is not None:
        hint = (
            "The path through a mean over the batch is missing (batch norm): that gradient cancels in the sum over it"
        )
        text = f"{statement}; {mean_path} should be 0 and is not"
        return Explanation("reduction", 4, len(before), text, hint, {"axis": 0}, None, 0.85, ("missing-term",))
    if best is not None and best.cause == "reduction":
        return best
    if _rank_one(rank(case.tensor)):
        shown = statement if "rank" in statement else f"{statement}; analytic - numeric has rank 1"
        return _one_rank(case, cases, before, shown)
    if best is not None and best.certainty >= 0.7 and best.support >= 2:
        return best
    if best is not None and len(before) == 1 and best.cause in ("accumulation", "indexing", "unknown"):
        return best
    last = not any(c.layer > case.layer for c in cases)
    if _unbalanced(case):
        text = f"{statement}; numeric sums to 0 over the units, analytic does not"
        hint = "The path through a mean or sum over the units is left out (layer norm, softmax)"
        named, other = ("derivative", "reduction") if last else ("reduction", "derivative")
        return Explanation(named, 5, 1, text, hint, {"axis": -1}, None, 0.75, (other, "missing-term"))
    masked = None if last else _units(case, layer, statement)
    if masked is not None:
        return masked
    hint = "Probably the derivative of an activation or a norm"
    others = ("mask", "missing-term", "transpose", "reduction", "state")
    return Explanation("derivative", 8, 1, statement, hint, {}, None, DEFAULT, others)


def _one_rank(case: Case, cases: Sequence[Case], before: Sequence[Case], statement: str) -> Explanation:
    """One row of the batch, or one mean over it: only the first leaves its rank in all tensors before."""
    ranks = [found for found in (rank(c.tensor) for c in before) if found is not None]
    low = [0 < got <= full // 3 for got, full in ranks]
    if not any(c.layer > case.layer for c in cases) or (len(low) > 1 and all(low)):
        hint = "What one row of the batch adds is missing or wrong, here and in all before it"
        return Explanation("missing-term", 5, len(low), statement, hint, {"rank": 1}, None, 0.75, ("indexing",))
    hint = "The same is missing in all rows of the batch: the path through a mean over them (batch norm)"
    evidence = {"axis": 0, "rank": 1}
    return Explanation("reduction", 5, len(low), statement, hint, evidence, None, 0.8, ("missing-term",))


def _rank_one(found: tuple[int, int] | None) -> bool:
    return found is not None and found[0] == 1 and found[1] > 2


def _cancelling_bias(layer: Sequence[Case]) -> str | None:
    for case in layer:
        t = case.tensor
        if (
            t.whole
            and t.a.ndim == 1
            and t.count > 1
            and not t.clear.any()
            and np.all(np.abs(t.n[t.known]) <= CLEAR * t.u[t.known])
        ):
            return t.name
    return None


def _unbalanced(case: Case) -> bool:
    """Whether a shift of all units changes nothing, but would by the gradient under test."""
    t = case.tensor
    if not t.whole or not t.a.ndim or t.shape[-1] < 3 or not t.known.all() or case.best is not None:
        return False
    room = 3 * np.sqrt(np.sum(t.u**2, axis=-1))
    size = np.sqrt(np.sum(t.n**2, axis=-1))
    balanced = np.all(np.abs(t.n.sum(-1)) <= room) and np.any(room < 1e-3 * size)
    return bool(balanced and np.any(np.abs(t.a.sum(-1)) > 10 * room))


def _units(case: Case, layer: Sequence[Case], statement: str) -> Explanation | None:
    """Some units wrong and others right, the same in all tensors of the layer: a mask or the pieces of a maximum."""
    found = [units_of(c) for c in layer]
    wrong = [pair[0] for pair in found if pair is not None]
    right = [pair[1] for pair in found if pair is not None]
    if not wrong or any(mask.shape != wrong[0].shape for mask in wrong):
        return None
    units = np.logical_or.reduce(wrong)
    clean = np.logical_and.reduce(right)
    dead = _dead(case, units)
    if not clean.any() and not dead:
        return None
    places = [int(i) for i in np.flatnonzero(units)]
    dead = _dead(case, units)
    text = f"{statement}; wrong in {len(places)} of {units.size} units, right in {int(clean.sum())}"
    if dead:
        text += f"; units {dead[:6]} let nothing through in the forward pass, but do here"
    hint = "Look at the mask of that step (ReLU, dropout, the winners of a maximum, margins)"
    evidence = {"indices": places, "axis": -1}
    certainty = 0.85 if dead else 0.75 if len(wrong) > 1 else 0.6
    return Explanation("mask", 5, int(clean.sum()), text, hint, evidence, None, certainty, ("derivative", "indexing"))


def _dead(case: Case, units: np.ndarray) -> list[int]:
    t = case.tensor
    rest = tuple(range(t.a.ndim - 1))
    silent = ~t.clear.any(axis=rest) & units
    return [int(i) for i in np.flatnonzero(silent)]


def explain_own(case: Case, statement: str) -> Explanation:
    """A tensor wrong by its own formula, without a pattern that says how."""
    if case.best is not None:
        return case.best
    others = ("state", "missing-term", "accumulation", "indexing", "derivative")
    hint = "Look for a wrong or stale input, or a term of a sum that is left out, overwritten or counted twice"
    return Explanation("unknown", 9, 0, statement, hint, {}, None, 0.4, others)


def clipped_to(explanation: Explanation, bound: float, whole: bool) -> Explanation:
    """The same factor, read as the clipping of a norm."""
    hint = f"The norm of {'the whole gradient' if whole else 'it'} is {bound:g}: it is clipped; check it before that"
    evidence = {**explanation.evidence, "bound": bound}
    return replace(explanation, cause="clipping", hint=hint, evidence=evidence, candidates=("scale",))
