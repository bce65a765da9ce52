"""Results on disk and as plain values."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

PathLike: TypeAlias = "str | os.PathLike[str]"


def write_text(path: PathLike, text: str) -> None:
    """Write a text file whole or not at all: the old file stays until the new one is complete.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"path is {str(target)!r}, but there is no folder {str(target.parent)!r}")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def jsonable(value: Any) -> Any:
    """Turn nested values into what JSON can hold: NaN is None, infinities are ``"inf"`` and ``"-inf"``."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return jsonable(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)
