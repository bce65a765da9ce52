"""Feed-forward networks with all parameters in one flat vector."""

from __future__ import annotations
