"""Random numbers of training: every stream is a function of the seed and of where the run is, so none has to be stored.

Initialization and dropout have streams of their own, made from the seed of the model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SHUFFLE, _AUGMENT, _SPLIT = 1, 2, 3


def _generator(seed: int, stream: int, epoch: int, batch: int) -> np.random.Generator:
    # The lowest word of the counter runs while numbers are drawn; the upper ones never meet.
    key, counter = np.array([seed, stream], np.uint64), np.array([0, 0, batch, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def order(seed: int, epoch: int, m: int) -> NDArray[np.int64]:
    """The permutation of `m` rows in which an epoch goes through them."""
    return _generator(seed, _SHUFFLE, epoch, 0).permutation(m)


def augmentation(seed: int, epoch: int, batch: int) -> np.random.Generator:
    """What the augmentation of one batch draws from."""
    return _generator(seed, _AUGMENT, epoch, batch)


def split(seed: int) -> np.random.Generator:
    """What the division of a data set into parts draws from."""
    return _generator(seed, _SPLIT, 0, 0)
