"""One thread at a time trains a model: a second one would write into weights that the first is computing with."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

_locks: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()


@contextmanager
def training(model: Any) -> Iterator[None]:
    """While it is entered, no other thread can; the same one may, from a callback.

    Raises
    ------
    RuntimeError
        If another thread is training the model.
    """
    lock = _locks.setdefault(model, threading.RLock())
    if not lock.acquire(blocking=False):
        raise RuntimeError("model: another thread is training it, expected one at a time; model.copy() is independent")
    try:
        yield
    finally:
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_locks.clear)  # the other threads are not in the child
