"""Files are written whole or not at all, whatever the name leads to."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradproof as gp
from gradproof import _files

posix = pytest.mark.skipif(os.name != "posix", reason="links, modes and pipes of POSIX")


def write_model(path: Any) -> None:
    gp.Sequential([gp.Dense(2)], input_size=3, loss="mse").save(path)


def write_report(path: Any) -> None:
    gp.check_gradients(lambda x: float(x @ x), lambda x: 2 * x, np.ones(2)).to_json(path)


@pytest.fixture(params=[write_model, write_report], ids=["model", "report"])
def write(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    writer: Callable[[Any], None] = request.param
    return writer


@posix
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_target_is_written(write: Callable[[Any], None], tmp_path: Path, exists: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    if exists:
        target.write_bytes(b"old")
    link.symlink_to("elsewhere/target")
    write(link)
    assert os.readlink(link) == "elsewhere/target"
    assert target.stat().st_size > 3 and not target.is_symlink()
    assert len(list(tmp_path.rglob("*"))) == 3


@posix
def test_the_target_of_a_link_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        _files.write(link, b"new")
    assert target.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [link, target]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_a_file_keeps_its_mode(write: Callable[[Any], None], tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write(path)
    assert path.stat().st_size > 3
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_a_new_file_has_the_usual_mode(write: Callable[[Any], None], tmp_path: Path) -> None:
    write(tmp_path / "file")
    (tmp_path / "usual").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


@posix
def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    _files.write(pipe, b"content")
    reader.join()
    assert received == [b"content"]
    assert stat.S_ISFIFO(pipe.stat().st_mode) and list(tmp_path.iterdir()) == [pipe]


@posix
def test_a_device_is_written_to(write: Callable[[Any], None]) -> None:
    write("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@posix
@pytest.mark.parametrize("redirected", [True, False])
def test_standard_output_is_written_to(tmp_path: Path, redirected: bool) -> None:
    code = "from gradproof import _files; _files.write('/dev/stdout', b'content\\n'); print('after')"
    with open(tmp_path / "output", "w+b") as file:
        done = subprocess.run([sys.executable, "-c", code], check=True, stdout=file if redirected else subprocess.PIPE)
        file.seek(0)
        assert (file.read() if redirected else done.stdout) == b"content\nafter\n"


@posix
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_an_open_file_without_a_name_is_written_to(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+b") as file:
        os.unlink(tmp_path / "file")
        _files.write(f"/proc/self/fd/{file.fileno()}", b"content")
        assert file.read() == b"content"
    assert not list(tmp_path.iterdir())


WRITER = """
import os, sys, time
from gradproof import _files

def held(name):
    function = getattr(os, name)
    def wait(*arguments):
        print("here", flush=True)
        sys.stdin.readline()
        return function(*arguments)
    setattr(os, name, wait)

held(sys.argv[2])
_files.write(sys.argv[1], b"theirs")
"""


def writer(target: Path, where: str) -> subprocess.Popen[bytes]:
    """Another process in the middle of a write to `target`."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, target, where], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None and child.stdout.readline() == b"here\n"
    return child


@posix
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_what_a_killed_process_left_is_removed(tmp_path: Path, where: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    child = writer(target, where)
    child.kill()
    child.communicate()
    assert target.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2
    _files.write(tmp_path / "other", b"of another name")
    assert len(list(tmp_path.iterdir())) == 3
    _files.write(target, b"new")
    assert sorted(tmp_path.iterdir()) == [target, tmp_path / "other"] and target.read_bytes() == b"new"


@posix
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_what_a_living_process_writes_is_left_alone(tmp_path: Path, where: str) -> None:
    target = tmp_path / "file"
    child = writer(target, where)
    _files.write(target, b"ours")
    assert target.read_bytes() == b"ours" and len(list(tmp_path.iterdir())) == 2
    child.communicate(b"\n")
    assert child.returncode == 0
    assert target.read_bytes() == b"theirs" and list(tmp_path.iterdir()) == [target]


@posix
def test_one_that_was_taken_for_left_over_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removed by another process between its creation and its lock."""
    import fcntl

    removed: list[Path] = []

    def late(file: Any, how: int) -> None:
        if not removed:
            removed.append(Path(file.name))
            removed[0].unlink()

    monkeypatch.setattr(fcntl, "flock", late)
    _files.write(tmp_path / "file", b"content")
    assert removed and list(tmp_path.iterdir()) == [tmp_path / "file"]
    assert (tmp_path / "file").read_bytes() == b"content"


@posix
def test_many_writers_at_the_same_time(tmp_path: Path) -> None:
    target, errors = tmp_path / "file", []

    def work(content: bytes) -> None:
        try:
            for _ in range(50):
                _files.write(target, content)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(bytes([i]) * 1000,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and list(tmp_path.iterdir()) == [target] and len(set(target.read_bytes())) == 1


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        _files.write(tmp_path / "missing" / "file", b"")
    with pytest.raises(IsADirectoryError):
        _files.write(tmp_path, b"")
    with pytest.raises(TypeError, match="path: got 3, expected"):
        _files.write(3, b"")  # type: ignore[arg-type]
    for name in ("", "a\0b", "\ud800"):
        with pytest.raises(ValueError, match="path: got '"):
            _files.write(name, b"")
    assert not list(tmp_path.iterdir())


@posix
def test_a_full_disk_names_the_file_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    """With a limit on the size of a file in place of the disk: both end a write in the middle."""
    code = """
import resource, signal, sys
from gradproof import _files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
path = sys.argv[1]
_files.write(path, b"old\\n")
_files.append(path, b"line\\n")
for way in (_files.write, _files.append):
    try:
        way(path, b"x" * 2000)
    except OSError as error:
        assert error.filename == path and error.errno, error
    else:
        raise AssertionError(way)
"""
    path = tmp_path / "file"
    root = str(Path(gp.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=True, timeout=60)
    assert path.read_bytes() == b"old\nline\n"
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_what_may_not_be_read_is_not_missing() -> None:
    """Folders of pytest are closed to others, and the superuser reads everything: so elsewhere, and as nobody."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "model")
        write_model(path)
        os.chmod(path, 0)
        readers: list[Callable[[str], Any]] = [gp.load, gp.data.load_npz, gp.data.load_idx, gp.data.load_csv]
        try:
            if user == 0:
                os.seteuid(65534)
            for read in readers:
                with pytest.raises(PermissionError, match="model"):
                    read(path)
        finally:
            os.seteuid(user)
