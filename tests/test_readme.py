"""The README's Python, run from top to bottom as a reader would."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_every_python_block_runs_as_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn", reason="one block puts an estimator into scikit-learn's pipeline")
    if not README.exists():
        pytest.skip("the tests run away from the repository, without its README")
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks), "utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script))
    said = capsys.readouterr().out
    assert "W2: analytic = 2.000 × numeric" in said
    assert (tmp_path / "training.html").exists() and (tmp_path / "run.checkpoint").exists()
