"""All hyper-parameters of a search together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

from gradproof._messages import shown
from gradproof.tune.parameters import Parameter, Part

#: A part of a space.
Box: TypeAlias = "dict[str, Part]"


class Space:
    """Hyper-parameters by name.

    Parameters
    ----------
    parameters : mapping of str to Parameter
        At least one.
    """

    def __init__(self, parameters: Any) -> None:
        if isinstance(parameters, Space):
            parameters = parameters.parameters
        if not isinstance(parameters, Mapping) or not parameters:
            raise TypeError(
                f"space: got {shown(parameters)}, expected a dict such as {{'learning_rate': gp.tune.log(...)}}"
            )
        for name, parameter in parameters.items():
            if not isinstance(name, str) or not name:
                raise TypeError(f"space: got the name {shown(name)}, expected a str")
            if not isinstance(parameter, Parameter):
                raise TypeError(
                    f"space[{name!r}]: got {shown(parameter)}, expected gp.tune.uniform, log, one_minus, integer or "
                    "choice"
                )
        self.parameters: dict[str, Parameter] = dict(parameters)
        self.keys = {name: parameter.key(name) for name, parameter in self.parameters.items()}
        if len(set(self.keys.values())) < len(self.keys):
            raise ValueError(f"space: the names {', '.join(self.keys)} are not distinct; 1-x is how x is stored")

    def signature(self) -> dict[str, str]:
        """The space in words, by which two are told apart."""
        return {name: repr(parameter) for name, parameter in self.parameters.items()}

    def distributions(self) -> dict[str, Any]:
        """Optuna's distributions by stored name."""
        return {self.keys[name]: parameter.distribution() for name, parameter in self.parameters.items()}

    @property
    def size(self) -> float:
        """How many combinations there are; inf if an interval is among the parameters."""
        return prod(parameter.count for parameter in self.parameters.values())

    def draw(self, rng: np.random.Generator, box: Box | None = None) -> dict[str, Any]:
        """Stored values drawn from all of the space, or from a box in it."""
        box = box or {}
        return {self.keys[name]: parameter.draw(rng, box.get(name)) for name, parameter in self.parameters.items()}

    def around(self, stored: Sequence[Mapping[str, Any]], margin: float, least: float) -> Box:
        """The smallest box with these stored combinations in it, and a margin; see :meth:`Parameter.around`."""
        return {
            name: parameter.around([values[self.keys[name]] for values in stored], margin, least)
            for name, parameter in self.parameters.items()
        }

    def values(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """What the objective gets."""
        return self._by_name(stored, lambda parameter: parameter.value)

    def labels(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """What stands in tables."""
        return self._by_name(stored, lambda parameter: parameter.label)

    def _by_name(self, stored: Mapping[str, Any], function: Callable[[Parameter], Any]) -> dict[str, Any]:
        return {name: function(parameter)(stored[self.keys[name]]) for name, parameter in self.parameters.items()}

    def complete(self, stored: Mapping[str, Any]) -> bool:
        """Whether every parameter has a value."""
        return all(key in stored for key in self.keys.values())
