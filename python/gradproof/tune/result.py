"""What a search found: data first, with a table, files and a plot of it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any

from gradproof import _files
from gradproof.check.render.files import jsonable
from gradproof.tune.space import Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 10  # trials in the text
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


@dataclass(frozen=True)
class Trial:
    """One combination of parameters and what came of it.

    Attributes
    ----------
    number : int
        Its place in the study.
    parameters : dict
        What the objective got.
    labels : dict
        The same as it stands in tables: of an option that is no plain value its label.
    value : float
        The score; of a pruned trial the last one reported; infinite (on the bad side) if it was no number; nan if
        there is none.
    state : str
        ``"complete"``, ``"pruned"`` or ``"failed"``.
    seconds : float
        How long it took.
    note : str
        Why it failed or diverged; empty if it did not.
    positions : dict
        Where the parameters lie on the axes of :meth:`SearchResult.plot`.
    """

    number: int
    parameters: dict[str, Any]
    labels: dict[str, Any]
    value: float
    state: str
    seconds: float
    note: str = ""
    positions: dict[str, float] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class SearchResult:
    """A search, as far as it has come.

    Attributes
    ----------
    trials : list of Trial
        Those that count, in the order in which they began: complete and pruned ones.
    failed : list of Trial
        Those that do not: ended by an error, or given back because their process was gone.
    direction : str
        ``"maximize"`` or ``"minimize"``.
    wanted : int
        How many trials were asked for, or there can be.
    stopped : str
        ``"finished"``, ``"exhausted"`` (every combination of the space has been tried), ``"timeout"`` or
        ``"interrupted"``.
    space : Space
        What was searched.
    study : optuna.Study
        For Optuna's own tools.
    """

    trials: list[Trial]
    failed: list[Trial]
    direction: str
    wanted: int
    stopped: str
    space: Space
    study: Any = field(repr=False)

    @classmethod
    def of(cls, study: Any, space: Space, wanted: int, stopped: str) -> SearchResult:
        """Read a study."""
        from gradproof.tune.queue import NOTE, WITHDRAWN

        trials: list[Trial] = []
        failed: list[Trial] = []
        for stored in study.get_trials(deepcopy=False):
            state = _STATES[stored.state.name]
            note = str(stored.user_attrs.get(NOTE, "given back" if state == "failed" else ""))
            if note == WITHDRAWN or state in ("running", "waiting"):
                continue
            known = space.complete(stored.params)
            positions = (
                {name: each.position(stored.params[space.keys[name]]) for name, each in space.parameters.items()}
                if known
                else {}
            )
            trial = Trial(
                stored.number,
                space.values(stored.params) if known else {},
                space.labels(stored.params) if known else {},
                nan if stored.value is None else float(stored.value),
                state,
                0.0 if stored.duration is None else stored.duration.total_seconds(),
                note,
                positions,
            )
            (failed if state == "failed" else trials).append(trial)
        return cls(trials, failed, study.direction.name.lower(), wanted, stopped, space, study)

    @property
    def ok(self) -> bool:
        """Whether all trials that were asked for have ended, and one of them has a score."""
        return self.stopped in ("finished", "exhausted") and self.best is not None

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best score, the first of several; None if no score is a number."""
        ranked = [trial for trial in self.ranked() if trial.state == "complete" and isfinite(trial.value)]
        return ranked[0] if ranked else None

    def ranked(self) -> list[Trial]:
        """Complete trials from best to worst, then pruned ones."""
        sign = self._sign

        def place(trial: Trial) -> tuple[bool, float, int]:
            return trial.state != "complete", inf if trial.value != trial.value else sign * trial.value, trial.number

        return sorted(self.trials, key=place)

    @property
    def _sign(self) -> int:
        return -1 if self.direction == "maximize" else 1

    def best_so_far(self) -> list[float]:
        """Per trial the best score of the complete ones up to it; nan before the first."""
        best, values = inf, []
        for trial in self.trials:
            if trial.state == "complete" and isfinite(trial.value):
                best = min(best, self._sign * trial.value)
            values.append(self._sign * best if best < inf else nan)
        return values

    # ---------------------------------------------------------------- files

    def table(self) -> list[dict[str, Any]]:
        """One dict per trial: number, state, value, seconds, note, and the parameters by name."""
        return [
            {
                "trial": trial.number,
                "state": trial.state,
                "value": trial.value,
                "seconds": trial.seconds,
                "note": trial.note,
                **trial.labels,
            }
            for trial in self.trials
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data that JSON can hold."""
        best = self.best
        data = {
            "direction": self.direction,
            "stopped": self.stopped,
            "wanted": self.wanted,
            "space": self.space.signature(),
            "best": None if best is None else {"trial": best.number, "value": best.value, "parameters": best.labels},
            "trials": self.table(),
            "failed": [{"trial": trial.number, "note": trial.note, **trial.labels} for trial in self.failed],
        }
        return dict(jsonable(data))

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """:meth:`to_dict` as JSON; written to `path` if given."""
        return _delivered(json.dumps(self.to_dict(), indent=2) + "\n", path)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """:meth:`table` as CSV; written to `path` if given."""
        text = io.StringIO()
        columns = ["trial", "state", "value", "seconds", "note", *self.space.parameters]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.table())
        return _delivered(text.getvalue(), path)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write a page with the best parameters, the plot and all trials."""
        from gradproof.tune.page import search_page

        _files.write(path, search_page(self).encode())

    # ---------------------------------------------------------------- for people

    def plot(self) -> tuple[Figure, dict[str, Any]]:
        """Draw the score of every trial, in their order and against each parameter on its scale.

        Returns
        -------
        figure : matplotlib.figure.Figure
            Not registered with pyplot; shows itself in a notebook, else use ``figure.savefig``.
        data : dict
            ``"trial"``, ``"value"``, ``"best"`` (so far), and a list per parameter.
        """
        from gradproof.tune.plot import search_figure

        return search_figure(self)

    def headline(self) -> str:
        """The outcome in a sentence or two."""
        pruned = sum(trial.state == "pruned" for trial in self.trials)
        notes = [f"{pruned} of them pruned"] if pruned else []
        notes += [f"{len(self.failed)} more failed"] if self.failed else []
        notes += {"exhausted": ["every combination tried"], "finished": []}.get(self.stopped, [self.stopped])
        extra = f" ({', '.join(notes)})" if notes else ""
        head = f"{len(self.trials)} of {self.wanted} trials{extra}."
        best = self.best
        if best is None:
            return f"{head} None has a score."
        return f"{head} Best: {best.value:.6g} in trial {best.number} with {shown(best.labels)}."

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        from gradproof.check.render.text import new_table

        table = new_table("trial", "value", "seconds", *self.space.parameters, last="")
        for trial in self.ranked()[:_SHOWN]:
            values = [shown_value(value) for value in trial.labels.values()]
            state = "" if trial.state == "complete" else trial.state
            table.add_row(
                str(trial.number), shown_value(trial.value), f"{trial.seconds:.2f}", *values, trial.note or state
            )
        more = len(self.trials) - _SHOWN
        below = [Text(f"and {more} more; .table() has them all")] if more > 0 else []
        return Group(Text(self.headline()), Text(), table, *below)

    def __str__(self) -> str:
        from gradproof.check.render.text import plain

        return plain(self.__rich__())


def shown(parameters: Mapping[str, Any]) -> str:
    """Parameters in a line."""
    return ", ".join(f"{name} = {shown_value(value)}" for name, value in parameters.items())


def shown_value(value: Any) -> str:
    """A number with four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _delivered(text: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        _files.write(path, text.encode())
    return text
