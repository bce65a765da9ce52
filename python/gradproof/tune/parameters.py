"""What a hyper-parameter may be, and on which scale it is drawn.

A learning rate between 0.0001 and 1 drawn evenly would nearly always lie above 0.1: it belongs on a log scale. So does
the distance of a decay rate such as beta from 1, as 1/(1-beta) is the number of steps that it averages over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite
from math import log as ln
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np

from gradproof._messages import shown
from gradproof.nn import validate

#: A part of a parameter's range: its ends on the parameter's scale, or the options that are left.
Part: TypeAlias = "tuple[float, float] | tuple[Any, ...]"

LARGEST = 2**53  # whole numbers up to here are exact in a float


@dataclass(frozen=True)
class Parameter:
    """A hyper-parameter; made by :func:`uniform`, :func:`log`, :func:`one_minus`, :func:`integer`, :func:`choice`.

    What a study stores may differ from what the objective gets: 1 - beta and beta, a label and what it stands for.
    """

    def key(self, name: str) -> str:
        """What the parameter is called in a study."""
        return name

    def distribution(self) -> Any:
        """Its Optuna distribution, of stored values."""
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, part: Part | None = None) -> Any:
        """A stored value drawn evenly on the scale, from a part of the range or all of it."""
        raise NotImplementedError

    def around(self, stored: Sequence[Any], margin: float, least: float) -> Part:
        """The smallest part of the range with these stored values in it, and a margin.

        Parameters
        ----------
        stored : sequence
            At least one value.
        margin : float
            To be added on either side, in widths of the part.
        least : float
            Smallest width of the result, in widths of the range.
        """
        raise NotImplementedError

    def value(self, stored: Any) -> Any:
        """What the objective gets for a stored value."""
        return stored

    def label(self, stored: Any) -> Any:
        """What stands in a table for a stored value."""
        return self.value(stored)

    @property
    def count(self) -> float:
        """How many values there are; inf for an interval."""
        return inf

    def members(self) -> Sequence[Any]:
        """All stored values, where :attr:`count` is finite."""
        raise NotImplementedError

    def position(self, stored: Any) -> float:
        """Where a stored value lies on an axis; see :meth:`axis`."""
        raise NotImplementedError

    def axis(self) -> str:
        """The scale of the axis of a plot: ``"linear"``, ``"log"`` or ``"category"``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Number(Parameter):
    """A number of an interval on one of the scales; ``repr`` is how it was asked for."""

    low: float
    high: float
    scale: str  # "uniform", "log" or "one_minus"

    def __repr__(self) -> str:
        return f"{self.scale}({self.low!r}, {self.high!r})"

    def key(self, name: str) -> str:
        return f"1-{name}" if self.scale == "one_minus" else name

    @property
    def _ends(self) -> tuple[float, float]:
        """Of the stored values."""
        return (1 - self.high, 1 - self.low) if self.scale == "one_minus" else (self.low, self.high)

    def distribution(self) -> Any:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(*self._ends, log=self.scale != "uniform")

    def draw(self, rng: np.random.Generator, part: Part | None = None) -> float:
        low, high = self._ends
        start, stop = part or (self._scaled(low), self._scaled(high))
        drawn = rng.uniform(start, stop)
        return min(max(drawn if self.scale == "uniform" else exp(drawn), low), high)

    def around(self, stored: Sequence[Any], margin: float, least: float) -> Part:
        low, high = map(self._scaled, self._ends)
        return _widened([self._scaled(value) for value in stored], low, high, margin, least)

    def _scaled(self, stored: float) -> float:
        return stored if self.scale == "uniform" else ln(stored)

    def value(self, stored: Any) -> float:
        return min(max(1 - stored, self.low), self.high) if self.scale == "one_minus" else stored

    @property
    def count(self) -> float:
        return 1 if self.low == self.high else inf

    def members(self) -> Sequence[Any]:
        return [self._ends[0]]

    def position(self, stored: Any) -> float:
        return float(stored)

    def axis(self) -> str:
        return "linear" if self.scale == "uniform" else "log"


@dataclass(frozen=True)
class Whole(Parameter):
    """A whole number of an interval, evenly or on a log scale."""

    low: int
    high: int
    log: bool = False

    def __repr__(self) -> str:
        return f"integer({self.low}, {self.high}{', log=True' if self.log else ''})"

    def distribution(self) -> Any:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log)

    def draw(self, rng: np.random.Generator, part: Part | None = None) -> int:
        drawn = rng.uniform(*(part or self._range))
        return min(max(round(exp(drawn) if self.log else drawn), self.low), self.high)

    def around(self, stored: Sequence[Any], margin: float, least: float) -> Part:
        ends = [self._scaled(value + side) for value in stored for side in (-0.5, 0.5)]
        return _widened(ends, *self._range, margin, least)

    @property
    def _range(self) -> tuple[float, float]:
        """Half a step beyond the ends, so that these are as likely as their neighbours."""
        return self._scaled(self.low - 0.5), self._scaled(self.high + 0.5)

    def _scaled(self, number: float) -> float:
        return ln(number) if self.log else number

    def value(self, stored: Any) -> int:
        return int(stored)

    @property
    def count(self) -> float:
        return self.high - self.low + 1

    def members(self) -> Sequence[Any]:
        return range(self.low, self.high + 1)

    def position(self, stored: Any) -> float:
        return float(stored)

    def axis(self) -> str:
        return "log" if self.log else "linear"


@dataclass(frozen=True)
class Choice(Parameter):
    """One of several options without an order, each with a label that can be stored."""

    labels: tuple[Any, ...]
    options: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"choice([{', '.join(map(repr, self.labels))}])"

    def distribution(self) -> Any:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.labels)

    def draw(self, rng: np.random.Generator, part: Part | None = None) -> Any:
        left = self.labels if part is None else part
        return left[int(rng.integers(len(left)))]

    def around(self, stored: Sequence[Any], margin: float, least: float) -> Part:
        return tuple(label for label in self.labels if label in stored)

    def value(self, stored: Any) -> Any:
        return self.options[self.labels.index(stored)]

    def label(self, stored: Any) -> Any:
        return stored

    @property
    def count(self) -> float:
        return len(self.labels)

    def members(self) -> Sequence[Any]:
        return self.labels

    def position(self, stored: Any) -> float:
        return float(self.labels.index(stored))

    def axis(self) -> str:
        return "category"


def _widened(values: Sequence[float], low: float, high: float, margin: float, least: float) -> tuple[float, float]:
    """An interval around values, within [low, high]."""
    start, stop = min(values), max(values)
    more = margin * (stop - start)
    more = max(more, (least * (high - low) - (stop - start)) / 2)
    return max(start - more, low), min(stop + more, high)


# ---------------------------------------------------------------- what users write


def uniform(low: float, high: float) -> Parameter:
    """Numbers from `low` to `high`, all equally likely: ``keep_prob=uniform(0.5, 1)``.

    Parameters
    ----------
    low, high : float
        Both included.
    """
    return Number(*_ends(low, high, -inf, inf), "uniform")


def log(low: float, high: float) -> Parameter:
    """Positive numbers whose logarithm is drawn evenly: ``learning_rate=log(1e-4, 1e-1)``.

    As many between 0.0001 and 0.001 as between 0.01 and 0.1.

    Parameters
    ----------
    low, high : float
        Both included; greater than 0.
    """
    return Number(*_ends(low, high, 0, inf), "log")


def one_minus(low: float, high: float) -> Parameter:
    """Numbers below 1 whose distance from 1 has its logarithm drawn evenly: ``beta=one_minus(0.9, 0.999)``.

    A study stores the distance, as ``1-beta``.

    Parameters
    ----------
    low, high : float
        Both included; smaller than 1.
    """
    return Number(*_ends(low, high, -inf, 1), "one_minus")


def integer(low: int, high: int, log: bool = False) -> Parameter:
    """Whole numbers from `low` to `high`: ``units=integer(16, 256, log=True)``.

    Parameters
    ----------
    low, high : int
        Both included.
    log : bool
        Draw the logarithm evenly; then `low` is at least 1.
    """
    for name, value in (("low", low), ("high", high)):
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError(f"{name}: got {shown(value)}, expected a whole number")
    log = validate.flag(log, "log")
    if not low <= high or max(abs(low), abs(high)) > LARGEST:
        raise ValueError(f"low, high: got {low}, {high}, expected whole numbers with low <= high, at most 2**53")
    if log and low < 1:
        raise ValueError(f"low: got {low}, expected at least 1 on a log scale")
    return Whole(int(low), int(high), log)


def choice(options: Iterable[Any] | Mapping[str, Any]) -> Parameter:
    """One of several options: ``activation=choice(["relu", "tanh"])``.

    Parameters
    ----------
    options : sequence or dict
        Strings, numbers, True, False, None. All else needs a label: of ``choice({"relu": gp.ReLU, "tanh": gp.Tanh})``
        the objective gets ``gp.ReLU``, and tables have ``"relu"``.
    """
    if isinstance(options, (str, bytes)) or not isinstance(options, Iterable):
        raise TypeError(f"options: got {shown(options)}, expected a list of options, or a dict from label to option")
    labels = tuple(options)
    for label in labels:
        if isinstance(options, Mapping) and not isinstance(label, str):
            raise TypeError(f"options: got the label {shown(label)}, expected a str")
        if not (label is None or isinstance(label, (str, bool, int, float))):
            raise TypeError(
                f"options: got {shown(label)}, expected strings, numbers, True, False or None, or a dict from labels "
                "to options of any kind"
            )
        if isinstance(label, float) and not isfinite(label):
            raise ValueError(f"options: got {shown(label)}, expected finite numbers")
    if not labels or len(set(labels)) < len(labels):
        raise ValueError(f"options: got {list(labels)!r}, expected at least one option, and none twice")
    return Choice(labels, tuple(options.values()) if isinstance(options, Mapping) else labels)


def _ends(low: Any, high: Any, above: float, below: float) -> tuple[float, float]:
    expected = "a finite number" + (f" > {above:g}" if above > -inf else "") + (f" < {below:g}" if below < inf else "")
    ends = []
    for name, value in (("low", low), ("high", high)):
        if not isinstance(value, Real) or isinstance(value, bool):
            raise TypeError(f"{name}: got {shown(value)}, expected {expected}")
        if not (isfinite(value) and above < float(value) < below):
            raise ValueError(f"{name}: got {shown(value)}, expected {expected}")
        ends.append(float(value))
    if ends[0] > ends[1]:
        raise ValueError(f"low, high: got {shown(low)}, {high!r}, expected low <= high")
    return ends[0], ends[1]
