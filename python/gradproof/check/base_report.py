"""What the reports of all checks have in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from gradproof._files import PathLike
from gradproof.check.render.files import write_text
from gradproof.check.tensor_report import Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType


class BaseReport(ABC):
    """A verdict that serves as truth value, and the content as text, JSON and a page."""

    @property
    @abstractmethod
    def verdict(self) -> Verdict:
        """The outcome in one word."""

    @abstractmethod
    def to_dict(self, include_arrays: bool = False) -> dict[str, Any]:
        """Everything as plain Python values that JSON can hold."""

    @abstractmethod
    def __rich__(self) -> RenderableType:
        """The text for a terminal."""

    @abstractmethod
    def _page(self) -> str:
        """The HTML page."""

    @property
    def ok(self) -> bool:
        """Whether the verdict is ``"pass"``."""
        return self.verdict is Verdict.PASS

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        from gradproof.check.render.text import plain

        return plain(self)

    def to_json(self, path: PathLike | None = None, *, include_arrays: bool = False) -> str:
        """`to_dict` as JSON text, also written to `path` if given (whole or not at all)."""
        text = json.dumps(self.to_dict(include_arrays), indent=2, allow_nan=False)
        if path is not None:
            write_text(path, text + "\n")
        return text

    def to_html(self, path: PathLike) -> None:
        """Write one self-contained page for people (whole or not at all).

        The curves in it need the extra `plot`; without it the page says so in their place.
        """
        write_text(path, self._page())
