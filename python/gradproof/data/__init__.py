"""Data sets: read, divide, normalize, enlarge, and go through them in mini-batches."""

from __future__ import annotations

from gradproof.data.augment import Flip, Noise, Rotate, Shift, augment
from gradproof.data.batches import batches
from gradproof.data.load import load_cifar10, load_csv, load_digits, load_idx, load_npy, load_npz
from gradproof.data.normalize import Normalizer
from gradproof.data.split import split

__all__ = [
    "Flip",
    "Noise",
    "Normalizer",
    "Rotate",
    "Shift",
    "augment",
    "batches",
    "load_cifar10",
    "load_csv",
    "load_digits",
    "load_idx",
    "load_npy",
    "load_npz",
    "split",
]
