"""Files, written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TypeAlias

PathLike: TypeAlias = str | os.PathLike[str]

_STANDARD_STREAMS = (1, 2)


def write(path: PathLike, content: bytes) -> None:
    """Write a file: all of it or, on any failure, nothing; the old one stays until the new one is on the disk.

    A link is followed and stays a link, and a file that exists keeps its mode. What is no ordinary file (a pipe, a
    device, ``/dev/stdout``) cannot be replaced and is written to straight.

    Raises
    ------
    TypeError
        If `path` is no path.
    FileNotFoundError
        If the folder does not exist.
    OSError
        If the file cannot be written.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: got {path!r}, expected a str or path-like")
    given, target = Path(path), Path(os.path.realpath(path))
    try:
        there = given.stat()
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise FileNotFoundError(f"path is {str(given)!r}, but there is no folder {str(target.parent)!r}") from None
        _replace(target, content, None)
        return
    stream = _standard_stream(there)
    if stream is not None:
        with open(os.dup(stream), "wb") as file:
            file.write(content)
    elif stat.S_ISREG(there.st_mode) and _names(target, there):
        _replace(target, content, stat.S_IMODE(there.st_mode))
    else:
        with open(given, "wb") as file:
            file.write(content)


def _replace(target: Path, content: bytes, mode: int | None) -> None:
    """A neighbour first, renamed over `target` once it is on the disk."""
    temporary = target.with_name(f".gradproof-{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _standard_stream(there: os.stat_result) -> int | None:
    """The descriptor of the standard stream that goes into this file: opened again, each would overwrite the other."""
    for stream in _STANDARD_STREAMS:
        try:
            if os.path.samestat(os.fstat(stream), there):
                return stream
        except OSError:  # closed
            continue
    return None


def _names(target: Path, there: os.stat_result) -> bool:
    """Whether a resolved name leads to the file; that of one which is open but deleted, in ``/dev/fd``, does not."""
    try:
        return os.path.samestat(target.stat(), there)
    except OSError:
        return False
