"""Keywords that all checks have in common, and which values they may have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from sys import float_info
from typing import Any, Final, Literal

import numpy as np

from gradproof._messages import shown
from gradproof.nn.network import PARTS
from gradproof.nn.validate import flag
from gradproof.nn.validate import whole as whole_number

Method = Literal["auto", "exhaustive", "projected"]
MOST_STEPS: Final = 10**7  # of after_steps: minutes, with the smallest of networks
METHODS: Final = ("auto", "exhaustive", "projected")


def validate(
    method: str, nearby: Any, max_evaluations: Any, max_seconds: Any, rtol: Any, n_jobs: Any, seed: Any, backend: Any
) -> None:
    """Refuse values that are not what is expected, by name."""
    one_of(method, METHODS, "method")
    if nearby is not None:
        flag(nearby, "nearby")
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
    if rtol is not None and rtol > float_info.max:
        raise ValueError(f"rtol: got {rtol!r}, expected a finite number >= 0 or None")
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0:
        raise ValueError(f"n_jobs: got {n_jobs!r}, expected a whole number other than 0")
    whole_number(seed, "seed", 0, 2**64 - 1)
    if backend is not None and not isinstance(backend, str):
        raise TypeError(f"backend: got {backend!r}, expected the name of a joblib backend or None")


def one_of(value: Any, known: Sequence[str], name: str) -> None:
    """Refuse a name that is not known."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}: got {shown(value)}, expected one of {', '.join(map(repr, known))}")


def parts(value: Sequence[str]) -> tuple[str, ...]:
    """Terms of the cost, in the order of ``PARTS``."""
    chosen = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    for part in chosen:
        one_of(part, PARTS, "parts")
    if not chosen:
        raise ValueError("parts: got none, expected 'data', 'regularization' or both")
    return tuple(part for part in PARTS if part in chosen)


def step_counts(after_steps: Sequence[int] | int) -> list[int]:
    """Numbers of training steps, ascending, each once."""
    counts = list(after_steps) if isinstance(after_steps, Iterable) else [after_steps]
    whole = [count for count in counts if isinstance(count, (int, np.integer)) and not isinstance(count, bool)]
    if not counts or len(whole) < len(counts) or not 0 <= min(whole) <= max(whole) <= MOST_STEPS:
        raise ValueError(f"after_steps: got {shown(after_steps)}, expected whole numbers from 0 to {MOST_STEPS}")
    return sorted({int(count) for count in whole})
