"""What the estimators refuse, and what they warn of."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import gradproof as gp

sklearn = pytest.importorskip("sklearn")

from cases.estimators import estimator, problem  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError  # noqa: E402

from gradproof.interop.sklearn import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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


# ---------------------------------------------------------------- going on with another network


@pytest.mark.parametrize("again", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_layer_sizes": (7, 5)}, r"ask for the layers Dense\(units=7.*has Dense\(units=6"),
        ({"activation": "tanh"}, "ask for the layers .*Tanh.*has .*ReLU"),
        ({"keep_prob": 0.5}, "ask for the layers .*Dropout"),
        ({"batch_norm": True}, "ask for the layers .*BatchNorm"),
        ({"dtype": "float32"}, "dtype: got 'float32', but the network to go on with has float64"),
    ],
)
def test_a_changed_network_is_not_gone_on_with(again: str, changed: dict[str, Any], message: str) -> None:
    X, y = problem("three classes")
    fitted = estimator("three classes", warm_start=True).fit(X, y)
    before = fitted.model_.theta.copy()
    with pytest.raises(ValueError, match=f"{message}.*clone the estimator or fit it with warm_start=False"):
        getattr(fitted.set_params(**changed), again)(X, y)
    np.testing.assert_array_equal(fitted.model_.theta, before)
    fitted.set_params(warm_start=False).fit(X, y)
    assert fitted.model_.layers == estimator("three classes", **changed).fit(X, y).model_.layers


def test_what_is_no_part_of_the_network_may_change() -> None:
    X, y = problem("three classes")
    fitted = estimator("three classes", warm_start=True, activation=gp.LeakyReLU(0.1)).fit(X, y)
    fitted.set_params(activation=[gp.LeakyReLU(0.1)] * 2, learning_rate_init=0.01, alpha=1.0, dtype="float64")
    assert len(fitted.fit(X, y).loss_curve_) == 10


@pytest.mark.parametrize("name", ["shuffle", "warm_start", "early_stopping", "monitor", "verbose"])
def test_flags_are_true_or_false(name: str) -> None:
    X, y = problem("two classes")
    for wrong in ("no", None, 0.0):
        for train in (lambda made: made.fit(X, y), lambda made: made.partial_fit(X, y, classes=["no", "yes"])):
            with pytest.raises(TypeError, match=f"{name}: got {wrong!r}, expected True or False"):
                train(MLPClassifier((3,), **{name: wrong}))
    assert MLPClassifier((3,), max_iter=2, **{name: np.bool_(True)}).fit(X, y).n_iter_ <= 2  # of a grid in an array


# ---------------------------------------------------------------- rows for validation, and weights


def test_a_class_with_a_single_row_cannot_be_shared_out() -> None:
    X, y = problem("two classes")
    y[3] = "nil"
    with pytest.raises(ValueError, match="y: class 'nil' has a single row, but early_stopping .*at least 2"):
        MLPClassifier((3,), early_stopping=True).fit(X, y)
    own = MLPClassifier((3,), early_stopping=True, max_iter=2).fit(X, y, X_val=X, y_val=y)
    assert len(own.validation_scores_) == 2


@pytest.mark.parametrize(("fraction", "parts"), [(0.1, "4 and 36"), (0.95, "38 and 2")])
def test_every_class_needs_room(fraction: float, parts: str) -> None:
    X, _ = problem("two classes")
    with pytest.raises(ValueError, match=rf"validation_fraction: {fraction} of 40 .* of {parts}, .* the 10 classes"):
        MLPClassifier((3,), early_stopping=True, validation_fraction=fraction).fit(X, np.arange(40) % 10)


def test_a_validation_set_that_leaves_nothing() -> None:
    X, y = problem("one output")
    for fraction, message in ((0.001, "fewer than 2 for validation"), (0.999, "none for training")):
        with pytest.raises(ValueError, match=f"validation_fraction: {fraction} of 40 rows leaves {message}"):
            MLPRegressor((3,), early_stopping=True, validation_fraction=fraction).fit(X, y)


def test_only_the_ratios_of_weights_matter(dtype: str) -> None:
    """Beside a penalty of 0: with one, a row of weight 2 counts as two."""
    X, y = problem("two classes")
    ratios = 1 + np.arange(40.0) % 3

    def fitted(unit: float, train: str) -> np.ndarray:
        made = MLPClassifier((3,), alpha=0, max_iter=3, random_state=0, dtype=dtype)
        options = {"classes": ["no", "yes"]} if train == "partial_fit" else {}
        return getattr(made, train)(X, y, sample_weight=unit * ratios, **options).model_.theta

    for train in ("fit", "partial_fit"):
        expected = fitted(1.0, train)
        for unit in (1e-300, 3e-40, 1e30, 5e307):
            np.testing.assert_allclose(fitted(unit, train), expected, rtol=1e-5 if dtype == "float32" else 1e-9)


def test_a_penalty_too_large_beside_tiny_weights_is_theirs(dtype: str) -> None:
    X, y = problem("two classes")
    with pytest.raises(ValueError, match=rf"sample_weight: got weights .* 4e-309, .*alpha=0.0001 .*{dtype}"):
        MLPClassifier((3,), dtype=dtype).fit(X, y, sample_weight=np.full(40, 1e-310))
