"""What the estimators have that scikit-learn's have not, and how they are trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradproof as gp

sklearn = pytest.importorskip("sklearn")


from cases.estimators import KINDS, estimator, problem  # noqa: E402

from gradproof.interop.sklearn import MLPClassifier  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
