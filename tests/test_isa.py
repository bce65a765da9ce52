"""The builds for different instruction sets: each is right, all draw the same dropout masks, the choice is explicit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import gradproof as gp
from gradproof import _core, _gradproof_cpu

ISAS = ["v1", "v3", "v4", "neon"]


def python(code: str, *args: str, isa: str = "") -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter that imports this very package, with GRADPROOF_ISA set."""
    root = str(Path(gp.__file__).parents[1])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"GRADPROOF_ISA": isa, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", code, *args], env=environment, capture_output=True, text=True, timeout=300
    )


def skip_unless_available(isa: str) -> None:
    if isa not in _gradproof_cpu.supported():
        pytest.skip(f"this processor cannot run {isa}")
    if isa not in _core.available_isas():
        pytest.skip(f"{isa} was not built")


@pytest.mark.parametrize("isa", ISAS)
def test_every_build_passes_the_kernel_tests(isa):
    skip_unless_available(isa)
    tests = [str(Path(__file__).with_name(f"test_kernels{part}.py")) for part in ("", "_accuracy")]
    tests.append(str(Path(__file__).with_name("test_optimizers.py")))
    code = "import sys, pytest, gradproof; assert gradproof.config()['isa'] == sys.argv[1]; "
    # gradproof is imported before its own pytest plugin is, to see which build was chosen.
    quiet = "'-p', 'no:cacheprovider', '-W', 'ignore::pytest.PytestAssertRewriteWarning'"
    code += f"sys.exit(pytest.main(['-q', '-x', {quiet}, *sys.argv[2:]]))"
    run = python(code, isa, *tests, isa=isa)
    assert run.returncode == 0, run.stdout + run.stderr


def test_masks_are_bitwise_equal_across_builds():
    code = """
import hashlib, gradproof
masks = [gradproof.kernels.dropout_mask((7, 1001), p, 5, 6, 7, t) for p in (0.3, 0.8) for t in ("float32", "float64")]
print(hashlib.sha256(b"".join(mask.tobytes() for mask in masks)).hexdigest())
"""
    digests = {isa: python(code, isa=isa).stdout for isa in _core.available_isas()}
    assert len(set(digests.values())) == 1, digests
    assert all(digests.values())


def test_the_best_build_is_the_default():
    run = python("import gradproof; print(gradproof.config()['isa'])")
    assert run.stdout.strip() == _core.available_isas()[-1]


def test_an_unknown_instruction_set_is_an_error():
    run = python("import gradproof", isa="avx9")
    assert run.returncode != 0
    assert "ImportError: GRADPROOF_ISA='avx9' is not an instruction set; expected one of v1, v3, v4, neon" in run.stderr


def test_an_unavailable_instruction_set_is_an_error():
    """There always is one: no processor runs both v1 and neon."""
    isa = next(isa for isa in ISAS if isa not in _gradproof_cpu.supported())
    run = python("import gradproof", isa=isa)
    assert run.returncode != 0
    assert f"ImportError: GRADPROOF_ISA='{isa}' is not available: this processor cannot run it" in run.stderr


class TestCommandLine:
    """It ends in one line and with the status of bad input, though its own code cannot even be imported."""

    @staticmethod
    def run(arguments: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(Path(gp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path} | variables
        return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)

    @pytest.mark.parametrize("started", ["gradproof", "gradproof.cli", "script"])
    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("GRADPROOF_ISA", "nonsense", "GRADPROOF_ISA='nonsense' is not an instruction set; expected one of"),
            ("GRADPROOF_NUM_THREADS", "junk", "GRADPROOF_NUM_THREADS='junk': expected a whole number of threads"),
        ],
    )
    def test_a_bad_variable(self, started: str, name: str, value: str, said: str, tmp_path: Path) -> None:
        script = tmp_path / "gradproof"  # as pip writes it
        script.write_text("import sys\nfrom gradproof.cli import main\nsys.exit(main())\n")
        run = self.run(
            ([str(script)] if started == "script" else ["-X", "dev", "-m", started]) + ["info"], **{name: value}
        )
        assert run.returncode == 2 and not run.stdout
        assert run.stderr.startswith(f"gradproof: error: {said}") and run.stderr.count("\n") == 1

    def test_a_program_of_the_users_gets_the_exception(self, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text("import gradproof")
        run = self.run([str(tmp_path / "mine.py"), "-m", "gradproof"], GRADPROOF_NUM_THREADS="junk")
        assert run.returncode == 1 and "ValueError: GRADPROOF_NUM_THREADS='junk'" in run.stderr

    def test_the_package_runs_as_a_module(self) -> None:
        run = self.run(["-m", "gradproof", "info"])
        assert run.returncode == 0 and "threads" in run.stdout


@pytest.mark.parametrize("module", ["_gradproof_v1", "_gradproof_cpu"])
def test_the_baseline_has_no_wide_registers(module):
    """What every processor must run contains no AVX: neither its registers nor its encodings of SSE instructions."""
    if "v1" not in _gradproof_cpu.supported():
        pytest.skip("not an x86-64 processor")
    objdump = shutil.which("objdump")
    if objdump is None:
        pytest.skip("objdump is not installed")
    spec = find_spec(f"gradproof.{module}")
    if spec is None or spec.origin is None:
        pytest.skip(f"{module} was not built")
    code = subprocess.run(
        [objdump, "-d", "--no-show-raw-insn", spec.origin], capture_output=True, text=True, check=True
    )
    instructions = [line.split("\t")[1] for line in code.stdout.splitlines() if line.count("\t") == 1]
    assert len(instructions) > 1000
    wide = [text for text in instructions if "%ymm" in text or "%zmm" in text or text.startswith("v")]
    assert not [text for text in wide if not text.startswith(("verr", "verw"))]
