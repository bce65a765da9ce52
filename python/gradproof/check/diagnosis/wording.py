"""Sentences that a person can act on: what is wrong, by how much, what is proved right, where to look first."""

from __future__ import annotations

from collections.abc import Sequence

from gradproof.check.diagnosis.origin import Case

SMALL = 1e-6  # a relative error below this looks like an approximation


def message(case: Case, cases: Sequence[Case], statement: str, hint: str) -> str:
    """The finding of one tensor."""
    name = case.tensor.name
    if case.role == "upstream" and case.origin is not None:
        return f"{name}: {statement}. It is wrong through what flows back from {case.origin.name}; mend that first."
    sentences = [f"{name}: {statement}.", f"{hint}.", _proof(case, cases)]
    return " ".join(sentence for sentence in sentences if sentence)


def worst(case: Case) -> str:
    """The mismatch in numbers, where no pattern is known."""
    import numpy as np

    t = case.tensor
    excess = np.where(t.wrong & t.known, np.abs(t.r) / t.u, -1.0)
    if not excess.size or excess.max() < 0:
        return f"{int(t.wrong.sum())} entries are wrong"
    place = int(np.argmax(excess))
    if t.whole:
        index = [int(i) for i in np.unravel_index(place, t.shape)]
    else:
        index = list(t.entries[place].index)
    a, n = t.a.ravel()[place], t.n.ravel()[place]
    text = (
        f"{int(t.wrong.sum())} of {t.count} entries are wrong, without a simple pattern; at {index} analytic {a:.6g}, "
    )
    text += f"numeric {n:.6g} ± {t.u.ravel()[place]:.1g}"
    if abs(a - n) < SMALL * max(abs(a), abs(n)):
        text += ". So small an error looks like an approximation or a wrong constant; rtol= raises the bar"
    return text


def _proof(case: Case, cases: Sequence[Case]) -> str:
    """What is proved right, and what that leaves."""
    if case.role == "own":
        proofs = _names(
            [c for c in cases if c.layer <= case.layer and c is not case and c.tensor.proved_right], last=True
        )
        if proofs:
            return f"What flows back into its layer is right, because {proofs}: look at its own formula only."
        return ""
    behind = _names([c for c in cases if c.layer > case.layer and c.tensor.proved_right])
    spoilt = _names([c for c in cases if c.origin is case.tensor])
    text = ""
    if behind:
        text = f"All behind it ({behind}) is right: look at the step back from there to {case.tensor.name}."
    elif not any(c.layer > case.layer for c in cases):
        text = f"It is nearest to the loss: look at the loss's own gradient, and the step back to {case.tensor.name}."
    if spoilt:
        text += f" {spoilt}: wrong only through this." if text else f"{spoilt}: wrong only through this."
    return text


def _names(cases: Sequence[Case], last: bool = False) -> str:
    names = [case.tensor.name for case in cases]
    if last:
        names = names[-2:]
        return f"{names[-1]} matches" if len(names) == 1 else f"{' and '.join(names)} match" if names else ""
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"
