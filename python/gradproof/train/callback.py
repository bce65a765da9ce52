"""What a callback is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential
    from gradproof.train.run import Run


EARLY = "early stopping"  # history.stopped of a run that a callback ended because it did not get better


class Callback:
    """Something that is told how a training run goes; override what is needed.

    Every hook gets the model and the :class:`~gradproof.train.run.Run`: its ``epoch`` and ``batch`` (from 0),
    ``epochs``, ``history``, ``optimizer``, ``state``, ``learning_rate``, the losses of the batch, ``logs`` of the
    epoch, and ``stop(reason)``. Hooks are called in the order of the callbacks. Overriding a batch hook makes training
    go batch by batch instead of many at a time in the compiled core.
    """

    #: Callbacks with a larger number are called later; those that save what the others keep come last.
    order = 0

    @property
    def waiting(self) -> bool | None:
        """Of those that end a run when it gets no better: whether they would let it go on. None: not one of those."""
        return None

    def on_train_begin(self, model: Sequential, run: Run) -> None:
        """Before the first epoch; of a resumed run, after everything has been restored."""

    def on_train_end(self, model: Sequential, run: Run) -> None:
        """After the last epoch, however the run ended (``run.history.stopped``), but not after an exception."""

    def on_epoch_begin(self, model: Sequential, run: Run) -> None:
        """Before the first batch of an epoch."""

    def on_epoch_end(self, model: Sequential, run: Run) -> None:
        """After the last batch of an epoch, its numbers in ``run.logs`` and in ``run.history``."""

    def on_batch_begin(self, model: Sequential, run: Run) -> None:
        """Before the forward pass of a batch."""

    def on_gradient(self, model: Sequential, run: Run) -> None:
        """Between backward pass and update: ``model.gradient`` may be looked at and changed."""

    def on_batch_end(self, model: Sequential, run: Run) -> None:
        """After the update of a batch."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to go on as if it had never stopped: JSON values and NumPy arrays by name."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""


def overrides(callback: Callback, hook: str) -> bool:
    """Whether a callback does anything in this hook."""
    return getattr(type(callback), hook) is not getattr(Callback, hook) or hook in vars(callback)
