"""Search for hyper-parameters: many models, on Optuna's studies."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from math import inf, isnan
from typing import Any

from gradproof._messages import shown
from gradproof.check import workers
from gradproof.check.progress import Progress
from gradproof.nn import validate
from gradproof.tune import methods
from gradproof.tune import storage as storages
from gradproof.tune.objective import Function, Pruned, Report, Training, direction_of
from gradproof.tune.parameters import Parameter
from gradproof.tune.result import SearchResult, Trial
from gradproof.tune.space import Space

_SIGNATURE = "gradproof"  # attribute of the study


def search(
    objective: Callable[..., Any],
    X: Any = None,
    y: Any = None,
    *,
    space: Mapping[str, Parameter] | Space,
    trials: int = 40,
    method: Any = "coarse_to_fine",
    direction: str | None = None,
    validation: Any = 0.2,
    epochs: int = 20,
    monitor: str | None = None,
    seed: int = 0,
    storage: Any = None,
    study_name: str = "search",
    pruning: Any = None,
    n_jobs: int = 1,
    backend: str | None = None,
    timeout: float | None = None,
    grace: float = 60.0,
    catch: type[Exception] | tuple[type[Exception], ...] = (),
    progress: bool | Callable[[int, int], object] | None = None,
    callbacks: Sequence[Callable[[Trial], object]] = (),
) -> SearchResult:
    """Try combinations of hyper-parameters and say which is best; on a storage, go on where others are or have been.

    Several calls with the same `storage` and `study_name`, in processes on any number of machines, do the work
    together: in the end there are exactly `trials` trials, each with parameters of its own. When a process is killed,
    another repeats what it was at. Calling again after an interruption goes on; with more `trials`, it adds some.

    Parameters
    ----------
    objective : callable
        Without data, a function ``objective(parameters) -> score``; with an argument of that name it also gets
        ``report``, and ``report(epoch, value)`` allows to prune it. With data, ``build(parameters)`` gives a new
        ``gp.Sequential``, or one and a dict of arguments of ``fit``. `parameters` is a dict. It is not checked that
        objective and data are the same in every call.
    X, y : array_like, optional
        The data to train on.
    space : dict of str to Parameter
        ``{"learning_rate": gp.tune.log(1e-4, 1e-1), ...}``.
    trials : int
        How many there are to be, those of earlier calls and other processes included. Pruned ones count, failed ones
        do not. 0: only read the study.
    method : str, CoarseToFine or optuna sampler
        ``"coarse_to_fine"``: half of the trials at random, the others in the box around the best few so far;
        ``"random"``; ``"tpe"``: Optuna's tree-structured Parzen estimator. What is drawn is a function of the seed,
        the number of the trial and the trials that have ended when it begins.
    direction : {"maximize", "minimize"}, optional
        ``"maximize"`` if not given, or what suits `monitor`.
    validation : float or tuple (X, y)
        Share of the rows that is kept to score on, or data for it. Never the test set.
    epochs : int
        For fit, if `build` gives no other.
    monitor : str, optional
        A column of the history, such as ``"val_loss"``: its last value is the score. Accuracy or R2 of the weights as
        fit leaves them, if not given.
    seed : int
        Of what is drawn, of the division into training and validation data, and for fit.
    storage : path, URL or optuna storage, optional
        A journal file, ``"sqlite:///search.db"`` or the like; in memory if not given.
    study_name : str
        Which study of the storage.
    pruning : {None, "median", "halving"} or optuna pruner
        Give up trials early that are worse than the median of the others at the same epoch, or by successive halving.
    n_jobs : int
        How many trials to run at the same time.
    backend : str, optional
        None: threads; training releases the interpreter, plain Python does not. Else a backend of joblib, such as
        ``"loky"`` for processes or ``"dask"`` for a cluster; what the objective refers to is then pickled, and
        `callbacks` run over there.
    timeout : float, optional
        Seconds after which no trial is begun.
    grace : float
        Seconds of silence after which a trial counts as dead and is repeated, when it is not known sooner. Those that
        run say so four times in that time.
    catch : exception class or tuple of them
        What the objective may raise without ending the search: such a trial has the worst score.
    progress : None, bool or callable
        As in fit; ``callable(done, total)`` is told the trials.
    callbacks : sequence of callable
        Each is called with the :class:`~gradproof.tune.result.Trial` after one that this process ran.

    Returns
    -------
    SearchResult
        Also after Ctrl-C, see its ``stopped``; trials that were running are given back.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected; also if the study is one of another space or direction.
    ImportError
        If Optuna is missing.
    Exception
        What the objective raises, unless it is among `catch`; its trial has failed, the study can be gone on with.

    Notes
    -----
    A score that is not a number, or a training that diverged, is the worst possible: infinite, on the bad side.
    """
    given = dict(locals())
    optuna = storages.optuna()
    if not callable(objective):
        raise TypeError(f"objective: got {shown(objective)}, expected a function of a dict of parameters")
    if (X is None) != (y is None):
        raise ValueError(f"X, y: got {'y' if X is None else 'X'} alone, expected both or none")
    if X is None and monitor is not None:
        raise ValueError(f"monitor: got {shown(monitor)} without data, expected None for a plain objective")
    if monitor is not None and not isinstance(monitor, str):
        raise TypeError(f"monitor: got {shown(monitor)}, expected the name of a column such as 'val_loss'")
    space = Space(space)
    asked = validate.whole(trials, "trials", 0, 2**31)
    wanted = int(min(asked, space.size))
    method, direction = methods.chosen(method), direction_of(direction, monitor)
    seed = validate.whole(seed, "seed", 0, 2**64 - 1)
    n_jobs = validate.whole(n_jobs, "n_jobs", 1, 4096)
    expected = "a number of seconds > 0"
    grace = validate.real(grace, "grace", expected, lambda seconds: seconds > 0)
    if timeout is not None:
        timeout = validate.real(timeout, "timeout", expected, lambda seconds: seconds > 0)
    if not isinstance(study_name, str) or not study_name:
        raise TypeError(f"study_name: got {shown(study_name)}, expected a str")
    catch = _classes(catch)
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"callbacks: got {shown(callback)}, expected functions of a trial")
    if backend is not None:
        given |= {"n_jobs": 1, "backend": None, "progress": False}
        return _by_joblib(given, n_jobs, backend, space, wanted)

    from gradproof.tune import samplers
    from gradproof.tune.queue import Queue

    sampler, pruner = samplers.create(method, space, asked, seed), methods.pruner(pruning)
    if X is None:
        scored: Function | Training = Function(objective)
    else:
        scored = Training(objective, X, y, validation, epochs, seed, monitor, pruning is not None)
    with storages.quiet():
        kept = storages.opened(storage)
        study = optuna.create_study(
            storage=kept,
            study_name=study_name,
            load_if_exists=True,
            direction=direction,
            sampler=sampler,
            pruner=pruner,
        )
        _same(study, space, direction)
        deadline = inf if timeout is None else time.monotonic() + timeout
        queue = Queue(study, space, wanted, inf if storages.in_memory(kept) else grace, deadline)
        worst = -inf if direction == "maximize" else inf
        with Progress(progress, wanted, "Searching", every_call=True) as bar:
            stopped = _Workers(queue, scored, space, worst, catch, tuple(callbacks), bar).run(n_jobs)
        if stopped == "finished" and wanted < asked:
            stopped = "exhausted"
        return SearchResult.of(study, space, wanted, stopped)


class _Workers:
    """Runs the trials that this process gets, in its own thread or in several."""

    def __init__(
        self,
        queue: Any,
        objective: Function | Training,
        space: Space,
        worst: float,
        catch: tuple[type[Exception], ...],
        callbacks: tuple[Callable[[Trial], object], ...],
        bar: Progress,
    ) -> None:
        self.queue, self.objective, self.space, self.worst = queue, objective, space, worst
        self.catch, self.callbacks, self.bar = catch, callbacks, bar
        self._lock = threading.Lock()  # of the bar

    def run(self, count: int) -> str:
        """Why it ended."""
        try:
            if count == 1:
                self._work()
            else:
                self._together(count)
        except KeyboardInterrupt:
            return "interrupted"
        return "finished" if self.queue.ended >= self.queue.trials else "timeout"

    def _together(self, count: int) -> None:
        with ThreadPoolExecutor(count, "gradproof-tune") as pool:
            try:
                workers = [pool.submit(self._work) for _ in range(count)]
                wait(workers)
            except KeyboardInterrupt:  # here, in the main thread
                self.queue.stop.set()
                raise
        errors = [worker.exception() for worker in workers]
        for error in sorted(filter(None, errors), key=lambda error: isinstance(error, KeyboardInterrupt)):
            raise error

    def _work(self) -> None:
        try:
            while True:
                trial = self.queue.next()
                self._show()
                if trial is None:
                    return
                self._try(trial)
        except BaseException:
            self.queue.stop.set()
            raise

    def _try(self, trial: Any) -> None:
        """Run one trial, and see to it that it ends in the study whatever happens."""
        from optuna import TrialPruned

        report = Report(trial, self.queue.stop)
        with self.queue.running(trial):
            try:
                value = self.objective(self.space.values(trial.params), report)
            except (Pruned, TrialPruned):
                self.queue.pruned(trial)
            except self.catch as error:
                report.note = _told(error)
                self._complete(trial, self.worst, report.note)
            except KeyboardInterrupt:
                self.queue.give_back(trial)
                raise
            except BaseException as error:
                self.queue.failed(trial, _told(error))
                raise
            else:
                self._complete(trial, self.worst if isnan(value) else value, report.note)
        if self.callbacks:
            stored = SearchResult.of(self.queue.study, self.space, 0, "")
            for one in (*stored.trials, *stored.failed):
                if one.number == trial.number:
                    for callback in self.callbacks:
                        callback(one)

    def _complete(self, trial: Any, value: float, note: str) -> None:
        if note:
            from gradproof.tune.queue import NOTE

            trial.set_user_attr(NOTE, note)
        self.queue.complete(trial, value)

    def _show(self) -> None:
        with self._lock:
            self.bar.done = max(self.bar.done, min(self.queue.ended, self.queue.trials))
            self.bar.advance(0)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _same(study: Any, space: Space, direction: str) -> None:
    """Refuse a study that is about something else; write down what a new one is about."""
    name = study.study_name
    if study.direction.name.lower() != direction:
        was = study.direction.name.lower()
        raise ValueError(f"direction: got {shown(direction)}, but the study {name!r} in the storage is to {was}")
    before = study.user_attrs.get(_SIGNATURE)
    if before is None:
        if study.get_trials(deepcopy=False):
            raise ValueError(f"study_name: the study {name!r} in the storage was not made by gp.tune.search")
        study.set_user_attr(_SIGNATURE, {"space": space.signature()})
        before = study.user_attrs[_SIGNATURE]
    if before["space"] != space.signature():
        raise ValueError(
            f"space: got {space.signature()}, but the study {name!r} in the storage is of {before['space']}"
        )


def _classes(catch: Any) -> tuple[type[Exception], ...]:
    classes = catch if isinstance(catch, tuple) else (catch,)
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, Exception)):
            raise TypeError(f"catch: got {shown(one)}, expected a class of exceptions, or a tuple of them")
    return classes


def _by_joblib(arguments: dict[str, Any], n_jobs: int, backend: str, space: Space, wanted: int) -> SearchResult:
    """The same search `n_jobs` times, on one storage; without one, on a file that is gone afterwards."""
    joblib = workers.load(backend)
    optuna, storage, name = storages.optuna(), arguments["storage"], arguments["study_name"]
    if storage is not None and storages.in_memory(storage):
        raise ValueError("storage: got one in memory, expected one that several processes can share, or None")
    with tempfile.TemporaryDirectory(prefix="gradproof-") as folder, storages.quiet():
        shared = arguments | {"storage": os.path.join(folder, "search.journal") if storage is None else storage}
        outcomes = joblib.Parallel(n_jobs=n_jobs, backend=backend)(
            joblib.delayed(_outcome)(shared) for _ in range(n_jobs)
        )
        kept = storages.opened(shared["storage"])
        if storage is None:
            memory = storages.opened(None)
            optuna.copy_study(from_study_name=name, from_storage=kept, to_storage=memory)
            kept = memory
        study = optuna.load_study(study_name=name, storage=kept)
    stopped = "interrupted" if "interrupted" in outcomes else outcomes[0]
    return SearchResult.of(study, space, wanted, stopped)


def _outcome(arguments: dict[str, Any]) -> str:
    return search(**arguments).stopped
