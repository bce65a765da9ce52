"""How accurately a loss and a gradient are computed at a point: found out by looking, not by assuming a dtype.

Values at equally spaced, very near points differ by a smooth function, which high differences remove, and by rounding,
which they leave (ECNoise: Moré and Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33, 2011). No single
spacing will do: at a wide one fast oscillation looks like noise, at a narrow one float32 arithmetic looks exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from gradproof.check.evaluate import Array, Float64Array, Problem
from gradproof.check.lines import MACRO, Line, Table, increments

EPS64: Final = 2.0**-53
EPS32: Final = 2.0**-24
MIDDLE: Final = 20  # wide beside the resolution of float32: most steps show it, if any part of the loss has it
MICRO: Final = 32
FINEST: Final = (42, 46)
BETWEEN: Final = tuple(range(20, 32))
QUIET: Final = 16.0  # units of roundoff of the largest entry, in differences of a gradient
ATTEMPTS: Final = 4  # to see on the other side, too, what one side shows
WIDER: Final = (16, 13, 10, 7, 4, 2)  # until a quantised function moves


@dataclass(frozen=True)
class Noise:
    """Noise of the values of a loss near a point.

    Attributes
    ----------
    sigma : float
        Standard deviation.
    single : bool
        Whether the loss is computed in float32: its values, or the parameters, are float32 numbers.
    staircase : bool
        Whether the loss moves in steps far coarser than float32 arithmetic: a rounded value, an accuracy.
    coarse : bool
        Whether a part of a loss in float64 is coarser than that: its slopes are then known as well as that part.
    cast : list of bool
        Float64 tensors that the loss converts to float32.
    """

    sigma: float
    single: bool
    staircase: bool = False
    coarse: bool = False
    cast: Sequence[bool] = ()

    @property
    def eps(self) -> float:
        """Unit roundoff of the arithmetic."""
        return EPS32 if self.single else EPS64


def loss_noise(problem: Problem, f0: float, analytic: Sequence[Float64Array], rng: np.random.Generator) -> Noise:
    """Measure the noise of the loss around the point.

    Parameters
    ----------
    problem : Problem
    f0 : float
        The loss at the point, finite.
    analytic : sequence of float64 array
        The gradient under test.
    rng : numpy.random.Generator
    """
    line = Line(problem, f0, rng)
    macro = line.table(MACRO)
    single = any(problem.single) or problem.returns_single or line.single_values
    eps = EPS32 if single else EPS64
    cast = _casts(problem, analytic, single, f0, rng)
    line.held = _numbers(cast)
    if macro is None:
        return Noise(max(4 * eps * abs(f0), math.ulp(0.0)), single, cast=cast)
    least = max(eps * abs(f0), backward_error(problem, analytic, eps))
    sigma, kind = _at_scales(line, macro, single, 64 * least)
    if kind == "part" and not any(cast) and len(cast) > 1:  # perhaps tensors that are cast
        cast = [_untouched(problem, [tensor], analytic, False, f0, rng) for tensor in range(len(cast))]
        if any(cast):
            line.held = _numbers(cast)
            sigma, kind = _at_scales(line, macro, single, 64 * least)
    if sigma > 64 * least and kind != "steps":  # a kink on the line looks like noise: look on the other side
        sigma = _on_both_sides(line, sigma, kind, single, 64 * least)
    sigma = max(sigma, 0.6 * least, 0.02 * eps * line.largest)
    staircase = kind == "steps" and sigma > 64 * EPS32 * abs(f0) and not single
    coarse = not single and (any(cast) or sigma > 64 * least)
    return Noise(sigma, single, staircase, coarse, cast)


def _on_both_sides(line: Line, sigma: float, kind: str, single: bool, quiet: float) -> float:
    """The smaller of the noises of the two sides, if they differ much: the other is something else.

    A line along which the rounded part hardly moves does not show it, so that one such line is no evidence.
    """
    for _ in range(ATTEMPTS if kind == "part" else 1):
        table = line.table(MACRO, -1.0)
        if table is None or table.state == "flat":
            return sigma
        opposite, other = _at_scales(line, table, single, quiet, -1.0)
        if other == kind:
            break
    small, large = sorted((sigma, opposite))
    return small if large > 10 * small else large


def backward_error(problem: Problem, analytic: Sequence[Float64Array], eps: float) -> float:
    """What rounding every parameter once would do to the loss: no function is computed much more accurately.

    Where terms cancel, lines with few digits can look exact by luck.
    """
    total = 0.0
    for tensor, a in enumerate(analytic):
        effect = np.abs(a * problem.x(tensor)).ravel()
        largest = float(np.max(effect, initial=0.0))
        if 0.0 < largest < math.inf:
            total = math.hypot(total, largest * math.sqrt(float(np.sum(np.square(effect / largest)))))
    return 0.25 * eps * total


def _at_scales(line: Line, macro: Table, single: bool, quiet: float, side: float = 1.0) -> tuple[float, str]:
    """Standard deviation, and what it is: of ``noise``, of ``steps`` of the whole loss, or of a ``part`` of it.

    `quiet` is the most that rounding in the arithmetic of the loss would do.
    """
    if macro.state == "flat":
        return _quantised(line, macro)
    middle = None if single else line.table(MIDDLE, side, generic=True)
    if middle is None:
        return macro.level, "noise"
    if macro.state == middle.state == "ok" and middle.level <= quiet and macro.level <= 8 * middle.level:
        return max(macro.level, middle.level), "noise"
    jump = 0.0
    for _ in range(ATTEMPTS):  # a line on which few steps jump says neither that they do nor that they do not
        if middle.state != "ok" or middle.level <= quiet:
            break
        jump = line.jump(EPS64 * line.largest)
        if jump or macro.state != "ok":
            break
        middle = line.table(MIDDLE, side, generic=True) or middle
    oscillates = 0.0 < jump < middle.level / 32  # what looks like noise at the wider spacings is smooth closer by
    micro = line.table(MICRO, side)
    if micro is None:
        return max(macro.level, middle.level), "noise"
    faint = micro.state != "ok" or middle.level > 8 * micro.level
    if faint and jump > max(middle.level / 32, 0.0 if micro.jumps else 4 * micro.level):
        return max(middle.level, macro.level if macro.level <= 8 * middle.level else 0.0), "part"
    if micro.state == "flat":
        return (
            macro.level if macro.state == "ok" else max(macro.level, _quantised(line, micro, BETWEEN[::-2])[0])
        ), "noise"
    if micro.state == "curved":
        near = micro
        for p in FINEST:  # of what is curved still, the nearest has the least to do with curvature
            finest = line.table(p, side)
            if finest is None or finest.state == "flat":
                break
            near = finest
            if finest.state == "ok":
                break
        wide = 0.0 if macro.state == "curved" or oscillates else macro.level
        return max(wide, near.level), "noise"
    structured = macro.level > 8 * micro.level and (micro.level <= quiet * 4 or macro.level > 1000 * micro.level)
    if macro.state == "curved" or structured:
        again = line.table(MICRO, side)
        return max(micro.level, again.level if again is not None and again.state == "ok" else 0.0), "noise"
    if micro.level > quiet and (oscillates or 0.0 < line.jump(EPS64 * line.largest) < micro.level / 32):
        for p in FINEST:
            finest = line.table(p, side)
            if finest is not None and finest.state != "flat" and finest.level < micro.level / 32:
                return finest.level, "noise"
    return max(macro.level, micro.level), "noise"


def _quantised(line: Line, table: Table, spacings: Sequence[int] = WIDER) -> tuple[float, str]:
    gap, level = table.gap, 0.0
    for side, p in ((side, p) for side in (1.0, -1.0) for p in spacings):
        wider = line.table(p, side)
        if wider is None:
            break
        gap = min(gap, wider.gap)
        if wider.state != "flat":
            beyond = line.beyond()
            if beyond is not None and beyond.state != "flat":  # no steps, but a plain that ends somewhere
                return (beyond.level if beyond.state == "ok" else 0.0), "noise"
            level = wider.level if wider.state == "ok" else 0.0
            break
    return (max(level, 0.3 * gap) if gap < math.inf else 0.0), "steps"


def _numbers(cast: Sequence[bool]) -> list[int]:
    return [tensor for tensor, is_cast in enumerate(cast) if is_cast]


def _casts(
    problem: Problem, analytic: Sequence[Float64Array], single: bool, f0: float, rng: np.random.Generator
) -> list[bool]:
    """Which float64 tensors the loss converts to float32: changes that float32 cannot hold leave no trace.

    All or none, but where its values tell that something is in float32.
    """
    wide = [t for t, narrow in enumerate(problem.single) if not narrow and problem.size(t)]
    found = [False] * len(problem.working)
    grained = single and not all(problem.single)
    if len(wide) > 1 and _untouched(problem, wide, analytic, grained, f0, rng):
        return [t in wide for t in range(len(found))]
    for tensor in wide if grained or len(wide) == 1 else ():
        found[tensor] = _untouched(problem, [tensor], analytic, grained, f0, rng)
    return found


def _untouched(
    problem: Problem,
    tensors: Sequence[int],
    analytic: Sequence[Float64Array],
    grained: bool,
    f0: float,
    rng: np.random.Generator,
) -> bool:
    rounded, wiggled, visible = {}, {}, 0.0
    for tensor in tensors:
        x = problem.x(tensor)
        with np.errstate(over="ignore", under="ignore"):
            near = x.astype(np.float32).astype(np.float64)
        if not np.all(np.isfinite(near)) or np.any((near == 0) & (x != 0)):
            return False
        wiggle = near * rng.choice((-1.0, 1.0), x.shape) * rng.uniform(0.5, 1.0, x.shape) * 2.0**-26
        rounded[tensor], wiggled[tensor] = near - x, near - x + wiggle
        visible += float(np.sum(np.square(analytic[tensor] * wiggle)))
    if not any(np.any(problem.x(tensor) != 0) for tensor in tensors):
        return False  # nothing that could be rounded
    base = problem.value_along(rounded, 1.0)[0]
    if problem.value_along(wiggled, 1.0)[0] != base:
        return False
    return grained or math.sqrt(visible) > 16 * EPS64 * abs(f0)


def gradient_rounding(
    problem: Problem, analytic: Sequence[Float64Array], noise: Noise, rng: np.random.Generator
) -> list[Float64Array]:
    """What rounding may have done to the gradient under test, per entry.

    Third differences of the gradient over very near points; each side of the point alone, because of kinks at it.
    """
    if problem.given is not None:
        eps = [EPS32 if noise.single or single else EPS64 for single in problem.single]
        return [32 * e * np.abs(a) for e, a in zip(eps, analytic, strict=True)]
    here = _where_casts_lead(problem, analytic, noise)
    moves = increments(problem, MACRO if noise.single else 30, rng)
    sides = [side for side in [_third_difference(problem, moves, 1.0)] if side is not None]
    if not sides or not _within_rounding(sides[0], analytic, noise.eps):
        other = _third_difference(problem, moves, -1.0)
        sides += [other] if other is not None else []
    bounds = []
    for tensor, a in enumerate(analytic):
        size = np.abs(a)
        allowed = 4 * EPS64 * size
        if sides and a.size:
            own = 1.5 / math.sqrt(20) * np.min([side[tensor] for side in sides], axis=0)
            with np.errstate(all="ignore"):
                relative = float(np.median((own / size)[size > 0])) if np.any(size > 0) else 0.0
            allowed = np.maximum(np.maximum(own, relative * size), allowed)
            if float(np.ptp(problem.scales(tensor))) == 0.0:
                allowed = np.maximum(allowed, 0.5 * float(np.median(own)))
        bounds.append(6 * allowed + np.abs(here[tensor] - a))
    return bounds


def _where_casts_lead(problem: Problem, analytic: Sequence[Float64Array], noise: Noise) -> Sequence[Float64Array]:
    """The gradient at the point that the loss is evaluated at: what it casts is rounded."""
    if not noise.coarse or not any(noise.cast):
        return analytic
    moves = {}
    for tensor, is_cast in enumerate(noise.cast):
        if is_cast:
            x = problem.x(tensor)
            moves[tensor] = x.astype(np.float32).astype(np.float64) - x
    there = problem.gradient_at(moves, 1.0)
    return analytic if there is None or not all(np.all(np.isfinite(g)) for g in there) else there


def _within_rounding(sizes: Sequence[Float64Array], analytic: Sequence[Float64Array], eps: float) -> bool:
    """Whether one side shows so little that the other could hardly show less."""
    return all(
        not size.size or float(np.max(size)) <= QUIET * eps * float(np.max(np.abs(a)))
        for size, a in zip(sizes, analytic, strict=True)
    )


def _third_difference(problem: Problem, moves: Mapping[int, Array], side: float) -> list[Float64Array] | None:
    total: list[Float64Array] | None = None
    for k, weight in zip((1, 2, 3, 4), (1.0, -3.0, 3.0, -1.0), strict=True):
        at = problem.gradient_at(moves, side * k)
        if at is None or not all(np.all(np.isfinite(g)) for g in at):
            return None
        total = [weight * g for g in at] if total is None else [t + weight * g for t, g in zip(total, at, strict=True)]
    sizes = [np.abs(t) for t in total or []]
    return sizes if all(np.all(np.isfinite(size)) for size in sizes) else None
