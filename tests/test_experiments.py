"""What one point does not tell of a mistake is asked of both functions at other points."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import gradproof as gp

Parameters = dict[str, np.ndarray]
Both = Callable[[Parameters], tuple[float, Parameters]]


def block(rng, wrong: str = "") -> tuple[Both, Parameters]:
    """tanh, then a block x + tanh(x V) U, then squares."""
    X, Y = rng.normal(size=(9, 3)), rng.normal(size=(9, 4))
    params = {"W": rng.normal(size=(3, 4)), "V": rng.normal(size=(4, 4)), "U": rng.normal(size=(4, 4))}

    def both(p):
        x = np.tanh(X @ p["W"])
        h = np.tanh(x @ p["V"])
        e = x + h @ p["U"] - Y
        d = 2 * e / e.size
        dv = (d @ (p["U"] if wrong == "U not transposed" else p["U"].T)) * (1 - h * h)
        skip = {"no skip": 0, "skip twice": 2, "skip negated": -1}.get(wrong, 1) * d
        dx = skip + {"no branch": 0, "branch negated": -1, "branch by 0.3": 0.3}.get(wrong, 1) * dv @ p["V"].T
        slope = {"no derivative": 1.0, "1 - x": 1 - x}.get(wrong, 1 - x * x)
        return float((e * e).mean()), {"W": X.T @ (dx * slope), "V": x.T @ dv, "U": h.T @ d}

    return both, params


def check(both: Both, params: Parameters, **keywords) -> gp.GradientReport:
    return gp.check_gradients(lambda p: both(p)[0], lambda p: both(p)[1], params, progress=False, **keywords)


@pytest.mark.parametrize(
    ("wrong", "tensor", "cause", "said"),
    [
        ("no skip", "W", "missing-term", "does not come through"),
        ("skip twice", "W", "accumulation", "counted twice"),
        ("skip negated", "W", "sign", "wrong sign"),
        ("no branch", "W", "missing-term", "What comes through V"),
        ("branch negated", "W", "sign", "The part that comes through V has the wrong sign"),
        ("branch by 0.3", "W", "scale", "made large analytic = 0.3 × numeric"),
        ("U not transposed", "V", "transpose", "with U made symmetric it is right"),
        ("no derivative", "W", "derivative", "made small it is right"),
        ("1 - x", "W", "derivative", "made small it is right"),
    ],
)
def test_the_part_that_is_wrong_is_found(rng, wrong, tensor, cause, said):
    report = check(*block(rng, wrong))
    first = report.findings[0]
    assert (first.tensor, first.cause) == (tensor, cause), first.message
    assert said in first.message


def test_without_a_mistake_nothing_is_tried(rng):
    both, params = block(rng)
    seen: list[float] = []

    def loss(p):
        seen.append(min(float(np.abs(a).max()) for a in p.values()))
        return both(p)[0]

    assert gp.check_gradients(loss, lambda p: both(p)[1], params, progress=False).ok
    assert min(seen) > 0.1


def recurrent(rng, wrong: str = "") -> tuple[Both, Parameters]:
    """A gate z and a candidate c over four steps; `wrong` in the gate only."""
    X, Y = rng.normal(size=(4, 5, 3)), rng.normal(size=(5, 4))
    params = {name: rng.normal(size=(3 if name[0] == "W" else 4, 4)) / 2 for name in ("Wz", "Uz", "Wc", "Uc", "V")}

    def both(p):
        h, kept = np.zeros((5, 4)), []
        for x in X:
            z, c = 1 / (1 + np.exp(-x @ p["Wz"] - h @ p["Uz"])), np.tanh(x @ p["Wc"] + h @ p["Uc"])
            kept.append((x, h, z, c))
            h = (1 - z) * h + z * c
        e = h @ p["V"] - Y
        g = {name: np.zeros_like(value) for name, value in p.items()}
        g["V"] = h.T @ e
        dh = e @ p["V"].T
        for x, h, z, c in kept[::-1]:
            dz, dc = dh * (c - h) * z * (1 - z), dh * z * (1 - c * c)
            dz = {"sign": -dz, "doubled": 2 * dz}.get(wrong, dz)
            for name, d in (("z", dz), ("c", dc)):
                g["W" + name] += x.T @ d
                g["U" + name] += h.T @ d
            dh = dh * (1 - z) + dz @ p["Uz"].T + dc @ p["Uc"].T
        return float((e * e).sum() / 2), g

    return both, params


@pytest.mark.parametrize(("wrong", "cause"), [("sign", "sign"), ("doubled", "scale")])
def test_the_origin_in_a_recurrent_network_comes_first(rng, wrong, cause):
    report = check(*recurrent(rng, wrong))
    first = report.findings[0]
    assert first.tensor in ("Wz", "Uz") and first.cause == cause, first.message
    assert report.culprits[0] == first.tensor and set(report.culprits) == {"Wz", "Uz", "Wc", "Uc"}
    assert {f.evidence["origin"] for f in report.findings if f.cause == "upstream"} == {first.tensor}


def test_a_constant_that_is_missing_from_one_number_is_told_from_a_factor():
    def found(gradient):
        report = gp.check_gradients(lambda t: float(np.exp(t) + 3 * t), gradient, np.array(0.7), progress=False)
        return report.findings[0].cause

    assert found(lambda t: np.exp(t)) == "missing-term"
    assert found(lambda t: 1.7318 * (np.exp(t) + 3)) == "scale"
    assert found(lambda t: -(np.exp(t) + 3)) == "sign"


def test_a_loss_that_has_no_values_elsewhere_and_a_small_budget_do_no_harm(rng):
    both, params = block(rng, "no skip")

    def loss(p):
        if any(np.abs(a - params[name]).max() > 0.5 for name, a in p.items()):
            raise ValueError("too far")
        return both(p)[0]

    report = gp.check_gradients(loss, lambda p: both(p)[1], params, progress=False)
    assert report.culprits == ["W"] and not any("too small" in note for note in report.notes)
    short = check(both, params, max_evaluations=report.evaluations + 20)
    assert short.evaluations <= report.evaluations + 20 and short.culprits == ["W"]
    gradient = both(params)[1]
    given = gp.check_gradients(lambda p: both(p)[0], gradient, params, progress=False)
    assert given.culprits == ["W"]


def test_a_gradient_that_is_clipped_everywhere_is_not_taken_for_one_that_was_kept(rng):
    x = 1 + rng.random(4)
    signs = np.array([1.0, -1.0, 1.0, 1.0])
    report = gp.check_gradients(
        lambda x: float(np.sum(signs * x**3)), lambda x: np.clip(3 * signs * x**2, -0.02, 0.02), x, progress=False
    )
    assert report.findings[0].cause == "clipping", report.findings[0].message


def test_an_interrupt_during_the_experiments_leaves_the_report_without_them(rng):
    both, params = block(rng, "no skip")
    whole = check(both, params)
    calls = 0

    def loss(p):
        nonlocal calls
        calls += 1
        if np.abs(p["V"]).max() < 1e-3:  # as only an experiment makes it
            raise KeyboardInterrupt
        return both(p)[0]

    report = gp.check_gradients(loss, lambda p: both(p)[1], params, progress=False)
    assert report.verdict == "fail" and report.culprits == whole.culprits
    assert report.checked == whole.checked and report.evaluations == calls < whole.evaluations
    assert any("experiments" in note and "interrupted" in note for note in report.notes)


def test_an_interrupt_before_the_experiments_leaves_them_out(rng, monkeypatch):
    both, params = block(rng, "no skip")
    smallest = np.inf

    def loss(p):
        nonlocal smallest
        smallest = min(smallest, float(np.abs(p["V"]).max()))
        return both(p)[0]

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gradproof.check.functions._Check._nearby", interrupted)
    report = gp.check_gradients(loss, lambda p: both(p)[1], params, progress=False)
    assert report.culprits == ["W"] and any("interrupted" in note for note in report.notes)
    assert smallest > 0.1


@pytest.mark.parametrize("layer", ["first", "all before"])
def test_a_name_that_sounds_like_the_report_does_not_change_the_cause(rng, layer):
    X, Y, w, b = rng.normal(size=(9, 3)), rng.normal(size=(9, 4)), f"{layer}.W", f"{layer}.b"
    params = {w: rng.normal(size=(3, 4)), b: rng.normal(size=4), "last.W": rng.normal(size=(4, 4))}

    def both(p):
        x = np.tanh(X @ p[w] + p[b])
        e = x @ p["last.W"] - Y
        d = 6 * e @ p["last.W"].T / e.size  # in place of 2 (1 - x²)
        return float((e * e).mean()), {w: X.T @ d, b: d.sum(0), "last.W": 2 * x.T @ e / e.size}

    first = check(both, params).findings[0]
    assert first.cause == "derivative" and "made small analytic = 3 × numeric" in first.message, first.message


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (lambda g: g.astype(np.float16).astype(float), "float16 number"),
        (lambda g: np.round(g, 4), "rounded to 4 decimals"),
        (lambda g: np.trunc(1e4 * g) / 1e4, "rounded to 4 decimals"),
    ],
)
def test_how_numbers_are_held_has_no_reason_in_a_formula(rng, held, said):
    """Where what carries from step to step is cut, other numbers are rounded: that names no origin."""
    both, params = block(rng)
    report = check(lambda p: (both(p)[0], {name: held(g) for name, g in both(p)[1].items()}), params)
    first = report.findings[0]
    assert said in first.message, first.message
    assert first.cause == "precision"


def test_whole_numbers_are_no_narrow_type(rng):
    X = rng.normal(size=(8, 5))

    def both(p):
        z = (X @ p["W"]).sum()
        return float(z * z), {"W": np.trunc(2 * z * np.tile(X.sum(0)[:, None], 3))}

    first = check(both, {"W": rng.normal(size=(5, 3))}).findings[0]
    assert first.cause == "precision" and "0 decimals" in first.message


def test_a_formula_that_is_nearly_right_is_no_rounding(rng):
    """The derivative of GELU's approximation by tanh beside GELU: off by as much as float16 is."""
    c, k = rng.normal(size=(3, 5)), np.sqrt(2 / np.pi)

    def both(p):
        x = p["x"]
        phi = np.vectorize(lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2))))(x)
        t = np.tanh(k * (x + 0.044715 * x**3))
        slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x)
        return float((c * x * phi).sum()), {"x": c * slope}

    first = check(both, {"x": rng.normal(size=(3, 5))}).findings[0]
    assert first.cause == "derivative" and "smoothly" in first.message, first.message


def test_a_penalty_on_a_single_bias_is_named(rng):
    X, t = rng.normal(size=(11, 4)), rng.normal(size=11)

    def both(p):
        e = X @ p["w"] + p["b"] - t
        loss = float((e * e).mean() + 0.15 * (p["w"] ** 2).sum())
        return loss, {"w": 2 * X.T @ e / 11 + 0.3 * p["w"], "b": 2 * e.mean() + 0.3 * p["b"]}

    first = check(both, {"w": rng.normal(size=4), "b": np.array(rng.normal())}).findings[0]
    assert first.cause == "regularization" and first.evidence["coefficient"] == pytest.approx(0.3)


def test_a_factor_that_is_no_fraction_counts_nothing_twice(rng):
    """RMS normalization without its projection: where x is small, epsilon leaves some factor next to 1."""
    c, g = rng.normal(size=(4, 6)), rng.normal(size=6)

    def both(p):
        q = np.sqrt((p["x"] ** 2).mean(1, keepdims=True) + 1e-6)
        return float((c * np.sin(p["x"] / q * g)).sum()), {"x": c * np.cos(p["x"] / q * g) * g / q}

    for _ in range(6):
        first = check(both, {"x": rng.normal(size=(4, 6))}).findings[0]
        assert first.cause != "accumulation", first.message


@pytest.mark.parametrize("seed", range(4))
def test_next_to_one_is_no_factor(seed):
    """A gate's path through time that is cut: with the weights made small nearly nothing of it is left."""
    rng = np.random.default_rng([seed, 4])
    X, c = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    params = {name: rng.normal(size=(7, 4)) * 0.5 for name in ("Wf", "Wi", "Wg", "Wo")}

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def both(p):
        h, state, tape, loss = np.zeros(4), np.zeros(4), [], 0.0
        for x, weight in zip(X, c, strict=True):
            v = np.concatenate([x, h])
            f, i, o, g, before = *(sigmoid(v @ p[name]) for name in ("Wf", "Wi", "Wo")), np.tanh(v @ p["Wg"]), state
            state = f * state + i * g
            h = o * np.tanh(state)
            loss += float(weight @ h)
            tape.append((v, f, i, o, g, before, np.tanh(state)))
        gradient, dh = {name: np.zeros_like(W) for name, W in p.items()}, np.zeros(4)
        for (v, f, i, o, g, before, t), weight in zip(tape[::-1], c[::-1], strict=True):
            dh = dh + weight
            ds = dh * o * (1 - t * t)  # without what comes from the next step
            slopes = ds * before * f * (1 - f), ds * g * i * (1 - i), ds * i * (1 - g * g), dh * t * o * (1 - o)
            for name, d in zip(p, slopes, strict=True):
                gradient[name] += np.outer(v, d)
            dh = sum(W @ d for W, d in zip(p.values(), slopes, strict=True))[3:]
        return loss, gradient

    first = check(both, params).findings[0]
    assert "analytic = 1 × numeric" not in first.message, first.message
