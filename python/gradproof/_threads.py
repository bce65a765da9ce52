"""How many threads the core may use, unless :func:`gradproof._core.set_thread_count` says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLES = ("GRADPROOF_NUM_THREADS", "OMP_NUM_THREADS")
MOST = 1024


def default() -> int:
    """What ``GRADPROOF_NUM_THREADS`` says, else ``OMP_NUM_THREADS`` (which joblib's workers set to their share), else
    the number of processors of this process's affinity mask and control group.

    Raises
    ------
    ValueError
        If a variable is set to something else than a whole number from 1 to 1024 (a list, as OpenMP allows, counts by
        its head).
    """
    for name in VARIABLES:
        text = os.environ.get(name, "").strip()
        if not text:
            continue
        head = text.split(",")[0].strip()
        if not head.isdecimal() or not 1 <= int(head) <= MOST:
            raise ValueError(f"{name}={text!r}: expected a whole number of threads from 1 to {MOST}")
        return int(head)
    return _available()


def _available() -> int:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, _quota(count)))


def _quota(otherwise: int) -> int:
    """Processors that the control group grants, from ``quota period`` in cpu.max (version 2)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return otherwise if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return otherwise
