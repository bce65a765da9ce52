"""Plots of searches, with matplotlib."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

try:
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError("plots need matplotlib: pip install gradproof[plot]") from error

import numpy as np

from gradproof.tune.space import Choice, Parameter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gradproof.tune.babysit import Care
    from gradproof.tune.result import SearchResult

COLUMNS = 3
INK, ACCENT, FAINT = "#3a4350", "#1f9d78", "#c9d0d8"


def search_figure(result: SearchResult) -> tuple[Figure, dict[str, Any]]:
    """See :meth:`gradproof.tune.result.SearchResult.plot`."""
    complete = [trial for trial in result.trials if trial.state == "complete" and np.isfinite(trial.value)]
    data: dict[str, Any] = {
        "trial": [trial.number for trial in result.trials],
        "value": [trial.value for trial in result.trials],
        "best": result.best_so_far(),
        **{name: [trial.labels[name] for trial in result.trials] for name in result.space.parameters},
    }
    panels = 1 + len(result.space.parameters)
    columns = min(COLUMNS, panels)
    rows = ceil(panels / columns)
    figure = Figure(figsize=(3.6 * columns, 2.9 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    first = axes[0]
    first.plot([trial.number for trial in complete], [trial.value for trial in complete], "o", color=INK, markersize=3)
    first.step(data["trial"], data["best"], where="post", color=ACCENT)
    first.set(xlabel="trial", ylabel="score", title="best so far")
    for ax, (name, parameter) in zip(axes[1:], result.space.parameters.items(), strict=False):
        _against(ax, name, parameter, result)
    for ax in axes[panels:]:
        ax.remove()
    return figure, data


def _against(ax: Axes, name: str, parameter: Parameter, result: SearchResult) -> None:
    """Score against a parameter on its scale, later trials darker."""
    trials = [trial for trial in result.trials if trial.state == "complete" and np.isfinite(trial.value)]
    at = [trial.positions[name] for trial in trials]
    values, numbers = [trial.value for trial in trials], [trial.number for trial in trials]
    ax.scatter(at, values, c=numbers, cmap="Greys", vmin=-max([1, *numbers]) / 2, s=14)
    if result.best is not None:
        ax.plot(result.best.positions[name], result.best.value, "o", color=ACCENT, markersize=6)
    if isinstance(parameter, Choice):
        ax.set_xticks(range(len(parameter.labels)), [str(label) for label in parameter.labels])
    else:
        ax.set_xscale(parameter.axis())
    if parameter.key(name) != name:
        ax.invert_xaxis()  # so that the parameter itself grows to the right
    ax.set(xlabel=parameter.key(name))


def care_figure(care: Care) -> tuple[Figure, dict[str, Any]]:
    """See :meth:`gradproof.tune.babysit.Care.plot`."""
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
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    ax = figure.subplots()
    for epoch in data["changes"]:
        ax.axvline(epoch - 0.5, color=FAINT, linewidth=1)
    if data["tried"]:
        ax.plot(*zip(*data["tried"], strict=True), "o", color=FAINT, markersize=4, label="tried")
    ax.plot(data["epoch"], data["score"], color=ACCENT, label="taken")
    ax.set(xlabel="epoch", ylabel=care.monitor)
    ax.legend()
    return figure, data
