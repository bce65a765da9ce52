"""The rounds in which one model is looked after, and the folder that keeps them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

from gradproof import _files
from gradproof._messages import shown
from gradproof.nn.model import Sequential
from gradproof.train.callbacks import Checkpoint
from gradproof.train.callbacks.monitored import LARGER_IS_BETTER
from gradproof.train.history import History
from gradproof.train.optimizers import Optimizer
from gradproof.tune.care import Care, Setting

_LOG, _FORMAT = "babysit.json", "gradproof-babysit"
_PENALTIES = ("l1", "l2")  # of the model; everything else is the optimizer's
_DISTANCES = ("beta", "beta1", "beta2")  # the distance from 1 is what factors apply to


class Sitter:
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
        self.setting = {name: float(getattr(owner_of(model, optimizer, name), name)) for name in self.factors}
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
            raise ValueError(f"monitor: got {shown(self.monitor)}, expected one of {', '.join(map(repr, history))}")
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
                raise ValueError(f"{name}: got {shown(value)}, but {os.fspath(self.folder)!r} is of a run with {was!r}")
        return True


def owner_of(model: Sequential, optimizer: Optimizer, name: Any) -> Any:
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
