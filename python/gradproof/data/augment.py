"""More data from the data there are: changes of an input that leave its label as it is.

A change is a frozen value that is called with rows and a generator of random numbers and gives new rows of the same
shape and dtype; every row is changed in its own way. Images are rows of pixels in the order (row, column[, color]).
``fit(augment=...)`` changes every batch anew; :func:`augment` makes a larger data set once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof._messages import shown
from gradproof.nn import validate
from gradproof.train import options, streams

Array = NDArray[Any]


class Change(Protocol):
    """Rows (m, n) to changed rows; a function of your own will do."""

    def __call__(self, X: Array, rng: np.random.Generator, /) -> Array: ...


@dataclass(frozen=True)
class Flip:
    """Mirror images, left to right or upside down, each with a probability.

    Parameters
    ----------
    image_shape : tuple of int
        ``(h, w)`` or ``(h, w, colors)``.
    axis : {"horizontal", "vertical"}
        Left to right, or upside down.
    probability : float
        In [0, 1].
    """

    image_shape: tuple[int, ...]
    axis: str = "horizontal"
    probability: float = 0.5

    def __post_init__(self) -> None:
        _check_shape(self.image_shape)
        if not isinstance(self.axis, str) or self.axis not in ("horizontal", "vertical"):
            raise ValueError(f"axis: got {shown(self.axis)}, expected 'horizontal' or 'vertical'")
        validate.real(self.probability, "probability", "a number in [0, 1]", lambda p: 0 <= p <= 1)

    def __call__(self, X: Array, rng: np.random.Generator, /) -> Array:
        images = _images(X, self.image_shape).copy()
        chosen = rng.random(len(images)) < self.probability
        images[chosen] = np.flip(images[chosen], 2 if self.axis == "horizontal" else 1)
        return np.asarray(images.reshape(X.shape))


@dataclass(frozen=True)
class Rotate:
    """Rotate images about their centers by angles drawn evenly from ``-degrees`` to ``degrees`` (needs SciPy).

    Parameters
    ----------
    image_shape : tuple of int
        ``(h, w)`` or ``(h, w, colors)``.
    degrees : float
        The largest angle, at least 0.
    fill : float
        What comes in at the corners.
    """

    image_shape: tuple[int, ...]
    degrees: float = 15.0
    fill: float = 0.0

    def __post_init__(self) -> None:
        _check_shape(self.image_shape)
        validate.nonnegative(self.degrees, "degrees")
        validate.real(self.fill, "fill", "a finite number", lambda fill: True)

    def __call__(self, X: Array, rng: np.random.Generator, /) -> Array:
        try:
            from scipy import ndimage
        except ImportError as error:
            raise ImportError("Rotate needs SciPy: pip install gradproof[augment]", name="scipy") from error
        images = _images(X, self.image_shape)
        angles = rng.uniform(-self.degrees, self.degrees, len(images))
        turned = np.empty_like(images)
        for image, angle, output in zip(images, angles, turned, strict=True):
            # linear interpolation: no pixel leaves the range that the image and the fill have
            ndimage.rotate(image, angle, reshape=False, output=output, order=1, mode="constant", cval=self.fill)
        return np.asarray(turned.reshape(X.shape))


@dataclass(frozen=True)
class Shift:
    """Move images by whole pixels, drawn evenly from ``-pixels`` to ``pixels`` in both directions.

    Parameters
    ----------
    image_shape : tuple of int
        ``(h, w)`` or ``(h, w, colors)``.
    pixels : int
        The farthest move, at least 0.
    fill : float
        What comes in at the edges.
    """

    image_shape: tuple[int, ...]
    pixels: int = 1
    fill: float = 0.0

    def __post_init__(self) -> None:
        _check_shape(self.image_shape)
        validate.whole(self.pixels, "pixels", 0, min(self.image_shape[:2]))
        validate.real(self.fill, "fill", "a finite number", lambda fill: True)

    def __call__(self, X: Array, rng: np.random.Generator, /) -> Array:
        images, k = _images(X, self.image_shape), self.pixels
        m, h, w = images.shape[:3]
        around = [(0, 0), (k, k), (k, k)] + [(0, 0)] * (images.ndim - 3)
        padded = np.pad(images, around, constant_values=images.dtype.type(self.fill))
        down, right = rng.integers(-k, k, (2, m, 1), endpoint=True)
        rows, columns = k - down + np.arange(h), k - right + np.arange(w)
        return padded[np.arange(m)[:, None, None], rows[:, :, None], columns[:, None, :]].reshape(X.shape)


@dataclass(frozen=True)
class Noise:
    """Add normal noise to every value.

    Parameters
    ----------
    std : float
        Its standard deviation, at least 0.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        validate.nonnegative(self.std, "std")

    def __call__(self, X: Array, rng: np.random.Generator, /) -> Array:
        return X + X.dtype.type(self.std) * rng.standard_normal(X.shape, X.dtype)


def augment(
    X: ArrayLike, y: ArrayLike, changes: Change | Sequence[Change], *, copies: int = 1, seed: int = 0
) -> tuple[Array, Array]:
    """A data set with changed copies of its rows behind the rows themselves.

    Parameters
    ----------
    X : array_like, (m, n)
        Inputs; numbers other than float32 become float64.
    y : array_like, (m, ...)
        Targets: each copy keeps that of its row.
    changes : callable or sequence of callables
        :class:`Flip`, :class:`Rotate`, :class:`Shift`, :class:`Noise` or functions ``(X, rng) -> X`` of your own, made
        one after the other.
    copies : int
        How many changed copies of every row.
    seed : int
        What is drawn depends on.

    Returns
    -------
    X : ndarray, ((1 + copies) m, n)
    y : ndarray, ((1 + copies) m, ...)

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected.
    ImportError
        If a rotation is asked for without SciPy.

    Examples
    --------
    >>> X, y = augment(X, y, [Rotate((8, 8), 10), Shift((8, 8))], copies=3)
    """
    inputs = validate.numeric(X, "X")
    if inputs.ndim != 2:
        raise ValueError(f"X: got shape {inputs.shape}, expected (m, n)")
    if inputs.dtype != np.float32:
        inputs = inputs.astype(np.float64, copy=False)
    targets = np.asarray(validate.rows(y, "y"))
    if len(targets) != len(inputs):
        raise ValueError(f"y: got {len(targets)} targets, expected one for each of the {len(inputs)} rows of X")
    steps = options.changes(changes, "changes")
    copies, seed = validate.whole(copies, "copies", 1, 2**31), validate.whole(seed, "seed", 0, 2**64 - 1)
    sets = [inputs, *(_changed(inputs, steps, streams.augmentation(seed, copy, 0)) for copy in range(copies))]
    return np.concatenate(sets), np.concatenate([targets] * (1 + copies))


def _changed(X: Array, changes: list[Change], rng: np.random.Generator) -> Array:
    changed = X
    for step in changes:
        given = validate.numeric(step(changed, rng), "changes")
        if given.shape != X.shape:
            raise ValueError(f"changes: {shown(step)} gave shape {given.shape}, expected {X.shape}")
        changed = given.astype(X.dtype, copy=False)
    return changed


def _check_shape(image_shape: Any) -> None:
    if not isinstance(image_shape, tuple) or len(image_shape) not in (2, 3):
        raise ValueError(f"image_shape: got {shown(image_shape)}, expected (h, w) or (h, w, colors)")
    for size in image_shape:
        validate.whole(size, "image_shape", 1, 2**31)


def _images(X: Array, image_shape: tuple[int, ...]) -> Array:
    if X.ndim != 2 or X.shape[1] != np.prod(image_shape):
        raise ValueError(f"X: got shape {X.shape}, expected (m, {np.prod(image_shape)}) for images of {image_shape}")
    return X.reshape(-1, *image_shape)
