from __future__ import annotations

import dataclasses
from math import inf, nan, sqrt
from typing import Any

import numpy as np
import pytest

from gradproof.nn import initializers
from gradproof.nn.layers import (
    BUILT_IN,
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    Maxout,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from gradproof.nn.model import Sequential
from gradproof.nn.plan import Op, Plan
from gradproof.nn.plan import compile as compile_plan
from gradproof.nn.reference.network import Sequential as ReferenceSequential
from gradproof.nn.structure import Node, initial_buffers, initial_theta, resolve


@pytest.mark.parametrize(
    ("layer", "arguments", "error", "message"),
    [
        (Dense, {"units": 0}, ValueError, "Dense: units: got 0, expected a whole number from 1 to 2147483647"),
        (Dense, {"units": 2.0}, TypeError, "units: got 2.0"),
        (Dense, {"units": True}, TypeError, "units: got True"),
        (Dense, {"units": "8"}, TypeError, "units: got '8'"),
        (Dense, {"units": 3, "init": "kaiming"}, ValueError, "init: got 'kaiming', expected one of 'he', 'xavier', "),
        (Dense, {"units": 3, "init": -0.1}, ValueError, "init: got -0.1, expected a finite standard deviation >= 0"),
        (Dense, {"units": 3, "init": nan}, ValueError, "init: got nan"),
        (Dense, {"units": 3, "init": None}, TypeError, "init: got NoneType, expected a name"),
        (Dense, {"units": 3, "init": True}, TypeError, "init: got bool"),
        (Dense, {"units": 3, "bias": 1}, TypeError, "bias: got 1, expected True or False"),
        (Maxout, {"units": 3, "pieces": 0}, ValueError, "Maxout: pieces: got 0"),
        (Maxout, {"units": -1}, ValueError, "Maxout: units: got -1"),
        (Maxout, {"units": 1, "init": "x"}, ValueError, "init: got 'x'"),
        (LeakyReLU, {"slope": inf}, ValueError, "LeakyReLU: slope: got inf, expected a finite number"),
        (LeakyReLU, {"slope": "a"}, TypeError, "slope: got 'a'"),
        (
            Dropout,
            {"keep_prob": 0},
            ValueError,
            r"keep_prob: got 0, expected a probability of keeping from 2\^-24 to 1",
        ),
        (Dropout, {"keep_prob": 1e-310}, ValueError, "keep_prob: got 1e-310"),
        (Dropout, {"keep_prob": 1.1}, ValueError, "keep_prob: got 1.1"),
        (Dropout, {"keep_prob": nan}, ValueError, "keep_prob: got nan"),
        (Dropout, {"keep_prob": None}, TypeError, "keep_prob: got None"),
        (BatchNorm, {"decay": 1.0}, ValueError, r"decay: got 1, expected a number in \[0, 1\)"),
        (BatchNorm, {"decay": -0.1}, ValueError, "decay: got -0.1"),
        (BatchNorm, {"epsilon": 0.0}, ValueError, "epsilon: got 0, expected a number >= 1.18e-38"),
        (BatchNorm, {"epsilon": 1e-60}, ValueError, "epsilon: got 1e-60"),
        (BatchNorm, {"epsilon": False}, TypeError, "epsilon: got False"),
    ],
)
def test_wrong_arguments_are_named(
    layer: type, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        layer(**arguments)


def test_specifications_are_frozen_values() -> None:
    assert Dense(np.int64(3)) == Dense(3)
    assert hash(BatchNorm()) == hash(BatchNorm(decay=0.9, epsilon=1e-5))
    assert Dense(units=3) != Dense(4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dense(3).units = 4  # type: ignore[misc]


def test_extreme_but_legal_arguments() -> None:
    assert Dropout(1).keep_prob == 1.0
    assert BatchNorm(decay=0).decay == 0.0
    assert LeakyReLU(-2).slope == -2.0
    assert Maxout(2, 1).pieces == 1
    assert Dense(3, init=0).init == 0


class TestInitializers:
    @pytest.mark.parametrize(
        ("init", "std"),
        [
            ("he", sqrt(2 / 300)),
            ("xavier", sqrt(1 / 300)),
            ("glorot", sqrt(2 / (300 + 500))),
            ("zeros", 0.0),
            (0.02, 0.02),
            (0, 0.0),
        ],
    )
    def test_spread(self, rng: np.random.Generator, init: Any, std: float) -> None:
        W = initializers.draw(init, rng, (300, 500), 300, 500)
        assert W.dtype == np.float64
        assert W.std() == pytest.approx(std, rel=0.01)
        assert abs(W.mean()) <= 4 * std / sqrt(W.size)

    def test_a_function_gets_rng_and_shape(self, rng: np.random.Generator) -> None:
        W = initializers.draw(lambda rng, shape: np.full(shape, 2, np.float32), rng, (2, 3), 2, 3)
        assert W.tolist() == [[2.0] * 3] * 2

    @pytest.mark.parametrize(
        ("returned", "error", "message"),
        [
            (np.zeros(3), ValueError, r"init: returned shape \(3,\), expected \(2, 3\)"),
            (np.full((2, 3), nan), ValueError, "init: returned NaN or infinity"),
            (np.zeros((2, 3), complex), TypeError, "init: returned dtype complex128"),
            (None, TypeError, "init: returned dtype object"),
        ],
    )
    def test_what_a_function_returns_is_checked(
        self, rng: np.random.Generator, returned: Any, error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            initializers.draw(lambda rng, shape: returned, rng, (2, 3), 2, 3)


class HTTPLayer2D(Layer):
    """Parameters of every shape, one of them regularized, and twice as many outputs as inputs."""

    regularized = ("V",)

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"V": rng.normal(size=(n_in, 2)), "c": np.array(3), "empty": np.zeros((0, 2))}

    def forward(self, x: np.ndarray, parameters: dict[str, np.ndarray], training: bool) -> tuple[np.ndarray, Any]:
        return np.repeat(x, 2, axis=1) * parameters["c"], None


class TestStructure:
    def test_names_count_per_kind(self) -> None:
        structure, _ = resolve([Dense(4), ReLU(), Dense(3), BatchNorm(), ReLU(), Maxout(2, 3), HTTPLayer2D()], 5, 0)
        assert [node.name for node in structure.nodes] == [
            "dense_0",
            "relu_0",
            "dense_1",
            "batch_norm_0",
            "relu_1",
            "maxout_0",
            "http_layer2_d_0",
        ]
        assert [(node.n_in, node.n_out) for node in structure.nodes] == [
            (5, 4), (4, 4), (4, 3), (3, 3), (3, 3), (3, 2), (2, 4),
        ]  # fmt: skip
        assert [(entry.name, entry.shape, entry.regularized) for entry in structure.layout.slices] == [
            ("dense_0.W", (5, 4), True),
            ("dense_0.b", (4,), False),
            ("dense_1.W", (4, 3), True),  # no bias: batch norm follows
            ("batch_norm_0.gamma", (3,), False),
            ("batch_norm_0.beta", (3,), False),
            ("maxout_0.W", (3, 6), True),
            ("maxout_0.b", (6,), False),
            ("http_layer2_d_0.V", (2, 2), True),
            ("http_layer2_d_0.c", (), False),
            ("http_layer2_d_0.empty", (0, 2), False),
        ]
        assert [(entry.name, entry.offset) for entry in structure.buffer_layout.slices] == [
            ("batch_norm_0.running_mean", 0),
            ("batch_norm_0.running_variance", 3),
        ]

    def test_a_bias_is_dropped_only_straight_before_batch_norm(self) -> None:
        structure, _ = resolve([Dense(2), ReLU(), BatchNorm(), Dense(2, bias=False)], 2, 0)
        assert list(structure.nodes[0].shapes) == ["W", "b"]
        assert list(structure.nodes[3].shapes) == ["W"]

    def test_initial_values(self) -> None:
        structure, built = resolve([Dense(4), BatchNorm(), Maxout(2), HTTPLayer2D()], 5, 7)
        theta, buffers = initial_theta(structure, 7, built), initial_buffers(structure)
        values = {entry.name: structure.layout.view(theta, entry.name) for entry in structure.layout.slices}
        assert values["dense_0.W"].std() > 0
        assert (values["batch_norm_0.gamma"] == 1).all() and (values["batch_norm_0.beta"] == 0).all()
        assert (values["maxout_0.b"] == 0).all()
        assert values["http_layer2_d_0.c"] == 3
        assert buffers.tolist() == [0.0] * 4 + [1.0] * 4

    def test_every_layer_draws_from_its_own_stream(self) -> None:
        def weights(layers: list[Any], name: str) -> np.ndarray:
            structure, built = resolve(layers, 5, 3)
            return structure.layout.view(initial_theta(structure, 3, built), name)

        last = weights([Dense(4), ReLU(), Dense(4)], "dense_1.W")
        assert (last == weights([Dense(4, init="zeros"), Tanh(), Dense(4)], "dense_1.W")).all()
        assert not np.allclose(last[:4], weights([Dense(4), ReLU(), Dense(4)], "dense_0.W")[:4])

    def test_regularizing_layers_do_not_change_how_the_others_start(self) -> None:
        plain = [Dense(4, bias=False), ReLU(), HTTPLayer2D(), Maxout(3), Dense(2)]
        with_them = [Dropout(0.8), plain[0], BatchNorm(), plain[1], Dropout(0.5), *plain[2:4], Dropout(0.5), plain[4]]
        starts = []
        for layers in (plain, with_them):
            structure, built = resolve(layers, 5, 3)
            theta = initial_theta(structure, 3, built)
            starts.append({entry.name: structure.layout.view(theta, entry.name) for entry in structure.layout.slices})
        assert starts[1].keys() - starts[0].keys() == {"batch_norm_0.gamma", "batch_norm_0.beta"}
        for name, values in starts[0].items():
            assert (starts[1][name] == values).all()

    @pytest.mark.parametrize("base", BUILT_IN.values())
    @pytest.mark.parametrize("network", [Sequential, ReferenceSequential])
    def test_a_subclass_of_a_built_in_layer_is_refused(self, base: Any, network: Any) -> None:
        derived = type("Mine", (base,), {})
        first = {"units": 3} if base in (Dense, Maxout) else {"keep_prob": 0.5} if base is Dropout else {}
        with pytest.raises(TypeError, match=r"layers\[1\]: got Mine, which derives .* subclass gp.Layer"):
            network([Dense(3), derived(**first), Dense(2)], 4, "mse")

    @pytest.mark.parametrize("layer", [Maxout(2**30, 2)])
    def test_widths_beyond_32_bits_are_refused(self, layer: Any) -> None:
        with pytest.raises(ValueError, match=r"layers\[0\] .*expected at most 2147483647"):
            resolve([layer], 5, 0)


class TestPlan:
    def test_operations(self) -> None:
        layers = [
            Dropout(0.9),
            Dense(4),
            BatchNorm(decay=0.8, epsilon=1e-3),
            LeakyReLU(0.1),
            Maxout(3, 2),
            ReLU(),
            Tanh(),
            Sigmoid(),
            Softmax(),
            Dense(2, bias=False),
            BatchNorm(),
        ]
        (plan,) = compile_plan(resolve(layers, 5, 0)[0])
        assert isinstance(plan, Plan)
        assert plan.ops.dtype == np.int64 and plan.scalars.dtype == np.float64
        assert plan.ops.tolist() == [
            [Op.DROPOUT, 5, 5, -1, -1, 0],
            [Op.DENSE, 5, 4, 0, -1, -1],
            [Op.BATCH_NORM, 4, 4, 20, 24, 0],
            [Op.LEAKY_RELU, 4, 4, -1, -1, -1],
            [Op.DENSE, 4, 6, 28, 52, -1],
            [Op.MAXOUT, 6, 3, -1, -1, 2],
            [Op.RELU, 3, 3, -1, -1, -1],
            [Op.TANH, 3, 3, -1, -1, -1],
            [Op.SIGMOID, 3, 3, -1, -1, -1],
            [Op.SOFTMAX, 3, 3, -1, -1, -1],
            [Op.DENSE, 3, 2, 58, -1, -1],
            [Op.BATCH_NORM, 2, 2, 64, 66, 8],
        ]
        assert plan.scalars[[0, 2, 3]].tolist() == [[0.9, 0.0], [1e-3, 0.8], [0.1, 0.0]]
        assert plan.n_out == 2

    def test_python_layers_divide_the_network(self) -> None:
        segments = compile_plan(resolve([HTTPLayer2D(), Dense(2), ReLU(), HTTPLayer2D(), Dropout(0.5)], 3, 0)[0])
        assert [type(segment) for segment in segments] == [Node, Plan, Node, Plan]
        last = segments[-1]
        assert isinstance(last, Plan)
        assert last.ops.tolist() == [[Op.DROPOUT, 4, 4, -1, -1, 4]]  # its stream is its place in the whole model

    def test_every_built_in_layer_has_a_kind(self) -> None:
        assert len(BUILT_IN) == len(Op)
