"""The C++ core, installed as a CMake package, serves a program that knows nothing of this tree but its prefix."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = Path(__file__).with_name("cpp") / "package"


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def eigen() -> str:
    """Where CMake finds Eigen: in the wheel cmeel-eigen, if that is installed, else in the system's folders."""
    return str(Path(sysconfig.get_path("platlib")) / "cmeel.prefix")


@pytest.mark.campaign
def test_a_program_finds_it_and_checks_a_gradient(tmp_path):
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    if not (ROOT / "CMakeLists.txt").exists():
        pytest.skip("the sources are not here")
    prefix, build = str(tmp_path / "prefix"), str(tmp_path / "build")
    options = ["-DGRADPROOF_PYTHON=OFF", "-DGRADPROOF_CPP_PACKAGE=ON", "-DGRADPROOF_ISA=native"]
    run(cmake, "-S", str(ROOT), "-B", build, *options, f"-DCMAKE_PREFIX_PATH={eigen()}", "-DCMAKE_BUILD_TYPE=Release")
    run(cmake, "--build", build, "--config", "Release")
    run(cmake, "--install", build, "--config", "Release", "--prefix", prefix)
    installed = {str(path.relative_to(prefix)) for path in Path(prefix).rglob("*") if path.is_file()}
    headers = {f"include/gradproof/{path.name}" for path in (ROOT / "cpp/include/gradproof").iterdir()}
    assert headers <= installed

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(PROGRAM, elsewhere)
    # The flags of the instruction set come with the target.
    run(cmake, "-S", str(elsewhere), "-B", str(elsewhere / "build"), f"-DCMAKE_PREFIX_PATH={prefix};{eigen()}")
    run(cmake, "--build", str(elsewhere / "build"), "--config", "Release")
    name = "check_gradient.exe" if sys.platform == "win32" else "check_gradient"
    (program,) = (path for path in (elsewhere / "build").rglob(name) if path.is_file())
    assert "43 parameters: 0 mismatches; with one of them off by 1e-9: 1" in run(str(program))
