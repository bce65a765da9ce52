"""Projected mode: gradients too large to measure entry by entry.

Two random signed directions per tensor tell whether its gradient is right, and their uncertainty tells how small an
error they would have shown; what is wrong is then taken apart down to its entries (`bisect`). A few hundred evaluations
do for ten million parameters, and memory stays a small multiple of the parameters.

**Power.** An error ``delta`` in one entry changes the slope along ``v`` by ``delta v_j`` with ``|v_j| >= s / 2``, where
``s`` is the scale of the tensor's directions. Whatever the uncertainty ``E`` hides, ``|delta| >= 4 E / s`` is beyond
it. ``detectable`` is this bound over the root mean square of the tensor's analytic gradient (where every entry has a
scale of its own: of gradient times scale): the relative error that is surely seen in one entry of typical size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from gradproof.check.bisect import Bisection, Search, describe
from gradproof.check.entries import Circumstances
from gradproof.check.evaluate import Array, BudgetSpent, Float64Array, Problem
from gradproof.check.probe import MEAN_SQUARE, SMALLEST, Block, Line, Residual, direction
from gradproof.check.tensor_report import EntryReport, TensorReport, Verdict

PROBES: Final = 2  # that must pass, per tensor
GROUPS: Final = 32  # more tensors than this are probed together at first
WITNESSES: Final = 3  # further directions, all but one of which must be wrong where no entry is
ROUNDS: Final = 8  # of bisection, correction and new probes
RESOLVED: Final = 0.1  # an uncertainty above this part of the slope's typical size tells nothing ...
RELEVANT: Final = 1e-3  # ... nor above this part of that of the tensor with the largest


@dataclass
class Projection:
    """Outcome of projected mode.

    Attributes
    ----------
    tensors : list of TensorReport
        In the order asked for. `matched` counts the entries that a passing direction covers.
    notes : list of str
        What could not be resolved, where errors lie that were not taken apart to entries, and why.
    blocks : dict
        Number of a tensor to the blocks of it that are wrong as a whole.
    stopped : str
        Why it ended early; empty if it did not.
    """

    tensors: list[TensorReport] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    blocks: dict[int, list[Block]] = field(default_factory=dict)
    stopped: str = ""


def project(
    problem: Problem, facts: Circumstances, tensors: Sequence[int] | None = None, *, seed: int = 0
) -> Projection:
    """Check a gradient by random directions, and find its wrong entries.

    Parameters
    ----------
    problem : Problem
    facts : Circumstances
        The loss at the point, its noise, and the gradient under test, which is not changed.
    tensors : sequence of int, optional
        Numbers of the tensors to check; all by default.
    seed : int
    """
    analytic = facts.analytic
    chosen = list(range(len(analytic))) if tensors is None else list(tensors)
    check = _Check(problem, facts, seed)
    notes: list[str] = []
    stopped = ""
    try:
        check.run([t for t in chosen if problem.size(t)])
    except BudgetSpent as spent:
        stopped = str(spent)
    except KeyboardInterrupt:
        stopped = "interrupted"
    if problem.interrupted:
        stopped = "interrupted"
    if stopped:
        notes.append(f"{stopped}: what is not reported was not checked")
    check.settle()
    results = [check.results.get(t, _Result()) for t in chosen]
    notes += _blind(problem, chosen, results)
    reports = [_report(problem, t, analytic[t], result) for t, result in zip(chosen, results, strict=True)]
    notes += [f"{problem.parameters.names[t]}: {r.note}" for t, r in zip(chosen, results, strict=True) if r.note]
    blocks = {t: r.blocks for t, r in zip(chosen, results, strict=True) if r.blocks}
    return Projection(reports, notes, blocks, stopped)


def _blind(problem: Problem, tensors: Sequence[int], results: Sequence[_Result]) -> list[str]:
    """What passing says little about: tensors in which one entry may be wrong by more than its own size."""
    names = [
        problem.parameters.names[t]
        for t, result in zip(tensors, results, strict=True)
        if result.state == "right" and result.detectable > 1
    ]
    if not names:
        return []
    worst = max(result.detectable for result in results if result.state == "right" and result.detectable > 1)
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    advice = "Compute the loss in float64" if problem.single and any(problem.single) else "Subtract what is large in it"
    return [
        f"{shown}: a single wrong entry would not have been seen, unless it is off by {worst:.2g} times the size of a "
        f"typical one; what is excluded is that a tenth of a whole tensor is wrong. {advice}, or check every entry "
        'with method="exhaustive".'
    ]


@dataclass
class _Result:
    """What is known about one tensor."""

    state: str = "unchecked"  # "right", "wrong" (taken apart to entries), "blocks" (not all of it), "unresolved"
    detectable: float = math.nan
    relative_error: float = math.nan
    bar: float = math.inf
    entries: list[EntryReport] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    note: str = ""
    kinked: bool = False  # whether kinks at the point are what makes the bar so high


@dataclass
class _Probe:
    """One direction over a group of tensors and what it showed."""

    moves: Mapping[int, Array]
    line: Line
    residual: Residual | None


class _Check:
    def __init__(self, problem: Problem, facts: Circumstances, seed: int) -> None:
        self.problem = problem
        self.results: dict[int, _Result] = {}
        self._analytic = list(facts.analytic)  # wrong entries are corrected, in copies, so that others show
        self._rounding = list(facts.rounding)  # ... as far as they are known
        self._facts = replace(facts, analytic=self._analytic, rounding=self._rounding)
        self._seed = seed
        self._corrected: set[int] = set()
        self._relative: set[tuple[int, ...]] = set()  # groups that get a scale per entry
        self._lengths: dict[int, float] = {}
        self._steps: dict[tuple[int, ...], float] = {}

    def run(self, tensors: Sequence[int]) -> None:
        """All tensors are probed before the first is taken apart, so that a small budget leaves none unseen."""
        together = -(-len(tensors) // GROUPS)
        groups = [tuple(tensors[i : i + together]) for i in range(0, len(tensors), together)] if tensors else []
        suspects: list[tuple[int, ...]] = []
        while groups:
            group = groups.pop(0)
            state = self._screen(group)
            if len(group) > 1:  # then each on its own, where together was not enough
                groups += [(t,) for t in group if state == "suspect" or self.results[t].state != "right"]
            elif state == "suspect":
                suspects.append(group)
                self.results[group[0]] = _Result("unresolved", note=_SUSPECT)
        for group in suspects:
            self._take_apart(group[0])

    # Probing

    def _probe(self, group: tuple[int, ...], number: int) -> _Probe:
        """One direction: the step where rounding and truncation balance, found anew only if the last one is bad."""
        moves = direction(
            self.problem, group, np.random.default_rng((self._seed, 1, group[0], number)), group in self._relative
        )
        line = self._line(moves, Block.whole(self.problem, group))
        residual = line.balanced(self._steps.get(group, 0.0) or line.first_step())
        if residual is None and group not in self._relative:
            self._relative.add(group)
            return self._probe(group, number)
        if residual is not None:
            self._steps[group] = residual.h
        return _Probe(moves, line, residual)

    def _line(self, moves: Mapping[int, Array], block: Block) -> Line:
        return Line(self.problem, block, moves, self._facts)

    def _screen(self, group: tuple[int, ...]) -> str:
        """``"right"``, ``"suspect"`` or ``"unresolved"``, with the results of all but suspects."""
        seen: list[Residual] = []
        flat = True
        lengths: dict[int, float] = {}
        for number in range(PROBES):
            probe = self._probe(group, number)
            if probe.residual is None:
                self.results |= {t: _Result("unresolved", note=_NO_VALUE) for t in group}
                return "unresolved"
            if not lengths:
                lengths = {t: self._line(probe.moves, Block.whole(self.problem, [t])).length for t in group}
                self._lengths |= lengths
            flat = flat and probe.line.flat
            state, residual = _confirm(probe)
            if residual is None or state == "unresolved":
                self.results |= {t: _Result("unresolved", note=_UNSTEADY) for t in group}
                return "unresolved"
            if state == "wrong":
                return "suspect"
            seen.append(residual)
        for t in group:
            self.results[t] = self._passed(t, seen, flat)
        return "right"

    def _passed(self, tensor: int, seen: Sequence[Residual], flat: bool = False) -> _Result:
        """The result of a tensor all of whose directions agree."""
        length = self._lengths[tensor]
        best = min(seen, key=lambda residual: residual.bar)
        bar = best.bar
        typical = length / math.sqrt(MEAN_SQUARE * self.problem.size(tensor))
        detectable = 2 / SMALLEST * bar / typical if typical else math.nan
        slope = math.sqrt(sum(r.value**2 for r in seen) / len(seen))
        error = min(1.0, slope / (2 * length)) if length else 0.0
        state = "right" if bar <= RESOLVED * length or (flat and length == 0.0) else "dim"
        return _Result(state, detectable, error, bar, kinked=best.gap > bar)

    def settle(self) -> None:
        """What is dim on its own passes where it is small beside the largest slope of all tensors."""
        largest = max(self._lengths.values(), default=0.0)
        for result in self.results.values():
            if result.state == "dim":
                small = result.bar <= RESOLVED * RELEVANT * largest
                result.state = "right" if small else "unresolved"
                result.note = "" if small else _KINKED if result.kinked else _DIM

    # Taking apart

    def _take_apart(self, tensor: int) -> None:
        result = self.results[tensor] = _Result("unresolved")
        passed: list[Residual] = []
        try:
            for number in range(PROBES * ROUNDS):
                probe = self._probe((tensor,), number)
                state, residual = _confirm(probe)
                if residual is None or state == "unresolved":
                    result.note = _UNSTEADY
                    break
                if state == "right":
                    passed.append(residual)
                    if len(passed) == PROBES:
                        break
                    continue
                passed = []
                if not self._locate(tensor, result, probe, residual, number):
                    break
            else:
                result.note = _ENDLESS
        except BudgetSpent as spent:
            result.note = result.note or f"{spent} before all of its wrong entries were found"
        if any(map(_wrong, result.entries)):
            result.state = "wrong" if len(passed) == PROBES and not result.blocks else "blocks"
        if len(passed) == PROBES:
            seen = self._passed(tensor, passed)
            result.detectable = seen.detectable
            if not result.entries:  # other directions and steps do not confirm the first impression
                self.results[tensor] = seen

    def _locate(self, tensor: int, result: _Result, probe: _Probe, residual: Residual, number: int) -> bool:
        """Bisect. Whether there is anything left to look for: new wrong entries, and no end of them in sight."""
        bisection = Bisection(self.problem, probe.moves, self._facts)
        search = bisection.run(Block.whole(self.problem, [tensor]), residual)
        known = {entry.index for entry in result.entries}
        fresh = [entry for _, entry in search.entries if entry.index not in known]
        for entry in fresh:
            self._correct(tensor, entry)
        result.entries += fresh
        if search.frontier:
            result.note = _where(search, self.problem.parameters.shapes[tensor])
            rng = np.random.default_rng((self._seed, 2, tensor))
            result.entries += [entry for _, entry in bisection.sample(search.frontier, rng) if entry.index not in known]
        elif not fresh:
            result.note = _NO_ENTRY
        if search.frontier or not fresh:
            if any(map(_wrong, result.entries)) or self._everywhere(tensor, number):
                result.state, result.blocks = "blocks", search.frontier or [Block.whole(self.problem, [tensor])]
                result.relative_error = min(1.0, abs(residual.value) / (2 * self._lengths[tensor] or math.inf))
            else:
                result.note = _UNSTEADY
            return False
        return True

    def _everywhere(self, tensor: int, number: int) -> bool:
        """Where no single entry can be accused: whether most other directions are clearly wrong, too."""
        clear = 0
        for other in range(number + 1, number + 1 + WITNESSES):
            state, residual = _confirm(self._probe((tensor,), other))
            clear += state == "wrong" and residual is not None and abs(residual.value) > 2 * residual.bar
        return clear >= WITNESSES - 1

    def _correct(self, tensor: int, entry: EntryReport) -> None:
        """Correct a wrong entry, so that the next direction shows what is left."""
        if tensor not in self._corrected:
            self._corrected.add(tensor)
            self._analytic[tensor] = self._analytic[tensor].copy()
            self._rounding[tensor] = self._rounding[tensor].copy()
        self._analytic[tensor][entry.index] = entry.numeric
        self._rounding[tensor][entry.index] = entry.uncertainty


_SUSPECT = "wrong along a direction; the budget was spent before the wrong entries were looked for"
_NO_VALUE = "the loss has no finite value nearby in some direction, so that nothing could be measured"
_UNSTEADY = "the measured slope depends on the step (kinks, or noise, along the direction): not resolved"
_ENDLESS = "wrong entries kept turning up; the search was given up"
_NO_ENTRY = "wrong along a direction, but the error came apart into entries too small to see alone"
_KINKED = (
    "so many entries stand at kinks of the loss (zeros of an absolute value, of a ReLU) that whatever lies between the "
    'slopes to both sides would do for all of them together: check every entry with method="exhaustive"'
)
_DIM = "the noise of the loss hides it: an error of a tenth of the whole tensor would not be seen"


def _confirm(probe: _Probe) -> tuple[str, Residual | None]:
    """``"right"``, ``"wrong"`` or ``"unresolved"``; before accusing, the noise of this very line and another step."""
    line, residual = probe.line, probe.residual
    if residual is None:
        return "unresolved", None
    if not residual.wrong:
        return "right", residual
    residual = line.closer(residual)
    if not residual.wrong:
        return "right", residual
    line.sigma = max(line.sigma, line.own_noise(residual.h / 16))
    again = line.residual(residual.h)
    if again is None or not again.wrong:
        return "right" if again else "unresolved", again
    apart = 0.0
    for factor in (2.0, 0.5, 0.25):
        other = line.residual(residual.h * factor)
        if other is not None and other.wrong and other.agrees(again):
            return "unresolved" if line.gone_nearer(again) else "wrong", again
        apart = max(apart, 0.0 if other is None else abs(other.value - again.value))
    # The slope wanders from step to step: that is an uncertainty, too.
    wider = replace(again, bar=again.bar + 2 * apart)
    return "unresolved" if wider.wrong else "right", wider


def _wrong(entry: EntryReport) -> bool:
    return entry.status in ("mismatch", "kink-mismatch")


def _where(search: Search, shape: Sequence[int]) -> str:
    place = describe(search.frontier, shape)
    place = {"throughout": "wrong throughout"}.get(place, f"wrong in {place}")
    return f"{place}: too many entries to name them all" if search.dense else f"{place}; the budget is spent"


def _report(problem: Problem, tensor: int, analytic: Float64Array, result: _Result) -> TensorReport:
    name, shape, size = problem.parameters.names[tensor], problem.parameters.shapes[tensor], problem.size(tensor)
    if result.state == "unchecked":
        return TensorReport.from_counts(name, shape)
    if result.state in ("right", "unresolved"):
        right = result.state == "right"
        return TensorReport.from_counts(
            name,
            shape,
            matched=size * right,
            unresolved=size * (not right),
            relative_error=result.relative_error,
            detectable=result.detectable,
        )
    wrong = [entry for entry in result.entries if _wrong(entry)]
    matched = [entry for entry in result.entries if entry.status == "match"]
    error = result.relative_error
    if math.isnan(error):
        error = _relative_error(analytic, wrong)
    rest = size - len(wrong)
    known = result.state == "wrong"
    return TensorReport.from_counts(
        name,
        shape,
        matched=rest if known else len(matched),
        mismatched=len(wrong) or 1,  # that something is wrong is known, even where not which entry
        unresolved=0 if known else max(rest - len(matched) - (not wrong), 0),
        relative_error=error,
        max_relative_error=max((entry.relative_error for entry in wrong), default=math.nan),
        detectable=result.detectable,
        verdict=Verdict.FAIL,
        entries=sorted(result.entries, key=lambda entry: (entry.status == "match", -_excess(entry))),
    )


def _excess(entry: EntryReport) -> float:
    return abs(entry.analytic - entry.numeric) / max(entry.uncertainty, 1e-300)


def _relative_error(analytic: Float64Array, wrong: Sequence[EntryReport]) -> float:
    """Ng's measure, with all entries right but those named."""
    a = float(np.linalg.norm(analytic.ravel()))
    changed = sum(entry.numeric**2 - entry.analytic**2 for entry in wrong)
    n = math.sqrt(max(a * a + changed, 0.0))
    difference = math.sqrt(sum((entry.analytic - entry.numeric) ** 2 for entry in wrong))
    return difference / (a + n) if a + n else 0.0
