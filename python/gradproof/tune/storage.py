"""Where a study is kept: in memory, in a database, or in a journal file that several processes append to."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradproof._messages import shown

_SQLITE = b"SQLite format 3\0"
_JOURNAL = b'{"op_code":'  # how each line begins
_PATIENCE = 60  # seconds to wait for a database that another process writes to
_TRIES = 7  # to open a database that others are creating at the same time


def optuna() -> Any:
    """The package.

    Raises
    ------
    ImportError
        If it is missing; the message says how to install it.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError("gp.tune.search needs the package 'optuna': pip install gradproof[tune]") from error
    return optuna


def opened(storage: Any) -> Any:
    """A storage of Optuna for what :func:`~gradproof.tune.search.search` is given.

    Raises
    ------
    ValueError, TypeError
        If it is none, or the file is something else.
    OSError
        If the file cannot be opened.
    """
    storages = optuna().storages
    if storage is None:
        return storages.InMemoryStorage()
    if isinstance(storage, storages.BaseStorage):
        return storage
    if isinstance(storage, str) and "://" in storage:
        return _database(storage)
    if not isinstance(storage, (str, os.PathLike)):
        raise TypeError(
            f"storage: got {shown(storage)}, expected None, the path of a file, a URL or a storage of Optuna"
        )
    return _journal(Path(storage))


def in_memory(storage: Any) -> bool:
    """Whether no other process can see it."""
    return storage is None or isinstance(storage, optuna().storages.InMemoryStorage)


def _database(url: str) -> Any:
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError(f"storage: got {shown(url)}, not the URL of a database: {error}") from error
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite:
        if parsed.database in (None, "", ":memory:"):
            raise ValueError(f"storage: got {shown(url)}, expected a file, or None for a study in memory")
        _check_folder(Path(parsed.database))
    for attempt in range(_TRIES):
        try:
            return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _PATIENCE}} if sqlite else None)
        except NoSuchModuleError as error:
            raise ValueError(f"storage: got {shown(url)}, not a database that is known: {error}") from error
        except (SQLAlchemyError, StorageInternalError) as error:  # two processes that create the same tables
            if attempt + 1 == _TRIES:
                raise ValueError(f"storage: cannot open {url!r}: {error}") from error
            time.sleep(0.02 * 2**attempt)
    raise AssertionError


def _journal(path: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    path = path.absolute()
    _check_folder(path)
    if path.is_file():
        with open(path, "rb") as file:
            head = file.read(16)
        if head == _SQLITE:
            raise ValueError(f"storage: {os.fspath(path)!r} is a database, expected 'sqlite:///{path}' or another file")
        if not (head.startswith(_JOURNAL) or _JOURNAL.startswith(head)):  # nothing that is not ours is written to
            raise ValueError(f"storage: {os.fspath(path)!r} is not a journal of Optuna")
    lock = _Lock(path) if os.name == "posix" else JournalFileOpenLock(os.fspath(path))
    try:
        return JournalStorage(JournalFileBackend(os.fspath(path), lock_obj=lock))  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:  # of a line it does not know
        raise ValueError(f"storage: {os.fspath(path)!r} is not a journal of Optuna: {error}") from error


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"storage: there is no folder {os.fspath(path.parent)!r}")


class _Lock:
    """Whoever appends to a journal has it alone; the operating system takes the lock from a process that is killed.

    What a machine that lost its power left of a last line is cut off, or the next line would be glued to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    def acquire(self) -> bool:
        import fcntl

        file = open(self._path, "r+b")  # noqa: SIM115 - until release
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file = file
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._file.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_file": None}


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna's messages about every study and trial are left out; its warnings stay."""
    logging = optuna().logging
    before = logging.get_verbosity()
    logging.set_verbosity(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.set_verbosity(before)
