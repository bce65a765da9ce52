"""Who runs which trial, when several threads, processes or machines share one study.

Nobody leads. A trial of a study has a number that its storage hands out once, and counts unless it has failed. Whoever
begins one looks at those before it: if there are already as many as were asked for, or one that has the same
parameters, the new one is withdrawn. So there is never one too many, whatever the others do at the same time.

A trial that runs says so every few seconds. One that has fallen silent was killed: it is marked as failed, and its
parameters wait for the next process that is free.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from types import TracebackType
from typing import Any

from optuna import Study, Trial
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from gradproof.tune.space import Space

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
NOTE, WORKER = "note", "worker"  # attributes of trials
WITHDRAWN = "withdrawn"

_BEATS = 4  # signs of life in the time after which a trial counts as dead
_SHORTEST, _LONGEST = 0.01, 0.5  # seconds between two looks at the others


class Queue:
    """Hands out the trials of a study until there are enough.

    Parameters
    ----------
    study : Study
        With its sampler.
    space : Space
        What is searched.
    trials : int
        How many are to end, pruned ones among them.
    grace : float
        Seconds of silence after which a running trial counts as dead; inf if nobody else can see the study.
    deadline : float
        When to begin no more, on the clock of ``time.monotonic``.
    """

    def __init__(self, study: Study, space: Space, trials: int, grace: float, deadline: float) -> None:
        self.study, self.space, self.trials, self.grace, self.deadline = study, space, trials, grace, deadline
        self.stop = threading.Event()
        self.ended = 0
        self._heard: dict[int, tuple[Any, float]] = {}  # per running trial its last sign of life, and when it came

    def next(self) -> Trial | None:
        """A trial to run now; None if there are enough, the time is over or :attr:`stop` is set.

        It waits while others run the last ones, as one of them may die.
        """
        pause = _SHORTEST
        while not self.stop.is_set() and time.monotonic() < self.deadline:
            trials = self._trials()
            self.ended = sum(trial.state in ENDED for trial in trials)
            if self.ended >= self.trials:
                return None
            if self._give_back_silent(trials):
                continue
            if len(trials) < self.trials or any(trial.state == TrialState.WAITING for trial in trials):
                claimed = self._claim()
                if claimed is not None:
                    return claimed
            self.stop.wait(min(pause, max(0.0, self.deadline - time.monotonic())))
            pause = min(2 * pause, _LONGEST)
        return None

    def running(self, trial: Trial) -> Heartbeat:
        """To be entered while a trial runs."""
        return Heartbeat(trial, self.grace / _BEATS)

    def complete(self, trial: Trial, value: float) -> None:
        """A trial has its value."""
        self._tell(trial.number, TrialState.COMPLETE, value)

    def pruned(self, trial: Trial) -> None:
        """A trial was given up as worse than others."""
        self._tell(trial.number, TrialState.PRUNED)

    def failed(self, trial: Trial, note: str) -> None:
        """A trial ended with an error; it does not count."""
        trial.set_user_attr(NOTE, note)
        self._tell(trial.number, TrialState.FAIL)

    def give_back(self, trial: Trial | FrozenTrial) -> None:
        """A trial did not end: its parameters are for the next who is free."""
        if self._tell(trial.number, TrialState.FAIL) and self.space.complete(trial.params):
            waiting = create_trial(
                state=TrialState.WAITING, params=trial.params, distributions=self.space.distributions()
            )
            self.study.add_trial(waiting)

    def _trials(self) -> list[FrozenTrial]:
        """Those that count."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state != TrialState.FAIL]

    def _claim(self) -> Trial | None:
        trial = self.study.ask(self.space.distributions())
        others = [other for other in self._trials() if other.number != trial.number]
        earlier = sum(other.number < trial.number for other in others)
        if earlier < self.trials and all(other.params != trial.params for other in others):
            return trial
        # Two that are withdrawn because each has seen the other are no loss; two that stay would be.
        self.failed(trial, WITHDRAWN)
        return None

    def _give_back_silent(self, trials: list[FrozenTrial]) -> bool:
        """Whether there was one."""
        if self.grace == float("inf"):
            return False
        now = time.monotonic()
        silent = []
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                sign = trial.user_attrs.get(WORKER)
                before, since = self._heard.get(trial.number, (None, now))
                if sign != before:
                    since = now
                self._heard[trial.number] = (sign, since)
                if now - since > self.grace or _gone(sign):
                    silent.append(trial)
        for trial in silent:
            self.give_back(trial)
        return bool(silent)

    def _tell(self, number: int, state: TrialState, value: float | None = None) -> bool:
        """Whether the trial was still running: else somebody took it for dead, and what it gives does not count."""
        try:
            self.study.tell(number, value, state)
        except (UpdateFinishedTrialError, ValueError):
            if self.study.get_trials(deepcopy=False)[number].state == TrialState.RUNNING:
                raise
            return False
        return True


class Heartbeat:
    """Says every few seconds that a trial is running, and where."""

    def __init__(self, trial: Trial, interval: float) -> None:
        self._trial, self._interval = trial, interval
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._beats = 0

    def __enter__(self) -> Heartbeat:
        if self._interval < float("inf"):
            self._beat()
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._interval):
            try:
                self._beat()
            except Exception:  # the trial was taken for dead, or the storage cannot be reached just now
                continue

    def _beat(self) -> None:
        self._beats += 1
        sign = {"place": _place(), "process": os.getpid(), "beats": self._beats}
        try:
            self._trial.set_user_attr(WORKER, sign)
        except UpdateFinishedTrialError:
            self._over.set()


def _place() -> str:
    """Where process numbers mean the same: the machine, and on Linux the container."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def _gone(sign: Any) -> bool:
    """Whether a trial's process was on this machine and does not exist any more; False if that cannot be known."""
    if os.name != "posix" or not isinstance(sign, dict) or sign.get("place") != _place():
        return False
    try:
        os.kill(int(sign["process"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, KeyError, OverflowError):
        return False
    return False
