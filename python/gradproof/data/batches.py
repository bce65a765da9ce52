"""Mini-batches for training loops of your own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from gradproof.nn import validate
from gradproof.train import streams

Array = NDArray[Any]


def batches(
    X: Any,
    y: Any = None,
    batch_size: int = 64,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    drop_last: bool = False,
) -> Iterator[tuple[Array, Array | None]]:
    """The mini-batches of one epoch, in the order in which ``fit`` takes the rows with the same seed.

    It is a pure function of the seed and the epoch: training that is taken up again sees the rows that it would have
    seen, and nothing has to be stored for it.

    Parameters
    ----------
    X : array_like, (m, ...)
        Inputs; of a memory-mapped file only one batch is read at a time.
    y : array_like, (m, ...), optional
        Targets.
    batch_size : int
        Rows per batch, at least 1. The last batch has what remains.
    seed : int
        0 to 2**64 - 1.
    epoch : int
        0, 1, 2 ...
    shuffle : bool
        If False, the rows come in the order they stand in, as views.
    drop_last : bool
        Leave out the last batch if it is not full.

    Yields
    ------
    tuple
        ``(X[rows], y[rows])``, the second None without `y`.

    Raises
    ------
    ValueError, TypeError
        At once, not at the first batch; naming the argument, what came and what is expected.

    Examples
    --------
    >>> for epoch in range(10):
    ...     for x, t in batches(X, y, 64, seed=0, epoch=epoch):
    ...         model.step(x, t, optimizer, state)
    """
    inputs, targets = validate.rows(X, "X"), None if y is None else validate.rows(y, "y")
    m, size = len(inputs), validate.whole(batch_size, "batch_size", 1, 2**63 - 1)
    if targets is not None and len(targets) != m:
        raise ValueError(f"y: got {len(targets)} rows, expected {m} as in X")
    seed = validate.whole(seed, "seed", 0, 2**64 - 1)
    epoch = validate.whole(epoch, "epoch", 0, 2**63 - 1)
    drop_last = validate.flag(drop_last, "drop_last")
    rows = streams.order(seed, epoch, m) if validate.flag(shuffle, "shuffle") else None
    starts = range(0, m - m % size if drop_last else m, size)

    def generate() -> Iterator[tuple[Array, Array | None]]:
        for start in starts:
            chosen: Any = slice(start, start + size) if rows is None else rows[start : start + size]
            yield inputs[chosen], None if targets is None else targets[chosen]

    return generate()
