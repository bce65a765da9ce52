"""check_model of networks with layers written in Python: kinks, arithmetic in float32, layers that write."""

from __future__ import annotations

import re
import traceback
from typing import Any

import numpy as np
import pytest

import gradproof as gp


class Rectifier(gp.Layer):
    """``max(x, 0)`` with a chosen derivative at 0, and one for negative numbers."""

    row_independent = True

    def __init__(self, at_zero: float = 0.0, slope: float = 0.0, factor: float = 1.0) -> None:
        self.at_zero, self.slope, self.factor = at_zero, slope, factor

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        return np.where(x > 0, x, self.slope * x), x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return self.factor * dy * np.where(cache == 0, self.at_zero, np.where(cache > 0, 1, self.slope)), {}


class Pooling(gp.Layer):
    """The largest of pairs; the first of equals, or the last."""

    row_independent = True

    def __init__(self, last: bool = False) -> None:
        self.last = last

    def output_size(self, n_in: int) -> int:
        return n_in // 2

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        pairs = x.reshape(len(x), -1, 2)
        first = pairs[..., 0] > pairs[..., 1] if self.last else pairs[..., 0] >= pairs[..., 1]
        return pairs.max(axis=2), np.stack([first, ~first], axis=2)

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return (dy[..., None] * cache).reshape(len(dy), -1), {}


class Square(gp.Layer):
    """``x²``, computed in float32 whatever comes."""

    row_independent = True

    def __init__(self, cast_input: bool = False, factor: float = 1.0) -> None:
        self.cast_input, self.factor = cast_input, factor

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        if self.cast_input:
            return np.square(x.astype(np.float32)), x
        return np.multiply(x, x, out=np.empty(x.shape, np.float32), casting="same_kind"), x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return self.factor * 2 * dy * cache, {}


class Creeping(gp.Layer):
    """``s x``; every forward pass writes into the model's own parameters."""

    def build(self, n_in: int, rng: Any) -> Any:
        return {"s": np.ones(n_in)}

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        owner = parameters["s"].base
        if owner is not None and owner.flags.writeable:
            owner.view(x.dtype)[...] *= 1.001
        return x * parameters["s"], x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return dy * parameters["s"], {"s": np.sum(dy * cache, axis=0)}


def batch(seed: int, zero_row: bool = False, m: int = 8) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(seed).normal(size=(m, 4))
    if zero_row:
        X[0] = 0
    return X, np.arange(m) % 3


def network(layers: list[Any], dtype: str = "float64", seed: int = 0, loss: str = "softmax_cross_entropy") -> Any:
    return gp.Sequential(layers, 4, loss, dtype=dtype, seed=seed)


# ---- kinks ----
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


LEAKY = Rectifier(0.1, 0.1)
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


# ---- float32 inside ----
@pytest.mark.parametrize("cast_input", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_layers_that_compute_in_float32_are_right(cast_input, seed, dtype):
    layers = [gp.Dense(4), Square(cast_input), gp.Dense(3)]
    report = gp.check_model(network(layers, dtype, seed), *batch(seed))
    assert report.ok, report
    assert not any(tensor.kinks for tensor in report.tensors.values())


@pytest.mark.parametrize("seed", range(4))
def test_mistakes_of_layers_that_compute_in_float32_are_found(seed, dtype):
    report = gp.check_model(network([gp.Dense(4), Square(factor=1.01), gp.Dense(3)], dtype, seed), *batch(seed))
    assert report.verdict == "fail"
    assert report.findings[0].cause == "scale"
    assert report.findings[0].evidence["factor"] == pytest.approx(1.01, rel=1e-3)


def test_only_what_goes_through_float32_is_measured_as_such():
    layers = [gp.Dense(4), Square(), gp.Dense(5), Rectifier(), gp.Dense(3)]
    report = gp.check_model(network(layers), *batch(1), nearby=False)
    noisy, clean = report.tensors["dense_0.W"], report.tensors["dense_2.W"]
    assert report.ok
    assert 1e-7 < np.max(noisy.uncertainty) < 1e-3
    assert np.max(clean.uncertainty) < 1e-4


class Narrowing(gp.Layer):
    """``s tanh(x)``; gives what it is told to back in another precision."""

    def __init__(self, what, dtype):
        self.what, self.dtype = what, dtype

    def build(self, n_in, rng):
        return {"s": np.ones(n_in)}

    def forward(self, x, parameters, training):
        return parameters["s"] * np.tanh(x), np.tanh(x)

    def backward(self, dy, cache, parameters):
        back = {"dx": dy * parameters["s"] * (1 - cache**2), "s": np.sum(dy * cache, axis=0)}
        back[self.what] = back[self.what].astype(self.dtype)
        return back["dx"], {"s": back["s"]}


@pytest.mark.parametrize(("what", "said"), [("dx", "dx"), ("s", "the gradient of s")])
@pytest.mark.parametrize(("came", "given"), [("float16", "float32"), ("float16", "float64"), ("float32", "float64")])
def test_a_layer_that_hands_back_fewer_digits_is_named(what, said, came, given):
    model = network([gp.Dense(5), Narrowing(what, came), gp.Dense(3)], given)
    report = gp.check_model(model, *batch(0))
    finding = report.findings[0]
    assert report.verdict == "fail" and finding.cause == "precision"
    assert f"backward of layers[1] (narrowing_0), a Narrowing, returned {said} as {came}, expected {given}" in str(
        finding.message
    )
    assert gp.check_model(network([gp.Dense(5), Narrowing(what, given), gp.Dense(3)], given), *batch(0)).ok


def blind(seed: int) -> tuple[Any, Any, Any]:
    """Batch norms of badly scaled values, in front of a Python layer: in float32 little is seen."""
    rng = np.random.default_rng(seed)
    layers = [layer for _ in range(3) for layer in (gp.Dense(5), gp.BatchNorm(epsilon=2.0**-10))]
    model = network([*layers, LEAKY, gp.Dense(3)], "float32", seed)
    for parameter in model.parameters.values():
        parameter *= np.float32(10.0 ** rng.integers(-3, 4))
    return model, rng.normal(size=(6, 4)), rng.integers(0, 3, 6)


@pytest.mark.parametrize("seed", [0, 3, 4])
def test_what_float32_does_not_see_in_front_of_a_python_layer_float64_settles(seed):
    model, X, y = blind(seed)
    report = gp.check_model(model, X, y, nearby=False)
    assert report.ok, report
    own = model.layout["batch_norm_0.gamma"]
    for factor in (0, 2):
        wrong = model.loss_and_gradient(X, y)[1].copy()
        wrong[own.offset : own.stop] *= factor
        assert gp.check_model(model, X, y, gradient=wrong).verdict == "fail"


class OnlySingle(Rectifier):
    """Its backward is not made for float64."""

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        if dy.dtype != np.float32:
            raise TypeError("float32 only")
        return super().backward(dy, cache, parameters)


def test_a_layer_that_is_not_made_for_float64_is_checked_without():
    model, X, y = blind(3)
    theta = model.theta.copy()
    layers = [*(node.layer for node in model.structure.nodes[:-2]), OnlySingle(0.1, 0.1), gp.Dense(3)]
    model = network(layers, "float32", 3)
    model.theta[...] = theta
    assert gp.check_model(model, X, y, nearby=False).verdict == "inconclusive"


# ---- writing ----
# ---- writing ----
def test_what_a_layer_writes_into_the_model_is_put_back(dtype):
    model = network([gp.Dense(4), Creeping(), gp.Dense(3)], dtype)
    before = model.theta.copy()
    report = gp.check_model(model, *batch(0))
    assert np.array_equal(model.theta, before)
    assert any(finding.cause == "state" for finding in report.findings)


class Writing(gp.Layer):
    """A layer that writes into its input, or into a parameter of its own on the way back."""

    def __init__(self, method, sized):
        self.method, self.sized = method, sized

    def output_size(self, n_in):
        return n_in if self.sized else None

    def build(self, n_in, rng):
        return {"s": np.ones(n_in)}

    def forward(self, x, parameters, training):
        if self.method == "forward":
            x[x <= 0] = 0
        return x * parameters["s"], x

    def backward(self, dy, cache, parameters):
        parameters["s"][...] *= 2
        return dy, {"s": np.sum(dy * cache, axis=0)}


@pytest.mark.parametrize(("method", "sized"), [("forward", False), ("forward", True), ("backward", True)])
def test_a_layer_that_writes_into_what_it_may_only_read_is_named(method, sized):
    def use():
        model = gp.Sequential([gp.Dense(4), Writing(method, sized)], 3, "mse", dtype="float64", seed=0)
        model.loss_and_gradient(np.ones((2, 3)), np.ones((2, 4)))

    with pytest.raises(ValueError, match=rf"writing_0: {method} writes into an array .* read-only\); work on a copy"):
        use()


# ---- raising ----
class Raising(gp.Layer):
    """``tanh``; one of its methods raises, or gives another shape."""

    def __init__(self, method):
        self.method = method

    def build(self, n_in, rng):
        return [][1] if self.method == "build" else {}

    def forward(self, x, parameters, training):
        if self.method == "forward" and len(x) > 2:  # not yet where its width is found out
            return {}["scale"]
        return (x[:, :2] if self.method == "shape" else np.tanh(x)), x

    def backward(self, dy, cache, parameters):
        return (1 / 0 if self.method == "backward" else dy / np.cosh(cache) ** 2), {}


@pytest.mark.parametrize(
    ("method", "error", "where"),
    [
        ("build", IndexError, r"layers\[1\] \(raising_0\), a Raising\."),
        ("forward", KeyError, r"forward of layers\[1\] \(raising_0\), a Raising, for float64 of shape \(8, 5\)"),
        (
            "backward",
            ZeroDivisionError,
            r"backward of layers\[1\] \(raising_0\), a Raising, for float64 of shape \(8, 5\)",
        ),
        ("shape", ValueError, r"backward of layers\[1\] \(raising_0\), a Raising, for float64 of shape \(8, 2\)"),
    ],
)
def test_what_a_layer_raises_comes_through_and_names_it(method, error, where):
    with pytest.raises(error) as raised:
        gp.check_model(network([gp.Dense(5), Raising(method), gp.Dense(3)]), *batch(0))
    assert re.search(where, "".join(traceback.format_exception_only(raised.type, raised.value)))
