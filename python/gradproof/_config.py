"""What is running: the circumstances that a measurement depends on."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from . import _core


def config() -> dict[str, Any]:
    """Versions, instruction set and number of threads, as plain data.

    Returns
    -------
    dict
        ``version``, ``isa``, ``available_isas``, ``matrix_unit`` (whether training uses the processor's), ``threads``,
        ``eigen``, ``compiler``, ``numpy``, ``python`` and ``platform``.
    """
    return {
        "version": _core.version(),
        "isa": _core.isa(),
        "available_isas": _core.available_isas(),
        "matrix_unit": _core.matrix_unit(),
        "threads": _core.thread_count(),
        "eigen": _core.eigen_version(),
        "compiler": _core.compiler(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def config_text() -> str:
    """`config`, one line per entry."""
    entries = config().items()
    return "\n".join(f"{name:15} {', '.join(value) if isinstance(value, list) else value}" for name, value in entries)


def show_config() -> None:
    """Print `config`, one line per entry."""
    print(config_text())
