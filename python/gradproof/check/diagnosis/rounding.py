"""Patterns that narrow number types and clipping leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradproof.check.diagnosis.explanation import Explanation, everywhere, trial
from gradproof.check.diagnosis.factors import shown
from gradproof.check.diagnosis.fits import proportion
from gradproof.check.diagnosis.tensor import Array, Tensor, sample

SMALL = 1e-6  # relative error below which no formula is wrong, but a number
FEW = 0.25  # share of the entries that are told one by one

# Name, relative rounding error.
TYPES = (("float32", 2.0**-24), ("float16", 2.0**-11), ("bfloat16", 2.0**-8))


def explain_approximation(t: Tensor) -> Explanation | None:
    """Explanation of an error so small that no factor or term of a formula makes it."""
    off = t.wrong & t.known
    size = float(np.max(np.abs(t.n[t.known]), initial=0))
    if not off.any() or not size or float(np.max(np.abs(t.r[off]))) > SMALL * size:
        return None
    relative = np.abs(t.r[off]) / np.maximum(np.abs(t.n[off]), 1e-3 * size)
    if np.median(relative) > SMALL:
        return None
    fit = proportion(t.a, t.n, t.u)
    held = fit is not None and trial(t, fit[0] * t.n, 2 * t.u + fit[1] * np.abs(t.n), fitted=1).accepted
    evidence: dict[str, object] = {"relative": float(np.max(relative))}
    if fit is not None and held and abs(fit[0] - 1) > 3 * fit[1]:
        statement = f"analytic = {shown(fit[0])} × numeric {everywhere(t, np.zeros(t.a.shape, bool))}"
        evidence["factor"] = fit[0]
        hint = "So near to 1, it looks like a truncated constant, or an approximation"
        return Explanation("precision", 2, int(off.sum()), statement, hint, evidence, None, 0.75, ("scale",))
    statement = f"analytic differs from numeric by {np.max(relative):.1e} of its size"
    hint = "So small an error looks like an approximation, an iteration not converged, or a truncated constant"
    others: tuple[str, ...] = ("derivative", "missing-term")
    if off.sum() <= FEW * t.known.sum():
        places = t.indices(off)
        statement += f", at {', '.join(map(str, places[:4]))}{', …' if len(places) > 4 else ''} alone"
        evidence["indices"] = places
        others = ("indexing", *others)
    return Explanation("precision", 2.5, int(off.sum()), statement, hint, evidence, None, 0.75, others)


def explain_rounding(t: Tensor) -> Iterator[Explanation]:
    """Explanations by what the values can hold."""
    yield from _narrow(t)
    yield from _decimals(t)
    yield from _clipped(t)


def _held(a: Array, name: str) -> Array:
    """`a` as the type holds it."""
    with np.errstate(over="ignore", under="ignore"):
        if name == "bfloat16":
            bits = a.astype(np.float32).view(np.uint32)
            return np.asarray(
                ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32), np.float64
            )
        return a.astype(name).astype(np.float64)


def _narrow(t: Tensor) -> Iterator[Explanation]:
    known = t.known & (t.n != 0)
    if known.sum() < 2 or not t.wrong.any():
        return
    a, n, u = t.a[known], t.n[known], t.u[known]
    size = float(np.sqrt(np.mean(n**2)))
    error = float(np.sqrt(np.mean((a - n) ** 2)))
    for name, eps in sorted(TYPES, key=lambda item: item[1]):
        held = bool(np.array_equal(_held(a, name), a))
        # Sums of hundreds of terms lose some digits more than the rounding of the result.
        if error > 100 * eps * size or error < 0.02 * eps * size or not (held or error > 10 * float(np.median(u))):
            continue
        if not held and (name == "bfloat16" or (name == "float16" and error > 4 * eps * size)):
            continue
        drift = abs(float(np.mean(np.sign(a - n))))
        if not held and (drift > 0.6 and a.size > 8):
            continue
        support = int((np.abs(a - n) > u).sum())
        statement = f"analytic differs from numeric by {error / size:.1e} of its size, as {name} rounding does"
        if held:
            statement += f", and every entry is a {name} number"
        hint = f"Somewhere on the way to it values are held in {name}"
        certainty = 0.97 if held else 0.7
        yield Explanation(
            "precision",
            3.2 if held else 6.5,
            support,
            statement,
            hint,
            {"dtype": name},
            None,
            certainty,
            () if held else ("derivative",),
        )
        return


def _decimals(t: Tensor) -> Iterator[Explanation]:
    a = t.a[t.known]
    size = float(np.max(np.abs(a), initial=0))
    if a.size < 4 or not size:
        return
    few = a[sample(a.size)]
    for digits in range(0, 9):
        step = 10.0**-digits
        if np.any(np.abs(few / step - np.rint(few / step)) >= 1e-6):
            continue
        if np.all(np.abs(a / step - np.rint(a / step)) < 1e-6) and np.any(a):
            error = float(np.sqrt(np.mean(t.r[t.known] ** 2)))
            if step > size or error < 0.02 * step or not _on_grid(t, step):
                return
            none = np.zeros(t.a.shape, bool)
            statement = f"analytic = numeric rounded to {digits} decimals {everywhere(t, none)}"
            hint = "Values are rounded or held as integers"
            yield Explanation(
                "precision",
                3.1,
                int((np.abs(t.r[t.known]) > t.u[t.known]).sum()),
                statement,
                hint,
                {"decimals": digits},
                None,
            )
            return


def _on_grid(t: Tensor, step: float) -> bool:
    """Whether every entry is the measured one rounded, or cut off, to a multiple of `step`."""
    a, n, u = t.a[t.known] / step, t.n[t.known] / step, t.u[t.known] / step
    whole = np.abs(n - np.rint(n)) <= u  # such stay what they are
    return any(
        bool(np.all(np.abs(a - np.where(whole, np.rint(n), rounded(n))) < 0.1))
        for rounded in (np.rint, np.trunc, np.floor, np.ceil)
    )


def _clipped(t: Tensor) -> Iterator[Explanation]:
    size = float(np.max(np.abs(t.a[t.known]), initial=0))
    with np.errstate(invalid="ignore"):
        at = t.known & (np.abs(t.a) == size) & t.wrong
        low = bool(np.any(t.a[at] < 0))
        high = bool(np.any(t.a[at] > 0))
        inside = t.clear & ~t.wrong
    if not size or not at.any() or np.any(np.abs(t.n[at]) < size):
        return
    bounds = (-size if low else -np.inf, size if high else np.inf)
    found = trial(t, np.clip(t.n, *bounds), t.u, exact=True)
    if not found.accepted or (at.sum() < 2 and not _round(size)):
        return
    statement = f"analytic = clip(numeric, ±{size:.6g}) {everywhere(t, found.odd)}; {int(at.sum())} stand at the bound"
    support = int(at.sum()) + int(inside.sum() > 0)
    yield Explanation(
        "clipping", 3, support, statement, "The gradient is clipped: check it before that", {"bound": size}
    )


def _round(value: float) -> bool:
    return bool(abs(value - float(f"{value:.1g}")) < 1e-12 * abs(value)) or float(f"{value:.2g}") == value


def norm_clipped(tensors: Sequence[Tensor], factor: float) -> float | None:
    """The bound, if the norm of these gradients is a round number and one factor below 1 brought them to it."""
    if not 0 < factor < 1 or not all(t.whole for t in tensors):
        return None
    norm = float(np.sqrt(sum(float(np.sum(t.a**2)) for t in tensors)))
    rounded = float(f"{norm:.2g}")
    return rounded if norm and abs(norm - rounded) <= 1e-5 * rounded else None
