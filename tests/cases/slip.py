"""How a mistake is put into a backward pass that is otherwise right, and the few functions the networks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Parameters = dict[str, Array]


class Slip:
    """One mistake, switched on by its name: ``slip("dW2 doubled", right, wrong)`` gives `wrong` if it is that one."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name
        self.places: list[str] = []  # that were passed, so that a misspelt name is noticed

    def __call__(self, name: str, right: Any, wrong: Any) -> Any:
        self.places.append(name)
        return wrong if self.name == name else right


class Network(NamedTuple):
    """A loss, its backward pass with places for mistakes, and generic parameters in forward order."""

    loss: Callable[[Parameters], float]
    backward: Callable[[Parameters, Slip], Parameters]
    params: Parameters

    def right_gradient(self, params: Parameters) -> Parameters:
        return self.backward(params, Slip())

    def wrong_gradient(self, name: str) -> Callable[[Parameters], Parameters]:
        return lambda params: self.backward(params, Slip(name))


Maker = Callable[[np.random.Generator], Network]


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def cross_entropy(p: Array, labels: Array) -> float:
    """Mean over the rows of probabilities `p`."""
    return float(-np.log(p[np.arange(len(labels)), labels]).mean())


def one_hot(labels: Array, n: int) -> Array:
    return np.eye(n)[labels]
