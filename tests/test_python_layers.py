"""check_model of networks with layers written in Python, at kinks and beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases.python_layers import LEAKY, Pooling, Rectifier, batch, network

import gradproof as gp


@pytest.mark.parametrize("seed", range(3))
def test_a_row_at_a_kink_does_not_blind_its_tensor(seed):
    X, y = batch(seed, zero_row=True)
    model = network([gp.Dense(5), Rectifier(), gp.Dense(3)], seed=seed)
    gradient = model.loss_and_gradient(X, y)[1]
    report = gp.check_model(model, X, y, gradient=gradient)
    assert report.ok and report.tensors["dense_0.b"].kinks
    bias = model.layout["dense_0.b"]
    gradient[bias.offset : bias.stop] *= 1.3
    report = gp.check_model(model, X, y, gradient=gradient)
    assert report.verdict == "fail" and report.culprits == ["dense_0.b"]


@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_any_subgradient_is_right_where_all_rows_tie(at_zero, seed, dtype):
    report = gp.check_model(network([gp.Dense(5, init="zeros"), Rectifier(at_zero), gp.Dense(3)], dtype), *batch(seed))
    assert report.ok and report.tensors["dense_0.W"].kinks


@pytest.mark.parametrize("at_zero", [-5.0, 1.5])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_no_subgradient_is_a_mismatch_at_the_kink(at_zero, seed, dtype):
    report = gp.check_model(network([gp.Dense(5, init="zeros"), Rectifier(at_zero), gp.Dense(3)], dtype), *batch(seed))
    assert report.verdict == "fail"
    assert report.tensors["dense_0.W"].worst(1)[0].status == "kink-mismatch"


@pytest.mark.parametrize(("at_zero", "verdict"), [(-0.4, "fail"), (-0.01, "fail"), (0.0, "pass"), (0.4, "pass")])
def test_ties_one_behind_another_are_not_taken_for_more_than_they_are(at_zero, verdict, dtype):
    """Both slopes are between 0 and 1, and so is their product."""
    model = network([gp.Dense(1), Rectifier(at_zero), gp.Dense(1), Rectifier(1.0), gp.Dense(3)], dtype)
    assert gp.check_model(model, np.zeros((1, 4)), [1], nearby=False).verdict == verdict


class Shared(gp.Layer):
    """The largest of several; equals share what flows back, or the second of them gets it."""

    row_independent = True

    def __init__(self, of: int, second: bool) -> None:
        self.of, self.second = of, second

    def output_size(self, n_in: int) -> int:
        return n_in // self.of

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        groups = x.reshape(len(x), -1, self.of)
        largest = groups.max(axis=2)
        equals = groups == largest[..., None]
        seconds = equals & (np.cumsum(equals, axis=2) == 2)
        return largest, np.where(self.second & seconds.any(axis=2, keepdims=True), seconds, equals)

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return (dy[..., None] * cache / cache.sum(axis=2, keepdims=True)).reshape(len(dy), -1).astype(dy.dtype), {}


@pytest.mark.parametrize("of", [2, 3, 4])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("second", [False, True])
def test_equals_of_any_number_may_share(second, of, seed, dtype):
    for between in ([], [LEAKY]):
        model = network([gp.Dense(2 * of), *between, Shared(of, second), gp.Dense(3)], dtype, seed)
        report = gp.check_model(model, *batch(seed, zero_row=True))
        assert report.ok, report


DEEP = [
    [gp.Dense(5), LEAKY, gp.Dense(6), LEAKY, gp.Dense(3)],
    [gp.Dense(5), gp.LeakyReLU(0.1), gp.Dense(6), LEAKY, gp.Dense(3)],
    [gp.Dense(5), gp.LeakyReLU(0.2), gp.Dense(6), Rectifier(1.0), gp.Dense(5), LEAKY, gp.Dense(3)],
    [gp.Dense(5), LEAKY, gp.Dense(6), gp.Maxout(4, 2, init="zeros"), Rectifier(), gp.Dense(3)],
    [gp.Dense(5), LEAKY, gp.Dense(6), Pooling(), gp.Dense(3)],
    [gp.Dense(5), LEAKY, gp.Dense(6), Pooling(last=True), LEAKY, gp.Dense(3)],
]


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "hinge"])
@pytest.mark.parametrize("layers", DEEP)
def test_branches_that_no_single_parameter_takes_together_are_right(layers, loss, dtype):
    for seed in range(3):  # one row of zeros: every maximum stands at a tie, layer behind layer
        report = gp.check_model(network(layers, dtype, seed, loss), *batch(seed, zero_row=True))
        assert report.ok, report


@pytest.mark.parametrize("distance", [0.0, 1e-9, -1e-9, 1e-10, -1e-10])
@pytest.mark.parametrize("entry", ["dense_0.b", "dense_0.W", "dense_1.W"])
def test_a_millionth_in_one_entry_is_found_at_and_beside_kinks(distance, entry):
    X, y = batch(3, zero_row=True)
    model = network([gp.Dense(5), Rectifier(), gp.Dense(3)])
    model.parameters["dense_0.b"][...] = distance
    gradient = model.loss_and_gradient(X, y)[1]
    report = gp.check_model(model, X, y, gradient=gradient)
    assert report.ok and (distance == 0 or not any(tensor.kinks for tensor in report.tensors.values()))
    own = model.layout[entry]
    for factor in (1 - 1e-6, 1 + 1e-6):
        wrong = gradient.copy()
        at = own.offset + int(np.argmax(np.abs(gradient[own.offset : own.stop])))
        wrong[at] *= factor
        report = gp.check_model(model, X, y, gradient=wrong)
        if distance == 0 and entry == "dense_0.b" and report.ok:  # another subgradient: right
            status = report.tensors[entry].status
            assert status is not None and status.ravel()[at - own.offset] == gp.check.tensor_report.Status.KINK
            continue
        assert report.verdict == "fail" and report.culprits == [entry]
        assert report.tensors[entry].mismatched == 1


@pytest.mark.parametrize("distance", [10.0**-k for k in range(2, 17)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_right_gradients_beside_kinks_pass(sign, distance, dtype):
    for seed in range(3):
        X, y = batch(seed, zero_row=True)
        model = network([gp.Dense(5), Rectifier(), gp.Dense(6), LEAKY, gp.Dense(3)], dtype, seed)
        model.parameters["dense_0.b"][...] = sign * distance
        model.parameters["dense_1.b"][...] = distance
        report = gp.check_model(model, X, y)
        assert report.ok, report


class Clipped(gp.Layer):
    """``x`` between -1 and 1; beyond `reach` from there, or within it where that is negative, the derivative is 0."""

    row_independent = True

    def __init__(self, reach: float = 0.0) -> None:
        self.reach = reach

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        return np.clip(x, -1, 1), x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return dy * (np.abs(cache) < 1 + self.reach), {}


def clipping(distance: float, reach: float = 0.0) -> tuple[Any, np.ndarray, np.ndarray]:
    """Where one row stands, by turns, at -1 and at 1, inside of the kinks and beyond."""
    X, y = batch(4, zero_row=True)
    model = network([gp.Dense(4), Clipped(reach), gp.Dense(5), LEAKY, gp.Dense(3)], seed=4)
    model.parameters["dense_0.b"][...] = np.array([1 + distance, -1 - distance, 1 - distance, distance - 1])
    return model, X, y


@pytest.mark.parametrize("distance", [0.0, *(10.0 ** -(k / 2) for k in range(6, 33))])
def test_right_gradients_beside_kinks_that_are_not_at_zero_pass(distance):
    report = gp.check_model(*clipping(distance))
    assert report.ok, report


@pytest.mark.parametrize("distance", [1e-4, 3e-5, 1e-5, 1e-6])
def test_a_kink_is_no_noise_of_what_is_flat_beside_it(distance):
    report = gp.check_model(*clipping(distance), nearby=False)
    assert report.ok
    for tensor in report.tensors.values():
        assert np.max(tensor.uncertainty) < 1e-8 * np.max(np.abs(tensor.analytic))


@pytest.mark.parametrize("distance", [10.0 ** -(k / 2) for k in range(6, 25)])
@pytest.mark.parametrize("side", [-2, 2])
def test_the_branch_beyond_a_kink_is_wrong_however_near(side, distance):
    report = gp.check_model(*clipping(distance, side * distance), nearby=False)
    assert report.verdict == "fail" and report.culprits


@pytest.mark.parametrize("distance", [10.0 ** -(k / 2) for k in range(18, 30)])
def test_a_thousandth_too_much_is_found_however_near_the_kinks(distance):
    """Rounding of the gradient is seen between points beside this one; the kinks between these are no rounding."""
    for wrong, verdict in ((1.0, "pass"), (1.001, "fail")):
        for sign in (-1, 1):
            X, y = batch(4)
            model = network([gp.Dense(4), Rectifier(0.1, 0.1, wrong), gp.Dense(5), LEAKY, gp.Dense(3)], seed=4)
            W, b = model.parameters["dense_0.W"].copy(), model.parameters["dense_0.b"]
            b[...] = sign * distance * np.array([1, 2, 3, 4]) - gp.kernels.dense_forward(X, W, np.zeros(4))[0]
            assert gp.check_model(model, X, y, nearby=False).verdict == verdict


class Beyond(Rectifier):
    """``max(x, 0)`` whose backward takes small positive numbers for negative."""

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return dy * (cache > 1e-3), {}


@pytest.mark.parametrize("distance", [10.0 ** -(k / 2) for k in range(10, 32)])
def test_a_number_that_is_known_to_the_last_digit_is_on_one_side_of_zero(distance, dtype):
    """A bias alone, without any rounding: of other values in the layer its own size is no matter."""
    X, y = batch(4, zero_row=True)
    X[1:] *= 10
    model = network([gp.Dense(4), Beyond(), gp.Dense(3)], dtype, seed=4)
    model.parameters["dense_0.b"][...] = distance
    report = gp.check_model(model, X, y, nearby=False)
    assert report.verdict == "fail"
    assert report.tensors["dense_0.b"].mismatched == 4


# ---- curved and flat ----
@pytest.mark.parametrize("size", [2.0, 4.0, 8.0, 16.0])
@pytest.mark.parametrize("seed", range(4))
def test_rows_that_are_nearly_certain_are_right(size, seed):
    """Their loss is a stair of the last digit of the scores: flat in between, which is no slope."""
    X, _ = batch(seed)
    model = network([gp.Dense(5), LEAKY, gp.Dense(3)], seed=seed)
    model.parameters["dense_1.W"][...] *= size
    report = gp.check_model(model, X, np.argmax(model.forward(X), axis=1))
    assert report.ok, report


class Normalized(gp.Layer):
    """Rows of mean 0 and variance 1."""

    row_independent = True

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        c = x - x.mean(axis=1, keepdims=True)
        sd = np.sqrt(np.mean(c * c, axis=1, keepdims=True) + 1e-3)
        return c / sd, (c / sd, sd)

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        y, sd = cache
        e = dy / sd
        return e - e.mean(axis=1, keepdims=True) - y * np.mean(e * y, axis=1, keepdims=True), {}


@pytest.mark.parametrize("seed", [1, 3, 12])
def test_a_millionth_is_seen_through_curved_layers_and_means_over_the_batch(seed):
    X, y = batch(seed)
    hidden = [layer for n in (5, 6) for layer in (gp.Dense(n), Normalized(), gp.BatchNorm())]
    model = network([*hidden, gp.Dense(5), gp.BatchNorm(), LEAKY, gp.Dense(3)], seed=seed)
    report = gp.check_model(model, X, y, nearby=False)
    assert report.ok
    for tensor in report.tensors.values():
        size = np.abs(tensor.analytic)
        large = size > max(0.1 * np.max(size), 1e-8)
        assert np.max((tensor.uncertainty / np.maximum(size, 1e-300))[large], initial=0.0) < 1e-6


# ---- edges of a domain, buffers ----
class Logarithm(gp.Layer):
    """``log(x + edge)``; raises where there is none. It gives its one buffer for every shape, again and again."""

    def __init__(self, edge: float, factor: float = 1.0) -> None:
        self.edge, self.factor, self.buffers = edge, factor, {}

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        if np.any(x <= -self.edge):
            raise ValueError("no logarithm of negative numbers")
        out = self.buffers.setdefault((x.shape, x.dtype), np.empty_like(x))
        return np.log(x + self.edge, out=out), x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return self.factor * dy / (cache + self.edge), {}


@pytest.mark.parametrize("beyond", [1e-2, 1e-5])
def test_a_layer_that_raises_beside_the_point_is_at_the_edge_of_its_domain(beyond):
    X, y = batch(0)
    dense = gp.kernels.dense_forward(X, network([gp.Dense(4)], loss="mse").parameters["dense_0.W"].copy())
    for factor, verdict in ((1.0, "pass"), (1.001, "fail")):
        layer = Logarithm(beyond - float(dense.min()), factor)
        assert gp.check_model(network([gp.Dense(4), layer, gp.Dense(3)]), X, y).verdict == verdict
