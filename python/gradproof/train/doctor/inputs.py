"""Symptoms of the data: inputs of the wrong size, all the same, or with the answer in them; random targets."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from gradproof.train.doctor import thresholds as limit
from gradproof.train.doctor.case import Case, Start
from gradproof.train.doctor.causes import Finding
from gradproof.train.doctor.symptom import Symptom


def identical_inputs(case: Start) -> Iterator[Finding]:
    inputs = case.inputs
    if inputs["identical"] and case.facts["rows"] > 1:
        yield Finding(
            Symptom(
                "identical_inputs",
                None,
                "All rows of X are the same, so there is nothing to tell them apart by.",
                {"rows": case.facts["rows"], "features_that_vary": inputs["features"] - inputs["constant"]},
                "Look at the rows just before they reach the network: the loading or preprocessing loses the data.",
            )
        )


def unnormalized_inputs(case: Start, harmed: bool, failing: bool = False) -> Iterator[Finding]:
    """`harmed`: whether the run went badly; otherwise the inputs must be further off to be named.

    `failing`: whether it learned less than it could.
    """
    inputs = case.inputs
    names = ("rms", "offset", "median_std")  # None: too large for a number
    rms, offset, median = (value if (value := inputs[name]) is not None else float("inf") for name in names)
    if inputs["identical"] or not median:
        return
    spread = max(inputs["largest_std"] or float("inf"), median) / median
    first_layer_normalizes = case.network["layers"][0][1] == "BatchNorm"
    high = limit.INPUT_RMS if harmed else limit.INPUT_RMS_UNSEEN
    far = limit.INPUT_OFFSET if harmed else limit.INPUT_OFFSET_UNSEEN
    reasons = []
    if rms > high:
        reasons.append(f"they are large (root mean square {rms:.3g})")
    if offset > far:
        reasons.append(f"their means are {offset:.3g} deviations from 0")
    few = limit.INPUT_TINY_SHARE
    if harmed and ((spread > limit.INPUT_SPREAD and rms > 2) or inputs.get("tiny_share", 0.0) >= few):
        spread = (inputs["largest_std"] or float("inf")) / inputs["smallest_std"]
        reasons.append(f"some vary {spread:.3g} times as much as others")
    elif failing and isinstance(case, Case) and _lost(case):
        spread = (inputs["largest_std"] or float("inf")) / inputs["smallest_std"]
        reasons.append(f"some vary {spread:.3g} times as much as others, and what these know is lost beside them")
    if rms < limit.INPUT_SMALL:
        reasons.append(f"they are tiny (root mean square {rms:.3g})")
    elif harmed and (deviation := rms / (1 + offset**2) ** 0.5) < limit.INPUT_SMALL:
        reasons.append(f"they hardly vary (deviation {deviation:.3g})")
    if reasons and not first_layer_normalizes:
        yield Finding(
            Symptom(
                "unnormalized_inputs",
                None,
                f"The inputs are not normalized: {' and '.join(reasons)}. Weights are initialized for inputs of mean 0 "
                f"and deviation 1.",
                {
                    "rms": rms,
                    "mean_over_deviation": offset,
                    "largest_deviation": inputs["largest_std"],
                    "median_deviation": median,
                    "smallest_deviation": inputs["smallest_std"],
                },
                "Subtract the mean and divide by the deviation of the training set, per feature, in training and "
                "validation data alike: gp.data.Normalizer.",
            )
        )


def _lost(case: Case) -> bool:
    """Whether small features know something, by more than chance, that is hard to see beside others."""
    base, without = case.baseline, case.without_small
    if not base > limit.BASELINE_KNOWN or not isfinite(without):
        return False
    unsure = limit.STANDARD_ERRORS * case.uncertainty(base, case.end["rows"])
    return without < min(limit.INPUT_LOST * base, base - unsure)


def label_leakage(case: Start) -> Iterator[Finding]:
    leak = case.facts["leakage"]
    shared = leak.get("shared_rows", 0.0)
    if shared > limit.ROWS_SHARED:
        yield Finding(
            Symptom(
                "label_leakage",
                None,
                f"{shared:.0%} of the validation rows are rows of the training set: the validation score says little "
                f"about new data.",
                {"shared_rows": shared},
                "Split before augmenting or resampling, and keep copies and rows of the same origin on one side.",
            )
        )
    tells = limit.FEATURE_IS_VALUE if case.loss == "mse" else limit.FEATURE_IS_CLASS
    without = leak.get("without")
    if leak["explained"] is not None and leak["explained"] > tells and without is not None:
        others = case.knowledge(without)
        copied = leak["explained"] > limit.FEATURE_IS_COPY and (case.loss != "mse" or case.network["outputs"] == 1)
        missing = _unknown(case, leak["explained"], others) and (leak.get("remainder") or 0.0) < limit.REMAINDER_KNOWN
        if copied or missing:
            yield Finding(
                Symptom(
                    "label_leakage",
                    None,
                    f"Feature {leak['feature']} gives the target away: they are the same up to "
                    f"{1 - leak['explained']:.1%} of its variance, while all other features together know "
                    f"{max(others, 0):.0%} of it.",
                    {"feature": leak["feature"], "explained": leak["explained"], "others_know": others},
                    "Ask whether the feature would be known when a prediction is wanted; if not, drop it.",
                )
            )


def _unknown(case: Start, explained: float, others: float) -> bool:
    """Whether a feature tells of the target what all others together do not come near."""
    if case.loss == "mse":
        return 1 - others > max(limit.OTHERS_LEAVE * (1 - explained), limit.OTHERS_LEAVE_ALWAYS)
    return others < limit.OTHERS_KNOW


def random_labels(case: Case) -> Iterator[Finding]:
    """Needs validation data, by its nature: on the rows it was trained on, a network that learned targets by heart
    looks like one that understood them.

    Without, only a run shows that did not learn them well either, by what simple methods know of rows that they were
    not given.
    """
    base, validated = case.baseline, case.validated
    blind = not isfinite(base) or base < limit.BASELINE_BLIND
    unsure = limit.STANDARD_ERRORS * case.uncertainty(0.0, int(case.facts.get("validation_rows", 0)))
    unknown = (
        validated < max(limit.NOTHING_KNOWN, unsure)
        if isfinite(validated)
        else isfinite(base) and base < limit.NOTHING_KNOWN / 2
    )
    if case.learned > limit.LEARNED_BY_HEART and blind and unknown and case.learned > 3 * max(base, 0):
        yield Finding(
            Symptom(
                "random_labels",
                None,
                "The network learns the training targets, and neither it nor a simple method knows anything about rows "
                "it has not seen: the targets look unrelated to the inputs.",
                {"learned": case.learned, "validated": validated, "baseline": base},
                "Check that rows and targets belong together: a shuffle, sort or join of one of them and not the "
                "other. Train with validation_data=: targets that were learned by heart show there only.",
            )
        )
