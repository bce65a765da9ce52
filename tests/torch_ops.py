"""PyTorch's own database of operators as gradient checks, each right and with three planted mistakes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

MISTAKES = ("scaled", "zeroed", "sign")
SCALE = 1.01
LARGEST = 150  # entries of all inputs of a sample together


@dataclass
class Case:
    """One sample of one operator."""

    operator: str
    sample: int
    fn: Callable[..., Any]
    inputs: tuple[Any, ...]


@cache
def operators() -> list[Any]:
    """Operators that have derivatives in float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db

    return [op for op in op_db if op.supports_autograd and torch.float64 in op.supported_backward_dtypes("cpu")]


def name_of(op: Any) -> str:
    return str(op.name + (f".{op.variant_test_name}" if op.variant_test_name else ""))


def cases(op: Any, count: int) -> Iterator[Case]:
    """The first samples of an operator that are small enough and require a gradient."""
    torch.manual_seed(0)
    made = 0
    for number, sample in enumerate(op.sample_inputs("cpu", torch.float64, requires_grad=True)):
        inputs = tuple(sample.input) if isinstance(sample.input, (tuple, list)) else (sample.input,)
        arguments = (*inputs, *sample.args)
        checked = [x for x in arguments if isinstance(x, torch.Tensor) and x.requires_grad]
        if not checked or not 0 < sum(x.numel() for x in checked) <= LARGEST:
            continue
        yield Case(name_of(op), number, _function(op, sample, len(inputs)), arguments)
        made += 1
        if made == count:
            return


def _function(op: Any, sample: Any, count: int) -> Callable[..., Any]:
    single = not isinstance(sample.input, (tuple, list))

    def fn(*arguments: Any) -> Any:
        first = arguments[0] if single else type(sample.input)(arguments[:count])
        output = op.gradcheck_wrapper(op.get_op(), first, *arguments[count:], **sample.kwargs)
        return sample.output_process_fn_grad(output)

    return fn


class _Planted(torch.autograd.Function):
    """The identity, with a mistake in its backward."""

    @staticmethod
    def forward(ctx: Any, x: Any, mistake: str, entry: int) -> Any:
        ctx.mistake, ctx.entry = mistake, entry
        return x.clone(memory_format=torch.preserve_format)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        if ctx.mistake == "zeroed":
            g = g.clone(memory_format=torch.contiguous_format)
            g.view(-1)[ctx.entry] = 0
        return {"scaled": SCALE * g, "zeroed": g, "sign": -g}[ctx.mistake], None, None


def planted(case: Case, mistake: str, number: int, entry: int) -> Callable[..., Any]:
    """The function of the case with a mistake in the gradient of input `number`."""

    def fn(*arguments: Any) -> Any:
        changed = list(arguments)
        changed[number] = _Planted.apply(arguments[number], mistake, entry)
        return case.fn(*changed)

    return fn


def largest_entry(report: Any) -> tuple[int, int] | None:
    """Number of the input and position of the entry with the largest gradient; None if all are zero."""
    best, place = 0.0, None
    for name, tensor in report.tensors.items():
        if tensor.analytic is None or not tensor.size:
            continue
        sizes = abs(tensor.analytic).ravel()
        entry = int(sizes.argmax())
        if math.isfinite(sizes[entry]) and sizes[entry] > best:
            best, place = float(sizes[entry]), (int(name.removeprefix("input")), entry)
    return place


def ours(case: Case, fn: Callable[..., Any]) -> Any:
    """Our report."""
    import gradproof as gp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gp.torch.gradcheck(fn, case.inputs, raise_exception=False)


def theirs(case: Case, fn: Callable[..., Any]) -> bool:
    """Whether `torch.autograd.gradcheck` in slow mode passes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bool(torch.autograd.gradcheck(fn, case.inputs))
        except (RuntimeError, ValueError, ArithmeticError):
            return False
