"""The kernels and the network again in plain NumPy: to read, and to test against."""

from __future__ import annotations
