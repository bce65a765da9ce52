"""What PyTorch's autograd asks of a backward pass beyond right numbers: that it is linear in ``grad_output``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gradproof.check.report import Finding
from gradproof.interop.scalarize import signed_weights
from gradproof.interop.torch_function import Arrays, Scalarized, Tensor

# How far two sides of an identity of backward passes may differ by rounding, relative to the largest entry.
LINEAR = {torch.float64: 1e-6, torch.complex128: 1e-6}
LINEAR_SINGLE = 3e-2
NARROW = 2.0**-6  # what bfloat16 leaves of a sum of three numbers: that little is a rounding, and no clipping
ROUNDING = 1e-3  # of these: what a tensor whose gradient cancels inherits from the largest gradient of all


def broken_contracts(function: Scalarized, seed: int) -> list[Finding]:
    """Findings about the shapes of the outputs and about backward as a linear function; empty if all is well."""
    if function.broken:
        message = (
            f"The outputs depend on the values of the inputs: {function.broken}. Such a function has no derivative "
            "there; fix the shape and dtype, or check at a point where they do not change."
        )
        return [Finding("unknown", None, message, evidence={"contract": "outputs"})]
    outputs = function.forward()
    cotangents = function.cotangents()
    used = [i for i, (y, v) in enumerate(zip(outputs, cotangents, strict=True)) if v is not None and y.requires_grad]
    if not used:
        return []
    return (
        _vanishes_at_zero(function, outputs, cotangents)
        or _is_additive(function, outputs, cotangents, np.random.default_rng([seed, 1]))
        or _takes_undefined(function, outputs, cotangents, used)
    )


def _backward(function: Scalarized, outputs: Sequence[Tensor], cotangents: Sequence[Tensor | None]) -> Arrays:
    return function.named(function.backward(outputs, cotangents, retain=True))


def _vanishes_at_zero(
    function: Scalarized, outputs: Sequence[Tensor], cotangents: Sequence[Tensor | None]
) -> list[Finding]:
    zero = _backward(function, outputs, [None if v is None else torch.zeros_like(v) for v in cotangents])
    for name, gradient in zero.items():
        largest = float(np.max(np.abs(gradient), initial=0.0, where=np.isfinite(gradient)))
        if largest > 0:
            message = (
                f"{name}: the gradient is not zero when grad_output is (up to {largest:.3g}). Backward has to be "
                "multiplied by grad_output, every term of it."
            )
            return [Finding("missing-term", name, message, evidence={"contract": "zero", "largest": largest})]
    return []


def _is_additive(
    function: Scalarized, outputs: Sequence[Tensor], cotangents: Sequence[Tensor | None], rng: np.random.Generator
) -> list[Finding]:
    """``J^T (2u - v) == 2 J^T u - J^T v`` for another random `u`."""
    others = [None if v is None else _random_like(v, rng) for v in cotangents]
    mixed = [None if u is None or v is None else 2 * u - v for u, v in zip(others, cotangents, strict=True)]
    at_v, at_u, at_mixed = (_backward(function, outputs, w) for w in (cotangents, others, mixed))
    expected: Arrays = {name: 2 * at_u[name] - at_v[name] for name in at_v}
    name = _different(function, at_mixed, expected)
    if name is None:
        return []
    off = np.max(np.abs(at_mixed[name] - expected[name])) / np.max(np.abs(expected[name]))
    evidence = {"contract": "linear", "relative": float(off)}
    if off < NARROW:
        message = f"{name}: backward is linear in grad_output to {off:.1g} only. Look for a cast to a narrower type."
        return [Finding("precision", name, message, 0.8, evidence)]
    message = f"{name}: backward is not linear in grad_output. Look for a clipped, rounded or squared grad_output."
    return [Finding("clipping", name, message, 0.7, evidence)]


def _random_like(v: Tensor, rng: np.random.Generator) -> Tensor:
    """Random signed numbers of the sizes of `v`, entry by entry."""
    size = v.abs() if not v.is_complex() else v.real.abs()
    signs = torch.from_numpy(signed_weights(v.numel(), rng)).reshape(v.shape).to(v.device)
    return (size * signs).to(v.dtype)


def _takes_undefined(
    function: Scalarized, outputs: Sequence[Tensor], cotangents: Sequence[Tensor | None], used: Sequence[int]
) -> list[Finding]:
    """An output that nothing depends on hands back no gradient (None), which stands for zero."""
    undefined = torch._C._functions.UndefinedGrad()
    for i in used:
        cut = [undefined(y) if j == i else y for j, y in enumerate(outputs)]
        with torch.enable_grad():
            try:
                got = _backward(function, cut, cotangents)
                rest = [torch.zeros_like(v) if j == i and v is not None else v for j, v in enumerate(cotangents)]
                expected = _backward(function, outputs, rest)
                problem = "counts it as something else than zero" if _different(function, got, expected) else ""
            except (RuntimeError, TypeError, AttributeError, ValueError) as error:
                problem = f"raises {type(error).__name__}: {error}"
        if problem:
            message = f"Backward {problem} when grad_output of output {i} is None (nothing depends on that output)."
            return [Finding("missing-term", None, message, evidence={"contract": "undefined", "output": i})]
    return []


def _different(function: Scalarized, got: Arrays, expected: Arrays) -> str | None:
    """Name of the first tensor whose two gradients differ beyond rounding; entries that are not finite do not count."""
    sizes = {name: float(np.max(np.abs(g), initial=0.0, where=np.isfinite(g))) for name, g in expected.items()}
    largest = max(sizes.values(), default=0.0)
    for leaf in function.leaves:
        tolerance = LINEAR.get(leaf.tensor.dtype, LINEAR_SINGLE)
        for name in leaf.names:
            finite = np.isfinite(got[name]) & np.isfinite(expected[name])
            error = np.abs(np.subtract(got[name], expected[name], where=finite, out=np.zeros(finite.shape)))
            if np.max(error, initial=0.0) > tolerance * max(sizes[name], ROUNDING * largest):
                return name
    return None
