"""What a search asks for a score: a function of the parameters, or a network that is built and trained."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from math import nan
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from gradproof._messages import shown
from gradproof.data.split import split
from gradproof.nn import validate
from gradproof.train.callback import Callback
from gradproof.train.callbacks.monitored import LARGER_IS_BETTER

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential
    from gradproof.train.run import Run

DIRECTIONS = ("maximize", "minimize")


def _number(value: Any, what: str) -> float:
    """A score, also as an array or tensor without dimensions."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, Real):
        raise TypeError(f"{what} {value!r}, expected a number")
    return float(value)


class Pruned(Exception):  # noqa: N818 - no error
    """Raised by :class:`Report` in a trial that is worse than others were at the same epoch."""


class Report:
    """``report(epoch, value)``: how far a trial is; what others do with it is the study's pruner.

    Parameters
    ----------
    trial : Trial
        Of Optuna.
    stop : Event
        Set when the search is to end.
    """

    def __init__(self, trial: Any, stop: threading.Event) -> None:
        self._trial, self._stop = trial, stop
        self.note = ""

    def __call__(self, epoch: int, value: float) -> None:
        """Tell the score so far.

        Parameters
        ----------
        epoch : int
            From 0; the scores of trials are compared at the same epoch.
        value : float
            On the scale of the final score.

        Raises
        ------
        Pruned
            If the trial is not worth its time. Let it through.
        KeyboardInterrupt
            If the search is being ended.
        """
        if self.wants_stop:
            raise KeyboardInterrupt
        self.tell(epoch, value)
        if self.wants_pruning():
            raise Pruned

    def tell(self, epoch: int, value: float) -> None:
        """The same without the consequences."""
        if not isinstance(epoch, Integral) or epoch < 0:
            raise ValueError(f"epoch: got {shown(epoch)}, expected a whole number >= 0")
        self._trial.report(_number(value, "value: got"), int(epoch))

    def wants_pruning(self) -> bool:
        """Whether the trial should be given up."""
        return bool(self._trial.should_prune())

    @property
    def wants_stop(self) -> bool:
        """Whether the search is being ended."""
        return self._stop.is_set()


class Function:
    """A function of a dict of parameters, and of ``report`` if it has an argument of that name."""

    def __init__(self, function: Callable[..., float]) -> None:
        self._function = function
        try:
            self._reports = "report" in inspect.signature(function).parameters
        except (TypeError, ValueError):  # written in C
            self._reports = False

    def __call__(self, parameters: Mapping[str, Any], report: Report) -> float:
        """The score; nan is the worst.

        Raises
        ------
        TypeError
            If the function gives no number.
        """
        arguments = {"report": report} if self._reports else {}
        return _number(self._function(dict(parameters), **arguments), "objective: gave")


class Training:
    """A network built from the parameters, trained, and scored on validation data.

    Parameters
    ----------
    build : callable
        See :func:`~gradproof.tune.search.search`.
    X, y : array_like
        The data.
    validation : float or tuple
        Share of the rows that is kept for validation, or the validation data.
    epochs, seed : int
        For fit.
    monitor : str or None
        The column that is the score; None: accuracy or R2 of the weights as fit leaves them.
    pruning : bool
        Whether to report every epoch.
    """

    def __init__(
        self,
        build: Callable[[dict[str, Any]], Any],
        X: Any,
        y: Any,
        validation: Any,
        epochs: int,
        seed: int,
        monitor: str | None,
        pruning: bool,
    ) -> None:
        self._build, self._monitor, self._pruning = build, monitor, pruning
        self._epochs, self._seed = validate.whole(epochs, "epochs", 1, 2**63 - 1), seed
        if isinstance(validation, (tuple, list)):
            if len(validation) != 2:
                raise ValueError(f"validation: got {len(validation)} arrays, expected (X, y)")
            self._training: tuple[Any, ...] = (X, y)
            self._validation: tuple[Any, ...] = tuple(validation)
        else:
            share = validate.real(validation, "validation", "a share between 0 and 1, or (X, y)", lambda x: 0 < x < 1)
            self._training, self._validation = split(X, y, (1 - share, share), seed=seed)

    def __call__(self, parameters: Mapping[str, Any], report: Report) -> float:
        """The score; nan if the training diverged."""
        model, options = self._built(parameters)
        watcher = _Watcher(report, self._monitor, self._pruning)
        callbacks = options.pop("callbacks", ())
        callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
        defaults = {"epochs": self._epochs, "seed": self._seed, "progress": False, "monitor": False}
        history = model.fit(
            *self._training,
            validation_data=self._validation,
            callbacks=[*callbacks, watcher],
            **(defaults | options),
        )
        if history.stopped == "interrupted" or report.wants_stop:
            raise KeyboardInterrupt
        if history.stopped == _Watcher.PRUNED:
            raise Pruned
        if history.stopped == "diverged":
            report.note = history.message
            return nan
        if self._monitor is None:
            return float(model.score(*self._validation))
        return float(history[self._monitor][-1])

    def _built(self, parameters: Mapping[str, Any]) -> tuple[Sequential, dict[str, Any]]:
        from gradproof.nn.model import Sequential

        built = self._build(dict(parameters))
        model, options = built if isinstance(built, tuple) and len(built) == 2 else (built, {})
        if not isinstance(model, Sequential) or not isinstance(options, Mapping):
            given = f"{type(model).__name__} and {type(options).__name__}" if options != {} else type(model).__name__
            raise TypeError(f"build: gave {given}, expected a gp.Sequential, or one and a dict of arguments of fit")
        for name in ("X", "y", "validation_data"):
            if name in options:
                raise ValueError(f"build: gave {name} for fit; the data are given to the search")
        return model, dict(options)


def direction_of(given: Any, monitor: str | None) -> str:
    """``"maximize"`` or ``"minimize"``: what was given, or what the monitored column is better at."""
    if given is None:
        return "maximize" if monitor is None or monitor.endswith(LARGER_IS_BETTER) else "minimize"
    if given not in DIRECTIONS:
        raise ValueError(f"direction: got {shown(given)}, expected 'maximize', 'minimize' or None")
    return str(given)


class _Watcher(Callback):
    """Ends a training run that is pruned, or that the search does not wait for."""

    PRUNED = "pruned"

    def __init__(self, report: Report, monitor: str | None, pruning: bool) -> None:
        self._report, self._monitor, self._pruning = report, monitor, pruning

    def on_epoch_end(self, model: Sequential, run: Run) -> None:
        column = self._monitor or ("val_r2" if "val_r2" in run.logs else "val_accuracy")
        if column not in run.logs:
            raise ValueError(f"monitor: got {shown(column)}, expected one of {', '.join(map(repr, run.logs))}")
        if self._report.wants_stop:
            run.stop("interrupted", "the search was ended")
        elif self._pruning:
            self._report.tell(run.epoch, run.logs[column])
            if self._report.wants_pruning():
                run.stop(self.PRUNED, "worse than other trials at the same epoch")
