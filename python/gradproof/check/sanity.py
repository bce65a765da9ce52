"""Five questions to ask a network before training it in earnest (CS231n, "Sanity checks"; Karpathy's recipe).

1. Is the loss at initialization what a network that knows nothing should have?
2. Does regularization raise the loss?
3. Can a handful of samples be learned by heart?
4. Does it matter what the inputs are? After a short training, inputs of zeros must do worse than the real ones.
5. Is the gradient right, at initialization and after some steps?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof.check.networks import check_model
from gradproof.check.report import Finding
from gradproof.check.subject import parameters_not_finite
from gradproof.check.tensor_report import Verdict
from gradproof.nn import losses
from gradproof.nn.model import Sequential
from gradproof.nn.network import Network

Array = NDArray[Any]

#: Initial loss over expected loss: (healthy up to, wrong from). The expectation holds for scores near zero. He
#: initialization of the output layer, with nothing wrong, gives 1.2 to 2.0, with inputs that are not centered 3; inputs
#: that are not scaled at all (digits from 0 to 16, pixels from 0 to 255) give 8 and more. For mse the scores themselves
#: add about twice the variance of a standardized target.
_INITIAL_RATIO = {"mse": (4.0, 20.0)}
_INITIAL_RATIO_CLASSES = (2.0, 5.0)

_SAMPLES = 20
_LEARNED = 0.02  # learned by heart: this share of the way from the smallest possible loss to that of knowing nothing
_ROOMY = 10  # parameters per target from which on a failure to learn by heart is the fault of something else
_RATES = (1e-2, 1e-3, 1e-1)  # tried in turn, from the same start
_STEPS = 500
_SHORT = 100  # steps of the comparison with zeroed inputs, on ...
_COMPARED = 200  # rows, of which 20 could be told apart by anything
_MATTERS = 0.05  # the real inputs must win this share of what a constant answer leaves over
_CHECKED_ROWS = 8  # of the gradient check
_BURN_IN = 20  # its steps: CS231n, "let it train for a short while"
_EVALUATIONS = 20_000  # its budget, parameters times stages


@dataclass(frozen=True)
class SanityCheck:
    """The answer to one question.

    Attributes
    ----------
    name : str
        ``"initial_loss"``, ``"regularization"``, ``"overfit"``, ``"inputs_matter"`` or ``"gradient"``.
    status : {"pass", "warn", "fail", "skip"}
        "warn": unusual, but seen in healthy networks too. "skip": the question does not apply.
    value, expected : float
        What was measured, and what it was held against; NaN if skipped.
    message : str
        The same in words, with advice when something is wrong.
    """

    name: str
    status: str
    value: float
    expected: float
    message: str

    @property
    def passed(self) -> bool:
        """Not failed."""
        return self.status != "fail"


@dataclass(frozen=True)
class SanityReport:
    """What :func:`sanity_check` found; true when no check failed.

    Attributes
    ----------
    checks : tuple of SanityCheck
        One for each thing that was looked at.
    """

    checks: tuple[SanityCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(check.passed for check in self.checks)

    def __bool__(self) -> bool:
        return self.ok

    def __iter__(self) -> Iterator[SanityCheck]:
        return iter(self.checks)

    def __getitem__(self, name: str) -> SanityCheck:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"no check is called {name!r}; there are {', '.join(check.name for check in self.checks)}")

    def to_dict(self) -> dict[str, Any]:
        """The report in JSON types; what was not measured is None."""
        rows = [asdict(check) for check in self.checks]
        for row in rows:
            row.update({key: row[key] if np.isfinite(row[key]) else None for key in ("value", "expected")})
        return {"ok": self.ok, "checks": rows}

    def __str__(self) -> str:
        lines = [f"sanity check: {'ok' if self.ok else 'FAILED'}"]
        lines += [f"  {check.status:<4}  {check.name:<14}  {check.message}" for check in self.checks]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{check.status}</td><td>{check.name}</td>"
            f"<td style='text-align:left'>{escape(check.message)}</td></tr>"
            for check in self.checks
        )
        return f"<table><caption>sanity check: {'ok' if self.ok else 'failed'}</caption>{rows}</table>"


def sanity_check(model: Network, X: ArrayLike, y: ArrayLike) -> SanityReport:
    """Ask the five questions about a model and its data. The model is not changed.

    Parameters
    ----------
    model : Sequential
        Trained or not: the questions are asked of copies, drawn again from the model's seed, without dropout. That
        its own parameters are finite is asked as well, with the initial loss.
    X : array_like, (m, n_in)
        Inputs, exactly as the model will be given them.
    y : array_like
        Targets of the model's loss.

    Returns
    -------
    SanityReport
        Five checks, ``initial_loss``, ``regularization``, ``overfit``, ``inputs_matter`` and ``gradient``.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what is expected.

    Examples
    --------
    >>> report = gp.sanity_check(model, X, y)
    >>> assert report, report
    """
    if not isinstance(model, Network):
        raise TypeError(f"model: got {type(model).__name__}, expected a gradproof.Sequential")
    model.loss(X, y, parts=())  # refuses what does not fit, before any work
    fresh = model.without_dropout()._reinitialized()
    loss = losses.find(model.loss_name)
    targets = np.asarray(y)
    return SanityReport(
        (
            _initial_loss(fresh, loss, X, targets, parameters_not_finite(model)),
            _regularization(fresh, X, targets),
            _overfit(fresh, loss, np.asarray(X), targets),
            _inputs_matter(fresh, loss, np.asarray(X), targets),
            _gradient(fresh, np.asarray(X), targets),
        )
    )


def _initial_loss(fresh: Network, loss: losses.Loss, X: ArrayLike, y: Array, broken: Finding | None) -> SanityCheck:
    value = fresh.loss(X, y, parts=("data",))
    targets = loss.targets(y, len(y), fresh.output_size, fresh.dtype)
    expected = loss.expected_initial(targets, fresh.output_size)
    healthy, wrong = _INITIAL_RATIO.get(loss.name, _INITIAL_RATIO_CLASSES)
    text = f"the loss at initialization is {value:.4g}, {expected:.4g} is expected of a network that knows nothing"

    def answer(status: str, comment: str) -> SanityCheck:
        return SanityCheck("initial_loss", status, value, expected, f"{text}: {comment}")

    if broken is not None:
        return answer("fail", f"that is of a fresh start; {broken.message}")
    if not np.isfinite(value):
        return answer("fail", "normalize the inputs and start with smaller weights")
    if expected == 0:
        return answer("skip", "all targets are zero, so nothing can be said")
    ratio = value / expected
    if ratio > wrong:
        return answer("fail", "the scores are too large; normalize inputs and targets, or start with smaller weights")
    if ratio > healthy:
        return answer("warn", "high; normalized inputs or a small start of the last layer, init=0.01, bring it down")
    if ratio < 0.5:
        return answer("warn", "low; look for targets hidden in the inputs, or for very few rows")
    return answer("pass", "as it should be")


def _regularization(fresh: Network, X: ArrayLike, y: Array) -> SanityCheck:
    """Whether adding the penalty raises the loss; with strength 1 if the model has none."""
    if not np.any([np.any(fresh.theta[start:stop]) for start, stop in fresh.layout.regularized_runs]):
        return SanityCheck("regularization", "skip", np.nan, np.nan, "there is no weight other than zero to regularize")
    if fresh.l1 == fresh.l2 == 0:
        fresh = fresh.copy()
        fresh.l2 = 1.0
    plain, penalty = (fresh.loss(X, y, parts=(part,)) for part in ("data", "regularization"))
    rises = penalty > 0
    verb = "raises" if rises else "does not raise"
    message = f"l1={fresh.l1:g}, l2={fresh.l2:g} {verb} the loss, from {plain:.6g} by {penalty:.3g}"
    return SanityCheck("regularization", "pass" if rises else "fail", plain + penalty, plain, message)


def _overfit(fresh: Network, loss: losses.Loss, X: Array, y: Array) -> SanityCheck:
    rows = _distinct_rows(X)
    learner = fresh.astype("float64")
    learner.l1 = learner.l2 = 0.0
    X, y = X[rows], y[rows]
    targets = loss.targets(y, len(y), learner.output_size, learner.dtype)
    floor, ignorant = loss.smallest(targets), loss.best_constant(targets, learner.output_size)
    if ignorant <= floor:
        return SanityCheck("overfit", "skip", np.nan, np.nan, "the samples' targets are all the same: nothing to learn")
    goal = floor + _LEARNED * (ignorant - floor)
    reached = min(_descents(learner, X, y, goal))
    if reached <= goal:
        message = f"{len(rows)} samples were learned by heart: loss {reached:.3g}, goal {goal:.3g}"
        return SanityCheck("overfit", "pass", reached, goal, message)
    message = f"{len(rows)} samples could not be learned by heart: loss {reached:.3g}, goal {goal:.3g}; "
    if learner.theta.size < _ROOMY * targets.size:
        return SanityCheck("overfit", "warn", reached, goal, message + "the network may be too small for it")
    advice = "check the gradient (gp.check_model), the last layer and the loss, and the scale of inputs and targets"
    return SanityCheck("overfit", "fail", reached, goal, message + advice)


def _inputs_matter(fresh: Network, loss: losses.Loss, X: Array, y: Array) -> SanityCheck:
    """The input-independent baseline: the same short training with zeros for inputs."""
    rows = np.unique(np.linspace(0, len(X) - 1, min(len(X), _COMPARED)).astype(np.int64))
    learner = fresh.astype("float64")
    learner.l1 = learner.l2 = 0.0
    X, y = X[rows], y[rows]
    targets = loss.targets(y, len(y), learner.output_size, learner.dtype)
    floor = loss.smallest(targets)
    if not learner.theta.size:
        return SanityCheck("inputs_matter", "skip", np.nan, np.nan, "there is nothing to train")
    if (targets == targets[0]).all():
        return SanityCheck("inputs_matter", "skip", np.nan, np.nan, "the targets are all the same: nothing to learn")
    blind = min(_adam(learner.copy(), np.zeros_like(X), y, rate, floor, _SHORT) for rate in _RATES)
    goal = blind - _MATTERS * (blind - floor)
    seeing = np.inf
    for rate in _RATES:
        seeing = min(seeing, _adam(learner.copy(), X, y, rate, floor, _SHORT))
        if seeing < goal:
            break
    text = f"after {_SHORT} steps the loss is {seeing:.4g}, with zeros for inputs {blind:.4g}"
    if seeing < goal:
        return SanityCheck("inputs_matter", "pass", seeing, blind, text)
    advice = "the network does not use its inputs: look at the rows just before it, and at dead or saturated layers"
    return SanityCheck("inputs_matter", "fail", seeing, blind, f"{text}: {advice}")


def _gradient(fresh: Network, X: Array, y: Array) -> SanityCheck:
    """The gradient check of the lectures: at the start, and again once the loss has begun to fall."""
    if not isinstance(fresh, Sequential) or not fresh.theta.size:
        return SanityCheck(
            "gradient", "skip", np.nan, np.nan, "there is no gradient of a gradproof.Sequential to check"
        )
    rows = np.unique(np.linspace(0, len(X) - 1, min(len(X), _CHECKED_ROWS)).astype(np.int64))
    report = check_model(
        fresh, X[rows], y[rows], after_steps=(0, _BURN_IN), max_evaluations=_EVALUATIONS, progress=False
    )
    error, seen = float(report.relative_error), float(report.detectable)
    text = f"relative error {error:.2g} at initialization and after {_BURN_IN} steps"
    if report.verdict is Verdict.PASS:
        return SanityCheck("gradient", "pass", error, seen, text)
    if report.verdict is Verdict.INCONCLUSIVE:
        return SanityCheck("gradient", "warn", error, seen, f"{text}; not all of it could be resolved: gp.check_model")
    where = f" in {report.culprits[0]}" if report.culprits else ""
    return SanityCheck("gradient", "fail", error, seen, f"{text}: it is wrong{where}; gp.check_model says how")


def _distinct_rows(X: Array) -> NDArray[np.int64]:
    """Up to 20 different rows, spread over the whole set since it may be sorted by class.

    Of equal rows only the first counts: with different targets they could not be learned by anything.
    """
    spread = np.unique(np.linspace(0, len(X) - 1, min(len(X), 4 * _SAMPLES)).astype(np.int64))
    _, first = np.unique(X[spread], axis=0, return_index=True)
    distinct = spread[np.sort(first)]
    return distinct[np.unique(np.linspace(0, len(distinct) - 1, min(len(distinct), _SAMPLES)).astype(np.int64))]


def _descents(learner: Network, X: Array, y: Array, goal: float) -> Iterator[float]:
    """The lowest loss that Adam reaches from the same start with each rate, up to the first that is low enough."""
    for rate in _RATES:
        reached = _adam(learner.copy(), X, y, rate, goal)
        yield reached
        if reached <= goal:
            return


def _adam(learner: Network, X: Array, y: Array, rate: float, goal: float, steps: int = _STEPS) -> float:
    """Full-batch Adam (Kingma and Ba 2015, Algorithm 1) until `goal`; the lowest loss on the way."""
    m, v = np.zeros_like(learner.theta), np.zeros_like(learner.theta)
    lowest = np.inf
    for t in range(1, steps + 1):
        value, gradient = learner.loss_and_gradient(X, y)
        lowest = min(lowest, value)  # min keeps the number when the value is NaN
        if lowest <= goal or not np.isfinite(value):
            break
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient**2
        learner.theta -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return lowest
