"""Keywords that all checks have in common, and which values they may have."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np

from gradproof.nn.validate import whole as whole_number

Method = Literal["auto", "exhaustive", "projected"]
METHODS: Final = ("auto", "exhaustive", "projected")


def validate(
    method: str, max_evaluations: Any, max_seconds: Any, rtol: Any, n_jobs: Any, seed: Any, backend: Any
) -> None:
    """Refuse values that are not what is expected, by name."""
    if method not in METHODS:
        raise ValueError(f"method: got {method!r}, expected one of {', '.join(map(repr, METHODS))}")
    for name, value, whole in (
        ("max_evaluations", max_evaluations, True),
        ("max_seconds", max_seconds, False),
        ("rtol", rtol, False),
    ):
        kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise TypeError(f"{name}: got {value!r}, expected a {'whole ' if whole else ''}number >= 0 or None")
        if not value >= 0:
            raise ValueError(f"{name}: got {value!r}, expected a {'whole ' if whole else ''}number >= 0 or None")
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0:
        raise ValueError(f"n_jobs: got {n_jobs!r}, expected a whole number other than 0")
    whole_number(seed, "seed", 0, 2**64 - 1)
    if backend is not None and not isinstance(backend, str):
        raise TypeError(f"backend: got {backend!r}, expected the name of a joblib backend or None")
