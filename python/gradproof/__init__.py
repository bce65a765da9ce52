"""gradproof: gradient checking as a measurement.

Every entry of a gradient is measured with an uncertainty computed for that entry, and the pattern of what does not
match says what the mistake probably is.
"""

from __future__ import annotations

from gradproof import kernels
from gradproof._config import config, show_config
from gradproof._core import version as _version
from gradproof.nn import reference

__version__ = _version()

__all__ = [
    "config",
    "kernels",
    "reference",
    "show_config",
]
