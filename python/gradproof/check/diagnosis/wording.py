"""Sentences that a person can act on: what is wrong, by how much, what is proved right, where to look first."""

from __future__ import annotations

from collections.abc import Sequence

from gradproof.check.diagnosis.origin import Case


def message(case: Case, cases: Sequence[Case], statement: str, hint: str) -> str:
    """The finding of one tensor."""
    name = case.tensor.name
    if case.role == "upstream" and case.origin is not None:
        return f"{name}: {statement}. It is wrong through what flows back from {case.origin.name}; mend that first."
    sentences = [f"{name}: {statement}.", f"{hint}.", _proof(case, cases)]
    return " ".join(sentence for sentence in sentences if sentence)


def worst(case: Case, final: bool = True) -> str:
    """The mismatch in numbers, where no pattern is known; `final` says that none is found."""
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
    count = int(t.wrong.sum())
    seen = "entries" if t.whole or t.rest_right else "entries looked at"
    many = (
        f"all {count} {seen} are"
        if count == t.count > 1
        else f"{count} of {t.count} {seen} {'is' if count == 1 else 'are'}"
    )
    pattern = ", without a simple pattern" if final else ""
    return f"{many} wrong{pattern}; at {index} analytic {a:.6g}, numeric {n:.6g} ± {t.u.ravel()[place]:.1g}"


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
    through = [c for c in cases if c.origin is case.tensor]
    spoilt = f"{_names(through)} {'is' if len(through) == 1 else 'are'} wrong only through this." if through else ""
    text = ""
    if behind:
        text = f"What is behind it ({behind}) is right: look at the step back from there to {case.tensor.name}."
    elif not any(c.layer > case.layer for c in cases):
        text = f"It is nearest to the loss: look at the loss's own gradient, and the step back to {case.tensor.name}."
    return f"{text} {spoilt}".strip()


def _names(cases: Sequence[Case], last: bool = False) -> str:
    names = [case.tensor.name for case in cases]
    if last:
        names = names[-2:]
        return f"{names[-1]} matches" if len(names) == 1 else f"{' and '.join(names)} match" if names else ""
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"


def either(causes: Sequence[str]) -> str:
    """ "mask, transpose or state"."""
    return causes[0] if len(causes) == 1 else f"{', '.join(causes[:-1])} or {causes[-1]}"
