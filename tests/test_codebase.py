"""Properties of the source itself that a reader relies on."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import gradproof as gp
from gradproof import _core

ROOT = Path(__file__).parents[1]


def test_there_is_one_version():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    written = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert written is not None
    assert gp.__version__ == gp.config()["version"] == written[1]


def test_the_stub_lists_every_function_of_the_extension():
    stub = ast.parse((Path(gp.__file__).parent / "_core.pyi").read_text(encoding="utf-8"))
    listed = [node.name for node in stub.body if isinstance(node, ast.FunctionDef)]
    bound = {name for name, value in vars(_core).items() if type(value).__name__ == "builtin_function_or_method"}
    assert set(listed) == bound | {"available_isas"}


def test_importing_is_light():
    """What is needed for one feature is imported when that is used."""
    heavy = ("rich", "jinja2", "safetensors", "scipy", "sklearn", "matplotlib", "torch", "jax", "pandas", "joblib")
    code = f"import sys, gradproof; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
