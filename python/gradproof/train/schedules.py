"""Learning-rate schedules: functions of the epoch e = 0, 1, 2, ... that give a factor on the optimizer's rate.

Any function of the epoch is a schedule; those here are also data, with a ``repr`` and checked arguments. All count from
0, so that the first epoch is trained with the optimizer's own rate (but for the k of :class:`InverseSqrt`, and the rise
of :class:`WarmUp` and :class:`OneCycle`, which go on from batch to batch).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, floor, inf, isfinite, pi, sqrt
from typing import Any, ClassVar, TypeAlias

import numpy as np

from gradproof._messages import shown
from gradproof.nn import validate

Schedule: TypeAlias = Callable[[float], float]


class _Schedule:
    """What the schedules of this module have in common."""

    by_batch: ClassVar[bool] = False  # whether the rate also changes within an epoch

    def _check(self, name: str, checked: Callable[[Any, str], float]) -> None:
        """Check an argument, and keep it as a plain number: a NumPy scalar would compute in its own precision."""
        given = getattr(self, name)
        number = checked(given, name)
        object.__setattr__(self, name, given if type(given) is int else number)

    def __call__(self, epoch: float) -> float:
        raise NotImplementedError

    def rate(self, learning_rate: float, epoch: float) -> float:
        """The rate of an epoch, from the optimizer's."""
        return learning_rate * self(epoch)


@dataclass(frozen=True)
class Constant(_Schedule):
    """Always the optimizer's rate."""

    def __call__(self, epoch: float) -> float:
        return 1.0


@dataclass(frozen=True)
class InverseTime(_Schedule):
    """``1 / (1 + d e)``.

    Parameters
    ----------
    decay_rate : float
        d, not negative.
    """

    decay_rate: float = 1.0

    def __post_init__(self) -> None:
        self._check("decay_rate", validate.nonnegative)

    def __call__(self, epoch: float) -> float:
        return 1 / (1 + self.decay_rate * _valid(epoch))


@dataclass(frozen=True)
class Exponential(_Schedule):
    """``b^e``.

    Parameters
    ----------
    base : float
        b, positive.
    """

    base: float = 0.95

    def __post_init__(self) -> None:
        self._check("base", _positive)

    def __call__(self, epoch: float) -> float:
        return _power(self.base, _valid(epoch))


@dataclass(frozen=True)
class InverseSqrt(_Schedule):
    """``k / sqrt(e)``, and k in epoch 0, where that has no value.

    Parameters
    ----------
    k : float
        Positive.
    """

    k: float = 1.0

    def __post_init__(self) -> None:
        self._check("k", _positive)

    def __call__(self, epoch: float) -> float:
        return self.k / sqrt(max(_valid(epoch), 1))


@dataclass(frozen=True)
class Staircase(_Schedule):
    """``factor^floor(e / every)``: the rate is halved, say, in every epoch that is a multiple of `every`.

    Parameters
    ----------
    factor : float
        Positive.
    every : int
        Epochs per stair, at least 1.
    """

    factor: float = 0.5
    every: int = 10

    def __post_init__(self) -> None:
        self._check("factor", _positive)
        self._check("every", _epochs)

    def __call__(self, epoch: float) -> float:
        return _power(self.factor, _valid(epoch) // self.every)


@dataclass(frozen=True, repr=False)
class Manual(_Schedule):
    """Rates from a table: the rates themselves, not factors.

    Parameters
    ----------
    rates : dict of int to float
        The rate from that epoch on. Before the first of them, the optimizer's own.

    Examples
    --------
    >>> Manual({0: 0.1, 30: 0.01, 60: 0.001})
    """

    rates: Mapping[int, float]

    def __post_init__(self) -> None:
        if not isinstance(self.rates, Mapping) or not self.rates:
            raise TypeError(f"rates: got {shown(self.rates)}, expected a dict {{epoch: rate}}")
        table = {
            validate.whole(epoch, "rates: an epoch", 0, 2**31): validate.nonnegative(rate, f"rates[{epoch}]")
            for epoch, rate in self.rates.items()
        }
        object.__setattr__(self, "rates", dict(sorted(table.items())))

    def __hash__(self) -> int:
        return hash(tuple(self.rates.items()))

    def __repr__(self) -> str:
        return f"Manual({self.rates!r})"

    def __call__(self, epoch: float) -> float:
        """The rate of an epoch that is not before the table."""
        if _valid(epoch) < min(self.rates):
            raise ValueError(f"epoch: got {epoch}, expected one from {min(self.rates)}, where {self!r} begins")
        return self.rates[max(start for start in self.rates if start <= epoch)]

    def rate(self, learning_rate: float, epoch: float) -> float:
        return learning_rate if epoch < min(self.rates) else self(epoch)


@dataclass(frozen=True)
class Cosine(_Schedule):
    """Half a cosine from 1 to `final`, which it then stays at: ``final + (1 - final) (1 + cos(pi e / epochs)) / 2``
    (Loshchilov and Hutter 2017).

    Parameters
    ----------
    epochs : float
        Positive; where the end is reached. The last of as many epochs is still a little above it.
    final : float
        From 0 to 1.
    """

    epochs: float
    final: float = 0.0

    def __post_init__(self) -> None:
        self._check("epochs", _positive)
        self._check("final", _fraction)

    def __call__(self, epoch: float) -> float:
        return _half_cosine(1.0, self.final, _valid(epoch) / self.epochs)


@dataclass(frozen=True)
class OneCycle(_Schedule):
    """Up and down again, from batch to batch (Smith and Topin 2018): half a cosine from `start` to 1, one to `final`.

    The optimizer's rate is the largest one. It can be higher than a constant rate could.

    Parameters
    ----------
    epochs : float
        Positive; the length of the whole cycle. It stays at `final` after that.
    rise : float
        The share of the cycle that goes up, from 0 to 1.
    start, final : float
        From 0 to 1.
    """

    by_batch: ClassVar[bool] = True

    epochs: float
    rise: float = 0.3
    start: float = 0.04
    final: float = 4e-6

    def __post_init__(self) -> None:
        self._check("epochs", _positive)
        for name in ("rise", "start", "final"):
            self._check(name, _fraction)

    def __call__(self, epoch: float) -> float:
        done = _valid(epoch) / self.epochs
        if done < self.rise:
            return _half_cosine(self.start, 1.0, done / self.rise)
        return _half_cosine(1.0, self.final, (done - self.rise) / (1 - self.rise) if self.rise < 1 else 1.0)


@dataclass(frozen=True)
class WarmUp(_Schedule):
    """A straight line from `start` up to 1, from batch to batch, and then another schedule from its own epoch 0 on.

    Parameters
    ----------
    epochs : float
        Positive; the length of the line. 0.5 is half an epoch.
    then : schedule
        What follows; the line leads to the rate with which that begins.
    start : float
        From 0 to 1.
    """

    by_batch: ClassVar[bool] = True

    epochs: float
    then: Schedule = Constant()
    start: float = 0.1

    def __post_init__(self) -> None:
        self._check("epochs", _positive)
        self._check("start", _fraction)
        if isinstance(self.then, type) or not callable(self.then):
            raise TypeError(f"then: got {shown(self.then)}, expected a schedule or a function of the epoch")

    def __call__(self, epoch: float) -> float:
        return self.rate(1.0, epoch)

    def rate(self, learning_rate: float, epoch: float) -> float:
        done = _valid(epoch) / self.epochs
        if done < 1:
            return (self.start + (1 - self.start) * done) * rate(self.then, learning_rate, 0)
        whole = floor(epoch - self.epochs)
        return rate(self.then, learning_rate, whole, epoch - self.epochs - whole)


def by_batch(schedule: Schedule | None) -> bool:
    """Whether the rate also changes within an epoch.

    Parameters
    ----------
    schedule : schedule, function of the epoch, or None
        None is a constant rate.
    """
    return bool(getattr(schedule, "by_batch", False))


def rate(schedule: Schedule | None, learning_rate: float, epoch: int, progress: float = 0.0) -> float:
    """The learning rate at one place of the training.

    Parameters
    ----------
    schedule : schedule, function of the epoch, or None
        None is a constant rate.
    learning_rate : float
        The optimizer's own.
    epoch : int
        From 0.
    progress : float in [0, 1)
        The share of the epoch that is done, for schedules that go on from batch to batch.

    Raises
    ------
    ValueError
        If the schedule gives anything but a finite number >= 0.
    """
    if schedule is None:
        return learning_rate
    place = epoch + progress if by_batch(schedule) else epoch
    if isinstance(schedule, _Schedule):
        value: Any = schedule.rate(learning_rate, place)
    else:
        value = schedule(place)
    if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "fiu" or not isfinite(value) or value < 0:
        raise ValueError(f"schedule: {schedule!r} gives {value!r} in epoch {epoch}, expected a finite number >= 0")
    return float(value) if isinstance(schedule, _Schedule) else learning_rate * float(value)


# ---- Helpers ----
def _half_cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1 + cos(pi * min(done, 1.0))) / 2


def _power(base: float, exponent: float) -> float:
    try:
        return float(base) ** exponent
    except OverflowError:
        return inf


def _valid(epoch: float) -> float:
    return validate.nonnegative(epoch, "epoch")


def _epochs(value: Any, name: str) -> int:
    return validate.whole(value, name, 1, 2**31)


def _positive(value: Any, name: str) -> float:
    return validate.real(value, name, "a finite number > 0", lambda number: number > 0)


def _fraction(value: Any, name: str) -> float:
    return validate.real(value, name, "a number from 0 to 1", lambda number: 0 <= number <= 1)
