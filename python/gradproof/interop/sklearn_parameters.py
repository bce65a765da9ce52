"""The parameters that both of the scikit-learn estimators have, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

from sklearn.base import BaseEstimator

from gradproof._messages import shown
from gradproof.interop import sklearn_network as network
from gradproof.nn import validate
from gradproof.nn.layers import BuiltIn

_AUTO_BATCH = 200  # scikit-learn's
_FLAGS = ("shuffle", "warm_start", "early_stopping", "monitor")

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
        Let :meth:`fit` go on from the weights there are; parameters that make another network are refused then.
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


class Parameters(BaseEstimator):  # type: ignore[misc]
    """What an estimator is made with: kept as it came, checked when it is fitted."""

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
            raise TypeError(f"batch_size: got {shown(self.batch_size)}, expected a whole number or 'auto'")
        return min(m, validate.whole(self.batch_size, "batch_size", 1, 2**63 - 1))

    def _check_flags(self) -> None:
        for name in _FLAGS:
            validate.flag(getattr(self, name), name)
        if not isinstance(self.verbose, Integral):  # a whole number says how much in scikit-learn
            validate.flag(self.verbose, "verbose")

    def _layers(self, outputs: int) -> list[BuiltIn]:
        return network.layers(
            self.hidden_layer_sizes, self.activation, self.keep_prob, self.batch_norm, self.maxout_pieces, outputs
        )
