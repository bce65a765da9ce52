"""What came of looking after a model: the rounds, as data, as a table and as a picture."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from gradproof import _files
from gradproof.train.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Numbers of the optimizer and of the model by name.
Setting: TypeAlias = dict[str, float]


@dataclass(frozen=True)
class Care:
    """A model that was looked after.

    Attributes
    ----------
    history : History
        Of the epochs that lead to the model as it is; its ``changes`` say where settings changed.
    log : list of dict
        Per round: ``round``, ``epoch`` (the first) and ``epochs`` (how many), ``tried`` (each ``setting`` with its
        ``score``), ``decision`` (``"kept"``, ``"changed"`` or ``"back"``), and the ``setting`` and ``score`` to go on
        from.
    setting : dict
        The last one.
    score : float or None
        Of the model as it is; None if it is no number.
    monitor : str
        The column of the history that is the score.
    stopped : str
        ``"finished"``, ``"patience"`` (round after round nothing was better) or ``"interrupted"``.
    """

    history: History
    log: list[dict[str, Any]]
    setting: Setting
    score: float | None
    monitor: str
    stopped: str

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The log as JSON; written to `path` if given."""
        text = json.dumps({"monitor": self.monitor, "stopped": self.stopped, "log": self.log}, indent=2) + "\n"
        if path is not None:
            _files.write(path, text.encode())
        return text

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """One line per setting tried, with round, epoch, score and decision; written to `path` if given."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["round", "epoch", *self.setting, "score", "decision"])
        for entry in self.log:
            for tried in entry["tried"]:
                taken = entry["decision"] != "back" and tried["setting"] == entry["setting"]
                decision = entry["decision"] if taken else ""
                writer.writerow([entry["round"], entry["epoch"], *tried["setting"].values(), tried["score"], decision])
        if path is not None:
            _files.write(path, text.getvalue().encode())
        return text.getvalue()

    def plot(self) -> tuple[Figure, dict[str, Any]]:
        """Draw the score of everything that was tried over the epochs, and the way that was taken.

        Returns
        -------
        figure : matplotlib.figure.Figure
            Not registered with pyplot.
        data : dict
            ``"epoch"`` and ``"score"`` of the way, ``"tried"`` as pairs of them, ``"changes"`` as epochs.
        """
        from gradproof.tune.plot import care_figure

        return care_figure(self)

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        from gradproof.check.render.text import new_table
        from gradproof.tune.result import shown, shown_value

        table = new_table("round", "epoch", *self.setting, "tried", self.monitor, last="decision")
        for entry in self.log:
            values = map(shown_value, entry["setting"].values())
            score = "" if entry["score"] is None else shown_value(entry["score"])
            cells = (entry["round"], entry["epoch"], *values, len(entry["tried"]), score, entry["decision"])
            table.add_row(*map(str, cells))
        score = "none" if self.score is None else f"{self.score:.6g}"
        head = f"{len(self.log)} rounds, {len(self.history)} epochs ({self.stopped}): {self.monitor} {score}"
        return Group(Text(f"{head} with {shown(self.setting)}."), Text(), table)

    def __str__(self) -> str:
        from gradproof.check.render.text import plain

        return plain(self.__rich__())
