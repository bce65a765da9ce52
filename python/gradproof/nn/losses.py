"""The losses: which targets they take, what they should start at, and what their scores mean.

The arithmetic is a kernel of the same name, ``(scores, targets) -> (mean loss, dscores)``, in
:mod:`gradproof.kernels` and in :mod:`gradproof.reference`.
"""

from __future__ import annotations

from math import log
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradproof._messages import shown
from gradproof.nn import validate
from gradproof.nn.layers import Sigmoid, Softmax

Array = NDArray[Any]

_LABELS = np.dtype(np.int64)


class Loss:
    """What a model needs to know about its loss beyond the kernel."""

    name: ClassVar[str]
    fewest_outputs: ClassVar[int] = 1
    #: What the compiled kernel takes beyond scores and targets.
    options: ClassVar[tuple[float, ...]] = ()
    #: A last layer that the loss applies itself already; the mistake of applying it twice is a classic.
    applies: ClassVar[type | None] = None

    def targets(self, y: Any, m: int, n_out: int, dtype: np.dtype[Any]) -> Array:
        """`y` as the kernel wants it: int64 labels (m,), or (m, n_out) values of the model's dtype."""
        raise NotImplementedError

    def expected_initial(self, targets: Array, n_out: int) -> float:
        """The loss of a network that knows nothing: all scores equal (classification) or zero (regression)."""
        raise NotImplementedError

    def best_constant(self, targets: Array, n_out: int) -> float:
        """The loss of answering every row the same; for balanced classes that of knowing nothing."""
        return self.expected_initial(targets, n_out)

    def smallest(self, targets: Array) -> float:
        """The loss of a network that knows everything."""
        return 0.0

    def predict(self, scores: Array) -> Array:
        """Labels or values from scores."""
        raise NotImplementedError

    def probabilities(self, scores: Array) -> Array:
        """Probabilities from scores."""
        raise ValueError(f"predict_proba: the loss {self.name!r} has no probabilities; predict and forward work")

    def score(self, predicted: Array, targets: Array) -> float:
        """Accuracy, or R² for regression."""
        return float(np.mean(predicted == targets))


class _Multiclass(Loss):
    fewest_outputs: ClassVar[int] = 2

    def targets(self, y: Any, m: int, n_out: int, dtype: np.dtype[Any]) -> Array:
        labels = validate.numeric(y, "y")
        if labels.ndim != 1:
            hint = _label_hint(labels, m, n_out)
            raise ValueError(f"y: got shape {labels.shape}, expected one label per row, ({m},){hint}")
        _same_rows(labels, m)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"y: got {labels.dtype} labels, expected integers from 0 to {n_out - 1}; use y.astype(int)")
        outside = (labels < 0) | (labels >= n_out)
        if outside.any():
            first = int(np.argmax(outside))
            raise ValueError(f"y: y[{first}] is {labels[first]}, expected labels from 0 to {n_out - 1}")
        return validate.stored(labels, _LABELS)

    def predict(self, scores: Array) -> Array:
        return np.argmax(scores, axis=1)


class SoftmaxCrossEntropy(_Multiclass):
    """``-log softmax(scores)[label]``, mean over the rows."""

    name = "softmax_cross_entropy"
    applies = Softmax

    def expected_initial(self, targets: Array, n_out: int) -> float:
        return log(n_out)

    def probabilities(self, scores: Array) -> Array:
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(p / p.sum(axis=1, keepdims=True))


class Hinge(_Multiclass):
    """Multiclass SVM, ``sum over wrong j of max(0, s_j - s_label + 1)``, mean over the rows (CS231n's form)."""

    name = "hinge"
    applies = Softmax
    options = (1.0,)  # the margin

    def expected_initial(self, targets: Array, n_out: int) -> float:
        return n_out - 1.0


class BinaryCrossEntropy(Loss):
    """``log(1 + exp(z)) - t z`` for logits z and targets t in [0, 1], mean over all elements."""

    name = "binary_cross_entropy"
    applies = Sigmoid

    def targets(self, y: Any, m: int, n_out: int, dtype: np.dtype[Any]) -> Array:
        values = _values(y, m, n_out, dtype)
        outside = (values < 0) | (values > 1)
        if outside.any():
            row, column = (int(i) for i in np.argwhere(outside)[0])
            raise ValueError(f"y: row {row}, column {column} is {values[row, column]}, expected targets in [0, 1]")
        return values

    def expected_initial(self, targets: Array, n_out: int) -> float:
        return log(2.0)

    def best_constant(self, targets: Array, n_out: int) -> float:
        """The loss of answering every row the same; for balanced classes that of knowing nothing."""
        return self.expected_initial(targets, n_out)

    def smallest(self, targets: Array) -> float:
        """The mean entropy of the targets: 0 when they are 0 and 1."""
        t = targets.astype(np.float64)
        t = np.where((t == 0) | (t == 1), 0.5, t)  # stands in for x log x -> 0, and is weighed out below
        entropy = -(t * np.log(t) + (1 - t) * np.log1p(-t))
        return float(np.mean(entropy * ((targets > 0) & (targets < 1))))

    def predict(self, scores: Array) -> Array:
        return _flat((scores > 0).astype(np.int64))

    def probabilities(self, scores: Array) -> Array:
        # exp of a negative number only, so that nothing overflows
        small = np.exp(-np.abs(scores))
        return _flat(np.where(scores >= 0, 1 / (1 + small), small / (1 + small)))

    def score(self, predicted: Array, targets: Array) -> float:
        """Accuracy over all elements; a soft target counts as 1 above one half."""
        return float(np.mean(predicted == _flat(targets > 0.5)))


class MeanSquaredError(Loss):
    """``(p - t)^2``, mean over all elements."""

    name = "mse"

    def targets(self, y: Any, m: int, n_out: int, dtype: np.dtype[Any]) -> Array:
        return _values(y, m, n_out, dtype)

    def expected_initial(self, targets: Array, n_out: int) -> float:
        with np.errstate(over="ignore"):
            return float(np.mean(np.square(targets, dtype=np.float64)))

    def best_constant(self, targets: Array, n_out: int) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.mean(np.var(targets, axis=0, dtype=np.float64)))

    def predict(self, scores: Array) -> Array:
        return _flat(scores)

    def score(self, predicted: Array, targets: Array) -> float:
        """R² = 1 - residual / total sum of squares, mean over the outputs; a constant output scores 1 or 0."""
        t = targets.astype(np.float64)
        with np.errstate(over="ignore"):  # of a network that diverges: R² is then -inf
            residual = np.square(predicted.reshape(t.shape) - t).sum(axis=0)
        total = np.square(t - t.mean(axis=0)).sum(axis=0)
        constant = total == 0
        r2 = 1 - residual / np.where(constant, 1, total)
        return float(np.mean(np.where(constant, np.where(residual == 0, 1.0, 0.0), r2)))


LOSSES: dict[str, Loss] = {
    loss.name: loss for loss in (SoftmaxCrossEntropy(), Hinge(), BinaryCrossEntropy(), MeanSquaredError())
}


def find(name: Any) -> Loss:
    """The loss of that name."""
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(f"loss: got {shown(name)}, expected one of {', '.join(map(repr, LOSSES))}")
    return LOSSES[name]


def _values(y: Any, m: int, n_out: int, dtype: np.dtype[Any]) -> Array:
    """Real targets as (m, n_out); (m,) is accepted for a single output."""
    values = validate.numeric(y, "y")
    _same_rows(values, m)
    if values.shape != (m, n_out) and not (n_out == 1 and values.shape == (m,)):
        expected = f"({m},) or ({m}, 1)" if n_out == 1 else f"({m}, {n_out})"
        raise ValueError(f"y: got shape {values.shape}, expected {expected}")
    return validate.finite(values, dtype, "y").reshape(m, n_out)


def _same_rows(y: Array, m: int) -> None:
    if y.ndim == 0 or len(y) != m:
        given = "a single number" if y.ndim == 0 else f"{len(y)} targets"
        raise ValueError(f"y: got {given}, expected one for each of the {m} rows of X")


def _label_hint(labels: Array, m: int, n_out: int) -> str:
    if labels.shape == (m, 1):
        return "; use y.ravel()"
    return "; use y.argmax(axis=1) for one-hot rows" if labels.shape == (m, n_out) else ""


def _flat(values: Array) -> Array:
    """A single output as (m,), more as they are."""
    return values[:, 0] if values.shape[1] == 1 else values
