from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradproof.nn import serialize
from gradproof.nn.checksum import checksum
from gradproof.nn.layers import (
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
from gradproof.nn.serialize import load, save


class Power(Layer):
    row_independent = True

    def __init__(self, exponent: int = 1) -> None:
        self.exponent = exponent

    def config(self) -> dict[str, Any]:
        return {"exponent": self.exponent}

    def build(self, n_in: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"s": np.ones(n_in), "offset": np.array(0.5), "empty": np.zeros((0, 3))}

    def forward(self, x: np.ndarray, parameters: dict[str, np.ndarray], training: bool) -> tuple[np.ndarray, Any]:
        return parameters["s"] * x**self.exponent + parameters["offset"], None


@pytest.fixture
def model(dtype: str, rng: np.random.Generator) -> Sequential:
    layers = [
        Dropout(0.9), Dense(6), BatchNorm(decay=0.7), LeakyReLU(0.2), Maxout(4, 3, init=0.5), Tanh(),
        Dense(4, "glorot", bias=False), Sigmoid(), Dense(4), ReLU(), Softmax(), Dense(3, init="zeros"),
    ]  # fmt: skip
    made = Sequential(layers, 5, "hinge", l1=0.1, l2=0.2, dtype=dtype, seed=2**63 + 1)
    for _ in range(3):
        made._gradient_step(rng.normal(size=(8, 5)), rng.integers(0, 3, 8), 0.1)
    return made


def test_what_is_saved_comes_back(
    model: Sequential, tmp_path: Path, rng: np.random.Generator, assert_close: Callable[[Any, Any], None]
) -> None:
    model.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.layers == model.layers
    assert loaded.layout == model.layout
    for name in ("input_size", "loss_name", "l1", "l2", "dtype", "seed", "dropout_step"):
        assert getattr(loaded, name) == getattr(model, name)
    np.testing.assert_array_equal(loaded.theta, model.theta)
    np.testing.assert_array_equal(loaded.buffers, model.buffers)
    assert loaded.theta.flags.writeable
    X, y = rng.normal(size=(9, 5)), rng.integers(0, 3, 9)
    assert_close(loaded.forward(X), model.forward(X))
    assert_close(loaded.loss_and_gradient(X, y)[1], model.loss_and_gradient(X, y)[1])
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


def test_any_safetensors_reader_can_read_it(model: Sequential, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = str(tmp_path / "model")
    model.save(path)
    tensors = load_file(path)
    np.testing.assert_array_equal(tensors["dense_0.W"], model.parameters["dense_0.W"])
    assert "buffers.batch_norm_0.running_mean" in tensors


class TestPythonLayers:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        model = Sequential([Power(2), Dense(3), Power(3)], 4, "mse")
        model.theta += 1
        model.save(tmp_path / "model")
        return tmp_path / "model"

    @pytest.mark.parametrize(
        "source", [Power, lambda exponent: Power(exponent), Power(2)], ids=["class", "function", "instance"]
    )
    def test_they_are_given_to_load(self, path: Path, source: Any) -> None:
        model = load(path, layers={"Power": source})
        assert isinstance(model.layers[0], Power) and model.layers[0].exponent == 2
        assert model.parameters["power_0.s"].tolist() == [2.0] * 4
        assert model.parameters["power_1.offset"] == 1.5

    def test_without_them_it_says_what_to_do(self, path: Path) -> None:
        with pytest.raises(ValueError, match=r"the Python class 'Power'.*load\(path, layers={'Power': Power}\)"):
            load(path)

    def test_they_have_to_fit(self, path: Path) -> None:
        class Other(Power):
            def build(self, n_in: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
                return {"s": np.ones(n_in + 1), "offset": np.zeros(()), "empty": np.zeros((0, 3))}

            def output_size(self, n_in: int) -> int:
                return n_in

        Other.__name__ = "Power"
        with pytest.raises(ValueError, match=r"'power_0.s' is F32 of shape \(4,\), expected F32 of shape \(5,\)"):
            load(path, layers={"Power": Other})
        with pytest.raises(ValueError, match="gave int, expected a gradproof Layer"):
            load(path, layers={"Power": lambda exponent: 3})  # type: ignore[dict-item, return-value]

    def test_a_config_has_to_be_json(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError):
            Sequential([Power(np.ones(1))], 4, "mse").save(tmp_path / "other")  # type: ignore[arg-type]
        assert not list(tmp_path.iterdir())


def test_a_function_as_initializer_is_not_kept(tmp_path: Path) -> None:
    Sequential([Dense(2, init=lambda rng, shape: np.ones(shape))], 3, "mse").save(tmp_path / "model")
    model = load(tmp_path / "model")
    assert (model.parameters["dense_0.W"] == 1).all()
    with pytest.raises(ValueError, match="cannot hold the function that initialized it"):
        model._reinitialized()


class TestFailureWhileSaving:
    @pytest.mark.parametrize("step", ["fsync", "replace"])
    def test_the_old_file_stays_and_nothing_else(
        self, model: Sequential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        path = tmp_path / "model"
        path.write_bytes(b"old")

        def fail(*_: object) -> None:
            raise OSError("disk full")

        monkeypatch.setattr(f"os.{step}", fail)
        with pytest.raises(OSError, match="disk full"):
            save(model, path)
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_missing_folder(self, model: Sequential, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            model.save(tmp_path / "missing" / "model")

    def test_a_folder_in_the_way(self, model: Sequential, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        with pytest.raises(OSError):
            model.save(tmp_path / "model")
        assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


Header = dict[str, Any]
Settings = dict[str, Any]


def _architecture(change: Callable[[Settings], object]) -> Callable[[Header, bytes], tuple[Header, bytes]]:
    """A forgery that changes the JSON of the architecture."""

    def forge(header: Header, data: bytes) -> tuple[Header, bytes]:
        settings = json.loads(header["__metadata__"]["model"])
        change(settings)
        header["__metadata__"]["model"] = json.dumps(settings)
        return header, data

    return forge


def _header(change: Callable[[Header], object]) -> Callable[[Header, bytes], tuple[Header, bytes]]:
    """A forgery that changes the header."""

    def forge(header: Header, data: bytes) -> tuple[Header, bytes]:
        change(header)
        return header, data

    return forge


def _rename(header: Header, old: str, new: str) -> None:
    header[new] = header.pop(old)


HOSTILE: dict[str, tuple[Callable[[Header, bytes], tuple[Header, bytes]], str]] = {
    "other version": (_header(lambda h: h["__metadata__"].update(version="2")), "format version is '2', .* reads '1'"),
    "another program": (_header(lambda h: h["__metadata__"].update(format="pt")), "does not say that gradproof wrote"),
    "no metadata": (_header(lambda h: h.pop("__metadata__")), "does not say that gradproof wrote"),
    "no architecture": (_header(lambda h: h["__metadata__"].pop("model")), "model: expected a JSON object"),
    "broken JSON": (_header(lambda h: h["__metadata__"].update(model="{")), "not a readable gradproof model"),
    "deep JSON": (_header(lambda h: h["__metadata__"].update(model="[" * 100_000)), "not a readable gradproof model"),
    "a list": (_header(lambda h: h["__metadata__"].update(model="[]")), "model: expected a JSON object, got list"),
    "missing tensor": (
        lambda h, d: ({k: v for k, v in h.items() if k != "dense_1.b"}, d),
        "not a readable gradproof model",
    ),
    "renamed tensor": (
        _header(lambda h: _rename(h, "dense_1.b", "../../dense_1.b")),
        "tensors: missing dense_1.b; unexpected ../../dense_1.b",
    ),
    "other shape": (
        _header(lambda h: h["dense_1.W"].update(shape=[2, 4])),
        r"'dense_1.W' is F32 of shape \(2, 4\), expected F32 of shape \(4, 2\)",
    ),
    "other dtype": (_header(lambda h: h["dense_1.W"].update(dtype="I32")), "'dense_1.W' is I32"),
    "overlapping": (
        _header(lambda h: h["dense_1.b"].update(data_offsets=h["dense_0.b"]["data_offsets"])),
        "not a readable gradproof model",
    ),
    "outside": (
        _header(lambda h: h["dense_1.b"].update(data_offsets=[10**12, 10**12 + 8])),
        "not a readable gradproof model",
    ),
    "negative": (_header(lambda h: h["dense_1.b"].update(data_offsets=[-8, 0])), "not a readable gradproof model"),
    "truncated data": (lambda h, d: (h, d[:-4]), "not a readable gradproof model"),
    "trailing data": (lambda h, d: (h, d + b"1234"), "not a readable gradproof model"),
    "float64 claimed": (_architecture(lambda s: s.update(dtype="float64")), "expected F64"),
    "unknown dtype": (_architecture(lambda s: s.update(dtype="object")), "dtype: got 'object'"),
    "unknown loss": (_architecture(lambda s: s.update(loss="__import__")), "loss: got '__import__'"),
    "unknown layer": (_architecture(lambda s: s["layers"][0].update(kind="os.system")), "kind 'os.system' is none of"),
    "unhashable kind": (_architecture(lambda s: s["layers"][0].update(kind=[])), r"kind \[\] is none of"),
    "unhashable class": (
        _architecture(lambda s: s["layers"].append({"kind": "python", "class": {}, "config": {}})),
        "not a readable gradproof model",
    ),
    "layer that is no object": (_architecture(lambda s: s["layers"].insert(0, 3)), r"layers\[0\]: expected a JSON"),
    "no layers": (_architecture(lambda s: s.update(layers=[])), "layers: expected a list with at least one"),
    "layers missing": (_architecture(lambda s: s.pop("layers")), "layers: expected a list"),
    "setting missing": (_architecture(lambda s: s.pop("l2")), "model: missing l2"),
    "setting unknown": (_architecture(lambda s: s.update(code="1")), "model: unexpected code"),
    "argument unknown": (_architecture(lambda s: s["layers"][0].update(x=1)), r"layers\[0\] \(dense\): unexpected x"),
    "argument missing": (_architecture(lambda s: s["layers"][0].pop("units")), "missing units"),
    "gigantic layer": (_architecture(lambda s: s["layers"][0].update(units=2**31 - 1)), "expected F32 of shape"),
    "beyond 64 bits": (
        _architecture(lambda s: s["layers"][0].update(units=10**30)),
        "whole number from 1 to 2147483647",
    ),
    "gigantic input": (_architecture(lambda s: s.update(input_size=2**31 - 1)), "expected F32 of shape"),
    "boolean size": (_architecture(lambda s: s.update(input_size=True)), "input_size: got True"),
    "fractional units": (_architecture(lambda s: s["layers"][0].update(units=4.5)), "units: got 4.5"),
    "not a number": (_architecture(lambda s: s.update(l2=float("nan"))), "l2: got nan"),
    "negative step": (_architecture(lambda s: s.update(dropout_step=-1)), "dropout_step: got -1"),
    "seed": (_architecture(lambda s: s.update(seed="0")), "seed: got '0'"),
    "one more layer": (
        _architecture(lambda s: s["layers"].append(s["layers"][-1])),
        "tensors: missing dense_2.W, dense_2.b",
    ),
}


class TestHostileFiles:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "model"
        Sequential([Dense(4), Tanh(), Dense(2)], 3, "mse").save(path)
        return path

    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_forged_file_is_refused(self, path: Path, name: str) -> None:
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        forge, message = HOSTILE[name]
        header, data = forge(json.loads(content[8 : 8 + length]), content[8 + length :])
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data)
        with pytest.raises(ValueError, match=message) as caught:
            load(path)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("length", [0, 2**63, 2**64 - 1, 10**9])
    def test_a_wrong_length_of_the_header(self, path: Path, length: int) -> None:
        path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
        with pytest.raises(ValueError, match="not a readable gradproof model"):
            load(path)

    def test_truncated_anywhere(self, path: Path) -> None:
        content = path.read_bytes()
        for end in [0, 1, 7, 8, 9, *range(10, len(content), 37)]:
            path.write_bytes(content[:end])
            with pytest.raises(ValueError, match="not a readable gradproof model"):
                load(path)

    def test_any_damaged_byte_is_noticed(self, path: Path, rng: np.random.Generator) -> None:
        content = path.read_bytes()
        for position in range(len(content)):
            damaged = bytearray(content)
            damaged[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match="not a readable gradproof model"):
                load(path)

    def test_a_file_from_before_there_was_a_checksum(self, path: Path) -> None:
        model, content = load(path), path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        assert len(header["__metadata__"].pop("checksum")) == 64
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
        np.testing.assert_array_equal(load(path).theta, model.theta)

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("dense_0.W", np.nan, r"dense_0.W\[1, 2\] is nan, expected finite"),
            ("dense_0.W", -np.inf, r"dense_0.W\[1, 2\] is -inf, expected finite"),
            ("running_mean", np.inf, r"running_mean\[2\] is inf, expected finite"),
            ("running_variance", np.nan, r"running_variance\[2\] is nan, expected finite"),
            ("running_variance", -0.5, r"running_variance\[2\] is -0.5, expected variances >= 0"),
        ],
    )
    def test_values_that_no_model_can_have(
        self, tmp_path: Path, dtype: str, name: str, value: float, message: str
    ) -> None:
        model = Sequential([Dense(4), BatchNorm(), Dense(2)], 3, "mse", dtype=dtype)
        if name == "dense_0.W":
            model.parameters[name][1, 2] = value
        else:
            model.statistics[f"batch_norm_0.{name}"][2] = value
        serialize.write(tmp_path / "model", *serialize.contents(model))
        with pytest.raises(ValueError, match=f"model: not a readable gradproof model: .*{message}"):
            load(tmp_path / "model")

    def test_what_could_not_be_loaded_is_not_saved(self, tmp_path: Path, dtype: str) -> None:
        model = Sequential([Dense(4), BatchNorm(), Dense(2)], 3, "mse", dtype=dtype)
        model.parameters["dense_0.W"][1, 2] = np.nan
        with pytest.raises(ValueError, match=r"dense_0.W\[1, 2\] is nan, expected finite"):
            model.save(tmp_path / "model")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("path", [None, 3, "a\0b"])
    def test_what_is_no_path(self, path: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="path: got"):
            load(path)

    def test_a_python_layer_is_not_fed_absurd_inputs(self, tmp_path: Path) -> None:
        path = tmp_path / "model"
        Sequential([Power()], 3, "mse").save(path)
        path.write_bytes(path.read_bytes().replace(rb"\"input_size\": 3", rb"\"input_size\": 3" + b"0" * 8))
        with pytest.raises(ValueError, match="not a readable gradproof model"):
            load(path, layers={"Power": Power})

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            load(tmp_path / "missing")
        with pytest.raises(ValueError, match="not a regular file"):
            load(tmp_path)
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe")
            with pytest.raises(ValueError, match="not a regular file"):
                load(tmp_path / "pipe")


def test_the_checksum_depends_on_all_there_is() -> None:
    a, b = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    contents: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"a": a, "b": b}, {"x": "1", "y": "2"}),
        ({"a": b, "b": a}, {"x": "1", "y": "2"}),
        ({"a": a}, {"x": "1", "y": "2"}),
        ({"a": a, "c": b}, {"x": "1", "y": "2"}),
        ({"a": a.reshape(3, 2), "b": b}, {"x": "1", "y": "2"}),
        ({"a": a.view(np.int64), "b": b}, {"x": "1", "y": "2"}),
        ({"a": a, "b": np.nextafter(b, 2)}, {"x": "1", "y": "2"}),
        ({"a": a, "b": b}, {"x": "2", "y": "1"}),
        ({"a": a, "b": b}, {"x": "1", "y": ""}),
        ({"a": a, "b": b}, {"x1": "", "y": "2"}),
        ({"a": a, "b": b}, {"x": "1"}),
        ({"a": a, "b": b, "none": np.zeros((0, 3))}, {"x": "1", "y": "2"}),
    ]
    assert len({checksum(*content) for content in contents}) == len(contents)
    same = checksum({"b": b, "a": np.asfortranarray(a)}, {"y": "2", "x": "1", "checksum": "7"})
    assert same == checksum(*contents[0])
