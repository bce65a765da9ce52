"""What the pattern at one point cannot tell is asked of the functions at other points.

A mistake shows what it depends on: where some other tensors are made tiny, or symmetric, it vanishes, or what is left
of the gradient is wrong by a plain factor. Both gradients are compared there along a few directions only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradproof.check.diagnosis.comparison import SLACK, Comparing, Comparison
from gradproof.check.diagnosis.explanation import Explanation
from gradproof.check.diagnosis.origin import Case
from gradproof.check.diagnosis.tensor import Array
from gradproof.check.diagnosis.wording import worst

TINY = 2.0**-20  # as good as zero, yet on the same side of every kink
LARGE = 64.0  # times its size: a part that grows with a tensor outweighs the others; no farther, for loops in the loss
SMALL = 2.0**-12  # of a layer itself: its units become linear
STEP_SMALL = 2.0**-16
NEAR = 2.0**-7  # of the parameters: third differences leave next to nothing of what is smooth
ELSEWHERE = 0.2  # how far other points are, relative to the parameters
MOST = 12  # tensors, and layers, made tiny one after the other
SURE = 0.8
SIGMOID = 0.25  # its derivative at 0: applied once too often it leaves this factor there, left out its inverse
NEAR_SIGMOID = 0.02  # units are nearly linear only
MULTIPLES = 8  # whole factors that parts counted again make; among larger ones any number soon has one nearby
FRACTIONS = (2, 4)  # a gate, a mask or a derivative is 1/2 or 1/4 at 0; other fractions come from sums over steps
PARTS = 12  # equal parts of a sum, steps or rows, of which a factor tells how many are there
ROUND = 1e-2  # as near as a measured factor comes to a round one where it is nearly constant only


@dataclass
class _Bench:
    """One tensor whose mistake is looked into."""

    case: Case
    cases: Sequence[Case]
    place: int
    laboratory: Comparing
    base: Comparison
    trusted: Sequence[Case]

    @property
    def slack(self) -> float:
        """What may be left of a mistake that is gone."""
        return min(SLACK * max(1.0, self.base.error), self.base.error / 100, 1e-2)

    def at(self, changed: Mapping[int, Array], step: float | None = None) -> Comparison | None:
        """The comparison at another point, if it is telling there."""
        found = self.laboratory.compare(changed, [self.place], step).get(self.place)
        return found if found is not None and found.telling else None


def settle(
    case: Case, cases: Sequence[Case], statement: str, laboratory: Comparing, trusted: Sequence[Case] = ()
) -> Explanation | None:
    """An explanation that the pattern at the point does not give; None if no experiment tells.

    Of the tensors that are wrong, `trusted` are so only through this one.
    """
    place = list(cases).index(case)
    base = laboratory.compare({}, [place]).get(place)
    if base is None or not base.telling or base.error < SLACK / 100 or not np.any(np.abs(base.a) > 3 * base.u):
        return None
    bench = _Bench(case, cases, place, laboratory, base, trusted)
    for experiment in (_smooth, _elsewhere, _symmetric, _ones, _parts, _linear):
        found = experiment(bench, statement)
        if found is not None:
            return found
    return None


def theta_of(case: Case) -> Array:
    """The parameters in float64."""
    return np.asarray(case.tensor.theta, np.float64)


def _smooth(bench: _Bench, statement: str) -> Explanation | None:
    """Whether what looks like rounding changes smoothly from point to point, as no rounding does."""
    best = bench.case.best
    if best is None or best.cause != "precision":
        return None
    theta = theta_of(bench.case)
    move = NEAR * float(np.sqrt(np.mean(theta**2))) * np.random.default_rng(5).standard_normal(theta.shape)
    there = [bench.at({bench.place: theta + k * move}) for k in range(4)]
    found = [c.a for c in there if c is not None]
    if len(found) < 4 or np.linalg.norm(np.diff(found, 3, axis=0)) > 0.05 * np.linalg.norm(bench.base.a - bench.base.n):
        return None
    text = f"{worst(bench.case, False)}; near as that is, it changes smoothly from point to point, as no rounding does"
    hint = "It is the derivative of something else: of an approximation, or with a small term left out"
    return Explanation("derivative", 4, bench.base.a.size, text, hint, {}, None, 0.75, ("missing-term", "precision"))


def _elsewhere(bench: _Bench, statement: str) -> Explanation | None:
    """Whether the error, or for a single number the factor, is the same at other points."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(2):
        changed = {}
        for i, case in enumerate(bench.cases):
            theta = theta_of(case)
            size = float(np.sqrt(np.mean(theta**2))) if theta.size else 0.0
            changed[i] = theta + ELSEWHERE * (size or 1.0) * rng.standard_normal(theta.shape)
        there = bench.at(changed)
        if there is None:
            return None
        found.append(there)
    base, support = bench.base, 2 * bench.base.a.size
    errors = [there.a - there.n for there in found]
    still = [there.n - base.n for there in found]
    size = float(np.linalg.norm(base.a - base.n))
    if all(
        np.linalg.norm(e - (base.a - base.n)) <= 3 * np.max(c.u + base.u) + 1e-5 * size
        for e, c in zip(errors, found, strict=True)
    ):
        if all(np.linalg.norm(moved) > 1e-2 * size for moved in still):
            text = f"{statement}; analytic - numeric is the same at other points"
            hint = "A constant is missing or too many: the derivative of a term that is linear in it"
            return Explanation("missing-term", 4, support, text, hint, {}, None, SURE, ("accumulation",))
    if base.a.size > 1:
        return None
    ratios = np.array([c.a[0] / c.n[0] for c in (base, *found)])
    if np.ptp(ratios) <= 1e-5 * abs(ratios[0]) and abs(ratios[0] - 1) > 1e-6:
        c = float(np.median(ratios))
        cause = "sign" if abs(c + 1) < 1e-5 else "scale"
        text = f"analytic = {c:.6g} × numeric, at other points too"
        hint = "A minus is lost" if cause == "sign" else "A constant factor is missing or too many"
        return Explanation(cause, 3, support, text, hint, {"factor": c}, None, SURE)
    return None


def _symmetric(bench: _Bench, statement: str) -> Explanation | None:
    """A square matrix that is not transposed does no harm where it is symmetric."""
    for i, case in enumerate(bench.cases):
        theta = theta_of(case)
        if theta.ndim < 2 or theta.shape[-1] != theta.shape[-2] or theta.shape[-1] < 2:
            continue
        there = bench.at({i: (theta + theta.swapaxes(-1, -2)) / 2})
        if there is not None and there.factor(bench.slack) == 1.0:
            name = case.tensor.name
            text = f"{statement}; with {name} made symmetric it is right"
            hint = f"{name} is not transposed on the way back, or once too often"
            return Explanation("transpose", 4, there.a.size, text, hint, {"other": name}, None, 0.9)
    return None


def _ones(bench: _Bench, statement: str) -> Explanation | None:
    """A factor that is left out or applied twice does no harm where it is 1."""
    for i, case in enumerate(bench.cases):
        theta = theta_of(case)
        if i == bench.place or theta.ndim > 1 or not theta.size or np.all(theta == 1):
            continue
        there = bench.at({i: np.ones(theta.shape)})
        if there is not None and there.factor(bench.slack) == 1.0:
            name = case.tensor.name
            text = f"{statement}; with {name} set to 1 it is right"
            hint = f"The factor {name} is left out, or applied twice"
            return Explanation("scale", 4, there.a.size, text, hint, {"other": name}, None, SURE, ("missing-term",))
    return None


def _groups(cases: Sequence[Case], place: int) -> Iterator[tuple[int, ...]]:
    """Single tensors, then layers, without the one in question; the nearest first."""
    others = sorted(
        (i for i, case in enumerate(cases) if i != place and case.tensor.a.size), key=lambda i: abs(i - place)
    )
    for i in others[:MOST]:
        yield (i,)
    layers = dict.fromkeys(cases[i].layer for i in others)
    for layer in list(layers)[:MOST]:
        members = tuple(i for i in others if cases[i].layer == layer)
        if len(members) > 1:
            yield members
    names = {i: cases[i].tensor.name for i in others}
    # Wr, Ur and br: a hint from conventional names, and only to what is tried; what is said of it is measured.
    for suffix in dict.fromkeys(name[1:] for name in names.values() if len(name) > 1):
        members = tuple(i for i in others if names[i][1:] == suffix)
        if 1 < len(members) < len(others):
            yield members


def _parts(bench: _Bench, statement: str) -> Explanation | None:
    """Whether what is left is plain where some other tensors are tiny: the gradient has several parts then."""
    base, matches = bench.base, []
    inert: list[tuple[int, ...]] = []
    stirring = False
    for group in _groups(bench.cases, bench.place):
        there = bench.at({i: TINY * theta_of(bench.cases[i]) for i in group})
        if there is None or np.linalg.norm(there.n) < 1e-4 * np.linalg.norm(base.n) or there.penalty_only:
            continue
        c = there.factor(bench.slack)
        if all(bench.cases[i].layer > bench.case.layer for i in group) and np.linalg.norm(
            there.n - base.n
        ) > 1e-2 * np.linalg.norm(base.n):
            change = np.linalg.norm((there.a - there.n) - (base.a - base.n))
            same = change <= 1e-4 * np.linalg.norm(base.a - base.n)
            inert += [group] if same else []
            stirring = stirring or not same
        if c == 1.0:
            matches.append(group)
        elif c is not None and abs(c - 1) > 1e-2 and (there.a.size > 1 or c == 0.0):
            found = _other_part(bench, group, c, there.a.size, statement)
            if found is not None:
                return found
    if inert and not stirring:
        still = [i for group in inert if len(group) == 1 for i in group] or inert[0]
        names = _names(bench, still)
        text = f"{statement}; analytic - numeric stays the same with {names} made tiny"
        hint = f"The error does not come back through {names}: a term of the loss beside that is left out, or too many"
        others = ("accumulation", "regularization")
        return Explanation("missing-term", 4, base.a.size, text, hint, {"other": names}, None, SURE, others)
    fine = [not case.tensor.is_wrong or case in bench.trusted for case in bench.cases]
    good = [group for group in matches if all(fine[i] for i in group)]
    return _part_through(bench, good, statement) if good else None


def _part_through(bench: _Bench, groups: Sequence[tuple[int, ...]], statement: str) -> Explanation:
    """The wrong part goes through one of these; where such a tensor is large, it is all there is."""
    names = _names(bench, groups[0])
    text = f"{statement}; with {names} made tiny it is right"
    present = False
    for group in groups[:3]:
        there = _leading(bench, group)
        if there is None:
            continue
        c = there.factor(4e-3)
        present = present or c is None
        if c is not None and abs(c) > 1e-2 and abs(c - 1) > 1e-2:
            text = f"{text}, made large analytic = {c:.4g} × numeric"
            evidence = {"other": names, "part": c}
            if abs(c + 1) < 1e-2:
                hint = f"The part that comes through {names} has the wrong sign"
                return Explanation("sign", 4, there.a.size, text, hint, evidence, None, SURE)
            hint = f"The part that comes through {names} has a wrong factor, the other parts are right"
            return Explanation("scale", 4, there.a.size, text, hint, evidence, None, SURE, ("accumulation",))
    if present:
        hint = (
            f"What comes through {names} is wrong and the other parts are right: a derivative, transpose or index there"
        )
        looks = ("missing-term", "transpose", "indexing")
        return Explanation("derivative", 5, bench.base.a.size, text, hint, {"other": names}, None, 0.6, looks)
    hint = f"What comes through {names} is left out or wrong; the other parts are right"
    others = ("accumulation", "derivative", "transpose", "sign")
    return Explanation("missing-term", 5, bench.base.a.size, text, hint, {"other": names}, None, 0.75, others)


def _leading(bench: _Bench, group: Sequence[int]) -> Comparison | None:
    """What grows fastest with some tensors: from two sizes, so that the next part, a power slower, drops out."""
    far = bench.at({i: LARGE * theta_of(bench.cases[i]) for i in group})
    if far is None or far.a.size < 2 or np.linalg.norm(far.n) < LARGE / 4 * np.linalg.norm(bench.base.n):
        return None
    half = bench.at({i: LARGE / 2 * theta_of(bench.cases[i]) for i in group})
    if half is None or half.a.size != far.a.size:
        return None
    g = 2.0 ** round(float(np.log2(np.linalg.norm(far.n) / np.linalg.norm(half.n))))
    return Comparison(2 * far.a - g * half.a, 2 * far.n - g * half.n, 2 * far.u + g * half.u, far.x)


def _names(bench: _Bench, group: Sequence[int]) -> str:
    return " and ".join(bench.cases[i].tensor.name for i in group)


def _other_part(bench: _Bench, group: tuple[int, ...], c: float, support: int, statement: str) -> Explanation | None:
    names = _names(bench, group)
    text = f"{statement}; with {names} made tiny analytic = {'0' if c == 0 else f'{c:.4g} × numeric'}"
    evidence: dict[str, object] = {"other": names, "part": c}
    if c == 0.0:
        if _grows(bench, group):
            hint = f"Numeric does not change with the size of {names}, but analytic grows with it: divide by that"
            return Explanation("scale", 4, support, text, hint, evidence, None, SURE)
        hint = f"The part that does not come through {names} is left out"
        return Explanation("missing-term", 4, support, text, hint, evidence, None, SURE, ("accumulation",))
    if abs(c + 1) < 1e-3:
        hint = f"The part that does not come through {names} has the wrong sign"
        return Explanation("sign", 4, support, text, hint, evidence, None, SURE)
    if abs(c - 2) < 1e-3 and bench.case.role == "flow":
        hint = f"The part that does not come through {names} is counted twice, or a factor is left out"
        return Explanation("accumulation", 4, support, text, hint, evidence, None, 0.6, ("scale", "missing-term"))
    return _plain(bench, c, support, text, evidence)


def _plain(bench: _Bench, c: float, support: int, text: str, evidence: dict[str, object]) -> Explanation | None:
    """A factor that is constant at a special point only; None if nothing is known to make it.

    A gate, a mask or a derivative that is left out makes a round one there.
    """
    if not is_round(c):
        if not 0 < c < 2 or (c > 1 and not _of_few_parts(c)):
            return None
        hint = f"Some of the equal parts of a sum (steps, rows) are {'left out' if c < 1 else 'counted twice'}"
        cause, other = ("missing-term", "accumulation") if c < 1 else ("accumulation", "missing-term")
        return Explanation(cause, 5, support, text, hint, evidence, None, 0.65, (other, "scale"))
    if bench.case.role == "own":
        hint = "A factor that depends on the parameters is left out: a gate, a mask, a derivative"
        return Explanation("missing-term", 5, support, text, hint, evidence, None, 0.6, ("derivative", "scale", "mask"))
    hint = "A part of it has a wrong factor, or a factor that depends on the parameters is left out"
    return Explanation("scale", 5, support, text, hint, evidence, None, 0.6, ("derivative", "missing-term"))


def is_round(c: float) -> bool:
    """Whether this is a factor that has a plain reason."""
    whole = abs(c) if abs(c) >= 1 else 1 / abs(c)
    known = round(whole) <= MULTIPLES if abs(c) >= 1 else round(whole) in FRACTIONS
    return abs(whole - round(whole)) < ROUND and known


def _of_few_parts(c: float) -> bool:
    """Whether this is a fraction of a small number of equal parts."""
    return any(abs(c * parts - round(c * parts)) < ROUND * parts / PARTS for parts in range(2, PARTS + 1))


def _grows(bench: _Bench, group: Sequence[int]) -> bool:
    there = bench.at({i: 2 * theta_of(bench.cases[i]) for i in group})
    if there is None:
        return False
    same = float(np.linalg.norm(there.n - bench.base.n)) <= 1e-5 * float(np.linalg.norm(there.n))
    return same and bool(np.linalg.norm(there.a - 2 * bench.base.a) <= 1e-5 * np.linalg.norm(there.a))


def _linear(bench: _Bench, statement: str) -> Explanation | None:
    """Where the layer's parameters are small its units are linear, and a wrong derivative is a constant or none."""
    own = [i for i, case in enumerate(bench.cases) if case.layer == bench.case.layer]
    seen = [i for i in own if bench.cases[i].tensor.is_wrong and i != bench.place]
    for members in (own, list(range(max(own) + 1))):
        changed = {i: SMALL * theta_of(bench.cases[i]) for i in members}
        found = bench.laboratory.compare(changed, [bench.place, *seen], STEP_SMALL)
        for there in (found[i] for i in (bench.place, *seen) if i in found):
            c = there.factor(4e-3)
            fades = np.linalg.norm(there.n) < 1e-4 * np.linalg.norm(bench.base.n)
            if c is None or c == 0.0 or there.a.size < 2 or fades or bench.base.error < 0.05:
                continue
            if c != 1.0 and abs(c - 1) < ROUND:  # neither right there nor wrong by a factor with a reason
                continue
            return _at_small(bench, own, there, c, statement, before=members is not own)
    return None


def _at_small(
    bench: _Bench, own: Sequence[int], there: Comparison, c: float, statement: str, *, before: bool
) -> Explanation | None:
    """What is said where the layer's `own` parameters are small, or with all `before` it."""
    names = f"{bench.case.tensor.name} and all before" if before else _names(bench, own)
    text = f"{statement}; with {names} made small "
    text += "it is right" if c == 1.0 else f"analytic = {c:.3g} × numeric"
    evidence: dict[str, object] = {"part": c}
    sigmoid = min(abs(c - SIGMOID), abs(c - 1 / SIGMOID)) < NEAR_SIGMOID
    layer = bench.case.role == "flow" and not before and len(own) > 1  # of one alone, a bias may be named otherwise
    if c == 1.0 or sigmoid or layer:
        # A term in these parameters alone would vanish with them, a derivative faster or not at all.
        sure = SURE if there.error < 20 * SMALL**2 or sigmoid else 0.6
        hint = "The derivative of the activation is wrong or left out: its units are linear there"
        others = ("missing-term",) if c == 1.0 else ("scale", "missing-term")
        return Explanation("derivative", 5, there.a.size, text, hint, evidence, None, sure, others)
    return _plain(bench, c, there.a.size, text, evidence)
