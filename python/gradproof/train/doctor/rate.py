"""Symptoms of the learning rate: too high, too low, a loss that swings, stands still or is no number."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import numpy as np

from gradproof.train.doctor import thresholds as limit
from gradproof.train.doctor.case import Case, Curve, rises
from gradproof.train.doctor.causes import Finding
from gradproof.train.doctor.initial import saturated_on_the_way
from gradproof.train.doctor.symptom import Symptom


def diverged(case: Case) -> Iterator[Finding]:
    known = case.known and case.epochs > 0
    ran_away = known and case.end_loss > limit.RUNAWAY * max(case.first_loss, case.constant_loss)
    if case.diverged or ran_away:
        where = case.history.message or f"the loss rose from {case.first_loss:.3g} to {case.end_loss:.3g}"
        yield Finding(
            Symptom(
                "diverged",
                None,
                f"Training ran away: {where}.",
                {"last_loss": _last(case), "epochs": case.epochs, "learning_rate": _rate(case)},
                "A lower learning rate (a third, a tenth), normalized inputs, or clip_norm in the optimizer.",
            )
        )


def learning_rate_too_high(case: Case, failing: bool) -> Iterator[Finding]:
    first, last = case.ratios(True), case.ratios(False)
    up = rises(case.losses)
    gain = wins(case, 0.1, over=1.0)
    above = case.left > limit.LOSS_ABOVE_CHANCE
    start = max(case.constant_loss, case.first_loss)
    driven_up = case.end_loss > limit.LOSS_DRIVEN_UP * start
    signs = {
        "diverged": case.diverged,
        "driven_up": driven_up,
        "thrown_up": case.losses.max() > limit.LOSS_THROWN_UP * start,
        "large_updates": _or(first) > limit.RATIO_HIGH_FIRST
        or (_or(last) > limit.RATIO_HIGH and (case.swings or above or slope_share(case) < limit.FLAT)),
        "swings": case.swings,
        "a_tenth_wins": gain > limit.PROBE_WINS,
        "units_died": _died(case),
        "saturated": saturated_on_the_way(case),
    }
    if case.decayed:  # what the first steps did was not mended because the rate was gone
        signs = {name: signs[name] for name in ("diverged", "driven_up")}
    found = [name for name, holds in signs.items() if holds]
    if found == ["large_updates"] and case.narrowest <= limit.NARROW:
        found = []  # beside weights near 0, where they stay if the network has no use for them
    swinging = "swings" in found and "large_updates" in found
    if case.diverged or (found and failing) or swinging:
        yield Finding(
            Symptom(
                "learning_rate_too_high",
                None,
                _too_high_words(case, gain, up),
                {
                    "learning_rate": _rate(case),
                    "update_ratio_first": first,
                    "update_ratio_last": last,
                    "loss_left": case.left,
                    "rises_per_epoch": up,
                    "won_with_a_tenth": gain,
                    "signs": found,
                },
                "Divide the rate by 3 to 10, or look for one with gp.find_learning_rate; a warm-up helps if only the "
                "first steps are wild.",
            )
        )


def learning_rate_too_low(case: Case, failing: bool) -> Iterator[Finding]:
    if _crawls(case, failing):
        ten, hundred = wins(case, 10.0), wins(case, 100.0)
        yield Finding(
            Symptom(
                "learning_rate_too_low",
                None,
                f"The weights move too slowly: over all {case.steps * case.epochs} steps the updates add up to "
                f"{case.path:.2g} times the weights, and {case.left:.0%} of the loss is left.",
                {
                    "learning_rate": _rate(case),
                    "steps": case.steps * case.epochs,
                    "path": case.path,
                    "update_ratio": case.ratios(True),
                    "loss_left": case.left,
                    "won_with_ten_times": ten,
                    "won_with_a_hundred_times": hundred,
                },
                _faster(case),
            )
        )


def oscillating_loss(case: Case) -> Iterator[Finding]:
    up = rises(case.losses)
    if not case.diverged and case.swings:
        yield Finding(
            Symptom(
                "oscillating_loss",
                None,
                f"The loss goes up and down: in the second half of the run it rises by {up:.0%} of its level per "
                f"epoch, in between falling again.",
                {"rises_per_epoch": up, "loss_left": case.left, "update_ratio": case.ratios(False)},
                "A lower learning rate or one that decays, larger batches, or momentum.",
            )
        )


def plateau(case: Case, failing: bool) -> Iterator[Finding]:
    if case.diverged or case.epochs < 3:
        return
    unfinished = case.learned < limit.LEARNED_WHEN_DECAYED * case.baseline or case.left > limit.LEFT_WHEN_DECAYED
    decayed = case.decayed and (failing or unfinished)
    stood = case.steps * case.epochs / 3 > limit.STEPS_TO_STAND or case.left > limit.LOSS_UNTOUCHED
    flat = failing and stood and slope_share(case) < limit.FLAT
    if decayed or flat:
        rates = case.curve("learning_rate")
        why = (
            f"the learning rate had fallen to {rates[-1] / max(rates.max(), 1e-300):.1g} of its start while"
            if decayed
            else "with"
        )
        yield Finding(
            Symptom(
                "plateau",
                None,
                f"The loss stands still: {why} {case.left:.0%} of it is left. The network knows {case.learned:.0%} of "
                f"what there is to know{case.held_against}.",
                {
                    "won_in_last_third": slope_share(case),
                    "loss_left": case.left,
                    "learned": case.learned,
                    "baseline": case.baseline,
                    "learning_rate_last": float(rates[-1]),
                },
                "Let the rate decay later, or try a larger one, momentum or Adam, and larger initial weights.",
            )
        )


def _crawls(case: Case, failing: bool) -> bool:
    """Whether the weights could have gone further: judged by how far they went, what larger steps win from where they
    are, and whether the loss was still falling when the run ended."""
    if case.diverged or not case.epochs or case.decayed:
        return False
    ten, won, ratio = wins(case, 10.0), slope_share(case), case.ratios(False)
    best = max(ten, wins(case, 100.0))
    falls, short = won > limit.FLAT, case.path < limit.PATH_SHORT
    if not failing:  # not even when a simple method does no better, if most is left and there is a way down
        wanted = limit.PROBE_WINS if falls and _validation_gains(case) else limit.PROBE_WINS_MUCH
        return short and case.left > limit.LOSS_UNTOUCHED and best > wanted
    larger_steps_win = best > limit.PROBE_WINS
    if case.narrowest <= limit.NARROW:  # the size may be what is wrong
        larger_steps_win = falls and ten > limit.PROBE_WINS
    straight_down = rises(case.losses) < limit.QUIET and (
        (falls and ratio < limit.RATIO_LOW) or (won > limit.STILL_FALLING and ratio < limit.RATIO_HIGH)
    )
    return (
        larger_steps_win
        or straight_down
        or (short and (falls or best > limit.PROBE_WINS / 10))
        or case.path < limit.PATH_NONE
    )


def _faster(case: Case) -> str:
    """What to do about weights that move too slowly."""
    usual = limit.BATCH_USUAL
    if case.steps * case.epochs < limit.STEPS_FEW and case.batch_size > usual:
        return (
            f"More steps: batch_size={usual} makes {-(-int(case.facts['rows']) // usual)} of an epoch instead of "
            f"{case.steps}; more epochs; or multiply the rate by 10."
        )
    return "Multiply the rate by 10 (updates of about 1e-3 of the weights are usual), use Adam, or train longer."


def wins(case: Case, factor: float, over: float | None = None) -> float:
    """What ten steps with a multiple of the rate win after the end, or win over those with another; 0 if unknown."""
    probe = case.probe
    if factor not in probe or not isfinite(probe[factor]):
        return 0.0
    before = probe[0.0]
    held = before if over is None else min(before, probe.get(over, before))
    return float((held - probe[factor]) / max(case.constant_loss, 1e-12)) if isfinite(held) else np.inf


def slope_share(case: Case) -> float:
    """How much of the loss that was there two thirds through the run was won in the last third."""
    before, after = _last_third(case.losses)
    return (before - after) / max(before, 1e-12)


def _validation_gains(case: Case) -> bool:
    """Whether the validation loss still falls in the last third; what the training loss alone wins there is its noise.
    Without validation data nobody can tell."""
    value = case.curve("val_loss")
    before, after = _last_third(value)
    return not len(value) or before - after > limit.VALIDATION_GAINS * case.constant_loss


def _last_third(value: Curve) -> tuple[float, float]:
    """Where a curve was two thirds through the run, and at its end; both 0 if unknown."""
    third = max(1, len(value) // 3)
    if len(value) < 4 or not np.isfinite(value).all():
        return 0.0, 0.0
    width = max(1, third // 3)
    return float(value[-third - width : -third].mean()), float(value[-width:].mean())


def _died(case: Case) -> bool:
    """Whether most units of a layer were alive at the start and are dead now."""
    return any(
        case.row(case.end, name, "dead_share") > limit.DEAD > 2 * case.row(case.start, name, "dead_share")
        for name, _ in case.layers("ReLU")
    )


def _too_high_words(case: Case, gain: float, up: float) -> str:
    if case.diverged:
        return "The steps are so large that the loss ran away."
    text = (
        f"The steps are too large for the loss to settle: it ends at {case.end_loss:.3g}, and a constant answer would "
        f"have {case.constant_loss:.3g}."
    )
    if gain > limit.PROBE_WINS:
        text += f" Ten steps with a tenth of the rate win {gain:.0%} of that at once."
    elif _died(case):
        text += " On the way most units of a ReLU layer have died."
    elif up > limit.RISES:
        text += f" It rises by {up:.0%} per epoch in between."
    return text


def _rate(case: Case) -> float:
    rates = case.curve("learning_rate")
    return float(rates.max()) if len(rates) else float("nan")


def _last(case: Case) -> float | None:
    finite = [value for value in case.history.batches if isfinite(value)]
    return finite[-1] if finite else None


def _or(value: float) -> float:
    return value if isfinite(value) else 0.0
