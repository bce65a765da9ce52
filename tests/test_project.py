"""Projected mode: what is right passes with a true power, what is wrong is found and named, at a stated cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof.check.bisect import describe
from gradproof.check.entries import Circumstances
from gradproof.check.evaluate import Problem
from gradproof.check.noise import gradient_rounding, loss_noise
from gradproof.check.probe import Block, direction
from gradproof.check.project import Projection, project
from gradproof.check.tensor_report import Verdict

Loss = Callable[[Any], float]


def separable(size: int, dtype: str, seed: int = 0) -> tuple[np.ndarray, Loss, Callable[[Any], np.ndarray]]:
    """``w . tanh(x) + (u . x)^2 / 2``: every entry by itself, and all of them coupled."""
    rng = np.random.default_rng(seed)
    x, w, u = (rng.normal(size=size).astype(dtype) for _ in range(3))
    u /= np.sqrt(np.asarray(size, dtype))

    def loss(x: np.ndarray) -> float:
        flat = x.ravel()
        return float(w @ np.tanh(flat) + (u @ flat) ** 2 / 2)

    def grad(x: np.ndarray) -> np.ndarray:
        flat = x.ravel()
        return np.asarray(w * (1 - np.tanh(flat) ** 2) + (u @ flat) * u, dtype).reshape(x.shape)

    return x, loss, grad


def network(activation: str, dtype: str, seed: int = 0) -> tuple[dict[str, np.ndarray], Loss, Callable[[Any], Any]]:
    """Two layers and softmax cross entropy, by hand."""
    rng = np.random.default_rng(seed)
    sizes, m = (40, 60, 10), 16
    X, y = rng.normal(size=(m, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], m)
    p = {}
    for i, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        p[f"W{i}"] = (rng.normal(size=(n_in, n_out)) * np.sqrt(2 / n_in)).astype(dtype)
        p[f"b{i}"] = (0.1 * rng.normal(size=n_out)).astype(dtype)

    def forward(p: Any) -> tuple[np.ndarray, np.ndarray]:
        z = X @ p["W0"] + p["b0"]
        h = np.tanh(z) if activation == "tanh" else np.maximum(z, 0)
        scores = h @ p["W1"] + p["b1"]
        scores = scores - scores.max(axis=1, keepdims=True)
        return h, scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))

    def loss(p: Any) -> float:
        return float(-forward(p)[1][np.arange(m), y].mean())

    def grad(p: Any) -> Any:
        h, logs = forward(p)
        d = np.exp(logs)
        d[np.arange(m), y] -= 1
        d /= np.asarray(m, dtype)
        dz = (d @ p["W1"].T) * (1 - h * h if activation == "tanh" else (h > 0).astype(dtype))
        return {"W0": X.T @ dz, "b0": dz.sum(axis=0), "W1": h.T @ d, "b1": d.sum(axis=0)}

    return p, loss, grad


def check(loss: Loss, grad: Any, params: Any, seed: int = 0, budget: int | None = None) -> tuple[Projection, Problem]:
    problem = Problem(loss, grad, params)
    rng = np.random.default_rng(seed)
    f0, analytic = problem.value(), problem.gradient()
    noise = loss_noise(problem, f0, analytic, rng)
    rounding = gradient_rounding(problem, analytic, noise, rng)
    if budget is not None:
        problem.max_evaluations = problem.evaluations + budget
    return project(problem, Circumstances(f0, noise, analytic, rounding), seed=seed), problem


def with_mistake(grad: Callable[[Any], Any], mistake: Callable[[Any], None]) -> Callable[[Any], Any]:
    def wrong(p: Any) -> Any:
        g = grad(p)
        mistake(g)
        return g

    return wrong


def typical(g: np.ndarray, count: int) -> np.ndarray:
    """The flat positions of the entries nearest to the root mean square."""
    rms = math.sqrt(float(np.mean(np.square(g, dtype=np.float64))))
    return np.argsort(np.abs(np.abs(g) - rms).ravel(), kind="stable")[:count]


def named(found: Projection, tensor: int = 0) -> set[tuple[int, ...]]:
    return {entry.index for entry in found.tensors[tensor].worst(1000) if entry.status == "mismatch"}


@pytest.mark.parametrize("seed", range(4))
def test_right_gradients_pass(dtype: str, seed: int) -> None:
    x, loss, grad = separable(10_000, dtype, seed)
    found, problem = check(loss, grad, x, seed)
    (tensor,) = found.tensors
    assert tensor.verdict is Verdict.PASS and tensor.matched == x.size and not found.notes
    assert 0 < tensor.detectable < (0.1 if dtype == "float32" else 1e-7)
    assert problem.evaluations < 100


MISTAKES = {
    "doubled": lambda g, at: np.multiply.at(g, at[:1], 2.0),
    "zeroed": lambda g, at: np.multiply.at(g, at[:1], 0.0),
    "signs": lambda g, at: np.multiply.at(g, at[:3], -1.0),
    "five": lambda g, at: np.multiply.at(g, at[:5], 3.0),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_entries_are_named(dtype: str, mistake: str) -> None:
    x, loss, grad = separable(10_000, dtype)
    at = typical(grad(x), 5)
    wrong = with_mistake(grad, lambda g: MISTAKES[mistake](g, at))
    found, problem = check(loss, wrong, x)
    expected = {(int(i),) for i in np.flatnonzero(wrong(x) != grad(x))}
    assert named(found) == expected
    assert found.tensors[0].verdict is Verdict.FAIL
    assert found.tensors[0].mismatched == len(expected) and found.tensors[0].unresolved == 0
    assert problem.evaluations < 100 + 80 * len(expected)


def test_an_exchange_of_two_entries_is_seen(dtype: str) -> None:
    x, loss, grad = separable(10_000, dtype)
    g = grad(x)
    i, j = int(np.argmax(g)), int(np.argmin(g))

    def swap(g: np.ndarray) -> None:
        g[[i, j]] = g[[j, i]]

    assert named(check(loss, with_mistake(grad, swap), x)[0]) == {(i,), (j,)}


@pytest.mark.parametrize("seed", range(12))
def test_the_stated_power_is_true(dtype: str, seed: int) -> None:
    x, loss, grad = separable(3000, dtype, seed)
    detectable = check(loss, grad, x, seed)[0].tensors[0].detectable
    size = 1.05 * detectable * math.sqrt(float(np.mean(np.square(grad(x), dtype=np.float64))))
    at = np.random.default_rng(seed).integers(x.size)

    def offset(g: np.ndarray) -> None:
        g[at] += size

    found, _ = check(loss, with_mistake(grad, offset), x, seed)
    assert found.tensors[0].verdict is Verdict.FAIL
    assert named(found) <= {(at,)}


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("seed", range(5))
def test_right_networks_are_not_accused(dtype: str, activation: str, seed: int) -> None:
    p, loss, grad = network(activation, dtype, seed)
    found, _ = check(loss, grad, p, seed)
    verdicts = [tensor.verdict for tensor in found.tensors]
    assert Verdict.FAIL not in verdicts
    assert dtype == "float32" or verdicts == [Verdict.PASS] * 4


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_entries_of_networks_are_named(activation: str) -> None:
    p, loss, grad = network(activation, "float64")

    def mistake(g: Any) -> None:
        g["W1"][typical(g["W1"], 1) // 10, typical(g["W1"], 1) % 10] *= 2

    wrong = with_mistake(grad, mistake)
    found, _ = check(loss, wrong, p)
    assert [tensor.verdict.value for tensor in found.tensors] == ["pass", "pass", "fail", "pass"]
    assert named(found, 2) == set(map(tuple, np.argwhere(wrong(p)["W1"] != grad(p)["W1"]).tolist()))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_what_is_wrong_throughout_is_not_taken_apart(dtype: str, activation: str) -> None:
    p, loss, grad = network(activation, dtype)

    def double(g: Any) -> None:
        g["W0"] *= 2

    found, _ = check(loss, with_mistake(grad, double), p)
    tensor = found.tensors[0]
    assert tensor.verdict is Verdict.FAIL and tensor.mismatched >= 1
    assert found.blocks.keys() == {0}
    assert all(verdict is not Verdict.FAIL for verdict in [t.verdict for t in found.tensors[1:]])
    assert "throughout" in found.notes[0]
    sampled = [entry for entry in tensor.worst(100) if entry.status == "mismatch" and abs(entry.numeric) > 1e-3]
    assert all(entry.analytic == pytest.approx(2 * entry.numeric, rel=0.2) for entry in sampled)


@pytest.mark.parametrize(("place", "index"), [("row 17", np.s_[17, :]), ("column 31", np.s_[:, 31])])
def test_rows_and_columns_are_named(place: str, index: Any) -> None:
    x, loss, grad = separable(10_000, "float64")
    x = x.reshape(100, 100)

    def mistake(g: np.ndarray) -> None:
        g[index] *= 3

    found, _ = check(loss, with_mistake(grad, mistake), x)
    assert found.tensors[0].verdict is Verdict.FAIL
    assert place in found.notes[0]


def test_a_spent_budget_leaves_no_guess() -> None:
    x, loss, grad = separable(10_000, "float64")
    found, problem = check(loss, grad, x, budget=3)
    assert found.tensors[0].verdict is Verdict.INCONCLUSIVE and found.tensors[0].checked == 0
    assert "max_evaluations" in found.notes[0]
    assert problem.remaining() == 0
    at = typical(grad(x), 1)
    wrong = with_mistake(grad, lambda g: MISTAKES["doubled"](g, at))
    for budget in range(10, 120, 10):
        found, problem = check(loss, wrong, x, budget=budget)
        assert found.tensors[0].verdict is not Verdict.PASS
        assert problem.remaining() >= 0
        assert check(loss, grad, x, budget=budget)[0].tensors[0].verdict is not Verdict.FAIL


def test_a_missing_gradient_is_seen_and_one_without_influence_passes() -> None:
    x, loss, grad = separable(1000, "float64")
    p = {"x": x, "unused": np.ones(50)}
    found, _ = check(lambda p: loss(p["x"]), lambda p: {"x": grad(p["x"]), "unused": np.zeros(50)}, p)
    assert [tensor.verdict.value for tensor in found.tensors] == ["pass", "pass"]
    found, _ = check(
        lambda p: loss(p["x"]) + float(p["unused"].sum()), lambda p: {"x": grad(p["x"]), "unused": 0 * p["unused"]}, p
    )
    assert [tensor.verdict.value for tensor in found.tensors] == ["pass", "fail"]


def test_what_the_noise_hides_is_not_decided() -> None:
    x, loss, grad = separable(1000, "float64")
    found, _ = check(lambda x: loss(x) + 1e16, grad, x)
    assert found.tensors[0].verdict is Verdict.INCONCLUSIVE


def test_a_domain_edge_gets_a_scale_per_entry() -> None:
    x = np.random.default_rng(1).uniform(1e-6, 1.0, 2000) ** 3

    def loss(x: np.ndarray) -> float:
        if np.any(x <= 0):
            raise ValueError("outside")
        return float(np.log(x).sum())

    found, _ = check(loss, lambda x: 1 / x, x)
    assert found.tensors[0].verdict is Verdict.PASS
    found, _ = check(loss, with_mistake(lambda x: 1 / x, lambda g: np.multiply.at(g, [77], 1.5)), x)
    assert named(found) == {(77,)}


def test_many_tensors_are_probed_together(dtype: str) -> None:
    x, loss, grad = separable(4000, dtype)
    flat = {f"t{i}": part for i, part in enumerate(np.split(x, 80))}

    def joined(p: Any) -> np.ndarray:
        return np.concatenate(list(p.values()))

    def split(p: Any) -> dict[str, np.ndarray]:
        return dict(zip(p, np.split(grad(joined(p)), 80), strict=True))

    found, _ = check(lambda p: loss(joined(p)), split, flat)
    assert {tensor.verdict for tensor in found.tensors} == {Verdict.PASS}
    wrong = with_mistake(split, lambda g: np.multiply.at(g["t41"], typical(g["t41"], 1), -1.0))
    found, _ = check(lambda p: loss(joined(p)), wrong, flat)
    assert [tensor.name for tensor in found.tensors if tensor.verdict is Verdict.FAIL] == ["t41"]
    assert len(named(found, 41)) == 1


def test_directions_are_signed_and_never_blind() -> None:
    problem = Problem(lambda x: 0.0, np.zeros((50, 40)), np.ones((50, 40)))
    v = direction(problem, [0], np.random.default_rng(0), False)[0]
    assert np.all((np.abs(v) >= 0.5) & (np.abs(v) <= 1.5))
    assert 0.4 < np.mean(v > 0) < 0.6


def test_places_in_words() -> None:
    problem = Problem(lambda x: 0.0, np.zeros((8, 12)), np.ones((8, 12)))
    whole = Block.whole(problem, [0])
    assert describe([whole], (8, 12)) == "throughout"
    assert describe([Block(((0, (slice(3, 4), slice(0, 12))),))], (8, 12)) == "row 3"
    assert describe([Block(((0, (slice(0, 8), slice(3, 5))),))], (8, 12)) == "columns 3-4"
    halves = whole.halves(1)
    assert halves is not None and [half.size for half in halves] == [48, 48]


def test_through_the_front_door() -> None:
    x, loss, grad = separable(10_000, "float64")
    report = gp.check_gradients(loss, grad, x, method="projected")
    assert report.verdict is Verdict.PASS and report.method == "projected"
    at = typical(grad(x), 1)
    report = gp.check_gradients(loss, with_mistake(grad, lambda g: MISTAKES["zeroed"](g, at)), x, method="projected")
    assert report.verdict is Verdict.FAIL
    assert report.tensors["params"].worst(1)[0].index == (int(at[0]),)


@pytest.mark.campaign
@pytest.mark.parametrize("mistake", [None, "doubled", "zeroed"])
def test_ten_million_parameters(mistake: str | None) -> None:
    x, loss, grad = separable(10_000_000, "float64")
    x = x.reshape(2500, 4000)
    at = typical(grad(x), 1)
    g = grad if mistake is None else with_mistake(grad, lambda g: MISTAKES[mistake](g.reshape(-1), at))
    report = gp.check_gradients(loss, g, x, method="projected", nearby=False)
    assert report.evaluations < 400
    assert report.verdict is (Verdict.PASS if mistake is None else Verdict.FAIL)
    assert report.detectable < 1e-4
    if mistake is not None:
        assert [e.index for e in report.tensors["params"].worst(5)] == [
            tuple(map(int, np.unravel_index(at[0], x.shape)))
        ]


def test_what_a_search_places_in_a_block_the_diagnosis_says() -> None:
    x, loss, grad = separable(40_000, "float64", 0)
    matrix = x.reshape(200, 200)

    def wrong(p: Any) -> Any:
        g = grad(p.ravel()).reshape(200, 200).copy()
        g[64:80] += 0.5 * np.abs(g).mean()
        return g

    report = gp.check_gradients(lambda p: loss(p.ravel()), wrong, matrix, method="projected", progress=False)
    first = report.findings[0]
    assert report.verdict == "fail" and "wrong in rows 64-79" in first.message
    assert first.evidence["where"].startswith("rows 64-79")


@pytest.mark.parametrize(
    ("moved", "cause", "said"),
    [
        (lambda g: g.T.copy(), "transpose", "numeric transposed"),
        (lambda g: g[::-1].copy(), "indexing", "flipped along axis 0"),
        (lambda g: np.roll(g, 3, 1), "indexing", "shifted by 3 along axis 1"),
    ],
)
def test_values_in_wrong_places_are_recognized_from_a_few(moved: Any, cause: str, said: str) -> None:
    x, loss, grad = separable(40_000, "float64", 0)

    def wrong(p: Any) -> Any:
        return moved(grad(p.ravel()).reshape(200, 200))

    matrix = x.reshape(200, 200)
    report = gp.check_gradients(lambda p: loss(p.ravel()), wrong, matrix, method="projected", progress=False)
    first = report.findings[0]
    assert first.cause == cause and said in first.message, first.message
    assert not any("subtract" in note for note in report.notes)


def test_exchanged_gradients_are_recognized_from_a_few_entries() -> None:
    (x, loss, grad), (y, other, slope) = (separable(4000, "float64", seed) for seed in (0, 1))
    report = gp.check_gradients(
        lambda p: loss(p["x"]) + other(p["y"]),
        lambda p: {"x": slope(p["y"]), "y": grad(p["x"])},
        {"x": x, "y": y},
        method="projected",
        progress=False,
    )
    assert {finding.cause for finding in report.findings[:2]} == {"swapped"}, str(report)


def test_what_is_wrong_throughout_is_not_placed_in_the_entries_looked_at() -> None:
    x, loss, grad = separable(40_000, "float64", 0)
    report = gp.check_gradients(loss, lambda p: grad(p) * (1 + np.tanh(p) ** 2), x, method="projected", progress=False)
    first = report.findings[0]
    assert first.cause != "indexing" and "looked at" in first.message, first.message


@pytest.mark.parametrize("after", [60, 120, 400])
def test_an_interrupt_leaves_what_is_known(after: int) -> None:
    x, loss, grad = separable(5000, "float64", 0)
    params = {"right": x, "wrong": x[:2000].copy(), "later": x[:1000].copy()}
    calls = 0

    def interrupted(p: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == after:
            raise KeyboardInterrupt
        return sum(float(np.sin(array).sum()) for array in p.values())

    def gradient(p: Any) -> Any:
        g = {name: np.cos(array) for name, array in p.items()}
        g["wrong"] = g["wrong"] * np.where(np.arange(2000) % 100 == 7, 2.0, 1.0)
        return g

    report = gp.check_gradients(interrupted, gradient, params, method="projected", progress=False)
    assert report.verdict in ("fail", "inconclusive") and calls == after
    assert any("interrupted" in note for note in report.notes)
    assert report.tensors["right"].mismatched == report.tensors["later"].mismatched == 0
    counts = [tensor.checked for tensor in report.tensors.values()]
    assert after > 60 or 0 in counts  # not probed, and not guessed


def test_passing_blindly_is_said() -> None:
    x, loss, grad = separable(10_000, "float64", 0)

    def coarse(p: Any) -> float:
        return loss(p) + 1e14

    report = gp.check_gradients(coarse, grad, x, method="projected", progress=False)
    assert report.detectable > 1
    if report.verdict == "pass":
        assert any("a single wrong entry would not have been seen" in note for note in report.notes)
        assert "a single wrong entry need not" in " ".join(str(report).split())
    nothing = gp.check_gradients(lambda p: loss(p) + 1e17, grad, x, method="projected", progress=False)
    assert nothing.verdict == "inconclusive"


def scaled(kind: str, size: int = 20_000) -> tuple[np.ndarray, Loss, Callable[[Any], np.ndarray]]:
    """Parameters of sizes twelve powers of ten apart, to which the loss is equally sensitive for their size."""
    rng = np.random.default_rng(0)
    sizes = {
        "halves": np.where(rng.random(size) < 0.5, 1e-6, 1e6),
        "spread": 10 ** rng.uniform(-6, 6, size),
        "few small": np.where(rng.random(size) < 0.05, 1e-6, 1e6),
    }[kind]
    x = sizes * rng.normal(size=size)

    def loss(x: np.ndarray) -> float:
        z = x / sizes
        return float((np.tanh(z) + z * z / 10).sum())

    def grad(x: np.ndarray) -> np.ndarray:
        z = x / sizes
        return np.asarray((1 / np.cosh(z) ** 2 + z / 5) / sizes)

    return x, loss, grad


@pytest.mark.parametrize("kind", ["halves", "spread", "few small"])
def test_scales_far_apart_accuse_nobody(kind: str) -> None:
    """Steps that are large beside some of the entries all agree, on what is not the slope."""
    x, loss, grad = scaled(kind)
    report = gp.check_gradients(loss, grad, x, method="projected", nearby=False, progress=False)
    assert report.verdict == "pass", str(report)


@pytest.mark.parametrize("kind", ["halves", "spread", "few small"])
def test_scales_far_apart_hide_no_mistake(kind: str) -> None:
    x, loss, grad = scaled(kind)
    index = int(np.argmax(np.abs(grad(x))))

    def wrong(x: np.ndarray) -> np.ndarray:
        g = grad(x)
        g[index] *= 2
        return g

    report = gp.check_gradients(loss, wrong, x, method="projected", nearby=False, progress=False)
    assert report.verdict == "fail"
    assert report.worst(1)[0][1].index == (index,)


def test_a_tensor_of_kinks_is_left_open_for_that_reason() -> None:
    x = np.zeros(20_000)
    report = gp.check_gradients(lambda x: np.abs(x).sum(), np.sign, x, method="projected", nearby=False, progress=False)
    assert report.verdict == "inconclusive"
    assert any("kinks" in note and "exhaustive" in note for note in report.notes)


@pytest.mark.parametrize("frequency", [1e8, 1e9, 3e9])
def test_what_oscillates_within_a_step_is_no_mistake(frequency: float) -> None:
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=100)
        report = gp.check_gradients(
            lambda x: np.sin(frequency * x).sum(),
            lambda x: frequency * np.cos(frequency * x),
            x,
            method="projected",
            seed=seed,
            nearby=False,
            progress=False,
        )
        assert report.verdict in ("pass", "inconclusive"), f"{seed}: {report}"
