"""Robust fits of at most two numbers."""

from __future__ import annotations

import numpy as np

from gradproof.check.diagnosis.tensor import CLEAR, Array, sample

MANY = 16  # entries whose scatter says how well they are known


def proportion(y: Array, x: Array, u: Array) -> tuple[float, float] | None:
    """The factor c of ``y = c x`` and its standard error, or None if `x` says nothing.

    The median of the ratios over the entries where `x` is largest beside `u`, then weighted least squares over the
    entries that agree with it: one odd entry, or a fifth of them, do not move it.
    """
    few = sample(y.size)
    y, x, u = y.ravel()[few], x.ravel()[few], u.ravel()[few]
    with np.errstate(invalid="ignore", over="ignore"):
        weight = np.abs(x) / u
        usable = np.isfinite(y) & (weight > CLEAR)
    if not usable.any():
        return None
    y, x, u, weight = y[usable], x[usable], u[usable], weight[usable]
    if weight.size > 4:
        best = weight >= np.median(weight)
        c = float(np.median(y[best] / x[best]))
    else:
        c = float(np.median(y / x)) if weight.size != 2 else float(y[np.argmax(weight)] / x[np.argmax(weight)])
    for _ in range(2):
        inside = np.abs(y - c * x) <= 3 * (1 + abs(c)) * u + 1e-6 * np.abs(c * x)
        if not inside.any():
            return c, float(np.median((1 + abs(c)) * u / np.abs(x)))
        w = x[inside] / u[inside]
        c = float(np.sum(w * (y[inside] / u[inside])) / np.sum(w * w))
    error = (1 + abs(c)) / float(np.sqrt(np.sum(w * w)))
    if w.size >= MANY:  # the uncertainties are bounds, and by how much they are too wide the scatter shows
        off = (y - c * x)[inside] / u[inside]
        error = min(error, error * 2 * float(np.sqrt(np.mean(off**2))) + 1e-12 * abs(c))
    return c, error


def two_terms(y: Array, x: Array, z: Array, u: Array) -> tuple[float, float, float, float] | None:
    """Factors c and k of ``y = c x + k z`` and their standard errors.

    By weighted least squares, refitted to the better three quarters twice.
    """
    few = sample(y.size)
    y, x, z, u = y[few], x[few], z[few], u[few]
    usable = np.isfinite(y + x + z + u)
    if usable.sum() < 4:
        return None
    columns = np.stack([x[usable], z[usable]], axis=1) / u[usable][:, None]
    target = y[usable] / u[usable]
    keep = np.ones(len(target), bool)
    solution = np.zeros(2)
    for _ in range(3):
        gram = columns[keep].T @ columns[keep]
        scale = np.sqrt(np.diag(gram))
        if not (scale > 0).all() or abs(gram[0, 1]) > (1 - 1e-10) * scale[0] * scale[1]:
            return None
        solution = np.linalg.solve(gram, columns[keep].T @ target[keep])
        miss = np.abs(target - columns @ solution)
        keep = miss <= max(float(np.quantile(miss, 0.75)), 3.0)
    errors = 2 / (scale * float(np.sqrt(1 - (gram[0, 1] / (scale[0] * scale[1])) ** 2)))
    return float(solution[0]), float(solution[1]), float(errors[0]), float(errors[1])
