"""What every implementation of a network has in common: its cost function and its public methods.

The cost of a network with parameters theta on m rows (see the notes of Ng's course and CS231n):

    J = (1/m) sum_i L(scores_i, y_i)  +  l2/(2M) sum W^2  +  l1/(2M) sum |W|

over the weights W only: biases, gamma and beta are not regularized. M is the number of rows of the
training set, so that the penalty does not move with the batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof._messages import shown
from gradproof.nn import validate
from gradproof.nn.layers import BatchNorm
from gradproof.nn.state import State, keep_all
from gradproof.nn.structure import AnyLayer

Array = NDArray[Any]

PARTS = ("data", "regularization")
_ANY_PART = f"any of {', '.join(map(repr, PARTS))}"  # in words; made once, as every call of a loss may need it


class Network(State):
    """Cost and use of a network; subclasses say how to run forward and backward."""

    def loss(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        training: bool = True,
        parts: Sequence[str] = PARTS,
        rows: int | None = None,
    ) -> float:
        """The cost J on a batch.

        Parameters
        ----------
        X : array_like, (m, n_in)
            Inputs: finite real numbers.
        y : array_like
            Targets: integer labels (m,) for ``softmax_cross_entropy`` and ``hinge``, numbers in [0, 1] of shape
            (m,) or (m, n_out) for ``binary_cross_entropy``, numbers of shape (m,) or (m, n_out) for ``mse``.
        training : bool
            Whether batch normalization uses the batch's statistics and dropout its masks: the function that
            :meth:`loss_and_gradient` differentiates. False gives the loss of :meth:`predict`.
        parts : sequence of {"data", "regularization"}
            Which terms to add up.
        rows : int, optional
            M, the number of rows of the training set; the number of rows of `X` if not given.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what is expected.
        """
        training = validate.flag(training, "training")
        batch, targets, rows, chosen = self._checked(X, y, rows, parts)
        value = 0.0
        if "data" in chosen:
            scores, tape = self._forward(batch, training)
            value += self._data_loss(scores, targets)[0]
            self._release(tape)
        if "regularization" in chosen:
            value += self._penalty(rows, None)
        return value

    def loss_and_gradient(
        self, X: ArrayLike, y: ArrayLike, *, parts: Sequence[str] = PARTS, rows: int | None = None
    ) -> tuple[float, Array]:
        """The cost J in training mode and its gradient, flat, in the layout of theta.

        The gradient is the caller's own array; :attr:`gradient` keeps another copy. Parameters, running statistics and
        dropout masks stay as they are. Arguments and errors are those of :meth:`loss`.
        """
        batch, targets, rows, chosen = self._checked(X, y, rows, parts)
        gradient = np.empty(self._theta.size, self._dtype)
        gradient.fill(0)  # np.zeros gives pages that the backward pass would have to wait for, one by one
        value, tape = self._differentiate(batch, targets, rows, chosen, gradient)
        self._release(tape)
        self._gradient[...] = gradient
        return value, gradient

    def _training_gradient(self, X: ArrayLike, y: ArrayLike, rows: int | None = None) -> float:
        """What a training step starts with: the cost, its gradient in :attr:`gradient`, running statistics updated and
        the dropout masks advanced to the next ones."""
        batch, targets, rows, chosen = self._checked(X, y, rows, PARTS)
        self._gradient.fill(0)
        value, tape = self._differentiate(batch, targets, rows, chosen, self._gradient)
        self._update_statistics(tape)
        self._release(tape)
        self.dropout_step += 1
        return value

    def _gradient_step(self, X: ArrayLike, y: ArrayLike, learning_rate: float) -> float:
        """One step of plain gradient descent; the cost before it."""
        value = self._training_gradient(X, y)
        self._theta -= self._dtype.type(learning_rate) * self._gradient
        return value

    def _differentiate(
        self, X: Array, targets: Array, rows: int, parts: tuple[str, ...], gradient: Array
    ) -> tuple[float, Any]:
        value, tape = 0.0, None
        if "data" in parts:
            scores, tape = self._forward(X, True)
            value, dscores = self._data_loss(scores, targets)
            self._backward(dscores, tape, gradient)
        if "regularization" in parts:
            value += self._penalty(rows, gradient)
        return value, tape

    def _penalty(self, rows: int, gradient: Array | None) -> float:
        """The penalty on the regularized tensors; its gradient is added to `gradient`."""
        value = 0.0
        for kind, strength in (("l2", self._l2 / rows), ("l1", self._l1 / (2 * rows))):
            if strength > 0:
                for start, stop in self.layout.regularized_runs:
                    dW = None if gradient is None else gradient[start:stop]
                    value += self._add_penalty(kind, strength, self._theta[start:stop], dW)
        return value

    # ---------------------------------------------------------------- use

    def forward(self, X: ArrayLike, *, training: bool = False) -> Array:
        """Scores, (m, n_out): what the loss works on."""
        scores, tape = self._forward(self._inputs(X), validate.flag(training, "training"))
        self._release(tape)
        return scores

    def predict(self, X: ArrayLike) -> Array:
        """Integer labels (m,) for classification, values for ``mse``.

        With ``binary_cross_entropy`` 0 or 1 per output; a single output is given as (m,), several as (m, n_out).
        """
        return self._loss.predict(self.forward(X))

    def predict_proba(self, X: ArrayLike) -> Array:
        """Probabilities: (m, n_out) with ``softmax_cross_entropy``, those of a 1 with ``binary_cross_entropy``.

        The latter are given as (m,) for a single output and as (m, n_out) for several.

        Raises
        ------
        ValueError
            If the loss has none (``hinge``, ``mse``).
        """
        return self._loss.probabilities(self.forward(X))

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Accuracy for classification (over all elements with several binary outputs), R² for ``mse``."""
        batch = self._inputs(X)
        return self._loss.score(self.predict(batch), self._targets(y, len(batch)))

    def recompute_statistics(self, X: ArrayLike) -> None:
        """Take the running statistics of batch normalization from the whole of `X` at once, without dropout."""
        twin = self._with_layers(_forgetful)
        _, tape = twin._forward(twin._inputs(X), True)
        twin._update_statistics(tape)
        self._buffers[...] = twin._buffers

    # ---------------------------------------------------------------- training

    def step(
        self,
        x: ArrayLike,
        y: ArrayLike,
        optimizer: Any,
        state: Any,
        learning_rate: float | None = None,
        *,
        rows: int | None = None,
    ) -> float:
        """One forward, backward and update on one batch, for training loops of your own.

        Parameters
        ----------
        x, y : array_like
            The batch, as :meth:`loss` takes it; arrays of the model's dtype in C order and int64 labels go fastest.
        optimizer, state
            Such as ``gp.Adam(1e-3)``, and ``optimizer.init(model.theta)``.
        learning_rate : float, optional
            Of this step; the optimizer's own if not given.
        rows : int, optional
            M, the number of rows of the training set, which the penalty is divided by; those of the batch if not given.

        Returns
        -------
        loss : float
            The cost J before the update; NaN if its gradient is not finite. If it is not finite, nothing was updated.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what is expected; then nothing was updated either.

        Examples
        --------
        >>> for x, t in gp.data.batches(X, y, 64, epoch=epoch):
        ...     loss = model.step(x, t, optimizer, state, rows=len(X))
        """
        from gradproof.train.step import Step

        step = Step(self, x, y, optimizer, state, rows=rows)
        m = len(step.X)
        return float(step.run(np.arange(m), m, learning_rate)[0].sum())

    # ---------------------------------------------------------------- for subclasses

    def _forward(self, X: Array, training: bool) -> tuple[Array, Any]:
        """Scores, and a tape with what the backward pass needs."""
        raise NotImplementedError

    def _backward(self, dscores: Array, tape: Any, gradient: Array) -> None:
        """Add the gradient of all parameters to `gradient`."""
        raise NotImplementedError

    def _data_loss(self, scores: Array, targets: Array) -> tuple[float, Array]:
        """The mean loss, and its derivative with respect to the scores."""
        raise NotImplementedError

    def _add_penalty(self, kind: str, strength: float, W: Array, dW: Array | None) -> float:
        """``strength * sum |W|`` (kind "l1") or ``strength/2 * sum W^2`` ("l2"); its gradient is added to `dW`."""
        raise NotImplementedError

    def _update_statistics(self, tape: Any) -> None:
        """Move the running statistics towards those of the batch on the tape."""
        raise NotImplementedError

    def _release(self, tape: Any) -> None:
        """The tape is not needed any more."""

    # ---------------------------------------------------------------- input

    def _inputs(self, X: Any) -> Array:
        return validate.inputs(X, self.input_size, self._dtype)

    def _targets(self, y: Any, m: int) -> Array:
        return self._loss.targets(y, m, self.output_size, self._dtype)

    def _checked(
        self, X: Any, y: Any, rows: int | None, parts: Sequence[str]
    ) -> tuple[Array, Array, int, tuple[str, ...]]:
        chosen = validate.names(parts, "parts", _ANY_PART)
        unknown = [part for part in chosen if part not in PARTS]
        if unknown:
            raise ValueError(f"parts: got {shown(unknown[0])}, expected {_ANY_PART}")
        batch = self._inputs(X)
        rows = len(batch) if rows is None else validate.whole(rows, "rows", 1, 2**63 - 1)
        return batch, self._targets(y, len(batch)), rows, chosen


def _forgetful(layer: AnyLayer) -> AnyLayer:
    """One batch decides the running statistics alone, seen without dropout as in inference."""
    return replace(layer, decay=0.0) if isinstance(layer, BatchNorm) else keep_all(layer)
