"""Ways to choose the next combination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradproof._messages import shown
from gradproof.nn import validate

METHODS = ("coarse_to_fine", "random", "tpe")
PRUNING = ("median", "halving")


@dataclass(frozen=True)
class CoarseToFine:
    """First at random everywhere, then in the smallest box that holds the best few so far.

    Parameters
    ----------
    coarse : float
        Share of the trials that are drawn from the whole space.
    best : int
        How many of the best trials the box has to hold; of options without an order, those that they have are left.
    margin : float
        What is added to the box on either side, in widths of the box on the scale of each parameter.
    least : float
        Smallest width of the box, in widths of the whole range.
    """

    coarse: float = 0.5
    best: int = 4
    margin: float = 0.5
    least: float = 0.05

    def __post_init__(self) -> None:
        for name, largest in (("coarse", 1.0), ("margin", 100.0), ("least", 1.0)):
            expected = f"a number from 0 to {largest:g}"
            validate.real(getattr(self, name), name, expected, lambda number, top=largest: 0 <= number <= top)  # type: ignore[misc]
        validate.whole(self.best, "best", 1, 2**31)


def chosen(method: Any) -> Any:
    """A method as an instance of :class:`CoarseToFine`, ``"random"``, ``"tpe"``, or a sampler of Optuna.

    Raises
    ------
    ValueError, TypeError
        If it is none of them.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"method: got {shown(method)}, expected one of {', '.join(map(repr, METHODS))}")
        return CoarseToFine() if method == "coarse_to_fine" else method
    from optuna.samplers import BaseSampler

    if not isinstance(method, (CoarseToFine, BaseSampler)):
        names = ", ".join(map(repr, METHODS))
        raise TypeError(
            f"method: got {shown(method)}, expected {names}, gp.tune.CoarseToFine(...) or a sampler of Optuna"
        )
    return method


def pruner(pruning: Any) -> Any:
    """A pruner of Optuna, for a name, None or a pruner.

    Raises
    ------
    ValueError, TypeError
        If it is none of them.
    """
    from optuna import pruners

    if pruning is None:
        return pruners.NopPruner()
    if isinstance(pruning, pruners.BasePruner):
        return pruning
    if not isinstance(pruning, str):
        raise TypeError(f"pruning: got {shown(pruning)}, expected None, 'median', 'halving' or a pruner of Optuna")
    if pruning not in PRUNING:
        raise ValueError(f"pruning: got {shown(pruning)}, expected None, {' or '.join(map(repr, PRUNING))}")
    return pruners.MedianPruner(n_startup_trials=5) if pruning == "median" else pruners.SuccessiveHalvingPruner()
