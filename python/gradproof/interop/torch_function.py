"""A function of PyTorch tensors as what `check_gradients` takes: ``loss(params)``, ``grad(params)`` and ``params``.

The tensors that are evaluated share memory with the checker's NumPy arrays, so an evaluation copies nothing. Every
evaluation starts from the same state of the random number generators and of the buffers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from gradproof.interop.scalarize import moved, weights

Tensor: TypeAlias = torch.Tensor
Arrays = dict[str, npt.NDArray[np.floating[Any]]]

HALF = (torch.float16, torch.bfloat16)
DOMAIN_ERRORS = (RuntimeError, ValueError, ArithmeticError, IndexError)


def flatten(outputs: Any) -> list[Tensor]:
    """All tensors in what a function returned.

    Raises
    ------
    TypeError
        If it returned something, but no tensor.
    """
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, (tuple, list)) and all(isinstance(output, torch.Tensor) for output in outputs):
        return list(outputs)
    from torch.utils import _pytree as pytree

    leaves = [leaf for leaf in pytree.tree_leaves(outputs) if leaf is not None]
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    if leaves and not tensors:
        raise TypeError(f"the function returned {type(leaves[0]).__name__}, expected a tensor or several")
    return tensors


def differentiable(output: Tensor) -> bool:
    """Whether a tensor's type has derivatives at all."""
    return bool(output.is_floating_point() or output.is_complex())


def as_real(tensor: Tensor) -> Tensor:
    """The elements as a 1-D float64 tensor; of complex ones the real and imaginary parts in turn."""
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    tensor = tensor.reshape(-1)
    return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float64)


class Leaf:
    """One tensor under test, and the NumPy arrays that stand for it.

    Parameters
    ----------
    name : str
        Its name in the report; a complex tensor gives ``name.real`` and ``name.imag``.
    tensor : Tensor
        Its value. Half precisions are represented by a float64 twin: the loss is evaluated on that, the gradient
        under test in the tensor's own precision.
    owner : Tensor, optional
        A parameter of a module: evaluated in place, by letting it share memory with the arrays.
    """

    def __init__(self, name: str, tensor: Tensor, owner: Tensor | None = None) -> None:
        if tensor.is_meta:
            raise ValueError(f"{name} is on the device 'meta', without values; expected a tensor that has them")
        self.tensor = tensor.detach().resolve_conj().resolve_neg()
        self.owner = owner
        self.half = tensor.dtype in HALF
        self.names = [f"{name}.real", f"{name}.imag"] if tensor.is_complex() else [name]

    def arrays(self) -> list[npt.NDArray[np.floating[Any]]]:
        """Its value in NumPy, with the tensor's strides."""
        tensor = self.tensor.double() if self.half else self.tensor
        parts = (tensor.real, tensor.imag) if tensor.is_complex() else (tensor,)
        return [np.asarray(part.cpu().numpy()) for part in parts]

    def bound(self, params: Arrays, half: bool) -> Tensor:
        """A leaf tensor on the memory of `params`; `half`: in the tensor's own half precision, not in the twin's."""
        parts = [torch.from_numpy(params[name]) for name in self.names]
        tensor = parts[0] if len(parts) == 1 else torch.complex(*parts)
        if tensor.device != self.tensor.device or (half and self.half):
            tensor = tensor.to(self.tensor.device, self.tensor.dtype if half else tensor.dtype)
        if self.owner is None:
            return tensor.requires_grad_()
        self.owner.data = tensor
        return self.owner

    def shared(self) -> bool:
        """Whether a bound tensor sees later changes of the arrays."""
        return len(self.names) == 1 and not self.half and self.tensor.device.type == "cpu"

    def split(self, gradient: Tensor | None) -> list[npt.NDArray[np.floating[Any]]]:
        """A gradient as NumPy arrays; PyTorch's complex gradient is ``dL/dRe + i dL/dIm``. None is zero."""
        if gradient is None:
            return [np.zeros_like(array) for array in self.arrays()]
        gradient = gradient.detach()
        if gradient.layout != torch.strided:
            gradient = gradient.to_dense()
        gradient = gradient.resolve_conj().resolve_neg().cpu()
        if self.half:
            gradient = gradient.double()
        return [part.numpy() for part in ((gradient.real, gradient.imag) if gradient.is_complex() else (gradient,))]


class Scalarized:
    """``sum_i w_i y_i`` of a function's outputs `y`, by fixed weights `w`, and its gradient by reverse mode.

    Parameters
    ----------
    call : callable
        Takes the list of tensors of `leaves`, gives the outputs.
    leaves : sequence of Leaf
        What is differentiated.
    seed : int
        Of the weights.
    restore : callable, optional
        Puts back, before every evaluation, whatever else the function may have changed.

    Attributes
    ----------
    sizes : list of int
        Number of weights of each output (of complex ones, two per element); 0 for outputs that are left out.
    detached : list of int
        Floating outputs without a graph beside others that have one: left out, as PyTorch leaves them out. They may
        have been declared to be without derivatives. Where no output has a graph, none is left out.
    broken : str
        What the contract of a fixed shape and dtype was broken by; empty if it was not.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Tensor]], Any],
        leaves: Sequence[Leaf],
        seed: int,
        restore: Callable[[], None] = lambda: None,
    ) -> None:
        self.call, self.leaves, self.restore = call, leaves, restore
        self.params: Arrays = {}
        for leaf in leaves:
            self.params.update(zip(leaf.names, leaf.arrays(), strict=True))
        self.broken = ""
        self._lock = threading.Lock()
        self._bound: tuple[tuple[Any, ...], list[Tensor]] = ((), [])
        self._shared = all(leaf.shared() for leaf in leaves)
        self._half = any(leaf.half for leaf in leaves)
        self._rng_state = torch.get_rng_state()
        self._random = True
        self._grad_mode = False
        self._weights: list[Tensor | None] = []
        self._cotangents: list[Tensor | None] | None = None
        self._weigh(np.random.default_rng(seed))

    def loss(self, params: Arrays) -> float:
        """The weighted sum, in float64."""
        with self._lock, torch.set_grad_enabled(self._grad_mode):
            outputs = self._outputs(params)
            self._check_contract(outputs)
            total = 0.0
            for output, weight in zip(outputs, self._weights, strict=True):
                if weight is not None:
                    total += torch.dot(as_real(output.detach()), weight).item()
            return total

    def grad(self, params: Arrays) -> Arrays:
        """The gradient of `loss` by PyTorch."""
        with self._lock, torch.enable_grad():
            outputs = self._outputs(params, half=True)
            return self.named(self.backward(outputs, self.cotangents()))

    def cotangents(self) -> list[Tensor | None]:
        """The weights in the shapes and dtypes of the outputs."""
        if self._cotangents is None:
            self._cotangents = [
                None if weight is None else _cotangent(weight, spec)
                for weight, spec in zip(self._weights, self._specs, strict=True)
            ]
        return list(self._cotangents)

    def forward(self) -> list[Tensor]:
        """The outputs at the point itself, with their graph."""
        with self._lock, torch.enable_grad():
            return self._outputs({name: array.copy() for name, array in self.params.items()}, half=True)

    def backward(
        self, outputs: Sequence[Tensor], cotangents: Sequence[Tensor | None], *, retain: bool = False
    ) -> list[Tensor | None]:
        """``J^T v``, one per leaf, of outputs with their graph; None stands for zero."""
        tensors = self._bound[1]
        pairs = [(y, v) for y, v in zip(outputs, cotangents, strict=True) if v is not None and y.requires_grad]
        if not pairs:
            return [None] * len(tensors)
        ys, vs = zip(*pairs, strict=True)
        return list(torch.autograd.grad(ys, tensors, vs, retain_graph=retain, allow_unused=True))

    def named(self, gradients: Sequence[Tensor | None]) -> Arrays:
        """Gradients per leaf as arrays by name."""
        named: Arrays = {}
        for leaf, gradient in zip(self.leaves, gradients, strict=True):
            named.update(zip(leaf.names, leaf.split(gradient), strict=True))
        return named

    @property
    def sizes(self) -> list[int]:
        return [0 if weight is None else weight.numel() for weight in self._weights]

    def keep_output(self, kept: int) -> None:
        """Set the weights of all outputs but one to none."""
        self._weights = [weight if i == kept else None for i, weight in enumerate(self._weights)]
        self._cotangents = None

    # Evaluation

    def _tensors(self, params: Arrays, half: bool) -> list[Tensor]:
        if self._shared:
            arrays = tuple(params.values())
            if len(arrays) == len(self._bound[0]) and all(map(_is, arrays, self._bound[0])):
                return self._bound[1]
            self._bound = (arrays, [leaf.bound(params, half) for leaf in self.leaves])
        else:
            self._bound = ((), [leaf.bound(params, half) for leaf in self.leaves])
        return self._bound[1]

    def _outputs(self, params: Arrays, half: bool = False) -> list[Tensor]:
        tensors = self._tensors(params, half)
        if self._random:
            torch.default_generator.set_state(self._rng_state)
            if torch.cuda.is_initialized():
                torch.cuda.manual_seed_all(torch.initial_seed())
        self.restore()
        return flatten(self.call(tensors))

    def _check_contract(self, outputs: Sequence[Tensor]) -> None:
        if len(outputs) != len(self._specs):
            self.broken = f"{len(self._specs)} outputs at the point, {len(outputs)} a step away"
            raise ValueError(self.broken)
        for i, (output, spec) in enumerate(zip(outputs, self._specs, strict=True)):
            if output.shape != spec.shape or (output.dtype != spec.dtype and not self._half):
                at, away = (f"{t.dtype} of shape {tuple(t.shape)}" for t in (spec, output))
                self.broken = f"output {i} is {at} at the point and {away} a step away"
                raise ValueError(self.broken)

    def _weigh(self, rng: np.random.Generator) -> None:
        """Evaluate at the point, learn what the outputs are, and choose the weights."""
        with torch.enable_grad():
            outputs = self._outputs({name: array.copy() for name, array in self.params.items()}, half=True)
        self._specs = [output.detach() for output in outputs]
        self._random = not torch.equal(torch.get_rng_state(), self._rng_state) or torch.cuda.is_initialized()
        self._grad_mode = not self._runs_without_graph()
        graph = any(output.requires_grad for output in outputs)
        candidates = [i for i, output in enumerate(outputs) if differentiable(output)]
        chosen = [i for i in candidates if outputs[i].requires_grad or not graph]
        self.detached = [i for i in candidates if i not in chosen]
        flat = self._flat(self._specs, chosen)
        away = {name: moved(array, rng) for name, array in self.params.items()}
        try:
            with torch.set_grad_enabled(self._grad_mode):
                there = self._flat([output.detach() for output in self._outputs(away)], chosen)
            change = there - flat if there.shape == flat.shape else np.full(flat.size, np.nan)
        except (*DOMAIN_ERRORS, NotImplementedError):
            change = np.full(flat.size, np.nan)
        counts = [as_real(self._specs[i]).numel() for i in chosen]
        parts = dict(zip(chosen, torch.from_numpy(weights(flat, change, rng)).split(counts), strict=True))
        self._weights = [parts[i].to(spec.device) if i in parts else None for i, spec in enumerate(self._specs)]

    def _flat(self, outputs: Sequence[Tensor], chosen: Sequence[int]) -> npt.NDArray[np.float64]:
        parts = [as_real(outputs[i]).cpu().numpy() for i in chosen]
        return np.concatenate(parts) if parts else np.empty(0)

    def _runs_without_graph(self) -> bool:
        """Whether the function needs no graph of its own, such as for a gradient inside it."""
        with torch.no_grad():
            try:
                outputs = self._outputs({name: array.copy() for name, array in self.params.items()})
            except DOMAIN_ERRORS:
                return False
        return [output.shape for output in outputs] == [spec.shape for spec in self._specs]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_bound": ((), [])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def _is(a: object, b: object) -> bool:
    return a is b


def _cotangent(weight: Tensor, spec: Tensor) -> Tensor:
    if spec.is_complex():
        return torch.view_as_complex(weight.reshape(*spec.shape, 2)).to(spec.dtype)
    return weight.reshape(spec.shape).to(spec.dtype)
