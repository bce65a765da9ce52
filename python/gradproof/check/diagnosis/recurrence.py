"""The origin of a mistake where all tensors hang together: what carries from step to step is cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gradproof.check.diagnosis.comparison import Comparing
from gradproof.check.diagnosis.experiments import ROUND, SIGMOID, SURE, TINY, is_round, settle, theta_of
from gradproof.check.diagnosis.explanation import Explanation
from gradproof.check.diagnosis.origin import Case
from gradproof.check.diagnosis.tensor import Array
from gradproof.check.diagnosis.wording import worst

RECURRENT = 4  # matrices of the widest usual cell (LSTM), those nearest to the loss: bounds the cuts that are tried


def untangle(cases: Sequence[Case], laboratory: Comparing) -> None:
    """Find the origin where all hang together, as in a recurrent network: cut what carries from step to step.

    Of the tensors that are wrong, some become right where square ones among them are tiny. They are wrong only
    through those that stay wrong.
    """
    tangled = [case for case in cases if case.role == "flow" and case.factor is None]
    if len(tangled) != 1 or (tangled[0].best is not None and tangled[0].best.rounded):
        return
    origin = tangled[0]
    wrong = [i for i, case in enumerate(cases) if case is origin or case.origin is origin.tensor]
    squares = [i for i in wrong if _square(theta_of(cases[i]))][-RECURRENT:]
    if len(wrong) < 3 or not squares:
        return
    best: tuple[list[int], list[int], tuple[int, ...]] | None = None
    for group in _cuts(squares):
        found = laboratory.compare({i: TINY * theta_of(cases[i]) for i in group}, wrong, None, 1)
        telling = {i: c for i, c in found.items() if c.telling}
        right = [i for i, c in telling.items() if c.factor() == 1.0]
        left = [i for i in telling if i not in right]
        if cases.index(origin) in right and left and (best is None or len(left) < len(best[0])):
            best = left, right, group
    if best is None:
        return
    left, right, group = best
    first = cases[left[-1]]
    names = ", ".join(cases[i].tensor.name for i in group)
    first.role, first.origin = "flow", None
    for i in wrong:
        if cases[i] is not first:
            cases[i].role, cases[i].origin = "upstream", first.tensor
    there = laboratory.compare({i: TINY * theta_of(cases[i]) for i in group}, [left[-1]]).get(left[-1])
    c = None if there is None or there.a.size < 2 else there.factor()
    trusted = [cases[i] for i in right]
    if c is None:
        first.settled = settle(first, cases, worst(first, False), laboratory, trusted)
    first.settled = first.settled or _cut_off(c, names, [cases[i].tensor.name for i in left])


def _square(theta: Array) -> bool:
    return theta.ndim == 2 and theta.shape[0] == theta.shape[1] > 1


def _cuts(squares: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All but one, all, and single ones, without repetition."""
    groups = [tuple(squares)]
    groups += [tuple(i for i in squares if i != left) for left in squares]
    groups += [(i,) for i in squares]
    return iter([group for group in dict.fromkeys(groups) if group])


def _cut_off(c: float | None, cut: str, left: Sequence[str]) -> Explanation:
    text = (
        f"where {cut} carry nothing from step to step, only {', '.join(left)} {'is' if len(left) == 1 else 'are'} wrong"
    )
    evidence = {"part": c} if c is not None else {}
    if c is None:
        hint = "Probably a derivative there; a mask, a lost path or a wrong state look alike"
        others = ("missing-term", "mask", "state", "transpose")
        return Explanation("derivative", 8, 1, text, hint, evidence, None, 0.55, others)
    if c == 0.0:
        return Explanation("missing-term", 4, 3, f"{text}: analytic = 0", "It is cut off", evidence, None, SURE)
    if abs(c + 1) < 1e-3:
        return Explanation("sign", 4, 3, f"{text}: analytic = -numeric", "A minus is lost", evidence, None, SURE)
    text = f"{text}: analytic = {c:.4g} × numeric"
    scaled = is_round(c) and abs(c - 1 / SIGMOID) > ROUND
    cause, other = ("scale", "derivative") if scaled else ("derivative", "scale")
    return Explanation(cause, 5, 3, text, "A factor, or a derivative", evidence, None, 0.6, (other, "missing-term"))
