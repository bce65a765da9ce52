"""What happens inside a network while it trains: activations, gradients, weights and updates, once an epoch.

Everything is read from what a training step leaves behind, the workspace of its forward pass and the gradient: there is
no extra pass. The ratio of an update to its weights, ``||theta_after - theta_before|| / ||theta_before||``, is the one
that CS231n wants to see near 1e-3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _core
from gradproof.nn.layers import Dropout, ReLU, Sigmoid, Softmax, Tanh
from gradproof.nn.plan import Op, Plan
from gradproof.nn.structure import Node

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]

ACTIVATION_STATISTICS = ("activation_mean", "activation_std", "zero_share", "dead_units", "saturated_share")
TENSOR_STATISTICS = ("gradient_norm", "weight_norm", "update_ratio")

_ROWS = 256  # of a batch are looked at: enough to call a unit dead, and a full batch costs no more
_SHARE = 0.04  # of the time of training that watching may take
# Nanoseconds, measured with one thread on a server core (bench/bench_monitor.py); they only decide how many epochs are
# left out, so that a factor of two in them is a factor of two in a cost of 4 %.
# Looking is 6 us for a small network; the rest is 25 more numbers in the history, and what it drives from the caches.
_CALLS, _PER_PARAMETER, _PER_ACTIVATION = 35_000.0, 0.6, 0.2
_PER_EPOCH, _PER_STEP, _PER_PRODUCT = 120_000.0, 2000.0, 0.05


class Monitor:
    """Statistics of one training step per epoch.

    Parameters
    ----------
    model : Sequential
        The model that is trained.
    batch_size : int
        Rows per step.
    steps : int
        Steps per epoch.

    Attributes
    ----------
    before : ndarray
        To be filled with the parameters as they are before the step.
    every : int
        One epoch in so many is looked at, the first always. Larger than 1 only when an epoch is so little work that
        looking at each would cost more than 4 % of it: a function of the sizes alone, so that runs repeat.

    Examples
    --------
    >>> monitor = Monitor(model, batch_size=32, steps=31)
    >>> if monitor.due(epoch):
    ...     step.run(last_batch, 32, before=monitor.before)
    ...     row = monitor.after_update(len(last_batch))
    >>> row["update_ratio/dense_0.W"], row["dead_units/relu_0"]
    """

    def __init__(self, model: Sequential, batch_size: int, steps: int) -> None:
        self._model = model
        self.before = np.empty_like(model.theta)
        slices = model.layout.slices
        self._bounds = np.array([0, *(entry.stop for entry in slices)], dtype=np.int64)
        plans = [(index, segment) for index, segment in enumerate(model.segments) if isinstance(segment, Plan)]
        tensors, statistics = len(TENSOR_STATISTICS) * len(slices), len(ACTIVATION_STATISTICS)
        starts = np.cumsum([tensors, *(statistics * len(plan.ops) for _, plan in plans)]).tolist()
        self._values = np.zeros(starts[-1])
        self._tensors = self._values[:tensors].reshape(-1, len(TENSOR_STATISTICS))
        self._activations = [
            (index, plan, self._values[start:stop].reshape(-1, statistics))
            for (index, plan), start, stop in zip(plans, starts, starts[1:], strict=False)
        ]
        self._keys, chosen = _keys(model, [(plan, start) for (_, plan), start in zip(plans, starts, strict=False)])
        self._chosen = np.array(chosen, dtype=np.int64)
        self.every = _every(model, [plan for _, plan in plans], batch_size, steps)

    def due(self, epoch: int) -> bool:
        """Whether this epoch (0, 1, 2 ...) is looked at."""
        return epoch % self.every == 0

    def after_update(self, rows: int, workspaces: Sequence[Array | None] | None = None) -> dict[str, float]:
        """To be called after the step.

        Parameters
        ----------
        rows : int
            Rows of its batch.
        workspaces : sequence of ndarray or None, optional
            Per segment of the model the workspace of the step's forward pass; those that the model keeps if not given.
            Layers whose workspace is not there, such as your own, have no statistics of activations.

        Returns
        -------
        dict
            ``"update_ratio/dense_0.W"``, ``"gradient_norm/..."`` (before clipping) and ``"weight_norm/..."`` per
            tensor; ``"activation_mean/relu_0"``, ``"activation_std/..."`` and ``"zero_share/..."`` per layer;
            ``"dead_units/..."``, the number of units that are zero in every row, per ReLU; ``"saturated_share/..."``
            per Tanh and Sigmoid.
        """
        model = self._model
        _core.tensor_statistics(self._tensors, self._bounds, model.theta, self.before, model.gradient)
        for index, plan, into in self._activations:
            workspace = model._workspaces.get((index, rows)) if workspaces is None else workspaces[index]
            if workspace is None:
                into.fill(np.nan)
            else:
                _core.activation_statistics(into, plan.ops, plan.scalars, workspace, rows, min(rows, _ROWS))
        return dict(zip(self._keys, self._values[self._chosen].tolist(), strict=True))


def _keys(model: Sequential, plans: list[tuple[Plan, int]]) -> tuple[list[str], list[int]]:
    """The names of what is given back, and where it lies among all values."""
    found: list[tuple[str, int]] = []
    for t, entry in enumerate(model.layout.slices):
        for s, statistic in enumerate(TENSOR_STATISTICS):
            found.append((f"{statistic}/{entry.name}", len(TENSOR_STATISTICS) * t + s))
    for plan, start in plans:
        for node, op in zip(plan.nodes, _last_ops(plan), strict=True):
            for s, statistic in enumerate(ACTIVATION_STATISTICS):
                if statistic in _shown(node):
                    found.append((f"{statistic}/{node.name}", start + len(ACTIVATION_STATISTICS) * op + s))
    found.sort(key=lambda item: (TENSOR_STATISTICS + ACTIVATION_STATISTICS).index(item[0].split("/")[0]))
    return [key for key, _ in found], [at for _, at in found]


def _last_ops(plan: Plan) -> list[int]:
    """Per layer the operation that its output comes from: a Maxout is two of them, everything else one."""
    kinds = plan.ops[:, 0].tolist()
    return [k for k, kind in enumerate(kinds) if kind != Op.DENSE or kinds[k + 1 : k + 2] != [Op.MAXOUT]]


def _shown(node: Node) -> tuple[str, ...]:
    if isinstance(node.layer, (Dropout, Softmax)):
        return ()
    dead = ("dead_units",) if isinstance(node.layer, ReLU) else ()
    saturated = ("saturated_share",) if isinstance(node.layer, (Tanh, Sigmoid)) else ()
    return *ACTIVATION_STATISTICS[:3], *dead, *saturated


def _every(model: Sequential, plans: list[Plan], batch_size: int, steps: int) -> int:
    """Epochs per one that is looked at, from what looking and training cost."""
    activations = min(batch_size, _ROWS) * sum(int(plan.ops[:, 2].sum()) for plan in plans)
    looking = _CALLS + _PER_PARAMETER * model.theta.size + _PER_ACTIVATION * activations
    training = _PER_EPOCH + steps * (_PER_STEP + _PER_PRODUCT * batch_size * model.theta.size)
    return max(1, ceil(looking / (_SHARE * training)))
