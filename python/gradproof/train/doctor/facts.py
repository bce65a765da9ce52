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
from gradproof.train.doctor.baseline import baseline, chance, predictable
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
_ROUNDING = 1e-10  # share of a variance that is float32's
_PROBE_STEPS = 10
_PROBE_FACTORS = (0.1, 1.0, 10.0, 100.0)
_PROBE_ALWAYS = 2e8  # products that a probe may cost in any case, some milliseconds; beyond that 5 % of training
_PROBE_SHARE = 0.05


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
        "leakage": _leakage(model, rows, targets, few),
        "network": _network(model, frozen),
        "start": snapshot(model, rows[few], targets[few]),
    }
    if validation is not None:
        found["validation_rows"] = int(np.shape(validation)[0])
    if validation is not None and not _read_in_part(X) and not _read_in_part(validation):
        found["leakage"]["shared_rows"] = _shared(np.asarray(X, model.dtype), np.asarray(validation, model.dtype))
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
    if thorough and optimizer is not None and state is not None and learning_rate and isfinite(learning_rate):
        affordable = max(_PROBE_ALWAYS / max(model.theta.size, 1), _PROBE_SHARE * work)
        count = int(min(ROWS, affordable / (_PROBE_STEPS * len(_PROBE_FACTORS))))
        if count >= min(32, len(few)):
            some = few[spread(len(few), count)]
            total = total or len(np.asarray(y))
            found["probe"] = _probe(model, rows[some], targets[some], optimizer, state, learning_rate, total, frozen)
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


def number(value: float) -> float | None:
    """A float for JSON; None for NaN and infinities."""
    return float(value) if isfinite(value) else None


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


def _leakage(model: Sequential, X: Array, targets: Array, few: NDArray[np.int64]) -> Facts:
    """How well single features tell the target: the share of a feature's variance that the target explains."""
    shares = explained(X.astype(np.float64), targets)
    best = int(np.argmax(shares))
    found: Facts = {"feature": best, "explained": number(float(shares[best]))}
    if shares[best] > 0.9 and X.shape[1] > 1:
        rest = shares < 0.9
        if rest.any():
            found["second"] = number(float(shares[rest].max()))
            found["suspects"] = np.flatnonzero(~rest).tolist()[:10]
            found["without"] = baseline(model, X[few][:, rest], targets[few])["score"]
            if targets.dtype.kind != "i":
                found["remainder"] = _remainder(X[few].astype(np.float64), best, rest, targets[few])
    return found


def _remainder(X: NDArray[np.float64], feature: int, rest: NDArray[np.bool_], targets: Array) -> float | None:
    """The share of what a feature leaves of the outputs it tells that the other features know.

    Nothing of the noise on a copy of the target; of a law, where other features have their part, much.
    """
    column = X[:, feature] - X[:, feature].mean()
    values = targets.reshape(len(targets), -1).astype(np.float64)
    values = values - values.mean(axis=0)
    with np.errstate(all="ignore"):
        slopes = values.T @ column / np.sum(column**2)
        remainder = values - np.outer(column, slopes)
        left = np.nan_to_num(np.sum(remainder**2, axis=0) / np.sum(values**2, axis=0), nan=np.inf)
        told = int(np.argmin(left))
    if not _ROUNDING < left[told] < np.inf:
        return None
    return number(predictable(X[:, rest], remainder[:, told : told + 1]))


def explained(X: NDArray[np.float64], targets: Array) -> NDArray[np.float64]:
    """Per feature the share of its variance that the classes explain, or (for values) that one output does."""
    with np.errstate(all="ignore"):
        centred = X - X.mean(axis=0)
        total = np.sum(centred**2, axis=0)
        smallest = 1e-18 * np.maximum(np.sum(X**2, axis=0), 1e-300)
        if targets.dtype.kind == "i":
            order = np.argsort(targets, kind="stable")
            starts = np.flatnonzero(np.diff(targets[order], prepend=-1))
            counts = np.diff(starts, append=len(targets))[:, None]
            shares = np.sum(np.add.reduceat(centred[order], starts) ** 2 / counts, axis=0) / total
        else:
            values = targets.reshape(len(targets), -1).astype(np.float64)
            values = values - values.mean(axis=0)
            products = (values.T @ centred) ** 2 / np.sum(values**2, axis=0)[:, None]
            shares = np.nanmax(np.vstack([np.zeros(X.shape[1]), products]), axis=0) / total
    return np.where(total > smallest, np.nan_to_num(shares), 0.0)


def _shared(X: Array, validation: Array) -> float:
    """The share of validation rows that are training rows, beyond what repeats by nature."""
    direction = np.random.default_rng(0).normal(size=(X.shape[1],))
    with np.errstate(all="ignore"):
        seen, asked = X @ direction, validation @ direction
    return max(float(np.mean(np.isin(asked, seen))) - _repeating(X, seen, direction), 0.0)


def _repeating(X: Array, keys: Array, direction: Array) -> float:
    """How likely one more row is one that is there already, `keys` being the rows times the direction.

    Rows that repeat by chance, such as those of a few categories, agree in half of their columns more often still: then
    it is as likely as that a row has its like among the others. Otherwise repeats are copies, and only as many count as
    there are rows too many.
    """
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    copies, alike = 1 - len(first) / len(keys), float(counts[counts > 1].sum()) / len(keys)
    if not copies:
        return 0.0
    different = X[first]
    columns = np.random.default_rng(1).permutation(np.flatnonzero((different != different[0]).any(axis=0)))
    if len(columns) < 2:  # one number per row: nothing tells copies from values that are met again
        return alike
    for half in (columns[::2], columns[1::2]):
        with np.errstate(all="ignore"):
            part = np.unique(different[:, half] @ direction[half], return_counts=True)[1]
        if part[part > 1].sum() <= alike * len(first):
            return copies
    return alike


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


def _probe(
    model: Sequential, X: Array, targets: Array, optimizer: Any, state: Any, rate: float, total: int, frozen: Any
) -> Facts:
    """The loss on one batch after ten steps with several rates, each from where the model is."""
    from gradproof.train.optimizers import OptimizerState

    losses: dict[str, float | None] = {}
    before = None
    with np.errstate(all="ignore"):
        for factor in _PROBE_FACTORS:
            twin = model.without_dropout()
            copied = OptimizerState(state.step, {name: slot.copy() for name, slot in state.slots.items()})
            value = np.nan
            for _ in range(_PROBE_STEPS + 1):
                gradient = np.zeros_like(twin.theta)
                scores, tape = twin._forward(X, True)
                value, dscores = twin._data_loss(scores, targets)
                twin._backward(dscores, tape, gradient)
                value += twin._penalty(total, gradient)
                twin._release(tape)
                before = value if before is None else before
                if not isfinite(value):
                    break
                optimizer.update(
                    twin.theta,
                    gradient,
                    copied,
                    rate * factor,
                    decayed=twin.layout.regularized_runs,
                    frozen=frozen,
                )
                if not np.isfinite(twin.theta).all():
                    value = np.inf
                    break
            losses[f"{factor:g}"] = number(value) if isfinite(value) else None
    return {
        "rows": len(X),
        "steps": _PROBE_STEPS,
        "rate": float(rate),
        "before": number(np.nan if before is None else before),
        "after": losses,
    }
