"""Causes before consequences: what is explained by something that was found already is not said again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gradproof.train.doctor.symptom import TAGS, Symptom

_STUCK = {"learning_rate_too_low", "plateau", "underfitting"}
_WILD = {"learning_rate_too_high", "oscillating_loss", "diverged"}
_FLOW = {"exploding_gradient", "saturated_activation", "vanishing_gradient", "dead_relu", "bad_initial_loss"}

# What follows from what. Everything at the start follows from inputs of the wrong size; a run that goes nowhere, or
# wild, follows from a start like that; and so on. Divergence and swings are not explained away by the rate: they are
# how it shows.
EXPLAINS: dict[str, set[str]] = {
    "identical_inputs": set(TAGS),
    "symmetric_init": _STUCK | _WILD | _FLOW | {"over_regularized"},
    "unnormalized_inputs": _STUCK | _WILD | _FLOW | {"overfitting", "small_batch_norm", "over_regularized"},
    "exploding_gradient": _STUCK | _WILD | _FLOW | {"overfitting", "over_regularized"},
    "saturated_activation": _STUCK
    | _WILD
    | {"vanishing_gradient", "overfitting", "bad_initial_loss", "over_regularized"},
    "vanishing_gradient": _STUCK
    | {"dead_relu", "saturated_activation", "learning_rate_too_high", "oscillating_loss", "over_regularized"},
    "dead_relu": _STUCK | {"vanishing_gradient", "over_regularized", "learning_rate_too_high", "oscillating_loss"},
    "bad_initial_loss": _STUCK | _WILD | {"saturated_activation", "dead_relu", "overfitting", "over_regularized"},
    "small_batch_norm": _STUCK | {"learning_rate_too_high", "oscillating_loss", "overfitting"},
    "over_regularized": _STUCK | _WILD | {"vanishing_gradient", "dead_relu", "saturated_activation"},
    "learning_rate_too_high": _STUCK | {"saturated_activation", "dead_relu", "overfitting"},
    "oscillating_loss": {"saturated_activation", "dead_relu"},
    "diverged": {"oscillating_loss", "saturated_activation", "dead_relu", "plateau", "underfitting", "overfitting"},
    "learning_rate_too_low": {"plateau", "underfitting"},
    "underfitting": {"plateau"},
    "random_labels": {"overfitting"},
}


@dataclass(frozen=True)
class Finding:
    """A symptom, whether it came with training, and whether it is so slight that anything else is the cause."""

    symptom: Symptom
    acquired: bool = False
    slight: bool = False

    @property
    def rank(self) -> int:
        """Place in the order of causes: what training has done to activations comes after the rate."""
        place = TAGS.index(self.symptom.tag)
        return TAGS.index("oscillating_loss") * 10 + 5 if self.acquired else place * 10


def causes(findings: Iterable[Finding]) -> list[Symptom]:
    """The findings that no other explains, causes first.

    Slight ones explain nothing, and are said alone or before swings, that have no cause of their own.
    """
    found = sorted(findings, key=lambda finding: finding.rank)
    kept: list[Symptom] = []
    slight = [finding.symptom for finding in found if finding.slight]
    for finding in found:
        tag = finding.symptom.tag
        if not finding.slight and not any(tag in EXPLAINS.get(cause.tag, ()) and tag != cause.tag for cause in kept):
            kept.append(finding.symptom)
    return slight + kept if all(symptom.tag == "oscillating_loss" for symptom in kept) else kept
