"""The learning-rate finder: on a bowl, where the right rate is known, and on digits; the model stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof as gp
from gradproof.train.finder import RateSweep, _longest_descent


def regression(dtype, **options):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 5)).astype(dtype)
    y = ((X @ np.arange(1.0, 6.0) + 0.1 * rng.normal(size=200))[:, None]).astype(dtype)
    return gp.Sequential([gp.Dense(1, **options)], input_size=5, loss="mse", dtype=dtype), X, y


def classification(dtype="float64"):
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(300, 8)).astype(dtype), rng.integers(0, 3, 300)
    X[np.arange(300), y] += 3
    layers = [gp.Dropout(0.9), gp.Dense(16), gp.BatchNorm(), gp.ReLU(), gp.Dense(3)]
    return gp.Sequential(layers, input_size=8, loss="softmax_cross_entropy", dtype=dtype, seed=3), X, y


def test_a_bowl_diverges_where_theory_says(dtype):
    """Gradient descent on a quadratic of curvature h converges for rates below 2 / h."""
    model, X, y = regression(dtype)
    design = np.hstack([X, np.ones((200, 1))]).astype("float64")
    limit = 2 / np.linalg.eigvalsh(2 / 200 * design.T @ design)[-1]
    sweep = gp.find_learning_rate(
        model, X, y, optimizer=gp.SGD(), lowest=1e-4, highest=1e3, steps=150, batch_size=200, smoothing=0
    )
    assert sweep.diverged
    growing = sweep.rates[np.flatnonzero(np.diff(sweep.losses) > 0)[0] + 1]
    assert 0.9 * limit < growing < 2 * limit
    assert sweep.rates[-1] < 100 * limit
    assert limit / 100 < sweep.suggestion < limit
    assert limit / 100 < sweep.steepest < limit


def test_every_loss_is_that_after_the_step_with_its_rate():
    model, X, y = regression("float64")
    sweep = gp.find_learning_rate(
        model, X, y, optimizer=gp.SGD(), lowest=1e-3, highest=1e-1, steps=3, batch_size=500, smoothing=0
    )
    twin, expected = model.copy(), []
    for rate in (1e-3, 1e-2, 1e-1):
        twin.theta[:] -= rate * twin.loss_and_gradient(X, y)[1]
        expected.append(twin.loss(X, y))
    np.testing.assert_allclose(sweep.rates, [1e-3, 1e-2, 1e-1], rtol=1e-12)
    np.testing.assert_allclose(sweep.losses, expected, rtol=1e-10)
    np.testing.assert_array_equal(sweep.smoothed, sweep.losses)


@pytest.mark.parametrize("optimizer", [gp.SGD(), gp.Momentum(), gp.RMSprop(), gp.Adam(), None], ids=repr)
def test_what_is_suggested_trains(optimizer):
    model, X, y = classification()
    sweep = gp.find_learning_rate(model, X, y, optimizer=optimizer, smoothing=0.8)
    rule, trained = optimizer or gp.Adam(), model.copy()
    state = rule.init(trained.theta)
    before = trained.loss(X, y)
    for _ in range(60):
        rule.update(trained.theta, trained.loss_and_gradient(X, y)[1], state, sweep.suggestion)
    assert trained.loss(X, y) < 0.5 * before


def test_the_model_and_the_data_stay_as_they_are(dtype):
    model, X, y = classification(dtype)
    twin, X0, y0 = model.copy(), X.copy(), y.copy()
    gp.find_learning_rate(model, X, y, steps=20)
    np.testing.assert_array_equal(model.theta, twin.theta)
    np.testing.assert_array_equal(model.gradient, twin.gradient)
    np.testing.assert_array_equal(model.buffers, twin.buffers)
    assert model.dropout_step == twin.dropout_step
    np.testing.assert_array_equal(X, X0)
    np.testing.assert_array_equal(y, y0)


def test_the_seed_is_all_that_is_random():
    model, X, y = classification()
    first, again, other = (gp.find_learning_rate(model, X, y, steps=20, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.losses, again.losses)
    assert (first.losses != other.losses).any()


def test_a_loss_that_leaves_the_numbers_ends_the_sweep():
    model, X, y = regression("float32")
    sweep = gp.find_learning_rate(model, X, y, optimizer=gp.SGD(), lowest=1e20, highest=1e38, steps=10, batch_size=500)
    assert sweep.diverged
    assert len(sweep.rates) == len(sweep.losses) < 10
    assert np.isfinite(sweep.losses).all()
    assert sweep.suggestion is sweep.steepest is sweep.minimum is None
    assert str(sweep)


def test_a_loss_that_never_falls_suggests_nothing():
    rates = np.geomspace(1e-3, 1, 5)
    sweep = RateSweep(rates, np.array([1.0, 1.1, 1.2, 1.3, 1.5]), 0.0, True)
    assert sweep.suggestion is sweep.steepest is sweep.minimum is None
    assert "none: the loss does not fall" in str(sweep)


def test_the_suggestions_by_hand():
    rates = 10.0 ** np.arange(-6, 2)
    sweep = RateSweep(rates, np.array([2.0, 2.0, 1.9, 1.5, 0.7, 0.6, 3.0, 9.0]), 0.0, True)
    assert sweep.valley == rates[4]  # two thirds into 2.0 1.9 1.5 0.7 0.6
    assert sweep.steepest == rates[3]  # from 1.5 to 0.7
    assert sweep.minimum == rates[5] / 10
    assert sweep.suggestion == sweep.valley
    assert str(sweep) == (
        "learning rates: 8 tried from 1e-06 to 10, until the loss grew\n"
        "  valley    1.00e-02\n  steepest  1.00e-03\n  minimum   1.00e-02\n  suggestion: 1.00e-02"
    )


def test_the_longest_descent_leaves_noise_out():
    for values, expected in (
        ([], []),
        ([1], [0]),
        ([1, 2, 3], [0]),
        ([1, 1, 1], [0]),
        ([3, 2, 1], [0, 1, 2]),
        ([5, 6, 4, 4.5, 3, 9, 2], [0, 2, 4, 6]),
        ([1, 9, 8, 2, 7, 6], [1, 2, 4, 5]),
    ):
        assert _longest_descent(np.array(values, float)) == expected


def test_the_plot_shows_rates_and_suggestion():
    plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    plt.switch_backend("Agg")
    sweep = RateSweep(10.0 ** np.arange(-3, 0), np.array([3.0, 2.0, 1.0]), 0.5, False)
    ax = sweep.plot()
    assert ax.get_xscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), sweep.losses)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), sweep.smoothed)
    assert ax.lines[2].get_xdata()[0] == sweep.suggestion
    assert sweep.plot(ax) is ax
    plt.close("all")


REFUSED = {
    "lowest": ({"lowest": 0}, ValueError, "lowest: got 0, expected a finite number > 0"),
    "highest": ({"lowest": 1, "highest": 0.1}, ValueError, "highest: got 0.1, expected a finite number > 1"),
    "nan": ({"highest": float("nan")}, ValueError, "highest: got nan"),
    "steps": ({"steps": 1}, ValueError, "steps: got 1, expected a whole number from 2"),
    "batch_size": ({"batch_size": 0}, ValueError, "batch_size: got 0"),
    "smoothing": ({"smoothing": 1}, ValueError, "smoothing: got 1"),
    "seed": ({"seed": -1}, ValueError, "seed: got -1"),
    "optimizer": ({"optimizer": 0.1}, TypeError, "optimizer: got 0.1, expected an optimizer"),
    "X": ({"X": np.ones((3, 2))}, ValueError, "X: got 2 features, expected 5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arguments_are_named(case):
    options, error, message = REFUSED[case]
    model, X, y = regression("float64")
    with pytest.raises(error, match=message):
        gp.find_learning_rate(model, **({"X": X, "y": y} | options))
