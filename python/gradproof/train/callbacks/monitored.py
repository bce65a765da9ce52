"""The number that a callback goes by."""

from __future__ import annotations

import warnings
from math import inf, isnan
from typing import Any

from gradproof._messages import shown
from gradproof.nn import validate
from gradproof.train.run import Run

LARGER_IS_BETTER = ("accuracy", "r2")


class Monitored:
    """The best value so far of a column of the history.

    Parameters
    ----------
    monitor : str or None
        Name of the column; None: ``"val_loss"`` with validation data, else ``"loss"``. Of those that end in
        ``accuracy`` or ``r2`` a larger value is better, of all others a smaller one.
    min_delta : float
        By how much a value must be better to count.
    """

    def __init__(self, monitor: str | None, min_delta: float = 0.0) -> None:
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor: got {shown(monitor)}, expected the name of a column such as 'val_loss'")
        self.monitor = monitor
        self.min_delta = validate.nonnegative(min_delta, "min_delta")
        self.best: float | None = None
        self._column: str | None = None  # what `best` is of

    def name(self, run: Run) -> str:
        """The column that is looked at."""
        return self.monitor or ("val_loss" if "val_loss" in run.logs else "loss")

    def improves(self, run: Run) -> bool:
        """Whether the epoch that ended is better than all before, and if so remember it.

        Raises
        ------
        ValueError
            If there is no such column.
        """
        name = self.name(run)
        if name not in run.logs:
            hint = "; give validation_data" if name.startswith("val_") else ""
            raise ValueError(f"monitor: got {shown(name)}, expected one of {', '.join(map(repr, run.logs))}{hint}")
        if self._column not in (None, name) and self.best is not None:
            warnings.warn(
                f"monitor: the best so far is of {self._column!r}; that of {name!r} begins anew", stacklevel=2
            )
            self.best = None
        self._column = name
        value = float(run.logs[name])
        sign = -1.0 if name.endswith(LARGER_IS_BETTER) else 1.0
        best = inf if self.best is None else sign * self.best
        if isnan(value) or not sign * value < best - self.min_delta:
            return False
        self.best = value
        return True

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"best": self.best, "column": self._column}

    def restore(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.best = None if state["best"] is None else float(state["best"])
        self._column = state.get("column")
