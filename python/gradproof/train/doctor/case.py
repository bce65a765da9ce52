"""A training run as the doctor sees it: the numbers that the symptoms are read from, each defined once."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof._cached import cached_property
from gradproof.train.doctor import thresholds as limit

if TYPE_CHECKING:
    from gradproof.train.history import History

Curve = NDArray[np.float64]


class Start:
    """What is known of a run before its first step: the facts about data and network."""

    def __init__(self, facts: Mapping[str, Any], batch_size: int | None = None) -> None:
        self.facts = facts
        rows = int(facts.get("rows", 0))
        self.batch_size = min(batch_size or rows, rows)

    @property
    def known(self) -> bool:
        """Whether facts were taken down at all: not of runs with ``monitor=False``."""
        return bool(self.facts)

    @property
    def network(self) -> Mapping[str, Any]:
        return self.facts["network"]

    @property
    def loss(self) -> str:
        return str(self.network["loss"])

    @property
    def inputs(self) -> Mapping[str, Any]:
        return self.facts["inputs"]

    @property
    def start(self) -> Mapping[str, Any]:
        """The snapshot before the first step."""
        return self.facts["start"]

    @property
    def expected_loss(self) -> float:
        """Of a network that knows nothing."""
        return float(self.facts["targets"]["expected_loss"])

    @property
    def constant_loss(self) -> float:
        """Of the best answer that does not look at the input: what there is to learn is the way from here to 0."""
        return float(self.facts["targets"]["constant_loss"])

    @property
    def learnable(self) -> bool:
        """Whether the targets differ, so that there is something to learn."""
        return not self.facts["targets"].get("constant", False)

    @property
    def first_loss(self) -> float:
        """At the start; infinite if it was no number."""
        value = self.start["training_loss"]
        return np.inf if value is None else float(value)

    @property
    def chance(self) -> float:
        """The score of the best constant answer."""
        return float(self.facts["targets"]["chance"])

    def knowledge(self, score: float) -> float:
        """A score on a scale from 0 (the best constant answer) to 1 (perfect)."""
        return (score - self.chance) / max(1 - self.chance, 1e-9)

    def uncertainty(self, knowledge: float, rows: int) -> float:
        """Standard error of a score from so many rows, on the scale of :meth:`knowledge`."""
        if not rows or not isfinite(knowledge):
            return 0.0
        if self.loss == "mse":  # of a mean of squares of normal errors
            return abs(1 - knowledge) * (2 / rows) ** 0.5
        room = max(1 - self.chance, 1e-9)
        score = min(max(self.chance + knowledge * room, 0.0), 1.0)
        return float((score * (1 - score) / rows) ** 0.5 / room)

    def layers(self, *kinds: str) -> list[tuple[str, int]]:
        """Names and widths of the layers of some kinds, from the input on."""
        return [(name, n_out) for name, kind, _, n_out in self.network["layers"] if kind in kinds]

    @property
    def narrowest(self) -> int:
        """Units of the narrowest hidden layer; 0 if there is none."""
        return min((units for _, units in self.layers("Dense", "Maxout")[:-1]), default=0)

    @cached_property
    def weights(self) -> list[str]:
        """Names of the weight tensors of Dense and Maxout layers, from the input on."""
        return [f"{name}.W" for name, _ in self.layers("Dense", "Maxout")]

    @cached_property
    def trained(self) -> list[str]:
        """Those of them that are not frozen; all parameters that are not, where there are none."""
        known = self.network.get("trained", self.weights)
        return [name for name in self.weights if name in known] or list(known)

    def flow(self, snapshot: Mapping[str, Any]) -> Curve:
        """How much gradient arrives at every weight tensor, from the input on.

        ``dW`` is the product of what goes into a layer and what comes back to it: its root mean square over that of the
        inputs is the size of the latter.
        """
        sizes, size = [], self.inputs["rms"]
        for name, *_ in self.network["layers"]:
            if f"{name}.W" in snapshot["tensors"]:
                gradient = snapshot["tensors"][f"{name}.W"]["gradient"]
                sizes.append(nan if gradient is None or not size else gradient / size)
            row = snapshot["layers"].get(name, {})
            mean, std = row.get("activation_mean"), row.get("activation_std")
            size = nan if mean is None or std is None else float(np.hypot(mean, std))
        return np.array(sizes)


class Case(Start):
    """A run that has ended, or that goes on."""

    def __init__(self, history: History) -> None:
        super().__init__(history.settings.get("facts", {}), history.settings.get("batch_size"))
        self.history = history
        self.final: Mapping[str, Any] = history.settings.get("final", {})

    @property
    def baseline(self) -> float:
        """What a simple method reaches on a few rows, from 0 (chance) to 1; nan if nobody has asked."""
        score = self.final.get("baseline", {}).get("score")
        return nan if score is None else self.knowledge(score)

    @property
    def without_small(self) -> float:
        """What it reaches without the features that vary much less than others; nan if there are none."""
        score = self.final.get("baseline", {}).get("without_small")
        return nan if score is None else self.knowledge(score)

    @property
    def held_against(self) -> str:
        """The baseline in words, to end a sentence with; nothing if there is none."""
        method = self.final.get("baseline", {}).get("method")
        return f", while {method} on a few rows reaches {self.baseline:.0%}" if method else ""

    def curve(self, name: str) -> Curve:
        """A column of the history."""
        return np.array(self.history[name], dtype=np.float64) if name in self.history else np.zeros(0)

    @property
    def diverged(self) -> bool:
        return self.history.stopped == "diverged"

    @property
    def epochs(self) -> int:
        return len(self.history)

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return -(-int(self.facts["rows"]) // max(self.batch_size, 1))

    @cached_property
    def last(self) -> int:
        """Epochs at the end that are averaged over: a tenth."""
        return max(1, self.epochs // 10)

    @cached_property
    def losses(self) -> Curve:
        """Data loss per epoch, with that at the start in front."""
        return np.concatenate([[self.first_loss], self.curve("data_loss")])

    @cached_property
    def held_up(self) -> bool:
        """Whether the run needed long to learn half of what it learned in the end, if it learned anything."""
        half = (self.constant_loss + min(self.end_loss, self.constant_loss)) / 2
        above = np.append(self.losses[1:] > half, False)
        return int(np.argmin(above)) > max(2, limit.HELD_UP * self.epochs)

    @cached_property
    def end_loss(self) -> float:
        return float(np.mean(self.losses[-self.last :]))

    @property
    def left(self) -> float:
        """What is still to be learned: the loss over that of the best constant answer."""
        return self.end_loss / max(self.constant_loss, 1e-12)

    @property
    def _score(self) -> str:
        return "r2" if self.loss == "mse" else "accuracy"

    @cached_property
    def learned(self) -> float:
        """The training score at the end, from 0 (chance) to 1."""
        values = self.curve(self._score)[-self.last :]
        return self.knowledge(float(np.mean(values))) if len(values) else 0.0

    @cached_property
    def validated(self) -> float:
        """The validation score at the end, from 0 (chance) to 1; nan without validation data."""
        values = self.curve("val_" + self._score)[-self.last :]
        return self.knowledge(float(np.mean(values))) if len(values) else nan

    def _best(self, name: str) -> float:
        """The best score of the second half, from 0 (chance) to 1: where a run that swings would settle, or above."""
        values = self.curve(name)
        values = values[len(values) // 2 :]
        values = values[np.isfinite(values)]
        return self.knowledge(float(values.max())) if len(values) else nan

    @cached_property
    def _moves(self) -> Curve:
        """What the loss rises and falls by per epoch, in the second half, beside what there was to learn."""
        return np.asarray(np.diff(self.losses[len(self.losses) // 2 :]) / max(self.constant_loss, 1e-12))

    @property
    def _rises_on_average(self) -> float:
        return float(np.maximum(self._moves, 0).mean()) if rises(self.losses) > limit.RISES else 0.0

    @property
    def restless(self) -> bool:
        """Whether the loss goes up and down so much that it may be in the way of learning."""
        return self._rises_on_average > limit.RISES_WHEN_BEHIND

    @property
    def swings(self) -> bool:
        """Whether the loss goes up and down, and by how much matters beside what there was to learn.

        Less is enough where much is left to learn, or where a simple method knows more after a few rows.
        """
        if rises(self.losses) <= limit.RISES:
            return False
        up, moves = self._rises_on_average, self._moves
        level = float(np.mean(self.losses[len(self.losses) // 2 :])) / max(self.constant_loss, 1e-12)
        again = np.count_nonzero(moves > limit.RISES_WITH_MUCH_LEFT) >= limit.RISES_AGAIN
        harmful = up * min(1.0, self.left / limit.LEFT_TO_SWING) > limit.RISES_WITH_MUCH_LEFT
        often = bool(np.mean(moves > limit.RISES_MUCH) >= limit.RISES_OFTEN)
        known, rows = self._best("val_" + self._score), int(self.facts.get("validation_rows", 0))
        if not isfinite(known):
            known, rows = self._best(self._score), int(self.end["rows"])
        unsure = limit.STANDARD_ERRORS * self.uncertainty(known, rows)
        behind = known < self.baseline - max(unsure, limit.BEHIND)
        return (
            (harmful and again and up > limit.RISES_OF_LEVEL * level)
            or up > (limit.RISES_ON_AVERAGE if often else limit.RISES_FAR)
            or (behind and self.restless)
        )

    @property
    def decayed(self) -> bool:
        """Whether the rate was gone for more than half of the run."""
        rates = self.curve("learning_rate")
        return len(rates) > 2 and float(np.median(rates)) < limit.RATE_DECAYED * float(rates.max())

    @property
    def good(self) -> bool:
        """Whether little is left to be learned, and what was learned holds for the validation data."""
        if self.diverged or not self.epochs:
            return False
        learned = self.left < limit.LOSS_SMALL and self.learned > limit.LEARNED_MUCH
        return learned and not self.learned - self.validated > limit.GAP_SMALL

    def ratios(self, first: bool) -> float:
        """Median over the weight tensors of update over weights, in the first or the last tenth of the epochs."""
        column = self.history["update_ratio"] if "update_ratio" in self.history else {}
        found = []
        for name in self.trained:
            values = np.array(column.get(name, []), dtype=np.float64)
            values = values[np.isfinite(values)]
            if len(values):
                found.append(np.mean(values[: self.last] if first else values[-self.last :]))
        return float(np.median(found)) if found else nan

    @cached_property
    def path(self) -> float:
        """How far the weights went in all, relative to their norm: updates over weights, summed over all steps."""
        column = self.history["update_ratio"] if "update_ratio" in self.history else {}
        lengths = [np.nanmean(column[name]) * self.steps * self.epochs for name in self.trained if name in column]
        return float(np.median(lengths)) if lengths else nan

    @cached_property
    def probe(self) -> dict[float, float]:
        """Loss after ten more steps by factor on the rate, infinite where it was no number; {} if there is none."""
        found = self.final.get("probe")
        if not found:
            return {}
        losses = {0.0: found["before"], **{float(factor): loss for factor, loss in found["after"].items()}}
        return {factor: np.inf if loss is None else float(loss) for factor, loss in losses.items()}

    def row(self, snapshot: Mapping[str, Any], layer: str, statistic: str) -> float:
        value = snapshot["layers"].get(layer, {}).get(statistic)
        return nan if value is None else float(value)

    @property
    def end(self) -> Mapping[str, Any]:
        """The snapshot after the last step; that of the start while the run goes on."""
        return self.final.get("end") or self.start


def doubtful(history: History) -> bool:
    """Whether a run is far enough from a good, quiet one to ask what other rates and simple methods would reach."""
    case = Case(history)
    return not case.good or case.restless


def rises(curve: Curve) -> float:
    """How much a curve goes up in its second half, per epoch and relative to its level (the median).

    No single rise counts for more than the level: one spike is not a swing.
    """
    half = curve[len(curve) // 2 :]
    if len(half) < 3 or not all(isfinite(value) for value in half) or np.median(half) < 0:
        return 0.0
    return float(np.mean(np.clip(np.diff(half) / max(np.median(half), 1e-300), 0, 1)))  # a loss may well be 0
