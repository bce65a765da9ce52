"""The estimators beside scikit-learn's own: what both have means the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")

from cases.estimators import KINDS, estimator, problem  # noqa: E402
from sklearn import neural_network  # noqa: E402
from sklearn.utils.validation import has_fit_parameter  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def pair(kind: str, **parameters: Any) -> tuple[Any, Any]:
    """Ours and theirs with the same weights, both to go on from them."""
    X, y = problem(kind)
    ours = estimator(kind, warm_start=True, tol=0, **parameters).fit(X, y)
    own = getattr(neural_network, type(ours).__name__)
    shared = {name: value for name, value in ours.get_params().items() if name in own().get_params()}
    theirs = own(**shared, nesterovs_momentum=False).fit(X, y)
    for mine, other in ((ours.coefs_, theirs.coefs_), (ours.intercepts_, theirs.intercepts_)):
        for values, target in zip(mine, other, strict=True):
            target[...] = values
    return ours, theirs


def assert_same(ours: Any, theirs: Any, epochs: int) -> None:
    np.testing.assert_allclose(ours.loss_curve_[-epochs:], theirs.loss_curve_[-epochs:], rtol=1e-8)
    for mine, other in ((ours.coefs_, theirs.coefs_), (ours.intercepts_, theirs.intercepts_)):
        for values, expected in zip(mine, other, strict=True):
            np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9)
    assert (ours.n_outputs_, ours.n_layers_, ours.out_activation_) == (
        theirs.n_outputs_, theirs.n_layers_, theirs.out_activation_
    )  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "two outputs"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "sgd", "momentum": 0.9, "learning_rate_init": 0.05, "alpha": 2.0},
        {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1, "activation": "tanh"},
        {"solver": "sgd", "momentum": 0.0, "learning_rate": "invscaling", "learning_rate_init": 0.1},
        {
            "solver": "adam",
            "epsilon": 1e-30,
            "activation": "logistic",
            "alpha": 0.5,
        },  # too small to be placed elsewhere
    ],
    ids=["momentum", "sgd", "invscaling", "adam"],
)
def test_parameters_mean_what_they_mean_there(kind: str, parameters: dict[str, Any]) -> None:
    ours, theirs = pair(kind, **parameters)
    X, y = problem(kind)
    if parameters.get("learning_rate") == "invscaling":
        theirs.t_ = 0  # theirs goes on counting rows over fits
    for model in (ours, theirs):
        model.fit(X, y)
    assert_same(ours, theirs, 5)


@pytest.mark.skipif(
    not has_fit_parameter(neural_network.MLPClassifier(), "sample_weight"), reason="theirs has no weights before 1.7"
)
@pytest.mark.parametrize("kind", ["two classes", "three classes", "one output"])
def test_sample_weights_mean_what_they_mean_there(kind: str) -> None:
    ours, theirs = pair(kind, solver="sgd", learning_rate_init=0.05, alpha=3.0)
    X, y = problem(kind)
    weights = np.random.default_rng(1).integers(0, 4, len(X)).astype(float)
    for model in (ours, theirs):
        model.fit(X, y, sample_weight=weights)
    assert_same(ours, theirs, 5)


def test_two_outputs_have_the_minimum_of_theirs() -> None:
    """In scikit-learn the penalty's gradient stands beside a sum over the outputs, the penalty beside their mean."""
    ours, theirs = pair("two outputs", solver="sgd", learning_rate_init=0.05, alpha=2.0)
    X, y = problem("two outputs")
    for model in (ours, theirs):
        model.fit(X, y)
    for values, expected in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("learning_rate", ["constant", "adaptive"])
def test_training_ends_when_theirs_does(learning_rate: str) -> None:
    ours, theirs = pair(
        "three classes", solver="sgd", learning_rate_init=0.5, learning_rate=learning_rate, momentum=0.0
    )
    X, y = problem("three classes")
    for model in (ours, theirs):
        model.set_params(max_iter=800, tol=1e-3, n_iter_no_change=4).fit(X, y)
    assert 5 < ours.n_iter_ == theirs.n_iter_ < 800
    assert_same(ours, theirs, ours.n_iter_)
    assert ours.t_ == 40 * (5 + ours.n_iter_)
