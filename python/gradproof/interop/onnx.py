"""Networks as ONNX files, for inference anywhere: built-in layers become operators that every runtime has."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _files
from gradproof._core import version
from gradproof.nn.layers import BatchNorm, Dense, Dropout, LeakyReLU, Maxout, ReLU, Sigmoid, Softmax, Tanh

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential
    from gradproof.nn.structure import Node

Array = NDArray[Any]

OPSET = 17  # of 2022: old enough for every runtime, new enough for double precision in all operators used
_LARGEST = 2**31 - 2**20  # bytes; a protobuf message ends at 2 GiB
_PROBABILITIES = {"softmax_cross_entropy": "Softmax", "binary_cross_entropy": "Sigmoid"}


def save_onnx(model: Sequential, path: _files.PathLike, *, probabilities: bool = False) -> None:
    """Write the network to `path` as ONNX, whole or not at all.

    The graph computes what ``model.forward(X)`` does, in the model's precision: batch normalization with its running
    statistics, dropout not at all. Its input ``"x"`` is (batch, n_in) with any number of rows, its output ``"scores"``
    (batch, n_out); parameters keep their names.

    Parameters
    ----------
    model : Sequential
        A network of built-in layers.
    path : str or path-like
        The file.
    probabilities : bool
        Apply what the loss leaves to ``predict_proba``: the output is then called ``"probabilities"``.

    Raises
    ------
    ImportError
        If the package onnx is missing.
    ValueError
        If the model has a Python layer, the loss has no probabilities, or the parameters exceed 2 GB.
    OSError
        If the file cannot be written.
    """
    _files.write(path, to_onnx(model, probabilities=probabilities).SerializeToString())


def to_onnx(model: Sequential, *, probabilities: bool = False) -> Any:
    """The network as an ``onnx.ModelProto``; parameters and errors are those of :func:`save_onnx`.

    Parameters
    ----------
    model : Sequential
        A network of built-in layers.
    probabilities : bool
        Whether the graph ends in probabilities.
    """
    onnx = _onnx()
    if probabilities and model.loss_name not in _PROBABILITIES:
        raise ValueError(
            f"probabilities: the loss {model.loss_name!r} has none, expected one of {', '.join(_PROBABILITIES)}"
        )
    if model.theta.nbytes > _LARGEST:
        raise ValueError(f"model: has {model.theta.nbytes:,} bytes of parameters, an ONNX file can hold 2 GB")
    graph = _Graph(onnx, model)
    last = "x"
    for node in model.structure.nodes:
        last = graph.layer(node, last)
    if probabilities:
        last = graph.node(_PROBABILITIES[model.loss_name], "output", last)
    return graph.finish(last, "probabilities" if probabilities else "scores")


class _Graph:
    """An ONNX graph under construction; what computes a value returns the value's name."""

    def __init__(self, onnx: ModuleType, model: Sequential) -> None:
        self.onnx, self.model = onnx, model
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}

    def node(self, operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Any, dtype: Any = None) -> str:
        self.constants[name] = np.asarray(value, dtype or self.model.dtype)
        return name

    def parameters(self, node: Node) -> list[str]:
        return [self.constant(name, self.model.parameters[name]) for name in map(node.path, node.shapes)]

    def layer(self, node: Node, x: str) -> str:
        match node.layer:
            case Dense():
                return self.node("Gemm", node.name, x, *self.parameters(node))
            case Maxout(units=units, pieces=pieces):
                linear = self.node("Gemm", node.path("linear"), x, *self.parameters(node))
                shape = self.constant(node.path("shape"), [0, units, pieces], np.int64)  # 0: as it is
                separate = self.node("Reshape", node.path("pieces"), linear, shape)
                return self.node("ReduceMax", node.name, separate, axes=[2], keepdims=0)
            case BatchNorm(epsilon=epsilon):
                return self._batch_norm(node, x, epsilon)
            case LeakyReLU(slope=slope):
                # Not the operator LeakyRelu: its slope is in single precision always.
                positive = self.node("Greater", node.path("positive"), x, self.constant(node.path("zero"), 0))
                scaled = self.node("Mul", node.path("scaled"), x, self.constant(node.path("slope"), slope))
                return self.node("Where", node.name, positive, x, scaled)
            case ReLU():
                return self.node("Relu", node.name, x)
            case Tanh() | Sigmoid() | Softmax():
                return self.node(type(node.layer).__name__, node.name, x)
            case Dropout():
                return x
            case _:
                raise ValueError(
                    f"model: layer {node.index} ({node.name}) is a Python layer, which only Python can run; "
                    f"expected built-in layers"
                )

    def _batch_norm(self, node: Node, x: str, epsilon: float) -> str:
        mean, variance = (self.model.statistics[node.path(name)] for name in ("running_mean", "running_variance"))
        # The operator has epsilon in single precision; for double precision the variance takes what that leaves out.
        rest = epsilon - float(np.float32(epsilon)) if self.model.dtype == np.float64 else 0.0
        statistics = [
            self.constant(node.path("running_mean"), mean),
            self.constant(node.path("running_variance"), variance + rest),
        ]
        return self.node("BatchNormalization", node.name, x, *self.parameters(node), *statistics, epsilon=epsilon)

    def finish(self, last: str, output: str) -> Any:
        """The model whose output is the value `last`, under the name `output`."""
        helper, model = self.onnx.helper, self.model
        self.node("Identity", output, last)
        kind = helper.np_dtype_to_tensor_dtype(model.dtype)
        graph = helper.make_graph(
            self.nodes,
            "gradproof",
            [helper.make_tensor_value_info("x", kind, ["batch", model.input_size])],
            [helper.make_tensor_value_info(output, kind, ["batch", model.output_size])],
            [self.onnx.numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="gradproof",
            producer_version=version(),
        )
        helper.set_model_props(made, {"loss": model.loss_name, "dtype": model.dtype.name, "summary": model.summary()})
        return made


def _onnx() -> ModuleType:
    try:
        import onnx
    except ImportError as error:
        raise ImportError("to_onnx needs the package onnx: pip install gradproof[onnx]", name="onnx") from error
    return onnx
