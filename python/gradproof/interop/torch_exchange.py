"""Networks from and to ``torch.nn.Sequential``, with their weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradproof.nn.layers import BatchNorm, BuiltIn, Dense, Dropout, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from gradproof.nn.model import Sequential
from gradproof.nn.structure import Node

Array = NDArray[Any]

_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


def to_torch(model: Sequential) -> torch.nn.Sequential:
    """The network as a ``torch.nn.Sequential`` of the same precision, with copies of its parameters.

    Its children have the names of the layers (``"dense_0.weight"`` in the state dict), and it is in evaluation mode.

    Parameters
    ----------
    model : Sequential
        A network of layers that PyTorch has: all built-in ones but Maxout.

    Returns
    -------
    torch.nn.Sequential
        What it computes are the scores: choose the loss in PyTorch (``CrossEntropyLoss``, ``MultiMarginLoss`` times the
        number of classes, ``BCEWithLogitsLoss``, ``MSELoss``).

    Raises
    ------
    ValueError
        For a layer that PyTorch does not have.

    Notes
    -----
    Running variances are copied as they are. In further training PyTorch moves them towards the unbiased variance of
    the batch (divided by m - 1), gradproof towards the biased one that both normalize with.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model: got {type(model).__name__}, expected a gradproof.Sequential")
    parts = OrderedDict((node.name, _part(node)) for node in model.structure.nodes)
    module = torch.nn.Sequential(parts).to(getattr(torch, model.dtype.name))
    tensors = {}
    for name, value in [*model.parameters.items(), *model.statistics.items()]:
        layer, own = name.rsplit(".", 1)
        values = torch.from_numpy(value.copy())
        tensors[f"{layer}.{_THEIR_NAMES[own]}"] = values.T if own == "W" else values
    module.load_state_dict(module.state_dict() | tensors)
    return module.eval()


def from_torch(
    module: torch.nn.Module,
    loss: str,
    *,
    l1: float = 0.0,
    l2: float = 0.0,
    input_size: int | None = None,
    seed: int = 0,
) -> Sequential:
    """A network with the layers and copies of the weights of a ``torch.nn.Sequential``; it predicts the same.

    Parameters
    ----------
    module : torch.nn.Sequential
        Of ``Linear``, ``BatchNorm1d``, ``ReLU``, ``LeakyReLU``, ``Tanh``, ``Sigmoid``, ``Softmax``, ``Dropout``,
        ``Identity`` and further ``Sequential``, in float32 or float64 (without any parameters: in float32).
    loss : str
        What gradproof trains it with: ``"softmax_cross_entropy"``, ``"hinge"``, ``"binary_cross_entropy"``, ``"mse"``.
    l1, l2, seed
        As for :class:`gradproof.Sequential`.
    input_size : int, optional
        Features per row, if no layer of `module` says it.

    Raises
    ------
    TypeError, ValueError
        Naming the part of `module` that has no counterpart here.

    Notes
    -----
    A bias straight before batch normalization, which has no effect, moves into the running mean. On running variances
    see :func:`to_torch`.
    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module: got {type(module).__name__}, expected a torch.nn.Sequential")
    dtype = _dtype(module)
    parts = [_Part.of(name, part) for name, part in _leaves(module, "")]
    n_in = next((part.input_size for part in parts if part.input_size is not None), input_size)
    if n_in is None:
        raise ValueError("input_size: got None, expected the features per row, as no layer of module says it")
    _check_sizes(parts, n_in)
    model = Sequential([part.layer for part in parts], n_in, loss, l1=l1, l2=l2, dtype=dtype, seed=seed)
    shift: Array | None = None  # the bias of a Dense that has none here
    for node, part in zip(model.structure.nodes, parts, strict=True):
        own = dict(part.values)
        if shift is not None:
            own["running_mean"] = own["running_mean"] - shift
        shift = None if "b" in node.shapes else own.pop("b", None)
        for name, value in own.items():
            into = model.parameters if name in node.shapes else model.statistics
            into[node.path(name)] = value
    return model


_THEIR_NAMES = {
    "W": "weight",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "running_mean": "running_mean",
    "running_variance": "running_var",
}


def _part(node: Node) -> torch.nn.Module:
    match node.layer:
        case Dense(units=units):
            return torch.nn.Linear(node.n_in, units, bias="b" in node.shapes)
        case BatchNorm(decay=decay, epsilon=epsilon):
            return torch.nn.BatchNorm1d(node.n_in, eps=epsilon, momentum=1 - decay)
        case LeakyReLU(slope=slope):
            return torch.nn.LeakyReLU(slope)
        case Dropout(keep_prob=keep_prob):
            return torch.nn.Dropout(1 - keep_prob)
        case Softmax():
            return torch.nn.Softmax(dim=1)
        case ReLU() | Tanh() | Sigmoid():
            return getattr(torch.nn, type(node.layer).__name__)()
    raise ValueError(f"model: PyTorch has no layer like {node.name}")


def _leaves(module: torch.nn.Module, name: str) -> Iterator[tuple[str, torch.nn.Module]]:
    if type(module) is torch.nn.Sequential:
        for child, part in module.named_children():
            yield from _leaves(part, f"{name}.{child}" if name else child)
    elif type(module) is not torch.nn.Identity:
        yield name, module


@dataclass
class _Part:
    """A module of PyTorch in the terms of gradproof."""

    name: str
    layer: BuiltIn
    values: dict[str, Array] = field(default_factory=dict)
    input_size: int | None = None

    @classmethod
    def of(cls, name: str, part: Any) -> _Part:
        nn, kind = torch.nn, type(part)
        if kind is nn.Linear:
            tensors = {"W": part.weight.T, "b": part.bias}
            return cls(
                name, Dense(part.out_features, bias=part.bias is not None), _arrays(name, tensors), part.in_features
            )
        if kind is nn.BatchNorm1d:
            return cls(name, _batch_norm(name, part), _arrays(name, _affine(part)), part.num_features)
        if kind is nn.LeakyReLU:
            return cls(name, LeakyReLU(part.negative_slope))
        if kind is nn.Dropout:
            if part.p == 1:
                raise ValueError(f"module: {name!r} drops everything, p=1, expected p < 1")
            return cls(name, Dropout(1 - part.p))
        if kind is nn.Softmax and part.dim in (None, 1, -1):
            return cls(name, Softmax())
        for layer in (ReLU, Tanh, Sigmoid):
            if kind is getattr(nn, layer.__name__):
                return cls(name, layer())
        raise ValueError(f"module: {name!r} is {part}, which gradproof has no layer for")


def _check_sizes(parts: list[_Part], n_in: int) -> None:
    """Whether every part takes as many values per row as the one before it gives."""
    for part in parts:
        if part.input_size not in (None, n_in):
            raise ValueError(f"module: {part.name!r} takes {part.input_size} values per row, but gets {n_in}")
        n_in = part.layer.output_size(n_in)


def _batch_norm(name: str, part: Any) -> BatchNorm:
    if part.running_mean is None:
        raise ValueError(f"module: {name!r} has track_running_stats=False, expected running statistics")
    if part.momentum is None or not 0 < part.momentum <= 1:
        raise ValueError(f"module: {name!r} has momentum={part.momentum}, expected a number in (0, 1]")
    return BatchNorm(decay=1 - part.momentum, epsilon=part.eps)


def _affine(part: Any) -> dict[str, torch.Tensor | None]:
    own = {"running_mean": part.running_mean, "running_variance": part.running_var}
    return own | {"gamma": part.weight, "beta": part.bias}  # without them 1 and 0, as a new BatchNorm has


def _arrays(part: str, tensors: dict[str, torch.Tensor | None]) -> dict[str, Array]:
    full = {own: f"{part}.{_THEIR_NAMES[own]}".lstrip(".") for own in tensors}
    return {own: _array(full[own], own, tensor) for own, tensor in tensors.items() if tensor is not None}


def _array(name: str, own: str, tensor: torch.Tensor) -> Array:
    if tensor.is_meta:
        raise ValueError(f"module: {name!r} is on the device 'meta', without values; expected loaded weights")
    values: Array = tensor.detach().cpu().numpy()
    wrong = ~np.isfinite(values) if own != "running_variance" else ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        first = values[wrong][0]
        expected = "finite numbers" if own != "running_variance" else "finite numbers >= 0"
        raise ValueError(f"module: {name!r} has {np.count_nonzero(wrong)} values like {first}, expected {expected}")
    return values


def _dtype(module: torch.nn.Module) -> str:
    found = {tensor.dtype for tensor in module.state_dict().values() if tensor.is_floating_point()}
    if len(found) > 1 or not found <= set(_DTYPES):
        raise TypeError(f"module: has tensors of {', '.join(sorted(map(str, found)))}, expected float32 or float64")
    return _DTYPES[found.pop()] if found else "float32"
