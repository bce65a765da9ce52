"""What both of the scikit-learn estimators have in common."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from gradproof.interop import sklearn_network as network
from gradproof.interop.sklearn_convergence import Convergence
from gradproof.nn import validate
from gradproof.nn.model import Sequential
from gradproof.train import schedules, streams
from gradproof.train.batches import Division
from gradproof.train.optimizers import OptimizerState
from gradproof.train.options import in_order
from gradproof.train.step import Step

Array = NDArray[Any]

_AUTO_BATCH = 200  # scikit-learn's
_ROWS = 4096  # of a sparse matrix that are made dense at a time
_SEEDS = 2**31 - 1

PARAMETERS = """
    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of each hidden layer.
    activation : str, layer, or sequence of them
        ``"identity"``, ``"logistic"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"``, ``"maxout"``, or a layer such as
        ``gp.LeakyReLU(0.1)``; for all hidden layers, or one for each.
    solver : {"adam", "sgd"} or optimizer
        ``"sgd"`` has `momentum`; an optimizer such as ``gp.RMSprop(1e-3)`` has its own rate and constants. There is no
        ``"lbfgs"``, and Adam adds its epsilon to the root of the corrected average.
    alpha : float
        Strength of the L2 penalty ``alpha / (2 m) sum W^2`` with m the number of training rows (the sum of their
        weights). scikit-learn divides by the rows of a batch, so that there it moves with `batch_size`.
    batch_size : int or "auto"
        ``"auto"`` is ``min(200, m)``.
    learning_rate : {"constant", "invscaling", "adaptive"}
        For ``solver="sgd"``.
    learning_rate_init : float
        The rate of ``"adam"`` and ``"sgd"``.
    power_t : float
        Exponent of ``"invscaling"``.
    max_iter : int
        Epochs at most.
    shuffle : bool
        Go through the rows in another order every epoch.
    random_state : int, RandomState or None
        What initialization, order, dropout and the split of `early_stopping` depend on.
    tol, n_iter_no_change : float
        Training ends when the loss, or with `early_stopping` the validation score, was not better by `tol` for more
        than `n_iter_no_change` epochs.
    verbose : bool
        Print every epoch.
    warm_start : bool
        Let :meth:`fit` go on from the weights there are.
    momentum : float
        For ``solver="sgd"``, without Nesterov's variant. When the rate changes, the whole velocity goes by the new one,
        where scikit-learn's gradients keep the rate that they came with.
    early_stopping : bool
        Set `validation_fraction` of the rows aside, look at their score and keep the weights with the best one.
    validation_fraction : float
        In (0, 1).
    beta_1, beta_2, epsilon : float
        Adam's.
    keep_prob : float or sequence of float
        Probability with which dropout keeps a unit; for all hidden layers, or one for each. 1 is no dropout.
    batch_norm : bool or sequence of bool
        Batch normalization between the linear map and the activation (behind a maxout).
    maxout_pieces : int
        Linear maps per unit of a ``"maxout"``.
    schedule : callable, optional
        One of ``gp.schedules``, or a function from the epoch 0, 1, 2 ... to a factor on the rate.
    callbacks : sequence of gp.callbacks.Callback, optional
        Told of what :meth:`fit` does.
    monitor : bool
        Record scores of the training set, update ratios and activations, for ``history_.diagnose()``.
    dtype : {"float32", "float64"}, optional
        Of all arithmetic. None: float32 for float32 data and float64 for everything else."""

ATTRIBUTES = """
    Attributes
    ----------
    model_ : Sequential
        The network.
    history_ : History
        Of the last :meth:`fit`; ``history_.plot()``, ``history_.diagnose()``.
    loss_curve_, best_loss_, loss_ : list of float, float or None, float
        Loss with penalty per epoch, the smallest (None with `early_stopping`), the last.
    validation_scores_, best_validation_score_ : list of float, float
        Per epoch and best, with `early_stopping` or validation data; None without.
    validation_loss_curve_ : list of float
        The loss on the validation set per epoch, without penalty; None without one.
    n_iter_, t_ : int
        Epochs of the last fit; rows gone through in all.
    coefs_, intercepts_ : list of ndarray
        Weights of the network as it predicts: copies, with batch normalization folded in.
    n_layers_, n_outputs_, out_activation_ : int, int, str
        Layers with input and output, scores per row, what is applied to them.
    n_features_in_, feature_names_in_ : int, ndarray of str
        Of the data, the names if they have all been strings."""


class MLP(BaseEstimator):  # type: ignore[misc]
    """What both estimators have in common."""

    model_: Sequential
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    validation_loss_curve_: list[float] | None
    best_loss_: float | None
    best_validation_score_: float | None
    t_: int
    _state: OptimizerState | None

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
        callbacks: Sequence[Any] | None = None,
        monitor: bool = False,
        dtype: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.keep_prob = keep_prob
        self.batch_norm = batch_norm
        self.maxout_pieces = maxout_pieces
        self.schedule = schedule
        self.callbacks = callbacks
        self.monitor = monitor
        self.dtype = dtype

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
        first = not (self.warm_start and hasattr(self, "model_"))
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val, y_val: got one of them, expected both or none")
        X, y = self._checked(X, y, reset=first)
        targets = self._targets(y, reset=first)
        weights = self._weights(y, sample_weight)
        validation: Any = None
        if X_val is not None:
            X_val, y_val = self._checked(X_val, y_val, reset=False)
            validation = X_val, self._targets(y_val, reset=False), None
        elif self.early_stopping:
            X, targets, weights, *validation = self._set_aside(X, targets, weights)
        m = targets.shape[0]
        rng = check_random_state(self.random_state)
        if first:
            self._initialize(X, rng)
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
        if self.early_stopping:
            raise ValueError("early_stopping: got True, expected False: partial_fit has no way of stopping early")
        X, y = self._checked(X, y, reset=first)
        targets = self._targets(y, reset=first and self._y_numeric)  # classes are told beforehand
        weights = self._weights(y, sample_weight)
        m = targets.shape[0]
        if first:
            self._initialize(X, check_random_state(self.random_state))
        self._set_penalty(m, weights)
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
            step = Step(model, dense(X[rows]), targets[rows], optimizer, self._state, rows=m,
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

    def _initialize(self, X: Any, rng: Any) -> None:
        layers = network.layers(
            self.hidden_layer_sizes,
            self.activation,
            self.keep_prob,
            self.batch_norm,
            self.maxout_pieces,
            self.n_outputs_,
        )
        seed = int(rng.randint(_SEEDS))
        self.model_ = Sequential(layers, X.shape[1], self._loss(), dtype=X.dtype, seed=seed)
        self.n_layers_ = 2 + len(network.sizes(self.hidden_layer_sizes))
        self.loss_curve_, self.best_loss_ = [], np.inf
        self.validation_scores_ = self.validation_loss_curve_ = self.best_validation_score_ = None
        self.t_ = 0
        self._state = None

    def _set_penalty(self, m: int, weights: Array | None) -> None:
        """``alpha`` beside scikit-learn's loss, in units of ours; a row of weight 2 counts as two in every respect."""
        alpha = validate.nonnegative(self.alpha, "alpha")
        self.model_.l2 = alpha / self._gradient_scale() * (1.0 if weights is None else m / float(weights.sum()))

    def _optimizer(self) -> Any:
        return network.optimizer(
            self.solver,
            self.learning_rate_init,
            self.momentum,
            self.beta_1,
            self.beta_2,
            self.epsilon,
            self._gradient_scale(),
        )

    def _schedule(self, m: int) -> Callable[[float], float] | None:
        return network.schedule(self.schedule, self.learning_rate, self.solver, self.power_t, m)

    def _batch_size(self, m: int) -> int:
        if isinstance(self.batch_size, str) and self.batch_size == "auto":
            return min(_AUTO_BATCH, m)
        if not isinstance(self.batch_size, Integral):
            raise TypeError(f"batch_size: got {self.batch_size!r}, expected a whole number or 'auto'")
        return min(m, validate.whole(self.batch_size, "batch_size", 1, 2**63 - 1))

    def _set_aside(self, X: Any, targets: Array, weights: Array | None) -> list[Any]:
        """Training and validation parts of inputs, targets and weights."""
        fraction = validate.real(self.validation_fraction, "validation_fraction", "a number in (0, 1)", _inside)
        arrays = [X, targets] if weights is None else [X, targets, weights]
        halves = train_test_split(
            *arrays,
            random_state=check_random_state(self.random_state),
            test_size=fraction,
            stratify=self._strata(targets),
        )
        parts = [halves[::2], halves[1::2]]
        if len(parts[1][1]) < 2:
            raise ValueError(
                f"validation_fraction: {fraction:g} of {len(targets)} rows leaves fewer than 2 for validation"
            )
        if weights is not None and not (parts[0][2].any() and parts[1][2].any()):
            raise ValueError("sample_weight: got only zeros among the rows for training or among those for validation")
        return [values for part in parts for values in (*part, None)[:3]]

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

    def _weights(self, y: Any, sample_weight: Any) -> Array | None:
        class_weight = getattr(self, "class_weight", None)
        weights = None if class_weight is None else compute_sample_weight(class_weight, y)
        if weights is not None and not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise ValueError(f"class_weight: got {class_weight!r}, expected finite numbers >= 0, not all 0")
        if sample_weight is None:
            return weights
        given = validate.numeric(sample_weight, "sample_weight")
        if given.shape not in ((), (y.shape[0],)):
            raise ValueError(f"sample_weight.shape == {given.shape}, expected {(y.shape[0],)}!")
        given = validate.finite(np.broadcast_to(given, y.shape[0]), np.dtype(np.float64), "sample_weight")
        if (given < 0).any():
            raise ValueError("sample_weight: got negative values, expected numbers >= 0")
        given = given if weights is None else weights * given
        if not given.any():
            raise ValueError("sample_weight: got only zeros, expected a row that counts (sample weights are all zero)")
        return given

    def _scores(self, X: Any) -> Array:
        return np.concatenate([self.model_.forward(block) for block in _blocks(X)])

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


def _inside(fraction: float) -> bool:
    return 0 < fraction < 1


def dense(rows: Any) -> Array:
    """An array, of a sparse matrix too."""
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows)


def _blocks(X: Any) -> Iterator[Array]:
    """All of an array at once, a sparse matrix a few rows at a time."""
    if not hasattr(X, "toarray"):
        yield X
        return
    for start in range(0, X.shape[0], _ROWS):
        yield dense(X[start : start + _ROWS])
