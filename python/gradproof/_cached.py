"""``functools.cached_property`` as it is since Python 3.12: without a lock.

The lock of older versions is one per class: threads wait for each other's instances, and a process that forks while a
thread holds it has a child that waits forever. Without it, a value may be computed twice.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from functools import cached_property as cached_property
else:

    class cached_property(functools.cached_property):  # noqa: N801
        """A value computed when first asked for, and kept in the instance."""

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            values = instance.__dict__
            if self.attrname not in values:
                values[self.attrname] = self.func(instance)
            return values[self.attrname]
