"""What the doctor needs to know beyond the curves: about the data, and about the network before and after training.

Everything is plain data that goes into the history's settings, so that a run read from a file can be diagnosed. Costs
are bounded: statistics of features look at up to 4096 rows (and half a million numbers), everything that runs the
network at up to 384 rows.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof import _core
from gradproof.nn.layers import BatchNorm, Dense, Maxout
from gradproof.nn.plan import Plan
from gradproof.train.doctor.baseline import baseline, chance
from gradproof.train.doctor.leakage import leaks, shared_rows
from gradproof.train.doctor.plain import number
from gradproof.train.doctor.probe import affordable, probe
from gradproof.train.doctor.thresholds import INPUT_UNEVEN
from gradproof.train.monitor import ACTIVATION_STATISTICS, _last_ops
from gradproof.train.samples import take

if TYPE_CHECKING:
    from gradproof.nn.model import Sequential

Array = NDArray[Any]
Facts = dict[str, Any]

ROWS = 384  # through the network and the baseline: shares known to 2.5 %, a millisecond or two
_MANY_ROWS = 4096  # for means and deviations
_VALUES = 2**19  # numbers in these rows in all, 4 MB in float64
_FEWEST = 64
_LARGEST = float(np.finfo(np.float64).max)  # stands for a loss that is larger still
_SAME = 1e-4  # relative difference up to which two units are the same


def facts(model: Sequential, X: ArrayLike, y: ArrayLike, validation: Any = None, frozen: Any = ()) -> Facts:
    """What is known before the first step.

    Parameters
    ----------
    model : Sequential
        At its start; it is not changed.
    X : array_like, (m, n_in)
        Training inputs, an array or a memory map.
    y : array_like
        Targets of the model's loss.
    validation : array_like, optional
        Inputs of the validation set.
    frozen : sequence of (start, stop)
        Parts of theta that are not trained.

    Returns
    -------
    dict
        ``inputs``, ``targets``, ``leakage``, ``network`` and ``start``; numbers, strings and lists only.
    """
    rows, targets, few = _sample(model, X, y)
    found: Facts = {
        "rows": len(np.asarray(y)),
        "inputs": _inputs(rows),
        "targets": _targets(model, targets),
        "leakage": leaks(model, rows, targets, few),
        "network": _network(model, frozen),
        "start": snapshot(model, rows[few], targets[few]),
    }
    if validation is not None:
        found["validation_rows"] = int(np.shape(validation)[0])
    if validation is not None and not _read_in_part(X) and not _read_in_part(validation):
        found["leakage"]["shared_rows"] = shared_rows(np.asarray(X, model.dtype), np.asarray(validation, model.dtype))
    return found


def final(
    model: Sequential,
    X: ArrayLike,
    y: ArrayLike,
    optimizer: Any = None,
    state: Any = None,
    learning_rate: float | None = None,
    work: float = 0.0,
    frozen: Any = (),
    thorough: bool = True,
    total: int | None = None,
) -> Facts:
    """What is known after the last step: the same rows once more and, with an optimizer, what other rates would do from
    here.

    Parameters
    ----------
    model, X, y
        As :func:`facts`.
    optimizer, state, learning_rate : optional
        Those of the last step. Copies of the model make ten steps with a tenth of the rate, with the rate, with ten and
        with a hundred times the rate.
    work : float
        Rows that training went through, over all epochs: the probe takes up to 5 % of that, or some milliseconds.
    frozen : sequence of (start, stop)
        Parts of theta that are not trained.
    thorough : bool
        Whether to try other rates, and to ask how well simple methods do: only of use for a run that is not a good one.
    total : int, optional
        Rows of the training set, if `X` and `y` are only those that :func:`sampled` takes of it.
    """
    rows, targets, few = _sample(model, X, y)
    found: Facts = {"end": snapshot(model, rows[few], targets[few])}
    if thorough:
        found["baseline"] = baseline(model, rows[few], targets[few])
        large = _large(rows[few])
        if not large.all():
            found["baseline"]["without_small"] = baseline(model, rows[few][:, large], targets[few])["score"]
    if thorough and optimizer is not None and state is not None and learning_rate and isfinite(learning_rate):
        count = min(ROWS, affordable(model, work))
        if count >= min(32, len(few)):
            some = few[spread(len(few), count)]
            total = total or len(np.asarray(y))
            found["probe"] = probe(model, rows[some], targets[some], optimizer, state, learning_rate, total, frozen)
    return found


def sampled(model: Sequential, X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """The rows and targets that :func:`final` looks at, copies."""
    rows, targets, few = _sample(model, X, y)
    return rows[few], targets[few]


def snapshot(model: Sequential, X: Array, targets: Array) -> Facts:
    """Losses, and per layer and tensor what flows through, on one batch and without dropout."""
    twin = model.without_dropout()
    gradient = np.zeros_like(twin.theta)
    with np.errstate(all="ignore"):
        scores, tape = twin._forward(X, True)
        loss, dscores = twin._data_loss(scores, targets)
        twin._backward(dscores, tape, gradient)
        inferred, _ = twin._forward(X, False)
        inference_loss, _ = twin._data_loss(inferred, targets)
        score = twin._loss.score(twin._loss.predict(inferred), targets)
    layers: dict[str, Facts] = {}
    for segment, (_, workspace) in zip(twin.segments, tape, strict=True):
        if isinstance(segment, Plan):
            values = np.zeros((len(segment.ops), len(ACTIVATION_STATISTICS)))
            _core.activation_statistics(values, segment.ops, segment.scalars, workspace, len(X), len(X))
            for node, op in zip(segment.nodes, _last_ops(segment), strict=True):
                row = dict(zip(ACTIVATION_STATISTICS, values[op].tolist(), strict=True))
                row["dead_share"] = row.pop("dead_units") / node.n_out
                layers[node.name] = {name: number(value) for name, value in row.items()}
    return {
        "rows": len(X),
        "data_loss": number(inference_loss),
        "training_loss": number(loss),
        "score": number(score),
        "penalty": number(twin._penalty(len(X), None)),
        "layers": layers,
        "tensors": {
            entry.name: {
                "gradient": _rms(gradient[entry.offset : entry.stop]),
                "weight": _rms(twin.theta[entry.offset : entry.stop]),
            }
            for entry in twin.layout.slices
        },
        "symmetric": _symmetric(twin, gradient),
    }


def spread(m: int, count: int) -> NDArray[np.int64]:
    """Up to `count` row numbers over the whole set, which may be sorted by class."""
    return np.unique(np.linspace(0, m - 1, min(m, count)).astype(np.int64))


def _sample(model: Sequential, X: Any, y: Any) -> tuple[Array, Array, NDArray[np.int64]]:
    """Rows for statistics, their targets, and which of them are for the network: fewer when rows are long."""
    width, m = model.input_size, np.shape(X)[0]
    chosen = spread(m, max(_FEWEST, min(_MANY_ROWS, _VALUES // width)))
    rows = take(X, chosen, model.dtype) if _read_in_part(X) else np.asarray(X)[chosen]
    few = spread(len(rows), max(_FEWEST, min(ROWS, _VALUES // width)))
    return np.ascontiguousarray(rows, dtype=model.dtype), model._targets(y, m)[chosen], few


def _read_in_part(X: Any) -> bool:
    """Whether it may be too large to be read at once: a memory map, or a sparse matrix."""
    return isinstance(X, np.memmap) or _is_sparse(X)


def _is_sparse(X: Any) -> bool:
    return hasattr(X, "toarray")


def _inputs(X: Array) -> Facts:
    data = X.astype(np.float64)
    with np.errstate(all="ignore"):
        mean, std = data.mean(axis=0), data.std(axis=0)
        size = np.sqrt(mean**2 + std**2)
        varying = ~(np.isfinite(std) & (std <= 1e-9 * np.maximum(np.abs(mean), 1e-300)))  # too large varies, too
        offset = np.sqrt(np.sum(mean[varying] ** 2) / np.sum(std[varying] ** 2)) if varying.any() else 0.0
    return {
        "features": X.shape[1],
        "constant": int(np.count_nonzero(~varying)),
        "identical": bool((data == data[0]).all()) or not varying.any(),
        "rms": number(float(np.sqrt(np.mean(size**2)))),
        "largest": number(float(np.abs(data).max(initial=0))),
        "largest_std": number(float(std[varying].max(initial=0))),
        "smallest_std": number(float(std[varying].min())) if varying.any() else 0.0,
        "tiny_share": float(np.mean(std[varying] < 0.01 * std.max())) if varying.any() else 0.0,
        "median_std": number(float(np.median(std[varying]))) if varying.any() else 0.0,
        "offset": number(float(offset)),
    }


def _large(X: Array) -> NDArray[np.bool_]:
    """The features that do not vary much less than others."""
    with np.errstate(all="ignore"):
        std = X.astype(np.float64).std(axis=0)
    return std * INPUT_UNEVEN >= std.max(initial=0)


def _targets(model: Sequential, targets: Array) -> Facts:
    loss, n_out = model._loss, model.output_size
    found: Facts = {
        "chance": number(chance(model, targets)),
        "constant": bool((targets == targets[0]).all()),
        "expected_loss": min(_LARGEST, loss.expected_initial(targets, n_out)),
        "constant_loss": min(_LARGEST, _constant_loss(model, targets)),
    }
    if targets.dtype.kind == "i":
        counts = np.bincount(targets, minlength=n_out)
        found["classes"] = counts.tolist() if n_out <= 1000 else []
    return found


def _constant_loss(model: Sequential, targets: Array) -> float:
    """The loss of the best answer that does not look at the input."""
    if model.loss_name == "softmax_cross_entropy":
        p = np.bincount(targets, minlength=model.output_size) / len(targets)
        return float(-np.sum(p[p > 0] * np.log(p[p > 0])))
    if model.loss_name == "binary_cross_entropy":
        p = np.clip(targets.astype(np.float64).mean(axis=0), 1e-12, 1 - 1e-12)
        return float(np.mean(-p * np.log(p) - (1 - p) * np.log1p(-p)))
    return model._loss.best_constant(targets, model.output_size)


def _network(model: Sequential, frozen: Any) -> Facts:
    nodes = model.structure.nodes
    trained = np.ones(model.theta.size, dtype=bool)
    for start, stop in frozen:
        trained[start:stop] = False
    return {
        "layers": [[node.name, type(node.layer).__name__, node.n_in, node.n_out] for node in nodes],
        "parameters": int(model.theta.size),
        "trained": [entry.name for entry in model.layout.slices if trained[entry.offset : entry.stop].any()],
        "outputs": model.output_size,
        "loss": model.loss_name,
        "batch_norm": any(isinstance(node.layer, BatchNorm) for node in nodes),
        "l1": model.l1,
        "l2": model.l2,
    }


def _symmetric(model: Sequential, gradient: Array) -> list[str]:
    """Layers whose units all have the same weights and the same gradient: they will stay the same for ever."""
    found = []
    for node in model.structure.nodes:
        if not isinstance(node.layer, (Dense, Maxout)) or node.n_out < 2:
            continue
        columns = []
        for name in node.shapes:
            for vector in (model.theta, gradient):
                values = model.layout.view(vector, node.path(name)).astype(np.float64)
                columns.append(values.reshape(-1, node.n_out, values.shape[-1] // node.n_out))  # (n_in, units, pieces)
        if all(np.ptp(part, axis=1).max() <= _SAME * np.abs(part).max() for part in columns):
            found.append(node.name)
    return found


def _rms(values: Array) -> float | None:
    with np.errstate(all="ignore"):
        return number(float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))) if values.size else 0.0
