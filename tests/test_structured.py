"""check.structured.measure: every scheme, layer and loss against long double; exact kinks; mistakes of one entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracle import exact_gradient

import gradproof as gp
from gradproof.check.structured import Dropout, Scheme, measure

LOSSES = ["softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse"]
PROPAGATED: list[Scheme] = ["difference", "tangent"]
TEXTBOOK: list[Scheme] = ["central", "forward"]

N_IN, N_OUT = 5, 4


class Sine(gp.Layer):
    """``y = s sin x``: smooth, row by row, with a parameter."""

    row_independent = True

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"s": 1 + 0.1 * rng.normal(size=n_in)}

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        return parameters["s"] * np.sin(x), x

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return dy * parameters["s"] * np.cos(cache), {"s": np.sum(dy * np.sin(cache), axis=0)}


class Centred(gp.Layer):
    """``y = x - mean of x over the batch + c``: the rows depend on each other."""

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"c": rng.normal(size=n_in)}

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        return x - x.mean(axis=0) + parameters["c"], None

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return dy - dy.mean(axis=0), {"c": dy.sum(axis=0)}


class Absolute(gp.Layer):
    """``y = |x|``, with the derivative 0 at 0: the middle."""

    row_independent = True

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        return np.abs(x), np.sign(x)

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return dy * cache, {}


class Rectifier(gp.Layer):
    """``y = max(x, 0)``, with the derivative 0 at 0: that of one side."""

    def forward(self, x: Any, parameters: Any, training: bool) -> Any:
        return np.maximum(x, 0), x > 0

    def backward(self, dy: Any, cache: Any, parameters: Any) -> Any:
        return dy * cache, {}


# Slopes, epsilons and probabilities are dyadic where float32 would otherwise mean another network than long double.
COMPILED: dict[str, list[Any]] = {
    "dense": [gp.Dense(N_OUT)],
    "no bias": [gp.Dense(6, bias=False), gp.Tanh(), gp.Dense(N_OUT, bias=False)],
    "relu": [gp.Dense(7), gp.ReLU(), gp.Dense(6), gp.ReLU(), gp.Dense(N_OUT)],
    "leaky_relu": [gp.Dense(7), gp.LeakyReLU(0.125), gp.Dense(N_OUT)],
    "negative slope": [gp.Dense(7), gp.LeakyReLU(-0.5), gp.Dense(N_OUT)],
    "tanh": [gp.Dense(7), gp.Tanh(), gp.Dense(6), gp.Tanh(), gp.Dense(N_OUT)],
    "sigmoid": [gp.Dense(7), gp.Sigmoid(), gp.Dense(6), gp.Sigmoid(), gp.Dense(N_OUT)],
    "softmax": [gp.Dense(7), gp.Softmax(), gp.Dense(6), gp.Softmax(), gp.Dense(N_OUT)],
    "maxout": [gp.Maxout(6, 3), gp.Maxout(5, 2), gp.Dense(N_OUT)],
    "maxout at the end": [gp.Dense(6), gp.Tanh(), gp.Maxout(N_OUT, 2)],
    "dropout": [gp.Dropout(0.8), gp.Dense(9), gp.Tanh(), gp.Dropout(0.5), gp.Dense(N_OUT)],
    "batch_norm": [gp.Dense(6), gp.BatchNorm(epsilon=2**-10), gp.ReLU(), gp.Dense(5), gp.BatchNorm(), gp.Dense(N_OUT)],
    "batch_norm at the ends": [gp.BatchNorm(), gp.Dense(6), gp.Tanh(), gp.Dense(N_OUT), gp.BatchNorm()],
    "deep": [
        *(gp.Dense(8), gp.Tanh(), gp.Dense(8), gp.BatchNorm(), gp.LeakyReLU(0.25), gp.Dropout(0.8)),
        *(gp.Maxout(6, 2), gp.Sigmoid(), gp.Dense(6), gp.ReLU(), gp.Dense(6), gp.Tanh(), gp.Dense(N_OUT)),
    ],
}  # fmt: skip
WITH_PYTHON: dict[str, list[Any]] = {
    "python first": [Sine(), gp.Dense(6), gp.Tanh(), gp.Dense(N_OUT)],
    "python inside": [gp.Dense(6), Sine(), gp.Dense(5), gp.Tanh(), gp.Dense(N_OUT)],
    "python last": [gp.Dense(6), gp.Tanh(), gp.Dense(N_OUT), Sine()],
    "python twice": [gp.Dense(6), Sine(), gp.Dense(5), Centred(), gp.Dense(N_OUT), gp.Tanh()],
    "rows mixed first": [Centred(), gp.Dense(6), gp.Tanh(), gp.Dense(N_OUT)],
    "rows mixed last": [gp.Dense(6), gp.Tanh(), gp.Dense(N_OUT), Centred()],
    "batch norm behind python": [gp.Dense(6), Sine(), gp.BatchNorm(), gp.Tanh(), gp.Dense(N_OUT)],
    "dropout behind python": [gp.Dense(6), Sine(), gp.Dropout(0.5), gp.Dense(N_OUT), Sine()],
    "only python": [Sine(), Centred()],
}
SMOOTH = ["no bias", "tanh", "sigmoid", "softmax", "dropout", "batch_norm at the ends"]

Targets = Callable[[str, int, int], np.ndarray]


def network(layers: list[Any], loss: str, dtype: str, rng: np.random.Generator) -> gp.Sequential:
    """With every parameter away from its special value at the start (biases 0, gamma 1, beta 0)."""
    model = gp.Sequential(layers, N_IN, loss=loss, dtype=dtype, seed=4)
    model.theta += 0.2 * rng.normal(size=model.theta.size)
    return model


def inputs(rng: np.random.Generator, m: int, dtype: str) -> np.ndarray:
    return rng.normal(size=(m, N_IN)).astype(dtype)


def make(
    name: str, loss: str, dtype: str, rng: np.random.Generator, targets: Targets, m: int = 6
) -> tuple[gp.Sequential, np.ndarray, np.ndarray]:
    layers = {**COMPILED, **WITH_PYTHON}[name]
    if name == "only python":
        model = gp.Sequential(layers, N_OUT, loss=loss, dtype=dtype, seed=4)
        X = rng.normal(size=(m, N_OUT)).astype(dtype)
    else:
        model, X = network(layers, loss, dtype, rng), inputs(rng, m, dtype)
    y = targets(loss, m, N_OUT)
    return model, X, y if y.dtype.kind in "iu" else y.astype(dtype)


def tensors(model: gp.Sequential) -> list[slice]:
    return [slice(entry.offset, entry.stop) for entry in model.layout.slices]


# ---- accuracy ----
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("scheme", PROPAGATED)
def test_propagated_schemes_are_exact_to_rounding(scheme, name, loss, dtype, rng, targets, assert_close):
    model, X, y = make(name, loss, dtype, rng, targets)
    measured = measure(model, X, y, scheme=scheme)
    truth = exact_gradient(model, X, y)
    assert not measured.kink.any()
    assert np.all(np.abs(measured.numeric - truth) <= measured.uncertainty)
    for where in tensors(model):
        if dtype == "float32" or scheme == "difference":
            assert_close(measured.numeric[where], truth[where].astype(np.float64))
        else:  # slopes are measured to 1e-12
            np.testing.assert_allclose(measured.numeric[where], truth[where].astype(np.float64), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("scheme", TEXTBOOK)
def test_textbook_schemes_are_within_their_uncertainty(scheme, name, loss, dtype, rng, targets):
    model, X, y = make(name, loss, dtype, rng, targets)
    measured = measure(model, X, y, scheme=scheme)
    truth = exact_gradient(model, X, y)
    error = np.abs(measured.numeric - truth)
    assert np.all(error <= measured.uncertainty)
    # Most entries of a central difference in float64 are good to eight digits, of a forward one in float32 to two.
    digits = {("central", "float64"): 1e-8, ("forward", "float64"): 1e-6, ("central", "float32"): 1e-2}
    assert np.median(error) <= digits.get((scheme, dtype), 5e-2) * np.max(np.abs(truth))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", COMPILED)
def test_the_gradient_of_the_numpy_twin_is_accepted(name, loss, dtype, rng, targets):
    model, X, y = make(name, loss, dtype, rng, targets)
    twin = gp.reference.Sequential(model.layers, model.input_size, loss, dtype=dtype, seed=model.seed)
    twin.theta = model.theta
    gradient = twin.loss_and_gradient(X, y)[1]
    for scheme in PROPAGATED:
        report = gp.check_model(model, X, y, gradient=gradient, scheme=scheme)
        assert report.ok, report


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", WITH_PYTHON)
def test_python_layers(name, loss, dtype, rng, targets):
    model, X, y = make(name, loss, dtype, rng, targets)
    measured = measure(model, X, y)
    truth = exact_gradient(model, X, y)
    assert not measured.kink.any()
    error = np.abs(measured.numeric - truth)
    assert np.all(error <= measured.uncertainty)
    scale = np.max(np.abs(truth))
    assert np.max(error) <= (1e-9 if dtype == "float64" else 2e-5) * scale
    assert np.max(measured.uncertainty) <= (1e-8 if dtype == "float64" else 1e-3) * scale
    assert gp.check_model(model, X, y).ok


def test_other_schemes_take_python_layers_too(rng, targets):
    model, X, y = make("python inside", "mse", "float64", rng, targets)
    truth = exact_gradient(model, X, y)
    for scheme in [*PROPAGATED, *TEXTBOOK]:
        measured = measure(model, X, y, scheme=scheme)
        assert np.all(np.abs(measured.numeric - truth) <= measured.uncertainty)


# ---- steps ----
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(("scheme", "order"), [("central", 2), ("forward", 1), ("difference", 2)])
def test_truncation_falls_with_the_order_of_the_scheme(scheme, order, name, loss, rng, targets):
    model, X, y = make(name, loss, "float64", rng, targets)
    truth = exact_gradient(model, X, y)
    coarse, fine = (
        np.linalg.norm((measure(model, X, y, scheme=scheme, step=step).numeric - truth).astype(np.float64))
        for step in (2.0**-8, 2.0**-10)
    )
    assert 0.9 * order < np.log2(coarse / fine) / 2 < 1.1 * order


@pytest.mark.parametrize("step", [2.0**-400, 2.0**-100, 2.0**-30, 2.0**-27])
def test_differences_are_as_good_at_any_small_step(step, rng, targets):
    for name in SMOOTH:
        model, X, y = make(name, "softmax_cross_entropy", "float64", rng, targets)
        measured, truth = measure(model, X, y, step=step), exact_gradient(model, X, y)
        np.testing.assert_allclose(measured.numeric, truth.astype(np.float64), rtol=0, atol=max(step**2 * 100, 2e-15))


# ---- parts of theta ----
@pytest.mark.parametrize("name", [*COMPILED, *WITH_PYTHON])
@pytest.mark.parametrize("scheme", [*PROPAGATED, *TEXTBOOK])
def test_entries_are_those_of_the_full_pass(scheme, name, dtype, rng, targets):
    model, X, y = make(name, "softmax_cross_entropy", dtype, rng, targets)
    full = measure(model, X, y, scheme=scheme)
    order = rng.permutation(model.theta.size)
    for entries in (order, order[:3], order[:1], np.repeat(order[:2], 2), np.arange(0)):
        part = measure(model, X, y, scheme=scheme, entries=entries)
        assert part.numeric.shape == entries.shape
        for column in ("numeric", "left", "right", "recorded"):
            difference = np.abs(getattr(part, column) - getattr(full, column)[entries])
            assert np.all(difference <= full.uncertainty[entries])
        assert np.array_equal(part.kink, full.kink[entries])
        np.testing.assert_allclose(part.uncertainty, full.uncertainty[entries], rtol=0.5)


def test_nothing_is_changed(dtype, rng, targets):
    for name in ("deep", "python twice"):
        model, X, y = make(name, "softmax_cross_entropy", dtype, rng, targets)
        model.loss_and_gradient(X, y)
        before = [model.theta.copy(), model.gradient.copy(), model.buffers.copy(), X.copy(), y.copy()]
        measure(model, X, y)
        gp.check_model(model, X, y, dropout="off", after_steps=(0, 2))
        for old, new in zip(before, [model.theta, model.gradient, model.buffers, X, y], strict=True):
            assert np.array_equal(old, new)
        assert model.dropout_step == 0


# ---- dropout ----
@pytest.mark.parametrize("dropout", ["frozen", "off"])
def test_dropout(dropout: Dropout, dtype, rng, targets):
    model, X, y = make("dropout", "softmax_cross_entropy", dtype, rng, targets)
    subject = model if dropout == "frozen" else model.without_dropout()
    seen = []
    for step in (0, 3):
        model.dropout_step = subject.dropout_step = step
        measured = measure(model, X, y, dropout=dropout)
        assert np.all(np.abs(measured.numeric - exact_gradient(subject, X, y)) <= measured.uncertainty)
        seen.append(measured.numeric)
    assert np.array_equal(*seen) == (dropout == "off")


# ---- exact kinks ----
def one_sided(model: gp.Sequential, X: np.ndarray, y: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives h to the left and h to the right of every parameter, in long double."""
    sides = np.empty((2, model.theta.size))
    for i, value in enumerate(model.theta.copy()):
        for side, shift in zip(sides, (-h, h), strict=True):
            model.theta[i] = value + shift
            side[i] = exact_gradient(model, X, y)[i]
        model.theta[i] = value
    return sides[0], sides[1]


def relu_tie(loss: str, dtype: str, rng: np.random.Generator, targets: Targets, layer: Any) -> Any:
    model = gp.Sequential([gp.Dense(7), layer, gp.Dense(N_OUT)], N_IN, loss=loss, dtype=dtype, seed=3)
    X = inputs(rng, 6, dtype)
    X[2] = 0  # the biases are 0, so all pre-activations of this row are
    y = targets(loss, 6, N_OUT)
    return model, X, y if y.dtype.kind in "iu" else y.astype(dtype)


def assert_kinks(model: gp.Sequential, X: np.ndarray, y: np.ndarray, h: float, rtol: float) -> Any:
    measured = measure(model, X, y)
    left, right = one_sided(model, X, y, h)
    scale = np.max(np.abs([left, right]))
    np.testing.assert_allclose(measured.left, left, rtol=rtol, atol=rtol * scale)
    np.testing.assert_allclose(measured.right, right, rtol=rtol, atol=rtol * scale)
    own = model.loss_and_gradient(X, y)[1]
    assert np.all(np.abs(measured.recorded - own) <= measured.uncertainty)
    apart = np.abs(right - left) > 1e-3 * scale
    assert np.all(measured.kink[apart])
    for scheme in PROPAGATED:
        assert gp.check_model(model, X, y, scheme=scheme).ok
    return measured, left, right, apart


def assert_judged_at_kinks(
    model: gp.Sequential, X: np.ndarray, y: np.ndarray, measured: Any, apart: np.ndarray
) -> None:
    """Every subgradient is accepted, nothing else is."""
    own = model.loss_and_gradient(X, y)[1].astype(np.float64)
    # Where several maxima stand at ties, the piece that the forward pass took may lie beyond both sides.
    pieces = np.stack([measured.left, measured.right, measured.recorded])
    low, high = pieces.min(axis=0), pieces.max(axis=0)
    for weight in (0.0, 0.3, 1.0):
        gradient = np.where(apart, low + weight * (high - low), own)
        assert gp.check_model(model, X, y, gradient=gradient).ok
    entry = int(np.flatnonzero(apart)[0])
    name, index = model.layout.name_of(entry)
    for value in (2 * low - high, 2 * high - low):
        wrong = own.copy()
        wrong[entry] = value[entry]
        report = gp.check_model(model, X, y, gradient=wrong)
        assert report.verdict == "fail"
        assert report.culprits == [name]
        worst = report.tensors[name].worst(1)[0]
        assert worst.index == index and worst.status == "kink-mismatch"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("layer", [gp.ReLU(), gp.LeakyReLU(0.125), gp.LeakyReLU(-1.0)])
def test_pre_activations_of_zero(layer, loss, dtype, rng, targets):
    model, X, y = relu_tie(loss, dtype, rng, targets, layer)
    measured, left, right, apart = assert_kinks(model, X, y, 1e-30, 1e-5 if dtype == "float32" else 1e-12)
    bias = model.layout["dense_0.b"]
    assert apart[bias.offset : bias.stop].any()
    assert not np.delete(measured.kink, np.arange(bias.offset, bias.stop)).any()  # the weights see an input of 0
    assert_judged_at_kinks(model, X, y, measured, apart)


def test_ties_in_the_layer_behind(rng, targets):
    layers = [gp.Dense(6, bias=False), gp.Tanh(), gp.Dense(5), gp.ReLU(), gp.Dense(N_OUT)]
    model = gp.Sequential(layers, N_IN, loss="softmax_cross_entropy", dtype="float64", seed=3)
    X, y = inputs(rng, 6, "float64"), targets("softmax_cross_entropy", 6, N_OUT)
    model.parameters["dense_1.W"][...] = 0.0  # all pre-activations of the second layer are 0, whatever the first gives
    measured, left, right, apart = assert_kinks(model, X, y, 1e-30, 1e-12)
    first, second = (model.layout[name] for name in ("dense_0.W", "dense_1.W"))
    assert not measured.kink[first.offset : first.stop].any()  # these do not move it
    assert apart[second.offset : second.stop].any()
    assert_judged_at_kinks(model, X, y, measured, apart)


@pytest.mark.parametrize("depth", [1, 2])
def test_maxout_ties(depth, dtype, rng, targets):
    layers = [gp.Dense(6), gp.Tanh()] * (depth - 1) + [gp.Maxout(4, 3), gp.Dense(N_OUT)]
    model = gp.Sequential(layers, N_IN, loss="softmax_cross_entropy", dtype=dtype, seed=3)
    X, y = inputs(rng, 6, dtype), targets("softmax_cross_entropy", 6, N_OUT)
    W = model.parameters["maxout_0.W"]
    W[:, 1::3] = W[:, 0::3]  # two of three pieces are one
    measured, left, right, apart = assert_kinks(model, X, y, 2.0**-16 if dtype == "float32" else 2.0**-40, 1e-4)
    entry = model.layout["maxout_0.W"]
    assert apart[entry.offset : entry.stop].any()
    assert_judged_at_kinks(model, X, y, measured, apart)


def test_hinge_margins_of_zero(dtype):
    model = gp.Sequential([gp.Dense(3)], 2, loss="hinge", dtype=dtype)
    model.parameters["dense_0.W"] = [[1.0, 0.0, 3.0], [0.5, 2.0, -1.0]]
    X = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype)
    y = np.array([0, 1, 2])  # margins of the first row: 0 and 3; of the second -2 and -5; of the third 0.5 and 1
    measured, left, right, apart = assert_kinks(model, X, y, 2.0**-20, 1e-6)
    assert np.count_nonzero(apart) == 4  # scores 0 and 1 of the first row, through its first input and the biases
    assert_judged_at_kinks(model, X, y, measured, apart)


@pytest.mark.parametrize("layer", [Absolute(), Rectifier()])
def test_kinks_of_python_layers(layer, rng, targets):
    model = gp.Sequential([gp.Dense(4), layer, gp.Dense(N_OUT)], N_IN, loss="mse", dtype="float64", seed=3)
    X, y = inputs(rng, 6, "float64"), targets("mse", 6, N_OUT)
    X[2] = 0
    measured = measure(model, X, y)
    left, right = one_sided(model, X, y, 1e-30)
    bias = model.layout["dense_0.b"]
    apart = np.abs(right - left) > 1e-6
    assert np.array_equal(np.flatnonzero(measured.kink), np.flatnonzero(apart))
    assert apart[bias.offset : bias.stop].all()
    np.testing.assert_allclose(measured.left[apart], left[apart], rtol=1e-6)
    np.testing.assert_allclose(measured.right[apart], right[apart], rtol=1e-6)
    assert gp.check_model(model, X, y).ok


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("distance", [1e-9, -1e-9, 1e-12, -1e-12])
def test_next_to_a_kink(distance, loss, dtype, rng, targets):
    model, X, y = relu_tie(loss, dtype, rng, targets, gp.ReLU())
    model.parameters["dense_0.b"][...] = distance
    measured = measure(model, X, y)
    truth = exact_gradient(model, X, y)
    assert not measured.kink.any()
    assert np.all(np.abs(measured.numeric - truth) <= measured.uncertainty)
    assert gp.check_model(model, X, y).ok


def test_central_differences_say_that_they_straddle_a_kink(rng, targets):
    model, X, y = relu_tie("softmax_cross_entropy", "float64", rng, targets, gp.ReLU())
    model.parameters["dense_0.b"][...] = 1e-7
    measured = measure(model, X, y, scheme="central")
    error = np.abs(measured.numeric - exact_gradient(model, X, y))
    assert np.max(error) > 1e-3
    assert np.all(error <= measured.uncertainty)


# ---- degenerate networks ----
def test_dead_parts(dtype, rng, targets):
    model, X, y = make("relu", "softmax_cross_entropy", dtype, rng, targets)
    model.parameters["dense_0.b"][:3] = -100  # units that are off for every row
    model.parameters["dense_1.W"][4] = 0  # and one that nobody listens to
    measured = measure(model, X, y)
    truth = exact_gradient(model, X, y)
    assert np.all(np.abs(measured.numeric - truth) <= measured.uncertainty)
    assert np.all(measured.numeric[truth == 0] == 0)
    report = gp.check_model(model, X, y)
    assert report.ok
    wrong = model.loss_and_gradient(X, y)[1]
    wrong[0] = 1e-6  # of a dead unit: the right value is exactly 0
    assert gp.check_model(model, X, y, gradient=wrong).culprits == ["dense_0.W"]


def test_everything_is_dead(dtype, rng, targets):
    model, X, y = make("relu", "softmax_cross_entropy", dtype, rng, targets)
    model.parameters["dense_1.b"][...] = -1000.0
    report = gp.check_model(model, X, y)
    assert report.ok
    assert {finding.tensor for finding in report.findings if finding.cause == "vacuous"} == {
        *("dense_0.W", "dense_0.b", "dense_1.W", "dense_1.b", "dense_2.W")
    }


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", [*COMPILED, *WITH_PYTHON])
def test_one_row(name, loss, dtype, rng, targets):
    model, X, y = make(name, loss, dtype, rng, targets, m=1)
    measured = measure(model, X, y)
    truth = exact_gradient(model, X, y)
    assert np.all(np.abs(measured.numeric - truth) <= measured.uncertainty)
    assert gp.check_model(model, X, y).ok


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["dense", "tanh", "batch_norm", "maxout"])
def test_many_rows(name, loss, dtype, rng, targets):
    model, X, y = make(name, loss, dtype, rng, targets, m=5000)
    X = np.abs(X)  # sums in which nothing cancels, so that rounding errors add up
    measured = measure(model, X, y)
    truth = exact_gradient(model, X, y)
    assert np.all(np.abs(measured.numeric - truth) <= measured.uncertainty)
    for scheme in PROPAGATED:
        report = gp.check_model(model, X, y, scheme=scheme)
        assert report.ok, report


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scale", [1e-3, 255.0, 1e4])
def test_inputs_of_any_scale(scale, loss, dtype, rng, targets):
    for name in ("dense", "relu", "tanh", "sigmoid"):
        model, X, y = make(name, loss, dtype, rng, targets)
        X = X * X.dtype.type(scale)
        report = gp.check_model(model, X, y)
        assert report.ok, report
        measured = measure(model, X, y)
        assert np.all(np.abs(measured.numeric - exact_gradient(model, X, y)) <= measured.uncertainty)


# ---- mistakes ----
PLANTED = {"float64": 1e-6, "float32": 1e-2}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", [*COMPILED, *WITH_PYTHON])
def test_one_wrong_entry_is_found_and_named(name, loss, dtype, rng, targets):
    model, X, y = make(name, loss, dtype, rng, targets)
    right = model.loss_and_gradient(X, y)[1]
    assert gp.check_model(model, X, y, gradient=right).ok
    for entry in model.layout.slices:
        values = right[entry.offset : entry.stop]
        significant = np.flatnonzero(np.abs(values) >= 0.1 * np.max(np.abs(right)))
        if not significant.size:
            continue
        at = entry.offset + int(rng.choice(significant))
        wrong = right.copy()
        wrong[at] *= 1 + rng.choice([-1, 1]) * PLANTED[dtype]
        schemes: list[Scheme] = [*PROPAGATED, "central"] if dtype == "float64" else list(PROPAGATED)
        for scheme in schemes[: 1 if name in WITH_PYTHON else None]:
            report = gp.check_model(model, X, y, gradient=wrong, scheme=scheme)
            assert report.verdict == "fail", (scheme, entry.name)
            assert report.culprits == [entry.name]
            tensor = report.tensors[entry.name]
            assert tensor.mismatched == 1
            worst = tensor.worst(1)[0]
            assert worst.index == model.layout.name_of(at)[1]
            assert worst.status == "mismatch"
