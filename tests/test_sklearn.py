"""The estimators in scikit-learn: its own checks, and its machinery."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradproof as gp

sklearn = pytest.importorskip("sklearn")

from cases.cluster import PATIENCE, cluster  # noqa: E402
from cases.estimators import estimator, problem  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from gradproof.interop.sklearn import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# No check is expected to fail, as none is for scikit-learn's own.
@parametrize_with_checks([MLPClassifier(max_iter=60, learning_rate_init=0.005), MLPRegressor(max_iter=60)])
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_estimators_survive_pickle_and_clone() -> None:
    X, y = problem("three classes")
    fitted = estimator("three classes", batch_norm=True, keep_prob=0.7, solver=gp.Adam(0.01)).fit(X, y)
    twin = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(twin.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(twin.partial_fit(X, y).model_.theta, fitted.partial_fit(X, y).model_.theta)
    copy = clone(fitted)
    assert copy.get_params()["solver"] == gp.Adam(0.01) and not hasattr(copy, "model_")
    np.testing.assert_array_equal(copy.fit(X, y).coefs_[0], clone(fitted).fit(X, y).coefs_[0])


def search(X: Any, y: Any, **keywords: Any) -> GridSearchCV:
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((8,), random_state=0, max_iter=30, batch_norm=True))
    grid = {"mlpclassifier__keep_prob": [0.1, 1.0], "mlpclassifier__learning_rate_init": [0.001, 0.03]}
    return GridSearchCV(pipeline, grid, cv=3, error_score="raise", **keywords).fit(X, y)


def test_a_grid_search_in_other_processes() -> None:
    joblib = pytest.importorskip("joblib")
    X, y = problem("three classes", 120)
    here = search(X, y)
    with joblib.parallel_config("loky"):
        there = search(X, y, n_jobs=2)
    assert here.best_params_ == {"mlpclassifier__keep_prob": 1.0, "mlpclassifier__learning_rate_init": 0.03}
    np.testing.assert_array_equal(there.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"])


@pytest.mark.campaign
@pytest.mark.filterwarnings("default")  # of Dask's
def test_a_grid_search_on_dask(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    X, y = problem("three classes", 120)
    here = search(X, y)
    with cluster(2, tmp_path):
        # The data go to all workers at once: joblib would give them to one, and with that worker they were lost.
        with joblib.parallel_config("dask", scatter=[X, y], wait_for_workers_timeout=PATIENCE):
            there = search(X, y, n_jobs=2)
    np.testing.assert_array_equal(there.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"])


def test_weights_are_routed() -> None:
    X, y = problem("three classes")
    weights = np.arange(40.0)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = estimator("three classes").set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), inner).fit(
            X, y, sample_weight=weights
        )
    alone = estimator("three classes").fit(StandardScaler().fit_transform(X), y, sample_weight=weights)
    np.testing.assert_array_equal(pipeline[-1].model_.theta, alone.model_.theta)


def test_names_of_features_are_kept() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = problem("three classes")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    pipeline = make_pipeline(StandardScaler(), estimator("three classes")).set_output(transform="pandas").fit(frame, y)
    assert pipeline[-1].feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        estimator("three classes").fit(frame, y).predict(frame[list("dcba")])


def test_an_instance_draws_anew_for_every_fit() -> None:
    X, y = problem("three classes")
    rng = np.random.RandomState(3)
    first, second = (estimator("three classes", random_state=rng).fit(X, y).coefs_[0] for _ in range(2))
    assert not np.array_equal(first, second)
