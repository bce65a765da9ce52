"""What a gradient check found out: data first; texts, pages and plots are made when asked for.

The classes here hold the numbers and derive others from them on demand, so that building a report costs next to
nothing. The formulas come from Andrew Ng's deep learning course (gradient checking) and from CS231n (neural networks
part 3, gradient checks).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gradproof._cached import cached_property
from gradproof._config import config
from gradproof._files import PathLike
from gradproof.check.base_report import BaseReport
from gradproof.check.errors import Norms, RelativeError
from gradproof.check.render.files import jsonable, write_text
from gradproof.check.tensor_report import STATUS, EntryReport, Status, TensorReport, Verdict
from gradproof.nn.validate import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from gradproof.check.curves import Curve

__all__ = [
    "CAUSES",
    "STATUS",
    "EntryReport",
    "Finding",
    "GradientError",
    "GradientReport",
    "Status",
    "TensorReport",
    "Verdict",
]

CAUSES = (
    "scale", "sign", "regularization", "transpose", "reduction", "indexing", "missing-term", "accumulation", "mask",
    "derivative", "swapped", "clipping", "state", "precision", "upstream", "kink", "nondeterministic", "nonfinite",
    "vacuous", "unknown",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Something the check can say about the gradient beyond numbers.

    Attributes
    ----------
    cause : str
        One of `CAUSES`.
    tensor : str or None
        Name of the tensor it is about; None if it is about the whole gradient.
    message : str
        What is wrong, by how much, and where to look first.
    confidence : float
        From 0 to 1.
    evidence : dict
        The numbers behind the message, such as ``{"factor": 2.0}``.
    """

    cause: str
    tensor: str | None
    message: str
    confidence: float = 1.0
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cause not in CAUSES:
            raise ValueError(f"cause is {self.cause!r}, expected one of {', '.join(CAUSES)}")
        if not 0.0 <= self.confidence <= 1.0:
            raise ValueError(f"confidence is {self.confidence!r}, expected a number from 0 to 1")


class GradientReport(BaseReport):
    """Outcome of a gradient check. `a` is the gradient under test, `n` the measured one.

    Parameters
    ----------
    tensors : mapping or sequence of TensorReport
        The tensors in forward order.
    findings : sequence of Finding
        The most probable origin first.
    verdict : Verdict, optional
        Given for ``"nondeterministic"`` and ``"nonfinite"``; otherwise derived.
    evaluations, seconds, dtype, method
        Cost and circumstances; `dtype` and `method` are names.
    environment : dict or callable, optional
        Instruction set, threads, versions, seed. A callable is called when the attribute is first read.
    parts : mapping, optional
        Reports of parts of the cost checked apart: ``"data"`` and ``"regularization"`` of a network.
    stages : sequence of GradientReport
        One per point at which the gradient was checked (such as after 0 and 50 training steps), each with a `label`;
        the report's own tensors and parts are then those of one of them.
    label : str
        What this report is about, in a few words.
    notes : sequence of str
        Sentences for the reader, such as the outcome of an internal cross-check.
    curves : sequence of Curve
        Error against step, where measured.

    Attributes
    ----------
    tensors : dict
        Name to `TensorReport`, in forward order.
    findings, parts, stages, label, notes, curves, evaluations, seconds, dtype, method
        As given.
    """

    def __init__(
        self,
        tensors: Mapping[str, TensorReport] | Sequence[TensorReport],
        *,
        findings: Sequence[Finding] = (),
        verdict: Verdict | None = None,
        evaluations: int = 0,
        seconds: float = 0.0,
        dtype: str = "",
        method: str = "",
        environment: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = config,
        parts: Mapping[str, GradientReport] | None = None,
        stages: Sequence[GradientReport] = (),
        label: str = "",
        notes: Sequence[str] = (),
        curves: Sequence[Curve] = (),
    ) -> None:
        values = tensors.values() if isinstance(tensors, Mapping) else tensors
        self.tensors: dict[str, TensorReport] = {tensor.name: tensor for tensor in values}
        self.findings = list(findings)
        self.evaluations = evaluations
        self.seconds = seconds
        self.dtype = dtype
        self.method = method
        self.parts = dict(parts or {})
        self.stages = list(stages)
        self.label = label
        self.notes = list(notes)
        self.curves = list(curves)
        self._verdict = verdict
        self._environment = environment

    # Outcome

    @cached_property
    def verdict(self) -> Verdict:
        """The given verdict, else the worst of the tensors, parts and stages."""
        if self._verdict is not None:
            return self._verdict
        verdicts = [tensor.verdict for tensor in self.tensors.values()]
        return Verdict.worst(verdicts + [report.verdict for report in (*self.parts.values(), *self.stages)])

    def walk(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], GradientReport]]:
        """This report and all below it, each with the labels that lead to it: its stages, or without these its parts.

        With stages, the report's own tensors and parts repeat one of them.
        """
        yield path, self
        for label, part in self.parts.items() if not self.stages else ():
            yield from part.walk((*path, label))
        for stage in self.stages:
            yield from stage.walk((*path, stage.label))

    @property
    def culprits(self) -> list[str]:
        """Names of the tensors whose gradient is wrong, here or in a part or stage, the probable origin first."""
        reports = [report for _, report in self.walk()]
        wrong = [name for report in reports for name, tensor in report.tensors.items() if tensor.mismatched]
        blamed = [finding.tensor for report in reports for finding in report.findings]
        return list(dict.fromkeys([name for name in blamed if name in wrong] + wrong))

    # Numbers over all tensors

    @property
    def size(self) -> int:
        """Number of entries of the gradient, checked or not."""
        return sum(tensor.size for tensor in self.tensors.values())

    @cached_property
    def checked(self) -> int:
        """Number of entries checked, see `TensorReport.checked`."""
        return sum(tensor.checked for tensor in self.tensors.values())

    @cached_property
    def matched(self) -> int:
        """Number of entries that agree, see `TensorReport.matched`."""
        return sum(tensor.matched for tensor in self.tensors.values())

    @cached_property
    def mismatched(self) -> int:
        """Number of wrong entries, see `TensorReport.mismatched`."""
        return sum(tensor.mismatched for tensor in self.tensors.values())

    @cached_property
    def kinks(self) -> int:
        """Number of entries accepted at a kink, see `TensorReport.kinks`."""
        return sum(tensor.kinks for tensor in self.tensors.values())

    @cached_property
    def unresolved(self) -> int:
        """Number of entries that could not be decided, see `TensorReport.unresolved`."""
        return sum(tensor.unresolved for tensor in self.tensors.values())

    @cached_property
    def relative_error(self) -> RelativeError:
        """``||a - n|| / (||a|| + ||n||)`` over everything that was compared (Ng's course).

        Where a tensor was measured by projections only, the largest relative error of the tensors stands in.
        """
        errors = [tensor.relative_error for tensor in self.tensors.values()]
        if any(tensor.analytic is None for tensor in self.tensors.values()):
            return RelativeError(_largest(errors))
        if errors and all(math.isnan(error) for error in errors):
            return RelativeError(math.nan)
        return Norms.joined(tensor.norms for tensor in self.tensors.values()).relative_error

    @cached_property
    def max_relative_error(self) -> RelativeError:
        """Largest ``|a - n| / max(|a|, |n|)`` of all entries that were compared (CS231n)."""
        return RelativeError(_largest([t.max_relative_error for t in self.tensors.values()]), "cs231n")

    @cached_property
    def detectable(self) -> float:
        """Largest `TensorReport.detectable`: a relative error of this size is seen wherever it is."""
        return _largest([tensor.detectable for tensor in self.tensors.values()])

    def worst(self, k: int = 5) -> list[tuple[str, EntryReport]]:
        """The `k` worst entries of all tensors with the tensors' names, wrong ones first; see `TensorReport.worst`."""
        k = whole(k, "k", 0, 2**63 - 1)
        entries = [(name, entry) for name, tensor in self.tensors.items() for entry in tensor.worst(k)]
        return sorted(entries, key=lambda item: (item[1].status not in WRONG, -_excess(item[1])))[:k]

    @property
    def environment(self) -> dict[str, Any]:
        """Instruction set, threads, versions and seed of the check."""
        if callable(self._environment):
            self._environment = self._environment()
        return dict(self._environment)

    # Renderings

    def __rich__(self) -> RenderableType:
        from gradproof.check.render.text import report_text

        return report_text(self)

    def __repr__(self) -> str:
        return f"<GradientReport {self.verdict}: {len(self.tensors)} tensors, {self.checked} of {self.size} entries>"

    def _repr_html_(self) -> str:
        from gradproof.check.render.html import report_fragment

        return report_fragment(self)

    def to_dict(self, include_arrays: bool = False) -> dict[str, Any]:
        """Everything as plain Python values that JSON can hold.

        NaN becomes None, infinities the strings ``"inf"`` and ``"-inf"``.

        Parameters
        ----------
        include_arrays : bool
            Whether the tensors' arrays go in, as nested lists.
        """
        values = {
            "verdict": self.verdict.value,
            "ok": self.ok,
            "label": self.label,
            "relative_error": float(self.relative_error),
            "max_relative_error": float(self.max_relative_error),
            "detectable": self.detectable,
            "checked": self.checked,
            "size": self.size,
            "culprits": self.culprits,
            "findings": [asdict(finding) for finding in self.findings],
            "notes": self.notes,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "dtype": self.dtype,
            "method": self.method,
            "environment": self.environment,
            "tensors": {name: tensor.to_dict(include_arrays) for name, tensor in self.tensors.items()},
            "parts": {label: part.to_dict(include_arrays) for label, part in self.parts.items()},
            "stages": [stage.to_dict(include_arrays) for stage in self.stages],
            "curves": [curve.to_dict() for curve in self.curves],
        }
        plain: dict[str, Any] = jsonable(values)
        return plain

    def _page(self) -> str:
        from gradproof.check.render.html import report_page

        return report_page(self)

    def to_junit(self, path: PathLike) -> None:
        """Write JUnit XML for continuous integration: one test case per tensor, one suite per part and stage."""
        from gradproof.check.render.junit import junit

        write_text(path, junit(self))

    def plot(self) -> tuple[Figure, dict[str, Any]]:
        """Draw a map of the errors of every tensor.

        Returns
        -------
        figure : matplotlib.figure.Figure
            Not registered with pyplot; shows itself in a notebook, else use ``figure.savefig``.
        data : dict
            Name to the 2-D array drawn: ``log10(|a - n| / uncertainty)``, large tensors reduced by block maxima.
        """
        from gradproof.check.render.plot import report_figure

        return report_figure(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_environment": self.environment}


class GradientError(AssertionError):
    """Raised by the asserting functions when a check does not pass; its text is the whole report.

    Attributes
    ----------
    report : GradientReport
        The report.
    """

    def __init__(self, report: GradientReport) -> None:
        super().__init__(str(report))
        self.report = report

    def __reduce__(self) -> tuple[type[GradientError], tuple[GradientReport]]:
        return GradientError, (self.report,)


WRONG = (Status.MISMATCH.label, Status.KINK_MISMATCH.label)


def _excess(entry: EntryReport) -> float:
    difference = abs(entry.analytic - entry.numeric)
    if difference == 0:
        return 0.0
    excess = difference / entry.uncertainty if entry.uncertainty else math.inf
    return math.inf if math.isnan(excess) else excess


def _largest(values: Sequence[float]) -> float:
    """Largest value that is a number; NaN if none is, 0 if there are no values."""
    numbers = [float(value) for value in values if not math.isnan(value)]
    return max(numbers) if numbers else (math.nan if values else 0.0)
