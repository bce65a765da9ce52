"""The command ``gradproof train``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

from gradproof.cli_errors import InputError
from gradproof.cli_inputs import load_data
from gradproof.cli_types import count, positive
from gradproof.train import schedules
from gradproof.train.callback import Callback
from gradproof.train.optimizers import SGD, Adam, Momentum, RMSprop

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential
    from gradproof.train.history import History
    from gradproof.train.run import Run

_OPTIMIZERS = {kind.__name__.lower(): kind for kind in (SGD, Momentum, RMSprop, Adam)}
_SCHEDULES = ("constant", "inverse_time", "exponential", "inverse_sqrt", "staircase", "cosine", "one_cycle", "warm_up")
_LINES = 20  # of a long run are printed
_SHOWN = ("loss", "accuracy", "r2", "val_loss", "val_accuracy", "val_r2", "learning_rate")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of training, beyond those of the model and the data."""
    parser.add_argument("--epochs", type=count, default=20, metavar="N", help="passes through the data (20)")
    parser.add_argument("--batch-size", type=count, metavar="N", help="rows per step (all up to 2000 rows, else 64)")
    parser.add_argument("--optimizer", choices=sorted(_OPTIMIZERS), default="adam", help="the rule (adam)")
    parser.add_argument("--learning-rate", type=positive, metavar="RATE", help="of the optimizer (its own default)")
    parser.add_argument("--schedule", metavar="NAME:A,B", help=f"{', '.join(_SCHEDULES)}; staircase:0.5,10")
    parser.add_argument("--validation", metavar="SHARE|FILE", help="rows held out (0.2, or 20 percent), or a file")
    parser.add_argument("--patience", type=count, metavar="N", help="stop after so many epochs without improvement")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="convert the model first")
    parser.add_argument("--save", metavar="PATH", help="write the trained model")
    parser.add_argument("--checkpoint", metavar="PATH", help="write everything needed to go on, every epoch")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    parser.add_argument("--csv", metavar="PATH", help="write the numbers of all epochs as a table")
    parser.add_argument("--json", metavar="PATH", help="write the history as JSON lines")
    parser.add_argument("--html", metavar="PATH", help="write the run as a page")


def train(options: argparse.Namespace, model: Sequential, X: Any, y: Any, say: Callable[[Any], None]) -> History:
    """Train as the options say, and write what they ask for; `say` prints a line."""
    from gradproof.train.callbacks import Checkpoint, EarlyStopping

    if options.resume and not options.checkpoint:
        raise InputError("--resume: only with --checkpoint PATH")
    X, y, validation = _divided(options, X, y)
    callbacks: list[Callback] = [] if options.quiet else [_Lines(say)]
    if options.patience is not None:
        callbacks.append(EarlyStopping(patience=options.patience))
    if options.checkpoint:
        callbacks.append(Checkpoint(options.checkpoint))
    history = model.fit(
        X,
        y,
        optimizer=_optimizer(options),
        schedule=_schedule(options.schedule, options.epochs),
        epochs=options.epochs,
        batch_size=options.batch_size,
        validation_data=validation,
        callbacks=callbacks,
        progress=False if options.quiet else None,
        seed=options.seed,
        resume=options.checkpoint if options.resume else None,
    )
    if options.save:
        model.save(options.save)
    for path, write in (
        (options.csv, history.to_csv),
        (options.json, history.to_json),
        (options.html, history.to_html),
    ):
        if path:
            write(path)
    _tell(options, history, say)
    return history


class _Lines(Callback):
    """A line per epoch, of a long run only some."""

    def __init__(self, say: Callable[[Any], None]) -> None:
        self._say = say

    def on_epoch_end(self, model: Sequential, run: Run) -> None:
        every = ceil(run.epochs / _LINES)
        if (run.epoch + 1) % every == 0 or run.epoch + 1 == run.epochs or run.stopping:
            values = "  ".join(f"{name} {run.logs[name]:<9.4g}" for name in _SHOWN if name in run.logs)
            self._say(f"epoch {run.epoch:>{len(str(run.epochs - 1))}}  {values}".rstrip())


def _tell(options: argparse.Namespace, history: History, say: Callable[[Any], None]) -> None:
    if options.quiet:
        return
    best = history.best
    how = history.message or str(history.stopped)
    say(how + (f"; best {best.monitor} {best.value:.4g} in epoch {best.epoch}" if best else ""))
    for symptom in history.diagnose():
        say(str(symptom))
    for what, path in (("model", options.save), ("checkpoint", options.checkpoint), ("page", options.html)):
        if path:
            say(f"The {what}: {path}")


def _divided(options: argparse.Namespace, X: Any, y: Any) -> tuple[Any, Any, Any]:
    """Training set and validation set."""
    from gradproof.data import split

    given = options.validation
    if given is None:
        return X, y, None
    if not _is_number(given):
        return X, y, load_data(given, None, "--validation")
    share = float(given) if float(given) < 1 else float(given) / 100
    if not 0 < share < 1:
        raise InputError(f"--validation: got {given}, expected a share such as 0.2, percents such as 20, or a file")
    try:
        (X, y), validation = split(X, y, (1 - share, share), seed=options.seed)
    except ValueError as error:
        raise InputError(f"--validation: {error}") from error
    return X, y, validation


def _optimizer(options: argparse.Namespace) -> Any:
    kind = _OPTIMIZERS[options.optimizer]
    return kind() if options.learning_rate is None else kind(options.learning_rate)


def _schedule(text: str | None, epochs: int) -> Any:
    """``name:a,b`` as a schedule; those that span the run take its epochs if they are not told."""
    if text is None:
        return None
    name, _, rest = text.partition(":")
    if name not in _SCHEDULES:
        raise InputError(f"--schedule: got {name!r}, expected one of {', '.join(_SCHEDULES)}")
    kind = getattr(schedules, re.sub(r"(?:^|_)(.)", lambda match: match[1].upper(), name))
    values = rest.split(",") if rest else []
    if not all(_is_number(value) for value in values):
        raise InputError(f"--schedule: got {text!r}, expected numbers after the colon, such as staircase:0.5,10")
    arguments = [int(value) if value.strip().isdecimal() else float(value) for value in values]
    if not arguments and name in ("cosine", "one_cycle"):
        arguments = [max(epochs, 1)]
    try:
        return kind(*arguments)
    except (ValueError, TypeError) as error:
        raise InputError(f"--schedule: {text!r}: {error}") from error


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False
