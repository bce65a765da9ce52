"""Scores and validation loss at the end of an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof.train.samples import Samples

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]

_ROWS = 2000  # of the training set are scored: known to about a percent, and little beside an epoch of a larger set


class Evaluation:
    """The weights as they are, without dropout and with running statistics, on training and validation set."""

    def __init__(self, model: Sequential, training: Samples | None, validation: Samples | None) -> None:
        self._model, self._validation = model, validation
        self._training = None if training is None else _sampled(training)
        self._score = "r2" if model.loss_name == "mse" else "accuracy"

    def __call__(self) -> dict[str, float]:
        """``accuracy`` of the training set and ``val_loss`` and ``val_accuracy`` of the validation set, as far as there
        are such (``r2`` for regression)."""
        model, values = self._model, {}
        loss = model._loss
        if self._training is not None:
            X, targets = self._training
            values[self._score] = loss.score(loss.predict(model._forward(X, False)[0]), targets)
        if self._validation is not None:
            scores = self._scores(self._validation)
            targets = self._validation.targets
            values["val_loss"] = float(model._data_loss(scores, targets)[0])
            values["val_" + self._score] = loss.score(loss.predict(scores), targets)
        return values

    def _scores(self, samples: Samples) -> Array:
        scores = np.empty((len(samples), self._model.output_size), self._model.dtype)
        for start, block in samples.blocks():
            scores[start : start + len(block)] = self._model._forward(block, False)[0]
        return scores


def _sampled(samples: Samples) -> tuple[Array, Array]:
    """Inputs and targets of all rows, or of evenly spaced ones of many."""
    m = len(samples)
    chosen = np.arange(m) if m <= _ROWS else np.linspace(0, m - 1, _ROWS).astype(np.int64)
    whole = m <= _ROWS and not samples.mapped
    return samples.X if whole else samples.gather(chosen), samples.targets[chosen]
