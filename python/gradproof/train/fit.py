"""The training loop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof.nn import validate
from gradproof.train import checkpoint, options, streams
from gradproof.train import samples as data
from gradproof.train.batches import Augmentation, Division, Feed
from gradproof.train.callback import Callback, overrides
from gradproof.train.doctor.examination import Examination
from gradproof.train.evaluate import Evaluation
from gradproof.train.exclusive import training
from gradproof.train.history import History
from gradproof.train.interrupt import Interrupt
from gradproof.train.monitor import Monitor
from gradproof.train.progress import EpochProgress
from gradproof.train.run import Run
from gradproof.train.snapshot import Snapshot, finite
from gradproof.train.step import frozen_runs

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]
Rows = NDArray[np.int64]
Losses = NDArray[np.float64]

_SLICE = 0.05  # seconds of steps between two looks at the keyboard, the progress bar and the weights
_PER_BATCH = ("on_batch_begin", "on_gradient", "on_batch_end")


def fit(
    model: Sequential,
    X: ArrayLike,
    y: ArrayLike,
    *,
    optimizer: Any = None,
    schedule: Any = None,
    epochs: int = 20,
    batch_size: int | None = None,
    validation_data: Any = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | Callable[[int, int], object] | None = None,
    seed: int = 0,
    sample_weight: ArrayLike | None = None,
    class_weight: Any = None,
    frozen: Sequence[str] = (),
    shuffle: bool = True,
    augment: Augmentation | Sequence[Augmentation] | None = None,
    monitor: bool = True,
    score: bool = True,
    resume: str | os.PathLike[str] | None = None,
) -> History:
    """Train a model on mini-batches, from the weights as they are: a second call goes on where the first ended.

    Parameters
    ----------
    model : Sequential
        What is trained, in place.
    X : array_like or sparse matrix of SciPy, (m, n_in)
        Finite numbers. Of a memory map (``np.load(path, mmap_mode="r")``) or a sparse matrix only the rows of a few
        batches are ever copied.
    y : array_like
        Targets, as :meth:`~gradproof.nn.network.Network.loss` takes them.
    optimizer : Optimizer, optional
        ``gp.Adam(1e-3)`` if not given. It begins afresh with every call that does not resume.
    schedule : callable, optional
        One of ``gp.schedules``, or any function of the epoch 0, 1, 2 ... that gives a factor on the optimizer's rate.
    epochs : int
        Passes through the training set; 0 gives an empty history. With `resume` the number at the end, not of those to
        come.
    batch_size : int, optional
        Rows per step: all of them up to 2000 rows, else 64, if not given. More than there are means all of them. The
        last batch of an epoch is shorter when they do not divide; with batch normalization a single row that is left
        over joins the batch before it, as one row has no variance.
    validation_data : tuple (X, y), optional
        Scored after every epoch. A label that does not occur in `y` is refused.
    callbacks : sequence of Callback
        See ``gp.callbacks``.
    progress : None, bool or callable
        None: a bar on a terminal after 2 s. True: a bar at once. False: nothing. ``callable(done, total)``: that, in
        batches.
    seed : int
        Of shuffling and augmentation. Initialization and dropout have that of the model. The same seeds give the same
        weights, bit by bit, whatever the number of threads.
    sample_weight : array_like, (m,), optional
        The data loss of a batch is ``sum w_i L_i / sum w_i``.
    class_weight : dict or "balanced", optional
        Weights by label, 1 for those that are not named; multiplied with `sample_weight`. ``"balanced"``:
        ``m / (classes * count)``.
    frozen : sequence of str
        Names of layers (``"dense_0"``) or tensors (``"dense_0.W"``) that stay as they are. The running statistics of a
        batch normalization go on.
    shuffle : bool
        Whether every epoch goes through the rows in an order of its own.
    augment : callable or sequence of callables, optional
        ``augment(batch, rng)`` gives the inputs that a batch is trained on, in the shape of the copy that it is given;
        several are called one after the other. `rng` is a function of seed, epoch and batch.
    monitor : bool
        Whether activations, gradients and updates are looked at once an epoch.
    score : bool
        Whether the training set is scored after every epoch (for small networks a fifth of the time).
    resume : str or path-like, optional
        A checkpoint (:class:`~gradproof.train.callbacks.Checkpoint`) to go on from, with the result of a run that never
        stopped; without such a file the run starts at the beginning.

    Returns
    -------
    History
        Also when the run ended early: see :attr:`~gradproof.train.history.History.stopped`. Ctrl-C ends it after the
        step that is under way, and keeps weights and history. A loss, a gradient or weights that are not finite end it
        with the last finite weights.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected, before anything has changed; for what a schedule, an
        augmentation or a callback gives, with the weights of the last whole step.
    OSError
        If a callback cannot write its file.
    RuntimeError
        If another thread is training the model.
    """
    samples = data.Samples(model, X, y)
    chosen = options.Options.of(model, len(samples), optimizer, schedule, epochs, batch_size, seed, frozen, shuffle)
    changes = options.changes(augment)
    monitor = validate.flag(monitor, "monitor")
    score = validate.flag(score, "score")
    validation = data.validation(model, validation_data, samples.targets)
    weights = data.weights(model, samples.targets, sample_weight, class_weight)
    watchers = options.in_order(callbacks)
    settings = chosen.settings(model, samples, weights)

    state = chosen.optimizer.init(model.theta)
    division = Division(model, len(samples), chosen.batch_size)
    run = Run(History(settings), chosen.optimizer, state, chosen.epochs, len(division), callbacks=watchers)
    exclusive = training(model)
    with exclusive, EpochProgress(progress, chosen.epochs, len(division)) as shown, Interrupt() as interrupt:
        found = None if resume is None else checkpoint.read(resume, model, run)
        if found is not None:
            found.put_back(model, run)
        examination = None
        if monitor:
            runs = frozen_runs(chosen.frozen, model.layout)
            examination = Examination(samples.X, samples.targets, None if validation is None else validation.X, runs)
            examination.begin(model, run)
        for callback in watchers:
            callback.on_train_begin(model, run)
        if found is not None:
            found.restore(watchers, run)
        feed = Feed(model, samples, division, chosen.optimizer, state, weights, frozen, changes, chosen.seed)
        trainer = _Trainer(model, chosen, run, feed, division, len(samples), weights, watchers, interrupt, shown)
        trainer.evaluation = Evaluation(model, samples if score else None, validation)
        trainer.monitor = Monitor(model, chosen.batch_size, len(division)) if monitor else None
        trainer.examination = examination
        trainer.train()
    return run.history


class _DivergedError(Exception):
    """The loss or the weights are no numbers; the weights are those before the step that made them so."""


class _Trainer:
    """One call of fit, once everything is checked."""

    evaluation: Evaluation
    monitor: Monitor | None
    examination: Examination | None

    def __init__(
        self,
        model: Sequential,
        chosen: options.Options,
        run: Run,
        feed: Feed,
        division: Division,
        m: int,
        weights: Array | None,
        callbacks: list[Callback],
        interrupt: Interrupt,
        progress: EpochProgress,
    ) -> None:
        self.model, self.options, self.run, self.feed, self.division = model, chosen, run, feed, division
        self.m, self.weights, self.callbacks, self.interrupt, self.progress = m, weights, callbacks, interrupt, progress
        self.hooks = any(overrides(callback, hook) for callback in callbacks for hook in _PER_BATCH)
        self.snapshot = Snapshot(model, run.state)
        self.count = 1  # batches between two looks, as many as fit into _SLICE

    def train(self) -> None:
        run, history = self.run, self.run.history
        first = history.epochs[-1] + 1 if history.epochs else 0
        self.progress.skip(first)
        history.stopped, history.message = "finished", ""
        try:
            for epoch in range(first, run.epochs):
                if not run.stopping:
                    run.epoch = epoch
                    self._epoch()
            self.interrupt.check()
            if run.stopping:
                history.stopped, history.message = run.stopping
        except KeyboardInterrupt:
            message = f"interrupted in epoch {run.epoch}; the weights are those after the last whole step"
            history.stopped, history.message = "interrupted", message
        except _DivergedError as error:
            history.stopped, history.message = "diverged", str(error)
        if self.examination is not None:
            self.examination.end(self.model, run)
        self._tell("on_train_end")
        if self.interrupt.pending and history.stopped == "finished":
            history.stopped, history.message = "interrupted", "interrupted after the last step"
        self.progress.say(history.message)

    def _epoch(self) -> None:
        """Train one epoch and record it, unless a callback stops the run before its last batch."""
        run, batches = self.run, len(self.division)
        run.batch, run.logs = 0, {}
        run.learning_rate = rate = self.options.rate(run.epoch, 0.0)
        self._tell("on_epoch_begin")
        rows = streams.order(self.options.seed, run.epoch, self.m) if self.options.shuffle else np.arange(self.m)
        losses = np.empty((batches, 2))
        watched: dict[str, float] = {}
        due = self.monitor is not None and self.monitor.due(run.epoch)
        while run.batch < batches:
            first = run.batch
            last = self._until(first)
            if self.options.by_batch:
                run.learning_rate = self.options.rate(run.epoch, first / batches)
            watching = self.monitor if due and last == batches else None
            losses[first:last] = self._advance(rows, first, last, watching.before if watching else None)
            if watching:
                watched = watching.after_update(self.division.size(last - 1))
            run.batch = last - 1
            run.data_loss, run.penalty = losses[last - 1].tolist()
            if self.hooks:
                self._tell("on_batch_end")
            self.progress.advance(last - first)
            self.interrupt.check()
            if run.stopping and last < batches:
                return
            run.batch = last
        self._record(rows, rate, losses, watched)

    def _until(self, first: int) -> int:
        """Up to which batch to go from here: one by one for hooks and rates that change, else as many as fit into a
        slice of time."""
        if self.hooks or self.options.by_batch:
            return first + 1
        last = min(first + min(self.count, self.feed.most()), len(self.division))
        return self.division.equal(first, last)

    def _advance(self, rows: Rows, first: int, last: int, before: Array | None) -> Losses:
        """Train on some batches. Their losses are finite and so are the weights afterwards, or the run has diverged.
        The weights before the last step are written to `before`."""
        self.snapshot.take()
        began = time.monotonic()
        losses = self._steps(rows, first, last, before)
        elapsed = time.monotonic() - began
        if elapsed < _SLICE / 2:
            self.count *= 2
        elif elapsed > _SLICE:
            self.count = max(1, self.count // 2)
        healthy = finite(self.model)
        if not healthy:
            self.snapshot.put_back()
            if last - first > 1:  # find the step that did it: through them again, one at a time
                return np.concatenate([self._advance(rows, batch, batch + 1, before) for batch in range(first, last)])
        self.run.history.batches += losses.sum(axis=1).tolist()
        if healthy and isfinite(losses[-1].sum()):
            return losses
        where = f"epoch {self.run.epoch}, batch {first + len(losses) - 1}"
        if isfinite(losses[-1].sum()):
            raise _DivergedError(f"diverged in {where}: the step gives weights that are not finite; it was taken back")
        data_loss, penalty = losses[-1].tolist()
        what = f"loss is {data_loss + penalty:g}"
        if isfinite(data_loss) and isnan(penalty):
            what = "gradient is not finite"
        raise _DivergedError(f"diverged in {where}: the {what}; the weights are those before that step")

    def _steps(self, rows: Rows, first: int, last: int, before: Array | None) -> Losses:
        run = self.run
        if not self.hooks:
            return self.feed.run(rows, run.epoch, first, last, run.learning_rate, before)
        self._tell("on_batch_begin")
        run.data_loss, run.penalty = losses = self.feed.gradient(rows, run.epoch, first)
        if isfinite(sum(losses)):
            self._tell("on_gradient")
            if before is not None:
                np.copyto(before, self.model.theta)
            self.feed.update(run.learning_rate)
        return np.array([losses])

    def _record(self, rows: Rows, rate: float, losses: Losses, watched: dict[str, float]) -> None:
        run = self.run
        counts = np.asarray(self.division.stops - self.division.starts, dtype=np.float64)
        if self.weights is not None:
            counts = np.add.reduceat(self.weights[rows].astype(np.float64), self.division.starts)
        data_loss, penalty = np.average(losses, axis=0, weights=counts).tolist()
        logs = {"loss": data_loss + penalty, "data_loss": data_loss, "penalty": penalty}
        run.logs = logs | self.evaluation() | {"learning_rate": rate} | watched
        run.history.record(run.epoch, run.logs)
        self.progress.epoch(run.epoch, run.epochs, run.logs)
        self._tell("on_epoch_end")

    def _tell(self, hook: str) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self.model, self.run)
