"""Every way in which a run of training can end, and what it says meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest
from cases.fitting import CLASSES, N_IN, M, Recorder, assert_same, inputs, labels, network

import gradproof as gp
from gradproof.train import streams
from gradproof.train.step import Step

X, y = pytest.fixture(inputs, name="X"), pytest.fixture(labels, name="y")


class TestEnds:
    def test_a_loss_that_is_not_finite(self, dtype: str, X: np.ndarray, y: np.ndarray):
        """It is noticed before it does harm: the weights are those of the steps before."""
        model, plain = network(dtype), network(dtype)
        huge = lambda epoch: 1.0 if epoch < 2 else {"float32": 1e30, "float64": 1e250}[dtype]  # noqa: E731
        history = model.fit(X, y, optimizer=gp.SGD(0.1), schedule=huge, epochs=5, batch_size=16)
        assert history.stopped == "diverged" and "epoch 2, batch" in history.message
        assert history.epochs == [0, 1]
        assert np.isfinite(model.theta).all() and np.isfinite(model.buffers).all()
        steps = len(history.batches) - 1 if not np.isfinite(history.batches[-1]) else len(history.batches)

        optimizer = gp.SGD(0.1)
        step = Step(plain, X.astype(dtype), y, optimizer, optimizer.init(plain.theta))
        for batch in range(steps):
            epoch, start = batch // 6, batch % 6 * 16
            before = plain.theta.copy()
            step.run(streams.order(0, epoch, M)[start : start + 16], 16, 0.1 * huge(epoch))
            if not np.isfinite(plain.theta).all():
                plain.theta[...] = before
        np.testing.assert_array_equal(model.theta, plain.theta)

    @pytest.mark.parametrize("hooks", [False, True])
    @pytest.mark.parametrize("bad", [2, 5])
    def test_weights_that_are_not_finite_are_taken_back(self, X: np.ndarray, y: np.ndarray, bad: int, hooks: bool):
        """A finite loss with a step that overflows: also when it is the last of all."""

        class Overflows(gp.SGD):
            def update(self, theta, gradient, state, learning_rate=None, **runs):  # type: ignore[no-untyped-def]
                super().update(theta, gradient, state, learning_rate, **runs)
                if state.step == bad + 1:
                    theta[3] = np.inf

        model, plain = network(), network()
        callbacks = [Recorder()] if hooks else []
        history = model.fit(X, y, optimizer=Overflows(0.1), epochs=1, batch_size=16, callbacks=callbacks)
        assert history.stopped == "diverged"
        assert f"epoch 0, batch {bad}" in history.message and "taken back" in history.message
        assert len(history.batches) == bad + 1
        optimizer = gp.SGD(0.1)
        step = Step(plain, X, y, optimizer, optimizer.init(plain.theta))
        step.run(streams.order(0, 0, M)[: 16 * bad], 16)
        assert_same(model, plain)

    def test_a_gradient_of_a_loss_that_is_not_finite_is_not_shown(self, X: np.ndarray, y: np.ndarray):
        class Looks(gp.callbacks.Callback):
            def on_gradient(self, model: Any, run: Any) -> None:
                assert np.isfinite(run.data_loss)

        optimizer, schedule = gp.SGD(0.1), lambda epoch: 1e308 if epoch else 1.0
        history = network().fit(X, y, optimizer=optimizer, schedule=schedule, epochs=9, callbacks=[Looks()])
        assert history.stopped == "diverged"

    def test_interrupted_by_a_callback(self, X: np.ndarray, y: np.ndarray):
        class Interrupts(gp.callbacks.Callback):
            ended = False

            def on_epoch_begin(self, model: Any, run: Any) -> None:
                if run.epoch == 2:
                    raise KeyboardInterrupt

            def on_train_end(self, model: Any, run: Any) -> None:
                self.ended = True

        model, plain = network(), network()
        history = model.fit(X, y, epochs=9, callbacks=[callback := Interrupts()])
        plain.fit(X, y, epochs=2)
        assert history.stopped == "interrupted" and "epoch 2" in history.message
        assert history.epochs == [0, 1] and callback.ended
        assert_same(model, plain)

    @pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="no signals")
    def test_interrupted_by_the_keyboard(self, rng: np.random.Generator):
        """A real SIGINT in the middle of an epoch: the run ends between two steps, and the handler is as it was."""
        X, y = rng.normal(size=(4000, N_IN)), rng.integers(0, CLASSES, 4000)
        model, plain = network(), network()

        class Sends(gp.callbacks.Callback):
            def on_gradient(self, model: Any, run: Any) -> None:
                if (run.epoch, run.batch) == (1, 7):
                    os.kill(os.getpid(), signal.SIGINT)

        history = model.fit(X, y, epochs=50, batch_size=50, callbacks=[Sends()])
        assert history.stopped == "interrupted"
        assert history.epochs == [0] and len(history.batches) == 80 + 8
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        optimizer = gp.Adam()
        step = Step(plain, X, y, optimizer, optimizer.init(plain.theta))
        for epoch in range(2):
            step.run(streams.order(0, epoch, 4000)[: (4000, 400)[epoch]], 50)
        assert_same(model, plain)

    def test_the_keyboard_reaches_compiled_steps(self, rng: np.random.Generator):
        X, y = rng.normal(size=(4000, N_IN)), rng.integers(0, CLASSES, 4000)
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        history = network().fit(X, y, epochs=10**9, batch_size=10, monitor=False)
        timer.join()
        assert history.stopped == "interrupted" and len(history.batches) > 0

    def test_the_keyboard_at_the_very_end(self, X: np.ndarray, y: np.ndarray):
        class Sends(gp.callbacks.Callback):
            def on_train_end(self, model: Any, run: Any) -> None:
                os.kill(os.getpid(), signal.SIGINT)

        history = network().fit(X, y, epochs=2, callbacks=[Sends()])
        assert history.stopped == "interrupted" and history.epochs == [0, 1]

    def test_a_second_one_comes_through_at_once(self, X: np.ndarray, y: np.ndarray):
        class Sends(gp.callbacks.Callback):
            after = 0

            def on_epoch_end(self, model: Any, run: Any) -> None:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                self.after += 1

        history = network().fit(X, y, epochs=2, callbacks=[callback := Sends()])
        assert history.stopped == "interrupted" and callback.after == 0
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_outside_of_the_main_thread(self, X: np.ndarray, y: np.ndarray):
        model, plain = network(), network()
        thread = threading.Thread(target=lambda: model.fit(X, y, epochs=2))
        thread.start()
        thread.join()
        plain.fit(X, y, epochs=2)
        assert_same(model, plain)

    def test_an_error_in_a_callback_comes_through(self, X: np.ndarray, y: np.ndarray):
        class Fails(gp.callbacks.Callback):
            def on_epoch_end(self, model: Any, run: Any) -> None:
                raise RuntimeError("out of order")

        model, plain = network(), network()
        with pytest.raises(RuntimeError, match="out of order"):
            model.fit(X, y, epochs=2, callbacks=[Fails()])
        plain.fit(X, y, epochs=1)
        assert_same(model, plain)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, "high", None])
    def test_a_schedule_that_gives_nonsense(self, X: np.ndarray, y: np.ndarray, value: Any):
        model, plain = network(), network()
        with pytest.raises(ValueError, match=r"schedule: .* in epoch 2"):
            model.fit(X, y, epochs=4, schedule=lambda epoch: value if epoch == 2 else 0.5)
        plain.fit(X, y, epochs=2, schedule=lambda epoch: 0.5)
        assert_same(model, plain)

    def test_a_rate_that_changes_with_every_batch(self, X: np.ndarray, y: np.ndarray):
        model, plain = network(), network()
        schedule = gp.schedules.OneCycle(2)
        history = model.fit(X, y, epochs=2, batch_size=16, schedule=schedule, optimizer=gp.SGD(0.1))
        optimizer = gp.SGD(0.1)
        step = Step(plain, X, y, optimizer, optimizer.init(plain.theta))
        for epoch in range(2):
            order = streams.order(0, epoch, M)
            for batch in range(6):
                step.run(order[16 * batch : 16 * batch + 16], 16, 0.1 * schedule(epoch + batch / 6))
        assert_same(model, plain)
        assert history["learning_rate"] == [0.1 * schedule(0), 0.1 * schedule(1)]


class TestProgress:
    def test_a_callable_hears_of_batches(self, X: np.ndarray, y: np.ndarray):
        heard: list[tuple[int, int]] = []
        network().fit(X, y, epochs=3, batch_size=16, progress=lambda done, total: heard.append((done, total)))
        assert heard[-1] == (18, 18) and heard == sorted(heard)

    def test_a_bar(self, X: np.ndarray, y: np.ndarray, capsys: pytest.CaptureFixture[str]):
        network().fit(X, y, epochs=3, batch_size=16, progress=True)
        assert "Trained 3 of 3 epochs" in capsys.readouterr().err
        network().fit(X, y, epochs=3, batch_size=16, optimizer=gp.SGD(1e40), progress=True)
        assert "diverged in epoch 0" in capsys.readouterr().err

    def test_silence(self, X: np.ndarray, y: np.ndarray, capsys: pytest.CaptureFixture[str]):
        network().fit(X, y, epochs=3, progress=False)
        network().fit(X, y, epochs=3)
        assert capsys.readouterr() == ("", "")
