"""What to say about tensors that were measured: mistakes with their causes, kinks, and gradients that are all zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof.check.report import Finding
from gradproof.check.tensor_report import Status, TensorReport

Array = NDArray[Any]

APPROXIMATION = 1e-6  # smaller relative errors look like an approximation rather than a mistake


def findings_of(tensors: Sequence[TensorReport], parameters: Sequence[Array]) -> list[Finding]:
    """Findings about measured tensors, mistakes first.

    Parameters
    ----------
    tensors : sequence of TensorReport
        In forward order.
    parameters : sequence of ndarray
        The parameters.
    """
    findings = [_plain(tensor) for tensor in tensors if tensor.mismatched]
    findings += [_kinks(tensor) for tensor in tensors if tensor.kinks and not tensor.mismatched]
    return findings + [_vacuous(tensor) for tensor in tensors if _is_vacuous(tensor)]


def _plain(tensor: TensorReport) -> Finding:
    worst = tensor.worst(1)[0]
    cause = "unknown"
    if tensor.analytic is not None and not np.any(tensor.analytic):
        cause = "missing-term"
    elif worst.status == Status.KINK_MISMATCH.label:
        cause = "kink"
    message = (
        f"{tensor.name}: {tensor.mismatched} of {tensor.checked} entries are wrong; worst at {list(worst.index)}: "
        f"analytic {worst.analytic:.9g}, numeric {worst.numeric:.9g} ± {worst.uncertainty:.1g}."
    )
    if worst.relative_error < APPROXIMATION and cause != "kink":
        message += " So small an error looks like an approximation or a wrong constant; rtol= raises the bar."
    evidence = {"index": list(worst.index), "analytic": worst.analytic, "numeric": worst.numeric}
    return Finding(cause, tensor.name, message, 0.5, evidence)


def _kinks(tensor: TensorReport) -> Finding:
    one = tensor.kinks == 1
    message = (
        f"{tensor.name}: {tensor.kinks} of {tensor.checked} entries {'stands' if one else 'stand'} exactly at a kink, "
        f"where the gradient given is one of the subgradients: right. The derivative does not exist there."
    )
    return Finding("kink", tensor.name, message, 1.0, {"kinks": tensor.kinks})


def _is_vacuous(tensor: TensorReport) -> bool:
    if tensor.analytic is None or tensor.numeric is None or not tensor.size or tensor.matched < tensor.size:
        return False
    return not np.any(tensor.analytic) and tensor.uncertainty is not None and not np.any(tensor.numeric)


def _vacuous(tensor: TensorReport) -> Finding:
    message = (
        f"{tensor.name}: the gradient is zero and so are all measured slopes, so that its formula was not put to the "
        "test. Check at a point where the loss depends on it."
    )
    return Finding("vacuous", tensor.name, message)
