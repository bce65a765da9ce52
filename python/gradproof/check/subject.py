"""A network as the subject of a check: its gradient is taken as it comes, and nothing it does is trusted."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradproof.check.report import Finding, Verdict
from gradproof.nn.layers import Layer
from gradproof.nn.model import Sequential
from gradproof.nn.network import PARTS, Network
from gradproof.nn.python_layer import Narrowed, narrowed
from gradproof.nn.validate import numeric

Array = NDArray[Any]

REPEATS = 3  # evaluations that are compared in every check of a network with Python layers
INQUIRIES = 20  # before an accusation: a mask may repeat four times in five
JITTER = 1e4  # rounding between two evaluations, in units of round-off of the largest value


class Subject:
    """A model on a batch, asked for gradients of parts of its cost.

    Attributes
    ----------
    findings : list of Finding
        What was noticed while asking.
    narrowed : list of Narrowed
        What Python layers handed back in fewer digits than they were given, the last time.
    """

    def __init__(self, model: Sequential, X: ArrayLike, y: ArrayLike) -> None:
        self.model, self.X, self.y = model, X, y
        self.findings: list[Finding] = []
        self.narrowed: list[Narrowed] = []
        self.has_python = has_python(model)
        self._own = type(model).loss_and_gradient is Sequential.loss_and_gradient and not self.has_python

    def gradient(self, parts: tuple[str, ...]) -> Array:
        """The gradient that ``loss_and_gradient`` gives, the caller's own copy; the model stays as it was.

        Raises
        ------
        TypeError, ValueError
            If a subclass returns something else than a loss and a flat gradient.
        """
        model = self.model
        if self._own:
            kept_gradient = model.gradient.copy()
            gradient = model.loss_and_gradient(self.X, self.y, parts=parts)[1]
            model.gradient[...] = kept_gradient
            return gradient
        kept_gradient = model.gradient.copy()
        with self.unchanged(), narrowed() as self.narrowed:
            takes_parts = "parts" in inspect.signature(model.loss_and_gradient).parameters
            if parts == PARTS:
                returned = model.loss_and_gradient(self.X, self.y)
            elif takes_parts:
                returned = model.loss_and_gradient(self.X, self.y, parts=parts)
            else:  # an override of the whole cost only; its parts are the model's own
                returned = Sequential.loss_and_gradient(model, self.X, self.y, parts=parts)
            gradient = _checked(returned, model)
        model.gradient[...] = kept_gradient
        return gradient

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Whatever is written into the model meanwhile is put back, and said."""
        if self._own:
            yield
            return
        model = self.model
        kept = {"theta": model.theta.copy(), "buffers": model.buffers.copy()}
        try:
            yield
        finally:
            changed = [n for n, before in kept.items() if not np.array_equal(getattr(model, n), before, equal_nan=True)]
            for name in changed:
                getattr(model, name)[...] = kept[name]
        if changed and not any(finding.cause == "state" for finding in self.findings):
            self.findings.append(
                Finding(
                    "state",
                    None,
                    f"A forward or backward pass changes the model's {' and '.join(changed)}: its answers depend on "
                    f"the order of the calls. It was put back after each call.",
                )
            )

    def nondeterministic(self, parts: tuple[str, ...], repeats: int = REPEATS) -> Finding | None:
        """Evaluate loss and gradient again at the same point; a finding if the answers differ beyond rounding."""
        if not self.has_python:
            return None
        losses = []
        for _ in range(repeats):
            with self.unchanged():
                losses.append(self.model.loss(self.X, self.y, parts=("data",)))
        if self._differ(np.array(losses)[:, None]):
            return self._finding("loss", {"smallest": min(losses), "largest": max(losses)})
        gradients = np.array([self.gradient(parts) for _ in range(max(2, repeats // 4))])
        return self._finding("gradient", {}) if self._differ(gradients) else None

    def _differ(self, answers: Array) -> bool:
        spread = np.ptp(answers, axis=0)
        size = np.max(np.abs(answers), initial=0.0)
        return bool(np.any(spread > JITTER * float(np.finfo(self.model.dtype).eps) * size))

    def _finding(self, what: str, evidence: dict[str, float]) -> Finding:
        return Finding(
            "nondeterministic",
            None,
            f"Evaluations of the {what} at the same point differ. A layer draws random numbers or keeps state between "
            f"calls: freeze its mask, or seed it from the arguments.",
            evidence=evidence,
        )

    def not_finite(self, value: float, gradient: Array) -> tuple[Verdict, Finding] | None:
        """NaN or infinity in the parameters, or in the loss or the gradient at the point itself."""
        finding = parameters_not_finite(self.model)
        if finding is not None:
            return Verdict.NONFINITE, finding
        finite = np.isfinite(gradient)
        if np.isfinite(value) and finite.all():
            return None
        bad = [entry.name for entry in self.model.layout.slices if not finite[entry.offset : entry.stop].all()]
        where = f"the gradient of {', '.join(bad)}" if bad else "the loss"
        message = f"At this point {where} is NaN or infinite."
        return Verdict.NONFINITE, Finding("nonfinite", bad[0] if bad else None, message)


def parameters_not_finite(model: Network) -> Finding | None:
    """NaN or infinity in theta itself."""
    finite = np.isfinite(model.theta)
    if finite.all():
        return None
    at = int(np.flatnonzero(~finite)[0])
    name, index = model.layout.name_of(at)
    own = model.layout[name]
    count = own.size - int(finite[own.offset : own.stop].sum())
    message = (
        f"{name}: the model's parameters themselves are not finite in {count} of {own.size} entries, first "
        f"{name}[{', '.join(map(str, index))}] = {model.theta[at]}"
    )
    others = [e.name for e in model.layout.slices if e is not own and not finite[e.offset : e.stop].all()]
    also = f"; nor are those of {', '.join(others)}" if others else ""
    return Finding("nonfinite", name, f"{message}{also}.", evidence={"indices": [list(index)], "count": count})


def has_python(model: Sequential) -> bool:
    """Whether a layer of the model is written in Python."""
    return any(isinstance(node.layer, Layer) for node in model.structure.nodes)


def flat(gradient: ArrayLike, model: Sequential, name: str = "gradient") -> Array:
    """A gradient in the layout of theta: an array of its shape and of real numbers."""
    array = numeric(gradient, name).copy()
    if array.shape != model.theta.shape or array.dtype.kind != "f":
        raise ValueError(
            f"{name}: got shape {array.shape} of {array.dtype}, expected {model.theta.shape} of {model.dtype}"
        )
    return array


def _checked(returned: Any, model: Sequential) -> Array:
    if not (isinstance(returned, tuple) and len(returned) == 2):
        raise TypeError(
            f"{type(model).__name__}.loss_and_gradient returned {type(returned).__name__}, expected (loss, gradient)"
        )
    return flat(returned[1], model, f"{type(model).__name__}.loss_and_gradient: gradient")
