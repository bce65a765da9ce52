"""Tensors as a measurement would give them, made from gradients that are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gradproof.check.diagnose import Tensor
from gradproof.check.report import Status

Array = np.ndarray


def measured(
    params: Mapping[str, Array], right: Mapping[str, Array], gradient: Mapping[str, Array], seed: int = 0
) -> list[Tensor]:
    """`right` with an error well inside an uncertainty of about 1e-9 of it, against `gradient`."""
    rng = np.random.default_rng(seed)
    scale = max(float(np.max(np.abs(g))) for g in right.values())
    tensors = []
    for name, g in right.items():
        u = 1e-9 * (np.abs(g) + 1e-3 * scale)
        n = g + 0.2 * u * rng.normal(size=g.shape)
        a = np.array(gradient[name], np.float64)
        status = np.where(np.abs(a - n) <= u, Status.MATCH, Status.MISMATCH).astype(np.uint8)
        tensors.append(Tensor(name, g.shape, params[name], a, n, u, status))
    return tensors
