"""What to say about tensors that were measured: mistakes with their causes, kinks, and gradients that are all zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from gradproof.check.diagnose import Tensor, diagnose
from gradproof.check.diagnosis.comparison import Comparing
from gradproof.check.report import Finding
from gradproof.check.tensor_report import TensorReport

Array = NDArray[Any]

ENTRIES = 64  # of a tensor checked by projections that the diagnosis gets to see


def findings_of(
    tensors: Sequence[TensorReport],
    parameters: Sequence[Array],
    places: Mapping[int, str] | None = None,
    laboratory: Comparing | None = None,
    gradients: Sequence[Array] | None = None,
) -> list[Finding]:
    """Findings about measured tensors, mistakes first.

    Parameters
    ----------
    tensors : sequence of TensorReport
        In forward order.
    parameters : sequence of ndarray
        The parameters.
    places : mapping, optional
        For numbers of tensors checked by projections: where their mistakes lie, in words.
    laboratory : optional
        Where both gradients can be compared at other points.
    gradients : sequence of ndarray, optional
        The whole gradient under test, if `tensors` hold some entries of it only.
    """
    findings: list[Finding] = []
    wrong = [tensor for tensor in tensors if tensor.mismatched]
    if wrong:
        findings = _mistakes(tensors, parameters, places or {}, laboratory, gradients)
        told = {finding.tensor for finding in findings}
        findings += [_plain(tensor) for tensor in wrong if tensor.name not in told]
    findings += [_kinks(tensor) for tensor in tensors if tensor.kinks and not tensor.mismatched]
    return findings + [_vacuous(tensor) for tensor in tensors if _is_vacuous(tensor)]


def _mistakes(
    tensors: Sequence[TensorReport],
    parameters: Sequence[Array],
    places: Mapping[int, str],
    laboratory: Comparing | None,
    gradients: Sequence[Array] | None,
) -> list[Finding]:
    return diagnose(
        [
            Tensor(
                t.name,
                t.shape,
                theta,
                t.analytic,
                t.numeric,
                t.uncertainty,
                t.status,
                t.worst(ENTRIES),
                t.matched > 0,
                places.get(i, ""),
                None if gradients is None else gradients[i],
            )
            for i, (t, theta) in enumerate(zip(tensors, parameters, strict=True))
        ],
        laboratory,
    )


def _plain(tensor: TensorReport) -> Finding:
    """Of a tensor that is wrong somewhere without an entry to show."""
    message = f"{tensor.name}: the gradient is wrong in {tensor.mismatched} of {tensor.checked} entries."
    return Finding("unknown", tensor.name, message, 0.5)


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
    if tensor.analytic.item(0):  # as nearly always, and quicker to see
        return False
    return not tensor.analytic.any() and tensor.uncertainty is not None and not tensor.numeric.any()


def _vacuous(tensor: TensorReport) -> Finding:
    message = (
        f"{tensor.name}: the gradient is zero and so are all measured slopes, so that its formula was not put to the "
        "test. Check at a point where the loss depends on it."
    )
    return Finding("vacuous", tensor.name, message)
