"""From the pattern of a mismatch to its cause: known mistakes in known networks, and arrays without any pattern."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import pytest
from cases.generated import Mistake, Step, mistakes
from cases.measured import measured
from cases.networks_unseen import UNSEEN
from cases.networks_with_mistakes import TUNING, mlp

import gradproof as gp
from gradproof.check.diagnose import Tensor, diagnose
from gradproof.check.report import EntryReport, Finding, Status

FAMILIES = [pytest.param(family, id=family.__name__) for family in TUNING + UNSEEN]
CONFIDENT = 0.6


@lru_cache(None)
def outcomes() -> dict[str, list[tuple[Mistake, list[Finding]]]]:
    return {
        family.__name__: [
            (mistake, diagnose(measured(mistake.network.params, mistake.right, mistake.gradient)))
            for mistake in mistakes(family)
        ]
        for family in TUNING + UNSEEN
    }


def network(**wrong: np.ndarray) -> list[Tensor]:
    """A network of three layers with some gradients replaced."""
    net = mlp(np.random.default_rng(1))
    right = net.backward(net.params, Step())
    return measured(net.params, right, right | wrong)


def right(name: str) -> np.ndarray:
    net = mlp(np.random.default_rng(1))
    return net.backward(net.params, Step())[name]


def own(findings: list[Finding]) -> dict[str | None, str]:
    return {finding.tensor: finding.cause for finding in findings if finding.cause != "upstream"}


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_the_cases_agree_with_differences(family):
    net = family(np.random.default_rng(0))
    gradient = net.backward(net.params, Step())
    assert list(gradient) == list(net.params)
    h = 1e-5
    for name, theta in net.params.items():
        for index in list(np.ndindex(*theta.shape))[:: max(1, theta.size // 8)]:
            moved = {key: array.copy() for key, array in net.params.items()}
            moved[name][index] += h
            high = net.loss(moved)
            moved[name][index] -= 2 * h
            assert gradient[name][index] == pytest.approx((high - net.loss(moved)) / (2 * h), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_wrong_tensor_is_named_and_the_origin_first(family):
    for mistake, findings in outcomes()[family.__name__]:
        wrong = {t.name for t in measured(mistake.network.params, mistake.right, mistake.gradient) if t.is_wrong}
        assert {finding.tensor for finding in findings} == wrong, mistake.name
        assert findings[0].tensor in mistake.blame, mistake.name
        assert findings[0].cause != "upstream"


@pytest.mark.parametrize("families", [TUNING, UNSEEN], ids=["tuned", "unseen"])
def test_causes_are_named_or_listed_and_seldom_wrong_with_confidence(families):
    """The confusion matrix of it: ``python bench/run.py diagnosis``."""
    rows = [(m, findings[0]) for family in families for m, findings in outcomes()[family.__name__]]
    named = sum(m.cause == first.cause for m, first in rows)
    listed = sum(m.cause in (first.cause, *first.evidence.get("candidates", ())) for m, first in rows)
    confident = [m.name for m, first in rows if m.cause != first.cause and first.confidence > CONFIDENT]
    assert named >= 0.92 * len(rows)
    assert listed >= 0.98 * len(rows)
    assert len(confident) <= 0.01 * len(rows), confident


def test_evidence_is_plain_and_messages_are_short():
    for rows in outcomes().values():
        for mistake, findings in rows:
            for finding in findings:
                json.dumps(dict(finding.evidence))
                assert finding.tensor is not None
                assert finding.message.startswith(finding.tensor + ": ")
                assert len(finding.message) < 700, (mistake.name, finding.message)


def test_the_exercise_names_both_tensors_and_both_factors():
    findings = diagnose(network(W2=2 * right("W2"), b1=4 * right("b1")))
    assert [(f.tensor, f.cause) for f in findings] == [("W2", "scale"), ("b1", "scale")]
    assert findings[0].evidence["factor"] == pytest.approx(2, rel=1e-8)
    assert findings[1].evidence["factor"] == pytest.approx(4, rel=1e-8)
    assert "analytic = 2.000 × numeric in all 64 entries" in findings[0].message
    assert "right, because" in findings[0].message and "W1" in findings[0].message


def test_the_exercise_from_loss_and_gradient_alone():
    net = mlp(np.random.default_rng(1))

    def gradient(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        g = net.backward(params, Step())
        return g | {"W2": 2 * g["W2"], "b1": 4 * g["b1"]}

    report = gp.check_gradients(net.loss, gradient, net.params, progress=False)
    assert report.culprits == ["W2", "b1"]
    factors = {f.tensor: f.evidence["factor"] for f in report.findings if f.cause == "scale"}
    assert factors == pytest.approx({"W2": 2.0, "b1": 4.0}, rel=1e-6)


def test_independent_mistakes_are_all_named():
    wrong = {"W1": right("W1")[::-1].copy(), "b2": -right("b2"), "W3": 0 * right("W3")}
    assert own(diagnose(network(**wrong))) == {"W3": "missing-term", "b2": "sign", "W1": "indexing"}


def test_a_factor_on_what_flows_back_is_blamed_once():
    wrong = {name: 3 * right(name) for name in ("W1", "b1", "W2", "b2")} | {"b1": 6 * right("b1")}
    findings = diagnose(network(**wrong))
    assert own(findings) == {"W2": "scale", "b1": "scale"}
    assert {f.tensor: f.evidence["origin"] for f in findings if f.cause == "upstream"} == {"W1": "W2", "b2": "W2"}
    assert "W3, b3" in findings[0].message


def test_one_odd_entry_does_not_hide_a_factor():
    wrong = 2 * right("W2")
    wrong[3, 1] += 1
    first = diagnose(network(W2=wrong))[0]
    assert first.cause == "scale" and first.evidence["factor"] == pytest.approx(2, rel=1e-8)
    assert first.evidence["exceptions"] == [[3, 1]]


def test_confidence_grows_with_what_could_have_refuted():
    one = Tensor("b", (1,), *(np.array([v]) for v in (0.3, 4.0, 1.0, 1e-9)), np.array([Status.MISMATCH], np.uint8))
    many = diagnose(network(W2=4 * right("W2")))[0]
    assert diagnose([one])[0].confidence < many.confidence


@pytest.mark.parametrize("power", [1, -1, 2])
def test_a_factor_per_unit_from_the_lengths_of_another_tensor_is_named(rng, power):
    v = rng.normal(size=(5, 6))
    params = {"v": v, "g": rng.normal(size=6)}
    right = {"v": rng.normal(size=(5, 6)), "g": rng.normal(size=6)}
    lengths = np.sqrt((v**2).sum(0))
    (finding,) = diagnose(measured(params, right, right | {"g": right["g"] * lengths**power}))
    assert finding.cause == "scale" and finding.evidence["other"] == "v"
    assert "length of its columns" in finding.message


def test_swapped_tensors_name_each_other():
    findings = diagnose(network(b1=right("b2"), b2=right("b1")))
    assert {f.tensor: f.evidence["other"] for f in findings} == {"b1": "b2", "b2": "b1"}


def test_noise_is_not_explained(rng):
    findings = diagnose(network(W2=right("W2") + rng.normal(size=(8, 8))))
    assert [(f.tensor, f.cause) for f in findings] == [("W2", "unknown")]
    assert "without a simple pattern" in findings[0].message
    assert findings[0].evidence["candidates"]


def test_nothing_wrong_gives_nothing():
    assert diagnose(network()) == []
    assert diagnose([]) == []


def test_entries_found_by_projections_are_enough(rng):
    entries = [EntryReport((i, 5), 2 * n, n, 1e-9, 0.5, "mismatch") for i, n in enumerate(rng.normal(size=4))]
    tensor = Tensor("W", (1000, 1000), np.broadcast_to(0.0, (1000, 1000)), None, None, None, None, entries, True)
    (finding,) = diagnose([tensor])
    assert finding.cause == "indexing" and "the others are right" in finding.message
    assert finding.tensor == "W" and finding.evidence["indices"] == [[0, 5], [1, 5], [2, 5], [3, 5]]
    assert finding.evidence["factor"] == pytest.approx(2)


def test_wrong_entries_among_many_more_show_a_factor(rng):
    places = [(int(i), int(j)) for i, j in rng.integers(0, 1000, (12, 2))]
    entries = [
        EntryReport(place, 2 * n, n, 1e-9, 0.5, "mismatch")
        for place, n in zip(places, rng.normal(size=12), strict=True)
    ]
    theta = np.broadcast_to(0.0, (1000, 1000))
    (finding,) = diagnose([Tensor("W", (1000, 1000), theta, None, None, None, None, entries)])
    assert finding.cause == "scale" and finding.evidence["factor"] == pytest.approx(2)
    row = [EntryReport((7, i), 0.0, n, 1e-9, 1.0, "mismatch") for i, n in enumerate(rng.normal(size=12))]
    (finding,) = diagnose([Tensor("W", (1000, 1000), theta, None, None, None, None, row)])
    assert finding.cause == "indexing" and (finding.evidence["axis"], finding.evidence["place"]) == (0, 7)


def test_entries_that_were_not_measured_do_not_matter(rng):
    n = rng.normal(size=(6, 5))
    a, u = 0.5 * n, np.full((6, 5), 1e-9)
    status = np.full((6, 5), Status.MISMATCH, np.uint8)
    n[2], status[2] = np.nan, Status.UNRESOLVED
    n[4, 1], u[4, 1], status[4, 1] = np.nan, np.nan, Status.UNCHECKED
    (finding,) = diagnose([Tensor("W", (6, 5), rng.normal(size=(6, 5)), a, n, u, status)])
    assert finding.cause == "scale" and finding.evidence["factor"] == pytest.approx(0.5)
    assert "all 24 entries" in finding.message


def test_a_value_outside_the_sides_of_a_kink_is_called_that():
    a, n, u = np.array([3.0, 1.0]), np.array([1.0, 1.0]), np.full(2, 1e-9)
    status = np.array([Status.KINK_MISMATCH, Status.MATCH], np.uint8)
    (finding,) = diagnose([Tensor("x", (2,), np.zeros(2), a, n, u, status)])
    assert finding.cause == "kink" and finding.evidence["indices"] == [[0]]


@pytest.mark.parametrize(
    "shape", [(), (1,), (2,), (0,), (1, 1), (3, 0), (1, 7), (7, 1), (2, 2, 2), (2, 1, 3, 2), (40,)]
)
@pytest.mark.parametrize("spoil", ["noise", "nan", "inf", "huge", "tiny", "exact", "zero", "single", "one"])
def test_any_arrays_get_a_finding_per_wrong_tensor(shape, spoil):
    rng = np.random.default_rng(len(shape))
    size = int(np.prod(shape))
    n = rng.normal(size=shape)
    a, u = n + rng.normal(size=shape), np.full(shape, 1e-9)
    if spoil == "nan":
        n = np.where(rng.random(shape) < 0.5, np.nan, n)
    elif spoil == "inf":
        u = np.full(shape, np.inf)
    elif spoil in ("huge", "tiny"):
        factor = 1e300 if spoil == "huge" else 1e-300
        a, n, u = factor * a, factor * n, factor * u
    elif spoil == "exact":
        u = np.zeros(shape)
    elif spoil == "zero":
        n = np.zeros(shape)
    elif spoil == "single":
        a = np.asarray(n.astype(np.float32), np.float64)
    elif spoil == "one":
        a = np.where(np.arange(size).reshape(shape) == 0, a, n)
    with np.errstate(all="ignore"):
        status = np.where(np.abs(a - n) <= u, Status.MATCH, Status.MISMATCH).astype(np.uint8)
    tensors = [Tensor(name, shape, n, a, n, u, status) for name in ("W", "b")]
    findings = diagnose(tensors)
    assert {f.tensor for f in findings} == {t.name for t in tensors if t.is_wrong}
    json.dumps([dict(f.evidence) for f in findings])


# What the pattern at one point tells


def only(params: dict[str, np.ndarray], right: dict[str, np.ndarray], **wrong: np.ndarray) -> Finding:
    (finding,) = diagnose(measured(params, right, right | wrong))
    return finding


def test_a_derivative_of_a_norm_that_is_left_out_is_no_penalty(rng):
    x, g = rng.normal(size=6), rng.normal(size=6)
    length = np.linalg.norm(x)
    right = {"x": (g - x * (g @ x) / length**2) / length}
    finding = only({"x": x}, right, x=g / length)
    assert finding.cause == "missing-term" and "norm" in finding.message
    assert only({"x": x}, right, x=right["x"] + 0.05 / 12 * x).cause == "regularization"


def test_a_norm_of_every_column_is_seen(rng):
    v, g = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    u = v / np.linalg.norm(v, axis=0)
    finding = only({"v": v}, {"v": g - u * (g * u).sum(0)}, v=g)
    assert finding.cause == "missing-term" and finding.evidence["axis"] == 1


@pytest.mark.parametrize("off", [lambda n: n * (1 + 3e-7), lambda n: n + 1e-7 * np.sin(40 * n)])
def test_a_tiny_error_is_an_approximation(rng, off):
    n = rng.normal(size=12)
    finding = only({"x": n}, {"x": n}, x=off(n))
    assert finding.cause == "precision" and "looks like" in finding.message
    assert "1.000 ×" not in finding.message and "rounding" not in finding.message


def test_a_factor_that_is_nearly_one_shows_its_digits(rng):
    n = rng.normal(size=12)
    assert "(1 + 0.0003) × numeric" in only({"x": n}, {"x": n}, x=n * 1.0003).message
    assert "(1 - 0.002) × numeric" in only({"x": n}, {"x": n}, x=n * 0.998).message


def test_one_number_is_not_said_to_be_scaled():
    finding = only({"t": np.array(0.3)}, {"t": np.array(1.7)}, t=np.array(0.4637))
    assert finding.cause == "unknown"
    assert {"scale", "missing-term", "derivative"} <= set(finding.evidence["candidates"])
    log = only({"t": np.array(0.3)}, {"t": np.array(1.7)}, t=1.7 * np.exp(0.3))
    assert log.cause == "scale" and "logarithm" in log.message
    assert only({"t": np.array(0.3)}, {"t": np.array(1.7)}, t=np.array(3.4)).cause == "scale"
    assert only({"t": np.array(0.3)}, {"t": np.array(1.7)}, t=np.array(-1.7)).cause == "sign"


def test_rows_that_are_hit_several_times_are_told_apart(rng):
    rows = np.array([0, 1, 1, 3, 3, 3, 4])
    d = rng.normal(size=(7, 3))
    right, wrong = np.zeros((6, 3)), np.zeros((6, 3))
    np.add.at(right, rows, d)
    wrong[rows] = d
    finding = only({"E": rng.normal(size=(6, 3))}, {"E": right}, E=wrong)
    assert finding.cause == "accumulation" and finding.evidence["indices"] == [1, 3]
    assert "np.add.at" in finding.message


def test_a_symmetric_part_and_an_own_value_are_named(rng):
    W, alpha = rng.normal(size=(4, 4)), 1 + rng.random(5)
    n = rng.normal(size=(4, 4))
    assert only({"W": W}, {"W": n}, W=(n + n.T) / 2).cause == "transpose"
    right = {"alpha": rng.normal(size=5), "U": rng.normal(size=(5, 2))}
    params = {"alpha": alpha, "U": rng.normal(size=(5, 2))}
    assert "itself" in only(params, right, alpha=right["alpha"] * alpha).message
    finding = only(params, right, U=right["U"] / alpha[:, None])
    assert finding.cause == "scale" and finding.evidence["other"] == "alpha"


def test_entries_that_were_left_zero_around_a_block_are_told(rng):
    n = rng.normal(size=(6, 6))
    finding = only({"c": n}, {"c": n}, c=np.pad(n[1:-1, 1:-1], 1))
    assert finding.cause == "indexing" and "analytic = 0 in 20 entries" in finding.message


def test_the_same_sum_means_a_wrong_axis_for_a_bias_only(rng):
    params = {"W": rng.normal(size=(3, 5)), "b": rng.normal(size=5)}
    right = {"W": rng.normal(size=(3, 5)), "b": rng.normal(size=5)}
    moved = right["b"] + np.array([0.3, -0.1, 0.4, -0.35, -0.25])
    assert only(params, right, b=moved).cause == "reduction"
    assert only({"k": params["b"]}, {"k": right["b"]}, k=moved).cause == "indexing"


def test_whole_numbers_are_not_always_rounded(rng):
    n = np.zeros(5)
    n[2] = 1.0
    assert only({"x": rng.normal(size=5)}, {"x": n}, x=np.ones(5)).cause != "precision"
    n = 20 * rng.normal(size=9)
    for rounded in (np.rint, np.trunc, np.floor):
        assert only({"x": rng.normal(size=9)}, {"x": n}, x=rounded(n)).cause == "precision"


def test_the_sign_of_some_columns_is_a_sign(rng):
    n = rng.normal(size=(6, 2))
    finding = only({"z": rng.normal(size=(6, 2))}, {"z": n}, z=n * [1, -1])
    assert finding.cause == "sign" and "(-1 where it is wrong)" in finding.message
    assert only({"z": rng.normal(size=(6, 2))}, {"z": n}, z=n * [1, 3]).cause == "indexing"


@pytest.mark.parametrize("relative", [1e-6, 1e-3, 0.5])
def test_one_wrong_entry_in_front_of_a_norm_is_neither_a_mask_nor_a_derivative(relative):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(5, 4)), rng.integers(0, 3, 5)
    for seed in range(4):
        layers = [gp.Dense(6), gp.BatchNorm(), gp.Tanh(), gp.Dense(3)]
        model = gp.Sequential(layers, 4, "softmax_cross_entropy", dtype="float64", seed=seed)
        gradient = model.loss_and_gradient(X, y)[1].copy()
        gradient[np.argmax(np.abs(gradient[: model.layout["dense_0.W"].stop]))] *= 1 + relative
        report = gp.check_model(model, X, y, gradient=gradient)
        assert report.culprits == ["dense_0.W"]
        assert report.findings[0].cause in ("indexing", "precision")


@pytest.mark.parametrize(("a", "n"), [(1.0, 0.0), (2.5, 1.7)])
def test_one_number_beside_its_parameter_is_no_penalty(a, n):
    params = {"x": np.array([-4.8269868]), "y": np.array([1.0, 2.0])}
    right = {"x": np.array([n]), "y": np.array([0.3, 0.7])}
    assert only(params, right, x=np.array([a])).cause != "regularization"


def test_a_factor_known_better_than_its_bounds_is_no_pair_of_penalties(rng):
    """The uncertainties are bounds: 42 entries that agree to far less tell a factor from two coefficients."""
    theta = rng.normal(size=(6, 7))
    n = 1.25e-3 * theta
    a, u = 1.01 * n, 0.05 * np.abs(n)
    u[0] = 9e-3 * np.abs(n[0])
    status = np.where(np.abs(a - n) <= u, Status.MATCH, Status.MISMATCH).astype(np.uint8)
    (finding,) = diagnose([Tensor("W", theta.shape, theta, a, n, u, status)])
    assert finding.cause == "scale" and finding.evidence["factor"] == pytest.approx(1.01)


def test_next_to_nothing_is_no_factor_with_a_name(rng):
    n = rng.normal(size=(4, 5))
    status = np.full(n.shape, Status.MISMATCH, np.uint8)
    (finding,) = diagnose([Tensor("W", n.shape, rng.normal(size=n.shape), 3e-8 * n, n, 1e-12 * np.abs(n), status)])
    assert "meaning" not in finding.evidence


def test_a_factor_that_is_hardly_known_has_no_name(rng):
    n = rng.normal(size=(4, 3))
    u, status = 0.03 * np.abs(n), np.full(n.shape, Status.MISMATCH, np.uint8)
    a = 1.3 * n * (1 + 0.02 * rng.normal(size=n.shape))
    (finding,) = diagnose([Tensor("W", n.shape, rng.normal(size=n.shape), a, n, u, status)])
    assert finding.cause == "scale" and "meaning" not in finding.evidence
