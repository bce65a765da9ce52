"""Before anything is measured: do loss and gradient answer the same at the same point, and with numbers?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.evaluate import Problem
from gradproof.check.lines import increments
from gradproof.check.noise import EPS32, EPS64
from gradproof.check.report import Finding
from gradproof.check.tensor_report import Verdict

Float64Array = NDArray[np.float64]

REPEATS: Final = 4  # a mask may come out the same several times running
LOSS_SPREAD: Final = 1e3  # in units of roundoff: threads that sum in another order stay far below
GRADIENT_SPREAD: Final = 1e4
ELSEWHERE: Final = 4  # parameters change by 2^-4 of their size to see whether the gradient remembers

LOSS_ADVICE = (
    "Freeze what is random in it (a dropout mask, a batch, a noise): draw it once outside, or seed the generator "
    "inside the loss."
)
GRADIENT_ADVICE = "Use the same frozen masks and batch as in the loss, and start from zeroed buffers at every call."


@dataclass
class Contracts:
    """What holds at the point.

    Attributes
    ----------
    f0 : float
        The loss.
    analytic : list of float64 array
        The gradient.
    verdict : Verdict or None
        Given where there is nothing to measure.
    findings : list of Finding
    spread : float
        How far the loss moves between evaluations at the point, by rounding.
    gradient_spread : list of float64 array
        The same for the gradient, per entry.
    """

    f0: float
    analytic: list[Float64Array]
    verdict: Verdict | None = None
    findings: list[Finding] = field(default_factory=list)
    spread: float = 0.0
    gradient_spread: list[Float64Array] = field(default_factory=list)


def examine(problem: Problem, rng: np.random.Generator) -> Contracts:
    """Evaluate loss and gradient several times in turn, and the gradient once after a visit elsewhere.

    What loss and gradient raise at the point comes through, and a gradient of another structure, shape or dtype is an
    error.
    """
    values = [problem.value()]
    analytic = problem.gradient()
    known = Contracts(values[0], analytic)
    if not _finite(problem, known) or not _finite_parameters(problem, known):
        return known
    gradients = [analytic]
    for repeat in range(1, REPEATS):
        values.append(problem.value())
        if repeat < 3 and problem.given is None:
            gradients.append(problem.gradient())
    single = any(problem.single) or problem.returns_single
    eps = EPS32 if single else EPS64
    known.spread = max(values) - min(values)
    known.gradient_spread = [np.ptp(np.stack(column), axis=0) for column in zip(*gradients, strict=True)]
    if not known.spread <= LOSS_SPREAD * eps * max(map(abs, values)):
        known.findings.append(_unsteady_loss(values))
    elif _apart(gradients, eps):
        known.findings.append(_unsteady_gradient(problem, gradients))
    elif problem.given is None:
        moves = increments(problem, ELSEWHERE, rng)
        problem.value_along(moves, 1.0)
        after = problem.gradient()
        problem.value()
        if _apart([analytic, after], eps):
            known.findings += _stale(problem, analytic, after)
    if known.findings:
        known.verdict = Verdict.NONDETERMINISTIC
    known.findings += written_into(problem)
    return known


def still_there(problem: Problem, known: Contracts, sigma: float) -> Finding | None:
    """Evaluate once more when all is done: a function that drifts with the number of calls is not a function."""
    value = problem.value()
    single = any(problem.single) or problem.returns_single
    eps = EPS32 if single else EPS64
    apart = abs(value - known.f0)
    if apart <= max(LOSS_SPREAD * eps * abs(known.f0), 8 * sigma):
        return None
    message = (
        f"loss: {known.f0!r} at first and {value!r} at the end of the check, at the same point. It depends on earlier "
        "calls: look for state that it keeps (running statistics, a counter, a random generator)."
    )
    return Finding("nondeterministic", None, message, 1.0, {"values": [known.f0, value]})


def written_into(problem: Problem) -> list[Finding]:
    """Findings about arguments that were changed."""
    findings = []
    for function in sorted(problem.disturbed):
        names = ", ".join(sorted(problem.disturbances)) or "the containers"
        message = (
            f"{function} changes the arrays it is given ({names}). The check gave it fresh copies every time, but "
            "other callers will not: work on a copy there (x = x + d instead of x += d)."
        )
        evidence = {"function": function, "tensors": sorted(problem.disturbances)}
        findings.append(Finding("state", min(problem.disturbances, default=None), message, 1.0, evidence))
    return findings


def _finite(problem: Problem, known: Contracts) -> bool:
    if not np.isfinite(known.f0):
        message = f"loss: {known.f0} at the point itself."
        known.findings.append(Finding("nonfinite", None, message, 1.0, {"loss": known.f0}))
    for name, array in zip(problem.parameters.names, known.analytic, strict=True):
        bad = np.argwhere(~np.isfinite(array))
        if bad.size or (bad.ndim == 2 and len(bad)):
            where = f"[{', '.join(map(str, bad[0]))}]" if array.ndim else ""
            message = (
                f"{name}: the gradient is not finite in {len(bad)} of {array.size} entries, first {name}{where} = "
                f"{array[tuple(bad[0])]}. Look for a division by zero, a logarithm or root of zero, or an overflow."
            )
            evidence = {"indices": [[int(i) for i in index] for index in bad[:20]], "count": len(bad)}
            known.findings.append(Finding("nonfinite", name, message, 1.0, evidence))
    if known.findings:
        known.verdict = Verdict.NONFINITE
    return known.verdict is None


def _finite_parameters(problem: Problem, known: Contracts) -> bool:
    for name, array in zip(problem.parameters.names, problem.parameters.arrays, strict=True):
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            where = f"[{', '.join(map(str, bad[0]))}]" if array.ndim else ""
            message = (
                f"{name}: the parameters themselves are not finite in {len(bad)} of {array.size} entries, first "
                f"{name}{where} = {array[tuple(bad[0])]}: such entries cannot be moved. Put them into the function as "
                "constants, or use a large finite number."
            )
            evidence = {"indices": [[int(i) for i in index] for index in bad[:20]], "count": len(bad)}
            known.findings.append(Finding("nonfinite", name, message, 1.0, evidence))
    if known.findings:
        known.verdict = Verdict.NONFINITE
    return known.verdict is None


def _largest(gradient: Sequence[Float64Array]) -> float:
    return max((float(np.max(np.abs(array), initial=0.0)) for array in gradient), default=0.0)


def _apart(gradients: Sequence[Sequence[Float64Array]], eps: float) -> bool:
    allowed = GRADIENT_SPREAD * eps * max(map(_largest, gradients))
    first = gradients[0]
    return any(not _largest([a - b for a, b in zip(first, other, strict=True)]) <= allowed for other in gradients[1:])


def _unsteady_loss(values: Sequence[float]) -> Finding:
    message = (
        f"loss: {len(values)} evaluations at the same point give {', '.join(f'{v:.10g}' for v in values)}, which is "
        f"beyond rounding. {LOSS_ADVICE}"
    )
    return Finding("nondeterministic", None, message, 1.0, {"function": "loss", "values": list(values)})


def _unsteady_gradient(problem: Problem, gradients: Sequence[Sequence[Float64Array]]) -> Finding:
    first, second, third = gradients[:3]
    spreads = [_largest([a - b]) for a, b in zip(first, second, strict=True)]
    tensor = int(np.argmax(spreads))
    name = problem.parameters.names[tensor]
    evidence = {"function": "grad", "largest_difference": max(spreads)}
    sums = all(
        np.allclose(b, 2 * a, rtol=1e-6, atol=0) and np.allclose(c, 3 * a, rtol=1e-6, atol=0)
        for a, b, c in zip(first, second, third, strict=True)
    )
    if sums and _largest(first) > 0:
        message = (
            "grad: the second call gives twice and the third call three times the first: it adds into a buffer that is "
            "never zeroed. Start every call from zeros."
        )
        return Finding("state", name, message, 1.0, {**evidence, "factor": 2.0})
    message = (
        f"grad: calls at the same point differ by up to {max(spreads):.3g} (in {name}), while the loss repeats. "
        f"{GRADIENT_ADVICE}"
    )
    return Finding("nondeterministic", name, message, 1.0, evidence)


def _stale(problem: Problem, before: Sequence[Float64Array], after: Sequence[Float64Array]) -> list[Finding]:
    spreads = [_largest([a - b]) for a, b in zip(before, after, strict=True)]
    names = [problem.parameters.names[i] for i, spread in enumerate(spreads) if spread > 0.01 * max(spreads)]
    message = (
        f"grad: at the same point it gives something else (by up to {max(spreads):.3g}, in {', '.join(names[:5])}) "
        "after the loss was evaluated elsewhere: it uses what the last call of the loss left behind (a cache). Compute "
        "the forward pass inside grad, or store it together with the point it belongs to."
    )
    return [Finding("state", names[0], message, 1.0, {"function": "grad", "tensors": names})]
