"""Ctrl-C during check_model: at once, and with what is known."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof.check import portions, structured


class Interrupted(gp.Layer):
    """The identity, during one of whose calls Ctrl-C is pressed."""

    row_independent = True
    calls, at = 0, 0

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        Interrupted.calls += 1
        if Interrupted.calls == Interrupted.at:
            signal.raise_signal(signal.SIGINT)
        return x.copy(), None

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return dy, {}


def interrupt_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def assert_partial(report: gp.GradientReport) -> None:
    assert report.verdict == "inconclusive"
    assert 0 < report.checked < report.size
    assert report.checked == report.matched + sum(tensor.kinks for tensor in report.tensors.values())
    assert any("interrupted" in note for note in report.notes)
    for tensor in report.tensors.values():
        assert tensor.numeric is not None and np.array_equal(np.isnan(tensor.numeric), tensor.status == 0)


@pytest.mark.skipif(os.name == "nt", reason="no signals to a process of its own")
@pytest.mark.parametrize("scheme", ["difference", "tangent", "central"])
def test_one_pass_of_the_core_ends_at_once_with_what_it_has(scheme, monkeypatch):
    rng, timers, run = np.random.default_rng(0), [], structured._core.structured_pass

    def watched(*arguments):
        if not timers:
            timers.append(interrupt_after(0.2))
        run(*arguments)

    model = gp.Sequential([gp.Dense(1000), gp.Tanh(), gp.Dense(10)], 1000, "mse", seed=1)
    X, y = rng.normal(size=(300, 1000)), rng.normal(size=(300, 10))
    assert sum(portions._costs(structured.Point(model, X, y))) < portions.LONG
    monkeypatch.setattr(structured._core, "structured_pass", watched)
    report = gp.check_model(model, X, y, scheme=scheme)
    timers[0].join()
    if scheme == "central":  # four passes, of which the first was not through
        assert report.verdict == "inconclusive" and any("interrupted" in note for note in report.notes)
    else:
        assert_partial(report)


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_parameters_in_front_of_python_layers(share, monkeypatch):
    model = gp.Sequential([gp.Dense(60), Interrupted(), gp.Dense(3)], 60, "softmax_cross_entropy", dtype="float64")
    X, y = np.random.default_rng(0).normal(size=(4, 60)), np.arange(4) % 3
    monkeypatch.setattr(Interrupted, "calls", 0)
    assert gp.check_model(model, X, y, nearby=False).ok
    monkeypatch.setattr(Interrupted, "at", int((1 + share) * Interrupted.calls))
    assert_partial(gp.check_model(model, X, y))
