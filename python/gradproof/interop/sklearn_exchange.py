"""Networks from scikit-learn's ``MLPClassifier`` and ``MLPRegressor``, with their weights."""

from __future__ import annotations

from typing import Any

from gradproof.nn.layers import BuiltIn, Dense, ReLU, Sigmoid, Tanh
from gradproof.nn.model import Sequential

_ACTIVATIONS: dict[str, list[BuiltIn]] = {"identity": [], "logistic": [Sigmoid()], "tanh": [Tanh()], "relu": [ReLU()]}
_LOSSES = {"softmax": "softmax_cross_entropy", "logistic": "binary_cross_entropy", "identity": "mse"}


def from_sklearn(estimator: Any) -> Sequential:
    """The network of a fitted ``MLPClassifier`` or ``MLPRegressor``, with copies of its weights.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted. Data with two classes or several labels per row give ``binary_cross_entropy``, with more classes
        ``softmax_cross_entropy``, a regressor ``mse``.

    Returns
    -------
    Sequential
        In the precision of the weights. ``predict_proba`` of two classes gives the probability of the second one
        alone, and ``predict`` gives positions in ``estimator.classes_``.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If `estimator` is not fitted.
    TypeError, ValueError
        If it is another estimator, or its output has no counterpart (the regressor's Poisson loss).

    Notes
    -----
    ``l2`` is such that both have their minimum at the same weights. The penalty ``alpha/(2m) sum W^2`` of scikit-learn
    stands beside errors that its gradient sums over the outputs, squared ones times 1/2; that of gradproof beside the
    mean over the outputs.
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.utils.validation import check_is_fitted

    from gradproof.interop.sklearn_base import MLP

    if isinstance(estimator, MLP):
        raise TypeError(
            f"estimator: got gradproof's own {type(estimator).__name__}, expected one of sklearn.neural_network; the "
            "network of this one is estimator.model_"
        )
    if not isinstance(estimator, (MLPClassifier, MLPRegressor)):
        raise TypeError(f"estimator: got {type(estimator).__name__}, expected an MLPClassifier or MLPRegressor")
    check_is_fitted(estimator)
    if estimator.out_activation_ not in _LOSSES:
        raise ValueError(
            f"estimator: its output is {estimator.out_activation_!r}, expected one of {', '.join(_LOSSES)}"
        )
    weights, biases = estimator.coefs_, estimator.intercepts_
    layers: list[BuiltIn] = []
    for W in weights:
        layers += [Dense(W.shape[1]), *_ACTIVATIONS[estimator.activation]]
    if _ACTIVATIONS[estimator.activation]:
        layers.pop()  # behind the scores stands the activation of the output, which is the loss's
    loss = _LOSSES[estimator.out_activation_]
    outputs = estimator.n_outputs_
    factor = {"softmax": 1.0, "logistic": 1 / outputs, "identity": 2 / outputs}[estimator.out_activation_]
    model = Sequential(layers, len(weights[0]), loss, l2=factor * estimator.alpha, dtype=weights[0].dtype.name)
    for i, (W, b) in enumerate(zip(weights, biases, strict=True)):
        model.parameters[f"dense_{i}.W"], model.parameters[f"dense_{i}.b"] = W, b
    return model
