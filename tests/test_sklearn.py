"""The estimators for scikit-learn: its own checks, its own perceptron beside them, and what is more."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradproof as gp

sklearn = pytest.importorskip("sklearn")

from sklearn import neural_network  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402
from sklearn.utils.validation import has_fit_parameter  # noqa: E402

from gradproof.interop.sklearn import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = ["two classes", "three classes", "several labels", "one output", "two outputs"]


def problem(kind: str, m: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(m, 4))
    values = X @ rng.normal(size=(4, 3)) + 0.1 * rng.normal(size=(m, 3))
    return X, {
        "two classes": np.where(values[:, 0] > 0, "yes", "no"),
        "three classes": values.argmax(axis=1) * 10,
        "several labels": (values > 0).astype(int),
        "one output": values[:, 0],
        "two outputs": values[:, :2],
    }[kind]


def estimator(kind: str, **parameters: Any) -> Any:
    cls = MLPRegressor if kind.endswith(("output", "outputs")) else MLPClassifier
    return cls(**{"hidden_layer_sizes": (6, 5), "random_state": 0, "max_iter": 5, **parameters})


# No check is expected to fail, as none is for scikit-learn's own.
@parametrize_with_checks([MLPClassifier(max_iter=60, learning_rate_init=0.005), MLPRegressor(max_iter=60)])
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


# ---------------------------------------------------------------- beside scikit-learn's own


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


# ---------------------------------------------------------------- what is more


def test_layers_are_as_asked_for() -> None:
    X, y = problem("three classes")
    built = estimator(
        "three classes",
        hidden_layer_sizes=(8, 7, 6),
        activation=["maxout", "leaky_relu", gp.Tanh()],
        keep_prob=[0.9, 1.0, 0.5],
        batch_norm=[True, True, False],
        maxout_pieces=3,
    ).fit(X, y)
    assert built.model_.layers == (
        gp.Maxout(8, 3), gp.BatchNorm(), gp.Dropout(0.9),
        gp.Dense(7, "he"), gp.BatchNorm(), gp.LeakyReLU(),
        gp.Dense(6, "glorot"), gp.Tanh(), gp.Dropout(0.5), gp.Dense(3, "glorot"),
    )  # fmt: skip


def test_solvers_may_be_optimizers() -> None:
    X, y = problem("three classes")
    seen = estimator("three classes", solver=gp.RMSprop(1e-3, beta=0.8)).fit(X, y).history_.settings["optimizer"]
    assert "RMSprop" in seen and "beta=0.8" in seen


def test_the_schedule_is_followed() -> None:
    X, y = problem("three classes")
    fitted = estimator("three classes", schedule=gp.schedules.Exponential(0.5), learning_rate_init=0.1).fit(X, y)
    np.testing.assert_allclose(fitted.history_["learning_rate"], 0.1 * 0.5 ** np.arange(5))


@pytest.mark.parametrize("kind", KINDS)
def test_coefs_reproduce_the_predictions(kind: str) -> None:
    """With batch normalization folded in."""
    X, y = problem(kind)
    fitted = estimator(kind, batch_norm=True, max_iter=20, activation="tanh").fit(X, y)
    values = X
    for i, (W, b) in enumerate(zip(fitted.coefs_, fitted.intercepts_, strict=True)):
        values = values @ W + b
        values = np.tanh(values) if i < 2 else values
    if kind.endswith(("output", "outputs")):
        expected = values.reshape(y.shape)
        np.testing.assert_allclose(fitted.predict(X), expected, rtol=1e-9, atol=1e-12)
        return
    p = 1 / (1 + np.exp(-values))
    expected = {
        "two classes": np.hstack([1 - p, p]),
        "three classes": np.exp(values) / np.exp(values).sum(axis=1, keepdims=True),
        "several labels": p,
    }[kind]
    np.testing.assert_allclose(fitted.predict_proba(X), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(X)), expected, rtol=1e-9, atol=1e-12)
    decided = (p > 0.5).astype(int) if kind == "several labels" else fitted.classes_[expected.argmax(axis=1)]
    np.testing.assert_array_equal(fitted.predict(X), decided)


def test_log_probabilities_do_not_end_where_probabilities_are_0() -> None:
    for kind in ("two classes", "three classes", "several labels"):
        X, y = problem(kind)
        fitted = estimator(kind, max_iter=50).fit(X, y)
        logs = fitted.predict_log_proba(1e6 * X)
        assert np.isfinite(logs).all() and logs.min() < -1000
        assert (fitted.predict_proba(1e6 * X) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns(kind: str, dtype: str) -> None:
    X, y = problem(kind, 300)
    fitted = estimator(kind, max_iter=300, learning_rate_init=0.01, dtype=dtype).fit(X, y)
    assert fitted.score(X, y) > 0.93
    assert fitted.model_.dtype == dtype and fitted.loss_curve_[-1] < 0.5 * fitted.loss_curve_[0]


def test_the_precision_is_that_of_the_data() -> None:
    X, y = problem("three classes")
    for dtype in ("float32", "float64"):
        assert estimator("three classes").fit(X.astype(dtype), y).model_.dtype == dtype


@pytest.mark.parametrize("kind", ["three classes", "one output"])
def test_partial_fits_are_the_epochs_of_a_fit(kind: str) -> None:
    X, y = problem(kind)
    parameters: dict[str, Any] = {"shuffle": False, "batch_size": 7, "schedule": gp.schedules.InverseTime(0.5)}
    parameters |= {"keep_prob": 0.8, "batch_norm": True}
    whole, parts = estimator(kind, **parameters).fit(X, y), estimator(kind, **parameters)
    for _ in range(5):
        if kind == "one output":
            parts.partial_fit(X, y)
        else:
            parts.partial_fit(X, y, classes=[0, 10, 20])
    np.testing.assert_array_equal(parts.model_.theta, whole.model_.theta)
    np.testing.assert_allclose(parts.loss_curve_, whole.loss_curve_, rtol=1e-12)
    assert (parts.n_iter_, parts.t_, parts.best_loss_) == (1, 200, min(parts.loss_curve_))


def test_partial_fit_goes_on_from_a_fit() -> None:
    X, y = problem("three classes")
    fitted = estimator("three classes", shuffle=False).fit(X, y)
    longer = estimator("three classes", shuffle=False, max_iter=6).fit(X, y)
    np.testing.assert_array_equal(fitted.partial_fit(X, y).model_.theta, longer.model_.theta)


def test_partial_fit_knows_the_classes() -> None:
    X, y = problem("three classes")
    parts = estimator("three classes")
    with pytest.raises(ValueError, match="classes must be passed"):
        parts.partial_fit(X, y)
    parts.partial_fit(X[y == 10], y[y == 10], classes=[0, 10, 20])
    assert parts.predict_proba(X).shape == (40, 3)
    with pytest.raises(ValueError, match="classes not in `self.classes_`, such as 7"):
        parts.partial_fit(X, np.where(y == 10, 7, y))
    with pytest.raises(ValueError, match="not the same as on last call"):
        parts.partial_fit(X, y, classes=[0, 10])
    with pytest.raises(ValueError, match="early_stopping: got True"):
        parts.set_params(early_stopping=True).partial_fit(X, y)
    labels = estimator("several labels").partial_fit(*problem("several labels"))
    assert labels.predict(X).shape == (40, 3)


def test_warm_start_goes_on() -> None:
    X, y = problem("three classes")
    warm, cold = (estimator("three classes", warm_start=warm_start).fit(X, y) for warm_start in (True, False))
    for model in (warm, cold):
        model.fit(X, y)
    assert len(warm.loss_curve_) == 10 and warm.loss_curve_[5] < warm.loss_curve_[0]
    assert len(cold.loss_curve_) == 5
    with pytest.raises(ValueError, match="such as 1"):
        warm.fit(X, y + 1)


@pytest.mark.parametrize("balanced", [True, False])
def test_class_weights_are_weights_of_rows(balanced: bool) -> None:
    X, y = problem("three classes")
    labels, counts = np.unique(y, return_counts=True)
    by_class = len(y) / (3 * counts) if balanced else np.array([1.0, 5.0, 0.5])
    class_weight: Any = "balanced" if balanced else dict(zip(labels.tolist(), by_class.tolist(), strict=True))
    weighted = estimator("three classes", class_weight=class_weight).fit(X, y)
    rows = estimator("three classes").fit(X, y, sample_weight=by_class[np.searchsorted(labels, y)])
    np.testing.assert_allclose(weighted.model_.theta, rows.model_.theta, rtol=1e-12)
    assert not np.allclose(weighted.model_.theta, estimator("three classes").fit(X, y).model_.theta)


def test_early_stopping_keeps_the_best_weights() -> None:
    X, y = problem("three classes", 200)
    fitted = estimator("three classes", early_stopping=True, max_iter=200, validation_fraction=0.3).fit(X, y)
    assert fitted.n_iter_ < 200 and fitted.best_loss_ is None
    assert len(fitted.validation_scores_) == len(fitted.validation_loss_curve_) == fitted.n_iter_
    assert fitted.best_validation_score_ == max(fitted.validation_scores_)
    best = int(np.argmax(fitted.validation_scores_))
    again = estimator("three classes", early_stopping=True, max_iter=best + 1, validation_fraction=0.3)
    np.testing.assert_array_equal(again.fit(X, y).model_.theta, fitted.model_.theta)


def test_a_validation_set_of_ones_own() -> None:
    X, y = problem("three classes", 100)
    fitted = estimator("three classes", max_iter=20).fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
    assert len(fitted.validation_scores_) == 20
    assert fitted.validation_scores_[-1] == fitted.score(X[60:], y[60:])
    expected = -np.mean(fitted.predict_log_proba(X[60:])[np.arange(40), y[60:] // 10])
    np.testing.assert_allclose(fitted.validation_loss_curve_[-1], expected, rtol=1e-9)
    without = estimator("three classes", max_iter=20).fit(X[:60], y[:60])
    assert without.validation_scores_ is None and without.validation_loss_curve_ is None
    np.testing.assert_array_equal(without.model_.theta, fitted.model_.theta)


@pytest.mark.parametrize("layout", ["csr_array", "csc_matrix", "coo_array"])
def test_sparse_matrices_are_as_good_as_dense_ones(layout: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X, y = problem("three classes", 300)
    X[np.abs(X) < 0.5] = 0
    packed = getattr(sparse, layout)(X)
    for early_stopping in (False, True):
        parameters: dict[str, Any] = {"early_stopping": early_stopping, "batch_size": 32}
        dense, thin = (estimator("three classes", **parameters).fit(data, y) for data in (X, packed))
        np.testing.assert_array_equal(thin.model_.theta, dense.model_.theta)
        np.testing.assert_array_equal(thin.predict_proba(packed), dense.predict_proba(X))
    parts = [estimator("three classes").partial_fit(data, y, classes=[0, 10, 20]) for data in (X, packed)]
    np.testing.assert_array_equal(parts[0].model_.theta, parts[1].model_.theta)


def test_the_digits_are_told_apart(dtype: str) -> None:
    X, y = gp.data.load_digits()
    (X, y), (X_dev, y_dev) = gp.data.split(X.astype(dtype), y, (80, 20))
    fitted = MLPClassifier((64,), batch_norm=True, keep_prob=0.9, learning_rate_init=0.01, max_iter=30, random_state=0)
    assert fitted.fit(X, y).score(X_dev, y_dev) > 0.96
    assert fitted.model_.dtype == dtype


def test_networks_train_on_sparse_matrices(dtype: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X, y = problem("three classes", 100)
    packed = sparse.csr_array(X)
    models = [gp.Sequential([gp.Dense(3)], input_size=4, loss="hinge", dtype=dtype) for _ in range(2)]
    for model, data in zip(models, (X, packed), strict=True):
        model.fit(data, y // 10, epochs=3, batch_size=16, validation_data=(data, y // 10), progress=False)
    np.testing.assert_array_equal(models[0].theta, models[1].theta)
    for wrong, message in ((sparse.csr_array(np.ones((100, 5))), "5 features, expected 4"), (packed[:0], "no rows")):
        with pytest.raises(ValueError, match=message):
            models[0].fit(wrong, y // 10, progress=False)
    packed.data[3] = np.nan
    with pytest.raises(ValueError, match=r"X\[0, 3\] is nan"):
        models[0].fit(packed, y // 10, progress=False)


def test_callbacks_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    class Recorder(gp.callbacks.Callback):
        def on_epoch_end(self, model: Any, run: Any) -> None:
            if run.epoch == 2:
                run.stop("enough")

    X, y = problem("three classes")
    fitted = estimator("three classes", callbacks=[Recorder()], verbose=True, monitor=True).fit(X, y)
    assert fitted.n_iter_ == 3 and fitted.history_.stopped == "enough"
    assert "update_ratio" in fitted.history_
    assert capsys.readouterr().out.splitlines()[2] == f"Iteration 3, loss = {fitted.loss_:.8f}"


# ---------------------------------------------------------------- scikit-learn's machinery


def test_estimators_survive_pickle_and_clone() -> None:
    X, y = problem("three classes")
    fitted = estimator("three classes", batch_norm=True, keep_prob=0.7, solver=gp.Adam(0.01)).fit(X, y)
    twin = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(twin.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(twin.partial_fit(X, y).model_.theta, fitted.partial_fit(X, y).model_.theta)
    copy = clone(fitted)
    assert copy.get_params()["solver"] == gp.Adam(0.01) and not hasattr(copy, "model_")
    np.testing.assert_array_equal(copy.fit(X, y).coefs_[0], clone(fitted).fit(X, y).coefs_[0])


def search(**keywords: Any) -> GridSearchCV:
    X, y = problem("three classes", 120)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((8,), random_state=0, max_iter=30, batch_norm=True))
    grid = {"mlpclassifier__keep_prob": [0.1, 1.0], "mlpclassifier__learning_rate_init": [0.001, 0.03]}
    return GridSearchCV(pipeline, grid, cv=3, error_score="raise", **keywords).fit(X, y)


def test_a_grid_search_in_other_processes() -> None:
    joblib = pytest.importorskip("joblib")
    here = search()
    with joblib.parallel_config("loky"):
        there = search(n_jobs=2)
    assert here.best_params_ == {"mlpclassifier__keep_prob": 1.0, "mlpclassifier__learning_rate_init": 0.03}
    np.testing.assert_array_equal(there.cv_results_["mean_test_score"], here.cv_results_["mean_test_score"])


@pytest.mark.campaign
@pytest.mark.filterwarnings("default")  # of Dask's
def test_a_grid_search_on_dask() -> None:
    distributed = pytest.importorskip("distributed")
    joblib = pytest.importorskip("joblib")
    here = search()
    with distributed.Client(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None):
        with joblib.parallel_config("dask"):
            there = search(n_jobs=2)
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


# ---------------------------------------------------------------- what is said


def test_an_end_without_convergence_is_said() -> None:
    X, y = problem("three classes")
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(5\) reached"):
        estimator("three classes").fit(X, y)


def test_divergence_is_said_and_leaves_finite_weights() -> None:
    X, y = problem("one output")
    with pytest.warns(ConvergenceWarning, match="diverged"):
        fitted = estimator("one output", solver="sgd", learning_rate_init=1e6, max_iter=100).fit(X, y)
    assert np.isfinite(fitted.model_.theta).all() and fitted.history_.stopped == "diverged"


def test_an_interrupt_keeps_the_weights() -> None:
    class Interrupt(gp.callbacks.Callback):
        def on_epoch_end(self, model: Any, run: Any) -> None:
            if run.epoch == 2:
                raise KeyboardInterrupt

    X, y = problem("three classes")
    with pytest.warns(UserWarning, match="interrupted"):
        fitted = estimator("three classes", callbacks=[Interrupt()]).fit(X, y)
    assert fitted.predict(X).shape == (40,)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"solver": "lbfgs"}, ValueError, "solver: got 'lbfgs', expected 'adam', 'sgd' or an optimizer"),
        ({"activation": "softplus"}, ValueError, "activation: got 'softplus'"),
        ({"activation": gp.Dense(3)}, ValueError, "activation: got Dense"),
        ({"activation": ["relu"]}, ValueError, "activation: got 1 values, expected one for each of the 2"),
        ({"hidden_layer_sizes": (5, 0)}, ValueError, "hidden_layer_sizes: got 0"),
        ({"hidden_layer_sizes": 2.5}, TypeError, "hidden_layer_sizes: got 2.5"),
        ({"keep_prob": 0.0}, ValueError, "keep_prob: got 0"),
        ({"keep_prob": [0.5, 0.5, 0.5]}, ValueError, "keep_prob: got 3 values"),
        ({"batch_norm": "yes"}, TypeError, "batch_norm: got 'yes'"),
        ({"maxout_pieces": 0}, ValueError, "maxout_pieces: got 0"),
        ({"alpha": -1.0}, ValueError, "alpha: got -1"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0"),
        ({"batch_size": "all"}, TypeError, "batch_size: got 'all'"),
        ({"learning_rate": "cosine"}, ValueError, "learning_rate: got 'cosine'"),
        ({"learning_rate": "adaptive", "schedule": len}, ValueError, "schedule: got one with learning_rate='adaptive'"),
        ({"learning_rate_init": 0.0}, ValueError, "learning_rate_init: got 0"),
        ({"solver": "sgd", "momentum": 1.0}, ValueError, "momentum: got 1"),
        ({"max_iter": 0}, ValueError, "max_iter: got 0"),
        ({"tol": -1.0}, ValueError, "tol: got -1"),
        ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change: got 0"),
        ({"dtype": "float16"}, ValueError, "dtype: got 'float16'"),
        ({"early_stopping": True, "validation_fraction": 1.0}, ValueError, "validation_fraction: got 1"),
        ({"callbacks": [3]}, TypeError, r"callbacks\[0\]: got int"),
        ({"random_state": "seed"}, ValueError, "seed"),
    ],
)
def test_bad_parameters_are_refused_by_fit(parameters: dict[str, Any], error: type[Exception], message: str) -> None:
    made = estimator("three classes", **parameters)
    with pytest.raises(error, match=message):
        made.fit(*problem("three classes"))


def test_bad_data_is_refused() -> None:
    X, y = problem("three classes")
    for keywords, message in (
        ({"sample_weight": np.zeros(40)}, "sample_weight: got only zeros"),
        ({"sample_weight": -np.ones(40)}, "sample_weight: got negative"),
        ({"sample_weight": np.ones(3)}, "sample_weight.shape"),
        ({"X_val": X}, "X_val, y_val: got one of them"),
        ({"X_val": X, "y_val": y + 1}, "such as 1"),
    ):
        with pytest.raises(ValueError, match=message):
            estimator("three classes").fit(X, y, **keywords)
    with pytest.raises(ValueError, match="Unknown label type"):
        MLPClassifier().fit(X, X[:, 0])
    with pytest.raises(ValueError, match="several labels of several classes"):
        MLPClassifier().fit(X, np.column_stack([y, y]))
    with pytest.warns(DataConversionWarning):
        estimator("three classes").fit(X, y[:, None])
    with pytest.raises(NotFittedError):
        MLPClassifier().predict(X)
    assert not hasattr(MLPClassifier(), "coefs_")


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install gradproof\[sklearn\]"):
        _ = gp.sklearn


@pytest.mark.parametrize("weights", [{"no": -1, "yes": 1}, {"no": np.nan, "yes": 1}, {"no": 0, "yes": 0}])
def test_class_weights_that_cannot_be(weights):
    X, y = problem("two classes")
    with pytest.raises(ValueError, match=r"class_weight: got \{'no': .*expected finite numbers >= 0"):
        MLPClassifier((3,), class_weight=weights).fit(X, y)


def test_weights_that_leave_no_row():
    X, y = problem("two classes")
    with pytest.raises(ValueError, match="sample_weight: got only zeros, expected a row that counts"):
        MLPClassifier((3,), class_weight={"no": 0, "yes": 1}).fit(X, y, sample_weight=(y == "no").astype(float))
    for row in range(len(X)):  # in the validation set or not
        with pytest.raises(ValueError, match="sample_weight: got only zeros among the rows"):
            MLPClassifier((3,), early_stopping=True, random_state=0).fit(X, y, sample_weight=np.eye(len(X))[row])


def test_a_callback_needs_no_list():
    X, y = problem("two classes")
    stop = gp.callbacks.EarlyStopping(monitor="loss", patience=1, min_delta=1e9)
    assert MLPClassifier((3,), callbacks=stop, random_state=0).fit(X, y).n_iter_ < 5
    with pytest.raises(TypeError, match="callbacks: got int, expected a list"):
        MLPClassifier((3,), callbacks=3).fit(X, y)


def test_partial_fit_names_what_is_wrong():
    X, y = problem("two classes")
    with pytest.raises(ValueError, match="classes: got none, expected all labels"):
        MLPClassifier((3,)).partial_fit(X, y, classes=[])
    with pytest.raises(TypeError, match="schedule: got 'cosine', expected one of gp.schedules"):
        MLPClassifier((3,), schedule="cosine").partial_fit(X, y, classes=["no", "yes"])
