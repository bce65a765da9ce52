"""One number for what a safetensors file holds, so that damage shows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = "checksum"  # of the entry in the file's metadata


def checksum(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors and over the other metadata, as hexadecimal digits."""
    digest = hashlib.sha256()
    for key in sorted(metadata):
        if key != NAME:
            digest.update(f"{len(key)} {len(metadata[key])} {key}{metadata[key]}".encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{len(name)} {name} {tensor.dtype.str} {tensors[name].shape}".encode())
        digest.update(tensor.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
