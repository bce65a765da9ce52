"""A report as JUnit XML, which continuous integration systems show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, tostring

from gradproof.check.render.words import explanation, index, number, place

if TYPE_CHECKING:
    from gradproof.check.report import GradientReport
    from gradproof.check.tensor_report import TensorReport

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: GradientReport) -> str:
    """The XML text. A wrong tensor is a failure; one that could not be decided is an error."""
    root = Element("testsuites", name="gradproof")
    for path, below in report.walk():
        _suite(root, ".".join(("gradproof", *filter(None, (report.label, place(path))))), below)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, name: str, report: GradientReport) -> None:
    suite = SubElement(root, "testsuite", name=_legal(name), time=f"{report.seconds:.6f}")
    failures = errors = 0
    for tensor in report.tensors.values():
        case = SubElement(suite, "testcase", classname=_legal(name), name=_legal(tensor.name), time="0")
        if tensor.verdict == "fail":
            failures += 1
            _outcome(case, "failure", tensor, report)
        elif tensor.verdict != "pass":
            errors += 1
            _outcome(case, "error", tensor, report)
    if report.verdict in ("nondeterministic", "nonfinite"):  # not of any one tensor
        errors += 1
        case = SubElement(suite, "testcase", classname=_legal(name), name=report.verdict.value, time="0")
        SubElement(case, "error", type=report.verdict.value, message=_legal(explanation(report)))
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(failures))
    suite.set("errors", str(errors))
    output = SubElement(suite, "system-out")
    output.text = _legal("\n".join(report.notes) if report.notes else f"{report.method} {report.dtype}".strip())


def _outcome(case: Element, kind: str, tensor: TensorReport, report: GradientReport) -> None:
    findings = [f"{finding.cause}: {finding.message}" for finding in report.findings if finding.tensor == tensor.name]
    counts = f"{tensor.mismatched} wrong, {tensor.unresolved} unresolved of {tensor.checked} checked"
    worst = [
        f"{tensor.name}{index(entry.index)}: analytic {entry.analytic:.8g}, measured {entry.numeric:.8g} "
        f"± {number(entry.uncertainty)}, {entry.status}"
        for entry in tensor.worst()
    ]
    outcome = SubElement(case, kind, type=tensor.verdict.value, message=_legal("; ".join([counts, *findings])))
    outcome.text = _legal("\n".join([*findings, *worst]))


def _legal(text: str) -> str:
    """The text without characters that XML cannot hold."""
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
