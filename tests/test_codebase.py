"""Properties of the source itself that a reader relies on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import gradproof as gp

ROOT = Path(__file__).parents[1]


def test_there_is_one_version():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    written = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert written is not None
    assert gp.__version__ == gp.config()["version"] == written[1]


def test_importing_is_light():
    """What is needed for one feature is imported when that is used."""
    needed = ("rich", "jinja2", "safetensors")
    optional = ("scipy", "sklearn", "matplotlib", "torch", "jax", "pandas", "joblib", "optuna")
    own = tuple(f"gradproof.{name}" for name in ("train", "data", "interop", "tune", "examples"))
    code = f"import sys, gradproof; print([name for name in {needed + optional + own} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_what_is_imported_when_used_is_there():
    assert set(gp.__all__) <= set(dir(gp))
    for name in gp.__all__:
        assert getattr(gp, name) is getattr(gp, name)
