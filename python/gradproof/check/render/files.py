"""Results on disk and as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradproof import _files
from gradproof._files import PathLike


def write_text(path: PathLike, text: str) -> None:
    """Write a text file, whole or not at all; see :func:`gradproof._files.write`."""
    _files.write(path, text.encode("utf-8", errors="replace"))


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
