"""Why deep networks need the right initial weights.

In a network of L layers without nonlinearities, each ``W = w I``, the output is ``w^L`` times the input, and the
gradient has all but one of these factors: at 50 layers 10^-15 for w = 0.5 and 10^9 for w = 1.5. Random weights act
alike. A layer of n inputs scales what passes it by about ``std sqrt(n)``, and a ReLU loses half of its square, so the
cure is to draw weights with the standard deviation ``sqrt(2/n)`` (He) for ReLU, and ``sqrt(1/n)`` (Xavier) for tanh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import gradproof as gp

DEPTH = 50
WIDTH = 100


@dataclass(frozen=True)
class Signal:
    """What is left of a signal of size 1 after all layers.

    Attributes
    ----------
    output : float
        Root mean square of the output, for inputs of root mean square 1.
    first, last : float
        Norm of the gradient of the first and the last layer's weights, for an error of 1 in every output.
    """

    output: float
    first: float
    last: float


def measure(init: Any, activation: Any = None, depth: int = DEPTH, width: int = WIDTH) -> Signal:
    """Send a signal of size 1 forward through a network with such initial weights, and an error of size 1 back."""
    layers: list[Any] = []
    for _ in range(depth):
        layers.append(gp.Dense(width, init=init, bias=False))
        if activation is not None:
            layers.append(activation)
    model = gp.Sequential(layers, input_size=width, loss="mse", dtype="float64", seed=0)
    X = np.random.default_rng(0).normal(size=(64, width))
    X /= np.sqrt(np.mean(X**2))
    output = model.forward(X)
    model.loss_and_gradient(X, output - 1)
    gradients = [np.asarray(model.layout.view(model.gradient, name)) for name in model.parameters]
    first, last = (float(np.linalg.norm(gradients[place])) for place in (0, -1))
    return Signal(float(np.sqrt(np.mean(output**2))), first, last)


def main() -> dict[str, Signal]:
    """Print how signals fare at several initializations, and return them by name."""

    def scaled_identity(scale: float) -> Any:
        return lambda rng, shape: scale * np.eye(*shape)

    results = {
        "W = 0.5 I": measure(scaled_identity(0.5)),
        "W = 1.5 I": measure(scaled_identity(1.5)),
        "ReLU, std 0.01": measure(0.01, gp.ReLU()),
        "ReLU, Xavier": measure("xavier", gp.ReLU()),
        "ReLU, He": measure("he", gp.ReLU()),
        "tanh, std 0.01": measure(0.01, gp.Tanh()),
        "tanh, Xavier": measure("xavier", gp.Tanh()),
    }
    print(f"A signal of size 1 through {DEPTH} layers of {WIDTH} units, and an error of size 1 back:\n")
    print(f"  {'weights':<16} {'output':>9} {'gradient of layer 1':>20} {'of layer ' + str(DEPTH):>14}")
    for name, signal in results.items():
        print(f"  {name:<16} {signal.output:>9.1e} {signal.first:>20.1e} {signal.last:>14.1e}")
    print(f"\nEvery layer multiplies, and depth makes that a power: 0.5^50 = {0.5**50:.1e}, 1.5^50 = {1.5**50:.1e}.")
    print("He keeps the size of a signal through ReLU; Xavier loses half of its square in every one of them. Through")
    print("tanh, which is nearly the identity for small signals, Xavier loses little.")
    return results


if __name__ == "__main__":
    main()
