"""ONNX files compute, in another program, what the model computes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradproof as gp

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime, which runs the files, is not installed")

LARGEST = {"float32": 1e-6, "float64": 1e-12}  # difference, beside values of at most 1

LAYERS: dict[str, list[Any]] = {
    "dense": [gp.Dense(3)],
    "dense without bias": [gp.Dense(3, bias=False)],
    "relu": [gp.ReLU()],
    "leaky relu": [gp.LeakyReLU(0.1)],
    "leaky relu, slope above 1": [gp.LeakyReLU(1.7)],
    "tanh": [gp.Tanh()],
    "sigmoid": [gp.Sigmoid()],
    "softmax": [gp.Softmax()],
    "maxout": [gp.Maxout(3, pieces=4)],
    "dropout": [gp.Dropout(0.5)],
    "batch norm": [gp.BatchNorm(epsilon=1e-5)],
    "batch norm, large epsilon": [gp.BatchNorm(epsilon=0.3)],
}
NETWORKS: dict[str, list[Any]] = {
    "classifier": [gp.Dense(64), gp.BatchNorm(), gp.ReLU(), gp.Dropout(0.8), gp.Dense(32), gp.LeakyReLU(), gp.Dense(5)],
    "maxout": [gp.Dropout(0.9), gp.Maxout(16, 3), gp.BatchNorm(), gp.Maxout(8), gp.BatchNorm(), gp.Dense(4)],
    "deep": [*[gp.Dense(20, "xavier"), gp.Tanh()] * 6, gp.Dense(7), gp.Sigmoid(), gp.Dense(3), gp.Softmax()],
}


def trained(layers: list[Any], dtype: str, loss: str = "mse") -> gp.Sequential:
    """A model whose biases, gammas and statistics are not what they start as."""
    model = gp.Sequential(layers, 6, loss, dtype=dtype, seed=3)
    rng = np.random.default_rng(4)
    model.theta += rng.normal(scale=0.2, size=model.theta.size).astype(dtype)
    if model.buffers.size:
        model.recompute_statistics(rng.normal(1, 2, size=(50, 6)))
    return model


def inputs(model: gp.Sequential, rows: int = 40) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(rows, model.input_size)).astype(model.dtype)


def run(path: Path, X: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": X})
    return result


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    assert np.abs(found - expected).max() <= LARGEST[expected.dtype.name] * scale


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_every_layer(layers, dtype, tmp_path):
    model = trained(layers, dtype)
    X = inputs(model)
    X[0] = 0
    model.to_onnx(tmp_path / "model.onnx")
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    assert_same(run(tmp_path / "model.onnx", X), model.forward(X))


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_whole_networks_with_any_number_of_rows(layers, dtype, tmp_path):
    model = trained(layers, dtype)
    model.to_onnx(tmp_path / "model.onnx")
    for rows in (1, 7, 300):
        X = inputs(model, rows)
        assert_same(run(tmp_path / "model.onnx", X), model.forward(X))


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy"])
def test_probabilities(loss, dtype, tmp_path):
    model = trained([gp.Dense(3)], dtype, loss)
    X = inputs(model)
    model.to_onnx(tmp_path / "model.onnx", probabilities=True)
    assert_same(run(tmp_path / "model.onnx", X), model.predict_proba(X))
    with pytest.raises(ValueError, match="probabilities: the loss 'mse' has none, expected one of softmax_cross"):
        trained([gp.Dense(3)], dtype).to_onnx(tmp_path / "other.onnx", probabilities=True)
    assert not (tmp_path / "other.onnx").exists()


def test_what_the_file_says(dtype, tmp_path):
    model = trained([gp.Dense(3), gp.BatchNorm()], dtype, "hinge")
    model.to_onnx(tmp_path / "model.onnx")
    file = onnx.load(tmp_path / "model.onnx")
    assert (file.producer_name, file.producer_version) == ("gradproof", gp.__version__)
    said = {entry.key: entry.value for entry in file.metadata_props}
    assert said == {"loss": "hinge", "dtype": dtype, "summary": model.summary()}
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in file.graph.initializer}
    assert set(model.parameters) | set(model.statistics) == set(tensors)
    np.testing.assert_array_equal(tensors["dense_0.W"], model.parameters["dense_0.W"])
    (x,), (y,) = file.graph.input, file.graph.output
    assert (x.name, y.name) == ("x", "scores")
    assert [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] == ["batch", 6]
    assert [d.dim_param or d.dim_value for d in y.type.tensor_type.shape.dim] == ["batch", 3]


class Twice(gp.Layer):
    def forward(self, x: np.ndarray, parameters: dict[str, np.ndarray], training: bool) -> tuple[np.ndarray, Any]:
        return 2 * x, None


def test_a_python_layer_is_refused(tmp_path):
    model = gp.Sequential([gp.Dense(3), Twice()], 6, "mse")
    with pytest.raises(ValueError, match=r"model: layer 1 \(twice_0\) is a Python layer"):
        model.to_onnx(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_the_old_file_stays_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        trained([gp.Dense(3)], "float32").to_onnx(path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install gradproof\[onnx\]"):
        trained([gp.Dense(3)], "float32").to_onnx(tmp_path / "model.onnx")
