"""gp.check_model: accuracy against long double, mistakes found and named, arguments, parts and stages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from oracle import exact_gradient

import gradproof as gp

# Largest and median error of the numeric gradient, relative to the tensor's largest entry and to the entry.
ACCURACY = {"float64": (1e-14, 1e-15), "float32": (2e-6, 1e-6)}

NETWORKS = {
    "64-32-10": (lambda act: [gp.Dense(32), act(), gp.Dense(10)], 64, 8),
    "64-128-64-10": (
        lambda act: [
            gp.Dense(128), gp.BatchNorm(), act(), gp.Dropout(0.8), gp.Maxout(64, 2), act(), gp.Dense(10),
        ],
        64,
        8,
    ),
    "784-100-10": (lambda act: [gp.Dense(100), act(), gp.Dense(10)], 784, 8),
    "784-512-512-10": (lambda act: [gp.Dense(512), act(), gp.Dense(512), act(), gp.Dense(10)], 784, 4),
}  # fmt: skip


@pytest.mark.parametrize("activation", [gp.ReLU, gp.Tanh])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_entry_is_measured_to_rounding(
    name: str, activation: Callable[[], object], dtype: str, rng: np.random.Generator
) -> None:
    layers, n_in, m = NETWORKS[name]
    model = gp.Sequential(layers(activation), n_in, "softmax_cross_entropy", dtype=dtype, seed=3)
    X, y = rng.normal(size=(m, n_in)), rng.integers(0, 10, m)
    report = gp.check_model(model, X, y)
    assert report.ok
    exact = exact_gradient(model, X, y)
    largest_allowed, median_allowed = ACCURACY[dtype]
    for entry in model.layout.slices:
        tensor = report.tensors[entry.name]
        assert tensor.checked == entry.size
        truth = exact[entry.offset : entry.stop].reshape(entry.shape)
        error = np.abs(tensor.numeric - truth)
        assert np.max(error) <= largest_allowed * np.max(np.abs(truth))
        nonzero = truth != 0
        assert np.median(error[nonzero] / np.abs(truth[nonzero])) < median_allowed
        # What the report promises holds, for the measured gradient and for the one under test.
        assert np.all(error <= tensor.uncertainty)
        assert np.all(np.abs(tensor.analytic - truth) <= tensor.uncertainty)


def digits_like(rng: np.random.Generator, m: int = 6, n: int = 7, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(m, n)), rng.integers(0, k, m)


def small(dtype: str = "float64", **keywords: float) -> gp.Sequential:
    layers = [gp.Dense(6), gp.BatchNorm(), gp.ReLU(), gp.Dropout(0.7), gp.Dense(4)]
    return gp.Sequential(layers, 7, "softmax_cross_entropy", dtype=dtype, seed=1, **keywords)


class Damaged(gp.Sequential):
    """A network whose gradient of one entry is off by a relative error."""

    entry, error, part = 0, 0.0, "data"

    def loss_and_gradient(self, X, y, *, parts=("data", "regularization"), rows=None):  # type: ignore[no-untyped-def]
        value, gradient = super().loss_and_gradient(X, y, parts=parts, rows=rows)
        if self.part in parts:
            own = super().loss_and_gradient(X, y, parts=(self.part,), rows=rows)[1]
            gradient[self.entry] += self.error * own[self.entry]
        return value, gradient


def damaged(error: float, part: str = "data", entry: int = 3, **keywords: float) -> Damaged:
    layers = [gp.Dense(6), gp.Tanh(), gp.Dense(4)]
    model = Damaged(layers, 7, "softmax_cross_entropy", dtype="float64", seed=1, **keywords)
    model.entry, model.error, model.part = entry, error, part
    return model


def test_a_damaged_entry_is_found_and_named(rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    report = gp.check_model(damaged(1e-6), X, y)
    assert report.verdict == "fail" and report.culprits == ["dense_0.W"]
    assert report.tensors["dense_0.W"].mismatched == 1
    worst = report.tensors["dense_0.W"].worst(1)[0]
    assert worst.index == (0, 3) and worst.status == "mismatch"
    assert "dense_0.W" in report.findings[0].message and "[0, 3]" in report.findings[0].message
    assert gp.check_model(damaged(0.0), X, y).ok


@pytest.mark.parametrize("part", ["data", "regularization"])
def test_the_parts_are_checked_apart(part: str, rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    report = gp.check_model(damaged(1e-4, part, l1=0.2, l2=0.5), X, y)
    other = "data" if part == "regularization" else "regularization"
    assert report.parts[part].culprits == ["dense_0.W"]
    assert report.parts[other].ok


def test_the_report_says_which_part_hides_a_mistake(rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    # A penalty a million times the data loss: the sum of both is right to ten digits, the data part is not.
    report = gp.check_model(damaged(1e-5, "data", l2=1e7), X, y)
    assert report.parts["data"].culprits == ["dense_0.W"]
    assert any("hides it" in finding.message for finding in report.findings)


def test_a_regularized_bias_is_a_mistake(rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    model = small(l2=0.3)
    model.parameters["dense_1.b"] = rng.normal(size=4)
    wrong = model.loss_and_gradient(X, y)[1]
    b = model.layout["dense_1.b"]
    wrong[b.offset : b.stop] += 0.3 / len(X) * model.parameters["dense_1.b"]
    assert gp.check_model(model, X, y).ok
    assert gp.check_model(model, X, y, gradient=wrong).culprits == ["dense_1.b"]


def test_stages_check_again_after_training_steps(dtype: str, rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    model = small(dtype, l2=0.1)
    before = model.theta.copy(), model.buffers.copy(), model.gradient.copy()
    report = gp.check_model(model, X, y, after_steps=(0, 5))
    assert [stage.label for stage in report.stages] == ["after 0 steps", "after 5 steps"]
    assert report.ok and all(stage.ok for stage in report.stages)
    first, second = (stage.tensors["dense_1.W"].numeric for stage in report.stages)
    assert not np.array_equal(first, second)
    for kept, now in zip(before, (model.theta, model.buffers, model.gradient), strict=True):
        np.testing.assert_array_equal(now, kept)


def test_dropout_is_frozen_or_off(rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    model = small()
    frozen, off = (gp.check_model(model, X, y, dropout=choice) for choice in ("frozen", "off"))
    assert frozen.ok and off.ok
    assert not np.allclose(frozen.tensors["dense_1.W"].numeric, off.tensors["dense_1.W"].numeric)


@pytest.mark.parametrize("scheme", ["difference", "tangent", "central", "forward"])
def test_every_scheme_passes_a_right_gradient_and_finds_a_wrong_one(
    scheme: str, dtype: str, rng: np.random.Generator
) -> None:
    X, y = digits_like(rng)
    model = gp.Sequential([gp.Dense(6), gp.Tanh(), gp.Dense(4)], 7, "softmax_cross_entropy", dtype=dtype, l2=0.1)
    gradient = model.loss_and_gradient(X, y)[1]
    assert gp.check_model(model, X, y, scheme=scheme).verdict in ("pass", "inconclusive")
    gradient[model.layout["dense_1.W"].offset] += np.abs(gradient).max()
    report = gp.check_model(model, X, y, scheme=scheme, gradient=gradient)
    assert report.verdict == "fail" and report.culprits == ["dense_1.W"]


def test_kinks_at_the_point_are_told_from_mistakes(dtype: str) -> None:
    # A row of zeros and zero biases: every ReLU of that row stands exactly at its kink.
    X, y = np.vstack([np.zeros(5), np.ones(5)]), np.array([0, 2])
    model = gp.Sequential([gp.Dense(6), gp.ReLU(), gp.Dense(3)], 5, "softmax_cross_entropy", dtype=dtype)
    report = gp.check_model(model, X, y)
    assert report.ok and report.kinks > 0
    b = model.layout["dense_0.b"]
    for error in (-10.0, 10.0):
        wrong = model.loss_and_gradient(X, y)[1]
        wrong[b.offset] += error
        failed = gp.check_model(model, X, y, gradient=wrong)
        assert failed.culprits == ["dense_0.b"] and failed.findings[0].cause == "kink"


def test_a_wrong_structured_loop_is_noticed(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    from gradproof.check.structured import Point

    X, y = digits_like(rng)
    run = Point.run
    monkeypatch.setattr(Point, "run", lambda self, *arguments: 1.001 * run(self, *arguments))
    report = gp.check_model(small(), X, y)
    assert "disagrees with the ordinary forward pass" in report.findings[0].message
    assert not report.ok


def test_not_finite_and_vacuous_are_verdicts(rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    model = small()
    model.parameters["dense_1.W"] = np.full((6, 4), np.nan)
    report = gp.check_model(model, X, y)
    assert report.verdict == "nonfinite" and report.findings[0].cause == "nonfinite"
    dead = small()
    dead.parameters["dense_1.W"] = np.zeros((6, 4))
    report = gp.check_model(dead, X, y)
    assert report.ok
    vacuous = {finding.tensor for finding in report.findings if finding.cause == "vacuous"}
    assert vacuous == {"dense_0.W", "batch_norm_0.gamma", "batch_norm_0.beta"}


class Noisy(gp.Layer):
    """Draws new numbers in every call."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def forward(self, x, parameters, training):  # type: ignore[no-untyped-def]
        return x * self.rng.random(x.shape).astype(x.dtype), None

    def backward(self, dy, cache, parameters):  # type: ignore[no-untyped-def]
        return dy, {}


def test_a_layer_that_draws_numbers_is_called_nondeterministic(rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    model = gp.Sequential([gp.Dense(6), Noisy(), gp.Dense(4)], 7, "softmax_cross_entropy", dtype="float64")
    report = gp.check_model(model, X, y)
    assert report.verdict == "nondeterministic" and "freeze" in report.findings[0].message


# ---- correct gradients that are easy to accuse ----
@pytest.mark.parametrize("seed", range(12))
def test_equal_rows_before_batch_norm(seed: int) -> None:
    # The batch has no variance: every pre-activation of the ReLU is rounding noise around exactly zero.
    X = np.repeat(np.random.default_rng(seed).normal(size=(1, 4)), 8, axis=0)
    layers = [gp.Dense(4), gp.BatchNorm(), gp.ReLU(), gp.Dense(3)]
    model = gp.Sequential(layers, 4, "softmax_cross_entropy", dtype="float64", seed=seed)
    assert gp.check_model(model, X, np.arange(8) % 3).ok


@pytest.mark.parametrize("layer", [gp.ReLU(), gp.LeakyReLU(0.1)])
@pytest.mark.parametrize("scale", [1e-9, 1e-15, 1e-30])
@pytest.mark.parametrize("scheme", ["difference", "tangent"])
def test_pre_activations_close_to_a_kink(
    scheme: str, scale: float, layer: object, dtype: str, rng: np.random.Generator
) -> None:
    X, y = digits_like(rng)
    model = gp.Sequential([gp.Dense(6, init=scale), layer, gp.Dense(4)], 7, "softmax_cross_entropy", dtype=dtype)
    assert gp.check_model(model, X, y, scheme=scheme).ok


def test_a_penalty_next_to_its_kink(dtype: str, rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    model = small(dtype, l1=1e-3, l2=1e-3)
    model.parameters["dense_1.W"][0] = [1e-16, -1e-27, 0.0, 1e-35]
    assert gp.check_model(model, X, y).ok
    assert gp.check_model(model, X, y, scheme="central").verdict in ("pass", "inconclusive")


@pytest.mark.parametrize(
    ("scheme", "step"), [("forward", 1.0), ("difference", 2.0), ("central", 10.0), ("forward", None)]
)
def test_no_step_accuses(scheme: str, step: float | None, rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    X[0] = 0
    for activation in (gp.Tanh(), gp.ReLU()):
        layers = [gp.Dense(6), activation, gp.Dense(4)]
        model = gp.Sequential(layers, 7, "softmax_cross_entropy", dtype="float64", l1=0.01)
        assert gp.check_model(model, X, y, scheme=scheme, step=step).verdict in ("pass", "inconclusive")


@pytest.mark.parametrize("m", [1, 110, 1000])
def test_batch_norm_of_any_batch(m: int, dtype: str) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        layers = [
            gp.Dense(5),
            gp.Sigmoid(),
            gp.Dense(6),
            gp.BatchNorm(),
            gp.LeakyReLU(0.1),
            gp.Maxout(4, 2),
            gp.Dense(3),
        ]
        model = gp.Sequential(layers, 4, "binary_cross_entropy", dtype=dtype, seed=seed)
        report = gp.check_model(model, np.abs(rng.normal(size=(m, 4))), rng.random((m, 3)))
        assert report.ok, report


def test_huge_inputs(dtype: str, rng: np.random.Generator) -> None:
    X, _ = digits_like(rng)
    model = gp.Sequential([gp.Dense(3), gp.Dense(2)], 7, "binary_cross_entropy", dtype=dtype)
    assert gp.check_model(model, X * 1e15, rng.random((6, 2))).verdict in ("pass", "inconclusive")


def test_burn_in_does_not_run_away(dtype: str, rng: np.random.Generator) -> None:
    X = 10 * rng.random((16, 3))
    model = gp.Sequential([gp.Dense(1)], 3, "mse", dtype=dtype)
    assert gp.check_model(model, X, X.sum(axis=1), after_steps=(0, 50)).ok


# ---- networks that cannot be taken at their word ----
class Reused(gp.Sequential):
    """Hands out its own buffer."""

    def loss_and_gradient(self, X, y, **keywords):  # type: ignore[no-untyped-def]
        value, gradient = super().loss_and_gradient(X, y, **keywords)
        self.gradient[...] = gradient
        return value, self.gradient


class Careless(gp.Sequential):
    """Changes its parameters on the way, and knows nothing of parts."""

    def loss_and_gradient(self, X, y):  # type: ignore[no-untyped-def, override]
        value, gradient = super().loss_and_gradient(X, y)
        self.theta *= self.dtype.type(1.5)
        return value, gradient


class Nothing(gp.Sequential):
    def loss_and_gradient(self, X, y, **keywords):  # type: ignore[no-untyped-def]
        return None


def test_overrides_are_not_trusted(rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    layers = [gp.Dense(6), gp.Tanh(), gp.Dense(4)]

    def make(kind: type[gp.Sequential]) -> gp.Sequential:
        return kind(layers, 7, "softmax_cross_entropy", dtype="float64", l2=0.1)

    assert gp.check_model(make(Reused), X, y).ok
    careless = make(Careless)
    before = careless.theta.copy()
    report = gp.check_model(careless, X, y)
    assert [finding.cause for finding in report.findings if finding.cause != "vacuous"][:1] == ["state"]
    np.testing.assert_array_equal(careless.theta, before)
    with pytest.raises(TypeError, match="Nothing.loss_and_gradient"):
        gp.check_model(make(Nothing), X, y)


class Rarely(gp.Layer):
    """Repeats itself four times in five."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def forward(self, x, parameters, training):  # type: ignore[no-untyped-def]
        return x * x.dtype.type(1.3 if self.rng.random() < 0.2 else 1.0), None

    def backward(self, dy, cache, parameters):  # type: ignore[no-untyped-def]
        return dy, {}


def test_rare_randomness_is_not_taken_for_a_mistake(rng: np.random.Generator) -> None:
    X, y = digits_like(rng)
    model = gp.Sequential([gp.Dense(6), Rarely(), gp.Dense(4)], 7, "softmax_cross_entropy", dtype="float64")
    verdicts = {str(gp.check_model(model, X, y).verdict) for _ in range(10)}
    assert "fail" not in verdicts and "nondeterministic" in verdicts


class OnlyInSingle(gp.Layer):
    """Right in float64, and forgets its dx in float32."""

    row_independent = True

    def forward(self, x, parameters, training):  # type: ignore[no-untyped-def]
        return 2 * x, None

    def backward(self, dy, cache, parameters):  # type: ignore[no-untyped-def]
        return (2 * dy if dy.dtype == np.float64 else 0 * dy), {}


class FalsePromise(gp.Layer):
    """Says that its rows are independent, and they are not."""

    row_independent = True

    def forward(self, x, parameters, training):  # type: ignore[no-untyped-def]
        return x - x.mean(axis=0), None

    def backward(self, dy, cache, parameters):  # type: ignore[no-untyped-def]
        return dy - dy.mean(axis=0), {}


def test_python_layers_are_not_trusted(rng: np.random.Generator) -> None:
    X, y = digits_like(rng)

    def make(layer: gp.Layer, dtype: str) -> gp.Sequential:
        return gp.Sequential([gp.Dense(6), layer, gp.Dense(4)], 7, "softmax_cross_entropy", dtype=dtype)

    assert set(gp.check_model(make(OnlyInSingle(), "float32"), X, y).culprits) == {"dense_0.W", "dense_0.b"}
    assert gp.check_model(make(OnlyInSingle(), "float64"), X, y).ok
    assert gp.check_model(make(FalsePromise(), "float64"), X, y).ok


@pytest.mark.parametrize("activation", [None, gp.Tanh()])
def test_rows_that_round_alike(dtype: str, activation: gp.Tanh | None) -> None:
    """Equal rows with balanced labels: the terms of a gradient cancel, the errors, which are all the same, add up."""
    y = np.arange(512) % 4
    for seed, width in ((0, 8), (1, 8), (0, 30)):
        X = np.tile(np.random.default_rng(seed).standard_normal(30), (len(y), 1))
        layers = [gp.Dense(width, init=0.1), *([activation] if activation else []), gp.Dense(4, init=0.01)]
        model = gp.Sequential(layers, 30, "softmax_cross_entropy", dtype=dtype, seed=seed)
        report = gp.check_model(model, X, y)
        assert report.ok, report


def test_losses_of_many_equal_rows_agree_with_the_guard() -> None:
    """Two thousand equal terms would all round the same way, were they just added."""
    model = gp.Sequential([gp.Dense(5), gp.Softmax(), gp.Dense(3)], 4, "softmax_cross_entropy", dtype="float64")
    assert gp.check_model(model, np.full((2048, 4), 0.3), np.arange(2048) % 3).ok


def test_a_loss_that_is_settled_is_vacuous(dtype: str, rng: np.random.Generator) -> None:
    X = rng.standard_normal((3, 5))
    model = gp.Sequential([gp.Dense(2)], 5, "hinge", dtype=dtype)
    model.parameters["dense_0.W"][...] = 0
    model.parameters["dense_0.b"][...] = [9, -9]
    report = gp.check_model(model, X, np.zeros(3, int))
    assert report.ok and {finding.cause for finding in report.findings} == {"vacuous"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("step", [1e300, 1e-300, 5e-324])
@pytest.mark.parametrize("scheme", ["difference", "central", "forward"])
def test_steps_beyond_the_range_get_a_verdict_and_no_warning(scheme: str, step: float, dtype: str) -> None:
    rng = np.random.default_rng(0)
    layers = [gp.Dense(4), gp.ReLU(), gp.Dense(3)]
    model = gp.Sequential(layers, 5, "softmax_cross_entropy", l1=0.1, l2=0.1, dtype=dtype, seed=0)
    report = gp.check_model(model, rng.normal(size=(30, 5)), rng.integers(0, 3, 30), scheme=scheme, step=step)
    assert report.verdict is not gp.Verdict.FAIL
