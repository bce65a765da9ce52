"""Optimizers in a bowl that is a hundred times steeper across than along.

Gradient descent on ``J = (x^2 + 100 y^2) / 2`` needs a rate below ``2 / 100``, or y grows; with that, x hardly moves.
An average of gradients cancels the zigzag in y and adds up along x. RMSprop and Adam divide the gradient of each
direction by its usual size, so that both directions look alike.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

import gradproof as gp

CURVATURE = np.array([1.0, 100.0])
START = np.array([10.0, 1.0])
TARGET = 1e-6  # of the cost at the start
STEPS = 1000


def cost(theta: Any) -> float:
    """``(x^2 + 100 y^2) / 2``."""
    return float(CURVATURE @ theta**2 / 2)


def descend(optimizer: Any, schedule: Any = None) -> dict[str, float]:
    """Steps until the cost has fallen to a millionth (infinity: never), and how often y changed its sign by then."""
    theta = START.copy()
    state = optimizer.init(theta)
    zigzag = 0
    for step in range(1, STEPS + 1):
        before = theta[1]
        rate = gp.schedules.rate(schedule, optimizer.learning_rate, step - 1)
        optimizer.update(theta, CURVATURE * theta, state, rate)
        zigzag += int(before * theta[1] < 0)
        if cost(theta) <= TARGET * cost(START):
            return {"steps": step, "zigzag": zigzag}
        if cost(theta) > 1e6 * cost(START):
            break
    return {"steps": inf, "zigzag": zigzag}


def main() -> dict[str, dict[str, float]]:
    """Print how many steps each optimizer needs, and return that by name."""
    low, high = CURVATURE
    # The best constants for a quadratic (Polyak 1964), with the rate of an average whose weights add up to 1.
    beta = float((np.sqrt(high / low) - 1) / (np.sqrt(high / low) + 1)) ** 2
    heavy_ball = float(4 / (np.sqrt(high) + np.sqrt(low)) ** 2 / (1 - beta))
    slowing = gp.schedules.Exponential(0.98)
    results = {
        "SGD, rate 2.1 / 100": descend(gp.SGD(2.1 / high)),
        "SGD, rate 1 / 100": descend(gp.SGD(1 / high)),
        "SGD, the best rate": descend(gp.SGD(2 / (low + high))),
        "Momentum, the best": descend(gp.Momentum(heavy_ball, beta=beta)),
        "RMSprop": descend(gp.RMSprop(0.5), slowing),
        "Adam": descend(gp.Adam(0.5), slowing),
    }
    print(f"Steps until (x^2 + 100 y^2) / 2 has fallen to a millionth, from ({START[0]:g}, {START[1]:g}):\n")
    for name, row in results.items():
        steps = "never" if row["steps"] == inf else f"{row['steps']:g}"
        print(f"  {name:<20} {steps:>6}   y changed its sign {row['zigzag']:g} times")
    print("\nWith a rate above 2 / 100, y grows from step to step. Steps of RMSprop and Adam have the size of")
    print("the rate, which here falls by 2 % with each: at a constant rate they would stay that far from the bottom.")
    return results


if __name__ == "__main__":
    main()
