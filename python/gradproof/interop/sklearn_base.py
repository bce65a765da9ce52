"""How both of the scikit-learn estimators are trained, and how they predict."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from gradproof._messages import shown
from gradproof.interop import sklearn_data as data
from gradproof.interop import sklearn_network as network
from gradproof.interop.sklearn_convergence import Convergence
from gradproof.interop.sklearn_parameters import Parameters
from gradproof.nn import validate
from gradproof.nn.model import Sequential
from gradproof.train import schedules, streams
from gradproof.train.batches import Division
from gradproof.train.optimizers import OptimizerState
from gradproof.train.options import in_order
from gradproof.train.samples import relative
from gradproof.train.step import Step

Array = NDArray[Any]

_SEEDS = 2**31 - 1


class MLP(Parameters):
    """Training and prediction."""

    model_: Sequential
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    validation_loss_curve_: list[float] | None
    best_loss_: float | None
    best_validation_score_: float | None
    t_: int
    _state: OptimizerState | None

    # ---------------------------------------------------------------- training

    def fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Any:
        """Train the network.

        Parameters
        ----------
        X : array-like or sparse matrix, (m, n)
            Inputs. Of a sparse matrix a few batches at a time are made dense.
        y : array-like, (m,) or (m, outputs)
            Targets.
        sample_weight : array-like, (m,), optional
            How much each row counts.
        X_val, y_val : array-like, optional
            A validation set, whose loss and score are recorded; `early_stopping` uses it instead of one of its own.

        Returns
        -------
        self

        Warns
        -----
        ConvergenceWarning
            If `max_iter` epochs were not enough, or training diverged: the weights are then the last finite ones.
        """
        self._check_flags()
        first = not (self.warm_start and hasattr(self, "model_"))
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val, y_val: got one of them, expected both or none")
        X, y = self._checked(X, y, reset=first)
        targets = self._targets(y, reset=first)
        weights = data.weights(y, getattr(self, "class_weight", None), sample_weight)
        validation: Any = None
        if X_val is not None:
            X_val, y_val = self._checked(X_val, y_val, reset=False)
            validation = X_val, self._targets(y_val, reset=False), None
        elif self.early_stopping:
            strata, rng = self._strata(targets), check_random_state(self.random_state)
            X, targets, weights, *validation = data.set_aside(
                X, targets, weights, self.validation_fraction, strata, rng
            )
        m = targets.shape[0]
        rng = check_random_state(self.random_state)
        self._build(X, rng, first)
        self._set_penalty(m, weights)
        chosen = self._schedule(m)
        convergence = self._convergence(validation, chosen)
        history = self.model_.fit(
            X,
            targets,
            optimizer=self._optimizer(),
            schedule=chosen,
            epochs=validate.whole(self.max_iter, "max_iter", 1, 2**63 - 1),
            batch_size=self._batch_size(m),
            validation_data=None if validation is None else tuple(validation[:2]),
            callbacks=[*in_order(() if self.callbacks is None else self.callbacks), convergence],
            progress=False,
            seed=int(rng.randint(_SEEDS)),
            sample_weight=weights,
            shuffle=self.shuffle,
            monitor=self.monitor,
            score=self.monitor,
        )
        self._remember(history, convergence, m)
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, first: bool) -> Any:
        self._check_flags()
        if self.early_stopping:
            raise ValueError("early_stopping: got True, expected False: partial_fit has no way of stopping early")
        X, y = self._checked(X, y, reset=first)
        targets = self._targets(y, reset=first and self._y_numeric)  # classes are told beforehand
        weights = data.weights(y, getattr(self, "class_weight", None), sample_weight)
        m = targets.shape[0]
        self._build(X, check_random_state(self.random_state), first)
        self._set_penalty(m, weights)
        weights = None if weights is None else relative(weights, "sample_weight")
        model, epoch, optimizer = self.model_, len(self.loss_curve_), self._optimizer()
        if self._state is None or set(self._state.slots) != set(optimizer.slot_names):
            self._state = optimizer.init(model.theta)
        rate = schedules.rate(self._schedule(m), optimizer.learning_rate, epoch)
        order = streams.order(model.seed, epoch, m) if self.shuffle else np.arange(m)
        division = Division(model, m, self._batch_size(m))
        losses, counts = [], division.stops - division.starts
        if weights is not None:
            counts = np.add.reduceat(weights[order], division.starts)
        for start, stop in zip(division.starts, division.stops, strict=True):
            rows = order[start:stop]
            step = Step(model, data.dense(X[rows]), targets[rows], optimizer, self._state, rows=m,
                        weights=None if weights is None else weights[rows])  # fmt: skip
            losses.append(step.run(np.arange(len(rows)), len(rows), rate).sum())
            if not np.isfinite(losses[-1]):
                warnings.warn("Training diverged: the loss is not finite.", ConvergenceWarning, stacklevel=3)
                break
        self.loss_ = self._loss_scale() * float(np.average(losses, weights=counts[: len(losses)]))
        self.loss_curve_.append(self.loss_)
        self.best_loss_ = min(self.loss_curve_)
        self.n_iter_ = 1
        self.t_ += m
        return self

    def _build(self, X: Any, rng: Any, first: bool) -> None:
        """A new network, or the one there is if the parameters still ask for that."""
        layers = tuple(self._layers(self.n_outputs_))
        if not first:
            self._check_unchanged(layers)
            return
        seed = int(rng.randint(_SEEDS))
        self.model_ = Sequential(layers, X.shape[1], self._loss(), dtype=X.dtype, seed=seed)
        self.n_layers_ = 2 + len(network.sizes(self.hidden_layer_sizes))
        self.loss_curve_, self.best_loss_ = [], np.inf
        self.validation_scores_ = self.validation_loss_curve_ = self.best_validation_score_ = None
        self.t_ = 0
        self._state = None

    def _check_unchanged(self, layers: tuple[Any, ...]) -> None:
        there, otherwise = self.model_, "to begin anew, clone the estimator or fit it with warm_start=False"
        if layers != there.layers:
            raise ValueError(
                f"the parameters now ask for the layers {', '.join(map(repr, layers))}, but the network to go on with "
                f"has {', '.join(map(repr, there.layers))}; {otherwise}"
            )
        if self.dtype is not None and validate.dtype(self.dtype) != there.dtype:
            raise ValueError(
                f"dtype: got {shown(self.dtype)}, but the network to go on with has {there.dtype}; {otherwise}"
            )

    def _set_penalty(self, m: int, weights: Array | None) -> None:
        """``alpha`` beside scikit-learn's loss, in units of ours; a row of weight 2 counts as two in every respect."""
        l2 = validate.nonnegative(self.alpha, "alpha") / self._gradient_scale()
        if weights is not None and l2:
            with np.errstate(over="ignore"):
                total = weights.sum()
                l2 = float(self.model_.dtype.type(l2 * (m / total)))
            if not np.isfinite(l2):
                raise ValueError(
                    f"sample_weight: got weights that add up to {total:g}, beside which the penalty of "
                    f"alpha={self.alpha:g} is too large for {self.model_.dtype}; expected larger ones, or alpha=0"
                )
        self.model_.l2 = l2

    def _convergence(self, validation: Any, chosen: Any) -> Convergence:
        tol = validate.nonnegative(self.tol, "tol")
        patience = self.n_iter_no_change
        if patience != np.inf:
            patience = validate.whole(patience, "n_iter_no_change", 1, 2**63 - 1)
        score = None
        if validation is not None:
            X_val, targets, weights = validation

            def score() -> float:
                predicted = self._decided(self._scores(X_val))
                return float(self._metric(targets, predicted, sample_weight=weights))

        adaptive = chosen if isinstance(chosen, network.Adaptive) else None
        return Convergence(tol, patience, self._loss_scale(), score, self.early_stopping, adaptive, self.verbose)

    def _remember(self, history: Any, convergence: Convergence, m: int) -> None:
        self.history_ = history
        self._state = convergence.optimizer_state
        self.n_iter_ = len(convergence.losses)
        self.t_ += self.n_iter_ * m
        self.loss_curve_ += convergence.losses
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else np.nan
        self.best_loss_ = None if self.early_stopping else min(self.loss_curve_, default=np.inf)
        if convergence.scores:
            self.validation_scores_ = (self.validation_scores_ or []) + convergence.scores
            self.validation_loss_curve_ = (self.validation_loss_curve_ or []) + convergence.validation_losses
            self.best_validation_score_ = max(self.validation_scores_)
        if history.stopped == "interrupted":
            warnings.warn("Training interrupted by user.", UserWarning, stacklevel=3)
        elif history.stopped == "diverged":
            warnings.warn(f"Training diverged: {history.message}", ConvergenceWarning, stacklevel=3)
        elif history.stopped == "finished":
            warnings.warn(
                f"Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=3,
            )

    # ---------------------------------------------------------------- data

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        return validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            dtype=self._dtypes(reset),
            order="C",
            y_numeric=self._y_numeric,
            reset=reset,
        )

    def _dtypes(self, reset: bool) -> Any:
        if not reset:
            return self.model_.dtype if hasattr(self, "model_") else np.float64
        return (np.float64, np.float32) if self.dtype is None else validate.dtype(self.dtype)

    def _scores(self, X: Any) -> Array:
        return np.concatenate([self.model_.forward(block) for block in data.blocks(X)])

    def _scored(self, X: Any) -> Array:
        """Scores of what a user gives."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=self.model_.dtype, order="C", reset=False)
        return self._scores(X)

    @property
    def coefs_(self) -> list[Array]:
        """Weight matrices, (inputs, units) each."""
        return network.weights(self.model_)[0]

    @property
    def intercepts_(self) -> list[Array]:
        """Biases, (units,) each."""
        return network.weights(self.model_)[1]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # ---------------------------------------------------------------- for subclasses

    n_outputs_: int
    _y_numeric: bool

    def _loss(self) -> str:
        """Name of the network's loss."""
        raise NotImplementedError

    def _gradient_scale(self) -> float:
        """The gradient of scikit-learn's loss divided by that of ours."""
        raise NotImplementedError

    def _loss_scale(self) -> float:
        """The loss that scikit-learn reports divided by ours."""
        raise NotImplementedError

    def _targets(self, y: Any, reset: bool) -> Array:
        """What the network is trained on; with `reset`, what the outputs are is taken from `y`."""
        raise NotImplementedError

    def _strata(self, targets: Array) -> Array | None:
        """What a validation set has its share of."""
        raise NotImplementedError

    def _decided(self, scores: Array) -> Array:
        """Predictions in the form of targets."""
        raise NotImplementedError

    def _metric(self, targets: Array, predicted: Array, sample_weight: Array | None) -> float:
        raise NotImplementedError
