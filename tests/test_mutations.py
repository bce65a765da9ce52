"""Single mistakes in handwritten backward passes are found, placed and explained; without them everything passes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from cases.mistakes import BLOCK_MAKERS, BLOCK_MISTAKES, MAKERS, MISTAKES, Mistake, network, places
from cases.mistakes_of_blocks import FIRST, SECOND

import gradproof as gp

# Name of the mistake -> why it is not found or not placed yet.
KNOWN_GAPS: dict[str, str] = {}

NAMED = 0.85  # of the causes that the pattern determines
CONFIDENT = 0.6
NAMED_IN_BLOCKS = {"first": 0.8, "second": 0.6}  # of all, told by the pattern or not: adjusted to the first half only


def cases() -> list[object]:
    return [
        pytest.param(
            mistake,
            id=mistake.name,
            marks=[pytest.mark.xfail(reason=KNOWN_GAPS[mistake.name])] if mistake.name in KNOWN_GAPS else [],
        )
        for mistake in MISTAKES + BLOCK_MISTAKES
    ]


@lru_cache(None)
def report(mistake: Mistake) -> gp.GradientReport:
    # The points are generic, so that another one nearby would only take time.
    return gp.check_gradients(mistake.loss, mistake.gradient, mistake.params, nearby=False, progress=False)


def test_every_place_for_a_mistake_is_in_the_table():
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 150
    assert len({mistake.name for mistake in BLOCK_MISTAKES}) == len(BLOCK_MISTAKES) >= 200
    for name in MAKERS | BLOCK_MAKERS:
        assert places(name) == {mistake.slip for mistake in MISTAKES + BLOCK_MISTAKES if mistake.network == name}


@pytest.mark.parametrize("name", MAKERS | BLOCK_MAKERS)
def test_right_gradients_agree_with_fourth_order_differences(name):
    """Holds the cases themselves, independently of what is tested with them."""
    net = network(name)
    gradient = net.right_gradient(net.params)
    for tensor, value in net.params.items():
        measured = np.empty_like(value)
        for index in np.ndindex(*value.shape):

            def at(t: float, tensor: str = tensor, index: tuple[int, ...] = index) -> float:
                moved = {key: array.copy() for key, array in net.params.items()}
                moved[tensor][index] += t
                return net.loss(moved)

            h = 1e-4
            measured[index] = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        np.testing.assert_allclose(gradient[tensor], measured, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", MAKERS | BLOCK_MAKERS)
def test_the_corrected_twin_passes(name):
    net = network(name)
    twin = gp.check_gradients(net.loss, net.right_gradient, net.params, progress=False)
    assert twin.verdict == "pass", str(twin)
    assert twin.culprits == []


@pytest.mark.parametrize("mistake", cases())
def test_the_mistake_is_found_and_placed(mistake):
    found = report(mistake)
    assert found.verdict == "fail", str(found)
    assert set(found.culprits) == set(mistake.wrong), str(found)
    blamed = found.findings[0].tensor
    whole = blamed is None and set(mistake.wrong) == set(mistake.params)  # the gradient of the loss itself
    assert blamed in mistake.origins or whole, str(found)


def test_causes_are_named_where_the_pattern_tells():
    told = [mistake for mistake in MISTAKES if mistake.causes]
    wrong = {m.name: [f.cause for f in report(m).findings[:2]] for m in told if not _named(m)}
    assert len(wrong) <= (1 - NAMED) * len(told), f"{len(wrong)} of {len(told)}: {wrong}"


@pytest.mark.parametrize("half", ["first", "second"])
def test_causes_in_newer_blocks_are_named_and_none_is_wrong_with_confidence(half):
    chosen = [m for m in BLOCK_MISTAKES if m.network in {"first": FIRST, "second": SECOND}[half]]
    wrong = {m.name: (report(m).findings[0].cause, report(m).findings[0].confidence) for m in chosen if not _named(m)}
    assert len(wrong) <= (1 - NAMED_IN_BLOCKS[half]) * len(chosen), f"{len(wrong)} of {len(chosen)}: {wrong}"
    assert sum(confidence > CONFIDENT for _, confidence in wrong.values()) <= 0.02 * len(chosen), wrong


def _named(mistake: Mistake) -> bool:
    findings = report(mistake).findings
    return bool(findings) and findings[0].cause in mistake.causes
