"""What the doctor says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

TAGS = (
    "identical_inputs",
    "symmetric_init",
    "unnormalized_inputs",
    "label_leakage",
    "exploding_gradient",
    "saturated_activation",
    "dead_relu",
    "vanishing_gradient",
    "bad_initial_loss",
    "small_batch_norm",
    "over_regularized",
    "learning_rate_too_high",
    "diverged",
    "oscillating_loss",
    "learning_rate_too_low",
    "underfitting",
    "plateau",
    "random_labels",
    "overfitting",
)


@dataclass(frozen=True)
class Symptom:
    """Something that is wrong with a run, or that will go wrong.

    Attributes
    ----------
    tag : str
        One of :data:`TAGS`.
    layer : str or None
        The layer it shows in most, where it is a matter of one.
    message : str
        What is the matter, in words.
    evidence : dict
        The numbers that it is read from.
    advice : str
        What to do about it.
    """

    tag: str
    layer: str | None
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self) | {"evidence": dict(self.evidence)}

    def __str__(self) -> str:
        where = f" ({self.layer})" if self.layer else ""
        numbers = ", ".join(f"{name} {_shown(value)}" for name, value in self.evidence.items())
        return f"{self.tag}{where}: {self.message}\n  evidence: {numbers}\n  advice: {self.advice}"


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
