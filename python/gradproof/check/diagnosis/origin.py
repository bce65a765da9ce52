"""Which of the wrong tensors is wrong by its own formula, and which by what flows back into it.

Backpropagation runs from the loss to the input. A tensor that is right, or wrong in a way that its own formula makes
(a factor, a transpose, a penalty), proves right what flows back into its layer, and so everything nearer to the loss.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gradproof.check.diagnosis.explanation import Explanation
from gradproof.check.diagnosis.tensor import Array, Tensor


@dataclass
class Case:
    """One tensor on trial.

    Attributes
    ----------
    tensor : Tensor
        What is on trial.
    layer : int
        Position of its layer, counted from the input.
    explanations : list of Explanation
        The best first; empty if right or without a pattern.
    role : str
        ``"right"``, ``"own"`` (its own formula is wrong), ``"flow"`` (first to show that what flows back is wrong),
        ``"upstream"``, ``"silent"`` (nothing in it could have been wrong).
    origin : Tensor or None
        Of an ``"upstream"`` one.
    settled : Explanation or None
        What experiments have shown, which the pattern at the point does not.
    """

    tensor: Tensor
    layer: int
    explanations: list[Explanation] = field(default_factory=list)
    role: str = "right"
    origin: Tensor | None = None
    settled: Explanation | None = None

    @property
    def best(self) -> Explanation | None:
        """The preferred explanation."""
        return self.explanations[0] if self.explanations else None

    @property
    def factor(self) -> float | None:
        """The factor on what flows back into the layer, as far as this tensor tells."""
        if not self.tensor.is_wrong:
            return 1.0 if self.tensor.proved_right else None
        return None if self.best is None else self.best.factor


def layers_of(tensors: Sequence[Tensor]) -> list[int]:
    """The layer of every tensor, numbered by first appearance.

    By the names where they say so ("dense_0.W" and "dense_0.b", "W1" and "b1"), else a vector belongs to the matrix
    just before it that has as many columns.

    Names are hints by convention: no verdict rests on them, but which of several wrong tensors is said to be the
    origin may.
    """
    keys: list[str] = []
    for i, tensor in enumerate(tensors):
        stem, dot, _ = tensor.name.rpartition(".")
        digits = re.search(r"\d+$", tensor.name)
        if dot and stem:
            key = stem + re.sub(r"\D", "", tensor.name[len(stem) + 1 :])
        elif digits:
            key = digits[0]
        else:
            key = f"#{i}"
            before = tensors[i - 1] if i else None
            last = tensor.name.rpartition(".")[2].lower()
            stem = "" if before is None else before.name.rpartition(".")[2].lower()
            named = last.startswith("b") or last in (stem, stem + "b", stem + "_b")  # b, bias, bh; a of A; kb of K
            if named and before is not None and len(tensor.shape) == 1 and len(before.shape) > 1:
                key = keys[-1] if tensor.shape[0] in (before.shape[-1], before.shape[0]) else key
        keys.append(key)
    order = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    return [order[key] for key in keys]


def assign(cases: Sequence[Case]) -> None:
    """Give every case its role."""
    flow = 1.0  # the factor on what flows back, as known so far
    lost: Case | None = None  # where what flows back went wrong without a pattern
    scaled: Case | None = None  # where it got its factor
    for layer in sorted({case.layer for case in cases}, reverse=True):
        here = [case for case in cases if case.layer == layer]
        before = [case for case in cases if case.layer < layer]
        factors = [case.factor for case in here]
        known = [factor for factor in factors if factor is not None]
        proofs = known + [case.factor for case in before if case.factor is not None]
        if not any(_same(factor, flow) for factor in proofs):
            common = _common(factors, proofs)
            if common is not None:
                flow, scaled = common, _nearest([case for case in here if _matches(case, common)])
                scaled.role = "flow"
        if lost is None and not any(proofs[len(known) :]):
            unexplained = [c for c in here if c.tensor.is_wrong and c.factor is None and not _lone_entry(c)]
            # A tensor that is right clears its layer; but of a layer in which two go wrong it is on another branch.
            if unexplained and (not any(known) or len(unexplained) > 1):
                lost = _nearest(unexplained)
        for case in here:
            _assign_one(case, flow, lost, scaled, proofs[len(known) :] if lost in here else proofs)
    _join_branches(cases)


def _lone_entry(case: Case) -> bool:
    """Whether one entry of a matrix is wrong and its column is right otherwise: then so is what flows back to it."""
    t = case.tensor
    if not t.whole or t.a.ndim < 2 or np.count_nonzero(t.wrong) != 1:
        return False
    return bool(t.clear[(..., np.argwhere(t.wrong)[0][-1])].any())


def _assign_one(case: Case, flow: float, lost: Case | None, scaled: Case | None, proofs: Sequence[float]) -> None:
    if not case.tensor.is_wrong:
        case.role = "right" if case.tensor.proved_right else "silent"
    elif case is lost or case.role == "flow":
        case.role = "flow"
    elif case.factor is None and lost is not None and not any(proofs):
        case.role, case.origin = "upstream", lost.tensor
    elif (
        scaled is not None
        and _matches(case, flow)
        and case.best is not None
        and case.best.cause in ("scale", "sign", "missing-term")
    ):
        case.role, case.origin = "upstream", scaled.tensor
    else:
        case.role = "own"


def _nearest(layer: Sequence[Case]) -> Case:
    """Of one layer the matrix nearest to the loss: the vector behind it is its bias."""
    return max(layer, key=lambda case: (len(case.tensor.shape) > 1, layer.index(case)))


def _same(left: float | None, right: float) -> bool:
    return left is not None and abs(left - right) <= 1e-5 * max(abs(left), abs(right))


def _matches(case: Case, flow: float) -> bool:
    return case.tensor.is_wrong and _same(case.factor, flow)


def _common(here: Sequence[float | None], proofs: Sequence[float]) -> float | None:
    """The factor that most tensors from here to the input show, if one of this layer does and it is no lone voice."""
    votes = Counter(next(seen for seen in proofs if _same(seen, factor)) for factor in proofs)
    candidates = [factor for factor in here if factor is not None]
    if not candidates:
        return None
    best = max(candidates, key=lambda factor: max(count for seen, count in votes.items() if _same(seen, factor)))
    count = max(number for seen, number in votes.items() if _same(seen, best))
    return best if count > 1 and 2 * count > len(proofs) else None


def _join_branches(cases: Sequence[Case]) -> None:
    """Of several without a pattern the nearest to the loss is the origin: the others may hang on it by a branch."""
    lost = [case for case in cases if case.role in ("own", "flow") and case.factor is None and not _own_pattern(case)]
    for case in lost:
        behind = [other for other in lost if other.layer > case.layer]
        if behind and case.role == "flow":
            case.role, case.origin = "upstream", behind[-1].tensor
            behind[-1].role = "flow"
            for other in cases:
                if other.origin is case.tensor:
                    other.origin = behind[-1].tensor


def _own_pattern(case: Case) -> bool:
    return case.best is not None and case.best.certainty >= 0.7 and case.best.support > 2


def units_of(case: Case) -> tuple[Array, Array] | None:
    """Masks over the units (last axis): those with a wrong entry, and those proved right."""
    t = case.tensor
    if not t.whole or not t.a.ndim:
        return None
    rest = tuple(range(t.a.ndim - 1))
    wrong = t.wrong.any(axis=rest)
    return np.asarray(wrong), np.asarray(t.clear.any(axis=rest) & ~wrong)
