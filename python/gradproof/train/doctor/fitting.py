"""Symptoms of the fit: too well, not well enough, held back by the penalty, or noisy batch statistics."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import numpy as np

from gradproof.train.doctor import thresholds as limit
from gradproof.train.doctor.case import Case, Start
from gradproof.train.doctor.causes import Finding
from gradproof.train.doctor.rate import slope_share
from gradproof.train.doctor.symptom import Symptom


def overfitting(case: Case) -> Iterator[Finding]:
    value = case.curve("val_loss")
    if case.diverged or not len(value) or not np.isfinite(value).any():
        return
    gap = max(case.learned, 0.0) - max(case.validated, 0.0)
    best = int(np.nanargmin(value))
    rise = float(np.mean(value[-case.last :]) / max(value[best], 1e-12))
    rows = int(case.facts.get("validation_rows", 0))
    unsure = limit.STANDARD_ERRORS * case.uncertainty(max(case.validated, 0.0), rows)  # beside the gap, from 0 as well
    if gap > unsure and (gap > limit.GAP_ALONE or (gap > limit.GAP and rise > limit.VALIDATION_RISES)):
        yield Finding(
            Symptom(
                "overfitting",
                None,
                f"The network knows its training set ({case.learned:.0%} of what there is to know) better than new "
                f"rows ({case.validated:.0%}); the validation loss was lowest in epoch {case.history.epochs[best]} and "
                f"is {rise:.2g} times that now.",
                {
                    "learned": case.learned,
                    "validated": case.validated,
                    "gap": gap,
                    "best_epoch": case.history.epochs[best],
                    "validation_rows": rows,
                    "validation_loss_over_best": rise,
                    "rows": case.facts["rows"],
                    "parameters": case.network["parameters"],
                },
                "More data (augment= makes some), l2, Dropout, a smaller network, or callbacks.EarlyStopping.",
            )
        )


def underfitting(case: Case, failing: bool) -> Iterator[Finding]:
    if not failing or case.diverged or case.epochs < 3 or case.learned > limit.LEARNED_MUCH:
        return
    dense, narrowest = case.layers("Dense", "Maxout"), case.narrowest
    if narrowest <= limit.NARROW and slope_share(case) < 3 * limit.FLAT:
        what = "it has no hidden layer" if len(dense) < 2 else f"its narrowest hidden layer has {narrowest} units"
        yield Finding(
            Symptom(
                "underfitting",
                None,
                f"The network cannot fit its own training set: it knows {case.learned:.0%} of what there is to know"
                f"{case.held_against}; {what}.",
                {
                    "learned": case.learned,
                    "baseline": case.baseline,
                    "loss_left": case.left,
                    "parameters": case.network["parameters"],
                    "narrowest_layer": narrowest,
                },
                "A larger network: more units first, then another layer with ReLU between; then train longer.",
            )
        )


def over_regularized(case: Case, failing: bool) -> Iterator[Finding]:
    network = case.network
    if case.diverged or not (network["l1"] or network["l2"]):
        return
    rows = case.facts["rows"]
    pulls: list[float] = []
    last_pulls: list[float] = []
    shrunk: list[float] = []
    for name in case.weights:
        start, end = case.start["tensors"][name], case.end["tensors"][name]
        for tensor, found in ((start, pulls), (end, last_pulls)):
            if tensor["gradient"] and tensor["weight"]:
                force = network["l2"] / rows * tensor["weight"] + network["l1"] / (2 * rows)
                found.append(force / tensor["gradient"])
        if start["weight"] and end["weight"] is not None:
            shrunk.append(end["weight"] / start["weight"])
    pull, last_pull, size = (
        float(np.median(values)) if values else float("nan") for values in (pulls, last_pulls, shrunk)
    )
    penalty = case.curve("penalty")
    costs = float(penalty[-1]) / max(case.constant_loss, 1e-12) if len(penalty) else float("nan")
    holds = last_pull > limit.PENALTY_PULLS_HARD and costs > limit.PENALTY_COSTS
    harmed = (failing and pull > limit.PENALTY_PULL) or (
        pull > limit.PENALTY_PULLS_HARD and case.left > limit.LOSS_HELD_BACK
    )
    if harmed and (not isfinite(size) or size < 1 or pull > 1 or holds):
        yield Finding(
            Symptom(
                "over_regularized",
                None,
                f"The penalty wins over the data: at the start it pulls on the weights with {pull:.2g} times the force "
                f"of the data, and they end at {size:.2g} times their initial size.",
                {
                    "l1": network["l1"],
                    "l2": network["l2"],
                    "pull_of_penalty": pull,
                    "weights_end_over_start": size,
                    "pull_at_the_end": last_pull,
                    "penalty": float(penalty[-1]) if len(penalty) else float("nan"),
                    "data_loss": case.end_loss,
                },
                "Divide l1 and l2 by 10 until the training loss falls; the penalty is l2/(2M) sum W^2 with M training "
                "rows.",
            )
        )


def small_batch_norm(case: Start, harmed: bool | None = None) -> Iterator[Finding]:
    """`harmed`: whether training and inference disagree, or the run failed; None if that is not known yet."""
    if not case.network["batch_norm"] or not case.batch_size:
        return
    size = case.batch_size
    largest = (
        limit.BATCH_TINY if harmed is None else limit.BATCH_SMALL if harmed else 1
    )  # with one nothing is left of x
    if size <= largest:
        evidence: dict[str, float] = {"batch_size": size}
        if isinstance(case, Case) and case.epochs:
            evidence |= {"training_loss": case.end_loss, "inference_loss": case.end["data_loss"] or float("nan")}
        yield Finding(
            Symptom(
                "small_batch_norm",
                next(iter(case.layers("BatchNorm")))[0],
                f"Batch normalization with {size} rows per batch: mean and deviation of so few rows are mostly noise, "
                f"and inference uses others.",
                evidence,
                "Batches of 16 rows or more, or no batch normalization.",
            )
        )
