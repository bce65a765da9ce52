"""What a checkpoint holds, read without gradproof."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any


def header(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])


def stored(path: Path) -> dict[str, Any]:
    return json.loads(header(path)["__metadata__"]["training"])
