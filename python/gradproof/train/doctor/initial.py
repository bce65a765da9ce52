"""Symptoms before the first step: symmetry, the size of the loss, signals that grow, die out or saturate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from gradproof.train.doctor import thresholds as limit
from gradproof.train.doctor.case import Case, Start
from gradproof.train.doctor.causes import Finding
from gradproof.train.doctor.symptom import Symptom

if TYPE_CHECKING:
    from typing import TypeGuard


def symmetric_init(case: Start) -> Iterator[Finding]:
    hidden = [name for name in case.start["symmetric"] if f"{name}.W" != (case.weights or [""])[-1]]
    if hidden:
        yield Finding(
            Symptom(
                "symmetric_init",
                hidden[0],
                "All units of the layer start with the same weights and get the same gradient, so they stay one and "
                "the same unit for ever.",
                {"layers": hidden, "units": dict(case.layers("Dense", "Maxout"))[hidden[0]]},
                'Start from random weights: init="he" before ReLU, "xavier" or "glorot" before tanh. Biases may be 0.',
            )
        )


def bad_initial_loss(case: Start, harmed: bool = True) -> Iterator[Finding]:
    """`harmed`: whether the run went badly; otherwise the start must be further off to be named.

    One that nets have by nature is the cause of nothing that a run shows besides.
    """
    allowed, expected = _allowed(case), max(case.expected_loss, case.constant_loss)
    slight = isinstance(case, Case) and case.first_loss <= limit.INITIAL_LOSS_CAUSE * allowed * expected
    if _far_off(case) and (harmed or not slight):
        layers = case.layers("Dense", "Maxout")
        yield Finding(
            Symptom(
                "bad_initial_loss",
                layers[-1][0] if layers else None,
                f"The loss starts at {case.first_loss:.3g}; a network that knows nothing yet should have about "
                f"{expected:.3g}. The first steps go into unlearning the start.",
                {"initial_loss": case.first_loss, "expected": expected, "ratio": case.first_loss / expected},
                "Make the scores small at the start: a smaller init of the last layer, its bias near 0 (or at the mean "
                "of the targets), and no second Softmax or Sigmoid before the loss.",
            ),
            slight=slight,
        )


def _allowed(case: Start) -> float:
    """How many times the loss of knowing nothing a start may have."""
    allowed = limit.INITIAL_LOSS_MSE if case.loss == "mse" else limit.INITIAL_LOSS
    if not case.network["batch_norm"]:  # scores are as large as the inputs, which are judged by themselves
        rms = case.inputs["rms"]
        allowed *= max(1.0, float("inf") if rms is None else rms)
    return allowed


def _far_off(case: Start) -> bool:
    return case.first_loss > _allowed(case) * max(case.expected_loss, case.constant_loss) > 0


def exploding_gradient(case: Start) -> Iterator[Finding]:
    spreads = _spreads(case, case.start)
    if len(spreads) < 3:
        return
    growth = spreads[-1] / max(spreads[0], 1e-300) if isfinite(spreads[-1]) else np.inf
    per_layer = growth ** (1 / (len(spreads) - 1))
    if growth > limit.GROWTH and per_layer > limit.GROWTH_PER_LAYER and case.first_loss > 2 * case.expected_loss:
        layers = case.layers("Dense", "Maxout")
        yield Finding(
            Symptom(
                "exploding_gradient",
                layers[len(spreads) - 1][0],
                f"Signals grow {per_layer:.2g} times with every layer, {growth:.3g} times in all, and so do the "
                f"gradients on their way back.",
                {
                    "growth": growth,
                    "growth_per_layer": per_layer,
                    "layers": len(spreads),
                    "initial_loss": case.first_loss,
                },
                'Smaller weights at the start (init="he" or "xavier" keep signals level) or batch normalization; '
                "clip_norm "
                "in the optimizer guards the first steps.",
            )
        )


def vanishing_gradient(case: Start, failing: bool = True) -> Iterator[Finding]:
    """`failing`: whether the run learned less than it could, or began late; what vanishes a little may still train.

    Of a start that is far off nobody can tell: all rows pull alike then, which layers behind centred inputs hardly see.
    """
    if not failing or len(case.weights) < 3 or _far_off(case):
        return
    flow, spreads = case.flow(case.start), _spreads(case, case.start)
    if (
        not np.isfinite(flow).all()
        or not flow.max()
        or any(kind == "BatchNorm" for _, kind, *_ in case.network["layers"])
    ):
        return
    back = float(flow[0] / flow.max())
    through = float(spreads[-1] / spreads[0]) if len(spreads) > 1 and spreads[0] > 0 else 1.0
    if back < limit.GRADIENT_DECAY:
        layers = case.layers("Dense", "Maxout")
        yield Finding(
            Symptom(
                "vanishing_gradient",
                layers[0][0],
                f"Signals die out on their way through the network: the first weights get {back:.2g} times the "
                f"gradient of those that get most.",
                {"gradient_first_to_largest": back, "spread_last_to_first": through, "layers": len(case.weights)},
                'ReLU instead of sigmoid, init="he" (ReLU) or "xavier" (tanh), batch normalization, or fewer layers.',
            )
        )


def saturated_activation(case: Start, failing: bool = False) -> Iterator[Finding]:
    """`failing`: whether the run learned less than it could; trained layers may be saturated and all is well.

    So may those of a start, unless the run is not good, or has not begun and nearly all are.
    """
    if isinstance(case, Case) and case.good:
        return
    share = limit.SATURATED if isinstance(case, Case) else limit.SATURATED_UNSEEN
    found = list(_saturated(case, case.start, share, acquired=False))
    if not found and failing and _acquired(case):
        found = list(_saturated(case, case.end, limit.SATURATED_END, acquired=True))
    yield from found


def saturated_on_the_way(case: Case) -> bool:
    """Whether a layer of some width is saturated at the end that was not at the start."""
    return any(
        units > limit.NARROW
        and _row(case.end, name, "saturated_share") > limit.SATURATED_END
        and _row(case.start, name, "saturated_share") < limit.SATURATED
        for name, units in case.layers("Tanh", "Sigmoid")
    )


def _saturated(case: Start, snapshot: Mapping[str, Any], share: float, acquired: bool) -> Iterator[Finding]:
    layers = case.layers("Tanh", "Sigmoid")
    shares = {name: _row(snapshot, name, "saturated_share") for name, units in layers if units > limit.NARROW}
    worst = max(shares, key=lambda name: shares[name], default=None)
    if worst is not None and shares[worst] > share:
        when = "by the end of the run" if acquired else "at the start"
        yield Finding(
            Symptom(
                "saturated_activation",
                worst,
                f"{shares[worst]:.0%} of the layer's activations are in the flat ends of their function {when}, where "
                f"hardly any gradient comes through.",
                {"saturated_share": shares[worst], "at_start": _row(case.start, worst, "saturated_share")},
                'Smaller weights at the start (init="xavier"), normalized inputs, a lower learning rate, or batch '
                "normalization before the activation.",
            ),
            acquired,
        )


def dead_relu(case: Start, failing: bool = False) -> Iterator[Finding]:
    """`failing`: whether the run learned less than it could; units that died on the way to a good result do no harm."""
    found = list(_dead(case, case.start, acquired=False))
    if not found and failing and _acquired(case):
        found = list(_dead(case, case.end, acquired=True))
    yield from found


def _dead(case: Start, snapshot: Mapping[str, Any], acquired: bool) -> Iterator[Finding]:
    shares = {name: _row(snapshot, name, "dead_share") for name, _ in case.layers("ReLU")}
    worst = max(shares, key=lambda name: shares[name], default=None)
    if worst is not None and shares[worst] > limit.DEAD and snapshot["rows"] >= limit.ROWS_FOR_DEAD:
        when = "by the end of the run" if acquired else "at the start"
        yield Finding(
            Symptom(
                "dead_relu",
                worst,
                f"{shares[worst]:.0%} of the layer's units are 0 for every row {when}: no gradient reaches their "
                f"weights, and they do not come back.",
                {
                    "dead_share": shares[worst],
                    "dead_at_start": _row(case.start, worst, "dead_share"),
                    "rows": snapshot["rows"],
                    "units": dict(case.layers("ReLU"))[worst],
                },
                'A lower learning rate or a warm-up, init="he" with biases at 0 or above, or LeakyReLU.',
            ),
            acquired,
        )


def _acquired(case: Start) -> TypeGuard[Case]:
    """Whether the end of the run is known, and what it looks like matters: not when the rate was gone by then."""
    return isinstance(case, Case) and bool(case.final) and not case.decayed


def _spreads(case: Start, snapshot: Mapping[str, Any]) -> list[float]:
    """Standard deviation of the outputs of the hidden dense layers, from the input on."""
    layers = case.layers("Dense", "Maxout")[:-1]
    values = [snapshot["layers"].get(name, {}).get("activation_std", 0.0) for name, _ in layers]
    return [np.inf if value is None else value for value in values]


def _row(snapshot: Mapping[str, Any], layer: str, statistic: str) -> float:
    value = snapshot["layers"].get(layer, {}).get(statistic)
    return float("nan") if value is None else float(value)
