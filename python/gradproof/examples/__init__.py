"""Small programs to run and read: ``python -m gradproof.examples.<name>``."""

from __future__ import annotations
