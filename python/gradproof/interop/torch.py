"""Gradient checks for PyTorch: of functions like `torch.autograd.gradcheck`, and of whole modules by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree

from gradproof.check.functions import check_gradients
from gradproof.check.report import GradientReport, Verdict
from gradproof.interop.scalarize import in_stages, judged, power, with_findings
from gradproof.interop.torch_contracts import broken_contracts
from gradproof.interop.torch_exchange import from_torch, to_torch
from gradproof.interop.torch_function import HALF, Leaf, Scalarized, Tensor, differentiable, flatten

__all__ = ["check_module", "from_torch", "gradcheck", "to_torch"]

UNNEEDED = ("eps", "atol", "nondet_tol")  # of torch.autograd.gradcheck: measured here
MOST_OUTPUTS = 8  # of which each is checked again by itself where something is wrong
HALF_RESOLUTION = 16  # in units of the rounding of a half precision: mistakes below are not told from rounding


def gradcheck(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    order: int = 1,
    raise_exception: bool = True,
    seed: int = 0,
    **keywords: Any,
) -> GradientReport:
    """Check the gradients of a function of tensors; a drop-in for `torch.autograd.gradcheck`.

    All outputs are checked at once, weighted by fixed random signed numbers; the report's notes say what that can see.
    Besides the numbers, backward is checked to repeat itself, to be linear in ``grad_output``, and to take an
    undefined ``grad_output`` for zero. The random number generators are frozen, so that dropout repeats its mask.

    Parameters
    ----------
    fn : callable
        Takes the inputs, gives tensors: one, a tuple, or any nest of them, real or complex. Outputs of integer or
        boolean type are left out; a floating output without a graph has to be constant.
    inputs : tensor or tuple
        What `fn` takes. Tensors that require a gradient are checked, as ``"input0"``, ``"input1"``, ... by position,
        complex ones as ``"input0.real"`` and ``"input0.imag"``. float32 is measured in float32; of float16 and bfloat16
        the gradient is compared with that of a float64 twin.
    order : int
        2 also checks the gradient of the gradient, as a function of the inputs and of ``grad_output``.
    raise_exception : bool
        Whether anything but ``"pass"`` raises.
    seed : int
        Of the weights and of the measurement.
    **keywords
        Those of `check_gradients`; ``nearby`` is False unless given, because the inputs are as generic as you make
        them. ``eps``, ``atol`` and ``nondet_tol`` of `torch.autograd.gradcheck` are accepted and not needed;
        ``fast_mode=True`` means ``method="projected"``.

    Returns
    -------
    GradientReport
        With `order` 2, its stages are the two orders. If one of several outputs is wrong, its parts are the outputs.

    Raises
    ------
    GradientError
        If the check does not pass.
    ValueError
        If no input requires a gradient, or one overlaps itself in memory.
    """
    arguments = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
    if order not in (1, 2):
        raise ValueError(f"order is {order!r}, expected 1 or 2")
    checked = [i for i, x in enumerate(arguments) if isinstance(x, torch.Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("inputs has no tensor that requires a gradient, expected at least one (requires_grad=True)")
    options = _options({"nearby": False, **keywords}, [arguments[i].dtype for i in checked])

    def call(tensors: Sequence[Tensor]) -> Any:
        values = list(arguments)
        for i, tensor in zip(checked, tensors, strict=True):
            values[i] = tensor
        return fn(*values)

    leaves = [_leaf(f"input{i}", arguments[i]) for i in checked]
    with _frozen():
        reports = [_check(call, leaves, seed, options)]
        if order == 2 and reports[0].ok:
            reports.append(_check(*_gradient_of(call, leaves, seed), seed, options))
    return judged(in_stages(reports, ("first order", "second order")), raise_exception)


def check_module(
    module: torch.nn.Module,
    *inputs: Any,
    loss: Callable[[Any], Tensor] | None = None,
    raise_exception: bool = True,
    seed: int = 0,
    **keywords: Any,
) -> GradientReport:
    """Check the gradients of all parameters and inputs of a module, by name.

    The module is evaluated as it is, in training or evaluation mode. Parameters, buffers (such as running
    statistics), modes, ``requires_grad``, ``.grad`` and the random number generators come back as they were; dropout
    repeats its mask.

    Parameters
    ----------
    module : torch.nn.Module
        Every parameter is checked, frozen ones as well, under its name of `named_parameters`.
    *inputs
        What the module takes: tensors, or nests of them. Every floating tensor is checked, as ``"input0"``, ...,
        nested ones by position, as ``"input1.0"``.
    loss : callable, optional
        From the module's output to a number. Without it, all outputs are weighted by fixed random signed numbers.
    raise_exception : bool
        Whether anything but ``"pass"`` raises.
    seed : int
        Of the weights and of the measurement.
    **keywords
        Those of `check_gradients`.

    Returns
    -------
    GradientReport
        Inputs first, then the parameters in the order of `named_parameters`.

    Raises
    ------
    GradientError
        If the check does not pass.
    TypeError
        If `module` is no module.
    ValueError
        If a parameter has half precision, or nothing can be differentiated.
    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module is a {type(module).__name__}, expected a torch.nn.Module; for functions use gradcheck")
    flat, structure = pytree.tree_flatten(inputs)
    paths = pytree.tree_flatten_with_path(inputs)[0]
    checked = [i for i, x in enumerate(flat) if isinstance(x, torch.Tensor) and differentiable(x)]
    leaves = [_leaf("input" + ".".join(map(_key, paths[i][0])), flat[i]) for i in checked]
    for name, parameter in module.named_parameters():
        if parameter.dtype in HALF:
            raise ValueError(
                f"parameter {name!r} is {parameter.dtype}, expected float32 or float64: check module.float()"
            )
        if differentiable(parameter):
            leaves.append(Leaf(name, parameter, owner=parameter))
    if not leaves:
        raise ValueError("neither module nor inputs have a floating tensor, expected at least one")
    options = _options(keywords, [leaf.tensor.dtype for leaf in leaves])

    def call(tensors: Sequence[Tensor]) -> Any:
        values = list(flat)
        for i, tensor in zip(checked, tensors, strict=False):
            values[i] = tensor
        output = module(*pytree.tree_unflatten(values, structure))
        return output if loss is None else loss(output)

    with _frozen(), _unchanged(module) as restore:
        report = _check(call, leaves, seed, options, restore)
    return judged(report, raise_exception)


def _check(
    call: Callable[[Sequence[Tensor]], Any],
    leaves: Sequence[Leaf],
    seed: int,
    options: dict[str, Any],
    restore: Callable[[], None] = lambda: None,
) -> GradientReport:
    function = Scalarized(call, leaves, seed, restore)
    report = check_gradients(function.loss, function.grad, function.params, seed=seed, **options)
    if report.verdict not in (Verdict.NONDETERMINISTIC, Verdict.NONFINITE):
        findings = broken_contracts(function, seed)
        if findings:
            report = with_findings(report, findings, Verdict.FAIL)
    sizes = function.sizes
    if sum(sizes) > 1:
        report.notes.append(power(sum(sizes)))
    if function.detached:
        report.notes.append(
            f"Left out, because they have no graph while other outputs do: {_outputs(function.detached)}. Either they "
            "are declared to be without derivatives, or they were detached by mistake."
        )
    outputs = [i for i, size in enumerate(sizes) if size]
    if report.verdict is Verdict.FAIL and 1 < len(outputs) <= MOST_OUTPUTS and not function.broken:
        for i in outputs:  # which of them is wrong
            single = Scalarized(call, leaves, seed, restore)
            single.keep_output(i)
            report.parts[f"output {i}"] = check_gradients(single.loss, single.grad, single.params, seed=seed, **options)
    return report


def _gradient_of(
    call: Callable[[Sequence[Tensor]], Any], leaves: Sequence[Leaf], seed: int
) -> tuple[Callable[[Sequence[Tensor]], Any], list[Leaf]]:
    """The gradient as a function of the inputs and of ``grad_output``, with its leaves."""
    first = Scalarized(call, leaves, seed)
    cotangents = first.cotangents()
    chosen = [
        i for i, (y, v) in enumerate(zip(first.forward(), cotangents, strict=True)) if v is not None and y.requires_grad
    ]
    upstream = [_leaf(f"grad_output{i}", cotangents[i]) for i in chosen]

    def gradient(tensors: Sequence[Tensor]) -> list[Tensor]:
        create = torch.is_grad_enabled()
        xs, vs = tensors[: len(leaves)], tensors[len(leaves) :]
        with torch.enable_grad():
            outputs = flatten(call(xs))
            ys = [outputs[i] for i in chosen]
            got = torch.autograd.grad(ys, xs, vs, create_graph=create, allow_unused=True)
            return [torch.zeros_like(x) if g is None else g for x, g in zip(xs, got, strict=True)]

    return gradient, [*leaves, *upstream]


def _leaf(name: str, tensor: Any) -> Leaf:
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} has layout {tensor.layout}, expected dense memory: convert inside the function")
    if _overlaps(tensor):
        raise ValueError(
            f"{name} overlaps itself in memory (shape {tuple(tensor.shape)}, strides {tensor.stride()}), so that its "
            "entries cannot be moved one by one: pass tensor.clone(memory_format=torch.contiguous_format)"
        )
    return Leaf(name, tensor)


def _overlaps(tensor: Tensor) -> bool:
    """Whether two entries may share memory: not if every stride exceeds the reach of all smaller ones."""
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return bool(tensor.numel() > 0)
            reach += stride * (size - 1)
    return False


def _outputs(numbers: Sequence[int]) -> str:
    return ("outputs " if len(numbers) > 1 else "output ") + ", ".join(map(str, numbers))


def _key(key: Any) -> str:
    return str(getattr(key, "idx", getattr(key, "key", getattr(key, "name", key))))


def _options(keywords: dict[str, Any], dtypes: Sequence[torch.dtype]) -> dict[str, Any]:
    """Keywords of `check_gradients` from those given."""
    options = {name: value for name, value in keywords.items() if name not in UNNEEDED}
    options["second_opinion"] = False  # complex numbers would be other inputs to the function
    if options.pop("fast_mode", False):
        options.setdefault("method", "projected")
    half = [torch.finfo(dtype).eps for dtype in dtypes if dtype in HALF]
    if half and options.get("rtol") is None:
        options["rtol"] = HALF_RESOLUTION * max(half)
    return options


@contextmanager
def _frozen() -> Iterator[None]:
    """The random number generators start from a fixed state, and afterwards are as they were."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def _unchanged(module: torch.nn.Module) -> Iterator[Callable[[], None]]:
    """Gives a function that puts the buffers back; at the end everything else of the module is put back as well."""
    parameters = [(p, p.data, p.requires_grad, p.grad) for p in module.parameters()]
    modes = [(part, part.training) for part in module.modules()]
    buffers = [
        (part, name, b, b.clone()) for part in module.modules() for name, b in part._buffers.items() if b is not None
    ]

    def restore() -> None:
        for part, name, buffer, value in buffers:
            part._buffers[name] = buffer
            with torch.no_grad():
                buffer.copy_(value)

    try:
        for parameter, *_ in parameters:
            if differentiable(parameter):
                parameter.requires_grad_(True)
        yield restore
    finally:
        restore()
        for parameter, data, requires_grad, grad in parameters:
            parameter.data = data
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
        for part, training in modes:
            part.training = training
