"""Networks and weights go to PyTorch and come back, and both compute the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gradproof as gp

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn  # noqa: E402

LARGEST = {"float32": 1e-6, "float64": 1e-12}  # difference, beside values of at most 1
LAYERS: dict[str, list[Any]] = {
    "dense": [gp.Dense(3)],
    "dense without bias": [gp.Dense(3, bias=False)],
    "relu": [gp.ReLU()],
    "leaky relu": [gp.LeakyReLU(0.2)],
    "tanh": [gp.Tanh()],
    "sigmoid": [gp.Sigmoid()],
    "softmax": [gp.Softmax()],
    "dropout": [gp.Dropout(0.7)],
    "batch norm": [gp.BatchNorm(decay=0.8, epsilon=0.01)],
    "network": [gp.Dense(40), gp.BatchNorm(), gp.ReLU(), gp.Dropout(0.8), gp.Dense(20), gp.LeakyReLU(), gp.Dense(5)],
}


def trained(layers: list[Any], dtype: str) -> gp.Sequential:
    model = gp.Sequential(layers, 6, "mse", dtype=dtype, seed=3)
    rng = np.random.default_rng(4)
    model.theta += rng.normal(scale=0.2, size=model.theta.size).astype(dtype)
    if model.buffers.size:
        model.recompute_statistics(rng.normal(1, 2, size=(50, 6)))
    return model


def inputs(dtype: str, rows: int = 30) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(rows, 6)).astype(dtype)


def predicted(module: nn.Module, X: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max()))
    assert np.abs(found - expected).max() <= LARGEST[expected.dtype.name] * scale


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_there_and_back(layers, dtype):
    model = trained(layers, dtype)
    X = inputs(dtype)
    module = gp.torch.to_torch(model)
    assert_same(predicted(module, X), model.forward(X))
    back = gp.torch.from_torch(module, "mse", input_size=6)
    if not model.theta.size:  # layers without parameters have no precision
        back = back.astype(dtype)
    assert_same(back.forward(X), model.forward(X))
    np.testing.assert_array_equal(back.theta, model.theta)
    np.testing.assert_array_equal(back.buffers, model.buffers)
    assert [layer.kind for layer in back.layers] == [layer.kind for layer in model.layers]
    for ours, theirs in zip(model.layers, back.layers, strict=True):
        for name in ("slope", "keep_prob", "decay", "epsilon"):
            assert getattr(theirs, name, None) == pytest.approx(getattr(ours, name, None))


def test_gradients_are_the_same(dtype):
    """In training mode, with the statistics of the batch."""
    model = trained([gp.Dense(8), gp.BatchNorm(), gp.Tanh(), gp.Dense(4)], dtype)
    X, labels = inputs(dtype), np.arange(30) % 4
    model = gp.torch.from_torch(gp.torch.to_torch(model), "softmax_cross_entropy")
    module = gp.torch.to_torch(model).train()
    nn.CrossEntropyLoss()(module(torch.from_numpy(X)), torch.from_numpy(labels)).backward()
    _, gradient = model.loss_and_gradient(X, labels)
    theirs = torch.cat([(p.grad.T if p.ndim == 2 else p.grad).flatten() for p in module.parameters()]).numpy()
    assert_same(gradient, theirs)


def test_nothing_is_shared(dtype):
    model = trained(LAYERS["network"], dtype)
    before = model.theta.copy(), model.buffers.copy()
    module = gp.torch.to_torch(model).train()
    with torch.no_grad():
        module(torch.from_numpy(inputs(dtype)))
        for parameter in module.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(model.theta, before[0])
    np.testing.assert_array_equal(model.buffers, before[1])
    back = gp.torch.from_torch(module, "mse")
    back.theta[...] = 1
    assert all((parameter == 0).all() for parameter in module.parameters())


def test_modules_written_in_pytorch(dtype):
    """Nested, with identities, biases before batch normalization, and batch normalization without parameters."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Dropout(0.1),
        nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9, momentum=0.3), nn.ReLU(inplace=True)),
        nn.Identity(),
        nn.Linear(9, 7),
        nn.BatchNorm1d(7, affine=False, eps=1e-3),
        nn.LeakyReLU(0.3),
        nn.Linear(7, 3, bias=False),
        nn.Softmax(dim=-1),
    ).to(getattr(torch, dtype))
    X = inputs(dtype)
    for _ in range(3):
        module(torch.from_numpy(X))
    module.eval()
    model = gp.torch.from_torch(module, "mse", l2=0.5, seed=9)
    assert (model.l2, model.seed, model.input_size, model.layers[2].decay) == (0.5, 9, 6, 0.7)
    assert_same(model.forward(X), predicted(module, X))


def with_values(module, name, value):
    with torch.no_grad():
        getattr(module, name).fill_(value)
    return module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(6, 3), nn.GELU()), r"'1' is GELU\(.*no layer for"),
        (lambda: nn.Sequential(nn.Sequential(nn.Conv1d(1, 1, 1))), r"'0.0' is Conv1d"),
        (lambda: nn.BatchNorm1d(6, track_running_stats=False), "track_running_stats=False, expected running"),
        (lambda: nn.BatchNorm1d(6, momentum=None), r"momentum=None, expected a number in \(0, 1\]"),
        (lambda: nn.Sequential(nn.Linear(6, 3), nn.Dropout(1.0)), "'1' drops everything"),
        (lambda: nn.Softmax(dim=0), "Softmax"),
        (lambda: nn.Sequential(nn.Linear(6, 3), nn.Linear(5, 2)), "'1' takes 5 values per row, but gets 3"),
        (lambda: nn.Sequential(nn.Linear(6, 3, device="meta")), "'0.weight' is on the device 'meta', without values"),
        (lambda: nn.Linear(6, 3, device="meta"), "module: 'weight' is on the device 'meta'"),
        (
            lambda: with_values(nn.Linear(6, 3), "bias", math.nan),
            "module: 'bias' has 3 values like nan, expected finite",
        ),
        (lambda: with_values(nn.BatchNorm1d(6), "weight", -math.inf), "'weight' has 6 values like -inf"),
        (lambda: with_values(nn.BatchNorm1d(6), "running_var", -1.0), "'running_var' has 6 .* -1.0, expected .* >= 0"),
        (lambda: nn.Tanh(), "input_size: got None, expected the features per row"),
    ],
)
def test_what_has_no_counterpart_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        gp.torch.from_torch(module(), "mse")


def test_what_is_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="module: got list, expected a torch.nn.Sequential"):
        gp.torch.from_torch([nn.Linear(6, 3)], "mse")
    with pytest.raises(TypeError, match="module: has tensors of torch.float16, expected float32 or float64"):
        gp.torch.from_torch(nn.Linear(6, 3).half(), "mse")
    mixed = nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 3).double())
    with pytest.raises(TypeError, match="module: has tensors of torch.float32, torch.float64"):
        gp.torch.from_torch(mixed, "mse")
    with pytest.raises(TypeError, match="model: got Linear, expected a gradproof.Sequential"):
        gp.torch.to_torch(nn.Linear(6, 3))
    with pytest.raises(ValueError, match="model: PyTorch has no layer like maxout_0"):
        gp.torch.to_torch(trained([gp.Maxout(3)], "float32"))


def test_pytorch_reads_and_writes_our_files(dtype, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    model = trained(LAYERS["network"], dtype)
    model.save(tmp_path / "ours.safetensors")
    tensors = load_file(tmp_path / "ours.safetensors")
    assert set(tensors) == set(model.parameters) | {f"buffers.{name}" for name in model.statistics}
    for name, view in model.parameters.items():
        np.testing.assert_array_equal(tensors[name].numpy(), view)
    with safe_open(tmp_path / "ours.safetensors", framework="pt") as file:
        metadata = {name: text for name, text in file.metadata().items() if name != "checksum"}
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, tmp_path / "theirs.safetensors", metadata)
    loaded = gp.load(tmp_path / "theirs.safetensors")
    np.testing.assert_array_equal(loaded.theta, model.theta + 1)
    np.testing.assert_array_equal(loaded.buffers, model.buffers + 1)
