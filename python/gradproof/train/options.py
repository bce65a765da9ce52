"""What fit is told, checked."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradproof._messages import shown
from gradproof.nn import validate
from gradproof.train import schedules
from gradproof.train.batches import BATCH, FULL_BATCH, Augmentation
from gradproof.train.callback import Callback
from gradproof.train.optimizers import Adam, Optimizer
from gradproof.train.samples import Samples
from gradproof.train.step import frozen_runs

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]

_SAMPLED = 64  # rows of the training set that tell it from another


@dataclass(frozen=True)
class Options:
    """Checked options of one call of fit; see :meth:`gradproof.nn.model.Sequential.fit`."""

    optimizer: Optimizer
    schedule: Any
    epochs: int
    batch_size: int
    seed: int
    frozen: tuple[str, ...]
    shuffle: bool

    @classmethod
    def of(
        cls,
        model: Sequential,
        m: int,
        optimizer: Any,
        schedule: Any,
        epochs: int,
        batch_size: int | None,
        seed: int,
        frozen: Sequence[str],
        shuffle: bool,
    ) -> Options:
        """Check everything but the data.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what came and what is expected.
        """
        if optimizer is None:
            optimizer = Adam()
        if not isinstance(optimizer, Optimizer):
            given = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else shown(optimizer)
            raise TypeError(f"optimizer: got {given}, expected an optimizer such as gp.Adam(1e-3)")
        if schedule is not None and (isinstance(schedule, type) or not callable(schedule)):
            raise TypeError(
                f"schedule: got {shown(schedule)}, expected one of gp.schedules, or a function of the epoch"
            )
        names = validate.names(frozen, "frozen", "a list of names of tensors or layers")
        frozen_runs(names, model.layout)
        if batch_size is None:
            batch_size = m if m <= FULL_BATCH else BATCH
        return cls(
            optimizer,
            schedule,
            validate.whole(epochs, "epochs", 0, 2**63 - 1),
            min(m, validate.whole(batch_size, "batch_size", 1, 2**63 - 1)),
            validate.whole(seed, "seed", 0, 2**64 - 1),
            names,
            validate.flag(shuffle, "shuffle"),
        )

    @property
    def by_batch(self) -> bool:
        """Whether the rate changes within an epoch."""
        return schedules.by_batch(self.schedule)

    def rate(self, epoch: int, progress: float) -> float:
        """The learning rate at one place of the training; see :func:`gradproof.train.schedules.rate`."""
        return schedules.rate(self.schedule, self.optimizer.learning_rate, epoch, progress)

    def settings(self, model: Sequential, samples: Samples, weights: Array | None) -> dict[str, Any]:
        """The same as plain data, for the history; :data:`FIXED` of them make up what a run computes from."""
        return {
            "optimizer": repr(self.optimizer),
            "schedule": described(self.schedule),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "rows": len(samples),
            "seed": self.seed,
            "shuffle": self.shuffle,
            "frozen": list(self.frozen),
            "data": _fingerprint(samples, weights),
            "loss": model.loss_name,
            "l1": model.l1,
            "l2": model.l2,
            "dtype": model.dtype.name,
            "layers": [node.name for node in model.structure.nodes],
        }


#: Settings that a resumed run must share with the one that it goes on with; others may change, and are noted.
FIXED = ("batch_size", "rows", "seed", "shuffle", "data")


def described(schedule: Any) -> str:
    """A schedule in words that are the same in every process."""
    if schedule is None:
        return "None"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(schedule))


def in_order(callbacks: Any) -> list[Callback]:
    """Callbacks in the order in which they are called."""
    if isinstance(callbacks, Callback):
        callbacks = [callbacks]
    if not isinstance(callbacks, (list, tuple)):
        raise TypeError(f"callbacks: got {type(callbacks).__name__}, expected a list of gp.callbacks.Callback")
    for index, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            given = f"the class {callback.__name__}" if isinstance(callback, type) else type(callback).__name__
            raise TypeError(f"callbacks[{index}]: got {given}, expected an instance of gp.callbacks.Callback")
    return sorted(callbacks, key=lambda callback: callback.order)


def changes(augment: Any, argument: str = "augment") -> list[Augmentation]:
    """What is done to a batch, one after the other; `argument` is what it was given as."""
    several = isinstance(augment, (list, tuple))
    given = list(augment) if several else [] if augment is None else [augment]
    for index, change in enumerate(given):
        if isinstance(change, type) or not callable(change):  # gp.data.Noise instead of gp.data.Noise(0.1)
            name = f"{argument}[{index}]" if several else argument
            raise TypeError(f"{name}: got {shown(change)}, expected a function of (batch, rng), or a list of them")
    return given


def _fingerprint(samples: Samples, weights: Array | None) -> int:
    """A checksum of targets, weights and some rows: enough to notice another data set."""
    chosen = np.unique(np.linspace(0, len(samples) - 1, _SAMPLED).astype(np.int64))
    code = zlib.crc32(samples.gather(chosen).tobytes())
    code = zlib.crc32(np.ascontiguousarray(samples.targets).tobytes(), code)
    return zlib.crc32(b"" if weights is None else weights.tobytes(), code)
