"""The plugin in runs of pytest of its own, installed as others have it: through its entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

import gradproof as gp

CHECKS = """
import numpy as np

def loss(p): return float(np.sum(np.sin(p["W"])))
def right(p): return {"W": np.cos(p["W"])}
def wrong(p): return {"W": 2 * np.cos(p["W"])}

def test_right(gradcheck):
    report = gradcheck(loss, right, {"W": np.arange(4.0)})
    assert report.ok

def test_wrong(gradcheck):
    gradcheck(loss, wrong, {"W": np.arange(4.0)})

def test_other():
    assert [1, 2] == [1, 3]
"""


@pytest.fixture
def run(tmp_path: Path):
    """``run(code, *arguments)``: pytest on a file of tests, with nothing but the entry point to find the plugin."""
    site = tmp_path / "site"
    info = site / "gradproof_plugin_under_test-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gradproof-plugin-under-test\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pytest11]\ngradproof = gradproof.interop.pytest_plugin\n")
    (info / "RECORD").write_text("gradproof/__init__.py,,\ngradproof/interop/pytest_plugin.py,,\n")
    package = str(Path(gp.__file__).parents[1])

    def pytest_run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_them.py").write_text(code)
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(site), package]),
            "COLUMNS": "150",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "",
        }
        command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *arguments, "test_them.py"]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return pytest_run


def test_a_failure_shows_the_report_and_no_traceback(run) -> None:
    result = run(CHECKS)
    assert "1 passed" in result.stdout and "2 failed" in result.stdout, result.stdout + result.stderr
    assert "FAIL" in result.stdout and "2.000" in result.stdout
    assert "def gradcheck" not in result.stdout and "raise GradientError" not in result.stdout
    assert "assert [1, 2] == [1, 3]" in result.stdout  # others are shown as ever


def test_reports_and_properties(run, tmp_path: Path) -> None:
    run(CHECKS, "--gradproof-report=reports", "--junit-xml=junit.xml")
    written = sorted(path.name for path in (tmp_path / "reports").iterdir())
    assert written == [f"test_them.py_test_{name}.{kind}" for name in ("right", "wrong") for kind in ("html", "json")]
    assert json.loads((tmp_path / "reports" / "test_them.py_test_wrong.json").read_text())["verdict"] == "fail"
    cases = {case.get("name"): case for case in ElementTree.parse(tmp_path / "junit.xml").iter("testcase")}
    properties = {p.get("name"): p.get("value") for p in cases["test_wrong"].iter("property")}
    assert properties["gradproof.verdict"] == "fail"
    assert properties["gradproof.culprits"] == "W"


def test_loading_is_light(run) -> None:
    heavy = ("torch", "jax", "rich", "jinja2", "matplotlib", "scipy", "safetensors")
    result = run(f"import sys\ndef test(): assert not [name for name in {heavy} if name in sys.modules]")
    assert result.returncode == 0, result.stdout


def test_models(run) -> None:
    code = """
import gradproof as gp, numpy as np
def test(gradcheck):
    model = gp.Sequential([gp.Dense(3), gp.Tanh()], input_size=4, loss="softmax_cross_entropy", dtype="float64")
    gradcheck.model(model, np.random.default_rng(0).normal(size=(5, 4)), np.array([0, 1, 0, 1, 1]))
    assert len(gradcheck.reports) == 1
"""
    result = run(code)
    assert result.returncode == 0, result.stdout


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed (pip install gradproof[torch])")
def test_torch(run) -> None:
    code = """
import torch
def test_function(gradcheck):
    gradcheck.torch(torch.sin, torch.ones(3, dtype=torch.float64, requires_grad=True))
def test_module(gradcheck):
    gradcheck.module(torch.nn.Linear(2, 3).double(), torch.ones(1, 2, dtype=torch.float64))
"""
    result = run(code, "-W", "ignore")
    assert "2 passed" in result.stdout, result.stdout


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_a_missing_framework_is_named() -> None:
    with pytest.raises(ImportError, match=r"pip install gradproof\[torch\]"):
        _ = gp.torch


def test_other_names_are_no_attributes() -> None:
    assert not hasattr(gp, "tensorflow")
