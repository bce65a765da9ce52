"""Check every parameter of a :class:`gradproof.Sequential` network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof._config import config
from gradproof.check import keywords
from gradproof.check.apart import told_apart
from gradproof.check.findings import findings_of
from gradproof.check.guard import guard
from gradproof.check.measurement import Measurement
from gradproof.check.narrowed import named
from gradproof.check.penalty import measure_penalty
from gradproof.check.points import burn_in, nearby_point, unreached
from gradproof.check.portions import INTERRUPTED, Terms, measure_portions
from gradproof.check.reconsider import reconsidered
from gradproof.check.report import Finding, GradientReport, TensorReport, Verdict
from gradproof.check.selection import Comparisons, doubtful, entries_of
from gradproof.check.settled import Settled, by_twin, natural_slope
from gradproof.check.structured import PROPAGATED, SCHEMES, Dropout, Point, Scheme
from gradproof.check.subject import INQUIRIES, REPEATS, Subject, flat, has_python
from gradproof.check.tensor_report import MATCH, Status, all_match
from gradproof.nn.model import Sequential
from gradproof.nn.network import PARTS
from gradproof.nn.validate import real

Array = NDArray[Any]


def check_model(
    model: Sequential,
    X: ArrayLike,
    y: ArrayLike,
    *,
    after_steps: Sequence[int] | int = (0,),
    parts: Sequence[str] = PARTS,
    dropout: Dropout = "frozen",
    scheme: Scheme = "difference",
    step: float | None = None,
    rtol: float | None = None,
    gradient: ArrayLike | None = None,
    nearby: bool | None = None,
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    seed: int = 0,
    progress: bool | Callable[[int, int], object] | None = None,
    backend: str | None = None,
    n_jobs: int = 1,
) -> GradientReport:
    """Check the gradient of a network with respect to every parameter, in the precision of the model.

    Parameters
    ----------
    model : Sequential
        The network; it comes back as it was.
    X, y : array_like
        A batch, as for ``model.loss_and_gradient``. A few rows are enough and fastest.
    after_steps : int or sequence of int
        Check after so many steps of plain gradient descent on this batch, on a copy: mistakes that vanish near the
        initial weights show after some steps. ``report.stages`` holds one report for each; a stage that the budget of
        time, or Ctrl-C, leaves no room to get to is ``inconclusive`` and says so.
    parts : sequence of {"data", "regularization"}
        Terms of the cost. With both, each is also checked apart (``report.parts``), because a large penalty hides
        mistakes in the data part.
    dropout : {"frozen", "off"}
        Check with one fixed set of masks, those of ``model.dropout_step``, or keep every value.
    scheme : {"difference", "tangent", "central", "forward"}
        How the derivatives are measured, see :func:`gradproof.check.structured.measure`.
    step : float, optional
        Step of ``central`` and ``forward`` (and, to see its truncation, of ``difference``).
    rtol : float, optional
        Relative errors up to this pass as well; by default whatever the arithmetic can resolve counts.
    gradient : array_like, (P,), optional
        Check this gradient in the layout of ``model.theta`` in place of the model's own: one computed by your own
        implementation of the same network. It is compared with the sum of `parts`, and `after_steps` must be (0,).
    nearby : bool, optional
        Also check at one generic point nearby, where mistakes that vanish at scales of 1 and shifts of 0 show. By
        default where a layer is written in Python.
    max_evaluations : int, optional
        Budget of evaluations of the data loss, a moved parameter counting as one; what is left is ``unchecked``. The
        last ones measured may take it a sixteenth beyond, a layer written in Python by what measuring that one takes at
        once, and looking again at what is found wrong is not part of it.
    max_seconds : float, optional
        Budget of time.
    seed : int
        Of the entries that the guard picks, and of the nearby point.
    progress : None, bool or callable
        None: a bar on a terminal after 2 s. True, False, or ``callable(done, total)``.
    backend : str, optional
        Name of a joblib backend to share the parameters out to (extra `scale`): ``"loky"`` for processes,
        ``"threading"``, ``"dask"`` for the cluster of the ``distributed.Client`` that is open, ``"ray"`` after
        ``ray.util.joblib.register_ray()``.
    n_jobs : int
        Number of joblib workers. The numbers do not depend on it.

    Returns
    -------
    GradientReport
        ``tensors``: one report per parameter tensor, of the sum of the parts; with several stages those of the first
        stage that does not pass, else of the last.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected.

    Notes
    -----
    The tolerance of an entry is its rounding error, computed from its condition number: see
    :mod:`gradproof.check.structured` for cost and memory. Interrupted, it gives what is known. A guard compares the
    structured loop with the ordinary forward pass on random entries of every tensor in every run; if they disagree the
    verdict is ``inconclusive``.
    """
    chosen = keywords.parts(parts)
    counts = keywords.step_counts(after_steps)
    keywords.one_of(scheme, SCHEMES, "scheme")
    keywords.one_of(dropout, ("frozen", "off"), "dropout")
    if step is not None:
        step = real(step, "step", "a finite number > 0", lambda number: number > 0)
    keywords.validate("exhaustive", nearby, max_evaluations, max_seconds, rtol, n_jobs, seed, backend)
    if not isinstance(model, Sequential):
        raise TypeError(f"model: got {type(model).__name__}, expected a gradproof.Sequential")
    if gradient is not None and (counts != [0] or nearby):
        other = (
            f"after_steps: got {after_steps!r}, expected (0,)" if counts != [0] else "nearby: got True, expected False"
        )
        raise ValueError(f"{other} when a gradient is given")
    subject = model.without_dropout() if dropout == "off" else model
    random = Random(int(seed))  # which takes no integer of NumPy
    terms = Terms(max_evaluations, max_seconds, progress, backend, n_jobs)

    def check(subject: Sequential, label: str) -> GradientReport:
        return _Check(subject, X, y, chosen, scheme, step, rtol, gradient, random, terms).report(label, seed)

    reports, done = [], 0
    for count in counts:
        label = "" if counts == [0] else f"after {count} step{'s' * (count != 1)}"
        subject = subject.copy() if subject is model and count else subject
        reached = count == done or burn_in(subject, X, y, count - done, terms)
        done = count
        reports.append(check(subject, label) if reached else unreached(model, label, terms))
    wanted = nearby or (nearby is None and gradient is None and has_python(model))
    if wanted and terms.stopped:
        reports[-1].notes.append("No nearby point was checked.")
    elif wanted:
        elsewhere = nearby_point(subject, X, y, np.random.default_rng(seed))
        there = None if elsewhere is None else check(elsewhere, "at a nearby point")
        if there is not None and there.mismatched:
            reports.append(there)
            reports[0].label = reports[0].label or "at the point"
        elif there is not None and there.checked:
            far = f", as far as it was checked: {terms.stopped}" if terms.stopped else ""
            reports[-1].notes.append(f"Nothing is wrong at a generic nearby point either{far}.")
    if len(reports) == 1:
        return reports[0]
    shown = next((report for report in reports if not report.ok), reports[-1])
    return GradientReport(
        shown.tensors,
        findings=shown.findings,
        evaluations=sum(report.evaluations for report in reports),
        seconds=sum(report.seconds for report in reports),
        dtype=shown.dtype,
        method=shown.method,
        environment=lambda: _environment(seed),
        parts=shown.parts,
        stages=reports,
        label=shown.label,
        notes=shown.notes,
    )


class _Check:
    """One check at one point."""

    def __init__(
        self,
        model: Sequential,
        X: ArrayLike,
        y: ArrayLike,
        parts: tuple[str, ...],
        scheme: Scheme,
        step: float | None,
        rtol: float | None,
        gradient: ArrayLike | None,
        random: Random,
        terms: Terms,
    ) -> None:
        self.started = time.perf_counter()
        self.subject = Subject(model, X, y)
        self.model, self.X, self.y, self.rtol, self.random = model, X, y, rtol, random
        self.scheme, self.step, self.terms = scheme, step, terms
        self.skipped: Array | None = None  # parameters that the terms left no room for
        penalized = model.l1 > 0 or model.l2 > 0
        self.parts = tuple(part for part in parts if part == "data" or penalized or parts == ("regularization",))
        self.given = gradient is not None
        self.asked = parts
        self.analytic = self.subject.gradient(parts) if gradient is None else flat(gradient, model)
        self.value = 0.0  # the data loss
        self.natural = 0.0  # ... and of what size it is where nothing is learned
        self.with_twin = False  # whether it can be measured in float64 as well
        self.settled: Settled | None = None  # what the twin says
        self.notes: list[str] = []
        self.findings = self.subject.findings

    def report(self, label: str, seed: int) -> GradientReport:
        model = self.model
        with self.subject.unchanged():
            point = Point(model, self.X, self.y, careful=self.scheme in PROPAGATED)
        self.value, self.natural = point.value, natural_slope(point)
        if model.dtype == np.float32 and self.scheme in PROPAGATED and self.step is None and "data" in self.parts:
            self.with_twin = True
        verdict = self._contract_broken()
        measured: dict[str, Measurement] = {}
        reports: dict[str, GradientReport] = {}
        if verdict is not None:
            tensors = {entry.name: TensorReport(entry.name, entry.shape) for entry in model.layout.slices}
        else:
            measured = {part: self._measure(part, point) for part in self.parts}
            tensors, reports = self._compare(measured)
            comparisons = [tensors, *(report.tensors for report in reports.values())]
            wrong = entries_of(comparisons, Status.MISMATCH, Status.KINK_MISMATCH)
            vague = self._vague(comparisons)
            if wrong.size:
                verdict = self._repeats(INQUIRIES)
            if verdict is None and wrong.size + vague.size:
                measured = self._reconsidered(measured, point, wrong, vague)
                tensors, reports = self._compare(measured)
                # Beside the smaller entries of now, more of them may be too uncertain.
                more = np.setdiff1d(self._vague([tensors, *(report.tensors for report in reports.values())]), vague)
                if more.size:
                    measured = self._reconsidered(measured, point, wrong[:0], more)
                    tensors, reports = self._compare(measured)
            comparisons = [tensors, *(report.tensors for report in reports.values())]
            if verdict is None and self.with_twin and doubtful(comparisons):
                self._by_twin(measured, point, comparisons)
                tensors, reports = self._compare(measured)
        if verdict is None:
            self.findings += told_apart(self._findings(tensors), tensors, reports)
            if "data" in self.parts:
                verdict = self._guard(point)
            if point.first:
                self.notes.append(
                    f"{point.first} parameters stand in front of a Python layer, or in one: they were measured by "
                    f"ordinary evaluations, whatever the scheme."
                )
            if self.terms.stopped:
                self.notes.append(f"The check ended early: {self.terms.stopped}. What is not decided is not guessed.")
        return GradientReport(
            tensors,
            findings=self.findings,
            verdict=verdict,
            evaluations=sum(part.evaluations for part in measured.values()),
            seconds=time.perf_counter() - self.started,
            dtype=model.dtype.name,
            method=f"exhaustive, {self.scheme}",
            environment=lambda: _environment(seed),
            parts=reports,
            label=label,
            notes=self.notes,
        )

    def _compare(
        self, measured: Mapping[str, Measurement]
    ) -> tuple[dict[str, TensorReport], dict[str, GradientReport]]:
        """The whole gradient against the sum of the parts, and with several parts each of them by itself."""
        total, *others = measured.values()
        for other in others:
            total = total + other
        apart = measured if others and not self.given else {}
        return self._tensors(self.analytic, total), {part: self._part(part, apart[part]) for part in apart}

    def _tensors(self, analytic: Array, measured: Measurement) -> dict[str, TensorReport]:
        largest = float(np.abs(measured.numeric).max(initial=0.0))
        # Where there is a twin, it has the last word on entries that are nothing beside those of other tensors.
        scale = 0.0 if self.with_twin else largest
        slices = self.model.layout.slices
        a = analytic.astype(np.float64)
        where = [slice(entry.offset, entry.stop) for entry in slices if entry.size]
        status, numeric = measured.judge(a, where, scale, self.rtol, self.natural)
        if self.settled is not None:
            status[(status == Status.UNRESOLVED) & self.settled.confirms(a - numeric)] = Status.MATCH
        uncertainty = measured.uncertainty
        if self.skipped is not None:
            status[self.skipped] = Status.UNCHECKED
            numeric, uncertainty = (np.where(self.skipped, np.nan, values) for values in (numeric, uncertainty))
        tensors = {}
        right = bool((status == MATCH).all())  # as nearly always, and quickest to see at once
        for entry in slices:
            own = slice(entry.offset, entry.stop)
            counts = all_match(entry.size) if right else None
            tensor = TensorReport(
                entry.name, entry.shape, a[own], numeric[own], uncertainty[own], status[own], counts=counts
            )
            tensors[entry.name] = tensor
            if self.skipped is not None and tensor.checked < tensor.size and not tensor.mismatched:
                tensor.__dict__["verdict"] = Verdict.INCONCLUSIVE
        return tensors

    def _measure(self, part: str, point: Point) -> Measurement:
        if part == "regularization":
            return measure_penalty(self.model, len(point.X), self.scheme, self.step)
        measured, skipped = measure_portions(point, self.scheme, self.step, self.terms)
        self.skipped = skipped if skipped.any() else None
        return measured

    def _vague(self, comparisons: Comparisons) -> Array:
        """Entries that quotients of losses leave open, as they do at kinks."""
        return np.empty(0, np.int64) if self.scheme in PROPAGATED else entries_of(comparisons, Status.UNRESOLVED)

    def _reconsidered(
        self, measured: dict[str, Measurement], point: Point, wrong: Array, vague: Array
    ) -> dict[str, Measurement]:
        try:
            with self.subject.unchanged():
                return reconsidered(point, self.X, self.y, self.scheme, self.step, measured, wrong, vague)
        except KeyboardInterrupt:  # what has been seen once only is no ground for an accusation
            self.terms.stopped = INTERRUPTED
            left = np.zeros(self.model.layout.size, bool) if self.skipped is None else self.skipped.copy()
            left[wrong] = True
            self.skipped = left
            return measured

    def _by_twin(self, measured: dict[str, Measurement], point: Point, comparisons: Comparisons) -> None:
        """What float32 leaves open, or condemns by a narrow margin, is measured in float64."""
        try:
            with self.subject.unchanged():
                measured["data"], self.settled = by_twin(point, self.scheme, measured["data"], comparisons)
        except KeyboardInterrupt:
            self.terms.stopped = INTERRUPTED

    def _part(self, part: str, measured: Measurement) -> GradientReport:
        gradient = self.subject.gradient((part,))
        tensors = self._tensors(gradient, measured)
        return GradientReport(
            tensors,
            findings=self._findings(tensors, "regularization" if part == "regularization" else None),
            evaluations=measured.evaluations,
            dtype=self.model.dtype.name,
            method=f"exhaustive, {self.scheme}",
            label=part,
        )

    def _findings(self, tensors: Mapping[str, TensorReport], cause: str | None = None) -> list[Finding]:
        """What the diagnosis makes of them; a cause that is known already replaces the one read from the pattern."""
        wrong = {name for name, tensor in tensors.items() if tensor.mismatched}
        parameters = [self.model.parameters[name] for name in tensors] if wrong else []  # to read the pattern from
        found = named(findings_of(list(tensors.values()), parameters), self.subject.narrowed, self.model)
        if cause is None:
            return found
        return [replace(finding, cause=cause) if finding.tensor in wrong else finding for finding in found]

    def _contract_broken(self) -> Verdict | None:
        """What makes a comparison meaningless: values that are not finite, or that change from call to call."""
        broken = self.subject.not_finite(self.value, self.analytic)
        if broken is not None:
            self.findings.append(broken[1])
            return broken[0]
        return self._repeats(REPEATS)

    def _repeats(self, times: int) -> Verdict | None:
        finding = self.subject.nondeterministic(self.asked, times)
        if finding is None:
            return None
        self.findings.append(finding)
        return Verdict.NONDETERMINISTIC

    def _guard(self, point: Point) -> Verdict | None:
        entries, wrong = guard(point, self.random)
        if not wrong.size:
            if entries.size:
                self.notes.append(
                    f"The structured loop agrees with the ordinary forward pass on {entries.size} random entries."
                )
            return None
        name, index = self.model.layout.name_of(int(wrong[0]))
        message = (
            f"The structured loop disagrees with the ordinary forward pass on {wrong.size} of {entries.size} random "
            f"entries, first {name}{list(index)}: this is a mistake in gradproof or an overflow, not in the gradient."
        )
        self.findings.insert(0, Finding("unknown", name, message, 0.5))
        return Verdict.INCONCLUSIVE


def _environment(seed: int) -> dict[str, Any]:
    return {**config(), "seed": seed}
