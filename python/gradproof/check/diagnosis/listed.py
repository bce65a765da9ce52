"""Right values in the wrong places, where only some entries of a large tensor were measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradproof.check.diagnosis.arrangement import moves
from gradproof.check.diagnosis.explanation import SLACK, Explanation, everywhere
from gradproof.check.diagnosis.tensor import Array, Tensor

REFUTABLE = 5  # entries that stand out and follow: by chance, neighbours in size do not


def explain_listed(t: Tensor, others: Sequence[Tensor]) -> Iterator[Explanation]:
    """Transposed, flipped, shifted, or another tensor's: what was measured is found elsewhere in the whole gradient."""
    if t.whole or t.gradient is None or int(t.wrong.sum()) < REFUTABLE:
        return
    places = np.array([np.ravel_multi_index(entry.index, t.shape) for entry in t.entries])
    for other in others:
        if other is not t and other.gradient is not None and other.gradient.size == t.gradient.size:
            if _follow(t, np.ravel(other.gradient)[places]):
                hint = f"The gradients of {t.name} and {other.name} are exchanged or mixed up"
                words = f"numeric = analytic of {other.name}"
                yield _said(t, "swapped", words, hint, {"other": other.name})
                return
    own = np.ravel(t.gradient)
    numbers = np.arange(own.size).reshape(t.shape)
    for cause, words, move in moves(t):
        source = move(numbers).ravel()  # analytic[k] = numeric[source[k]]
        target = np.empty_like(source)
        target[source] = numbers.ravel()
        if _follow(t, own[target[places]]):
            hint = (
                "Values stand in the wrong places" if cause == "indexing" else "A transpose is missing or one too many"
            )
            yield _said(t, cause, f"analytic = numeric {words}", hint, {"pattern": words})
            return


def _follow(t: Tensor, predicted: Array) -> bool:
    """Whether all measured values are where they are predicted, and some that are wrong stand out."""
    apart = np.abs(predicted - t.n)
    telling = t.wrong & (np.abs(t.r) > 3 * SLACK * t.u)
    return bool(np.all(apart[t.known] <= SLACK * t.u[t.known]) and telling.sum() >= REFUTABLE)


def _said(t: Tensor, cause: str, words: str, hint: str, evidence: dict[str, object]) -> Explanation:
    statement = f"{words} {everywhere(t, np.zeros(t.a.shape, bool))}"
    return Explanation(cause, 3.5, int(t.wrong.sum()), statement, hint, evidence)
