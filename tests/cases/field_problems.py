"""Problems of Moré, Garbow and Hillstrom (1981), and functions that optimizers are tested with; x from 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Problem = tuple[str, Callable[[np.ndarray], Any], Any]


def squares(residuals: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    """Sum of squares, holomorphic."""
    return lambda x: sum((r**2).sum() for r in map(np.atleast_1d, residuals(x)))


def helical(x: np.ndarray) -> Any:
    theta = np.arctan(x[1] / x[0]) / (2 * np.pi) + (0.5 if np.real(x[0]) < 0 else 0)
    return 10 * (x[2] - 10 * theta), 10 * (np.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]


bard_y = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])
bard_u = np.arange(1, 16)
kowalik_y = np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])
kowalik_u = np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
gauss_y = np.array([9, 44, 175, 540, 1295, 2420, 3521, 3989, 3521, 2420, 1295, 540, 175, 44, 9]) * 1e-4
gauss_t = (8 - np.arange(1, 16)) / 2
meyer_y = np.array(
    [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872]
)
meyer_t = 45 + 5.0 * np.arange(1, 17)
tenths = np.arange(1, 14) / 10
fifths = np.arange(1, 21) / 5
osborne_t = 10.0 * np.arange(33)
osborne_y = 0.4 + np.exp(-0.01 * osborne_t)  # of the shape of the data
second_t = np.arange(65) / 10
second_y = 1.3 * np.exp(-0.6 * second_t) + 0.6 * np.exp(-3 * (second_t - 2) ** 2)


def biggs(x: np.ndarray) -> Any:
    y = np.exp(-tenths) - 5 * np.exp(-10 * tenths) + 3 * np.exp(-4 * tenths)
    return (x[2] * np.exp(-tenths * x[0]) - x[3] * np.exp(-tenths * x[1]) + x[5] * np.exp(-tenths * x[4]) - y,)


def osborne_2(x: np.ndarray) -> Any:
    model = x[0] * np.exp(-second_t * x[4])
    for k in range(3):
        model = model + x[k + 1] * np.exp(-((second_t - x[k + 8]) ** 2) * x[k + 5])
    return (second_y - model,)


MGH: list[Problem] = [
    ("1 Rosenbrock", squares(lambda x: (10 * (x[1] - x[0] ** 2), 1 - x[0])), [-1.2, 1]),
    (
        "2 Freudenstein and Roth",
        squares(lambda x: (-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1])),
        [0.5, -2],
    ),
    (
        "3 Powell badly scaled",
        squares(lambda x: (1e4 * x[0] * x[1] - 1, np.exp(-x[0]) + np.exp(-x[1]) - 1.0001)),
        [0, 1],
    ),
    ("4 Brown badly scaled", squares(lambda x: (x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2)), [1, 1]),
    (
        "5 Beale",
        squares(lambda x: (1.5 - x[0] * (1 - x[1]), 2.25 - x[0] * (1 - x[1] ** 2), 2.625 - x[0] * (1 - x[1] ** 3))),
        [1, 1],
    ),
    (
        "6 Jennrich and Sampson",
        squares(
            lambda x: (2 + 2 * np.arange(1, 11) - np.exp(np.arange(1, 11) * x[0]) - np.exp(np.arange(1, 11) * x[1]),)
        ),
        [0.3, 0.4],
    ),
    ("7 helical valley", squares(helical), [-1, 0, 0]),
    (
        "8 Bard",
        squares(lambda x: (bard_y - x[0] - bard_u / (x[1] * (16 - bard_u) + x[2] * np.minimum(bard_u, 16 - bard_u)),)),
        [1, 1, 1],
    ),
    ("9 Gaussian", squares(lambda x: (x[0] * np.exp(-x[1] * (gauss_t - x[2]) ** 2 / 2) - gauss_y,)), [0.4, 1, 0]),
    ("10 Meyer", squares(lambda x: (x[0] * np.exp(x[1] / (meyer_t + x[2])) - meyer_y,)), [0.02, 4000, 250]),
    (
        "11 Gulf",
        squares(
            lambda x: (np.exp(-((25 + (-50 * np.log(tenths / 2)) ** (2 / 3) - x[1]) ** x[2]) / x[0]) - tenths / 2,)
        ),
        [5, 2.5, 0.15],
    ),
    (
        "12 box",
        squares(
            lambda x: (
                np.exp(-tenths * x[0]) - np.exp(-tenths * x[1]) - x[2] * (np.exp(-tenths) - np.exp(-10 * tenths)),
            )
        ),
        [0, 10, 20],
    ),
    (
        "13 Powell singular",
        squares(
            lambda x: (x[0] + 10 * x[1], 5**0.5 * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2, 10**0.5 * (x[0] - x[3]) ** 2)
        ),
        [3, -1, 0, 1],
    ),
    (
        "14 Wood",
        squares(
            lambda x: (
                10 * (x[1] - x[0] ** 2),
                1 - x[0],
                90**0.5 * (x[3] - x[2] ** 2),
                1 - x[2],
                10**0.5 * (x[1] + x[3] - 2),
                (x[1] - x[3]) / 10**0.5,
            )
        ),
        [-3, -1, -3, -1],
    ),
    (
        "15 Kowalik and Osborne",
        squares(
            lambda x: (kowalik_y - x[0] * kowalik_u * (kowalik_u + x[1]) / (kowalik_u * (kowalik_u + x[2]) + x[3]),)
        ),
        [0.25, 0.39, 0.415, 0.39],
    ),
    (
        "16 Brown and Dennis",
        squares(
            lambda x: (
                (x[0] + fifths * x[1] - np.exp(fifths)) ** 2 + (x[2] + x[3] * np.sin(fifths) - np.cos(fifths)) ** 2,
            )
        ),
        [25, 5, -5, -1],
    ),
    (
        "17 Osborne 1",
        squares(lambda x: (osborne_y - x[0] - x[1] * np.exp(-osborne_t * x[3]) - x[2] * np.exp(-osborne_t * x[4]),)),
        [0.5, 1.5, -1, 0.01, 0.02],
    ),
    ("18 Biggs", squares(biggs), [1, 2, 1, 1, 1, 1]),
    ("19 Osborne 2", squares(osborne_2), [1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5]),
]


def lennard_jones(x: np.ndarray) -> Any:
    """Energy of a cluster of atoms in space."""
    atoms = x.reshape(-1, 3)
    total: Any = 0.0
    for i in range(len(atoms)):
        for j in range(i):
            r6 = ((atoms[i] - atoms[j]) ** 2).sum() ** 3
            total = total + 4 * (1 / r6**2 - 1 / r6)
    return total


def chebyshev(x: np.ndarray) -> Any:
    """Chebyshev quadrature with 8 nodes."""
    previous, current, total = np.ones_like(x), 2 * x - 1, 0.0
    for degree in range(1, 9):
        exact = -1 / (degree**2 - 1) if degree % 2 == 0 else 0.0
        total = total + (current.mean() - exact) ** 2
        previous, current = current, 2 * (2 * x - 1) * current - previous
    return total


def ackley(x: np.ndarray) -> Any:
    return -20 * np.exp(-0.2 * np.sqrt((x**2).mean())) - np.exp(np.cos(2 * np.pi * x).mean()) + 20 + np.e


def eggholder(x: np.ndarray) -> Any:
    """Away from its kinks: both arguments of the square roots are positive."""
    a, b = x[1] + 47, x[0]
    return -a * np.sin(np.sqrt(a + b / 2)) - b * np.sin(np.sqrt(a - b))


SCALAR: list[Problem] = [
    ("Booth", lambda x: (x[0] + 2 * x[1] - 7) ** 2 + (2 * x[0] + x[1] - 5) ** 2, [1.5, 2.5]),
    ("Booth at its minimum", lambda x: (x[0] + 2 * x[1] - 7) ** 2 + (2 * x[0] + x[1] - 5) ** 2, [1, 3]),
    ("Ackley", ackley, [0.3, -1.1]),
    (
        "Levi 13",
        lambda x: (
            np.sin(3 * np.pi * x[0]) ** 2
            + (x[0] - 1) ** 2 * (1 + np.sin(3 * np.pi * x[1]) ** 2)
            + (x[1] - 1) ** 2 * (1 + np.sin(2 * np.pi * x[1]) ** 2)
        ),
        [-4, 5],
    ),
    ("Lennard-Jones, 4 atoms", lennard_jones, [0, 0, 0, 1.1, 0, 0.1, 0.5, 1, 0, 0.4, 0.3, 0.9]),
    ("Chebyshev quadrature", chebyshev, np.arange(1, 9) / 9),
    ("egg holder", eggholder, [100, 200]),
    (
        "cross in tray",
        lambda x: -1e-4 * (np.sin(x[0]) * np.sin(x[1]) * np.exp(100 - np.sqrt((x**2).sum()) / np.pi) + 1) ** 0.1,
        [1, 1.5],
    ),
    ("Hölder table", lambda x: -np.sin(x[0]) * np.cos(x[1]) * np.exp(1 - np.sqrt((x**2).sum()) / np.pi), [1, 0.5]),
]

PROBLEMS: list[Problem] = MGH + SCALAR
