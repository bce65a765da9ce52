"""How the command line tells an error: in one line, with the place in the user's code that it came from."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

_PACKAGE = str(Path(__file__).parent) + os.sep
_NOT_THE_USERS = sys.stdlib_module_names | {"numpy", "rich", "jinja2", "safetensors", "matplotlib", "sklearn", "joblib"}


class InputError(Exception):
    """Something about the command line's input; its text names the argument."""


def told(error: BaseException) -> str:
    """The message, where it was written to be read; of anything else the exception and its place as well."""
    written = isinstance(error, (ValueError, TypeError, OSError, ImportError)) and not _place(error)
    if written or isinstance(error, InputError):
        return str(error)
    return f"{described(error)}; --traceback shows where"


def described(error: BaseException) -> str:
    """An exception in words, in one line: ``KeyError: 'W' in forward, line 12 of models.py``."""
    text = " ".join(str(error).split())
    notes = "".join(f". {' '.join(note.split())}" for note in getattr(error, "__notes__", []))
    return type(error).__name__ + (f": {text}" if text else "") + _place(error) + notes.removesuffix(".")


def _place(error: BaseException) -> str:
    """The innermost line of the user's own code on the way to the error; empty if there is none."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        code, module = frame.f_code, str(frame.f_globals.get("__name__"))
        if not code.co_filename.startswith(_PACKAGE) and module.partition(".")[0] not in _NOT_THE_USERS:
            place = f" in {code.co_name}, line {line} of {code.co_filename}"
    return place
