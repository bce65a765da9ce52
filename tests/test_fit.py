"""The training loop: batches, random streams and weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cases.fitting import CLASSES, N_IN, M, Recorder, Sine, assert_same, inputs, labels, network

import gradproof as gp
from gradproof import _core
from gradproof.train import streams
from gradproof.train.step import Step

X, y = pytest.fixture(inputs, name="X"), pytest.fixture(labels, name="y")


class TestLoop:
    def test_it_is_the_plainest_loop(self, dtype: str, X: np.ndarray, y: np.ndarray):
        """Permute, cut, step, change the rate: written out, with the same numbers."""
        model, plain = network(dtype), network(dtype)
        optimizer, schedule = gp.Momentum(0.05), gp.schedules.InverseTime(0.5)
        history = model.fit(X, y, optimizer=optimizer, schedule=schedule, epochs=3, batch_size=16, seed=11)

        state = optimizer.init(plain.theta)
        step = Step(plain, X.astype(dtype), y, optimizer, state)
        expected: list[np.ndarray] = []
        for epoch in range(3):
            order = streams.order(11, epoch, M)
            rate = 0.05 / (1 + 0.5 * epoch)
            expected.append(step.run(order, 16, rate))
            assert history["learning_rate"][epoch] == rate
        assert_same(model, plain)
        assert history.batches == np.concatenate(expected).sum(axis=1).tolist()
        sizes = [16, 16, 16, 16, 16, 3]
        means = [np.average(losses, axis=0, weights=sizes) for losses in expected]
        np.testing.assert_allclose(history["data_loss"], [mean[0] for mean in means], rtol=1e-14)
        np.testing.assert_allclose(history["penalty"], [mean[1] for mean in means], rtol=1e-14)
        np.testing.assert_allclose(history["loss"], [mean.sum() for mean in means], rtol=1e-14)
        assert history["accuracy"][-1] == model.score(X, y)
        assert history.epochs == [0, 1, 2] and history.stopped == "finished" and history.message == ""

    def test_it_learns(self, dtype: str, X: np.ndarray, y: np.ndarray):
        model = network(dtype)
        history = model.fit(X, y, optimizer=gp.Adam(0.01), epochs=60, batch_size=16, validation_data=(X, y))
        assert history["loss"][-1] < 0.5 * history["loss"][0]
        assert history["val_accuracy"][-1] > 0.9

    @pytest.mark.parametrize("m, batch_size, expected", [(2000, None, 1), (2001, None, 32), (83, 20, 5), (83, 500, 1)])
    def test_number_of_batches(self, rng: np.random.Generator, m: int, batch_size: int | None, expected: int):
        """All rows up to 2000, else 64; no more than there are, without a word, as in Keras."""
        model = gp.Sequential([gp.Dense(1)], input_size=1, loss="mse")
        history = model.fit(rng.normal(size=(m, 1)), rng.normal(size=m), epochs=1, batch_size=batch_size)
        assert len(history.batches) == expected
        assert history.settings["batch_size"] == {1: m, 32: 64, 5: 20}[expected]

    def test_a_single_row_left_over_joins_its_neighbour_before_batch_normalization(self, rng: np.random.Generator):
        X, y = rng.normal(size=(33, N_IN)), rng.integers(0, CLASSES, 33)
        model = network()
        history = model.fit(X, y, epochs=2, batch_size=16, callbacks=[recorder := Recorder()])
        again = network()
        assert again.fit(X, y, epochs=2, batch_size=16).batches == history.batches
        assert len(history.batches) == 4 and sum(call[0] == "on_batch_end" for call in recorder.calls) == 4
        assert_same(model, again)
        state = (optimizer := gp.Adam()).init(model.theta)
        plain = network()
        step = Step(plain, X, y, optimizer, state)
        for epoch in range(2):
            order = streams.order(0, epoch, 33)
            step.run(order[:16], 16)
            step.run(order[16:], 17)
        assert_same(model, plain)

        without = gp.Sequential([gp.Dense(CLASSES)], input_size=N_IN, loss="softmax_cross_entropy")
        assert len(without.fit(X, y, epochs=1, batch_size=16).batches) == 3

    def test_validation_is_the_loss_of_predicting(self, X: np.ndarray, y: np.ndarray):
        model = network(l2=0.0)
        history = model.fit(X[:60], y[:60], epochs=2, batch_size=16, validation_data=(X[60:], y[60:]))
        assert history["val_loss"][-1] == pytest.approx(model.loss(X[60:], y[60:], training=False), rel=1e-14)
        assert history["val_accuracy"][-1] == model.score(X[60:], y[60:])

    def test_regression_is_scored_by_r2(self, X: np.ndarray):
        model = gp.Sequential([gp.Dense(8), gp.Tanh(), gp.Dense(1)], input_size=N_IN, loss="mse")
        y = np.sin(X[:, 0])
        history = model.fit(X, y, epochs=3, validation_data=(X[:20], y[:20]))
        assert history["r2"][-1] == model.score(X, y) and history["val_r2"][-1] == model.score(X[:20], y[:20])
        assert "accuracy" not in history

    def test_a_large_training_set_is_scored_on_evenly_spaced_rows(self, rng: np.random.Generator):
        X, y = rng.normal(size=(5000, N_IN)), rng.integers(0, CLASSES, 5000)
        model = network()
        history = model.fit(X, y, epochs=1)
        rows = np.linspace(0, 4999, 2000).astype(int)
        assert history["accuracy"] == [model.score(X[rows], y[rows])]

    def test_a_second_call_goes_on_with_a_fresh_optimizer(self, X: np.ndarray, y: np.ndarray):
        model, plain = network(), network()
        for seed in (1, 2):
            model.fit(X, y, epochs=1, batch_size=16, seed=seed)
            optimizer = gp.Adam()
            Step(plain, X, y, optimizer, optimizer.init(plain.theta)).run(streams.order(seed, 0, M), 16)
        assert_same(model, plain)

    def test_no_epochs_give_an_empty_history(self, X: np.ndarray, y: np.ndarray):
        model = network()
        before = model.theta.copy()
        history = model.fit(X, y, epochs=0)
        np.testing.assert_array_equal(model.theta, before)
        assert len(history) == 0 and history.stopped == "finished" and history.best is None

    def test_a_rate_of_zero_changes_no_weights(self, X: np.ndarray, y: np.ndarray):
        model = network()
        before = model.theta.copy()
        model.fit(X, y, epochs=2, optimizer=gp.Adam(0.0))
        np.testing.assert_array_equal(model.theta, before)

    def test_frozen_tensors_stay(self, X: np.ndarray, y: np.ndarray):
        model = network()
        before = {name: view.copy() for name, view in model.parameters.items()}
        model.fit(X, y, epochs=2, frozen=("dense_0", "dense_1.b"), optimizer=gp.Adam(weight_decay=0.1))
        same = [name for name, view in model.parameters.items() if np.array_equal(view, before[name])]
        assert same == ["dense_0.W", "dense_1.b"]

    def test_a_python_layer(self, X: np.ndarray, y: np.ndarray):
        layers = [gp.Dense(7), Sine(), gp.Dense(CLASSES)]
        model = gp.Sequential(layers, input_size=N_IN, loss="softmax_cross_entropy", dtype="float64")
        history = model.fit(X, y, epochs=40, batch_size=16, optimizer=gp.Adam(0.02))
        assert history["accuracy"][-1] > 0.9
        assert "update_ratio" in history

    def test_the_monitor_sees_the_last_step(self, X: np.ndarray, y: np.ndarray):
        model = network()
        history = model.fit(X, y, epochs=1, batch_size=16, optimizer=gp.SGD(0.1))
        norm = float(np.linalg.norm(model.layout.view(model.gradient, "dense_0.W")))
        assert history["gradient_norm"]["dense_0.W"] == [pytest.approx(norm, rel=1e-12)]
        assert history["update_ratio"]["dense_0.W"][0] == pytest.approx(
            0.1
            * norm
            / np.linalg.norm(model.parameters["dense_0.W"] + 0.1 * model.layout.view(model.gradient, "dense_0.W"))
        )
        assert "update_ratio" not in network().fit(X, y, epochs=1, monitor=False)


class TestRandomStreams:
    def test_same_seed_same_result_for_any_number_of_threads(self, rng: np.random.Generator):
        X, y = rng.normal(size=(600, 40)), rng.integers(0, CLASSES, 600)
        results = []
        threads = _core.thread_count()
        try:
            for count in (1, 2, 5):
                _core.set_thread_count(count)
                model = network("float32", input_size=40)
                model.fit(X, y, epochs=2, batch_size=256)
                results.append(model)
        finally:
            _core.set_thread_count(threads)
        assert_same(results[0], results[1])
        assert_same(results[0], results[2])

    def test_another_seed_another_order(self, X: np.ndarray, y: np.ndarray):
        a, b, c = network(), network(), network()
        histories = [
            model.fit(X, y, epochs=1, batch_size=16, seed=seed) for model, seed in ((a, 0), (b, 1), (c, 2**64 - 1))
        ]
        assert histories[0].batches != histories[1].batches != histories[2].batches

    def test_without_shuffling_the_rows_keep_their_order(self, X: np.ndarray, y: np.ndarray):
        a, b = network(), network()
        a.fit(X, y, epochs=2, batch_size=16, shuffle=False, seed=0)
        b.fit(X, y, epochs=2, batch_size=16, shuffle=False, seed=1)
        assert_same(a, b)

    def test_every_epoch_has_its_own_permutation(self):
        orders = [streams.order(5, epoch, 50) for epoch in range(3)]
        assert all(sorted(order) == list(range(50)) for order in orders)
        assert not np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[1], orders[2])
        np.testing.assert_array_equal(orders[1], streams.order(5, 1, 50))

    def test_dropout_does_not_touch_order_or_initialization(self, X: np.ndarray, y: np.ndarray):
        with_, without = network(), network().without_dropout()
        np.testing.assert_array_equal(with_.theta, without.theta)
        without.fit(X, y, epochs=1, batch_size=16)
        np.testing.assert_array_equal(streams.order(0, 0, M), streams.order(0, 0, M))
        assert without.dropout_step == 6


class TestWeights:
    def test_whole_weights_are_repeated_rows(self, X: np.ndarray, y: np.ndarray, assert_close: Callable[..., None]):
        """In a full batch, without batch normalization and dropout."""
        counts = np.arange(M) % 3
        layers = [gp.Dense(7), gp.Tanh(), gp.Dense(CLASSES)]
        a = gp.Sequential(layers, input_size=N_IN, loss="softmax_cross_entropy", dtype="float64")
        b = a.copy()
        left = a.fit(X, y, sample_weight=counts, epochs=5, optimizer=gp.SGD(0.1))
        right = b.fit(np.repeat(X, counts, axis=0), np.repeat(y, counts), epochs=5, optimizer=gp.SGD(0.1))
        np.testing.assert_allclose(a.theta, b.theta, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(left["loss"], right["loss"], rtol=1e-12)

    def test_classes(self, X: np.ndarray, y: np.ndarray):
        by_class = {0: 2.0, 2: 0.5}
        a, b, c = network(), network(), network()
        a.fit(X, y, class_weight=by_class, epochs=2, batch_size=16)
        b.fit(X, y, sample_weight=np.array([2.0, 1.0, 0.5])[y], epochs=2, batch_size=16)
        c.fit(X, y, epochs=2, batch_size=16)
        assert_same(a, b)
        assert not np.array_equal(a.theta, c.theta)

    def test_balanced(self, X: np.ndarray, y: np.ndarray):
        counts = np.bincount(y)
        a, b = network(), network()
        a.fit(X, y, class_weight="balanced", sample_weight=1 + np.arange(M) % 2, epochs=1)
        b.fit(X, y, sample_weight=(M / (3 * counts))[y] * (1 + np.arange(M) % 2), epochs=1)
        assert_same(a, b)

    @pytest.mark.parametrize("unit", [1e-310, 1e-40, 1e38, 1e307])
    def test_only_their_ratios_matter(self, X: np.ndarray, y: np.ndarray, dtype: str, unit: float):
        """Neither the sum nor float32 is too small for them."""
        weights = 1.0 + np.arange(M) % 4
        a, b, c = network(dtype), network(dtype), network(dtype)
        a.fit(X, y, sample_weight=weights, class_weight={0: 0.5, 1: 1.0, 2: 3.0}, epochs=2, batch_size=16)
        scaled = {0: 0.5 / unit, 1: 1.0 / unit, 2: 3.0 / unit} if 1 / unit < 1e300 else {0: 0.5, 1: 1.0, 2: 3.0}
        b.fit(X, y, sample_weight=unit * weights, class_weight=scaled, epochs=2, batch_size=16)
        np.testing.assert_allclose(b.theta, a.theta, rtol=1e-4 if dtype == "float32" else 1e-9, atol=1e-6)
        c.fit(X, y, sample_weight=weights, epochs=2, batch_size=16)
        assert not np.allclose(c.theta, a.theta, atol=1e-6)

    def test_balanced_classes_of_a_single_output(self, X: np.ndarray):
        y = (X[:, 0] > 0.8).astype(float)
        build = lambda: gp.Sequential([gp.Dense(1)], input_size=N_IN, loss="binary_cross_entropy", dtype="float64")  # noqa: E731
        a, b = build(), build()
        a.fit(X, y, class_weight="balanced", epochs=2)
        b.fit(X, y, sample_weight=(M / (2 * np.bincount(y.astype(int))))[y.astype(int)], epochs=2)
        assert_same(a, b)

    def test_the_mean_over_an_epoch_is_weighted(self, X: np.ndarray, y: np.ndarray):
        weights = 1 + np.arange(M) % 4
        history = network(l2=0.0).fit(X, y, sample_weight=weights, epochs=1, batch_size=16)
        order = streams.order(0, 0, M)
        sums = np.add.reduceat(weights[order], np.arange(0, M, 16))
        assert history["data_loss"][0] == pytest.approx(np.average(history.batches, weights=sums), rel=1e-13)


def test_the_training_set_need_not_be_scored() -> None:
    X, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    models = [gp.Sequential([gp.Dense(3)], input_size=4, loss="hinge") for _ in range(2)]
    scored, bare = (
        model.fit(X, y, epochs=2, validation_data=(X, y), progress=False, score=score)
        for model, score in zip(models, (True, False), strict=True)
    )
    assert "accuracy" in scored and "accuracy" not in bare
    assert bare["val_accuracy"] == scored["val_accuracy"] == scored["accuracy"]
    np.testing.assert_array_equal(models[0].theta, models[1].theta)
    with pytest.raises(TypeError, match="score: got 1"):
        models[0].fit(X, y, score=1)
