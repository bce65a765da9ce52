"""Estimators for scikit-learn: its multi-layer perceptron with dropout, batch normalization, maxout and schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from gradproof.interop.sklearn_base import MLP
from gradproof.interop.sklearn_data import dense
from gradproof.interop.sklearn_exchange import from_sklearn
from gradproof.interop.sklearn_parameters import ATTRIBUTES, PARAMETERS

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]

Array = NDArray[Any]


class MLPClassifier(ClassifierMixin, MLP):  # type: ignore[misc]
    __doc__ = f"""Multi-layer perceptron classifier, minimizing the cross-entropy.

    Two classes have one output with a logistic, more have a softmax; several labels per row (an indicator matrix as
    `y`) have a logistic each. Parameters that scikit-learn's ``MLPClassifier`` has as well mean the same here.
{PARAMETERS}
    class_weight : dict or "balanced", optional
        Weight of each class; ``"balanced"`` gives all classes the same weight together.
{ATTRIBUTES}
    classes_ : ndarray
        Labels in the order of the columns of :meth:`predict_proba`.

    Examples
    --------
    >>> classifier = gp.sklearn.MLPClassifier((64, 32), keep_prob=0.9, batch_norm=True, random_state=0)
    >>> make_pipeline(StandardScaler(), classifier).fit(X, y).score(X_test, y_test)
    """

    _y_numeric = False

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        keep_prob: Any = 1.0,
        batch_norm: Any = False,
        maxout_pieces: int = 2,
        schedule: Callable[[float], float] | None = None,
        class_weight: Any = None,
        callbacks: Sequence[Any] | None = None,
        monitor: bool = False,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            keep_prob=keep_prob,
            batch_norm=batch_norm,
            maxout_pieces=maxout_pieces,
            schedule=schedule,
            callbacks=callbacks,
            monitor=monitor,
            dtype=dtype,
        )
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> MLPClassifier:
        """One epoch over `X`, with weights and optimizer as the last call left them.

        Parameters
        ----------
        X : array-like or sparse matrix, (m, n)
            Inputs.
        y : array-like, (m,) or (m, labels)
            Labels.
        classes : array-like, optional
            All labels there are; needed in the first call, unless `y` is an indicator matrix.
        sample_weight : array-like, (m,), optional
            How much each row counts.

        Returns
        -------
        self
        """
        first = not hasattr(self, "model_")
        if first:
            multilabel = type_of_target(y).startswith("multilabel")
            if classes is None and not multilabel:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            if classes is not None and not np.size(classes):
                raise ValueError("classes: got none, expected all labels there are")
            self._set_classes(y if multilabel else np.asarray(classes), multilabel)
        elif classes is not None and not self._multilabel and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, {self.classes_!r}")
        self._partial_fit(X, y, sample_weight, first)
        return self

    def predict(self, X: Any) -> Array:
        """The most probable label of every row; of an indicator matrix 1 for labels of more than one half."""
        decided = self._decided(self._scored(X))
        return decided if self._multilabel else np.asarray(self.classes_[decided])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities in the order of `classes_`, (m, classes)."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Logarithms of the probabilities, accurate also where those are 0 in floating point."""
        scores = self._scored(X).astype(np.float64)
        if self._multilabel:
            return -np.logaddexp(0, -scores)
        if len(self.classes_) == 1:
            return np.zeros((len(scores), 1))
        if len(self.classes_) == 2:
            return -np.logaddexp(0, np.hstack([scores, -scores]))
        scores -= scores.max(axis=1, keepdims=True)
        return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))

    @property
    def out_activation_(self) -> str:
        """``"softmax"``, or ``"logistic"`` for two classes and for several labels per row."""
        return {"softmax_cross_entropy": "softmax", "binary_cross_entropy": "logistic"}[self.model_.loss_name]

    def _loss(self) -> str:
        return "softmax_cross_entropy" if self.n_outputs_ > 1 and not self._multilabel else "binary_cross_entropy"

    def _gradient_scale(self) -> float:
        return float(self.n_outputs_) if self._multilabel else 1.0  # a sum over the labels there, a mean here

    def _loss_scale(self) -> float:
        return self._gradient_scale()

    def _set_classes(self, y: Any, multilabel: bool) -> None:
        self._multilabel = multilabel
        self.classes_ = np.arange(y.shape[1]) if multilabel else np.unique(y)
        self.n_outputs_ = len(self.classes_) if multilabel or len(self.classes_) > 2 else 1

    def _targets(self, y: Any, reset: bool) -> Array:
        check_classification_targets(y)
        kind = type_of_target(y)
        multilabel = kind.startswith("multilabel")
        if kind == "multiclass-multioutput":
            raise ValueError("y: got several labels of several classes, expected labels or an indicator matrix")
        if not multilabel:
            y = column_or_1d(y, warn=True)
        if reset:
            self._set_classes(y, multilabel)
        if multilabel != self._multilabel or (multilabel and y.shape[1] != self.n_outputs_):
            raise ValueError(f"y: got {kind} targets of shape {y.shape}, expected what the network was made for")
        if multilabel:
            return np.asarray(dense(y) != 0, np.float64)
        codes = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        unknown = self.classes_[codes] != y
        if np.any(unknown):
            raise ValueError(
                f"`y` has classes not in `self.classes_`, such as {y[np.argmax(unknown)]}. "
                f"`self.classes_` has {self.classes_}."
            )
        return codes if len(self.classes_) > 1 else np.ones_like(codes)

    def _strata(self, targets: Array) -> Array | None:
        return None if self._multilabel or len(self.classes_) < 2 else np.asarray(self.classes_[targets])

    def _decided(self, scores: Array) -> Array:
        if self._multilabel:
            return (scores > 0).astype(np.int64)
        if len(self.classes_) == 1:
            return np.zeros(len(scores), np.int64)
        return scores.argmax(axis=1) if self.n_outputs_ > 1 else (scores[:, 0] > 0).astype(np.int64)

    def _metric(self, targets: Array, predicted: Array, sample_weight: Array | None) -> float:
        return accuracy_score(targets, predicted, sample_weight=sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, MLP):  # type: ignore[misc]
    __doc__ = f"""Multi-layer perceptron regressor, minimizing the squared error.

    Parameters that scikit-learn's ``MLPRegressor`` has as well mean the same here. Targets are taken as they are: give
    them a spread of about 1, for instance with ``TransformedTargetRegressor``.
{PARAMETERS}
{ATTRIBUTES}

    Examples
    --------
    >>> regressor = gp.sklearn.MLPRegressor((64, 32), activation="tanh", random_state=0)
    >>> make_pipeline(StandardScaler(), regressor).fit(X, y).score(X_test, y_test)
    """

    _y_numeric = True
    out_activation_ = "identity"

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """One epoch over `X`, with weights and optimizer as the last call left them.

        Parameters
        ----------
        X : array-like or sparse matrix, (m, n)
            Inputs.
        y : array-like, (m,) or (m, outputs)
            Targets.
        sample_weight : array-like, (m,), optional
            How much each row counts.

        Returns
        -------
        self
        """
        self._partial_fit(X, y, sample_weight, first=not hasattr(self, "model_"))
        return self

    def predict(self, X: Any) -> Array:
        """Values, (m,) or (m, outputs) as the targets were."""
        return self._decided(self._scored(X))

    def _loss(self) -> str:
        return "mse"

    def _gradient_scale(self) -> float:
        return self.n_outputs_ / 2  # half the squares summed over the outputs there, their mean here

    def _loss_scale(self) -> float:
        return 0.5

    def _targets(self, y: Any, reset: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        outputs = 1 if y.ndim == 1 else y.shape[1]
        if reset:
            self.n_outputs_ = outputs
        if outputs != self.n_outputs_:
            raise ValueError(f"y: got {outputs} outputs, expected {self.n_outputs_} as before")
        return np.asarray(y)

    def _strata(self, targets: Array) -> Array | None:
        return None

    def _decided(self, scores: Array) -> Array:
        return scores[:, 0] if self.n_outputs_ == 1 else scores

    def _metric(self, targets: Array, predicted: Array, sample_weight: Array | None) -> float:
        return r2_score(targets, predicted, sample_weight=sample_weight)
