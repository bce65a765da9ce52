"""Files, written whole or not at all."""

from __future__ import annotations

import os
import stat
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeAlias

from gradproof._messages import shown

try:
    import fcntl
except ImportError:  # Windows, where a file that is open can be neither renamed nor deleted
    fcntl = None  # type: ignore[assignment]

PathLike: TypeAlias = str | os.PathLike[str]

_STANDARD_STREAMS = (1, 2)
_ATTEMPTS = 100  # to begin a file that another writer does not take for a leftover at once
_LEFT_OVER = 3600.0  # seconds after which a file is nobody's, where files cannot be locked


def named(path: Any, name: str = "path") -> str:
    """The path as a str; `name` is that of the argument.

    Raises
    ------
    TypeError
        If it is none: not for a number either, which ``open`` would take for a file that is open already.
    ValueError
        If no file can be called so.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{name}: got {shown(path)}, expected a str or path-like")
    text = os.fsdecode(path)
    if not text:
        raise ValueError(f"{name}: got {shown(text)}, expected the name of a file")
    if "\0" in text:
        raise ValueError(f"{name}: got {shown(text)}, expected no null character")
    try:
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: got {shown(text)}, expected text that can name a file") from error
    return text


def write(path: PathLike, content: bytes) -> None:
    """Write a file: all of it or, on any failure, nothing; the old one stays until the new one is on the disk.

    A link is followed and stays a link, and a file that exists keeps its mode. What is no ordinary file (a pipe, a
    device, ``/dev/stdout``) cannot be replaced and is written to straight. What a process that was killed in the middle
    of a write has left is removed by the next write to the same file.

    Raises
    ------
    TypeError, ValueError
        If `path` is no path.
    FileNotFoundError
        If the folder does not exist.
    OSError
        If the file cannot be written; it names the file that was asked for.
    """
    path = named(path)
    try:
        _write(path, content)
    except OSError as error:
        if error.errno is None or error.filename == path:
            raise
        raise OSError(error.errno, error.strerror, path) from error


def append(path: PathLike, content: bytes) -> None:
    """Add to the end of a file: all of it or, if there is an error, nothing.

    Raises
    ------
    OSError
        If the file cannot be written; it names the file.
    """
    with open(path, "ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END) if file.seekable() else None
        try:
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
        except BaseException as error:
            if end is not None:
                file.truncate(end)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, os.fspath(path)) from error
            raise


def _write(path: str, content: bytes) -> None:
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
    prefix = f".gradproof-{zlib.crc32(os.fsencode(target.name)):08x}-"
    _clear(target.parent, prefix)
    file, temporary = _begun(target.parent, prefix)
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if mode is not None:
                os.chmod(temporary, mode)
            if fcntl is None:
                file.close()
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _begun(folder: Path, prefix: str) -> tuple[IO[bytes], Path]:
    """A new file that is locked as long as it is open, also if its process is killed: so others know whose is alive."""
    for _ in range(_ATTEMPTS):
        path = folder / f"{prefix}{os.urandom(8).hex()}.tmp"
        file = open(path, "xb")
        if fcntl is not None:
            with suppress(OSError):  # no locks on this file system: nothing is removed there either
                fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file, path
        file.close()  # someone took it for one that is left over, before it was locked
    raise OSError(f"no file stays in {str(folder)!r}: another process removes each")


def _clear(folder: Path, prefix: str) -> None:
    """Remove the files that processes which are no more have begun. None of this is worth an error."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(prefix) and name.endswith(".tmp"):
                with suppress(OSError):
                    _remove_unless_locked(folder / name)


def _remove_unless_locked(path: Path) -> None:
    if fcntl is None:
        if time.time() - path.stat().st_mtime > _LEFT_OVER:
            path.unlink()
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(descriptor)


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
