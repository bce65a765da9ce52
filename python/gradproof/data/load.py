"""Data sets from files: IDX (MNIST), CIFAR-10, .npz, .npy, .csv, and the digits that come with the package.

Nothing is ever unpickled. A damaged file raises ValueError that says which file and what is wrong with it; one that is
not there, or may not be read, the OSError of the operating system.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, TextIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradproof._files import PathLike, named
from gradproof._messages import shown
from gradproof.nn import validate

Array = NDArray[Any]
T = TypeVar("T")

_LARGEST_LABEL = 2.0**53  # up to here float64 holds every whole number
_CHUNK = 2**20
_NUMPY = (b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")  # how np.save's files begin, and np.savez's

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

_CIFAR_SHAPE = (3, 32, 32)  # red, green and blue planes, as they lie in the files
_CIFAR_RECORD = 1 + prod(_CIFAR_SHAPE)


# ---------------------------------------------------------------- images


def load_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The 1,797 handwritten digits of Alpaydin and Kaynak (UCI, 1998), which come with the package.

    Returns
    -------
    X : ndarray of float64, (1797, 64)
        8 x 8 pixels with values from 0 to 16, divided by 16.
    y : ndarray of int64, (1797,)
        0 to 9. Rows are in the order in which scikit-learn has them.
    """
    folder = Path(__file__).parent / "digits"
    images, labels = (load_idx(folder / name) for name in ("images.idx3-ubyte.gz", "labels.idx1-ubyte.gz"))
    return images.reshape(len(images), -1) / 16.0, labels.astype(np.int64)


def load_idx(path: PathLike, labels: PathLike | None = None) -> Any:
    """An IDX file, the format of MNIST and its relatives (http://yann.lecun.com/exdb/mnist/), packed by gzip or not.

    Parameters
    ----------
    path : path-like
        ``train-images-idx3-ubyte``, for instance.
    labels : path-like, optional
        The file with the labels that belong to it.

    Returns
    -------
    ndarray, or tuple of X and y
        One file as it is, in its shape and dtype. With `labels`, ready for a model: X of shape (m, pixels), bytes
        divided by 255 as float32 and anything else in its own dtype, and y of int64, (m,).

    Raises
    ------
    ValueError
        If a file is no IDX file, ends too early or too late, or images and labels differ in number.
    OSError
        If a file cannot be opened.
    """
    array = _idx(named(path))
    if labels is None:
        return array
    y = _idx(named(labels, "labels"))
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise _unreadable(labels, f"it holds {y.dtype} of shape {y.shape}, expected labels")
    if array.ndim < 2 or len(array) != len(y):
        raise ValueError(
            f"{os.fspath(path)!r} holds an array of shape {array.shape}, expected {len(y)} images "
            f"for the labels of {os.fspath(labels)!r}"
        )
    X = array.reshape(len(array), -1)
    return (X / np.float32(255) if X.dtype == np.uint8 else X), y.astype(np.int64)


def _idx(path: PathLike) -> Array:
    with _opened(path) as file:
        head = _exactly(file, 4, path)
        if head[:2] != b"\0\0" or head[2] not in _IDX_TYPES or head[3] == 0:
            raise _unreadable(path, f"it begins with {head.hex(' ')}, expected 00 00, a type (08 to 0e) and 1 to 255")
        dtype = np.dtype(_IDX_TYPES[head[2]])
        shape = tuple(int(n) for n in np.frombuffer(_exactly(file, 4 * head[3], path), ">u4"))
        if len(shape) > 32:
            raise _unreadable(path, f"it has {len(shape)} dimensions, expected at most 32")
        values = _exactly(file, dtype.itemsize * prod(shape), path)
        if _read(file, 1, path):
            raise _unreadable(path, f"it goes on behind the {prod(shape)} values of shape {shape}")
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def load_cifar10(folder: PathLike) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """CIFAR-10 in its binary version (https://www.cs.toronto.edu/~kriz/cifar.html), unpacked.

    Parameters
    ----------
    folder : path-like
        Where ``data_batch_1.bin`` and so on (those that are there) and ``test_batch.bin`` are.

    Returns
    -------
    (X, y), (X_test, y_test)
        X of float32, (m, 3072), pixels divided by 255 and in the order (row, column, color), so that
        ``image_shape=(32, 32, 3)``; y of int64, (m,), 0 to 9.

    Raises
    ------
    ValueError
        If a file is not a whole number of records, or a label is not 0 to 9.
    OSError
        If there is no such folder, or no such file in it.
    """
    where = Path(named(folder, "folder"))
    if not where.is_dir():
        raise FileNotFoundError(f"folder: there is no folder {os.fspath(folder)!r}")
    names = sorted(where.glob("data_batch_*.bin"))
    if not names:
        raise FileNotFoundError(f"folder: {os.fspath(folder)!r} has no data_batch_1.bin")
    batches = [_cifar(name) for name in names]
    X, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    return (X, y), _cifar(where / "test_batch.bin")


def _cifar(path: Path) -> tuple[Array, Array]:
    content = path.read_bytes()
    if not content or len(content) % _CIFAR_RECORD:
        raise _unreadable(path, f"it has {len(content)} bytes, expected a multiple of {_CIFAR_RECORD}")
    records = np.frombuffer(content, np.uint8).reshape(-1, _CIFAR_RECORD)
    y = records[:, 0].astype(np.int64)
    if y.max() > 9:
        row = int(np.argmax(y > 9))
        raise _unreadable(path, f"record {row} has label {y[row]}, expected 0 to 9")
    images = records[:, 1:].reshape(-1, *_CIFAR_SHAPE).transpose(0, 2, 3, 1)
    return images.reshape(len(y), -1) / np.float32(255), y


# ---------------------------------------------------------------- arrays and tables


def load_npz(path: PathLike, *, X: str = "X", y: str = "y") -> tuple[Array, Array]:
    """Inputs and targets out of an archive of NumPy.

    Parameters
    ----------
    path : path-like
        What ``np.savez`` wrote.
    X, y : str
        Names of the two arrays.

    Raises
    ------
    ValueError, TypeError
        If the file is no such archive or damaged, an array is missing or no numbers, or there are not as many targets
        as inputs.
    OSError
        If the file cannot be opened.
    """

    for argument, wanted in (("X", X), ("y", y)):
        if not isinstance(wanted, str):
            raise TypeError(f"{argument}: got {shown(wanted)}, expected the name of an array in the file")

    def read(file: IO[bytes]) -> tuple[Array, Array]:
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise ValueError("it holds a single array")
        if X not in arrays or y not in arrays:
            raise ValueError(f"it holds {', '.join(arrays) or 'nothing'}")
        return arrays[X], arrays[y]

    arrays = _whole(path, read, f"an archive of np.savez with the arrays {X:.80} and {y:.80}")
    try:
        return samples(*arrays)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{os.fspath(path)!r}: {error}") from error


def load_npy(path: PathLike) -> Array:
    """The array of numbers in a file that ``np.save`` wrote; errors as in :func:`load_npz`.

    Parameters
    ----------
    path : str or path-like
        The file.
    """

    def read(file: IO[bytes]) -> Array:
        array = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it holds several arrays")
        return array

    return _whole(path, read, "an array of numbers of np.save")


def load_csv(path: PathLike) -> tuple[Array, Array]:
    """Numbers separated by commas, targets in the last column; a first line without any number is a header.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    X : ndarray of float64, (m, n)
    y : ndarray, (m,)
        int64 if all targets are whole numbers, otherwise float64.

    Raises
    ------
    ValueError
        If a cell is empty or no number, or lines differ in length; with the line and the column.
    OSError
        If the file cannot be opened.
    """
    with open(named(path), newline="", encoding="utf-8-sig") as file:
        try:
            values = _table(file)
        except ValueError as error:
            raise _unreadable(path, error) from error
    y = values[:, -1]
    whole = np.all(np.abs(y) <= _LARGEST_LABEL) and np.all(y == np.round(y))
    return samples(values[:, :-1], y.astype(np.int64) if whole else y)


def samples(X: Any, y: Any) -> tuple[Array, Array]:
    """Arrays of numbers with as many rows as targets; their values are the model's business.

    Raises
    ------
    ValueError, TypeError
        If they are anything else.
    """
    arrays = []
    for name, values in (("X", X), ("y", y)):
        arrays.append(validate.numeric(values, name))
        if arrays[-1].ndim == 0:
            raise ValueError(f"{name}: got a single number, expected an array with one row per sample")
    if len(arrays[0]) != len(arrays[1]):
        raise ValueError(f"{len(arrays[0])} rows of inputs, but {len(arrays[1])} targets")
    return arrays[0], arrays[1]


def _table(file: TextIO) -> NDArray[np.float64]:
    table: list[list[float]] = []
    for position, (number, cells) in enumerate(_lines(file)):
        if position == 0 and any(cells) and not any(map(_is_number, cells)):
            continue
        table.append([_number(cell, number, column) for column, cell in enumerate(cells, 1)])
        if len(cells) != len(table[0]):
            raise ValueError(f"line {number} has {len(cells)} columns, the first has {len(table[0])}")
    if not table or len(table[0]) < 2:
        raise ValueError("expected rows of at least one input and a target")
    return np.array(table)


def _lines(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not empty, as cells without surrounding space, with their numbers."""
    reader = csv.reader(file)
    try:
        for line in reader:
            if line:
                yield reader.line_num, [cell.strip() for cell in line]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _number(cell: str, line: int, column: int) -> float:
    if not _is_number(cell):
        text = f"{cell[:40]!r} is not a number" if cell else "empty, expected a number"
        raise ValueError(f"line {line}, column {column}: {text}")
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- bytes


def _unreadable(path: PathLike, reason: object) -> ValueError:
    return ValueError(f"cannot read {os.fspath(path)!r}: {reason}")


def _whole(path: PathLike, read: Callable[[IO[bytes]], T], expected: str) -> T:
    """What NumPy reads; of a damaged file it raises whatever the layers of the format raise."""
    with open(named(path), "rb") as file:
        try:
            if not file.read(max(map(len, _NUMPY))).startswith(_NUMPY):  # NumPy would take it for a pickle
                raise ValueError("it is no file of NumPy")
            file.seek(0)
            return read(file)
        except Exception as error:
            text = str(error) if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {error}"
            raise _unreadable(path, f"{text.rstrip('.')}; expected {expected}") from error


@contextmanager
def _opened(path: PathLike) -> Iterator[IO[bytes]]:
    """A file for reading, unpacked by gzip if that is how it begins."""
    with open(named(path), "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            yield file
            return
        import gzip

        with gzip.open(file, "rb") as unpacked:
            yield unpacked  # type: ignore[misc]


def _exactly(file: IO[bytes], size: int, path: PathLike) -> bytes:
    content = _read(file, size, path)
    if len(content) < size:
        raise _unreadable(path, f"it ends {size - len(content)} bytes too early")
    return content


def _read(file: IO[bytes], size: int, path: PathLike) -> bytes:
    """Up to `size` bytes. Piece by piece: a damaged header may ask for more memory than there is."""
    import zlib

    pieces = []
    while size > 0:
        try:
            piece = file.read(min(size, _CHUNK))
        except (OSError, EOFError, zlib.error) as error:  # from gzip; what is read is open
            raise _unreadable(path, error) from error
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
