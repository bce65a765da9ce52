"""Reports: numbers derived from arrays, verdicts, and what they become as data."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof.check.errors import (
    Norms,
    RelativeError,
    entry_relative_errors,
    max_relative_error,
    relative_error,
)
from gradproof.check.report import (
    CAUSES,
    STATUS,
    EntryReport,
    Finding,
    GradientError,
    GradientReport,
    Status,
    TensorReport,
    Verdict,
)

M, X, K, KX, U, N = (
    Status.MATCH,
    Status.MISMATCH,
    Status.KINK,
    Status.KINK_MISMATCH,
    Status.UNRESOLVED,
    Status.UNCHECKED,
)


def tensor(
    analytic: Any, numeric: Any, status: Any = M, uncertainty: Any = 1e-6, name: str = "W", **options: Any
) -> TensorReport:
    a, n = np.array(analytic, float), np.array(numeric, float)
    u, s = (np.broadcast_to(np.asarray(value), a.shape).copy() for value in (uncertainty, status))
    return TensorReport(name, a.shape, a, n, u, s.astype(np.uint8), **options)


def report(*tensors: TensorReport, **options: Any) -> GradientReport:
    return GradientReport(tensors, environment={}, **options)


# Relative errors


def test_relative_errors_follow_the_courses() -> None:
    a, n = np.array([1.0, 2.0, 0.0]), np.array([1.0, 2.5, 0.0])
    assert relative_error(a, n) == pytest.approx(0.5 / (math.sqrt(5) + math.sqrt(7.25)))
    assert max_relative_error(a, n) == pytest.approx(0.2)
    assert entry_relative_errors(a, n).tolist() == [0.0, pytest.approx(0.2), 0.0]


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-200, 1.0, 1e200, 1.7e308])
def test_no_overflow_and_no_underflow(scale: float) -> None:
    a = np.array([scale, -scale, 0.0])
    assert relative_error(a, a) == 0.0
    assert relative_error(a, -a) == 1.0
    assert max_relative_error(a, a) == 0.0
    assert max_relative_error(a, -a) == 2.0
    assert Norms.joined([Norms.of(a, -a), Norms.of(a, a)]).relative_error == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("shape", [(0,), (3,), ()])
def test_zero_and_empty_gradients_do_not_differ(shape: tuple[int, ...]) -> None:
    assert relative_error(np.zeros(shape), np.zeros(shape)) == 0.0
    assert max_relative_error(np.zeros(shape), np.zeros(shape)) == 0.0


def test_norms_are_those_of_the_concatenation(rng: np.random.Generator) -> None:
    parts = [(rng.normal(size=n) * scale, rng.normal(size=n) * scale) for n, scale in ((7, 1e-3), (4, 1e5), (0, 1.0))]
    whole = relative_error(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    assert Norms.joined(Norms.of(*part) for part in parts).relative_error == pytest.approx(whole, rel=1e-14)
    assert Norms.joined([]).relative_error == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_has_no_error(bad: float) -> None:
    assert math.isnan(relative_error(np.array([bad]), np.array([1.0])))
    assert math.isnan(max_relative_error(np.array([bad]), np.array([1.0])))
    assert RelativeError(math.nan).band() == "undefined"


@pytest.mark.parametrize(
    ("value", "options", "words"),
    [
        (1e-8, {}, "great"),
        (1e-6, {}, "probably right"),
        (1e-4, {}, "suspicious"),
        (1e-2, {}, "worrying"),
        (1e-8, {"source": "cs231n"}, "happy"),
        (1e-5, {"source": "cs231n"}, "okay with kinks, high without"),
        (1e-5, {"source": "cs231n", "kinks": True}, "usually okay"),
        (1e-5, {"source": "cs231n", "kinks": False}, "too high"),
        (1e-3, {"source": "cs231n"}, "uncomfortable"),
        (1e-3, {"source": "cs231n", "depth": 10}, "10 layers"),
        (1e-3, {"source": "cs231n", "depth": 3}, "uncomfortable"),
        (0.5, {"source": "cs231n", "depth": 10}, "probably wrong"),
        (math.inf, {}, "worrying"),
    ],
)
def test_bands(value: float, options: dict[str, Any], words: str) -> None:
    assert words in RelativeError(value).band(**options)


def test_each_measure_knows_its_course() -> None:
    one = tensor([1.0], [1.0])
    assert (one.relative_error.source, one.max_relative_error.source) == ("ng", "cs231n")
    assert pickle.loads(pickle.dumps(one.max_relative_error)).band() == "happy"


# Tensors


def test_counts_add_up() -> None:
    one = tensor([1, 2, 1, 1, 1, math.nan], [1, 1, 1, 1, 1, math.nan], [M, X, K, KX, U, N])
    assert (one.checked, one.matched, one.mismatched, one.kinks, one.unresolved) == (5, 1, 2, 1, 1)
    assert one.verdict == "fail"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [([M, M], "pass"), ([M, K], "pass"), ([M, U], "inconclusive"), ([U, X], "fail"), ([M, KX], "fail"),
     ([M, N], "pass"), ([N, N], "inconclusive"), ([], "pass")],
)  # fmt: skip
def test_verdict_of_a_tensor(status: list[Status], verdict: str) -> None:
    assert tensor(np.ones(len(status)), np.ones(len(status)), status).verdict == verdict


def test_given_values_replace_derived_ones() -> None:
    one = tensor([1.0], [1.0], detectable=0.25, verdict=Verdict.NONFINITE)
    assert (one.detectable, one.verdict) == (0.25, "nonfinite")


def test_errors_leave_out_accepted_kinks_and_what_was_not_measured() -> None:
    one = tensor([1, 5, 7, 9], [1, 1, math.nan, math.nan], [M, K, U, N])
    assert one.relative_error == 0.0
    assert one.max_relative_error == 0.0
    assert math.isnan(tensor([1.0], [math.nan], N).relative_error)
    assert tensor([1.0], [0.5], K).relative_error == 0.0


def test_flat_arrays_take_the_shape() -> None:
    flat = np.arange(6.0)
    one = TensorReport("W", (2, 3), flat, flat, np.ones(6), np.ones(6, np.uint8))
    assert one.analytic is not None and one.analytic.shape == (2, 3)
    assert np.shares_memory(one.analytic, flat)


def test_float32_arrays_are_compared_in_float64() -> None:
    a = np.array([1.0, 1.0 + 2.0**-23], np.float32)
    one = TensorReport("W", (2,), a, a[::-1].copy(), np.full(2, 1e-6), np.ones(2, np.uint8))
    assert one.max_relative_error == pytest.approx(2.0**-23, rel=1e-6)


def test_detectable_is_the_weakest_entry_that_counts() -> None:
    one = tensor([1, 0.1, 1e-6], [1, 0.1, 1e-6], uncertainty=[1e-8, 1e-7, 1.0])
    assert one.detectable == pytest.approx(1e-6)  # the third is far below the root mean square
    assert math.isnan(tensor([0.0], [0.0]).detectable)
    assert tensor([1e-320], [1e-320], uncertainty=[1e-322]).detectable == pytest.approx(1e-2, rel=0.1)


def test_worst_puts_wrong_entries_first_then_distance_then_relative_error() -> None:
    one = tensor(
        [[1, 2, 9], [4, 1, 1]], [[1, 1, 1], [1, 1, 1]], [[M, X, K], [U, X, N]], [[1, 1e-3, 1], [1, math.inf, 1]]
    )
    assert [entry.index for entry in one.worst()] == [(0, 1), (1, 1), (1, 0), (0, 0)]
    first = one.worst(1)[0]
    assert first == EntryReport((0, 1), 2.0, 1.0, 1e-3, 0.5, "mismatch")
    assert all(isinstance(i, int) for i in first.index)
    assert one.worst(0) == []


@pytest.mark.parametrize("wrong", [0, 3, 5000])
def test_worst_of_a_large_tensor(rng: np.random.Generator, wrong: int) -> None:
    numeric = rng.normal(size=20000)
    analytic = numeric + rng.normal(size=20000)
    status = np.ones(20000, np.uint8)
    status[:wrong] = X
    one = TensorReport("W", (100, 200), analytic, numeric, np.ones(20000), status)
    distance = np.abs(analytic - numeric)
    candidates = np.arange(wrong) if wrong >= 5 else np.arange(20000)
    order = sorted(candidates, key=lambda i: (status[i] != X, -distance[i]))[:5]
    assert [entry.index for entry in one.worst(5)] == [divmod(i, 200) for i in order]


def test_scalar_tensor() -> None:
    one = tensor(3.0, 2.0, X)
    assert one.worst(1)[0].index == ()
    assert one.max_relative_error == pytest.approx(1 / 3)


def test_projected_mode_has_numbers_but_no_arrays() -> None:
    entry = EntryReport((1,), 2.0, 1.0, 1e-9, 0.5, "mismatch")
    one = TensorReport.from_counts(
        "W", (100,), matched=98, mismatched=1, unresolved=1, relative_error=1e-3, max_relative_error=0.5,
        detectable=1e-5, entries=[entry],
    )  # fmt: skip
    assert (one.checked, one.matched, one.mismatched, one.unresolved) == (100, 98, 1, 1)
    assert (one.relative_error, one.max_relative_error, one.detectable) == (1e-3, 0.5, 1e-5)
    assert (one.analytic, one.numeric, one.uncertainty, one.excess) == (None,) * 4
    assert one.verdict == "fail"
    assert one.worst() == [entry]
    with pytest.raises(ValueError, match="'W'.*projections"):
        one.entry((1,))
    whole = report(one, tensor([1.0], [1.0], name="b"))
    assert whole.relative_error == 1e-3
    assert "W" in str(whole)


# Whole reports


def test_verdict_is_a_string() -> None:
    assert Verdict.PASS == "pass"
    assert f"{Verdict.PASS}" == str(Verdict.PASS) == "pass"
    assert json.dumps(Verdict.FAIL) == '"fail"'
    assert STATUS == ("unchecked", "match", "mismatch", "kink", "kink-mismatch", "unresolved")


def test_a_passing_report_is_true() -> None:
    good, bad = report(tensor([1.0], [1.0])), report(tensor([1.0], [2.0], X))
    assert (good.verdict, good.ok, bool(good)) == ("pass", True, True)
    assert (bad.verdict, bad.ok, bool(bad)) == ("fail", False, False)
    assert report(tensor([1.0], [1.0], U)).verdict == "inconclusive"
    assert report().verdict == "pass"


@pytest.mark.parametrize("where", ["parts", "stages"])
def test_parts_and_stages_decide_too(where: str) -> None:
    bad = report(tensor([1.0], [2.0], X, name="b"), label="data")
    whole = report(tensor([1.0], [1.0]), **{where: {"data": bad} if where == "parts" else [bad]})
    assert whole.verdict == "fail"
    assert whole.culprits == ["b"]
    assert [path for path, _ in whole.walk()] == [(), ("data",)]
    assert "b" in str(whole)


def test_the_given_verdict_stands() -> None:
    whole = report(tensor([1.0], [1.0]), verdict=Verdict.NONDETERMINISTIC)
    assert whole.verdict == "nondeterministic"


def test_culprits_begin_with_the_origin() -> None:
    wrong = [tensor([1.0], [2.0], X, name=name) for name in "abc"]
    findings = [Finding("scale", "c", "twice"), Finding("vacuous", "d", "zero"), Finding("unknown", None, "?")]
    assert report(*wrong, tensor([0.0], [0.0], name="d"), findings=findings).culprits == ["c", "a", "b"]


def test_numbers_over_all_tensors() -> None:
    whole = report(tensor([3.0, 0.0], [3.0, 0.0]), tensor([4.0], [5.0], X, name="b", uncertainty=1e-3))
    assert (whole.size, whole.checked, whole.matched, whole.mismatched) == (3, 3, 2, 1)
    assert whole.relative_error == pytest.approx(1 / (5 + math.sqrt(34)))
    assert whole.max_relative_error == pytest.approx(0.2)
    assert whole.detectable == pytest.approx(2e-4)
    assert [name for name, _ in whole.worst(2)] == ["b", "W"]


def test_tensors_without_a_comparison_do_not_spoil_the_whole() -> None:
    nothing = tensor([1.0], [math.nan], N, name="b")
    assert report(tensor([3.0], [3.0]), nothing).relative_error == 0.0
    assert math.isnan(report(nothing).relative_error)
    assert math.isnan(report(nothing).max_relative_error)


def test_the_environment_waits_until_it_is_read() -> None:
    calls = []
    whole = GradientReport([], environment=lambda: calls.append(1) or {"seed": 3})
    assert not calls
    assert whole.environment == whole.environment == {"seed": 3}
    assert len(calls) == 1


def test_reports_can_be_pickled() -> None:
    whole = GradientReport([tensor([1.0], [2.0], X)], environment=lambda: {"seed": 3}, notes=["n"])
    again = pickle.loads(pickle.dumps(whole))
    assert again.to_dict() == whole.to_dict()
    error = pickle.loads(pickle.dumps(GradientError(whole)))
    assert error.report.verdict == "fail"
    assert isinstance(error, AssertionError)
    assert str(error) == str(whole)


@pytest.mark.parametrize("cause", ["bug", "", "SCALE"])
def test_the_vocabulary_of_causes_is_closed(cause: str) -> None:
    with pytest.raises(ValueError, match="cause.*scale"):
        Finding(cause, None, "text")


def test_findings() -> None:
    assert all(Finding(cause, "W", "text", 0.5).cause == cause for cause in CAUSES)
    with pytest.raises(ValueError, match="confidence"):
        Finding("scale", None, "text", 1.5)


# Data


def test_to_dict_is_json(tmp_path: Any) -> None:
    findings = [Finding("scale", "W", "text", 0.9, {"factor": np.float64(2), "indices": np.array([1, 2])})]
    part = report(tensor([1.0], [math.inf], U), label="data")
    whole = report(
        tensor([[1.0, math.nan]], [[2.0, math.nan]], [[X, N]], [[0.0, math.nan]]),
        findings=findings, parts={"data": part}, stages=[part], notes=["note"], dtype="float64",
    )  # fmt: skip
    path = tmp_path / "report.json"
    text = whole.to_json(path, include_arrays=True)
    values = json.loads(path.read_text())
    assert values == json.loads(text) == whole.to_dict(include_arrays=True)
    assert values["verdict"] == "fail"
    assert values["tensors"]["W"]["numeric"] == [[2.0, None]]
    assert values["tensors"]["W"]["status"] == [["mismatch", "unchecked"]]
    assert values["tensors"]["W"]["worst"][0]["index"] == [0, 0]
    assert values["parts"]["data"]["tensors"]["W"]["worst"][0]["numeric"] == "inf"
    assert values["findings"][0]["evidence"] == {"factor": 2.0, "indices": [1, 2]}
    assert "numeric" not in whole.to_dict()["tensors"]["W"]
    scalar = report(tensor(1.0, 1.0, M)).to_dict(include_arrays=True)["tensors"]["W"]
    assert (scalar["numeric"], scalar["status"]) == (1.0, "match")


def test_files_are_written_whole_or_not_at_all(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        report().to_json(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match="no folder"):
        report().to_json(tmp_path / "missing" / "report.json")


@pytest.mark.parametrize(("k", "error"), [(-1, ValueError), (1.5, TypeError), ("3", TypeError)])
def test_how_many_worst_entries_is_a_number_of_them(k, error):
    report = gp.check_gradients(lambda x: float(x @ x), lambda x: 2 * x, np.ones(3))
    for one in (report, *report.tensors.values()):
        assert len(one.worst(0)) == 0
        with pytest.raises(error, match="k: got"):
            one.worst(k)
