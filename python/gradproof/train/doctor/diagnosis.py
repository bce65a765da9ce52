"""The two questions to the doctor: about a run, and about a network that is not trained yet."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from gradproof.nn import validate
from gradproof.nn.model import Sequential
from gradproof.train import samples as data
from gradproof.train.doctor import fitting, initial, inputs, rate
from gradproof.train.doctor import thresholds as limit
from gradproof.train.doctor.case import Case, Start
from gradproof.train.doctor.causes import Finding, causes
from gradproof.train.doctor.facts import facts
from gradproof.train.doctor.symptom import Symptom

if TYPE_CHECKING:
    from gradproof.train.history import History


def diagnose_history(history: History) -> list[Symptom]:
    """What is wrong with a run, causes first; empty for a healthy one.

    Parameters
    ----------
    history : History
        Of ``model.fit``, or read from a file. A run with ``monitor=False`` has no facts to read from, and gives what
        its curves show.

    Returns
    -------
    list of Symptom
    """
    case = Case(history)
    if not case.known:
        return causes(rate.diverged(case)) if case.diverged else []
    return causes(_seen(case))


def _seen(case: Case) -> Iterator[Finding]:
    open_ended = bool(case.trained) and case.learnable  # else no rate and no size of the network changes a thing
    failing = open_ended and fails(case)
    harmed = failing or case.swings or not case.good
    yield from inputs.identical_inputs(case)
    yield from inputs.unnormalized_inputs(case, failing or (harmed and _bad_start(case)), failing)
    yield from inputs.label_leakage(case)
    yield from inputs.random_labels(case)
    yield from initial.symmetric_init(case)
    if harmed or case.held_up:  # a start that a run gets over at once does no harm
        yield from initial.bad_initial_loss(case, harmed)
        yield from initial.exploding_gradient(case)
    yield from initial.vanishing_gradient(case, failing or (case.held_up and not case.good))
    yield from initial.saturated_activation(case, failing)
    yield from initial.dead_relu(case, failing)
    yield from fitting.small_batch_norm(case, failing or (open_ended and case.left > 0.3))
    yield from rate.diverged(case)
    if not open_ended:
        return
    yield from rate.learning_rate_too_high(case, failing)
    yield from rate.learning_rate_too_low(case, failing)
    yield from rate.oscillating_loss(case)
    yield from rate.plateau(case, failing)
    yield from fitting.overfitting(case)
    yield from fitting.underfitting(case, failing)
    yield from fitting.over_regularized(case, failing)


def _bad_start(case: Start) -> bool:
    """Whether loss or activations are off before the first step."""
    return case.first_loss > limit.INITIAL_LOSS * case.expected_loss or bool(list(initial.saturated_activation(case)))


def fails(case: Case) -> bool:
    """Whether a run learned clearly less of its own training set than can be learned."""
    if case.diverged or not isfinite(case.end_loss) or case.left > limit.LOSS_ABOVE_CHANCE:
        return True
    base = case.baseline
    if isfinite(base) and base > limit.BASELINE_KNOWN:
        unsure = limit.STANDARD_ERRORS * case.uncertainty(base, case.end["rows"])
        return case.learned < min(limit.LEARNED_OF_BASELINE * base, base - unsure)
    return case.left > limit.LOSS_LEFT


def diagnose(
    model: Sequential, X: ArrayLike, y: ArrayLike, *, validation_data: Any = None, batch_size: int | None = None
) -> list[Symptom]:
    """What can be seen before training: of the data, the initial weights and what flows through the network.

    Parameters
    ----------
    model : Sequential
        At its start. It is not changed.
    X, y : array_like
        The training set.
    validation_data : (X, y), optional
        To be looked through for rows of the training set.
    batch_size : int, optional
        Rows per step, for what batch normalization makes of them.

    Returns
    -------
    list of Symptom
        Causes first; empty if nothing is wrong.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model: got {type(model).__name__}, expected a gradproof.Sequential")
    samples = data.Samples(model, X, y)
    validation = None if validation_data is None else data.validation(model, validation_data, samples.targets)
    known = facts(model, samples.X, samples.targets, None if validation is None else validation.X)
    case = Start(known, None if batch_size is None else validate.whole(batch_size, "batch_size", 1, 2**63 - 1))
    return causes(_foreseen(case))


def _foreseen(case: Start) -> Iterator[Finding]:
    harmed = _bad_start(case)
    yield from inputs.identical_inputs(case)
    yield from inputs.unnormalized_inputs(case, harmed)
    yield from inputs.label_leakage(case)
    yield from initial.symmetric_init(case)
    yield from initial.bad_initial_loss(case)
    yield from initial.exploding_gradient(case)
    yield from initial.vanishing_gradient(case)
    yield from initial.saturated_activation(case)
    yield from initial.dead_relu(case)
    yield from fitting.small_batch_norm(case)
