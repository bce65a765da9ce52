"""Correct gradients at and near kinks, jumps and edges of the domain."""

from __future__ import annotations

import numpy as np

from .correct import OPEN, PASS, Cases, at_zero, points, quiet, signed

CASES = Cases()
case = CASES.add

# Kinks at the point: any subgradient is right.

case("abs at 0", lambda x: abs(x).sum(), np.sign, at_zero, kinks=1)
case("abs at 0, subgradient 0.7", lambda x: abs(x).sum(), lambda x: np.where(x == 0, 0.7, np.sign(x)), at_zero, kinks=1)
case("ReLU at 0, subgradient 0", lambda x: np.maximum(x, 0).sum(), lambda x: 1.0 * (x > 0), at_zero, kinks=1)
case("ReLU at 0, subgradient 1", lambda x: np.maximum(x, 0).sum(), lambda x: 1.0 * (x >= 0), at_zero, kinks=1)
case("ReLU at 0, subgradient 1/2", lambda x: np.maximum(x, 0).sum(), lambda x: (1 + np.sign(x)) / 2, at_zero, kinks=1)
case(
    "leaky ReLU at 0", lambda x: np.where(x > 0, x, 0.1 * x).sum(), lambda x: np.where(x > 0, 1, 0.1), at_zero, kinks=1
)
case(
    "hinge at its margin",
    lambda x: np.maximum(0, 1 - x).sum(),
    lambda x: -1.0 * (x < 1),
    np.array([0.3, 1.0, 2.0]),
    kinks=1,
)
case(
    "clip at its bound",
    lambda x: np.clip(x, -1, 1).sum(),
    lambda x: 1.0 * (abs(x) <= 1),
    np.array([0.4, 1.0, -2.0]),
    kinks=1,
)
case("every entry at a kink", lambda x: abs(x).sum(), np.sign, np.zeros(12), kinks=12)
case(
    "L1 penalty of zero weights",
    lambda x: abs(x).sum() + (x * signed).sum(),
    lambda x: np.sign(x) + signed,
    np.zeros(8),
    kinks=8,
)


def max_gradient(x: np.ndarray) -> np.ndarray:
    return 1.0 * (np.arange(x.size) == x.argmax())


tied = np.array([0.3, 1.7, 1.7, -1.0])
case("max of a tie, first wins", lambda x: x.max(), max_gradient, tied, kinks=2)
case("max of a tie, shared", lambda x: x.max(), lambda x: (x == x.max()) / (x == x.max()).sum(), tied, kinks=2)
case("max of four ties", lambda x: x.max(), max_gradient, np.full(4, 0.25), kinks=4)
case(
    "sorted ties",
    lambda x: (np.sort(x) * np.arange(4)).sum(),
    lambda x: np.arange(4.0)[x.argsort().argsort()],
    tied,
    kinks=2,
)
case(
    "abs on top of a smooth sum",
    lambda x: abs(x[0]) + np.sin(x).sum(),
    lambda x: np.cos(x) + np.sign(x) * np.eye(3)[0],
    np.array([0.0, 1.0, 2.0]),
    kinks=1,
)

# Kinks near the point: the piece that the point is on is right.

for distance in (1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2):
    near = np.append(signed, (distance, -distance))
    case(f"abs {distance:g} from its kink", lambda x: abs(x).sum(), np.sign, near, PASS if distance > 1e-11 else OPEN)
    case(
        f"ReLU net {distance:g} from a kink",
        lambda x: (np.maximum(x, 0) ** 2).sum() + np.maximum(x, 0).sum(),
        lambda x: (2 * x + 1) * (x > 0),
        near,
        PASS if distance > 1e-11 else OPEN,
    )
case("max of a near tie", lambda x: x.max(), max_gradient, np.array([1.0, 1.0 + 1e-7, 0.2]))
case(
    "hinge near its margin",
    lambda x: (np.maximum(0, 1 - x) * np.arange(1, 4)).sum(),
    lambda x: -np.arange(1.0, 4) * (x < 1),
    np.array([1 - 1e-6, 1 + 1e-7, 0.5]),
)
case(
    "many kinks around",
    lambda x: abs(np.sin(50 * x)).sum(),
    lambda x: 50 * np.cos(50 * x) * np.sign(np.sin(50 * x)),
    signed,
)
case(
    "a kink in one dimension of a net",
    lambda x: abs(x @ signed) + (x**2).sum(),
    lambda x: np.sign(x @ signed) * signed + 2 * x,
    points(2) - (points(2) @ signed - 1e-5) / (signed @ signed) * signed,
)

# Jumps near the point and flat regions.

case("step near the point", lambda x: (x**2 + (x > 0.5)).sum(), lambda x: 2 * x, np.array([0.5 - 1e-5, 0.2, 0.7]))
case("rounded down, then smooth", lambda x: (np.floor(x) + x**2).sum(), lambda x: 2 * x, np.array([0.3, 1.7, 2.5]))
case("piecewise constant", lambda x: np.floor(x).sum(), np.zeros_like, np.array([0.3, 1.7, 2.5]), OPEN)
case("sign function", lambda x: np.sign(x).sum(), np.zeros_like, signed, OPEN)
case("constant", lambda x: 3.5, np.zeros_like, signed)
case("zero", lambda x: 0.0, np.zeros_like, signed)
case("some entries unused", lambda x: (x[:4] ** 2).sum(), lambda x: 2 * x * (np.arange(8) < 4), signed)
case(
    "dead ReLU units",
    lambda x: np.maximum(x - 100, 0).sum() + (x[:2] ** 3).sum(),
    lambda x: 3 * x**2 * (np.arange(8) < 2),
    signed,
)

# Domain edges: NaN, infinity or an exception one step away, or at the point.


def raising_log(x: np.ndarray) -> float:
    if (x <= 0).any():
        raise ValueError("log of a number that is not positive")
    return float(np.log(x).sum())


edge = np.array([1e-3, 1e-5, 0.7, 2.0])
case("log near 0", quiet(lambda x: np.log(x).sum()), lambda x: 1 / x, edge)
case("log near 0, raising", raising_log, lambda x: 1 / x, edge)
case("log very near 0", quiet(lambda x: np.log(x).sum()), lambda x: 1 / x, np.array([1e-10, 1.0]))
case("sqrt near 0", quiet(lambda x: np.sqrt(x).sum()), lambda x: 0.5 / np.sqrt(x), edge)
case("x to the 3/2 at 0", quiet(lambda x: (x**1.5).sum()), lambda x: 1.5 * np.sqrt(x), np.array([0.0, 0.4, 1.0]), OPEN)
case(
    "x squared, only for x >= 0",
    lambda x: np.where(x >= 0, x**2 + x, np.nan).sum(),
    lambda x: 2 * x + 1,
    np.array([0.0, 0.4]),
)
case("entropy near 0", quiet(lambda x: -(x * np.log(x)).sum()), lambda x: -np.log(x) - 1, np.array([1e-6, 0.2, 0.5]))
case("arcsin near 1", quiet(lambda x: np.arcsin(x).sum()), lambda x: 1 / np.sqrt(1 - x**2), np.array([0.99999, -0.5]))
case(
    "arccos of nearly -1",
    quiet(lambda x: np.arccos(x).sum()),
    lambda x: -1 / np.sqrt(1 - x**2),
    np.array([-0.9999, 0.1]),
)
case(
    "log-determinant near singular",
    lambda x: float(np.linalg.slogdet(x)[1]),
    lambda x: np.linalg.inv(x).T,
    np.array([[1.0, 2.0], [2.0, 4.0001]]),
)
case(
    "Cholesky near its edge",
    lambda x: float(np.log(np.diag(np.linalg.cholesky(np.array([[1, x[0]], [x[0], 1]])))).sum()),
    lambda x: -x / (1 - x**2),
    np.array([0.9999]),
)
case(
    "raises everywhere else on one side",
    lambda x: float(1 / (x[0] >= 0.5)) - 1 + x[0] ** 2 if x[0] >= 0.5 else 1 / 0,
    lambda x: 2 * x,
    np.array([0.5]),
)
case("pole near", lambda x: (1 / x).sum(), lambda x: -1 / x**2, np.array([1e-4, -1e-3, 3.0]))
case("exp near overflow", quiet(lambda x: np.exp(x).sum()), np.exp, np.array([709.0, 1.0]), OPEN)
