"""A loss and a gradient as black boxes: evaluated at the point and near it, counted, and never trusted with the data.

The loss works on arrays of its own, with the caller's dtypes and memory layout. One entry is moved in place and put
back bit for bit, so that an evaluation costs next to nothing beyond the loss itself. Whether the loss has written into
what it was given is looked up for the entry that was moved after every evaluation, and for everything after the first
evaluations, then once in a while, and at the end (`intact`). Once it has, every evaluation gets everything afresh.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof.check.handed import Handed
from gradproof.check.tree import Parameters

Array = NDArray[Any]
Float64Array = NDArray[np.float64]
Box = tuple[slice, ...]

NAN: Final = math.nan
LOOK_EVERY: Final = 256  # evaluations between two comparisons of everything, where that is cheap
LOOK_SHARE: Final = 64  # ... else a comparison per this share of the number of parameters


class BudgetSpent(Exception):  # noqa: N818 - an outcome, not an error
    """``max_evaluations`` or ``max_seconds`` is used up; what is known so far is still good."""


class Problem(Handed):
    """A loss, its gradient and a point.

    Parameters
    ----------
    loss : callable
        ``loss(params) -> float``.
    grad : callable or structure
        ``grad(params)`` gives a structure like `params`, or is that structure already.
    params : structure of arrays
        See :class:`~gradproof.check.tree.Parameters`.
    max_evaluations, max_seconds : optional
        Budget, counted from the construction on.

    Attributes
    ----------
    parameters : Parameters
    evaluations, gradients : int
        Calls of the loss and of the gradient so far.
    failures : dict
        For ``(tensor, index)`` of entries at whose shifted points the loss raised: the first displacement and the
        exception, as text.
    aliased : list of (int, int)
        Tensors whose gradients, as returned at first, start at the same memory.
    interrupted : bool
        Whether a person interrupted an evaluation of `value_in`; there are no more after that.
    returns_single : bool
        Whether the loss returns float32 (or narrower) numbers by type.
    noisiest : float
        Largest noise that entries which stayed open showed.
    """

    def __init__(
        self,
        loss: Callable[[Any], Any],
        grad: Any,
        params: Any,
        *,
        max_evaluations: int | None = None,
        max_seconds: float | None = None,
    ) -> None:
        if not callable(loss):
            raise TypeError(f"loss: got {type(loss).__name__}, expected a callable")
        self.loss = loss
        super().__init__(params if isinstance(params, Parameters) else Parameters(params))
        self.grad = grad
        self.given = None if callable(grad) else self.parameters.gradient(grad)
        self.single = [array.dtype.itemsize == 4 for array in self.parameters.arrays]
        self.evaluations = 0
        self.gradients = 0
        self.failures: dict[tuple[int, int], tuple[float, str]] = {}
        self.returns_single = False
        self.noisiest = 0.0
        self.max_evaluations = math.inf if max_evaluations is None else max_evaluations
        self.started = time.monotonic()
        self.deadline = math.inf if max_seconds is None else self.started + max_seconds
        self.interrupted = False
        self.aliased: list[tuple[int, int]] = []
        self.tick: Callable[[], None] | None = None  # called once in a while, for a progress display
        self._scales: dict[int, Float64Array] = {}
        self._magnitudes: dict[int, Float64Array] = {}
        self._pause = max(LOOK_EVERY, sum(self.parameters.sizes) // LOOK_SHARE)
        self._next_look = self._pause

    # The point

    def x(self, tensor: int) -> Array:
        """The tensor at the point, not to be written to."""
        return self.parameters.arrays[tensor]

    def size(self, tensor: int) -> int:
        """Number of entries of a tensor."""
        return self.parameters.sizes[tensor]

    def scales(self, tensor: int) -> Float64Array:
        """Typical sizes of the entries of a tensor; see `scales`."""
        if tensor not in self._scales:
            self._scales[tensor] = scales(self.x(tensor))
        return self._scales[tensor]

    def magnitudes(self, tensor: int) -> Float64Array:
        """Powers of two not above the entries of a tensor, or where these are zero its scale."""
        if tensor not in self._magnitudes:
            x = self.x(tensor)
            size = np.where(x != 0, np.abs(x, dtype=np.float64), self.scales(tensor).reshape(x.shape))
            self._magnitudes[tensor] = np.ldexp(1.0, np.frexp(size)[1] - 1)
        return self._magnitudes[tensor]

    def moved_to(self, moves: Mapping[int, Array], h: float) -> Any:
        """A structure like the caller's at the point ``x + h moves``, in arrays of its own."""
        arrays = list(self.parameters.arrays)
        for tensor, move in moves.items():
            arrays[tensor] = np.asarray(arrays[tensor] + h * move, arrays[tensor].dtype)
        return self.parameters.rebuild(arrays)

    # Budget

    def remaining(self) -> float:
        """Evaluations of the loss that are left; 0 if the time is up."""
        over = self.interrupted or time.monotonic() > self.deadline
        return 0.0 if over else self.max_evaluations - self.evaluations

    def _count(self) -> None:
        if self.interrupted:
            raise BudgetSpent("interrupted")
        if self.evaluations >= self.max_evaluations:
            raise BudgetSpent(f"max_evaluations={self.max_evaluations} is used up")
        if time.monotonic() > self.deadline:
            raise BudgetSpent(f"max_seconds={self.deadline - self.started:g} is used up")
        self.evaluations += 1
        if self.evaluations >= self._next_look:
            self._next_look = self.evaluations + self._pause
            self.intact("loss")
            if self.tick is not None:
                self.tick()

    # Evaluations

    def value(self) -> float:
        """The loss at the point; what it raises comes through."""
        self._count()
        try:
            return self._number(self.loss(self._argument()))
        finally:
            self.intact("loss")

    def value_at(self, tensor: int, index: int, t: float) -> tuple[float, float]:
        """The loss with one entry moved.

        Parameters
        ----------
        tensor, index : int
            The entry: number of the tensor, position in C order.
        t : float
            How far.

        Returns
        -------
        value : float
            NaN if the loss raised or is not finite.
        displacement : float
            What the entry really moved by: `t`, as its dtype can hold it.
        """
        self._count()
        if "loss" in self.disturbed:
            self._afresh()
        flat = self._flat[tensor]
        x = flat[index]
        before = float(x)
        flat[index] = before + t
        moved = float(flat[index])
        try:
            value = self.loss(self.structure)
            if value.__class__ is not float:
                value = self._number(value)
        except TypeError as error:
            if isinstance(error, ReturnTypeError):
                raise
            value = self._failed((tensor, index), moved - before, error)
        except Exception as error:
            value = self._failed((tensor, index), moved - before, error)
        finally:
            if flat[index] != moved:
                self._blame("loss", tensor)
                self._afresh()
            else:
                flat[index] = x
        return (value if value - value == 0.0 else NAN), moved - before

    def value_at_single(self, tensor: int, index: int, t: float) -> tuple[float, float]:
        """`value_at` for a loss that converts the tensor to float32: from there, and to what float32 can hold."""
        x = float(self._flat[tensor][index])
        base = float(np.float32(x))
        node = float(np.float32(base + t))
        return self.value_at(tensor, index, node - x)[0], node - base

    def value_along(self, moves: Mapping[int, Array], h: float) -> tuple[float, dict[int, Float64Array]]:
        """The loss with whole tensors moved together.

        Parameters
        ----------
        moves : mapping of int to ndarray
            A direction (of the tensor's shape) per number of a tensor.
        h : float
            How far along it.

        Returns
        -------
        value : float
            NaN if the loss raised or is not finite.
        displacements : dict of int to float64 ndarray
            What the entries really moved by.
        """
        self._count()
        displacements = self._move(moves, h)
        try:
            value = self._number(self.loss(self.structure))
        except ReturnTypeError:
            raise
        except Exception as error:
            value = self._failed((-1, -1), h, error)
        finally:
            self._restore(moves)
        return (value if value - value == 0.0 else NAN), displacements

    def value_in(self, boxes: Sequence[tuple[int, Box, Array]], h: float) -> tuple[float, list[Float64Array]]:
        """The loss with parts of tensors moved together: the cost beside the loss is that of the parts.

        Parameters
        ----------
        boxes : sequence of (tensor, slices, direction)
            Parts that do not overlap, each with a direction of its shape.
        h : float
            How far along it.

        Returns
        -------
        value : float
            NaN if the loss raised or is not finite.
        displacements : list of float64 ndarray
            What the entries really moved by, part by part.
        """
        self._count()
        if self.disturbed:
            self._afresh()
        displacements = []
        for tensor, box, move in boxes:
            mine, pristine = self.working[tensor], self.parameters.arrays[tensor][box]
            mine[box] = pristine + h * move
            displacements.append(np.subtract(mine[box], pristine, dtype=np.float64))
        try:
            value = self._number(self.loss(self.structure))
        except ReturnTypeError:
            raise
        except KeyboardInterrupt:  # what is known by then is reported, as when the budget is spent
            self.interrupted = True
            raise BudgetSpent("interrupted") from None
        except Exception as error:
            value = self._failed((-1, -1), h, error)
        finally:
            if self.disturbed:
                self._afresh()
            else:
                for tensor, box, _ in boxes:
                    self.working[tensor][box] = self.parameters.arrays[tensor][box]
        return (value if value - value == 0.0 else NAN), displacements

    def gradient(self) -> list[Float64Array]:
        """The gradient at the point, a copy; what it raises comes through."""
        if self.given is not None:
            return [array.copy() for array in self.given]
        self.gradients += 1
        try:
            returned = self.grad(self._argument())
            if self.gradients == 1:
                self.aliased = _aliased(Parameters.leaves_of(returned))
            return self.parameters.gradient(returned)
        finally:
            self.intact("grad")

    def gradient_at(self, moves: Mapping[int, Array], h: float) -> list[Float64Array] | None:
        """The gradient at a shifted point; None if it raises there, or was given as numbers."""
        if self.given is not None:
            return None
        if time.monotonic() > self.deadline:
            raise BudgetSpent("max_seconds is used up")
        self.gradients += 1
        self._move(moves, h)
        try:
            return self.parameters.gradient(self.grad(self.structure))
        except Exception:
            return None
        finally:
            self._restore(range(len(self.working)))

    # What comes back

    def _failed(self, entry: tuple[int, int], t: float, error: Exception) -> float:
        self.failures.setdefault(entry, (t, f"{type(error).__name__}: {error}"))
        return NAN

    def _number(self, value: Any) -> float:
        """What the loss returned, as a float.

        Raises
        ------
        TypeError
            If it is not one real number.
        """
        if isinstance(value, np.floating):
            self.returns_single = self.returns_single or value.itemsize < 8
            return float(value)
        if isinstance(value, (float, int)) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, np.ndarray):
            if value.size == 1 and value.dtype.kind in "fiu":
                self.returns_single = self.returns_single or (value.dtype.kind == "f" and value.itemsize < 8)
                return float(value.item())
            raise ReturnTypeError(
                f"loss: returned an array of shape {value.shape} and {value.dtype}, expected one real number"
            )
        dtype = getattr(value, "dtype", None)
        if not isinstance(value, (str, bytes, complex, bool, np.generic)) and hasattr(value, "__float__"):
            try:
                number = float(value)
            except (TypeError, ValueError, RuntimeError) as error:
                raise ReturnTypeError(
                    f"loss: returned {type(value).__name__}, expected one real number ({error})"
                ) from error
            self.returns_single = self.returns_single or "float32" in str(dtype) or "float16" in str(dtype)
            return number
        shown = "None" if value is None else f"{type(value).__name__} {value!r}"[:80]
        raise ReturnTypeError(f"loss: returned {shown}, expected one real number")


class ReturnTypeError(TypeError):
    """The loss returned something that is not one real number."""


def _aliased(leaves: Sequence[Any]) -> list[tuple[int, int]]:
    first: dict[int, int] = {}
    found = []
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, np.ndarray) and leaf.size:
            other = first.setdefault(leaf.__array_interface__["data"][0], i)
            found += [(other, i)] if other != i else []
    return found


def scales(array: Array) -> Float64Array:
    """Typical size of a parameter, per entry (C order).

    The root mean square of the tensor; where sizes differ by more than 1e4 within it, the size of the entry itself.
    Zeros tell nothing of their own scale: then that is 1, as of a tensor of zeros, or as near to it as others are.
    """
    x = np.abs(np.ravel(array), dtype=np.float64)
    largest = float(np.max(x, initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return np.ones(x.size)
    rms = largest * math.sqrt(float(np.mean(np.square(x / largest))))
    known = x[x > 0.0]
    tenth = known.size // 10
    low, high = np.partition(known, (tenth, known.size - 1 - tenth))[[tenth, -1 - tenth]]
    if high > 1e4 * low:
        return np.where(x > 0.0, x, min(max(1.0, low), high))
    return np.full(x.size, rms)
