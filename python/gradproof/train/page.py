"""A training run as one self-contained HTML page: what is wrong, how it went, and with what."""

from __future__ import annotations

import os
from functools import cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradproof.check import render
from gradproof.check.render.files import write_text
from gradproof.train.doctor.case import Case
from gradproof.train.doctor.symptom import Symptom

if TYPE_CHECKING:
    from jinja2 import Environment

    from gradproof.train.history import History

_CAPTIONS = {
    "loss": "Mean loss of each epoch; faint, that of single batches. It should fall fast at first and then level off: "
    "nearly straight is a rate that is too low, jumping a rate that is too high.",
    "log_loss": "The same on a logarithmic axis, where the end of the run can be read.",
    "score": "The gap between the two is what does not carry over to new rows. A wide one is overfitting; none, with "
    "both low, is a network that is too small or not trained enough.",
    "learning_rate": "As the schedule set it.",
    "update_ratio": "How far one step moves the weights, relative to their size. About 1e-3 (the green band) is usual; "
    "far below it nothing happens, far above it what was learned is overwritten.",
    "gradient": "The layers should stay within a few powers of ten of each other. First layers far below the last "
    "ones: the gradient vanishes on its way back.",
    "activations": "Every layer should vary about as much as the one before it: no collapse to a point, no growth.",
    "inactive": "Dead: ReLU units that are 0 for all rows of the batch. Saturated: tanh or sigmoid in the flat ends.",
}


def to_html(history: History, path: str | os.PathLike[str]) -> None:
    """Write the page of a run, whole or not at all."""
    write_text(path, page(history))


def page(history: History) -> str:
    """The page of a run as text."""
    symptoms = history.diagnose()
    return (
        _templates().get_template("history.html").render(**_verdict(history, symptoms), **_content(history, symptoms))
    )


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folders = [Path(__file__).parent / "templates", Path(render.__file__).parent / "templates"]
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _verdict(history: History, symptoms: list[Symptom]) -> dict[str, Any]:
    ended = {
        "finished": "all epochs were run",
        "early stopping": "it stopped early",
        "interrupted": "it was interrupted",
        "diverged": "it diverged",
    }.get(history.stopped or "", history.stopped or "it is going on")
    if not symptoms:
        known = Case(history).known
        return {
            "tone": "pass" if known else "inconclusive",
            "tag": "healthy" if known else "not examined",
            "headline": "Nothing wrong was found" if known else "Trained without a monitor",
            "sentence": f"{len(history)} epochs, {ended}. {history.message}".strip()
            if known
            else "The run was not looked into (monitor=False); the curves are all there is.",
        }
    others = f" {len(symptoms) - 1} more below." if len(symptoms) > 1 else ""
    if history.stopped == "diverged":
        others = f" The run {history.message}.{others}"
    return {
        "tone": "fail",
        "tag": "1 symptom" if len(symptoms) == 1 else f"{len(symptoms)} symptoms",
        "headline": title(symptoms[0]),
        "sentence": f"{symptoms[0].message}{others}",
    }


def _content(history: History, symptoms: list[Symptom]) -> dict[str, Any]:
    case = Case(history)
    return {
        "symptoms": [
            {
                "title": title(symptom),
                "tag": symptom.tag,
                "layer": symptom.layer,
                "message": symptom.message,
                "advice": symptom.advice,
                "evidence": [(name.replace("_", " "), _number(value)) for name, value in symptom.evidence.items()],
            }
            for symptom in symptoms
        ],
        "tiles": _tiles(history),
        "panels": _panels(history),
        "layers": _layers(case) if case.known else [],
        "rows": case.end["rows"] if case.known else 0,
        "changes": history.changes,
        "settings": _settings(history, case),
    }


def title(symptom: Symptom) -> str:
    """The tag as people write it."""
    words = symptom.tag.replace("_", " ").replace("relu", "ReLU units").replace("init", "initialization")
    words = words.replace("bad initializationial", "bad initial")
    return words[0].upper() + words[1:]


def _tiles(history: History) -> list[dict[str, str]]:
    last = {name: history[name][-1] for name in history if len(history) and isinstance(history[name], list)}
    score = "r2" if "r2" in last else "accuracy"
    best = history.best

    def both(name: str, validation: str) -> tuple[str, str]:
        missing = "no validation data" if last else ""
        words = f"validation {_number(last[validation])}" if validation in last else missing
        return _number(last.get(name, float("nan"))), words

    loss, loss_words = both("data_loss", "val_loss")
    right, right_words = both(score, "val_" + score)
    return [
        {"label": "epochs", "value": str(len(history)), "words": history.stopped or "going on"},
        {"label": "loss, training", "value": loss, "words": loss_words},
        {"label": "R², training" if score == "r2" else "accuracy, training", "value": right, "words": right_words},
        {
            "label": "best epoch",
            "value": "–" if best is None else str(best.epoch),
            "words": "" if best is None else f"{best.monitor} {_number(best.value)}",
        },
    ]


def _panels(history: History) -> list[dict[str, Any]] | None:
    """Inline pictures with what to read from them; None if matplotlib is not installed."""
    try:
        from gradproof.check.render import plot as drawing
        from gradproof.train import plot
    except ImportError:
        return None
    from markupsafe import Markup

    return [
        {"picture": Markup(drawing.svg(plot.panel_figure(history, name)[0], name)), "caption": _CAPTIONS[name]}
        for name in plot.available(history)
    ]


def _layers(case: Case) -> list[dict[str, Any]]:
    rows = []
    for name, kind, _, units in case.network["layers"]:
        start, end = case.start["layers"].get(name), case.end["layers"].get(name)
        if start is None or end is None or kind in ("Dropout", "Softmax"):
            continue
        rows.append(
            {
                "name": name,
                "units": units,
                "start": _spread(start),
                "end": _spread(end),
                "zeros": end["zero_share"] if kind == "ReLU" else None,
                "dead": end["dead_share"] if kind == "ReLU" else None,
                "saturated": end["saturated_share"] if kind in ("Tanh", "Sigmoid") else None,
            }
        )
    return rows


def _spread(layer: Any) -> str:
    return f"{_number(layer['activation_mean'])} ± {_number(layer['activation_std'])}"


def _settings(history: History, case: Case) -> list[tuple[str, str]]:
    left_out = ("facts", "final", "data")
    shown = [(name.replace("_", " "), value) for name, value in history.settings.items() if name not in left_out]
    rows = [(name, " → ".join(map(str, value)) if name == "layers" else str(value)) for name, value in shown]
    if case.known:
        inputs, base = case.inputs, case.final.get("baseline", {})
        rows += [
            ("parameters", f"{case.network['parameters']:,}"),
            ("features", f"{inputs['features']}, of which {inputs['constant']} do not vary"),
            (
                "size of the inputs",
                f"{_number(inputs['rms'])} (root mean square), largest {_number(inputs['largest'])}",
            ),
            ("score of the best constant answer", _number(case.chance)),
        ]
        if base.get("score") is not None:
            rows.append(
                ("score of a simple method", f"{_number(base['score'])} ({base['method']}, a few hundred rows)")
            )
    return rows


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if isfinite(value) else "–" if value != value else "∞"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
