"""Renderings: terminal, page, notebook, JUnit and plots say the same, and nothing in a name can break them."""

from __future__ import annotations

import re
import sys
import warnings
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from gradproof.check.curves import Curve, half_decades
from gradproof.check.render import plot, words
from gradproof.check.report import Finding, GradientReport, Status, TensorReport, Verdict

NASTY = '<script>alert("x")</script> & $\\frac \x00 \ud800 [bold] θ\''


def tensor(name: str, shape: tuple[int, ...], status: Status = Status.MATCH, wrong: int = 0) -> TensorReport:
    rng = np.random.default_rng(1)
    numeric = rng.normal(size=shape)
    analytic = numeric * (1 + 1e-15)
    codes = np.full(shape, status, np.uint8)
    analytic.ravel()[:wrong] *= 2
    codes.reshape(-1)[:wrong] = Status.MISMATCH
    return TensorReport(name, shape, analytic, numeric, np.full(shape, 1e-14), codes)


def curves() -> list[Curve]:
    steps = tuple(half_decades(1e-1, 1e-4).tolist())
    errors = {"forward": [h for h in steps], "central": [h * h for h in steps], "difference": [0.0 for _ in steps]}
    return [Curve("W", s, d, steps, tuple(e)) for s, e in errors.items() for d in ("float32", "float64")]


def failing(**options: Any) -> GradientReport:
    part = GradientReport([tensor("dense_1.W", (3, 2), wrong=2)], label="regularization", environment={})
    return GradientReport(
        [tensor(NASTY, (4, 3)), tensor("dense_1.W", (3, 2), wrong=2), tensor("b", ())],
        findings=[Finding("scale", "dense_1.W", f"twice too large {NASTY}", 0.9, {NASTY: 2.0})],
        parts={"regularization": part},
        notes=[f"a note {NASTY}"],
        label=f"net {NASTY}",
        curves=curves(),
        evaluations=1234,
        seconds=0.0123,
        dtype="float64",
        method="difference",
        environment={"isa": "v4", NASTY: NASTY},
        **options,
    )


REPORTS = {
    "fail": failing(),
    "pass": GradientReport([tensor("W", (2, 2)), tensor("k", (3,), Status.KINK)], environment={}),
    "inconclusive": GradientReport([tensor("W", (2, 2), Status.UNRESOLVED)], environment={}),
    "unchecked": GradientReport([tensor("W", (2, 2), Status.UNCHECKED)], environment={}),
    "nonfinite": GradientReport([], verdict=Verdict.NONFINITE, environment={}),
    "nondeterministic": GradientReport(
        [tensor("W", (2, 2))], verdict=Verdict.NONDETERMINISTIC, environment={},
        findings=[Finding("nondeterministic", None, "The loss differs between calls: seed the mask.")],
    ),
    "empty": GradientReport([tensor("W", (0, 5)), tensor("v", (0,))], environment={}),
    "projected": GradientReport([TensorReport.from_counts("W", (1000, 1000), matched=10**6)], environment={}),
    "later": GradientReport(
        [tensor("W", (2, 2))], environment={},
        stages=[GradientReport([tensor("W", (2, 2), wrong=1)], label="after 50 steps", environment={})],
    ),
}  # fmt: skip
each = pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS.keys())


class Page(HTMLParser):
    """Elements that are open, and text that can be seen."""

    VOID = ("meta", "img", "br", "link", "use", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.seen.append(data)


@each
def test_text(report: GradientReport) -> None:
    text = str(report)
    assert text.startswith(report.verdict.upper())
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 110
    for name in report.tensors:
        assert name[:8] in text


def test_text_names_what_is_wrong() -> None:
    text = str(REPORTS["fail"])
    for part in ("2 of 19 entries", "look first at dense_1.W", "scale in dense_1.W (90%)", "dense_1.W[0, 0]", "note"):
        assert part in text
    assert "after 50 steps" in str(REPORTS["later"])
    assert "seed the mask" in str(REPORTS["nondeterministic"])
    assert "3 of them at a kink" in str(REPORTS["pass"])


@each
def test_page(report: GradientReport, tmp_path: Any) -> None:
    path = tmp_path / "report.html"
    report.to_html(path)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert "script" not in page.tags and "link" not in page.tags
    assert all(link.startswith(("data:", "#")) for link in page.links)
    text = re.sub(r"\s+", " ", " ".join(page.seen))
    assert words.HEADLINES[report.verdict.value] in text
    assert re.sub(r"\s+", " ", words.explanation(report)) in text


def test_page_has_the_pictures(tmp_path: Any) -> None:
    path = tmp_path / "report.html"
    REPORTS["fail"].to_html(path)
    text = path.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 3
    assert text.count("<svg") == 1
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_page_without_matplotlib(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradproof.check.render.plot", None)
    monkeypatch.delattr("gradproof.check.render.plot")
    path = tmp_path / "report.html"
    REPORTS["fail"].to_html(path)
    text = path.read_text(encoding="utf-8")
    assert "pip install gradproof[plot]" in text
    assert "<svg" not in text
    assert "dense_1.W" in text


def test_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gradproof.check.render.plot")
    monkeypatch.delattr("gradproof.check.render.plot")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install gradproof\[plot\]"):
        REPORTS["fail"].plot()


@each
def test_notebook(report: GradientReport) -> None:
    page = Page(report._repr_html_())
    assert page.open == []
    assert "script" not in page.tags


@each
def test_junit(report: GradientReport, tmp_path: Any) -> None:
    path = tmp_path / "report.xml"
    report.to_junit(path)
    root = ElementTree.parse(path).getroot()
    assert root.tag == "testsuites"
    red = 0
    for suite in root:
        cases = suite.findall("testcase")
        failures = [case for case in cases if case.find("failure") is not None]
        errors = [case for case in cases if case.find("error") is not None]
        assert [suite.get(key) for key in ("tests", "failures", "errors")] == [
            str(len(found)) for found in (cases, failures, errors)
        ]
        red += len(failures) + len(errors)
    assert (red == 0) == report.ok


def test_junit_tells_what_is_wrong(tmp_path: Any) -> None:
    path = tmp_path / "report.xml"
    REPORTS["fail"].to_junit(path)
    failure = ElementTree.parse(path).getroot().find(".//failure")
    assert failure is not None
    assert "2 wrong" in failure.get("message", "")
    assert "dense_1.W[0, 0]" in (failure.text or "")


# Plots


@each
def test_plot_gives_figure_and_data(report: GradientReport) -> None:
    figure, data = report.plot()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a name may hold signs that the font does not have
        figure.draw_without_rendering()
    assert set(data) == {name for name, one in report.tensors.items() if one.analytic is not None and one.size}
    for name, values in data.items():
        assert values.size <= report.tensors[name].size


def test_map_shows_where() -> None:
    values = plot.error_map(tensor("W", (3, 2), wrong=1))
    assert values is not None
    assert values[0, 0] > 0
    assert (values.ravel()[1:] < 0).all()
    assert plot.error_map(TensorReport.from_counts("W", (2,), matched=2)) is None


@pytest.mark.parametrize("shape", [(1, 1), (64, 96), (65, 97), (1000, 3), (1, 1000)])
def test_block_maximum_keeps_every_peak(shape: tuple[int, int], rng: np.random.Generator) -> None:
    values = rng.normal(size=shape)
    height, width = -(-shape[0] // 64), -(-shape[1] // 96)
    values[0, 0] = np.nan
    values[-1, -1] = 100.0
    small = plot.block_maximum(values)
    assert small.shape[0] <= 64 and small.shape[1] <= 96
    assert small[-1, -1] == 100.0
    np.testing.assert_equal(small[0, 0], np.fmax.reduce(values[:height, :width], axis=None))


def test_colours() -> None:
    image = plot.colors(np.array([[np.nan, -np.inf, -0.01, 0.01, np.inf]]))
    assert image[0, :, 3].tolist() == [0, 255, 255, 255, 255]
    assert image[0, 2, 1] > image[0, 2, 0]  # greenish below 0
    assert image[0, 3, 0] > image[0, 3, 2]  # amber above
    assert plot.png(np.zeros((2, 3))).startswith(b"\x89PNG")


def test_curves_know_their_best_step() -> None:
    curve = Curve("W", "central", "float64", (1e-1, 1e-2, 1e-3), (1.0, 1e-9, float("nan")))
    assert curve.best == (1e-2, 1e-9)
    assert np.isnan(Curve("W", "central", "float64", (1.0,), (float("nan"),)).best).all()
    assert half_decades().size == 23
    assert half_decades()[[0, 1, -1]] == pytest.approx([1e-1, 10**-1.5, 1e-12])


# Words


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (3.14e-7, "3.1e-07"), (0.056, "0.056"), (0.5, "0.50"), (130.0, "1.3e+02"), (float("inf"), "inf"),
     (float("nan"), "–"), (2.0, "2.0")],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert words.number(value) == text


def test_counts_durations_shapes() -> None:
    assert [words.count(n, "entry") for n in (1, 2, 1000)] == ["1 entry", "2 entries", "1,000 entries"]
    assert words.count(2, "evaluation") == "2 evaluations"
    assert [words.duration(s) for s in (2.5, 4e-4, 3e-6, 0.0)] == ["2.5 s", "400 µs", "3 µs", "0 s"]
    assert [words.shape(s) for s in ((), (3,), (3, 4))] == ["scalar", "3", "3×4"]
    assert [words.index(i) for i in ((), (3,), (3, 4))] == ["", "[3]", "[3, 4]"]
