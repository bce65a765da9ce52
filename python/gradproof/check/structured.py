"""Derivatives of a network's loss for every single parameter, by the structured loop of the C++ core."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof import _core
from gradproof._cached import cached_property
from gradproof.check.measurement import Measurement
from gradproof.check.stacked import Ahead
from gradproof.nn.model import Sequential
from gradproof.nn.plan import Plan

Array = NDArray[Any]
CoreArguments: TypeAlias = tuple[Array, Array, Array, Array, int, Array, Array, Array]
Scheme = Literal["difference", "tangent", "central", "forward"]
Dropout = Literal["frozen", "off"]

SCHEMES: Final = get_args(Scheme)
PROPAGATED: Final = ("difference", "tangent")  # schemes that subtract nothing, unlike quotients of losses
LOSSES: Final = ("softmax_cross_entropy", "hinge", "binary_cross_entropy", "mse")  # codes of the core
DIFFERENCE, TANGENT, LOSS = range(3)  # what a pass of the core returns

# The textbook steps, best for functions of scale 1: eps^(1/3) for central and eps^(1/2) for forward differences.
TEXTBOOK_STEP: Final = {
    ("central", "float32"): 2.0**-8,
    ("central", "float64"): 2.0**-17,
    ("forward", "float32"): 2.0**-12,
    ("forward", "float64"): 2.0**-26,
}

# How many standard deviations of its rounding error a gradient may be off (bench/calibrate.py: what is observed).
ROUNDING: Final = 12.0
UNDERFLOW: Final = 2.0**-500  # the variances of smaller errors vanish in double
INPUT_ERROR: Final = 4.0  # relative, in units of round-off, of what a Python layer hands on
SLOPE_ERROR: Final = 1e-11  # of slopes measured on a forward function in double (stencil.hpp), with a margin of 10


class Point:
    """A model on one batch: the base forward pass, and passes of the core over the parameters behind the last Python
    layer (all parameters, in a model without one).

    Attributes
    ----------
    first : int
        Offset in theta of the first parameter that the core reaches.
    salvages, interrupted : bool
        Whether a Ctrl-C during a pass is noted and no more is measured, what is left being NaN; else it is raised.

    Parameters
    ----------
    model, X, y
        As for :func:`measure`.
    careful : bool
        Whether the base activations are computed in twice the precision: the measured gradient is then more accurate
        than the one under test. Not for quotients of losses, which are those of the model's own arithmetic.
    """

    def __init__(self, model: Sequential, X: ArrayLike, y: ArrayLike, *, careful: bool = True) -> None:
        self.model = model
        self.X, self.targets = model._checked(X, y, None, ("data",))[:2]
        self.scores, self.tape = model._forward(self.X, True)
        segment = model.segments[-1]
        self.first = model.layout.size
        self.salvages = self.interrupted = False
        self._arguments: CoreArguments | None = None
        if isinstance(segment, Plan):
            self.first = model.layout.size if segment.first is None else segment.first
            X_last, workspace = self.tape[-1]
            if careful:
                _core.careful_forward(
                    segment.ops,
                    segment.scalars,
                    model.theta,
                    X_last,
                    np.empty_like(self.scores),
                    workspace,
                    model.seed,
                    model.dropout_step,
                )
            labelled = self.targets.dtype == np.int64
            none = np.empty((0, 0), model.dtype)
            self._arguments = (
                segment.ops,
                segment.scalars,
                model.theta,
                X_last,
                LOSSES.index(model.loss_name),
                self.targets if labelled else np.empty(0, np.int64),
                none if labelled else self.targets,
                workspace,
            )

    @cached_property
    def ahead(self) -> Ahead:
        """The parameters that the core does not reach."""
        return Ahead(self.model, self.X, self.targets)

    @cached_property
    def value(self) -> float:
        """The data loss at the point."""
        return self.model._data_loss(self.scores, self.targets)[0]

    @property
    def tail(self) -> Array:
        """Indices of the parameters that the core reaches."""
        return np.arange(self.first, self.model.layout.size)

    def run(self, what: int, steps: Array, entries: Array | None, kink: Array | None = None) -> Array:
        """One structured pass over all parameters of the tail, or over `entries`: see difference.hpp."""
        count = self.model.layout.size if entries is None else len(entries)
        change = np.zeros(count)
        if self.interrupted:
            change.fill(np.nan)
        else:
            try:
                _core.structured_pass(*self._core_arguments, what, steps, entries, change, kink)
            except KeyboardInterrupt:
                if not self.salvages:
                    raise
                self.interrupted = True
        return change if entries is not None else change[self.first :]

    @cached_property
    def steps(self) -> Array:
        """Steps of propagated differences: without cancellation they may be far below what theta + step could hold, and
        only have to keep clear of underflow on the way to the loss."""
        steps = np.ones(self.model.layout.size, self.model.dtype)
        _core.tiny_steps(*self._core_arguments, steps)
        return steps

    @cached_property
    def rounding(self) -> tuple[Array, float]:
        """Standard deviations of the rounding errors of backpropagation, per parameter of the tail, and of the loss."""
        error = np.zeros(self.model.layout.size)
        input_error = INPUT_ERROR if len(self.tape) > 1 else 0.0
        loss_error = _core.rounding_errors(*self._core_arguments, input_error, error)
        unit = float(np.finfo(self.model.dtype).eps) / 2
        return unit * error[self.first :], unit * loss_error

    def ordinary(self, entries: Array, steps: Array) -> Array:
        """The loss with single parameters of the tail moved, by the ordinary forward pass."""
        losses = np.empty(len(entries))
        model = self.model
        _core.ordinary_losses(
            *self._core_arguments, model.buffers, model.seed, model.dropout_step, entries, steps, losses
        )
        return losses

    @property
    def _core_arguments(self) -> CoreArguments:
        assert self._arguments is not None, "the model ends in a Python layer"
        return self._arguments


def shifted(point: Point, entry: int, step: float) -> Point:
    """The same batch at the point with one parameter moved."""
    model = point.model.copy()
    model.theta[entry] += step
    return Point(model, point.X, point.targets, careful=False)


def measure(
    model: Sequential,
    X: ArrayLike,
    y: ArrayLike,
    *,
    scheme: Scheme = "difference",
    step: float | None = None,
    entries: ArrayLike | None = None,
    dropout: Dropout = "frozen",
) -> Measurement:
    """Measure the gradient of the data loss (training mode, no penalties) with respect to single parameters.

    Parameters
    ----------
    model : Sequential
        The network; it is not changed.
    X, y : array_like
        The batch, as for ``model.loss``.
    scheme : {"difference", "tangent", "central", "forward"}
        ``difference``: propagated differences, accurate to rounding at any step. ``tangent``: directional derivatives
        with the activations' slopes measured on their forward functions. ``central``, ``forward``: the textbook
        quotients of losses in the precision of the model, with their truncation and cancellation.
    step : float, optional
        For ``central`` and ``forward``, absolute; the textbook value for the precision if not given. For ``difference``
        any step shows that scheme's truncation; by default it is too small to have one.
    entries : array_like of int, optional
        Indices into theta; all parameters if not given.
    dropout : {"frozen", "off"}
        Keep the masks of ``model.dropout_step``, or keep every value.

    Returns
    -------
    Measurement
        One element per parameter, or per entry.

    Notes
    -----
    Cost: about ``P m (n_next + products of the layers behind)`` multiplications for P parameters; twice that with
    ``central`` (four evaluations per parameter) against ``difference`` (one, and two more where there are kinks).
    Parameters in front of a Python layer are measured layer by layer on forward passes instead, see
    :mod:`gradproof.check.chain`. Memory O(P).
    """
    if dropout == "off":
        model = model.without_dropout()
    return measure_at(Point(model, X, y, careful=scheme in PROPAGATED), scheme, step, entries)


def measure_at(
    point: Point, scheme: Scheme = "difference", step: float | None = None, entries: ArrayLike | None = None
) -> Measurement:
    """:func:`measure`, with the base forward pass done."""
    model = point.model
    chosen = None if entries is None else np.ascontiguousarray(entries, dtype=np.int64)
    ahead = np.arange(point.first) if chosen is None else np.flatnonzero(chosen < point.first)
    tail = np.arange(0) if chosen is None else np.flatnonzero(chosen >= point.first)
    parts: list[Measurement] = []
    if ahead.size:
        parts.append(point.ahead.measure(ahead if chosen is None else chosen[ahead]))
    if point.first < model.layout.size and (chosen is None or tail.size):
        parts.append(_tail(point, scheme, step, None if chosen is None else chosen[tail]))
    if not parts:
        return Measurement.smooth(np.empty(0), np.empty(0), np.empty(0), 0)
    measured = Measurement.joined(parts)
    if chosen is not None and ahead.size and tail.size:
        measured = measured[np.argsort(np.concatenate([ahead, tail]), kind="stable")]
    return measured


def _tail(point: Point, scheme: Scheme, step: float | None, entries: Array | None) -> Measurement:
    if scheme == "tangent":
        return _tangent(point, entries)
    if scheme == "difference":
        return _difference(point, step, entries)
    return _textbook(point, scheme, step, entries)


def _rounding(point: Point, entries: Array | None) -> Array:
    """How much rounding may move a gradient, measured or backpropagated in the precision of the model."""
    error = point.rounding[0]
    allowed = ROUNDING * (error if entries is None else error[entries - point.first])
    allowed += UNDERFLOW
    return np.asarray(allowed)


def _slopes(point: Point, rounding: Array) -> Array:
    """What measured slopes add to the uncertainty: a slope's error does what its rounding does."""
    unit = float(np.finfo(point.model.dtype).eps) / 2
    return SLOPE_ERROR / unit / ROUNDING * rounding


def _tangent(point: Point, entries: Array | None) -> Measurement:
    numeric = point.run(TANGENT, np.ones(1, point.model.dtype), entries)
    rounding = _rounding(point, entries)
    rounding = rounding + _slopes(point, rounding)
    return Measurement.smooth(numeric, rounding, rounding, len(numeric))


@np.errstate(all="ignore")  # steps beyond the precision's range measure nothing
def _difference(point: Point, step: float | None, entries: Array | None) -> Measurement:
    tiny = step is None
    if tiny:
        steps = point.steps if entries is None else point.steps[entries]
    else:
        steps = np.array([step], point.model.dtype)
    flags = np.zeros(point.model.layout.size if entries is None else len(entries), np.uint8)

    def side(sign: int) -> tuple[Array, Array]:
        quotient = point.run(DIFFERENCE, steps if sign > 0 else -steps, entries, flags)
        quotient /= sign * (steps[point.first :] if tiny and entries is None else steps)
        return quotient, (flags if entries is not None else flags[point.first :]).astype(bool)

    right, kink = side(1)
    rounding = _rounding(point, entries)
    if tiny and not kink.any():
        return Measurement.smooth(right, rounding, rounding, len(right))
    left, left_kink = side(-1)
    if not tiny:
        # Two sides of any step: their difference bounds the truncation, and kinks within the step show in it.
        uncertainty = rounding + np.abs(right - left)
        return Measurement.smooth((left + right) / 2, uncertainty, rounding, 2 * len(right))
    kink |= left_kink
    where = np.flatnonzero(kink)
    indices = where + point.first if entries is None else entries[where]
    recorded = right.copy()
    recorded[where] = point.run(TANGENT, np.ones(1, steps.dtype), np.ascontiguousarray(indices))
    # The rounding errors are those of the recorded piece; on the other pieces an entry may be larger.
    unit = float(np.finfo(point.model.dtype).eps) / 2
    pieces = _slopes(point, rounding) + ROUNDING * unit * (np.abs(left) + np.abs(right))
    rounding = rounding + np.where(kink, pieces, 0.0)
    evaluations = 2 * len(right) + len(where)
    return Measurement(recorded, rounding, rounding, kink, left, right, recorded, evaluations)


@np.errstate(all="ignore")  # steps beyond the precision's range measure nothing
def _textbook(point: Point, scheme: Scheme, step: float | None, entries: Array | None) -> Measurement:
    """Quotients of losses at theta +- h, with theta +- 2h for their uncertainty."""
    model = point.model
    h = TEXTBOOK_STEP[scheme, model.dtype.name] if step is None else float(step)
    indices = point.tail if entries is None else entries
    theta = model.theta[indices]
    nodes: dict[int, Array] = {0: theta}
    values: dict[int, Array] = {0: np.full(len(indices), float(model.dtype.type(point.value)))}
    for multiple in (1, -1, 2, -2):
        nodes[multiple] = theta + model.dtype.type(multiple * h)
        steps = nodes[multiple] - theta
        if entries is None:  # a pass over all parameters wants one step for each of theta
            steps = np.concatenate([np.zeros(point.first, model.dtype), steps])
        values[multiple] = point.run(LOSS, steps, entries)
    rounding = _rounding(point, entries)
    numeric, uncertainty, sides = textbook_quotients(scheme, h, nodes, values, ROUNDING / 4 * point.rounding[1])
    return Measurement(numeric, uncertainty + rounding, rounding, *sides, 4 * len(indices))


@np.errstate(all="ignore")  # steps beyond the precision's range measure nothing
def textbook_quotients(
    scheme: Scheme, h: float, nodes: dict[int, Array], values: dict[int, Array], noise: float
) -> tuple[Array, Array, tuple[Array, Array, Array, Array]]:
    """The central or forward quotient, its uncertainty, and (kink, left, right, recorded).

    Parameters
    ----------
    scheme, h
        ``"central"`` or ``"forward"``, and the step.
    nodes, values : dict
        For k in -2 .. 2 the argument ``x + k h`` as it was rounded, and the function there.
    noise : float
        Rounding error of one value.

    Notes
    -----
    Central: the error is bounded by ``|D(h) - D(2h)|`` (truncation) + ``|fourth difference| / 2h`` (a kink within the
    step, which is invisible to symmetric differences) + noise over h. Forward: by twice ``|D(h) - D(2h)|`` + noise; a
    kink at the point is where the quotients of the two sides differ by far more than that.
    """

    def quotient(right: int, left: int) -> Array:
        width = nodes[right].astype(np.float64) - nodes[left]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((values[right] - values[left]) / width)

    kink = np.zeros(values[0].shape, bool)
    if scheme == "central":
        numeric = quotient(1, -1)
        fourth = values[2] + values[-2] - 4 * (values[1] + values[-1]) + 6 * values[0]
        uncertainty = np.abs(numeric - quotient(2, -2)) + np.abs(fourth) / (2 * h) + 4 * noise / h
        return numeric, uncertainty, (kink, numeric, numeric, numeric)
    right, left = quotient(1, 0), quotient(0, -1)
    errors = [
        2 * np.abs(near - far) + 8 * noise / h for near, far in ((right, quotient(2, 0)), (left, quotient(0, -2)))
    ]
    kink = np.abs(right - left) > 4 * (errors[0] + errors[1])
    return right, np.where(kink, errors[0] + errors[1], errors[0]), (kink, left, right, right)
