"""The pytest plugin, on once gradproof is installed: a fixture, an option, and reports instead of tracebacks.

It is loaded in every run of pytest, so what it needs is imported when a test asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gradproof.check.report import GradientReport

__all__ = ["GradCheck"]

LONGEST = 120  # characters of a file name


class GradCheck:
    """What the fixture `gradcheck` gives a test: checks that fail the test unless they pass.

    Every check leaves its verdict as a property of the test (JUnit XML shows it), and with ``--gradproof-report=DIR``
    its report as JSON and HTML.

    Attributes
    ----------
    reports : list of GradientReport
        Of the checks so far.
    """

    def __init__(self, request: pytest.FixtureRequest, directory: str | None) -> None:
        self._request = request
        self._directory = directory
        self.reports: list[GradientReport] = []

    def __call__(self, loss: Callable[[Any], Any], grad: Any, params: Any, **keywords: Any) -> GradientReport:
        """`gradproof.check_gradients`."""
        from gradproof.check.functions import check_gradients

        return self._judge(check_gradients(loss, grad, params, **keywords))

    def torch(self, fn: Callable[..., Any], inputs: Any, **keywords: Any) -> GradientReport:
        """`gradproof.torch.gradcheck`."""
        from gradproof.interop import framework

        return self._judge(framework("torch").gradcheck(fn, inputs, raise_exception=False, **keywords))

    def module(self, module: Any, *inputs: Any, **keywords: Any) -> GradientReport:
        """`gradproof.torch.check_module`."""
        from gradproof.interop import framework

        return self._judge(framework("torch").check_module(module, *inputs, raise_exception=False, **keywords))

    def jax(self, fn: Callable[..., Any], args: Any, **keywords: Any) -> GradientReport:
        """`gradproof.jax.check_grads`."""
        from gradproof.interop import framework

        return self._judge(framework("jax").check_grads(fn, args, raise_exception=False, **keywords))

    def model(self, model: Any, X: Any, y: Any, **keywords: Any) -> GradientReport:
        """`gradproof.check_model`."""
        from gradproof.check.networks import check_model

        return self._judge(check_model(model, X, y, **keywords))

    def _judge(self, report: GradientReport) -> GradientReport:
        from gradproof.check.report import GradientError

        self.reports.append(report)
        number = f".{len(self.reports)}" if len(self.reports) > 1 else ""
        properties = self._request.node.user_properties
        properties.append((f"gradproof.verdict{number}", report.verdict.value))
        if report.culprits:
            properties.append((f"gradproof.culprits{number}", " ".join(report.culprits)))
        if self._directory is not None:
            directory = Path(self._directory)
            directory.mkdir(parents=True, exist_ok=True)
            stem = re.sub(r"[^\w.-]+", "_", self._request.node.nodeid)[-LONGEST:].strip("_") + number
            report.to_json(directory / f"{stem}.json")
            report.to_html(directory / f"{stem}.html")
            properties.append((f"gradproof.report{number}", str(directory / f"{stem}.html")))
        if not report.ok:
            raise GradientError(report)
        return report


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--gradproof-report``."""
    group = parser.getgroup("gradproof", "gradient checks")
    group.addoption(
        "--gradproof-report", metavar="DIR", help="write a JSON and an HTML report per gradient check to DIR"
    )


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> GradCheck:
    """Gradient checks that fail the test unless they pass: ``gradcheck(loss, grad, params)``.

    Also ``gradcheck.torch``, ``.module``, ``.jax`` and ``.model``; each gives the report.
    """
    return GradCheck(request, request.config.getoption("--gradproof-report"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows of a `GradientError` what it says, without the traceback."""
    outcome = yield
    if call.excinfo is not None and outcome.failed:
        from gradproof.check.report import GradientError

        if isinstance(call.excinfo.value, GradientError):
            outcome.longrepr = call.excinfo.getrepr(style="value", chain=False)
    return outcome
