"""Patterns of the entries' values: zero, sign, a constant factor, a term in the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from gradproof.check.diagnosis.explanation import Explanation, everywhere, odd_ones, trial
from gradproof.check.diagnosis.factors import name_factor, shown
from gradproof.check.diagnosis.fits import proportion, two_terms
from gradproof.check.diagnosis.tensor import CLEAR, SAMPLE, Array, Tensor

CHOSEN = 1e-7  # as near to two digits as float32 holds a coefficient: one in 10^5 is so near by accident
COUNTS = 64  # rows that a coefficient may be divided by: with more, an accident of CHOSEN gets likely


def explain_values(
    tensor: Tensor, dimensions: Mapping[int, str], others: Sequence[Tensor] = ()
) -> Iterator[Explanation]:
    """Explanations of ``a`` from ``n`` and the parameters, entry by entry."""
    one = [*_zero(tensor), *_absolute(tensor), *_factor(tensor, dimensions), *_penalty(tensor)]
    if tensor.a.size == 1:
        one += _number_of_others(tensor, others)
    yield from one
    if not one:
        yield from _two_penalties(tensor)
        yield from _factor_and_penalty(tensor, dimensions)


def _zero(t: Tensor) -> Iterator[Explanation]:
    found = trial(t, np.zeros_like(t.a), t.u, exact=True)
    if not (found.accepted and found.support):
        return
    statement = f"analytic = 0 {everywhere(t, found.odd)}, where numeric reaches {np.nanmax(np.abs(t.n)):.3g}"
    if t.a.any():
        hint = "The zeros are rounding errors of a sum that cancels: it may be taken over the wrong axis"
        yield Explanation(
            "reduction", 0.5, found.support, statement, hint, {"factor": 0.0}, 0.0, 0.6, ("missing-term",)
        )
        return
    hint = "It is never written, or the path to it is cut off"
    cancels = abs(float(np.nansum(t.n))) <= 3 * float(np.sqrt(np.nansum(t.u**2)))
    others = ("reduction",) if cancels else ()  # a sum over the wrong axis, which may be exactly 0
    yield Explanation("missing-term", 0.5, found.support, statement, hint, {"factor": 0.0}, 0.0, 0.99, others)


def _absolute(t: Tensor) -> Iterator[Explanation]:
    for sign in (1.0, -1.0):
        found = trial(t, sign * np.abs(t.n), t.u, exact=True)
        both = int((t.n[t.clear] > 0).sum()), int((t.n[t.clear] < 0).sum())
        if found.accepted and min(both) > 0 and found.support > 2:
            statement = f"analytic = {'-' if sign < 0 else ''}|numeric| {everywhere(t, found.odd)}"
            yield Explanation("sign", 2.5, found.support, statement, "The sign is lost", {"absolute": True})


def _factor(t: Tensor, dimensions: Mapping[int, str]) -> Iterator[Explanation]:
    fit = proportion(t.a, t.n, t.u)
    if fit is None or fit[0] == 0:
        return
    c, error = fit
    found = trial(t, c * t.n, (1 + abs(c)) * t.u + error * np.abs(t.n), fitted=1)
    if not found.accepted or abs(c - 1) <= 3 * error or abs(c) <= 3 * error:
        return
    where, evidence = everywhere(t, found.odd), {"factor": c, "standard_error": error, **odd_ones(t, found.odd)}
    words = name_factor(c, error, dimensions)
    if abs(c + 1) <= max(4 * error, 1e-6):
        evidence["factor"] = -1.0
        yield Explanation(
            "sign", 1, found.support + 1, f"analytic = -numeric {where}", "A minus is lost", evidence, -1.0
        )
        return
    evidence["meaning"] = words
    if t.a.size == 1 and words is None:
        yield _one_number(t, c, evidence)
        return
    statement = f"analytic = {shown(c)} × numeric {where}" + (f" (± {error:.1g})" if error > 5e-4 * abs(c) else "")
    hint = f"Probably {words}" if words else "Look for a stray factor"
    bonus = 0 if words is None else 1
    yield Explanation("scale", 3 - bonus, found.support + bonus, statement, hint, evidence, c)


def _one_number(t: Tensor, c: float, evidence: dict[str, object]) -> Explanation:
    """One entry is some factor of another number always, and that number plus something."""
    a, n = float(t.a.ravel()[0]), float(t.n.ravel()[0])
    statement = f"analytic {a:.6g}, numeric {n:.6g}: {shown(c)} times, or {a - n:+.6g}"
    hint = "One number does not tell a factor from a term that is left out"
    others = ("missing-term", "scale", "derivative", "sign")
    return Explanation("unknown", 3, 0, statement, hint, evidence, None, 0.5, others)


def _number_of_others(t: Tensor, others: Sequence[Tensor]) -> Iterator[Explanation]:
    """A factor that is another single parameter, or its exponential: of a rate in place of its logarithm."""
    fit = proportion(t.a, t.n, t.u)
    if fit is None:
        return
    for other in (other for other in others if np.size(other.theta) == 1):
        x = float(np.ravel(other.theta)[0])
        for words, value in ((f"{other.name}", x), (f"exp({other.name})", float(np.exp(x)))):
            for sign, verb in ((1, "too many"), (-1, "missing")):
                factor = value**sign if value else 0.0
                if factor and abs(factor - 1) > 1e-4 and abs(fit[0] - factor) <= max(2 * fit[1], 1e-7 * abs(factor)):
                    statement = f"analytic = numeric {'×' if sign > 0 else '/'} {words} ({shown(fit[0])} ×)"
                    hint = f"A factor {words} is {verb}, as between a number and its logarithm"
                    evidence = {"factor": fit[0], "other": other.name}
                    yield Explanation("scale", 2.8, 2, statement, hint, evidence, None, 0.9, ("derivative",))
                    return


def _terms(t: Tensor) -> Iterator[tuple[str, str, Array]]:
    yield "θ", "L2", t.x
    yield "sign(θ)", "L1", np.sign(t.x)


def _penalty(t: Tensor) -> Iterator[Explanation]:
    for symbol, norm, x in _terms(t):
        largest = max(float(np.nanmax(np.abs(t.r))), 1e-300)
        fit = proportion(t.r, x, t.u * (np.max(np.abs(x), initial=0) / largest))
        if fit is None:
            continue
        k = fit[0]
        error = _error(x, t.u)
        tolerance = t.u + error * np.abs(x)
        found = trial(t, t.n + k * x, tolerance, fitted=1)
        telling = int((np.abs(k * x) > CLEAR * tolerance)[t.known & ~found.odd].sum()) - 1
        if t.a.size == 1 and (norm == "L1" or not _round(k, error)):  # one number is some multiple of θ always
            continue
        if found.accepted and telling >= 0 and abs(k) > 3 * error:
            statement = f"analytic = numeric {'+' if k > 0 else '-'} {abs(k):.6g} {symbol} {everywhere(t, found.odd)}"
            evidence = {"coefficient": k, "term": symbol, "standard_error": error, **odd_ones(t, found.odd)}
            one_sign = np.ptp(np.sign(t.x[t.known])) == 0  # a constant residual then, which has other causes
            cost = 3 if norm == "L2" else 4.2 if one_sign else 3.5
            if t.a.size == 1:  # a coefficient that somebody chose is no accident
                cost, telling = 2.9, 1
            if norm == "L2" and _tangential(t) and not _round(k, error):
                yield _radial(statement, telling, evidence)
                continue
            yield Explanation("regularization", cost, telling, statement, _which(t, k, norm), evidence)


def _tangential(t: Tensor) -> bool:
    """Whether the measured gradient has no part along the parameters: their length does not matter."""
    along, room = float(np.nansum(t.n * t.x)), float(np.sqrt(np.nansum((t.u * t.x) ** 2)))
    length = float(np.sqrt(np.nansum(t.n**2) * np.nansum(t.x**2)))
    return t.count > 1 and abs(along) <= 3 * room and room < 1e-3 * length


def _round(k: float, error: float) -> bool:
    """Whether this is a coefficient somebody chose: one of two digits, or that divided by a count."""
    rows = np.arange(1, COUNTS + 1)
    counts = abs(k) * rows
    chosen = np.array([float(f"{value:.2g}") for value in counts])
    return bool(np.any(np.abs(chosen - counts) <= np.maximum(CHOSEN * counts, 3 * error * rows)))


def _radial(statement: str, support: int, evidence: dict[str, object]) -> Explanation:
    hint = "Numeric is at right angles to θ: its length does not matter, and the derivative of the norm is left out"
    others = ("derivative", "regularization")
    return Explanation("missing-term", 3, support, statement, hint, evidence, None, 0.9, others)


def _which(t: Tensor, k: float, norm: str) -> str:
    if k < 0:
        return f"The {norm} term is missing, or its coefficient too small by {-k:.6g} (λ/m against λ/2m?)"
    if len(t.shape) < 2:
        return f"An {norm} term too many: biases, γ and β are not regularized, or it is added twice"
    return f"The {norm} term is added twice, or its coefficient too large by {k:.6g} (λ/m against λ/2m?)"


def _two_penalties(t: Tensor) -> Iterator[Explanation]:
    """One penalty in place of another, or both wrong."""
    fit = two_terms(t.r[t.known], t.x[t.known], np.sign(t.x[t.known]), t.u[t.known])
    if fit is None:
        return
    k, c, *errors = fit
    if abs(k) <= 3 * errors[0] or abs(c) <= 3 * errors[1]:
        return
    found = trial(t, t.n + k * t.x + c * np.sign(t.x), t.u * (1 + 4 / np.sqrt(min(t.count, SAMPLE))), fitted=2)
    telling = int((t.wrong & t.known & ~found.odd).sum()) - 2
    if found.accepted and telling > 1:
        statement = f"analytic = numeric {k:+.6g} θ {c:+.6g} sign(θ) {everywhere(t, found.odd)}"
        hint = "Both penalties, L2 and L1, have wrong coefficients"
        yield Explanation("regularization", 5, telling, statement, hint, {"coefficient": k, "coefficient_l1": c})


def _error(x: Array, u: Array) -> float:
    with np.errstate(invalid="ignore"):
        total = float(np.nansum((x / u) ** 2))
    return 1 / np.sqrt(total) if total > 0 else np.inf


def _factor_and_penalty(t: Tensor, dimensions: Mapping[int, str]) -> Iterator[Explanation]:
    for symbol, _norm, x in _terms(t):
        fit = two_terms(t.a[t.known], t.n[t.known], x[t.known], t.u[t.known])
        if fit is None:
            continue
        c, k, error, _ = fit
        if abs(c - 1) < max(1e-6, 4 * error):  # one odd entry beside right ones
            continue
        tolerance = (1 + abs(c)) * t.u * (1 + 4 / np.sqrt(min(t.count, SAMPLE)))
        found = trial(t, c * t.n + k * x, tolerance, fitted=2)
        if not found.accepted or found.support < 2:
            continue
        words = name_factor(c, error, dimensions)
        penalty = k / (1 - c) if abs(1 - c) > 1e-9 else None
        statement = (
            f"analytic = {shown(c)} × numeric {'+' if k > 0 else '-'} {abs(k):.6g} {symbol} {everywhere(t, found.odd)}"
        )
        hint = f"The data part is scaled by {shown(c)}" + (f", probably {words}" if words else "")
        if penalty is not None:
            hint += f"; the penalty is not, if its coefficient is {penalty:.6g}"
        evidence = {"factor": c, "coefficient": k, "penalty": penalty, "meaning": words, **odd_ones(t, found.odd)}
        cause = "sign" if abs(c + 1) < max(1e-6, 4 * error) else "scale"
        if abs(c) < max(1e-6, 4 * error):
            c, cause, hint = 0.0, "missing-term", "Only the penalty is there: the path of the data part is cut off"
            statement = f"analytic = {k:.6g} {symbol} {everywhere(t, found.odd)}"
        yield Explanation(cause, 6, found.support, statement, hint, evidence, c)
