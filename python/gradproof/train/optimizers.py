"""Optimizers: hyper-parameters that know how to start (``init``) and how to make one step (``update``).

With the rate a and the gradient g, all of them first let theta decay by ``a weight_decay theta``: the decoupled weight
decay of Loshchilov and Hutter (2019). A penalty on the cost is the model's ``l2=``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from math import inf
from operator import index
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof import _core
from gradproof._messages import shown
from gradproof.kernels import optimizers as kernels
from gradproof.kernels.arguments import floats
from gradproof.nn import memory, validate

Array = NDArray[Any]
Ranges = Iterable[tuple[int, int]]


@dataclass
class OptimizerState:
    """What an optimizer remembers between steps.

    Attributes
    ----------
    step : int
        Steps made so far.
    slots : dict of str to array
        Averages over the past, each of theta's size and dtype; empty for plain gradient descent.
    """

    step: int = 0
    slots: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Optimizer:
    """What all optimizers have: see :class:`SGD`, :class:`Momentum`, :class:`RMSprop`, :class:`Adam`."""

    kind: ClassVar[int]
    slot_names: ClassVar[tuple[str, ...]] = ()

    learning_rate: float
    _: KW_ONLY
    weight_decay: float = 0.0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        self._set("learning_rate", kernels.valid_rate(self.learning_rate, "learning_rate"))
        self._set("weight_decay", kernels.valid_rate(self.weight_decay, "weight_decay"))
        if self.clip_norm is not None:
            expected = "a number > 0, or None"
            self._set("clip_norm", validate.real(self.clip_norm, "clip_norm", expected, lambda norm: norm > 0))

    @property
    def rule(self) -> tuple[int, float, float, float, float, float]:
        """What the compiled update takes: kind, beta1, beta2, epsilon, weight_decay, clip_norm."""
        clip_norm = inf if self.clip_norm is None else self.clip_norm
        return (self.kind, *self._constants, self.weight_decay, clip_norm)

    @property
    def _constants(self) -> tuple[float, float, float]:
        """beta1, beta2, epsilon; anything for those that do not apply."""
        return 0.0, 0.0, 1.0

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: all slots are zero.

        Parameters
        ----------
        theta : array, (n,)
            The parameters, for their size and dtype.
        """
        theta = _vector(theta)
        return OptimizerState(0, {name: memory.zeros(theta.size, theta.dtype) for name in self.slot_names})

    def update(
        self,
        theta: Array,
        gradient: ArrayLike,
        state: OptimizerState,
        learning_rate: float | None = None,
        *,
        decayed: Ranges | None = None,
        frozen: Ranges | None = None,
    ) -> None:
        """One step, in place on `theta` and `state`; the gradient is left as it is.

        Parameters
        ----------
        theta : array, (n,)
            Any float32 or float64 vector, writable and C-contiguous.
        gradient : array, (n,)
            Of theta's dtype. With `clip_norm`, what is used is the gradient scaled down to that 2-norm.
        state : OptimizerState
            From :meth:`init`.
        learning_rate : float, optional
            The rate of this step; the optimizer's own if not given.
        decayed : sequence of (start, stop), optional
            Where the weight decay applies; everywhere if not given.
        frozen : sequence of (start, stop), optional
            What stays as it is, and does not count in the norm of the gradient.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, what came and what is expected; then nothing has changed.
        """
        theta = _vector(theta)
        rate = self.learning_rate if learning_rate is None else kernels.valid_rate(learning_rate, "learning_rate")
        like = ("theta", theta)
        gradient = floats(gradient, "gradient", theta.shape, like)
        slots = self._slots(state, like)
        kernels.apart([like, ("gradient", gradient), *zip(self.slot_names, slots, strict=True)])
        slot0, slot1 = (*slots, None, None)[:2]
        kind, *constants = self.rule
        t = state.step + 1
        _core.optimizer_update(
            theta, slot0, slot1, gradient, runs(theta.size, decayed, frozen), kind, t, rate, *constants
        )
        state.step = t

    def _slots(self, state: OptimizerState, like: tuple[str, Array]) -> list[Array]:
        if not isinstance(state, OptimizerState):
            raise TypeError(f"state: got {type(state).__name__}, expected what init(theta) returned")
        validate.whole(state.step, "state.step", 0, 2**62)
        if state.slots.keys() != set(self.slot_names):
            expected = ", ".join(self.slot_names) or "none"
            raise ValueError(f"state: got slots {', '.join(state.slots) or 'none'}, expected {expected}")
        return [kernels.updated(state.slots[name], f"state.slots[{name!r}]", like) for name in self.slot_names]

    def _set(self, name: str, value: float) -> None:
        object.__setattr__(self, name, value)  # checked, and a plain float whatever number came


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent: ``theta -= a g``.

    Parameters
    ----------
    learning_rate : float
        The rate a, not negative.
    weight_decay : float
        Decoupled weight decay; for this optimizer the same as the penalty ``weight_decay / 2 sum theta^2``.
    clip_norm : float, optional
        Gradients of a larger 2-norm are scaled down to this one.

    Raises
    ------
    TypeError, ValueError
        For a hyper-parameter that is no number or out of range.

    Examples
    --------
    >>> optimizer = SGD(0.1)
    >>> state = optimizer.init(theta)
    >>> optimizer.update(theta, gradient, state)
    """

    kind: ClassVar[int] = kernels.SGD
    learning_rate: float = 0.01


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Gradient descent along an exponentially weighted average: ``v = beta v + (1 - beta) g``, ``theta -= a v``.

    Since the average has weight 1 in all, the rate means the same for every beta. PyTorch's SGD, whose average has
    weight ``1 / (1 - beta)``, makes the same steps with ``lr=a * (1 - beta), momentum=beta``.

    Parameters
    ----------
    learning_rate, weight_decay, clip_norm : float
        As for :class:`SGD`.
    beta : float in [0, 1)
        Weight of the past: an average over about ``1 / (1 - beta)`` steps.
    """

    kind: ClassVar[int] = kernels.MOMENTUM
    slot_names: ClassVar[tuple[str, ...]] = ("velocity",)
    learning_rate: float = 0.01
    beta: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("beta", kernels.valid_beta(self.beta, "beta"))

    @property
    def _constants(self) -> tuple[float, float, float]:
        return self.beta, 0.0, 1.0


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """Steps of equal size in all directions: ``s = beta s + (1 - beta) g^2``, ``theta -= a g / (sqrt(s) + epsilon)``
    (Tieleman and Hinton 2012).

    Parameters
    ----------
    learning_rate, weight_decay, clip_norm : float
        As for :class:`SGD`.
    beta : float in [0, 1)
        Weight of the past; PyTorch's default is 0.99.
    epsilon : float
        Positive; added outside the root, as PyTorch does. Keras, and Optax by default, add it inside.
    """

    kind: ClassVar[int] = kernels.RMSPROP
    slot_names: ClassVar[tuple[str, ...]] = ("second_moment",)
    learning_rate: float = 1e-3
    beta: float = 0.9
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("beta", kernels.valid_beta(self.beta, "beta"))
        self._set("epsilon", kernels.valid_epsilon(self.epsilon))

    @property
    def _constants(self) -> tuple[float, float, float]:
        return 0.0, self.beta, self.epsilon


@dataclass(frozen=True)
class Adam(Optimizer):
    """Momentum with steps of equal size in all directions (Kingma and Ba 2015, algorithm 1); with a weight decay it is
    AdamW.

    ``m = beta1 m + (1 - beta1) g``, ``s = beta2 s + (1 - beta2) g^2``, ``theta -= a m_hat / (sqrt(s_hat) + epsilon)``
    with ``m_hat = m / (1 - beta1^t)`` and ``s_hat = s / (1 - beta2^t)`` in step t = 1, 2, ...

    Parameters
    ----------
    learning_rate, weight_decay, clip_norm : float
        As for :class:`SGD`.
    beta1, beta2 : float in [0, 1)
        Weight of the past in the average of g and in that of g^2.
    epsilon : float
        Positive; added to the root of the corrected average, as in the paper and PyTorch. Keras and scikit-learn add it
        before the correction.
    """

    kind: ClassVar[int] = kernels.ADAM
    slot_names: ClassVar[tuple[str, ...]] = ("first_moment", "second_moment")
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("beta1", kernels.valid_beta(self.beta1, "beta1"))
        self._set("beta2", kernels.valid_beta(self.beta2, "beta2"))
        self._set("epsilon", kernels.valid_epsilon(self.epsilon))

    @property
    def _constants(self) -> tuple[float, float, float]:
        return self.beta1, self.beta2, self.epsilon


def runs(size: int, decayed: Ranges | None = None, frozen: Ranges | None = None) -> NDArray[np.int64]:
    """The runs of a vector that the compiled update works on, from what decays and what is frozen.

    Returns
    -------
    int64 array (count, 3), read-only
        Ascending rows (start, stop, whether it decays); what is in no row is frozen.
    """
    everywhere = ((0, size),)
    return _runs(size, _ranges(decayed, everywhere, "decayed"), _ranges(frozen, (), "frozen"))


def _ranges(ranges: Ranges | None, default: tuple[tuple[int, int], ...], name: str) -> tuple[tuple[int, int], ...]:
    if ranges is None:
        return default
    try:
        return tuple((index(start), index(stop)) for start, stop in ranges)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: got {shown(ranges)}, expected pairs of whole numbers (start, stop)") from error


@lru_cache(maxsize=64)
def _runs(size: int, decayed: tuple[tuple[int, int], ...], frozen: tuple[tuple[int, int], ...]) -> NDArray[np.int64]:
    for name, ranges in (("decayed", decayed), ("frozen", frozen)):
        for start, stop in ranges:
            if not 0 <= start <= stop <= size:
                raise ValueError(f"{name}: got ({shown(start)}, {shown(stop)}), expected 0 <= start <= stop <= {size}")
    edges = sorted({0, size}.union(*decayed, *frozen))
    rows: list[list[int]] = []
    for start, stop in zip(edges, edges[1:], strict=False):
        if _within(start, frozen):
            continue
        decays = int(_within(start, decayed))
        if rows and rows[-1][1:] == [start, decays]:
            rows[-1][1] = stop
        else:
            rows.append([start, stop, decays])
    result = np.array(rows, np.int64).reshape(-1, 3)
    result.flags.writeable = False
    return result


def _within(position: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(start <= position < stop for start, stop in ranges)


def _vector(theta: Array) -> Array:
    theta = kernels.updated(theta, "theta")
    if theta.ndim != 1:
        raise ValueError(f"theta: got shape {theta.shape}, expected a flat vector (n,)")
    return theta
