"""Gradient checks for JAX: functions of any nest of arrays, in reverse mode, of first and second order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from gradproof.check.functions import check_gradients
from gradproof.check.report import GradientReport
from gradproof.interop.scalarize import in_stages, judged, moved, power, weights

__all__ = ["check_grads"]

Arrays = dict[str, npt.NDArray[np.floating[Any]]]
HALF_RESOLUTION = 16  # in units of the rounding of a half precision: mistakes below are not told from rounding


def check_grads(
    fn: Callable[..., Any],
    args: Any,
    *,
    order: int = 1,
    raise_exception: bool = True,
    jit: bool = True,
    seed: int = 0,
    **keywords: Any,
) -> GradientReport:
    """Check the reverse-mode gradients of a JAX function, such as one with a ``custom_vjp``.

    All outputs are checked at once, weighted by fixed random signed numbers; the report's notes say what that can see.

    Parameters
    ----------
    fn : callable
        Takes ``*args``, gives any nest of arrays. Integer and boolean outputs are left out.
    args : tuple
        Arguments: nests of arrays and numbers. Every floating and complex array is checked under its path, such as
        ``"input0.layers.1.W"``, complex ones as ``.real`` and ``.imag``; other leaves stay as they are. Arrays are
        checked in the precision JAX gives them: float32 by default, float64 with ``jax_enable_x64``;
        of half precisions the gradient is compared with that of a float32 twin.
    order : int
        2 also checks the gradient of the gradient, as a function of the inputs and of the cotangents.
    raise_exception : bool
        Whether anything but ``"pass"`` raises.
    jit : bool
        Whether to compile; functions that cannot be traced are evaluated as they are.
    seed : int
        Of the weights and of the measurement.
    **keywords
        Those of `check_gradients`.

    Returns
    -------
    GradientReport
        With `order` 2, its stages are the two orders.

    Raises
    ------
    GradientError
        If the check does not pass.
    ValueError
        If no argument is a floating array.
    """
    if order not in (1, 2):
        raise ValueError(f"order is {order!r}, expected 1 or 2")
    arguments = tuple(args) if isinstance(args, (tuple, list)) else (args,)
    paths, structure = jax.tree_util.tree_flatten_with_path(arguments)
    flat = [leaf if isinstance(leaf, (bool, int, str)) else _as_jax(leaf) for _, leaf in paths]
    checked = [i for i, leaf in enumerate(flat) if _differentiable(leaf)]
    if not checked:
        raise ValueError("args has no floating array, expected at least one")
    names = ["input" + ".".join(map(_key, paths[i][0])) for i in checked]

    def call(leaves: Sequence[Any]) -> list[Any]:
        values = list(flat)
        for i, leaf in zip(checked, leaves, strict=True):
            values[i] = leaf
        outputs = jax.tree_util.tree_leaves(fn(*jax.tree_util.tree_unflatten(structure, values)))
        return [output for output in map(jnp.asarray, outputs) if _differentiable(output)]

    leaves = [flat[i] for i in checked]
    reports = [_check(call, names, leaves, seed, jit, keywords)]
    if order == 2 and reports[0].ok:
        first = _Scalarized(call, names, leaves, seed, jit)
        cotangents = first.cotangents
        count = len(leaves)

        def gradient(values: Sequence[Any]) -> list[Any]:
            return list(jax.vjp(call, list(values[:count]))[1](list(values[count:]))[0])

        upstream = [f"cotangent{i}" for i in range(len(cotangents))]
        reports.append(_check(gradient, [*names, *upstream], [*leaves, *cotangents], seed, jit, keywords))
    return judged(in_stages(reports, ("first order", "second order")), raise_exception)


def _check(
    call: Callable[[Sequence[Any]], list[Any]],
    names: Sequence[str],
    leaves: Sequence[Any],
    seed: int,
    jit: bool,
    keywords: dict[str, Any],
) -> GradientReport:
    function = _Scalarized(call, names, leaves, seed, jit)
    keywords = {**keywords, "second_opinion": False}  # complex numbers would be other inputs to the function
    half = [float(jnp.finfo(leaf.dtype).eps) for leaf in leaves if leaf.dtype.itemsize == 2]
    if half and keywords.get("rtol") is None:
        keywords = {**keywords, "rtol": HALF_RESOLUTION * max(half)}
    report = check_gradients(function.loss, function.grad, function.params, seed=seed, **keywords)
    if function.size > 1:
        report.notes.append(power(function.size))
    return report


class _Scalarized:
    """``sum_i Re(w_i y_i)`` of a function's outputs `y`, by fixed weights `w`, and its gradient by `jax.vjp`.

    The sum is taken in float64 outside JAX, whatever the precision of the outputs.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Any]], list[Any]],
        names: Sequence[str],
        leaves: Sequence[Any],
        seed: int,
        jit: bool,
    ) -> None:
        self._names, self._dtypes = list(names), [leaf.dtype for leaf in leaves]

        def pull(values: Sequence[Any], cotangents: Sequence[Any]) -> Any:
            return jax.vjp(call, values)[1](cotangents)[0]

        self._forward: Callable[[Sequence[Any]], Any] = call
        self._pull: Callable[[Sequence[Any], Sequence[Any]], Any] = pull
        self.params: Arrays = {}
        for name, leaf in zip(names, leaves, strict=True):
            array = np.array(leaf, np.float32) if leaf.dtype.itemsize == 2 else np.array(leaf)
            if np.iscomplexobj(array):
                self.params |= {f"{name}.real": array.real.copy(), f"{name}.imag": array.imag.copy()}
            else:
                self.params[name] = array
        outputs = call(self._leaves(self.params))
        if jit:
            self._compile(outputs)
        rng = np.random.default_rng(seed)
        flat = _flat(outputs)
        away = {name: moved(array, rng) for name, array in self.params.items()}
        try:
            change = _flat(self._forward(self._leaves(away, twin=True))) - flat
        except (ArithmeticError, ValueError, RuntimeError):
            change = np.full(flat.size, np.nan)
        self.size = flat.size
        self._weights = weights(flat, change, rng)
        self.cotangents = []
        start = 0
        for output in outputs:
            count = output.size * (2 if jnp.iscomplexobj(output) else 1)
            part = self._weights[start : start + count]
            start += count
            if jnp.iscomplexobj(output):
                part = part[::2] - 1j * part[1::2]  # Re(w y) = Re w Re y - Im w Im y
            self.cotangents.append(jnp.asarray(part.reshape(output.shape), output.dtype))

    def loss(self, params: Arrays) -> float:
        """The weighted sum."""
        return float(np.dot(_flat(self._forward(self._leaves(params, twin=True))), self._weights))

    def grad(self, params: Arrays) -> Arrays:
        """The gradient of `loss` by JAX, whose complex gradient is ``dL/dRe - i dL/dIm``."""
        gradients: Arrays = {}
        pulled = self._pull(self._leaves(params), self.cotangents)
        for name, gradient in zip(self._names, pulled, strict=True):
            array = np.asarray(gradient)
            if name in self.params:
                gradients[name] = array.astype(self.params[name].dtype)
            else:
                gradients |= {f"{name}.real": array.real, f"{name}.imag": -array.imag}
        return gradients

    def _leaves(self, params: Arrays, twin: bool = False) -> list[Any]:
        """What JAX is given; `twin`: half precisions as float32, so that the loss can be measured."""
        # Copies: JAX may go on reading an array after the call that was given it has returned.
        return [
            jnp.array(
                params[name] if name in params else params[f"{name}.real"] + 1j * params[f"{name}.imag"],
                jnp.float32 if twin and dtype.itemsize == 2 else dtype,
            )
            for name, dtype in zip(self._names, self._dtypes, strict=True)
        ]

    def _compile(self, outputs: Sequence[Any]) -> None:
        forward, pull = jax.jit(self._forward), jax.jit(self._pull)
        try:
            forward(self._leaves(self.params))
            pull(self._leaves(self.params), [jnp.zeros_like(output) for output in outputs])
        except jax.errors.JAXTypeError:  # the function looks at values
            return
        self._forward, self._pull = forward, pull


def _as_jax(leaf: Any) -> Any:
    return jnp.asarray(leaf)


def _differentiable(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _flat(outputs: Sequence[Any]) -> npt.NDArray[np.float64]:
    """All outputs in one float64 vector, of complex ones real and imaginary part in turn."""
    parts = []
    for output in outputs:
        array = np.asarray(output)
        if np.iscomplexobj(array):
            array = np.stack([array.real, array.imag], axis=-1)
        parts.append(array.astype(np.float64).ravel())
    return np.concatenate(parts) if parts else np.empty(0)


def _key(key: Any) -> str:
    return str(getattr(key, "idx", getattr(key, "key", getattr(key, "name", key))))
