"""How the rows of an epoch become batches, and the steps on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradproof.nn.layers import BatchNorm
from gradproof.train import streams
from gradproof.train.samples import Samples
from gradproof.train.step import Step

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]
Rows = NDArray[np.int64]
Augmentation: TypeAlias = Callable[[Array, np.random.Generator], Array]

FULL_BATCH = 2000  # up to so many rows one batch is all of them
BATCH = 64  # and above, a batch has so many
_STAGED = 2**23  # bytes of a memory map that are copied for steps at a time


class Division:
    """The batches of an epoch, as bounds in the order of its rows.

    The last batch is shorter when the rows do not divide. With batch normalization a single row that is left over
    joins the batch before it: one row has no variance.
    """

    def __init__(self, model: Sequential, m: int, batch_size: int) -> None:
        normalizes = any(isinstance(layer, BatchNorm) for layer in model.layers)
        starts = np.arange(0, m, batch_size, dtype=np.int64)
        self.joined = normalizes and len(starts) > 1 and m - int(starts[-1]) == 1
        self.starts = starts[:-1] if self.joined else starts
        self.stops = np.append(self.starts[1:], m)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.starts)

    def size(self, batch: int) -> int:
        """Rows in a batch."""
        return int(self.stops[batch] - self.starts[batch])

    def equal(self, first: int, last: int) -> int:
        """Up to which of the batches `first` to `last` one call can go: a longer one needs its own."""
        return last - 1 if self.joined and last == len(self) and last - first > 1 else last


class Feed:
    """Steps on batches of the training set, straight from it, or from copies of a few batches at a time.

    Copies are made of memory maps, and of what an augmentation is to change.
    """

    def __init__(
        self,
        model: Sequential,
        samples: Samples,
        division: Division,
        optimizer: Any,
        state: Any,
        weights: Array | None,
        frozen: Sequence[str],
        changes: Sequence[Augmentation],
        seed: int,
    ) -> None:
        self._model, self._samples, self._weights, self._changes, self._seed = model, samples, weights, changes, seed
        self._division = division
        self._settings = (optimizer, state, frozen)
        self._staged = samples.mapped or bool(changes)
        self._step = None if self._staged else self._new(samples.X, samples.targets, weights)

    def most(self) -> int:
        """The largest number of batches for one call of :meth:`run`."""
        if not self._staged:
            return len(self._division)
        row = self._model.input_size * self._model.dtype.itemsize
        return max(1, _STAGED // (row * self._division.batch_size))

    def run(
        self, order: Rows, epoch: int, first: int, last: int, rate: float, before: Array | None
    ) -> NDArray[np.float64]:
        """Train on the batches `first` to `last` - 1 of an epoch; see :meth:`Step.run`."""
        rows, size = self._prepare(order, epoch, first, last)
        assert self._step is not None
        return self._step.run(rows, size, rate, before)

    def gradient(self, order: Rows, epoch: int, batch: int) -> tuple[float, float]:
        """See :meth:`Step.gradient`."""
        rows, _ = self._prepare(order, epoch, batch, batch + 1)
        assert self._step is not None
        return self._step.gradient(rows)

    def update(self, rate: float) -> None:
        """See :meth:`Step.update`."""
        assert self._step is not None
        self._step.update(rate)

    def _prepare(self, order: Rows, epoch: int, first: int, last: int) -> tuple[Rows, int]:
        """The rows of the step's data that are these batches, and the batch size."""
        starts, stops = self._division.starts[first:last], self._division.stops[first:last]
        rows, size = order[starts[0] : stops[-1]], int(stops[0] - starts[0])
        if not self._staged:
            return rows, size
        X = self._samples.gather(rows)
        if self._changes:
            X = np.concatenate(
                [
                    self._augmented(X[start - starts[0] : stop - starts[0]], epoch, first + i)
                    for i, (start, stop) in enumerate(zip(starts, stops, strict=True))
                ]
            )
        weights = None if self._weights is None else self._weights[rows]
        self._step = self._new(X, self._samples.targets[rows], weights)
        return np.arange(len(rows), dtype=np.int64), size

    def _augmented(self, batch: Array, epoch: int, index: int) -> Array:
        shape, rng = batch.shape, streams.augmentation(self._seed, epoch, index)
        for change in self._changes:
            changed = np.asarray(change(batch, rng))
            if changed.shape != shape:
                raise ValueError(f"augment: got shape {changed.shape} back, expected that of the batch, {shape}")
            try:
                batch = self._model._inputs(changed)
            except (ValueError, TypeError) as error:
                raise type(error)(f"augment: got back {error}") from error
        return batch

    def _new(self, X: Array, targets: Array, weights: Array | None) -> Step:
        optimizer, state, frozen = self._settings
        y = targets
        return Step(self._model, X, y, optimizer, state, weights=weights, frozen=frozen, rows=len(self._samples))
