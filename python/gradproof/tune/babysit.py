"""Look after one model while it trains: try settings from the same checkpoint, go on with the best, or go back."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradproof import _files
from gradproof.check.progress import Progress
from gradproof.nn import validate
from gradproof.nn.model import Sequential
from gradproof.train.callbacks import Checkpoint
from gradproof.train.callbacks.monitored import LARGER_IS_BETTER
from gradproof.train.history import History
from gradproof.train.optimizers import Adam, Optimizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


Setting = dict[str, float]

_LOG, _FORMAT = "babysit.json", "gradproof-babysit"
_PENALTIES = ("l1", "l2")  # of the model; everything else is the optimizer's
_DISTANCES = ("beta", "beta1", "beta2")  # the distance from 1 is what factors apply to
_FIT = ("batch_size", "schedule", "seed", "sample_weight", "class_weight", "frozen", "shuffle", "augment")


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


def babysit(
    model: Sequential,
    X: Any,
    y: Any,
    *,
    validation_data: Any = None,
    optimizer: Optimizer | None = None,
    vary: Mapping[str, Sequence[float]] | None = None,
    rounds: int = 10,
    epochs: int = 2,
    patience: int = 3,
    monitor: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: bool | Callable[[int, int], object] | None = None,
    **fit: Any,
) -> Care:
    """Train one model in rounds; in each, several settings start from the same checkpoint and the best goes on.

    A round tries the present setting and those with one number changed. If none gives a better score than the
    checkpoint has, the model goes back to it, and the next round looks around the best of what was tried.

    Parameters
    ----------
    model : Sequential
        In place, when all is over; also its ``l1`` and ``l2``, if they vary.
    X, y : array_like
        The training data.
    validation_data : tuple (X, y), optional
        What the score is of. Without it, the training loss decides.
    optimizer : Optimizer, optional
        ``gp.Adam(1e-3)`` if not given. What it remembers goes through the checkpoints.
    vary : dict of str to sequence of float, optional
        Factors by name: fields of the optimizer, or ``"l1"``, ``"l2"`` of the model; of a beta they apply to 1 - beta.
        ``{"learning_rate": (1/3, 3)}`` if not given.
    rounds : int
        In all, those of an earlier call on the same folder included.
    epochs : int
        Per round.
    patience : int
        Rounds in a row without a better score after which it ends.
    monitor : str, optional
        Column of the history whose last value is the score: ``"val_loss"``, or ``"loss"`` without validation data, if
        not given. Larger is better for accuracy and R2.
    folder : path, optional
        Where checkpoints and log are, to go on from by calling again, also after a crash; made if it does not exist.
    progress : None, bool or callable
        As in fit; ``callable(done, total)`` is told the rounds.
    **fit
        Arguments of fit: batch_size, schedule, seed, sample_weight, class_weight, frozen, shuffle, augment. Every
        setting gets the same batches.

    Returns
    -------
    Care
        Also after Ctrl-C, with the model of the last whole round.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected; also if the folder is one of another run.
    OSError
        If the folder cannot be written.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model: got {type(model).__name__}, expected a gradproof.Sequential")
    optimizer = Adam() if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer: got {optimizer!r}, expected an optimizer such as gp.Adam(1e-3)")
    factors = _factors(model, optimizer, {"learning_rate": (1 / 3, 3.0)} if vary is None else vary)
    for name in fit:
        if name not in _FIT:
            raise TypeError(f"babysit() got an unexpected argument {name!r}; of fit it takes {', '.join(_FIT)}")
    if monitor is not None and not isinstance(monitor, str):
        raise TypeError(f"monitor: got {monitor!r}, expected the name of a column such as 'val_loss'")
    rounds, patience = validate.whole(rounds, "rounds", 0, 2**31), validate.whole(patience, "patience", 1, 2**31)
    options = {
        "epochs": validate.whole(epochs, "epochs", 1, 2**31),
        "monitor": monitor or ("loss" if validation_data is None else "val_loss"),
        "optimizer": type(optimizer).__name__,
        "vary": factors,
    }
    with _kept(folder) as place, Progress(progress, rounds, "Babysitting", every_call=True) as bar:
        sitter = _Sitter(model, (X, y), {"validation_data": validation_data, **fit}, optimizer, options, Path(place))
        if not sitter.resume() and rounds:
            sitter.look()
        bar.done = len(sitter.log)
        stopped = "finished"
        while len(sitter.log) < rounds:
            if sitter.waited >= patience:
                stopped = "patience"
                break
            if not sitter.round():
                stopped = "interrupted"
                break
            bar.describe(f"Babysitting  {options['monitor']} {sitter.score}")
            bar.advance()
        return sitter.end(stopped)


class _Sitter:
    """One call of babysit: the place that it is at, and what was tried from there."""

    def __init__(
        self,
        model: Sequential,
        data: tuple[Any, Any],
        fit: dict[str, Any],
        optimizer: Optimizer,
        options: dict[str, Any],
        folder: Path,
    ) -> None:
        self.model, self.data, self.fit, self.optimizer, self.folder = model, data, fit, optimizer, folder
        self.options, self.factors, self.monitor = options, options["vary"], options["monitor"]
        self.log: list[dict[str, Any]] = []
        self.setting = {name: float(getattr(_owner(model, optimizer, name), name)) for name in self.factors}
        self.score: float | None = None
        self.checkpoint: str | None = None  # in the folder; none before the first good round
        self.done = 0  # epochs in it
        self.tried: list[tuple[Setting, float | None]] = []  # from there
        self.waited = 0  # rounds in a row that were no better

    @property
    def _sign(self) -> int:
        return -1 if self.monitor.endswith(LARGER_IS_BETTER) else 1

    def look(self) -> None:
        """The score to beat: that of an epoch at rate 0."""
        standing = replace(self.optimizer, learning_rate=0.0)
        self.score = self._score(self._train(self.model.copy(), standing, 1, None))

    def round(self) -> bool:
        """Whether it was gone through; False if it was interrupted."""
        tried: list[tuple[Setting, float | None]] = []
        best: tuple[float, int] | None = None
        for index, setting in enumerate(self._proposals()):
            path = self.folder / f"candidate-{index}.safetensors"
            model = self.model.copy()
            _set_penalties(model, setting)
            history = self._train(model, self._optimizer(setting), self.done + self.options["epochs"], path)
            if history.stopped == "interrupted":
                return False
            score = self._score(history)
            tried.append((setting, score))
            if score is not None and (best is None or self._sign * score < best[0]):
                best = (self._sign * score, index)
        self.tried += tried
        entry: dict[str, Any] = {"round": len(self.log), "epoch": self.done, "epochs": self.options["epochs"]}
        entry["tried"] = [{"setting": setting, "score": score} for setting, score in tried]
        old = self.checkpoint
        if best is not None and best[0] < (inf if self.score is None else self._sign * self.score):
            self.checkpoint = f"round-{len(self.log)}.safetensors"
            os.replace(self.folder / f"candidate-{best[1]}.safetensors", self.folder / self.checkpoint)
            before = self.setting
            self.setting, self.score = tried[best[1]]
            self.done += self.options["epochs"]
            self.tried, self.waited = [], 0
            entry["decision"] = "kept" if self.setting == before else "changed"
        else:
            self.setting = self._most_promising()
            self.waited += 1
            entry["decision"] = "back"
        self.log.append(entry | {"setting": self.setting, "score": self.score})
        self._write()
        for path in self.folder.glob("candidate-*.safetensors"):
            path.unlink()
        if old is not None and old != self.checkpoint:
            (self.folder / old).unlink(missing_ok=True)
        return True

    def _proposals(self) -> list[Setting]:
        """What to try from here: the present setting and its neighbours, nearer ones when those were tried before."""
        known = [_rounded(setting) for setting, _ in self.tried]
        power = 1.0
        while True:
            found: list[Setting] = []
            for setting in [self.setting, *self._neighbours(power)]:
                if _rounded(setting) not in known:
                    known.append(_rounded(setting))
                    found.append(setting)
            if found:
                return found
            power /= 2

    def _neighbours(self, power: float) -> Iterator[Setting]:
        for name, factors in self.factors.items():
            for factor in factors:
                setting = self.setting | {name: _scaled(name, self.setting[name], factor**power)}
                try:
                    self._optimizer(setting)
                except ValueError:  # a beta below 0
                    continue
                yield setting

    def _most_promising(self) -> Setting:
        """Of what was tried from here."""
        scored = [(self._sign * score, index) for index, (_, score) in enumerate(self.tried) if score is not None]
        if scored:
            return self.tried[min(scored)[1]][0]
        return min((setting for setting, _ in self.tried), key=lambda setting: setting.get("learning_rate", 0.0))

    def _train(self, model: Sequential, optimizer: Optimizer, epochs: int, path: Path | None) -> History:
        """Train a model from the checkpoint, or from its own weights before there is one."""
        callbacks = [] if path is None else [Checkpoint(path, every=epochs + 1)]
        resume = None if self.checkpoint is None else self.folder / self.checkpoint
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "resume: ", UserWarning)  # that settings change is the point
            history = model.fit(
                *self.data,
                **self.fit,
                optimizer=optimizer,
                epochs=epochs,
                callbacks=callbacks,
                resume=resume,
                progress=False,
            )
        if self.monitor not in history and history.epochs:
            raise ValueError(f"monitor: got {self.monitor!r}, expected one of {', '.join(map(repr, history))}")
        return history

    def _score(self, history: History) -> float | None:
        """None if there is none."""
        if history.stopped == "diverged" or not history.epochs:
            return None
        score = float(history[self.monitor][-1])
        return score if isfinite(score) else None

    def _optimizer(self, setting: Setting) -> Optimizer:
        changes: dict[str, Any] = {name: value for name, value in setting.items() if name not in _PENALTIES}
        return replace(self.optimizer, **changes)

    def end(self, stopped: str) -> Care:
        """Give the model its weights."""
        _set_penalties(self.model, self.setting)
        history = self._train(self.model, self._optimizer(self.setting), self.done, None)
        return Care(history, self.log, self.setting, self.score, self.monitor, stopped)

    # ---------------------------------------------------------------- the folder

    def _write(self) -> None:
        state = {
            "format": _FORMAT,
            "options": self.options,
            "log": self.log,
            "setting": self.setting,
            "score": self.score,
            "checkpoint": self.checkpoint,
            "done": self.done,
            "tried": self.tried,
            "waited": self.waited,
        }
        _files.write(self.folder / _LOG, json.dumps(state).encode())

    def resume(self) -> bool:
        """Go on where the folder says that an earlier call was; whether there was one."""
        path = self.folder / _LOG
        if not path.exists():
            return False
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            if state["format"] != _FORMAT:
                raise ValueError(f"its format is {state['format']!r}")
            options = state["options"]
            self.log, self.setting, self.score = list(state["log"]), dict(state["setting"]), state["score"]
            self.checkpoint, self.done, self.waited = state["checkpoint"], int(state["done"]), int(state["waited"])
            self.tried = [(dict(setting), score) for setting, score in state["tried"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"folder: {os.fspath(path)!r} was not written by gp.tune.babysit: {error}") from error
        now = json.loads(json.dumps(self.options))
        for name, value in now.items():
            if options.get(name) != value:
                was = options.get(name)
                raise ValueError(f"{name}: got {value!r}, but {os.fspath(self.folder)!r} is of a run with {was!r}")
        return True


def _factors(model: Sequential, optimizer: Optimizer, vary: Any) -> dict[str, list[float]]:
    if not isinstance(vary, Mapping) or not vary:
        raise TypeError(f"vary: got {vary!r}, expected a dict such as {{'learning_rate': (1/3, 3)}}")
    checked = {}
    for name, factors in vary.items():
        owner = _owner(model, optimizer, name)
        value = getattr(owner, name, None)
        if not isinstance(value, float):
            given = (
                f"which is {value!r}" if hasattr(owner, str(name)) else f"which {type(owner).__name__} does not have"
            )
            raise ValueError(f"vary: got {name!r}, {given}, expected a number of the optimizer, 'l1' or 'l2'")
        if value == 0:
            raise ValueError(f"vary: got {name!r}, which is 0, and factors leave it there")
        if isinstance(factors, (str, bytes)) or not isinstance(factors, Sequence) or not factors:
            raise TypeError(f"vary[{name!r}]: got {factors!r}, expected a sequence of factors such as (1/3, 3)")
        checked[name] = [
            validate.real(factor, f"vary[{name!r}]", "factors > 0 other than 1", lambda number: 0 < number != 1)
            for factor in factors
        ]
    return checked


def _owner(model: Sequential, optimizer: Optimizer, name: Any) -> Any:
    return model if name in _PENALTIES else optimizer


def _set_penalties(model: Sequential, setting: Setting) -> None:
    for name in _PENALTIES:
        if name in setting:
            setattr(model, name, setting[name])


def _scaled(name: str, value: float, factor: float) -> float:
    return 1 - factor * (1 - value) if name in _DISTANCES else factor * value


def _rounded(setting: Setting) -> tuple[str, ...]:
    """To compare settings: a third of three times a rate is that rate."""
    return tuple(f"{value:.9g}" for value in setting.values())


@contextmanager
def _kept(folder: str | os.PathLike[str] | None) -> Iterator[str]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="gradproof-") as name:
            yield name
        return
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"folder: got {folder!r}, expected a str or path-like")
    os.makedirs(folder, exist_ok=True)
    yield os.fspath(folder)
