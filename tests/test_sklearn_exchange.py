"""Networks that scikit-learn trained predict the same here, and are at the minimum of the same cost."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof as gp
from gradproof.interop.sklearn_exchange import from_sklearn

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402

LARGEST = {"float32": 1e-6, "float64": 1e-12}  # difference of predictions
HIDDEN = {"hidden_layer_sizes": (5, 4), "alpha": 0.5, "random_state": 0}


@pytest.fixture
def X(dtype: str, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(60, 3)).astype(dtype)


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= LARGEST[found.dtype.name] * max(1.0, float(np.abs(expected).max()))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
class TestPredictions:
    def test_many_classes(self, X, activation):
        names = np.array(["ape", "bee", "cat"])
        theirs = MLPClassifier(activation=activation, max_iter=5, **HIDDEN).fit(X, names[np.arange(60) % 3])
        ours = from_sklearn(theirs)
        assert (ours.loss_name, ours.dtype) == ("softmax_cross_entropy", X.dtype)
        assert_same(ours.predict_proba(X), theirs.predict_proba(X))
        np.testing.assert_array_equal(theirs.classes_[ours.predict(X)], theirs.predict(X))

    def test_two_classes(self, X, activation):
        theirs = MLPClassifier(activation=activation, max_iter=5, **HIDDEN).fit(X, np.arange(60) % 2)
        ours = from_sklearn(theirs)
        assert ours.loss_name == "binary_cross_entropy"
        assert_same(ours.predict_proba(X), theirs.predict_proba(X)[:, 1])
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))

    def test_several_labels(self, X, activation):
        theirs = MLPClassifier(activation=activation, max_iter=5, **HIDDEN).fit(X, (X > 0).astype(int))
        assert_same(from_sklearn(theirs).predict_proba(X), theirs.predict_proba(X))

    @pytest.mark.parametrize("outputs", [1, 2])
    def test_regression(self, X, activation, outputs):
        y = X[:, 0] if outputs == 1 else X[:, :2]
        theirs = MLPRegressor(activation=activation, max_iter=5, **HIDDEN).fit(X, y)
        ours = from_sklearn(theirs)
        assert ours.loss_name == "mse"
        assert_same(ours.predict(X), theirs.predict(X))


def test_no_hidden_layer_and_weights_of_its_own(rng):
    X = rng.normal(size=(20, 3))
    theirs = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs").fit(X, X[:, 0])
    ours = from_sklearn(theirs)
    assert [layer.kind for layer in ours.layers] == ["dense"]
    before = theirs.predict(X)
    ours.theta += 1
    np.testing.assert_array_equal(theirs.predict(X), before)


@pytest.mark.parametrize("task", ["classes", "two classes", "labels", "regression"])
def test_the_minimum_is_at_the_same_weights(task, rng):
    """With a penalty that is a large part of the cost; without it the gradient there is far from 0."""
    X = rng.normal(size=(20, 3))
    y = {
        "classes": np.argmax(X, axis=1),
        "two classes": (X[:, 0] > 0).astype(int),
        "labels": (X > 0).astype(int),
        "regression": X[:, 0] * X[:, 1],
    }[task]
    kind = MLPRegressor if task == "regression" else MLPClassifier
    theirs = kind(activation="tanh", solver="lbfgs", max_iter=2000, tol=1e-10, **HIDDEN).fit(X, y)
    ours = from_sklearn(theirs)
    whole, data = (
        np.linalg.norm(ours.loss_and_gradient(X, y, parts=parts)[1]) for parts in (("data", "regularization"), "data")
    )
    assert data > 1e-3
    assert whole < 1e-2 * data


def test_what_has_no_counterpart_is_refused(rng):
    X = rng.normal(size=(20, 3))
    with pytest.raises(NotFittedError):
        from_sklearn(MLPClassifier())
    with pytest.raises(TypeError, match="estimator: got LogisticRegression, expected an MLPClassifier or MLPRegressor"):
        from_sklearn(LogisticRegression().fit(X, X[:, 0] > 0))
    with pytest.raises(TypeError, match="gradproof's own MLPClassifier, expected one of sklearn.*estimator.model_"):
        from_sklearn(gp.sklearn.MLPClassifier())
    poisson = MLPRegressor(max_iter=1)
    if "loss" not in poisson.get_params():
        pytest.skip("this scikit-learn has no Poisson loss")
    with pytest.warns(ConvergenceWarning):
        poisson.set_params(loss="poisson").fit(X, np.abs(X[:, 0]))
    with pytest.raises(ValueError, match="estimator: its output is 'exp', expected one of softmax, logistic, identity"):
        from_sklearn(poisson)


def test_it_is_where_the_documentation_says():
    assert gp.sklearn.from_sklearn is from_sklearn


def test_the_network_can_be_checked(rng):
    X, y = rng.normal(size=(30, 3)), np.arange(30) % 3
    theirs = MLPClassifier(activation="tanh", solver="lbfgs", max_iter=2000, **HIDDEN).fit(X, y)
    assert gp.check_model(from_sklearn(theirs), X, y).ok
