"""What other rates would do from where a run ended."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof.train.doctor.plain import number

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]
Facts = dict[str, Any]

_STEPS = 10
_FACTORS = (0.1, 1.0, 10.0, 100.0)
_ALWAYS = 2e8  # products that a probe may cost in any case, some milliseconds; beyond that 5 % of training
_SHARE = 0.05


def affordable(model: Sequential, work: float) -> int:
    """Rows for a probe, `work` being the rows that training went through, over all epochs."""
    return int(max(_ALWAYS / max(model.theta.size, 1), _SHARE * work) / (_STEPS * len(_FACTORS)))


def probe(
    model: Sequential, X: Array, targets: Array, optimizer: Any, state: Any, rate: float, total: int, frozen: Any
) -> Facts:
    """The loss on one batch after ten steps with several rates, each from where the model is."""
    from gradproof.train.optimizers import OptimizerState

    losses: dict[str, float | None] = {}
    before = None
    with np.errstate(all="ignore"):
        for factor in _FACTORS:
            twin = model.without_dropout()
            copied = OptimizerState(state.step, {name: slot.copy() for name, slot in state.slots.items()})
            value = np.nan
            for _ in range(_STEPS + 1):
                gradient = np.zeros_like(twin.theta)
                scores, tape = twin._forward(X, True)
                value, dscores = twin._data_loss(scores, targets)
                twin._backward(dscores, tape, gradient)
                value += twin._penalty(total, gradient)
                twin._release(tape)
                before = value if before is None else before
                if not isfinite(value):
                    break
                optimizer.update(
                    twin.theta,
                    gradient,
                    copied,
                    rate * factor,
                    decayed=twin.layout.regularized_runs,
                    frozen=frozen,
                )
                if not np.isfinite(twin.theta).all():
                    value = np.inf
                    break
            losses[f"{factor:g}"] = number(value) if isfinite(value) else None
    return {
        "rows": len(X),
        "steps": _STEPS,
        "rate": float(rate),
        "before": number(np.nan if before is None else before),
        "after": losses,
    }
