"""Plots of searches, with matplotlib."""

from __future__ import annotations

from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from gradproof.check.render.plot import INK, LINE, SCHEME_COLORS, new_figure
from gradproof.tune.parameters import Choice, Parameter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradproof.tune.care import Care
    from gradproof.tune.result import SearchResult, Trial

_COLUMNS = 3
_ACCENT = SCHEME_COLORS["difference"]


def search_figure(result: SearchResult) -> tuple[Figure, dict[str, Any]]:
    """See :meth:`gradproof.tune.result.SearchResult.plot`."""
    data: dict[str, Any] = {
        "trial": [trial.number for trial in result.trials],
        "value": [trial.value for trial in result.trials],
        "best": result.best_so_far(),
        **{name: [trial.labels[name] for trial in result.trials] for name in result.space.parameters},
    }
    scored = [trial for trial in result.trials if trial.state == "complete" and isfinite(trial.value)]
    panels = 1 + len(result.space.parameters)
    columns = min(_COLUMNS, panels)
    rows = ceil(panels / columns)
    figure = new_figure(3.6 * columns, 2.9 * rows)
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    axes[0].plot([trial.number for trial in scored], [trial.value for trial in scored], "o", color=INK, markersize=3)
    axes[0].step(data["trial"], data["best"], where="post", color=_ACCENT)
    _dress(axes[0], "trial", "score")
    for ax, (name, parameter) in zip(axes[1:], result.space.parameters.items(), strict=False):
        _against(ax, name, parameter, scored, result.best)
    for ax in axes[panels:]:
        ax.remove()
    return figure, data


def _against(ax: Axes, name: str, parameter: Parameter, trials: list[Trial], best: Trial | None) -> None:
    """Score against a parameter on its scale, later trials darker."""
    if best is not None:
        from matplotlib.colors import to_rgba

        shades = [to_rgba(INK, alpha) for alpha in np.linspace(0.3, 1.0, len(trials))]
        ax.scatter([trial.positions[name] for trial in trials], [trial.value for trial in trials], c=shades, s=14)
        ax.plot(best.positions[name], best.value, "o", color=_ACCENT, markersize=6)
    if isinstance(parameter, Choice):
        ax.set_xticks(range(len(parameter.labels)), [str(label) for label in parameter.labels])
    else:
        ax.set_xscale(parameter.axis())
    if parameter.key(name) != name:
        ax.invert_xaxis()  # so that the parameter itself grows to the right
    _dress(ax, parameter.key(name), "score")


def care_figure(care: Care) -> tuple[Figure, dict[str, Any]]:
    """See :meth:`gradproof.tune.care.Care.plot`."""
    data: dict[str, Any] = {
        "epoch": list(care.history.epochs),
        "score": list(care.history[care.monitor]) if care.history.epochs else [],
        "tried": [
            (entry["epoch"] + entry["epochs"] - 1, tried["score"])
            for entry in care.log
            for tried in entry["tried"]
            if tried["score"] is not None
        ],
        "changes": [entry["epoch"] for entry in care.log if entry["decision"] == "changed"],
    }
    figure = new_figure(6.4, 3.6)
    ax = figure.subplots()
    for epoch in data["changes"]:
        ax.axvline(epoch - 0.5, color=LINE, linewidth=1)
    if data["tried"]:
        ax.plot(*zip(*data["tried"], strict=True), "o", color=INK, alpha=0.4, markersize=4, label="tried")
    ax.plot(data["epoch"], data["score"], color=_ACCENT, label="taken")
    ax.legend(fontsize=8, frameon=False, labelcolor=INK)
    _dress(ax, "epochs", care.monitor)
    return figure, data


def _dress(ax: Axes, across: str, up: str) -> None:
    ax.set_xlabel(across, fontsize=9, color=INK)
    ax.set_ylabel(up, fontsize=9, color=INK)
    ax.grid(True, color=LINE, linewidth=0.5)
    ax.set_axisbelow(True)
    ax.tick_params(colors=INK, labelsize=8, which="both", length=0)
    for spine in ax.spines.values():
        spine.set_color(LINE)
