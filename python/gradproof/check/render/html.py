"""Reports as self-contained pages and as fragments for notebooks, from the Jinja2 templates beside this file."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gradproof.check.errors import CS231N_BANDS, NG_BANDS
from gradproof.check.render import words

if TYPE_CHECKING:
    from gradproof.check.curves import Curve
    from gradproof.check.precision import PrecisionReport
    from gradproof.check.report import GradientReport

SCALE = (-16.0, 0.0)  # decades that the scales of the two courses show


@dataclass(frozen=True)
class HeatMap:
    """The picture of one tensor's errors: cells as a PNG, and the size at which to show it."""

    name: str
    shape: str
    verdict: str
    picture: str  # base64
    width: int
    height: int
    block: str


def report_page(report: GradientReport) -> str:
    """The page of one check."""
    return _templates().get_template("report.html").render(report=report, plots=_plots(report.curves))


def report_fragment(report: GradientReport) -> str:
    """The verdict, the findings and the table of tensors, for a notebook."""
    return _templates().get_template("fragment.html").render(report=report)


def precision_page(report: PrecisionReport) -> str:
    """The page of a comparison of precisions."""
    return _templates().get_template("precision.html").render(report=report, plots=_plots(report.curves))


def precision_fragment(report: PrecisionReport) -> str:
    """The comparison's verdicts and table, for a notebook."""
    return _templates().get_template("precision_fragment.html").render(report=report)


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        number=_number,
        count=words.count,
        shape=words.shape,
        index=words.index,
        duration=words.duration,
    )
    templates.globals.update(
        words=words,
        heat_maps=heat_maps,
        position=_position,
        courses=(
            ("Ng's course", "the whole gradient: ‖a−n‖ / (‖a‖+‖n‖)", "relative_error", _segments(NG_BANDS)),
            ("CS231n", "entry by entry: |a−n| / max(|a|,|n|)", "max_relative_error", _segments(CS231N_BANDS)),
        ),
    )
    return templates


def _plots(curves: Sequence[Curve]) -> dict[str, str | None] | None:
    """Inline pictures by what they show; None if matplotlib is not installed."""
    try:
        from gradproof.check.render import plot
    except ImportError:
        return None
    return {"curves": Markup(plot.svg(plot.curve_figure(curves), "curves")) if curves else None}


def heat_maps(report: GradientReport) -> list[HeatMap]:
    """Pictures of the errors of all tensors that have arrays (needs matplotlib)."""
    from gradproof.check.render import plot

    pictures = []
    for name, tensor in report.tensors.items():
        values = plot.error_map(tensor)
        if values is None:
            continue
        rows, columns = values.shape
        cell = max(3, min(14, 384 // columns, 288 // rows))
        block = [math.ceil(n / shown) for n, shown in zip(plot.matrix_shape(tensor), values.shape, strict=True)]
        pictures.append(
            HeatMap(
                name=name,
                shape=words.shape(tensor.shape),
                verdict=tensor.verdict.value,
                picture=base64.b64encode(plot.png(values)).decode(),
                width=columns * cell,
                height=rows * cell,
                block="" if block == [1, 1] else f"worst of {block[0]}×{block[1]} per cell",
            )
        )
    return pictures


def _number(value: float) -> Markup:
    """A float as ``3.1 × 10^-7`` set properly."""
    text = words.number(value)
    if "e" not in text:
        return Markup("&infin;") if text == "inf" else Markup(text)
    mantissa, exponent = text.split("e")
    sign = "−" if exponent.startswith("-") else ""
    return Markup(f"{mantissa}&thinsp;·&thinsp;10<sup>{sign}{exponent.lstrip('+-0') or 0}</sup>")


def _position(value: float) -> float:
    """Place of an error on a scale of `SCALE` decades, in percent."""
    low, high = SCALE
    decade = math.log10(value) if value > 0 else low
    return 100.0 * (min(max(decade, low), high) - low) / (high - low)


def _segments(bands: Sequence[tuple[float, str]]) -> list[dict[str, Any]]:
    """Bands of a course as pieces of a scale: upper edge, width in percent, words."""
    pieces, left = [], 0.0
    for edge, text in bands:
        right = _position(min(edge, 1.0))
        power = Markup(f"up to 10<sup>−{-round(math.log10(edge))}</sup>") if edge < 1 else "above"
        pieces.append({"upto": power, "width": right - left, "words": text})
        left = right
    return pieces
