"""Gradients that other people's checkers are tested with, or get wrong."""

from __future__ import annotations

import numpy as np
import pytest
from cases.field import FACTS, LARGE, NUMERICS, REFUSED, Fact

import gradproof as gp

# Name of the fact -> why it is not right yet.
KNOWN_GAPS: dict[str, str] = {}


def parameters(facts: list[Fact], prefix: str = "") -> list[object]:
    return [
        pytest.param(
            fact,
            id=fact.name,
            marks=[pytest.mark.xfail(reason=KNOWN_GAPS[prefix + fact.name])]
            if prefix + fact.name in KNOWN_GAPS
            else [],
        )
        for fact in facts
    ]


def check(fact: Fact) -> gp.GradientReport:
    return gp.check_gradients(fact.loss, fact.gradient, fact.params, progress=False)


def hold(fact: Fact) -> None:
    report = check(fact)
    assert report.verdict in fact.verdicts, str(report)
    if report.verdict == "fail" and fact.culprits:
        assert tuple(report.culprits) == fact.culprits, str(report)
    if fact.cause:
        assert fact.cause in [finding.cause for finding in report.findings], str(report)


def test_names_are_unique():
    names = [fact.name for fact in (*FACTS, *LARGE)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("fact", parameters(FACTS))
def test_facts(fact):
    hold(fact)


@pytest.mark.campaign
@pytest.mark.parametrize("fact", parameters(LARGE))
def test_large_facts(fact):
    hold(fact)


@pytest.mark.parametrize("fact", parameters(NUMERICS, "accuracy: "))
def test_the_uncertainty_covers_the_error(fact):
    """Measured values are off by no more than they say, whatever the verdict."""
    report = check(fact)
    exact = fact.gradient(fact.params) if callable(fact.gradient) else fact.gradient
    for tensor in report.tensors.values():
        matched = tensor.status == gp.check.report.Status.MATCH
        error = abs(tensor.numeric - exact)[matched]
        rounding = 32 * np.finfo(fact.params.dtype).eps * abs(exact)[matched]
        assert (error <= tensor.uncertainty[matched] + rounding).all(), str(report)


@pytest.mark.parametrize("fact", parameters([fact for fact in NUMERICS if fact.verdicts == ("pass",)], "mistake: "))
def test_one_percent_in_the_largest_entry_is_found(fact):
    exact = np.array(fact.gradient(fact.params) if callable(fact.gradient) else fact.gradient, float)
    index = np.unravel_index(abs(exact).argmax(), exact.shape)
    kink = "kink" in fact.name or fact.name == "zero"
    exact[index] += 3 if kink else 0.01 * max(abs(exact[index]), 1.0 * (exact[index] == 0))
    report = gp.check_gradients(fact.loss, exact, fact.params, progress=False)
    assert report.verdict == "fail", str(report)
    assert report.worst(1)[0][1].index == index


@pytest.mark.parametrize("name", REFUSED)
def test_broken_contracts_are_refused_in_words(name):
    loss, gradient, params, error, word = REFUSED[name]
    with pytest.raises(error, match=word):
        gp.check_gradients(loss, gradient, params, progress=False)


def test_the_one_wrong_entry_is_named_in_a_short_text():
    """torch prints 83 lines of matrices and not the index."""
    fact = next(fact for fact in FACTS if fact.name == "one wrong entry of a linear layer")
    report = check(fact)
    name, entry = report.worst(1)[0]
    assert (name, entry.index, entry.status) == ("W", (3, 2), "mismatch")
    assert "W[3, 2]" in str(report)
    assert len(str(report).splitlines()) < 40


def test_the_exercise_of_two_mistakes():
    """dW2 doubled and db1 with 4/m for 1/m: both tensors and both factors are named, and nothing else."""
    rng = np.random.default_rng(3)
    X, Y, m = rng.normal(size=(6, 4)), rng.normal(size=(6, 1)), 6
    params = {
        name: rng.normal(size=shape)
        for name, shape in {"W1": (4, 5), "b1": 5, "W2": (5, 3), "b2": 3, "W3": (3, 1), "b3": 1}.items()
    }

    def forward(p):
        h1 = np.maximum(X @ p["W1"] + p["b1"], 0)
        h2 = np.maximum(h1 @ p["W2"] + p["b2"], 0)
        return h1, h2, 1 / (1 + np.exp(-(h2 @ p["W3"] + p["b3"])))

    T = (Y > 0).astype(float)

    def loss(p):
        q = forward(p)[-1]
        return float(-(T * np.log(q) + (1 - T) * np.log(1 - q)).sum() / m)

    def gradient(p):
        h1, h2, q = forward(p)
        dz3 = q - T
        dz2 = dz3 @ p["W3"].T * (h2 > 0)
        dz1 = dz2 @ p["W2"].T * (h1 > 0)
        return {
            "W1": X.T @ dz1 / m,
            "b1": 4 / m * dz1.sum(0),
            "W2": h1.T @ dz2 / m * 2,
            "b2": dz2.sum(0) / m,
            "W3": h2.T @ dz3 / m,
            "b3": dz3.sum(0) / m,
        }

    report = gp.check_gradients(loss, gradient, params, progress=False)
    assert sorted(report.culprits) == ["W2", "b1"]
    factors = {
        finding.tensor: finding.evidence.get("factor") for finding in report.findings if finding.cause == "scale"
    }
    assert factors == {"W2": pytest.approx(2), "b1": pytest.approx(4)}


def test_torch_modules_are_checked_by_name_and_left_as_they_were():
    """gradcheck(module, x) ignores parameters and leaves other running statistics behind."""
    torch = pytest.importorskip("torch", reason="about PyTorch's own modules, so it needs PyTorch")
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Tanh()).double()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    report = gp.torch.check_module(module, torch.randn(5, 3, dtype=torch.float64))
    assert report.verdict == "pass", str(report)
    assert any("weight" in name for name in report.tensors)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
