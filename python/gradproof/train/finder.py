"""Which learning rate to begin with: train a copy while the rate grows, and look where the loss falls (Smith 2017)."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof._messages import shown
from gradproof.kernels.optimizers import valid_beta
from gradproof.nn import validate
from gradproof.nn.network import Network
from gradproof.train.averages import EWA, ewa
from gradproof.train.optimizers import Adam, Optimizer
from gradproof.train.step import Step

_DIVERGED = 4.0  # times the lowest loss, and above the first: Smith's sweeps, and fastai's, end there


@dataclass(frozen=True)
class RateSweep:
    """What :func:`find_learning_rate` found.

    Attributes
    ----------
    rates : float64 array, (n,)
        Those that were tried, in ascending order.
    losses : float64 array, (n,)
        The loss of the batch after the step with each rate.
    smoothing : float
        Weight of the past in :attr:`smoothed`.
    diverged : bool
        Whether the sweep ended early because the loss had grown.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothing: float
    diverged: bool
    smoothed: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "smoothed", ewa(self.losses, self.smoothing))

    @property
    def suggestion(self) -> float | None:
        """The rate to begin with: :attr:`valley`, or None where the loss did not fall at any rate."""
        return self.valley

    @property
    def valley(self) -> float | None:
        """Two thirds into the longest descent, noise left out: the longest decreasing subsequence, as in fastai."""
        descent = _longest_descent(self.smoothed)
        return float(self.rates[descent[2 * len(descent) // 3]]) if len(descent) > 1 else None

    @property
    def steepest(self) -> float | None:
        """Where the smoothed loss falls most per factor of the rate, on the way to its lowest."""
        lowest = self._lowest
        if not lowest:
            return None
        slopes = np.diff(self.smoothed[: lowest + 1]) / np.diff(np.log(self.rates[: lowest + 1]))
        return float(self.rates[np.argmin(slopes)])

    @property
    def minimum(self) -> float | None:
        """A tenth of the rate with the lowest smoothed loss; at that rate itself the loss is about to grow."""
        return float(self.rates[self._lowest]) / 10 if self._lowest else None

    @property
    def _lowest(self) -> int:
        """Where the smoothed loss is lowest; 0 where it does not fall."""
        return int(np.argmin(self.smoothed)) if len(self.rates) else 0

    def __str__(self) -> str:
        if not len(self.rates):
            return "learning rates: the loss is not finite before the first step"
        end = "until the loss grew" if self.diverged else "without the loss growing"
        lines = [f"learning rates: {len(self.rates)} tried from {self.rates[0]:.3g} to {self.rates[-1]:.3g}, {end}"]
        for name in ("valley", "steepest", "minimum"):
            rate = getattr(self, name)
            lines.append(f"  {name:<9} {'none: the loss does not fall' if rate is None else format(rate, '.2e')}")
        return "\n".join(
            [*lines, f"  suggestion: {'none' if self.suggestion is None else format(self.suggestion, '.2e')}"]
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw loss against rate with the suggestion; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to; a new figure if not given.

        Returns
        -------
        matplotlib Axes
        """
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError as error:
                raise ImportError("plot needs the package 'matplotlib': pip install gradproof[plot]") from error
            _, ax = plt.subplots()
        ax.plot(self.rates, self.losses, color="0.75", linewidth=1, label="loss of the next batch")
        ax.plot(self.rates, self.smoothed, label="smoothed")
        if self.suggestion is not None:
            ax.axvline(self.suggestion, color="0.3", linestyle="--", label=f"suggestion {self.suggestion:.2e}")
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
        ax.legend()
        return ax


def find_learning_rate(
    model: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    optimizer: Optimizer | None = None,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    batch_size: int = 64,
    smoothing: float = 0.9,
    seed: int = 0,
) -> RateSweep:
    """Train a copy of the model while the rate grows exponentially; the model itself is left as it is.

    Parameters
    ----------
    model : Sequential
    X, y
        As for :meth:`Sequential.fit`.
    optimizer : optimizer
        Whose rate is sought; Adam if not given.
    lowest, highest : float
        The first and the last rate, positive.
    steps : int
        Rates to try, at least 2. The sweep ends early when the loss is not finite, or the smoothed one four times its
        lowest and above its first.
    batch_size : int
        Rows per step, all rows if there are fewer.
    smoothing : float in [0, 1)
        Weight of the past in the smoothed loss, see :class:`gradproof.averages.EWA`.
    seed : int
        Of the order of the rows.

    Returns
    -------
    RateSweep

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected.
    """
    if not isinstance(model, Network):
        raise TypeError(f"model: got {type(model).__name__}, expected a gradproof.Sequential")
    lowest, highest = _above(lowest, 0, "lowest"), _above(highest, lowest, "highest")
    steps = validate.whole(steps, "steps", 2, 10**6)
    smoothing = valid_beta(smoothing, "smoothing")
    optimizer = Adam() if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: got {shown(optimizer)}, expected an optimizer such as Adam()")
    copy = model.copy()
    step = Step(copy, X, y, optimizer, optimizer.init(copy.theta))
    batches = _batches(len(step.X), validate.whole(batch_size, "batch_size", 1, 2**63 - 1), seed)
    rates = np.geomspace(lowest, highest, steps)
    losses: list[float] = []
    average, first, best = EWA(smoothing), nan, nan
    diverged = False
    for t in range(steps + 1):
        with np.errstate(over="ignore", invalid="ignore"):
            loss = sum(step.gradient(next(batches)))
        if not isfinite(loss):
            diverged = True
            break
        if t:
            losses.append(loss)
            smoothed = average.update(loss)
            best = smoothed if t == 1 else min(best, smoothed)
            diverged = smoothed > _DIVERGED * best and smoothed > first
        else:
            first = loss
        if diverged or t == steps:
            break
        step.update(float(rates[t]))
    return RateSweep(rates[: len(losses)], np.array(losses), smoothing, diverged)


def _batches(m: int, size: int, seed: int) -> Any:
    """Batches of rows for ever, in a new order each time the rows are used up."""
    generator = np.random.default_rng(validate.whole(seed, "seed", 0, 2**64 - 1))
    size = min(size, m)
    while True:
        order = generator.permutation(m)
        yield from (order[start : start + size] for start in range(0, m - size + 1, size))


def _longest_descent(values: NDArray[np.float64]) -> list[int]:
    """Positions of the longest strictly decreasing subsequence, the first of several."""
    n = len(values)
    length, before = np.ones(n, int), np.full(n, -1)
    for i in range(n):
        higher = np.flatnonzero(values[:i] > values[i])
        if len(higher):
            best = higher[np.argmax(length[higher])]
            length[i], before[i] = length[best] + 1, best
    positions = [int(np.argmax(length))] if n else []
    while positions and before[positions[-1]] >= 0:
        positions.append(int(before[positions[-1]]))
    return positions[::-1]


def _above(value: Any, bound: float, name: str) -> float:
    return validate.real(value, name, f"a finite number > {bound:g}", lambda number: number > bound)
