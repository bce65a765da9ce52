"""What is known about gradients and their checkers from elsewhere, re-created from the facts."""

from __future__ import annotations

from . import field_contracts, field_networks, field_numerics, field_peers
from .fact import Fact
from .field_contracts import REFUSED

__all__ = ["FACTS", "LARGE", "NUMERICS", "REFUSED", "Fact"]

NUMERICS = field_numerics.FACTS
FACTS = [*field_contracts.FACTS, *NUMERICS, *field_networks.FACTS, *field_peers.FACTS]
LARGE = field_peers.LARGE
