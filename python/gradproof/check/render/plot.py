"""Plots with matplotlib: maps of where a gradient is wrong, and error against step."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gradproof.check.curves import median_curve
from gradproof.check.render.words import shape
from gradproof.check.tensor_report import Status, TensorReport

try:
    import matplotlib
except ImportError as error:
    raise ImportError("plots need matplotlib: pip install gradproof[plot]") from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradproof.check.curves import Curve
    from gradproof.check.report import GradientReport

Map = npt.NDArray[np.float64]

MAX_ROWS, MAX_COLUMNS = 64, 96
# log10(|a - n| / uncertainty) -> colour: calm up to 0 (agreement), then from amber to crimson.
STOPS = (
    (-3.0, "#cfe3e0"),
    (-1.5, "#86bdb5"),
    (-0.001, "#3d8f88"),
    (0.001, "#f2b04e"),
    (1.5, "#dd5a2b"),
    (3.0, "#97122f"),
)
KINK_COLOR = "#8d7bd6"
FLOOR = 1e-17  # exact agreement still has a place on a logarithmic axis
INK, LINE = "#3a4350", "#c9d0d8"
SCHEME_COLORS = {"forward": "#d9822b", "central": "#2f73c9", "difference": "#1f9d78"}
SCHEME_NAMES = {"forward": "forward difference", "central": "central difference", "difference": "propagated difference"}


def error_map(tensor: TensorReport) -> Map | None:
    """``log10(|a - n| / uncertainty)`` as at most 64 x 96 cells, each the maximum of a block; None in projected mode.

    Entries at an accepted kink count as agreeing exactly; NaN is not checked, -inf is exactly equal.
    """
    if tensor.excess is None or tensor.status is None or not tensor.size:
        return None
    with np.errstate(divide="ignore"):
        values = np.log10(np.where(tensor.status == Status.KINK, 0.0, tensor.excess))
    return block_maximum(values.reshape(matrix_shape(tensor)))


def matrix_shape(tensor: TensorReport) -> tuple[int, int]:
    """How a tensor is drawn: its first axis down, all others across; a vector is one row."""
    rows = tensor.shape[0] if len(tensor.shape) > 1 else 1
    return rows, tensor.size // rows


def block_maximum(values: Map, max_rows: int = MAX_ROWS, max_columns: int = MAX_COLUMNS) -> Map:
    """Reduce a matrix to at most the given size by the maximum over equal blocks, NaN not counting."""
    height, width = (math.ceil(n / limit) for n, limit in zip(values.shape, (max_rows, max_columns), strict=True))
    rows, columns = math.ceil(values.shape[0] / height), math.ceil(values.shape[1] / width)
    padded = np.full((rows * height, columns * width), np.nan)
    padded[: values.shape[0], : values.shape[1]] = values
    return np.asarray(np.fmax.reduce(np.fmax.reduce(padded.reshape(rows, height, columns, width), axis=3), axis=1))


def colors(values: Map) -> npt.NDArray[np.uint8]:
    """Colours (rows, columns, 4) of an `error_map`; not checked is transparent."""
    at = [stop for stop, _ in STOPS]
    channels = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for _, color in STOPS])
    clipped = np.clip(np.nan_to_num(values, nan=0.0), at[0], at[-1])
    image = np.stack([np.interp(clipped, at, channels[:, c]) for c in range(3)] + [255.0 * ~np.isnan(values)], axis=-1)
    return np.asarray(image.round(), dtype=np.uint8)


def png(values: Map) -> bytes:
    """An `error_map` as a PNG image, one pixel per cell."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, colors(values), format="png")
    return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """A figure that does not belong to pyplot, so that nothing has to be closed."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def report_figure(report: GradientReport) -> tuple[Figure, dict[str, Any]]:
    """The maps of all tensors in one figure, and the data drawn; see `GradientReport.plot`."""
    maps = {name: error_map(tensor) for name, tensor in report.tensors.items()}
    data = {name: values for name, values in maps.items() if values is not None}
    columns = min(3, max(1, len(data)))
    rows = math.ceil(len(data) / columns) or 1
    figure = new_figure(4.0 * columns, 2.6 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(data) :]:
        axis.set_axis_off()
    for axis, (name, values) in zip(axes, data.items(), strict=False):
        axis.imshow(colors(values), aspect="auto", interpolation="nearest")
        tensor = report.tensors[name]
        shown = name.encode(errors="replace").decode()  # a lone surrogate cannot be drawn
        axis.set_title(f"{shown}  {shape(tensor.shape)}  {tensor.verdict}", fontsize=9, color=INK, parse_math=False)
        axis.set_xticks([])
        axis.set_yticks([])
    if data:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LinearSegmentedColormap, Normalize

        low, high = STOPS[0][0], STOPS[-1][0]
        ramp = LinearSegmentedColormap.from_list("error", [((at - low) / (high - low), c) for at, c in STOPS])
        bar = figure.colorbar(ScalarMappable(Normalize(low, high), ramp), ax=axes.tolist(), shrink=0.8)
        bar.set_label("log10(|a−n| / uncertainty): above 0 is wrong", fontsize=8)
    return figure, data


def curve_figure(curves: Sequence[Curve], tensors: Iterable[str] | None = None) -> Figure:
    """Error against step, one panel per precision; bold is the median over the tensors, faint are the tensors."""
    shown = [curve for curve in curves if tensors is None or curve.tensor in set(tensors)]
    dtypes = sorted({curve.dtype for curve in shown})
    figure = new_figure(4.9 * max(1, len(dtypes)), 3.9)
    panels = figure.subplots(1, max(1, len(dtypes)), sharey=True, squeeze=False)[0]
    for panel, dtype in zip(panels, dtypes, strict=False):
        for scheme, color in SCHEME_COLORS.items():
            _scheme(panel, [c for c in shown if c.dtype == dtype and c.scheme == scheme], color, scheme)
        _dress(panel, dtype)
    panels[0].set_ylabel("median relative error", fontsize=9, color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, frameon=False, labelcolor=INK)
    return figure


def _scheme(panel: Axes, curves: list[Curve], color: str, scheme: str) -> None:
    if not curves:
        return
    if scheme != "difference":
        for curve in curves:
            panel.plot(curve.steps, np.maximum(curve.errors, FLOOR), color=color, linewidth=0.7, alpha=0.35)
    middle = median_curve(curves)
    style = "--" if scheme == "difference" else "-"
    errors = np.maximum(middle.errors, FLOOR)
    panel.plot(middle.steps, errors, style, color=color, linewidth=2.2, label=SCHEME_NAMES[scheme])
    step, error = middle.best
    if scheme != "difference" and not math.isnan(error):
        at = step, max(error, FLOOR)
        panel.plot(*at, "o", color=color, markersize=6)
        panel.annotate(
            f"{error:.0e} at {step:.0e}",
            at,
            xytext=(0, 17 if scheme == "forward" else -14),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=color,
        )


def _dress(panel: Axes, dtype: str) -> None:
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_ylim(FLOOR, 30)
    panel.set_title(dtype, fontsize=10, color=INK, fontweight="bold")
    panel.set_xlabel("step", fontsize=9, color=INK)
    panel.grid(True, color=LINE, linewidth=0.5)
    panel.tick_params(colors=INK, labelsize=8, which="both", length=0)
    for spine in panel.spines.values():
        spine.set_color(LINE)


def svg(figure: Figure, prefix: str) -> str:
    """A figure as inline SVG that takes its text colour and font from the page.

    Parameters
    ----------
    figure : Figure
        Drawn in the colours of this module.
    prefix : str
        Put before every id, so that several figures can stand in one page.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for before, after in (
        ('id="', f'id="{prefix}-'),
        ("url(#", f"url(#{prefix}-"),
        ('xlink:href="#', f'xlink:href="#{prefix}-'),
        (INK, "currentColor"),
        (LINE, "var(--line)"),
        ("'DejaVu Sans', 'Bitstream Vera Sans', 'Computer Modern Sans Serif', ", ""),
    ):
        text = text.replace(before, after)
    for scheme, color in SCHEME_COLORS.items():
        text = text.replace(color, f"var(--{scheme})")
    return text
