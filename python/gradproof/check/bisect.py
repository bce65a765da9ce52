"""From a tensor whose gradient is wrong along a random direction to its wrong entries, in O(k log n) evaluations.

The slope of the error over a block is the sum of those over its halves: one half is measured, the other follows by
difference, and is measured too where the difference tells too little. Blocks are halved breadth first, so that the
number of those that are wrong bounds the number of wrong entries from below: too many, and the search stops at blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from gradproof.check.entries import Circumstances
from gradproof.check.evaluate import Array, BudgetSpent, Problem
from gradproof.check.probe import Block, Line, Residual
from gradproof.check.tensor_report import EntryReport, Status

WIDEST: Final = 32  # wrong blocks side by side before the search stops
DENSEST: Final = 50  # ... or a wrong entry in so many
SATURATED: Final = 14  # of 16 blocks
AXIS_WIDEST: Final = 7  # wrong blocks of rows (columns, ...) before that axis is given up
SINGLE: Final = 2.0  # uncertainties beyond which an entry is accused in float32: pieces between kinks can be too narrow
SAMPLES: Final = 16  # entries measured where most are wrong
_AXES: Final = {1: (("entry", "entries"),), 2: (("row", "rows"), ("column", "columns"))}
STEP: Final = {False: 3e-3, True: 5e-2}  # how far steps may grow as blocks shrink; True: float32


@dataclass
class Search:
    """What a bisection has found.

    Attributes
    ----------
    entries : list of (int, EntryReport)
        Number of the tensor and the entry, measured alone at two steps: mismatches.
    frontier : list of Block
        Blocks that are wrong and were not taken apart: too many, or the budget was spent.
    lost : list of Block
        Blocks whose error came apart into parts too small to see.
    dense : bool
        Whether the search stopped because too much is wrong.
    """

    entries: list[tuple[int, EntryReport]] = field(default_factory=list)
    frontier: list[Block] = field(default_factory=list)
    lost: list[Block] = field(default_factory=list)
    dense: bool = False


class Bisection:
    """The search along one direction.

    Parameters
    ----------
    problem : Problem
    moves : mapping of int to array
        The direction, whole tensors.
    facts : Circumstances
    """

    def __init__(self, problem: Problem, moves: Mapping[int, Array], facts: Circumstances) -> None:
        self._problem = problem
        self._moves = moves
        self._facts = facts
        self.search = Search()

    def run(self, block: Block, residual: Residual) -> Search:
        """Take a wrong block apart. When the budget is spent, what is known so far is returned.

        Parameters
        ----------
        block : Block
        residual : Residual
            Its slope along the direction; the step is taken over.
        """
        self._start = (block.size, residual.h)
        level = [(block, residual)]
        done: list[tuple[Block, Residual]] = []
        try:
            while level:
                done, rest = [], list(level)
                while rest:
                    level = [*done, *rest]  # what is known, should the budget be spent now
                    one, slope = rest.pop(0)
                    done += self._halve(one, slope, 0)
                level = done
                if self._too_many(level, block.size):
                    self.search.dense = True
                    level = self._along_other_axes(block, residual) or level
                    break
        except BudgetSpent:
            pass
        self.search.frontier += [one for one, _ in level]
        return self.search

    def sample(self, blocks: Sequence[Block], rng: np.random.Generator) -> list[tuple[int, EntryReport]]:
        """Measure a few entries of blocks where most may be wrong, one by one."""
        sizes = np.array([block.size for block in blocks], np.float64)
        found: list[tuple[int, EntryReport]] = []
        for chosen in rng.choice(len(blocks), SAMPLES, p=sizes / sizes.sum()):
            tensor, box = blocks[chosen].pieces[rng.integers(len(blocks[chosen].pieces))]
            index = tuple(int(rng.integers(s.start, s.stop)) for s in box)
            if (tensor, index) not in [(t, entry.index) for t, entry in found]:
                entry = self._entry(Block(((tensor, tuple(slice(i, i + 1) for i in index)),)))
                found += [(tensor, entry)] if entry is not None else []
        return found

    def _too_many(self, level: Sequence[tuple[Block, Residual]], size: int) -> bool:
        widest = min(max(size // DENSEST, 4), WIDEST)
        sixteenths = all(16 * block.size <= 2 * size for block, _ in level)
        return len(level) > widest or (len(level) >= SATURATED and sixteenths)

    def _step(self, block: Block) -> float:
        """Nearly the same per entry, whatever the size: with a constant norm, truncation would swamp small blocks."""
        size, h = self._start
        grown = h * (size / block.size) ** 0.25
        largest = STEP[any(self._problem.single[t] for t, _ in block.pieces)]
        return math.ldexp(1.0, math.frexp(max(h, min(grown, largest)))[1] - 1)

    def _measure(self, block: Block, whole: Residual) -> Residual:
        """The slope over a part of a block whose slope is known, as accurately as it takes to tell."""
        line, h = Line(self._problem, block, self._moves, self._facts), self._step(block)
        result = line.glance(h, whole)
        if result is None or not _tells(result, whole):
            result = line.residual(h)
        if result is None or not _tells(result, whole):
            result = self._fully(line, h)
        return result

    def _fully(self, line: Line, h: float) -> Residual:
        return line.balanced(h) or Residual(math.nan, math.inf, h)

    def _halve(self, block: Block, slope: Residual, axis: int) -> list[tuple[Block, Residual]]:
        """The wrong ones of the halves of a wrong block; a single entry is settled."""
        halves = block.halves(axis)
        if halves is None:
            self._settle(block)
            return []
        first, second = halves
        one = self._measure(first, slope)
        other = replace(slope, value=slope.value - one.value, bar=slope.bar + one.bar)
        if not one.wrong:
            other = slope  # all of it: nothing is lost in accuracy
        elif other.wrong and (abs(other.value) <= 3 * other.bar or other.bar > 4 * one.bar):
            other = self._measure(second, slope)
        wrong = [(half, its) for half, its in ((first, one), (second, other)) if its.wrong]
        if not wrong:
            self.search.lost.append(block)
        return wrong

    def _settle(self, block: Block) -> None:
        entry = self._entry(block)
        if entry is not None and entry.status in ("mismatch", "kink-mismatch"):
            self.search.entries.append((block.pieces[0][0], entry))
        else:
            self.search.lost.append(block)

    def _entry(self, block: Block) -> EntryReport | None:
        """Measure one entry alone; called wrong only if a second step agrees."""
        tensor, box = block.pieces[0]
        index = tuple(s.start for s in box)
        move = abs(float(self._moves[tensor][index]))
        line = Line(self._problem, block, self._moves, self._facts)
        best = self._fully(line, self._step(block))
        if move == 0.0 or not math.isfinite(best.bar):
            return None
        status = Status.MATCH
        if best.wrong:
            best = line.closer(best)
        if abs(best.value) > (SINGLE if self._problem.single[tensor] else 1.0) * best.bar:
            others = [line.residual(best.h * factor) for factor in (2.0, 0.5)]
            confirmed = any(other is not None and other.wrong and other.agrees(best) for other in others)
            finer = line.residual(best.h / 4)
            kink = best.gap > best.noise and finer is not None and finer.gap > best.gap / 2  # truncation would be gone
            wrong = Status.KINK_MISMATCH if kink else Status.MISMATCH
            status = wrong if confirmed else Status.UNRESOLVED
        a = float(self._facts.analytic[tensor][index])
        n = a + best.value / float(self._moves[tensor][index])
        error = abs(a - n) / max(abs(a), abs(n)) if a != n else 0.0
        if status != Status.MATCH and error <= self._facts.rtol:
            status = Status.MATCH
        return EntryReport(index, a, n, best.bar / move, error, status.label)

    def _along_other_axes(self, block: Block, residual: Residual) -> list[tuple[Block, Residual]]:
        """The few columns (or others than the first axis) that hold all of the error; [] if it is everywhere."""
        if len(block.pieces) > 1:
            return []
        _, whole = block.pieces[0]
        for axis in range(1, len(whole)):
            level = [(block, residual)]
            extent = _extent(block, axis)
            while extent > 1 and 0 < len(level) <= AXIS_WIDEST:
                level = [
                    part
                    for one, slope in level
                    for part in ([(one, slope)] if _extent(one, axis) == 1 else self._halve(one, slope, axis))
                ]
                extent = -(-extent // 2)
            if 0 < len(level) <= AXIS_WIDEST and 4 * sum(one.size for one, _ in level) <= block.size:
                return level
        return []


def _tells(part: Residual, whole: Residual) -> bool:
    """Whether a part clearly holds an error of the size of the whole's, or clearly does not.

    What lies between may be truncation: over a part it can be larger than over the whole, where it cancels by chance.
    """
    if part.wrong:
        return 4 * abs(part.value) > abs(whole.value) and abs(part.value) > 3 * part.bar
    return 4 * part.bar < abs(whole.value)


def _extent(block: Block, axis: int) -> int:
    part = block.pieces[0][1][axis]
    return int(part.stop - part.start)


def describe(blocks: Sequence[Block], shape: Sequence[int]) -> str:
    """Where blocks of one tensor lie, in words: ``"column 3"``, ``"rows 0-15"``, ``"throughout"``.

    An axis is named if the blocks cover at most a quarter of it.
    """
    parts = []
    for axis, extent in enumerate(shape):
        covered: set[tuple[int, int]] = {
            (block.pieces[0][1][axis].start, block.pieces[0][1][axis].stop) for block in blocks
        }
        merged: list[list[int]] = []
        for start, stop in sorted(covered):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], stop)
            else:
                merged.append([start, stop])
        if 4 * sum(stop - start for start, stop in merged) > extent or len(merged) > WIDEST // 4:
            continue
        names = [str(start) if stop == start + 1 else f"{start}-{stop - 1}" for start, stop in merged]
        one = len(merged) == 1 and merged[0][1] == merged[0][0] + 1
        singular, plural = _AXES[len(shape)][axis] if len(shape) in _AXES else (f"axis {axis}:",) * 2
        parts.append(f"{singular if one else plural} {', '.join(names)}")
    return ", ".join(parts) or "throughout"
