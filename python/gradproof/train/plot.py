"""Plots of a training run with matplotlib; every one gives back the numbers that it draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof._messages import shown
from gradproof.check.render.plot import INK, LINE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gradproof.train.history import History

Curve = NDArray[np.float64]
Data = dict[str, Any]

TRAINING, VALIDATION, FAINT, GOOD = "#2f73c9", "#d9822b", "#9db8d9", "#1f9d78"
# First to last layer; dark enough on white, light enough on black.
_LAYERS = ("#7b4fc9", "#4a6fe0", "#2590c4", "#1f9d78", "#7aa52b", "#c99a1d", "#dd6b2b", "#cf3f5e")
_MOST_BATCHES = 2000  # losses of batches that are drawn
_LEAST_SPAN = 0.1  # of an axis of scores
_LARGEST = 1e30  # in absolute value, of what is drawn


def plot_history(history: History, panels: Sequence[str] | None = None) -> tuple[Figure, Data]:
    """Draw a run over its epochs.

    Parameters
    ----------
    history : History
        Of ``model.fit``.
    panels : sequence of str, optional
        Any of :data:`PANELS`; those that there are numbers for, if not given.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Not registered with pyplot; shows itself in a notebook, else use ``figure.savefig``.
    data : dict
        Panel to what is drawn: the name of a curve to its values per epoch (``"epoch"``), or per layer.

    Raises
    ------
    ValueError
        For a panel that does not exist.
    ImportError
        Without matplotlib: ``pip install gradproof[plot]``.
    """
    chosen = available(history) if panels is None else [panels] if isinstance(panels, str) else list(panels)
    for name in chosen:
        if name not in PANELS:
            raise ValueError(f"panels: got {shown(name)}, expected any of {', '.join(map(repr, PANELS))}")
    columns = min(2, max(1, len(chosen)))
    rows = -(-len(chosen) // columns) or 1
    figure = new_figure(5.4 * columns, 3.3 * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(chosen) :]:
        axis.set_axis_off()
    return figure, {name: _draw(axis, name, history) for axis, name in zip(axes, chosen, strict=False)}


def panel_figure(history: History, name: str) -> tuple[Figure, Data]:
    """One panel as a figure of its own."""
    figure = new_figure(5.4, 3.2)
    return figure, _draw(figure.subplots(), name, history)


def available(history: History) -> list[str]:
    """The panels that there are numbers for."""
    if not len(history):
        return ["loss"] if history.batches else []
    return [name for name, (_, needed, _) in PANELS.items() if any(column in history for column in needed)]


def _draw(axis: Axes, name: str, history: History) -> Data:
    title, _, draw = PANELS[name]
    axis.set_title(title, fontsize=10.5, color=INK, fontweight="bold", loc="left")
    axis.grid(True, color=LINE, linewidth=0.5)
    axis.set_axisbelow(True)
    axis.tick_params(colors=INK, labelsize=8, which="both", length=0)
    for side, spine in axis.spines.items():
        spine.set_color(LINE)
        spine.set_visible(side in ("left", "bottom"))
    data = draw(axis, history)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, frameon=False, labelcolor=INK, ncols=2 if len(axis.lines) > 5 else 1)
    return data


# ---------------------------------------------------------------- panels


def _loss(axis: Axes, history: History, log: bool = False) -> Data:
    epochs = _epochs(history)
    data: Data = {"epoch": epochs}
    batches = np.array(history.batches)
    if len(batches) > len(epochs):
        step = -(-len(batches) // _MOST_BATCHES)
        at = np.arange(len(batches))[::step] * (max(len(epochs), 1) / len(batches)) + (epochs[0] if len(epochs) else 0)
        data |= {"batches": batches[::step], "batches_at": at}
        axis.plot(at, _drawn(batches[::step]), color=FAINT, linewidth=0.6, alpha=0.6, label="batches")
    data["loss"] = _curve(history, "data_loss")
    if len(epochs):  # an epoch's loss is the mean over its batches: it belongs to the middle of the epoch
        axis.plot(epochs + 0.5, _drawn(data["loss"]), color=TRAINING, linewidth=2, label="training")
    if "val_loss" in history and len(epochs):
        data["val_loss"] = _curve(history, "val_loss")
        axis.plot(epochs + 1, _drawn(data["val_loss"]), color=VALIDATION, linewidth=2, label="validation")
    if (log and np.any(_drawn(data["loss"]) > 0)) or (not len(epochs) and np.any(_drawn(batches) > 0)):
        axis.set_yscale("log")
    elif np.isfinite(data["loss"]).any():
        _focus(axis, [data[column] for column in ("loss", "val_loss") if column in data])
    _over_epochs(axis, "loss")
    return data


def _log_loss(axis: Axes, history: History) -> Data:
    return _loss(axis, history, log=True)


def _score(axis: Axes, history: History) -> Data:
    name = "r2" if "r2" in history else "accuracy"
    data: Data = {"epoch": _epochs(history), name: _curve(history, name)}
    at = data["epoch"] + 1
    training = _drawn(data[name])
    axis.plot(at, training, color=TRAINING, linewidth=2, label="training")
    if "val_" + name in history:
        data["val_" + name] = _curve(history, "val_" + name)
        validation = _drawn(data["val_" + name])
        axis.plot(at, validation, color=VALIDATION, linewidth=2, label="validation")
        axis.fill_between(at, validation, training, color=VALIDATION, alpha=0.13, linewidth=0)
        data["gap"] = training - validation
        if len(at) and np.isfinite(data["gap"][-1]):
            middle = (training[-1] + validation[-1]) / 2
            axis.annotate(
                f"gap {data['gap'][-1]:.3g}",
                (at[-1], middle),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=8,
                color=INK,
                va="center",
                annotation_clip=False,
            )
    if name == "r2":
        _focus(axis, [data[column] for column in (name, "val_r2") if column in data], from_below=True)
    low, high = axis.get_ylim()
    if high - low < _LEAST_SPAN:  # noise is not drawn as if it were news
        axis.set_ylim((low + high - _LEAST_SPAN) / 2, (low + high + _LEAST_SPAN) / 2)
    _over_epochs(axis, "R²" if name == "r2" else "accuracy")
    return data


def _update_ratio(axis: Axes, history: History) -> Data:
    axis.axhspan(3e-4, 3e-3, color=GOOD, alpha=0.12, linewidth=0)
    axis.axhline(1e-3, color=GOOD, linewidth=1, linestyle="--")
    axis.annotate("1e-3", (1, 1e-3), xycoords=("axes fraction", "data"), fontsize=8, color=GOOD, va="center")
    data = _by_tensor(axis, history, "update_ratio")
    _over_epochs(axis, "‖update‖ / ‖weights‖ per step")
    return data


def _gradient(axis: Axes, history: History) -> Data:
    data = _by_tensor(axis, history, "gradient_norm")
    _over_epochs(axis, "‖gradient‖")
    return data


def _activations(axis: Axes, history: History) -> Data:
    """Mean and one standard deviation to both sides per layer, in the first and in the last epoch."""
    means, stds = history["activation_mean"], history["activation_std"]
    names = list(means)
    data: Data = {"layers": names}
    places = np.arange(len(names), dtype=np.float64)
    for label, color, index, shift in (("first epoch", FAINT, 0, -0.16), ("last epoch", TRAINING, -1, 0.16)):
        mean, std = (np.array([_seen(column[name])[index] for name in names]) for column in (means, stds))
        data[label] = {"mean": mean, "std": std}
        axis.errorbar(
            places + shift,
            _drawn(mean),
            yerr=_drawn(std),
            fmt="o",
            color=color,
            markersize=4,
            elinewidth=5,
            alpha=0.85,
            label=label,
        )
    axis.set_xticks(
        places, names, fontsize=8, rotation=30 if len(names) > 5 else 0, ha="right" if len(names) > 5 else "center"
    )
    axis.grid(False, axis="x")
    axis.margins(y=0.28)
    axis.set_ylabel("activation, mean ± deviation", fontsize=8.5, color=INK)
    return data


def _inactive(axis: Axes, history: History) -> Data:
    """Per layer over the epochs: units that are dead, as a share, and activations that are saturated."""
    data: Data = {"epoch": _epochs(history)}
    units = {
        name: n_out for name, _, _, n_out in history.settings.get("facts", {}).get("network", {}).get("layers", ())
    }
    curves: dict[str, Curve] = {}
    for name, values in (history["dead_units"] if "dead_units" in history else {}).items():
        if name in units:
            curves[f"{name} dead"] = np.array(values, dtype=np.float64) / units[name]
    for name, values in (history["saturated_share"] if "saturated_share" in history else {}).items():
        curves[f"{name} saturated"] = np.array(values, dtype=np.float64)
    for (name, curve), color in zip(curves.items(), _colors(len(curves)), strict=True):
        known = np.isfinite(curve)
        axis.plot(data["epoch"][known] + 1, curve[known], color=color, linewidth=1.6, label=name)
    axis.set_ylim(-0.03, 1.03)
    _over_epochs(axis, "share of the layer")
    return data | curves


def _learning_rate(axis: Axes, history: History) -> Data:
    data: Data = {"epoch": _epochs(history), "learning_rate": _curve(history, "learning_rate")}
    rates = data["learning_rate"]
    axis.step(data["epoch"], rates, where="post", color=TRAINING, linewidth=2)
    if len(rates) and rates.min() > 0:
        axis.set_yscale("log")
        if rates.max() < 3 * rates.min():
            axis.set_ylim(rates.min() / 3, rates.max() * 3)
    _over_epochs(axis, "learning rate")
    return data


PANELS: dict[str, tuple[str, tuple[str, ...], Callable[[Axes, History], Data]]] = {
    "loss": ("Loss", ("data_loss",), _loss),
    "log_loss": ("Loss, logarithmic", ("data_loss",), _log_loss),
    "score": ("Training against validation", ("accuracy", "r2"), _score),
    "learning_rate": ("Learning rate", ("learning_rate",), _learning_rate),
    "update_ratio": ("Size of the updates", ("update_ratio",), _update_ratio),
    "gradient": ("Gradient by layer", ("gradient_norm",), _gradient),
    "activations": ("Activations by layer", ("activation_mean",), _activations),
    "inactive": ("Units that do nothing", ("dead_units", "saturated_share"), _inactive),
}
"""Panel to its title, the columns of which it needs one, and what draws it."""


# ---------------------------------------------------------------- what they share


def _by_tensor(axis: Axes, history: History, statistic: str) -> Data:
    """A curve per weight tensor on a logarithmic axis, in the colours of the layers."""
    column = {name: values for name, values in history[statistic].items() if name.endswith(".W")}
    data: Data = {"epoch": _epochs(history)}
    for (name, values), color in zip(column.items(), _colors(len(column)), strict=True):
        curve = data[name] = np.array(values, dtype=np.float64)
        known = _drawn(curve) > 0
        if known.any():
            axis.plot(data["epoch"][known] + 1, curve[known], color=color, linewidth=1.6, label=name)
    if axis.get_legend_handles_labels()[0]:
        axis.set_yscale("log")
    else:
        axis.annotate("all 0", (0.5, 0.5), xycoords="axes fraction", fontsize=9, color=INK, ha="center")
    return data


def _over_epochs(axis: Axes, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_xlabel("epochs", fontsize=8.5, color=INK)
    axis.set_ylabel(label, fontsize=8.5, color=INK)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def _focus(axis: Axes, curves: Sequence[Curve], from_below: bool = False) -> None:
    """Limits that show the curves and not a single outlier: a first epoch may be a thousand times what follows."""
    values = np.concatenate([curve[np.isfinite(_drawn(curve))] for curve in curves])
    if not len(values):
        return
    if from_below:
        low, high = max(float(values.min()), min(float(np.percentile(values, 5)), 0.0) - 0.1), float(values.max())
    else:
        low, high = float(min(values.min(), 0.0)), float(min(values.max(), 4 * np.percentile(values, 90) + 1e-12))
    margin = 0.05 * (high - low) or 0.05 * max(1.0, abs(high))
    axis.set_ylim(low - margin, high + margin)


def _colors(count: int) -> list[str]:
    return [_LAYERS[i % len(_LAYERS)] for i in range(count)] if count <= len(_LAYERS) else _spaced(count)


def _spaced(count: int) -> list[str]:
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    ramp = LinearSegmentedColormap.from_list("layers", list(_LAYERS))
    return [to_hex(ramp(i / (count - 1))) for i in range(count)]


def _epochs(history: History) -> Curve:
    return np.array(history.epochs, dtype=np.float64)


def _curve(history: History, name: str) -> Curve:
    return np.array(history[name] if name in history else [], dtype=np.float64)


def _drawn(values: Curve) -> Curve:
    """What is drawn of some values: a run that diverges reaches numbers for which matplotlib has no axis."""
    return np.where(np.abs(values) <= _LARGEST, values, np.nan)


def _seen(values: Sequence[float]) -> Curve:
    """The values of the epochs that were looked at; nan if there are none."""
    array = np.array(values, dtype=np.float64)
    return array[np.isfinite(array)] if np.isfinite(array).any() else np.array([np.nan])
