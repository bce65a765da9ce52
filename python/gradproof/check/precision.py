"""One network in float32 and in float64, side by side: what each precision can compute and what it can measure.

Both twins hold the same numbers: parameters and data are rounded to float32 once and then kept exactly in float64.
The truth is the float64 twin's gradient measured by propagated differences, which does not suffer from cancellation;
its own error is of the order of 1e-16.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from gradproof.check.base_report import BaseReport
from gradproof.check.curves import Curve, half_decades, median_curve
from gradproof.check.errors import Norms, RelativeError
from gradproof.check.networks import check_model
from gradproof.check.render.files import jsonable
from gradproof.check.report import GradientReport, TensorReport, Verdict
from gradproof.check.structured import Dropout, Point, Scheme, measure
from gradproof.nn import validate
from gradproof.nn.model import Sequential

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

Array = npt.NDArray[Any]
Sample = dict[str, npt.NDArray[np.int64]]

DTYPES = ("float32", "float64")
SCHEMES: tuple[Scheme, ...] = ("forward", "central")


@dataclass(frozen=True)
class TensorPrecision:
    """One tensor in both precisions; every mapping has the keys ``"float32"`` and ``"float64"``.

    Errors are against the truth (see the module's description). The truth cannot be held against itself, so the
    measurement in float64 is held against float64 backpropagation, an independent computation; where that is wrong,
    the numeric errors in float64 are NaN.

    Attributes
    ----------
    name : str
        Name of the tensor.
    shape : tuple of int
        Its shape.
    verdict : dict of Verdict
        Verdict of the check in each precision, all parts and stages together.
    analytic_error, numeric_error : dict of RelativeError
        ``||g - truth|| / (||g|| + ||truth||)`` of backpropagation and of propagated differences.
    analytic_max_error, numeric_max_error : dict of float
        ``max|g - truth| / max|truth|`` of the same.
    best : dict
        For each precision a mapping from scheme (``"forward"``, ``"central"``) to the best step of an ordinary
        difference and its median relative error over the sampled entries. Empty if every entry is zero, and in
        front of a Python layer, where single steps are not to be had.
    """

    name: str
    shape: tuple[int, ...]
    verdict: dict[str, Verdict]
    analytic_error: dict[str, RelativeError]
    analytic_max_error: dict[str, float]
    numeric_error: dict[str, RelativeError]
    numeric_max_error: dict[str, float]
    best: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)


class PrecisionReport(BaseReport):
    """Outcome of `compare_precisions`.

    Attributes
    ----------
    tensors : dict
        Name to `TensorPrecision`, in forward order.
    reports : dict
        ``"float32"`` and ``"float64"`` to the `GradientReport` of the check in that precision.
    curves : list of Curve
        Error against step, per tensor, scheme and precision.
    label : str
        What was compared, in a few words.
    seconds : float
        Time taken.
    """

    def __init__(
        self,
        tensors: Mapping[str, TensorPrecision],
        reports: Mapping[str, GradientReport],
        curves: Sequence[Curve],
        *,
        label: str = "",
        seconds: float = 0.0,
    ) -> None:
        self.tensors = dict(tensors)
        self.reports = dict(reports)
        self.curves = list(curves)
        self.label = label
        self.seconds = seconds

    @property
    def verdict(self) -> Verdict:
        """The worse of the two precisions' verdicts."""
        return Verdict.worst([report.verdict for report in self.reports.values()])

    def best(self, dtype: str, scheme: str) -> tuple[float, float]:
        """Step at which the median error over the tensors is smallest, and that error; NaN without curves."""
        curves = [curve for curve in self.curves if (curve.dtype, curve.scheme) == (dtype, scheme)]
        return median_curve(curves).best if curves else (float("nan"), float("nan"))

    def __rich__(self) -> RenderableType:
        from gradproof.check.render.text import precision_text

        return precision_text(self)

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{dtype} {report.verdict}" for dtype, report in self.reports.items())
        return f"<PrecisionReport {verdicts}: {len(self.tensors)} tensors>"

    def _repr_html_(self) -> str:
        from gradproof.check.render.html import precision_fragment

        return precision_fragment(self)

    def to_dict(self, include_arrays: bool = False) -> dict[str, Any]:
        """Everything as plain Python values that JSON can hold; NaN becomes None, infinities strings.

        Parameters
        ----------
        include_arrays : bool
            Whether the arrays of the two reports go in, as nested lists.
        """
        values: dict[str, Any] = jsonable(
            {
                "verdict": self.verdict.value,
                "ok": self.ok,
                "label": self.label,
                "seconds": self.seconds,
                "tensors": {name: vars(tensor) for name, tensor in self.tensors.items()},
                "curves": [curve.to_dict() for curve in self.curves],
                "reports": {dtype: report.to_dict(include_arrays) for dtype, report in self.reports.items()},
            }
        )
        return values

    def _page(self) -> str:
        from gradproof.check.render.html import precision_page

        return precision_page(self)

    def plot(self) -> tuple[Figure, list[Curve]]:
        """Draw error against step in both precisions.

        Returns
        -------
        figure : matplotlib.figure.Figure
            Not registered with pyplot; shows itself in a notebook, else use ``figure.savefig``.
        data : list of Curve
            The curves drawn.
        """
        from gradproof.check.render.plot import curve_figure

        return curve_figure(self.curves), self.curves


def compare_precisions(
    model: Sequential,
    X: ArrayLike,
    y: ArrayLike,
    *,
    steps: ArrayLike | None = None,
    entries_per_tensor: int = 64,
    seed: int = 0,
    dropout: Dropout = "frozen",
    label: str = "",
) -> PrecisionReport:
    """Check a network in float32 and in float64, and measure how far ordinary differences get in each.

    Parameters
    ----------
    model : Sequential
        The network, of either precision; it is not changed.
    X, y : array_like
        Inputs (m, n_in) and targets. Inputs, and targets that are not labels, are rounded to float32 first.
    steps : array_like, optional
        Steps of the curves; by default two per power of ten from 1e-1 down to 1e-12.
    entries_per_tensor : int
        Entries drawn per tensor for the curves, from those whose gradient is not negligible; at least 1.
    seed : int
        Seed of that draw.
    dropout : {"frozen", "off"}
        As in `check_model`.
    label : str
        What is compared, for the report.

    Returns
    -------
    PrecisionReport

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected.
    """
    start = time.perf_counter()
    if not isinstance(model, Sequential):
        raise TypeError(f"model: got {type(model).__name__}, expected a gradproof.Sequential")
    if not isinstance(label, str):
        raise TypeError(f"label: got {label!r}, expected a str")
    chosen = half_decades() if steps is None else _steps(steps)
    count = validate.whole(entries_per_tensor, "entries_per_tensor", 1, 2**63 - 1)
    seed = validate.whole(seed, "seed", 0, 2**64 - 1)

    with np.errstate(over="ignore"):  # infinity gets a verdict
        single = model.astype("float32")
    twins = {"float32": single, "float64": single.astype("float64")}
    rounded, targets, *_ = single._checked(X, y, None, ())
    data = {dtype: (rounded.astype(dtype), _targets(targets, dtype)) for dtype in DTYPES}
    reports = {dtype: check_model(twins[dtype], *data[dtype], dropout=dropout) for dtype in DTYPES}
    checked = {dtype: report.parts.get("data", report).tensors for dtype, report in reports.items()}
    names = checked["float64"]  # measured in neither precision where a loss is not finite
    both = [name for name in names if all(tensors[name].numeric is not None for tensors in checked.values())]
    truth = {name: _array(checked["float64"][name].numeric) for name in both}

    sample = _sample(model, truth, count, seed, Point(single, *data["float32"]).first)
    indices = np.concatenate([np.empty(0, np.int64), *sample.values()])

    def difference(dtype: str, scheme: Scheme, step: float) -> npt.NDArray[np.float64]:
        with np.errstate(over="ignore", invalid="ignore"):  # steps beyond the precision's range measure nothing
            measured = measure(twins[dtype], *data[dtype], scheme=scheme, step=step, entries=indices, dropout=dropout)
        return np.asarray(measured.numeric, dtype=np.float64)

    curves = _curves(difference, chosen, sample, truth, checked, model) if indices.size else []
    tensors = {name: _tensor(name, reports, checked, truth[name], curves) for name in truth}
    return PrecisionReport(tensors, reports, curves, label=label, seconds=time.perf_counter() - start)


def _steps(steps: ArrayLike) -> npt.NDArray[np.float64]:
    values = validate.finite(validate.numeric(steps, "steps").ravel(), np.dtype(np.float64), "steps")
    if not values.size or np.any(values <= 0):
        raise ValueError(f"steps: got {steps!r}, expected positive numbers")
    return values


def _targets(y: Array, dtype: str) -> Array:
    """Values in either precision; labels are integers."""
    return y.astype(dtype) if y.dtype.kind == "f" else y


def _array(values: Array | None) -> npt.NDArray[np.float64]:
    assert values is not None, "network checks measure every entry"
    return values.astype(np.float64)


def _offsets(model: Sequential) -> dict[str, int]:
    """Where each tensor starts in theta."""
    return {entry.name: entry.offset for entry in model.layout.slices}


def _sample(model: Sequential, truth: Mapping[str, Array], count: int, seed: int, first: int) -> Sample:
    """Draw indices into theta, tensor by tensor, among the entries of at least a thousandth of the largest.

    Tensors before `first` stand in front of a Python layer; the engine does not take single steps there.
    """
    sample: Sample = {}
    offsets = _offsets(model)
    for position, (name, values) in enumerate(truth.items()):
        size = np.abs(values.ravel())
        if size.any() and offsets[name] >= first:
            candidates = np.flatnonzero(size >= 1e-3 * size.max())
            random = np.random.default_rng([seed, position])
            drawn = random.choice(candidates, min(count, candidates.size), replace=False)
            sample[name] = np.sort(drawn).astype(np.int64) + offsets[name]
    return sample


def _curves(
    difference: Callable[[str, Scheme, float], npt.NDArray[np.float64]],
    steps: npt.NDArray[np.float64],
    sample: Sample,
    truth: Mapping[str, Array],
    checked: Mapping[str, Mapping[str, TensorReport]],
    model: Sequential,
) -> list[Curve]:
    """Median relative error of every tensor's sample, for both precisions and all schemes."""
    offsets = _offsets(model)
    inside = {name: indices - offsets[name] for name, indices in sample.items()}
    exact = {name: truth[name].ravel()[inside[name]] for name in sample}
    edges = np.cumsum([0, *(indices.size for indices in sample.values())])
    pieces = {name: slice(*edges[i : i + 2]) for i, name in enumerate(sample)}

    curves = []
    for dtype in DTYPES:
        for scheme in SCHEMES:
            measured = [difference(dtype, scheme, float(step)) for step in steps]
            for name in sample:
                errors = [_median_error(values[pieces[name]], exact[name]) for values in measured]
                curves.append(Curve(name, scheme, dtype, tuple(steps.tolist()), tuple(errors)))
        for name in sample:
            judge = _judge(dtype, truth[name], checked["float64"][name])
            measured_once = _array(checked[dtype][name].numeric)
            error = _median_error(measured_once.ravel()[inside[name]], judge.ravel()[inside[name]])
            curves.append(Curve(name, "difference", dtype, tuple(steps.tolist()), (error,) * steps.size))
    return curves


def _judge(dtype: str, truth: Array, double: TensorReport) -> Array:
    """What a measurement is held against: the truth, which itself is held against right float64 backpropagation."""
    if dtype == "float32":
        return truth
    return _array(double.analytic) if double.verdict is Verdict.PASS else np.full(truth.shape, np.nan)


def _median_error(values: Array, exact: Array) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.median(np.abs(values - exact) / np.abs(exact)))


def _tensor(
    name: str,
    reports: Mapping[str, GradientReport],
    checked: Mapping[str, Mapping[str, TensorReport]],
    truth: npt.NDArray[np.float64],
    curves: Sequence[Curve],
) -> TensorPrecision:
    analytic = {dtype: _array(checked[dtype][name].analytic) for dtype in DTYPES}
    numeric = {dtype: _array(checked[dtype][name].numeric) for dtype in DTYPES}
    judges = {dtype: _judge(dtype, truth, checked["float64"][name]) for dtype in DTYPES}
    verdicts = {
        dtype: Verdict.worst([below.tensors[name].verdict for _, below in report.walk() if name in below.tensors])
        for dtype, report in reports.items()
    }
    return TensorPrecision(
        name=name,
        shape=truth.shape,
        verdict=verdicts,
        analytic_error={dtype: Norms.of(analytic[dtype], truth).relative_error for dtype in DTYPES},
        analytic_max_error={dtype: _scaled_maximum(analytic[dtype], truth) for dtype in DTYPES},
        numeric_error={dtype: Norms.of(numeric[dtype], judges[dtype]).relative_error for dtype in DTYPES},
        numeric_max_error={dtype: _scaled_maximum(numeric[dtype], judges[dtype]) for dtype in DTYPES},
        best={
            dtype: {c.scheme: c.best for c in curves if (c.tensor, c.dtype) == (name, dtype) and c.scheme in SCHEMES}
            for dtype in DTYPES
        },
    )


def _scaled_maximum(values: Array, truth: Array) -> float:
    """``max|values - truth| / max|truth|``, 0 where both are 0."""
    largest = float(np.max(np.abs(truth), initial=0.0))
    difference = float(np.max(np.abs(values - truth), initial=0.0))
    return difference / largest if largest else (0.0 if difference == 0 else float("inf"))
