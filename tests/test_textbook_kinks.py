"""check_model with the lectures' schemes at exact kinks: what quotients cannot see, the recorded branches tell."""

from __future__ import annotations

import numpy as np
import pytest

import gradproof as gp

NETWORKS = {
    "relu": [gp.Dense(5, init="zeros"), gp.ReLU(), gp.Dense(3)],
    "leaky": [gp.Dense(5, init="zeros"), gp.LeakyReLU(0.1), gp.Dense(3)],
    "maxout": [gp.Maxout(5, 3, init="zeros"), gp.Dense(3)],
    "second layer": [gp.Dense(6), gp.Tanh(), gp.Dense(5, init="zeros"), gp.ReLU(), gp.Dense(3)],
}


@pytest.mark.parametrize("loss", ["hinge", "softmax_cross_entropy"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scheme", ["central", "forward"])
@pytest.mark.parametrize("step", [None, 1e-4])
def test_where_kinks_of_several_rows_cancel(step, scheme, name, loss):
    for seed in range(3):
        model = gp.Sequential(NETWORKS[name], 4, loss, dtype="float64", seed=seed)
        X, y = np.random.default_rng(seed).normal(size=(6, 4)), np.arange(6) % 2
        report = gp.check_model(model, X, y, scheme=scheme, step=step)
        assert report.ok and any(tensor.kinks for tensor in report.tensors.values())
        gradient = model.loss_and_gradient(X, y)[1]
        gradient[-1] += 0.01
        assert gp.check_model(model, X, y, scheme=scheme, step=step, gradient=gradient).verdict == "fail"
        gradient = model.loss_and_gradient(X, y)[1]
        gradient[0] = 5.0  # beyond all branches
        assert gp.check_model(model, X, y, scheme=scheme, step=step, gradient=gradient).verdict == "fail"
