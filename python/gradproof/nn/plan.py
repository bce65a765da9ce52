"""Runs of built-in layers, compiled to the operation list that the C++ core executes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradproof._cached import cached_property
from gradproof.nn.layers import (
    BatchNorm,
    BuiltIn,
    Dense,
    Dropout,
    LeakyReLU,
    Maxout,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from gradproof.nn.layout import Layout
from gradproof.nn.structure import Node, Structure


class Op(IntEnum):
    """Operation codes, the same numbers as in the core."""

    DENSE = 0
    BATCH_NORM = 1
    RELU = 2
    LEAKY_RELU = 3
    TANH = 4
    SIGMOID = 5
    SOFTMAX = 6
    MAXOUT = 7
    DROPOUT = 8


CHANGED_ROW = 20.0  # what one costs by itself, in multiplications


@dataclass(frozen=True, eq=False)
class Plan:
    """A run of built-in layers as data.

    Attributes
    ----------
    ops : int64 array, (n_ops, 6)
        Rows ``[kind, n_in, n_out, weight, bias, aux]``; weight and bias are offsets into theta, -1 for none.
        aux: offset in the buffers (batch norm), pieces (maxout), mask stream (dropout).
    scalars : float64 array, (n_ops, 2)
        ``(epsilon, decay)``, ``(slope, 0)`` or ``(keep_prob, 0)``.
    nodes : tuple of Node
        The layers it stands for.
    """

    ops: NDArray[np.int64]
    scalars: NDArray[np.float64]
    nodes: tuple[Node, ...]

    @property
    def n_out(self) -> int:
        return self.nodes[-1].n_out

    @cached_property
    def first(self) -> int | None:
        """Offset in theta of its first parameter, if it has any."""
        offsets = self.ops[:, 3:5]
        return int(offsets[offsets >= 0].min()) if (offsets >= 0).any() else None

    @cached_property
    def loop_costs(self) -> tuple[float, ...]:
        """Multiplications of the structured loop for each op with parameters, per row of a batch: those of a changed
        row, and of the products behind the second."""
        ops: list[list[int]] = self.ops.tolist()
        behind = [ops[-1][2]] * 3  # of a row from an op on, the last op first
        costs = []
        for kind, n_in, n_out, weight, *_ in reversed(ops):
            rows = n_in + 1 if kind == Op.DENSE else 2
            if weight >= 0:
                costs.append(rows * n_out * (CHANGED_ROW + behind[-3]))
            behind.append(behind[-1] + (n_in * n_out if kind == Op.DENSE else n_in))
        return tuple(costs[::-1])


Segment: TypeAlias = Plan | Node
"""A step of a model: a compiled run, or the node of one Python layer."""


def compile(structure: Structure) -> tuple[Segment, ...]:  # noqa: A001
    """Group the layers of a network: the longest runs of built-in ones become plans, Python layers stand alone."""
    segments: list[Segment] = []
    run: list[Node] = []
    for node in structure.nodes:
        if isinstance(node.layer, BuiltIn):
            run.append(node)
            continue
        if run:
            segments.append(_plan(run, structure))
            run = []
        segments.append(node)
    if run:
        segments.append(_plan(run, structure))
    return tuple(segments)


def _plan(nodes: list[Node], structure: Structure) -> Plan:
    rows = [row for node in nodes for row in _rows(node, structure.layout, structure.buffer_layout)]
    ops = np.array([ints for ints, _ in rows], dtype=np.int64)
    scalars = np.array([floats for _, floats in rows], dtype=np.float64)
    return Plan(ops, scalars, tuple(nodes))


Row: TypeAlias = tuple[tuple[int, int, int, int, int, int], tuple[float, float]]


def _rows(node: Node, layout: Layout, buffers: Layout) -> list[Row]:
    """The operations of one layer."""

    def offset(name: str) -> int:
        return layout[node.path(name)].offset if name in node.shapes else -1

    n_in, n_out = node.n_in, node.n_out
    match node.layer:
        case Dense():
            return [((Op.DENSE, n_in, n_out, offset("W"), offset("b"), -1), (0.0, 0.0))]
        case Maxout(units=units, pieces=pieces):
            columns = units * pieces
            return [
                ((Op.DENSE, n_in, columns, offset("W"), offset("b"), -1), (0.0, 0.0)),
                ((Op.MAXOUT, columns, units, -1, -1, pieces), (0.0, 0.0)),
            ]
        case BatchNorm(decay=decay, epsilon=epsilon):
            statistics = buffers[node.path("running_mean")].offset
            return [((Op.BATCH_NORM, n_in, n_out, offset("gamma"), offset("beta"), statistics), (epsilon, decay))]
        case Dropout(keep_prob=keep_prob):
            return [((Op.DROPOUT, n_in, n_out, -1, -1, node.index), (keep_prob, 0.0))]
        case LeakyReLU(slope=slope):
            return [((Op.LEAKY_RELU, n_in, n_out, -1, -1, -1), (slope, 0.0))]
        case layer:
            return [((_ELEMENTWISE[type(layer)], n_in, n_out, -1, -1, -1), (0.0, 0.0))]


_ELEMENTWISE: dict[type, Op] = {ReLU: Op.RELU, Tanh: Op.TANH, Sigmoid: Op.SIGMOID, Softmax: Op.SOFTMAX}
