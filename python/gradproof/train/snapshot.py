"""Everything that a training step changes, set aside and put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]


class Snapshot:
    """Parameters, running statistics, dropout step, and the optimizer's slots and step, at the time it was taken."""

    def __init__(self, model: Sequential, state: Any) -> None:
        self._model, self._state = model, state
        self._live = [model.theta, model.buffers, *state.slots.values()]
        self._kept = [array.copy() for array in self._live]
        self._steps = (model.dropout_step, state.step)

    def take(self) -> None:
        """Set the present values aside."""
        for kept, live in zip(self._kept, self._live, strict=True):
            np.copyto(kept, live)
        self._steps = (self._model.dropout_step, self._state.step)

    def put_back(self) -> None:
        """Return to the values that were set aside."""
        for kept, live in zip(self._kept, self._live, strict=True):
            np.copyto(live, kept)
        self._model.dropout_step, self._state.step = self._steps


def finite(model: Sequential) -> bool:
    """Whether parameters and running statistics are numbers."""
    return bool(np.isfinite(model.theta).all() and np.isfinite(model.buffers).all())
