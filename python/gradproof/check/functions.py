"""Check the gradient of any function, given as black boxes: a loss, a gradient, and a point."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradproof._config import config
from gradproof.check import contracts
from gradproof.check.bisect import describe
from gradproof.check.entries import Circumstances, Measured, Meter
from gradproof.check.evaluate import BudgetSpent, Problem
from gradproof.check.findings import findings_of
from gradproof.check.keywords import Method, validate
from gradproof.check.laboratory import Laboratory
from gradproof.check.memory import remembered
from gradproof.check.nearby import generic_point, with_stage
from gradproof.check.noise import Noise, gradient_rounding, loss_noise
from gradproof.check.opinion import in_words, second_opinions
from gradproof.check.probe import Block
from gradproof.check.progress import Progress
from gradproof.check.report import Finding, GradientError, GradientReport
from gradproof.check.reservations import doubt_blind, doubt_outliers
from gradproof.check.shards import measure_sharded
from gradproof.check.tensor_report import TensorReport, Verdict

Float64Array = NDArray[np.float64]
Tasks = Sequence[tuple[int, NDArray[np.intp]]]

AUTO_EVALUATIONS: Final = 200_000  # the budget of "auto" when none is given
PER_ENTRY: Final = 10  # evaluations per entry that "auto" wants to afford, so that wrong entries can be looked at
CHUNK: Final = 64  # entries of a tensor measured in a row when the budget may end before all are
NEARBY_ENTRIES: Final = 12  # per tensor at the nearby point
EXPERIMENTS: Final = 500  # evaluations for the diagnosis of a failure, or as many as the check itself took


def check_gradients(
    loss: Callable[[Any], Any],
    grad: Any,
    params: Any,
    *,
    method: Method = "auto",
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    nearby: bool = True,
    rtol: float | None = None,
    seed: int = 0,
    progress: bool | Callable[[int, int], object] | None = None,
    backend: str | None = None,
    n_jobs: int = 1,
    second_opinion: bool = True,
) -> GradientReport:
    """Hold a gradient against measured slopes of the loss. No tolerance is asked for: it is measured.

    Parameters are moved by up to a quarter of their size, many together by a little more, and by up to four times
    their size only where the loss shows too little nearer. After a mistake, the diagnosis also looks at points where
    whole tensors are next to 0, 1, or up to 64 times their size.

    Parameters
    ----------
    loss : callable
        ``loss(params) -> float``.
    grad : callable or structure
        ``grad(params)`` gives the gradient in the structure of `params`; or the gradient itself.
    params : ndarray, dict, list or tuple
        One float32 or float64 array or any structure of them, in forward order. Never changed.
    method : {"auto", "exhaustive", "projected"}
        Every entry, or random directions and a search for the entries behind a mismatch. ``"auto"`` checks every entry
        where the budget allows 10 evaluations for each.
    max_evaluations : int, optional
        Budget of loss evaluations. None: no limit, but for ``"auto"`` 200,000.
    max_seconds : float, optional
        Budget of time.
    nearby : bool
        Also probe some entries of every tensor at one generic point nearby: mistakes that vanish where a scale is 1
        and a shift 0 show there.
    rtol : float, optional
        Smallest relative error that counts as a mistake. None: whatever the arithmetic can resolve.
    seed : int
        Of random directions and of the nearby point.
    progress : None, bool or callable
        None: a bar on a terminal after 2 s. True, False, or ``callable(done, total)``.
    backend : str, optional
        Name of a joblib backend to share the entries out to (extra `scale`): ``"loky"``, ``"threading"``, ``"dask"``,
        ``"ray"``; see :func:`gradproof.check_model`.
    n_jobs : int
        Number of joblib workers.
    second_opinion : bool
        Whether `loss` is tried with complex numbers once entries are found wrong: where it takes them, the complex step
        says, exact to rounding, whether the measurement is right.

    Returns
    -------
    GradientReport

    Raises
    ------
    TypeError, ValueError
        For arguments, a gradient, or a value of the loss that are not what is expected. What `loss` or `grad` raise at
        the point itself comes through.
    ImportError
        If joblib is needed and missing.
    """
    validate(method, nearby, max_evaluations, max_seconds, rtol, n_jobs, seed, backend)
    started = time.monotonic()
    rng = np.random.default_rng(seed)
    limit = AUTO_EVALUATIONS if method == "auto" and max_evaluations is None else max_evaluations
    problem = Problem(loss, grad, params, max_evaluations=limit, max_seconds=max_seconds)
    with np.errstate(all="ignore"):
        check = _Check(problem, rtol or 0.0, seed, rng, progress, backend, n_jobs, second_opinion)
        return check.run(method, nearby, started)


def assert_gradients(loss: Callable[[Any], Any], grad: Any, params: Any, **keywords: Any) -> GradientReport:
    """`check_gradients`, raising unless it passes.

    Parameters
    ----------
    loss, grad, params, **keywords
        Those of `check_gradients`.

    Raises
    ------
    GradientError
        An AssertionError whose text is the report, and whose ``.report`` it is.
    """
    report = check_gradients(loss, grad, params, **keywords)
    if not report.ok:
        raise GradientError(report)
    return report


class _Check:
    """One call of `check_gradients`."""

    def __init__(
        self,
        problem: Problem,
        rtol: float,
        seed: int,
        rng: np.random.Generator,
        progress: bool | Callable[[int, int], object] | None,
        backend: str | None,
        n_jobs: int,
        second_opinion: bool = False,
    ) -> None:
        self.problem, self.rtol, self.seed, self.rng = problem, rtol, seed, rng
        self.progress, self.backend, self.n_jobs = progress, backend, n_jobs
        self.second_opinion = second_opinion
        self.notes: list[str] = []
        self.stopped = ""
        self.noise: Noise | None = None
        self.rounding: Sequence[Float64Array] = [np.zeros(size) for size in problem.parameters.sizes]
        self.blocks: dict[int, list[Block]] = {}

    def run(self, method: Method, nearby: bool, started: float) -> GradientReport:
        problem = self.problem
        names, shapes, sizes = problem.parameters.names, problem.parameters.shapes, problem.parameters.sizes
        tensors = [TensorReport(name, shape) for name, shape in zip(names, shapes, strict=True)]
        chosen = self._method(method)
        findings: list[Finding] = []
        verdict: Verdict | None = None
        stages: list[GradientReport] = []
        known: contracts.Contracts | None = None
        complete = False
        measured = [Measured.nothing(size) for size in sizes]
        try:
            known = contracts.examine(problem, self.rng)
            verdict, findings = known.verdict, known.findings
            if verdict is None:
                facts = self._circumstances(known)
                if chosen == "projected":
                    tensors = self._project(facts)
                else:
                    self._exhaust(facts, measured)
                    tensors = self._tensors(known.analytic, measured)
                complete = not self.stopped
                findings = findings + remembered(problem, tensors, facts.noise.sigma, self.rng)
                opinions = second_opinions(problem, tensors) if self.second_opinion else []
                if opinions:
                    self.notes.append(in_words(opinions))
                if nearby and complete:
                    stages = self._nearby(known, tensors if chosen == "projected" else None)
                drift = contracts.still_there(problem, known, facts.noise.sigma)
                if drift is not None:
                    verdict, findings, stages = Verdict.NONDETERMINISTIC, [drift, *findings], []
        except BudgetSpent as spent:
            self.stopped = str(spent)
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        if known is not None and verdict is None and chosen == "exhaustive" and not complete:
            tensors = self._tensors(known.analytic, measured)
        written = [finding for finding in contracts.written_into(problem) if finding not in findings]
        findings = [*findings, *written]
        if verdict is None:
            places = {tensor: describe(blocks, shapes[tensor]) for tensor, blocks in self.blocks.items()}
            state = [finding for finding in findings if finding.cause == "state"]
            others = [finding for finding in findings if finding.cause != "state"]
            sigma = 0.0 if self.noise is None else self.noise.sigma
            free = complete and not self.stopped
            laboratory = Laboratory(problem, sigma, max(EXPERIMENTS, problem.evaluations)) if free else None
            whole = None if known is None else known.analytic
            try:
                found = findings_of(tensors, problem.parameters.arrays, places, laboratory, whole)
            except KeyboardInterrupt:
                self.notes.append("All was checked, but the experiments for the diagnosis ended early: interrupted.")
                found = findings_of(tensors, problem.parameters.arrays, places, None, whole)
            findings = state + found + others
        unresolved = any(tensor.unresolved for i, tensor in enumerate(tensors) if i not in self.blocks)
        self._tell(complete, unresolved, known is not None and any(np.any(a) for a in known.analytic))
        if self.stopped and verdict is None and not complete:
            worst = Verdict.worst([tensor.verdict for tensor in tensors])
            verdict = worst if worst is Verdict.FAIL else Verdict.INCONCLUSIVE
        report = GradientReport(
            tensors,
            findings=findings,
            verdict=verdict,
            evaluations=problem.evaluations,
            seconds=time.monotonic() - started,
            dtype=_dtype(problem),
            method=chosen,
            environment=lambda: {**config(), "seed": self.seed},
            notes=self.notes,
        )
        return report if not stages else with_stage(report, stages[0])

    def _method(self, method: Method) -> Method:
        if method != "auto":
            return method
        total = sum(self.problem.parameters.sizes)
        return "exhaustive" if PER_ENTRY * total <= self.problem.max_evaluations else "projected"

    def _circumstances(self, known: contracts.Contracts) -> Circumstances:
        problem = self.problem
        noise = loss_noise(problem, known.f0, known.analytic, self.rng)
        noise = self.noise = replace(noise, sigma=max(noise.sigma, known.spread))
        rounding = gradient_rounding(problem, known.analytic, noise, self.rng)
        if known.gradient_spread:
            rounding = [bound + spread for bound, spread in zip(rounding, known.gradient_spread, strict=True)]
        self.rounding = [bound.ravel() for bound in rounding]
        return Circumstances(known.f0, noise, known.analytic, rounding, self.rtol)

    def _exhaust(self, facts: Circumstances, measured: list[Measured]) -> None:
        """Measure every entry; with a limited budget, some of every tensor before more of any."""
        sizes = self.problem.parameters.sizes
        with Progress(self.progress, sum(sizes)) as bar:
            if self.backend is not None or self.n_jobs != 1:
                measure_sharded(self.problem, facts, measured, bar, self.backend, self.n_jobs)
                return
            meter = Meter(self.problem, facts)
            limited = math.isfinite(self.problem.deadline) or self.problem.max_evaluations < PER_ENTRY * sum(sizes)
            for tensor, entries in _tasks(sizes, CHUNK if limited else 0):
                meter.measure(tensor, entries, measured[tensor], bar.advance)

    def _project(self, facts: Circumstances) -> list[TensorReport]:
        from gradproof.check.project import project

        found = project(self.problem, facts, seed=self.seed)
        self.notes += found.notes
        self.stopped, self.blocks = found.stopped, found.blocks
        return found.tensors

    def _nearby(self, known: contracts.Contracts, projected: list[TensorReport] | None) -> list[GradientReport]:
        """The check of some entries at a generic point nearby, if it finds a mistake; else a note."""
        problem = self.problem
        if problem.given is not None:
            self.notes.append("The gradient was given as numbers, so that no nearby point could be probed.")
            return []
        point = generic_point(problem, self.rng)
        if point is None:
            self.notes.append("No generic nearby point with a finite loss was found, so that none was probed.")
            return []
        there = Problem(problem.loss, problem.grad, point, max_seconds=None)
        there.max_evaluations, there.deadline = problem.remaining(), problem.deadline
        there.started = problem.started
        check = _Check(there, self.rtol, self.seed, self.rng, False, None, 1)
        try:
            value, analytic = there.value(), there.gradient()
            if not math.isfinite(value) or not all(np.all(np.isfinite(array)) for array in analytic):
                self.notes.append(
                    "The loss or its gradient is not finite at the nearby point, so that it tells nothing."
                )
                return []
            facts = check._circumstances(contracts.Contracts(value, analytic))
            measured = [Measured.nothing(size) for size in there.parameters.sizes]
            meter = Meter(there, facts)
            share = NEARBY_ENTRIES if projected is None else max(1, 64 // max(1, len(measured)))
            for tensor, size in enumerate(there.parameters.sizes):
                meter.measure(tensor, _sample(analytic[tensor], size, share, self.rng), measured[tensor])
            tensors = check._tensors(analytic, measured, sampled=True)
            state = remembered(there, tensors, facts.noise.sigma, self.rng)
        finally:
            problem.evaluations += there.evaluations
            problem.gradients += there.gradients
        entries = sum(tensor.checked for tensor in tensors)
        if not any(tensor.mismatched for tensor in tensors):
            undecided = sum(tensor.unresolved for tensor in tensors)
            left = f", {undecided} of them without a decision" if undecided else ""
            self.notes.append(
                f"{entries} entries were also measured at a generic nearby point{left}: no mistake there."
            )
            return []
        return [
            GradientReport(
                tensors,
                findings=state + findings_of(tensors, there.parameters.arrays),
                evaluations=there.evaluations,
                dtype=_dtype(there),
                method="exhaustive",
                label="at a nearby point",
                environment=lambda: {**config(), "seed": self.seed},
            )
        ]

    def _tensors(
        self, analytic: Sequence[Float64Array], measured: Sequence[Measured], sampled: bool = False
    ) -> list[TensorReport]:
        parameters = self.problem.parameters
        tensors = []
        effects = [np.abs(a.ravel()) * self.problem.scales(t).ravel() for t, a in enumerate(analytic)]
        doubt_blind(effects, analytic, measured, self.rounding, 0.0 if self.noise is None else self.noise.sigma)
        for a, m, single in zip(analytic, measured, self.problem.single, strict=True):
            if single:
                doubt_outliers(a, m)
        for name, shape, a, m in zip(parameters.names, parameters.shapes, analytic, measured, strict=True):
            tensor = TensorReport(name, shape, a, m.numeric, m.uncertainty, m.status)
            if tensor.checked < tensor.size and not sampled and not tensor.mismatched:
                tensor.__dict__["verdict"] = Verdict.INCONCLUSIVE
            tensors.append(tensor)
        return tensors

    def _tell(self, complete: bool, unresolved: bool, sloping: bool) -> None:
        problem, names = self.problem, self.problem.parameters.names
        if self.stopped and complete:
            self.notes.append(f"All entries were checked, but not a nearby point: {self.stopped}.")
        elif self.stopped:
            self.notes.append(f"The check ended early: {self.stopped}. What is not decided is not guessed.")
        noise = self.noise
        if unresolved and noise is not None and noise.sigma > 0:
            self.notes.append(_why_unresolved(replace(noise, sigma=max(noise.sigma, problem.noisiest))))
        elif noise is not None and noise.staircase and sloping:
            self.notes.append(
                f"The loss moves in steps of about {4 * noise.sigma:.1g}, between which its derivative is 0. The "
                "gradient was held against its mean slope over many steps, as of a rounding that is gone straight "
                "through."
            )
        edges = [(entry, failure) for entry, failure in problem.failures.items() if entry[0] >= 0]
        if edges:
            (tensor, position), (t, error) = edges[0]
            index = ", ".join(str(i) for i in np.unravel_index(position, problem.parameters.shapes[tensor]))
            more = f"; so in {len(edges)} entries" if len(edges) > 1 else ""
            self.notes.append(
                f"The loss raised with {names[tensor]}[{index}] moved by {t:.3g} ({error}){more}: taken for the edge "
                "of its domain, and measured closer or on the other side."
            )


def _why_unresolved(noise: Noise) -> str:
    if noise.staircase:
        return (
            f"The loss moves in steps of about {4 * noise.sigma:.1g}, between which its derivative is 0: a gradient "
            "that goes straight through a rounding, a count or an accuracy has nothing to compare with. Leave the "
            "rounding out for the check."
        )
    hint = "compute the loss in float64" if noise.single else "subtract what is constant or large in it"
    return f"The loss is repeatable to about {noise.sigma:.1g} only, which hides smaller slopes: {hint}."


def _tasks(sizes: Sequence[int], chunk: int) -> Tasks:
    if not chunk:
        return [(tensor, np.arange(size)) for tensor, size in enumerate(sizes)]
    rounds = range(0, max(sizes, default=0), chunk)
    return [(t, np.arange(at, min(at + chunk, size))) for at in rounds for t, size in enumerate(sizes) if at < size]


def _sample(analytic: Float64Array, size: int, count: int, rng: np.random.Generator) -> list[int]:
    """Some entries of a tensor: half of them those with the largest gradient, the others at random."""
    if size <= count:
        return list(range(size))
    flat = np.abs(analytic).ravel()
    largest = np.argpartition(flat, size - count // 2)[size - count // 2 :] if count > 1 else np.empty(0, np.intp)
    others = rng.choice(size, count - largest.size, replace=False)
    return sorted({int(i) for i in (*largest, *others)})


def _dtype(problem: Problem) -> str:
    names = {str(array.dtype.name) for array in problem.parameters.arrays}
    return names.pop() if len(names) == 1 else "mixed" if names else ""
