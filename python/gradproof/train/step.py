"""Training steps: forward, backward and update on consecutive mini-batches of one data set."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof._messages import shown
from gradproof.nn import validate
from gradproof.nn.layout import Layout
from gradproof.train.optimizers import runs
from gradproof.train.session import session_of

if TYPE_CHECKING:
    from gradproof.nn.network import Network

Array = NDArray[Any]
Runs = tuple[tuple[int, int], ...]

_OF_A_RULE = ("init", "update")  # what an optimizer has, of the user's own too


class Step:
    """One model, one data set, one optimizer and its state: everything that a training step touches.

    Parameters
    ----------
    model : Network
        What is trained: its theta, gradient, running statistics and dropout step change in place.
    X : array_like, (m, n_in)
        The training set; an array or memory map of the model's dtype in C order is used where it lies.
    y : array_like
        Targets, as :meth:`~gradproof.nn.network.Network.loss` takes them.
    optimizer, state
        A rule such as :class:`~gradproof.train.optimizers.Adam`, and its ``init(model.theta)``.
    weights : array_like, (m,), optional
        Sample weights, finite and >= 0: the data loss of a batch is ``sum w_i L_i / sum w_i`` (0 if all are 0).
    frozen : sequence of str
        Names of tensors (``"dense_0.W"``) or of layers (``"dense_0"``) that stay as they are.
    rows : int, optional
        M of the penalty, the number of rows of the training set; ``len(X)`` if not given.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected.

    Notes
    -----
    Batch by batch: gather the rows, forward in training mode, loss and its gradient, backward, penalty; if the loss and
    its gradient are finite, the update (:attr:`frozen` tensors left out, weight decay on weights only), running
    statistics towards those of the batch, and on to the next dropout masks. A batch with a loss or a gradient that is
    not finite changes nothing but ``model.gradient``; its penalty is NaN when it is the gradient.
    """

    def __init__(
        self,
        model: Network,
        X: ArrayLike,
        y: ArrayLike,
        optimizer: Any,
        state: Any,
        *,
        weights: ArrayLike | None = None,
        frozen: Sequence[str] = (),
        rows: int | None = None,
    ) -> None:
        self.model = model
        self.X = model._inputs(X)
        self.targets = model._targets(y, len(self.X))
        if isinstance(optimizer, type) or not all(callable(getattr(optimizer, part, None)) for part in _OF_A_RULE):
            given = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else shown(optimizer)
            raise TypeError(f"optimizer: got {given}, expected an optimizer such as gp.Adam(1e-3)")
        self.optimizer = optimizer
        self.state = state
        self.weights = None if weights is None else sample_weights(weights, len(self.X), model.dtype)
        self.frozen = frozen_runs(frozen, model.layout)
        self.rows = len(self.X) if rows is None else validate.whole(rows, "rows", 1, 2**63 - 1)
        self._tape: Any = None

    def run(
        self, order: ArrayLike, batch_size: int, learning_rate: float | None = None, before: Array | None = None
    ) -> NDArray[np.float64]:
        """Train on consecutive mini-batches of `order`; the last one may be shorter.

        Parameters
        ----------
        order : int array
            Rows of `X` in the order in which they are used, for example a permutation.
        batch_size : int
            Rows per step.
        learning_rate : float, optional
            The optimizer's own if not given.
        before : array, optional
            Like the model's theta; becomes a copy of it as it is before the update of the last batch.

        Returns
        -------
        losses : float64 array, (batches, 2)
            Data loss and penalty of every batch, before its update. Training stops at the first whose sum is not
            finite: that row is the last, and its batch has changed nothing. NaN is the penalty of a finite loss whose
            gradient is not finite.
        """
        order = row_indices(order, len(self.X))
        batch_size = validate.whole(batch_size, "batch_size", 1, 2**63 - 1)
        session = session_of(self.model, self.optimizer, self.state, self.frozen)
        if session is not None:
            return session.run(self.X, self.targets, self.weights, self.rows, order, batch_size, learning_rate, before)
        losses: list[tuple[float, float]] = []
        for start in range(0, len(order), batch_size):
            losses.append(self.gradient(order[start : start + batch_size]))
            if not isfinite(sum(losses[-1])):
                break
            if before is not None and start + batch_size >= len(order):
                np.copyto(before, self.model._theta)
            self.update(learning_rate)
        return np.array(losses, dtype=np.float64).reshape(-1, 2)

    def gradient(self, indices: ArrayLike) -> tuple[float, float]:
        """The first half of a step: data loss and penalty of the batch of these rows, their gradient in
        ``model.gradient``. Nothing else changes. The penalty is NaN where the gradient of what is trained is not
        finite."""
        indices = row_indices(indices, len(self.X))
        if not len(indices):
            raise ValueError("indices: got none, expected at least one row")
        model = self.model
        weights = None if self.weights is None else self.weights[indices]
        model._release(self._tape)
        model._gradient.fill(0)
        scores, self._tape = model._forward(self.X[indices], True)
        value, dscores = weighted_loss(model, scores, self.targets[indices], weights)
        model._backward(dscores, self._tape, model._gradient)
        penalty = model._penalty(self.rows, model._gradient)
        trained = runs(model._gradient.size, frozen=self.frozen).tolist()
        finite = all(np.isfinite(model._gradient[start:stop]).all() for start, stop, _ in trained)
        return value, penalty if finite else nan

    def update(self, learning_rate: float | None = None) -> None:
        """The second half: update theta with ``model.gradient``, whatever it holds by now, then the running statistics,
        and advance the dropout masks.

        Raises
        ------
        RuntimeError
            Without a :meth:`gradient` before.
        """
        if self._tape is None:
            raise RuntimeError("update: there is no gradient to update with; call gradient(indices) first")
        model = self.model
        self.optimizer.update(
            model._theta,
            model._gradient,
            self.state,
            learning_rate,
            decayed=model.layout.regularized_runs,
            frozen=self.frozen,
        )
        model._update_statistics(self._tape)
        model._release(self._tape)
        self._tape = None
        model.dropout_step += 1


def weighted_loss(model: Network, scores: Array, targets: Array, weights: Array | None) -> tuple[float, Array]:
    """``sum w_i L_i / sum w_i`` over the rows, and its derivative with respect to the scores."""
    if weights is None:
        return model._data_loss(scores, targets)
    value, dscores = 0.0, np.zeros_like(scores)
    total = float(np.sum(weights, dtype=np.float64))
    for i in np.flatnonzero(weights):
        loss, derivative = model._data_loss(scores[i : i + 1], targets[i : i + 1])
        share = float(weights[i]) / total
        value += share * loss
        dscores[i] = derivative[0] * scores.dtype.type(share)
    return value, dscores


def sample_weights(weights: ArrayLike, m: int, dtype: np.dtype[Any]) -> Array:
    """Weights as a finite, nonnegative (m,) array of the model's dtype."""
    array = validate.numeric(weights, "weights")
    if array.shape != (m,):
        raise ValueError(f"weights: got shape {array.shape}, expected one for each of the {m} rows of X, ({m},)")
    array = validate.finite(array, dtype, "weights")
    if (array < 0).any():
        first = int(np.argmax(array < 0))
        raise ValueError(f"weights: weights[{first}] is {array[first]}, expected numbers >= 0")
    return array


def row_indices(order: ArrayLike, m: int) -> NDArray[np.int64]:
    """Row numbers as a flat int64 array."""
    array = np.asarray(order)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise TypeError(f"order: got shape {array.shape} of {array.dtype}, expected a flat array of row numbers")
    outside = (array < 0) | (array >= m)
    if outside.any():
        raise ValueError(f"order: got row {array[np.argmax(outside)]}, expected rows from 0 to {m - 1}")
    return np.ascontiguousarray(array, dtype=np.int64)


def frozen_runs(names: Sequence[str], layout: Layout) -> Runs:
    """``(start, stop)`` of the tensors that are called so, or belong to a layer that is."""
    runs: list[tuple[int, int]] = []
    for name in validate.names(names, "frozen", "a list of names of tensors or layers"):
        found = [entry for entry in layout.slices if name in (entry.name, entry.name.rpartition(".")[0])]
        if not found:
            known = ", ".join(entry.name for entry in layout.slices)
            raise ValueError(f"frozen: got {shown(name)}, expected names of tensors or layers, any of {known}")
        runs += [(entry.offset, entry.stop) for entry in found]
    return tuple(sorted(set(runs)))
