"""A search as a self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gradproof.check import render
from gradproof.tune.result import shown_value

if TYPE_CHECKING:
    from gradproof.tune.result import SearchResult

_FOLDERS = [Path(__file__).parent / "templates", Path(render.__file__).parent / "templates"]


def search_page(result: SearchResult) -> str:
    """The page of :meth:`gradproof.tune.result.SearchResult.to_html`."""
    templates = Environment(
        loader=FileSystemLoader(_FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["shown"] = shown_value
    return templates.get_template("search.html").render(result=result, plot=_plot(result))


def _plot(result: SearchResult) -> Markup | None:
    """An inline picture; None if matplotlib is not installed."""
    try:
        from gradproof.check.render.plot import svg
    except ImportError:
        return None
    return Markup(svg(result.plot()[0], "search"))
