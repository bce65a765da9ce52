"""Data sets from files; what is damaged is refused."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradproof.data import load_cifar10, load_csv, load_digits, load_idx, load_npy, load_npz

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx(array: np.ndarray, code: int = 0x08) -> bytes:
    content = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").write_bytes(idx(IMAGES))
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "labels").write_bytes(idx(np.array([7, 3], np.uint8)))
    return tmp_path


# ---------------------------------------------------------------- IDX


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_idx_as_it_is(folder: Path, name: str) -> None:
    array = load_idx(folder / name)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, IMAGES)
    array[0] = 0  # the caller's own


@pytest.mark.parametrize(
    ("code", "dtype"), [(0x09, "int8"), (0x0B, "int16"), (0x0C, "int32"), (0x0D, "float32"), (0x0E, "float64")]
)
def test_idx_of_every_type(tmp_path: Path, code: int, dtype: str) -> None:
    array = np.array([[-1, 2, 100], [4, 5, -6]], dtype)
    (tmp_path / "file").write_bytes(idx(array, code))
    read = load_idx(tmp_path / "file")
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, array)


def test_idx_with_labels_is_ready_for_a_model(folder: Path) -> None:
    X, y = load_idx(folder / "images.gz", folder / "labels")
    assert (X.dtype, y.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(X, IMAGES.reshape(2, 12) / np.float32(255))
    assert y.tolist() == [7, 3]


def test_an_empty_idx_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(idx(np.empty((0, 3), np.uint8)))
    assert load_idx(tmp_path / "file").shape == (0, 3)


GOOD = idx(IMAGES)
PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it ends 4 bytes too early"),
        (GOOD[:3], "it ends 1 bytes too early"),
        (GOOD[:9], "it ends 7 bytes too early"),
        (GOOD[:-1], "it ends 1 bytes too early"),
        (GOOD + b"x", r"it goes on behind the 24 values of shape \(2, 3, 4\)"),
        (b"\x01" + GOOD[1:], "it begins with 01 00 08 03"),
        (b"\0\0\x07" + GOOD[3:], "it begins with 00 00 07 03"),
        (b"\0\0\x08\0", "it begins with 00 00 08 00"),
        (b"\0\0\x08\x28" + 160 * b"\0", "40 dimensions"),
        (b"\0\0\x0e\x03" + 12 * b"\xff", "bytes too early"),  # 2**99 bytes, says the header
        (PACKED[:-12], "cannot read"),
        (PACKED[:-30] + b"damaged" + PACKED[-23:], "cannot read"),
        (gzip.compress(GOOD[:-1], mtime=0), "it ends 1 bytes too early"),
        (pickle.dumps(IMAGES), "it begins with 80"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_idx(tmp_path / "file")
    assert str(caught.value).startswith(f"cannot read {str(tmp_path / 'file')!r}: ")


def test_labels_that_do_not_belong_are_refused(folder: Path) -> None:
    (folder / "three").write_bytes(idx(np.array([7, 3, 1], np.uint8)))
    (folder / "real").write_bytes(idx(np.array([7, 3], np.float32), 0x0D))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\), expected 3 images for the labels of '.*three'"):
        load_idx(folder / "images", folder / "three")
    with pytest.raises(ValueError, match=r"it holds float32 of shape \(2,\), expected labels"):
        load_idx(folder / "images", folder / "real")
    with pytest.raises(ValueError, match="expected labels"):
        load_idx(folder / "images", folder / "images")
    with pytest.raises(FileNotFoundError):
        load_idx(folder / "missing")


# ---------------------------------------------------------------- CIFAR-10


def cifar(folder: Path, name: str, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels, planes = rng.integers(0, 10, rows, np.uint8), rng.integers(0, 256, (rows, 3, 32, 32), np.uint8)
    records = np.concatenate([labels[:, None], planes.reshape(rows, -1)], axis=1)
    (folder / name).write_bytes(records.tobytes())
    return labels, planes


def test_cifar10(tmp_path: Path) -> None:
    first, second, test = (
        cifar(tmp_path, name, rows, rows)
        for name, rows in (("data_batch_1.bin", 3), ("data_batch_2.bin", 2), ("test_batch.bin", 4))
    )
    (X, y), (X_test, y_test) = load_cifar10(tmp_path)
    assert (X.shape, X.dtype, y.dtype) == ((5, 3072), np.float32, np.int64)
    np.testing.assert_array_equal(y, np.concatenate([first[0], second[0]]))
    np.testing.assert_array_equal(y_test, test[0])
    image = X[3].reshape(32, 32, 3)
    np.testing.assert_array_equal(image[5, 9], second[1][0][:, 5, 9] / np.float32(255))  # red, green, blue
    assert X_test.max() <= 1


def test_damaged_cifar10_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_cifar10(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="no data_batch_1.bin"):
        load_cifar10(tmp_path)
    cifar(tmp_path, "data_batch_1.bin", 2, 0)
    with pytest.raises(FileNotFoundError, match="test_batch.bin"):
        load_cifar10(tmp_path)
    cifar(tmp_path, "test_batch.bin", 2, 0)
    content = (tmp_path / "data_batch_1.bin").read_bytes()
    for damaged, message in (
        (content[:-1], "it has 6145 bytes, expected a multiple of 3073"),
        (b"", "it has 0 bytes"),
        (content[:3073] + b"\x0a" + content[3074:], "record 1 has label 10, expected 0 to 9"),
    ):
        (tmp_path / "data_batch_1.bin").write_bytes(damaged)
        with pytest.raises(ValueError, match=message):
            load_cifar10(tmp_path)


# ---------------------------------------------------------------- digits


def test_digits_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = load_digits()
    expected, labels = datasets.load_digits(return_X_y=True)
    np.testing.assert_array_equal(X, expected / 16)
    np.testing.assert_array_equal(y, labels)
    assert (X.dtype, y.dtype) == (np.float64, np.int64)


# ---------------------------------------------------------------- NumPy and CSV


def test_numpy_files(tmp_path: Path, rng: np.random.Generator) -> None:
    X, y = rng.random((3, 2)), np.array([0, 1, 1])
    np.savez_compressed(tmp_path / "data.npz", X=X, y=y, inputs=X + 1, targets=y + 1)
    for names, more in (({}, 0), ({"X": "inputs", "y": "targets"}, 1)):
        read = load_npz(tmp_path / "data.npz", **names)
        np.testing.assert_array_equal(read[0], X + more)
        np.testing.assert_array_equal(read[1], y + more)
    np.save(tmp_path / "X.npy", X)
    np.testing.assert_array_equal(load_npy(tmp_path / "X.npy"), X)


class Dangerous:
    opened = False

    def __reduce__(self) -> Any:
        return setattr, (Dangerous, "opened", True)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    objects = np.array([Dangerous(), 1], object)
    np.save(tmp_path / "X.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "data.npz", X=objects, y=[1, 2])
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Dangerous()))
    readers: list[tuple[Callable[[Path], Any], str]] = [
        (load_npy, "X.npy"), (load_npz, "data.npz"), (load_npy, "raw.npy"), (load_npz, "raw.npy")
    ]  # fmt: skip
    for reader, name in readers:
        with pytest.raises(ValueError, match="cannot read"):
            reader(tmp_path / name)
    assert not Dangerous.opened


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        (
            {"X": np.ones((2, 2)), "Y": np.ones(2)},
            ValueError,
            "archive.npz': it holds X, Y; expected .* arrays X and y",
        ),
        ({"X": np.ones((2, 2)), "y": np.ones(1)}, ValueError, "archive.npz': 2 rows of inputs, but 1 targets"),
        ({"X": np.array(["a"]), "y": np.ones(1)}, TypeError, "archive.npz': X: got ndarray of dtype <U1"),
    ],
)
def test_archives_of_something_else(tmp_path: Path, arrays: Any, error: type[Exception], message: str) -> None:
    np.savez(tmp_path / "archive.npz", **arrays)
    with pytest.raises(error, match=message):
        load_npz(tmp_path / "archive.npz")


def test_csv(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a, b, label\n1, 2.5, 3\n\n-1,1e-3,4\n")
    X, y = load_csv(tmp_path / "data.csv")
    np.testing.assert_array_equal(X, [[1, 2.5], [-1, 1e-3]])
    assert y.dtype == np.int64 and y.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [
        (load_csv, b"1,2\n3\n", "line 2 has 1 columns"),
        (load_csv, b"1,x\n", "line 1, column 2: 'x' is not a number"),
        (load_csv, b"1,2\n3,\xff\n", "cannot read"),
        (load_csv, b"1\n2\n", "at least one input and a target"),
        (load_csv, b"", "at least one input and a target"),
        (
            load_npz,
            b"PK\x03\x04 and so on",
            "cannot read .*file': BadZipFile: .*; expected an archive of np.savez with .*X and y",
        ),
        (load_npz, b"junk", "cannot read .*file': it is no file of NumPy; expected an archive of np.savez with"),
        (load_npz, b"", "it is no file of NumPy"),
        (load_npy, b"\x93NUMPY\x01\x00", "cannot read .*file': .*; expected an array of numbers of np.save"),
        (load_npy, b"", "cannot read .*file': it is no file of NumPy; expected an array of numbers of np.save"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, reader: Any, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        reader(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        reader(tmp_path / "missing")
