"""The program ``gradproof``, when the package itself cannot be imported and its ``main`` never runs."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

_MODULES = ("gradproof", "gradproof.cli")  # of python -m
_USAGE = 2  # exit status, as in cli.py


def is_running() -> bool:
    """Whether this process is the command line, not a program that imports gradproof."""
    started_as = sys.argv[0] if sys.argv else ""
    if started_as == "-m":
        return any(option == "-m" and module in _MODULES for option, module in pairwise(sys.orig_argv))
    return Path(started_as).stem == "gradproof"


def end(error: Exception) -> None:
    """End the command line with the error in one line; a program of the user's gets the exception itself."""
    if is_running():
        print(f"gradproof: error: {error}", file=sys.stderr)
        raise SystemExit(_USAGE)
