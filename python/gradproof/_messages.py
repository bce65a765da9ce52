"""Values as error messages show them."""

from __future__ import annotations

from typing import Any

_LONGEST = 200  # characters: what came is to be recognized, not to be read in full


def shown(value: Any) -> str:
    """The ``repr`` of whatever came, cut where it is long. One that fails must not hide the error that it is for.

    It fails for whole numbers of more than 4300 digits, and for objects that are broken or half made.
    """
    try:
        text = repr(value)
    except Exception:
        if isinstance(value, int):
            return f"a whole number of {value.bit_length()} bits"
        return f"an object of the class {type(value).__name__}, whose repr fails"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 4 :]}"
