"""Look after one model while it trains: try settings from the same checkpoint, go on with the best, or go back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradproof import _files
from gradproof._messages import shown
from gradproof.check.progress import Progress
from gradproof.nn import validate
from gradproof.nn.model import Sequential
from gradproof.train.optimizers import Adam, Optimizer
from gradproof.tune.care import Care
from gradproof.tune.sitter import Sitter, owner_of

_FIT = ("batch_size", "schedule", "seed", "sample_weight", "class_weight", "frozen", "shuffle", "augment")


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
        raise TypeError(f"optimizer: got {shown(optimizer)}, expected an optimizer such as gp.Adam(1e-3)")
    factors = _factors(model, optimizer, {"learning_rate": (1 / 3, 3.0)} if vary is None else vary)
    for name in fit:
        if name not in _FIT:
            raise TypeError(f"babysit() got an unexpected argument {name!r}; of fit it takes {', '.join(_FIT)}")
    if monitor is not None and not isinstance(monitor, str):
        raise TypeError(f"monitor: got {shown(monitor)}, expected the name of a column such as 'val_loss'")
    rounds, patience = validate.whole(rounds, "rounds", 0, 2**31), validate.whole(patience, "patience", 1, 2**31)
    options = {
        "epochs": validate.whole(epochs, "epochs", 1, 2**31),
        "monitor": monitor or ("loss" if validation_data is None else "val_loss"),
        "optimizer": type(optimizer).__name__,
        "vary": factors,
    }
    with _kept(folder) as place, Progress(progress, rounds, "Babysitting", every_call=True) as bar:
        sitter = Sitter(model, (X, y), {"validation_data": validation_data, **fit}, optimizer, options, Path(place))
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


def _factors(model: Sequential, optimizer: Optimizer, vary: Any) -> dict[str, list[float]]:
    if not isinstance(vary, Mapping) or not vary:
        raise TypeError(f"vary: got {shown(vary)}, expected a dict such as {{'learning_rate': (1/3, 3)}}")
    checked = {}
    for name, factors in vary.items():
        owner = owner_of(model, optimizer, name)
        value = getattr(owner, name, None)
        if not isinstance(value, float):
            given = (
                f"which is {value!r}" if hasattr(owner, str(name)) else f"which {type(owner).__name__} does not have"
            )
            raise ValueError(f"vary: got {shown(name)}, {given}, expected a number of the optimizer, 'l1' or 'l2'")
        if value == 0:
            raise ValueError(f"vary: got {shown(name)}, which is 0, and factors leave it there")
        if isinstance(factors, (str, bytes)) or not isinstance(factors, Sequence) or not factors:
            raise TypeError(f"vary[{name!r}]: got {shown(factors)}, expected a sequence of factors such as (1/3, 3)")
        checked[name] = [
            validate.real(factor, f"vary[{name!r}]", "factors > 0 other than 1", lambda number: 0 < number != 1)
            for factor in factors
        ]
    return checked


@contextmanager
def _kept(folder: str | os.PathLike[str] | None) -> Iterator[str]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="gradproof-") as name:
            yield name
        return
    name = _files.named(folder, "folder")
    os.makedirs(name, exist_ok=True)
    yield name
