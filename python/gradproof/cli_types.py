"""What arguments of the command line may look like."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """A whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def counts(text: str) -> tuple[int, ...]:
    """Several of them, separated by commas."""
    return tuple(count(item) for item in text.split(","))


def positive(text: str) -> float:
    """A number greater than 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value
