"""The lectures' finite differences."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest

from gradproof.check.textbook import lecture_table, numeric_gradient


@pytest.mark.parametrize(("scheme", "error"), [("forward", 0.0301), ("central", 0.0001)])
def test_the_example_of_the_lectures(scheme: Any, error: float) -> None:
    slope = numeric_gradient(lambda theta: theta**3, 1.0, 0.01, scheme)
    assert slope - 3 == pytest.approx(error, rel=1e-8)


def test_the_table_shows_both_orders() -> None:
    rows = lecture_table()
    assert [row["step"] for row in rows] == pytest.approx([10.0**-k for k in range(1, 9)])
    assert [row["forward_order"] for row in rows[1:5]] == pytest.approx([1.0] * 4, abs=0.02)
    assert [row["central_order"] for row in rows[1:4]] == pytest.approx([2.0] * 3, abs=0.02)
    assert np.isnan(rows[0]["forward_order"])


Pair = namedtuple("Pair", "W b")


@pytest.mark.parametrize("structure", [dict, list, tuple, Pair, "nested"])
def test_structures(structure: Any, rng: np.random.Generator) -> None:
    W, b = rng.normal(size=(2, 3)), rng.normal(size=3).astype(np.float32)
    builders = {dict: {"W": W, "b": b}, list: [W, b], tuple: (W, b), Pair: Pair(W, b), "nested": {"a": [W, (b,)]}}
    params = builders[structure]

    def leaves(tree: Any) -> tuple[Any, Any]:
        if structure == "nested":
            return tree["a"][0], tree["a"][1][0]
        return (tree["W"], tree["b"]) if structure is dict else tuple(tree)

    def loss(tree: Any) -> float:
        inner_W, inner_b = leaves(tree)
        return float(np.sum(inner_W**2) + np.sum(np.sin(inner_b)))

    before = W.copy(), b.copy()
    gradient = numeric_gradient(loss, params)
    assert type(gradient) is type(params)
    dW, db = leaves(gradient)
    np.testing.assert_allclose(dW, 2 * W, rtol=1e-8)
    np.testing.assert_allclose(db, np.cos(b.astype(float)), rtol=1e-8)
    assert dW.dtype == db.dtype == np.float64
    np.testing.assert_array_equal(W, before[0])
    np.testing.assert_array_equal(b, before[1])


def test_every_entry_is_put_back_bit_by_bit() -> None:
    seen = []
    numeric_gradient(lambda x: seen.append(x.copy()) or 0.0, np.array([0.1, 0.3]), 1e-3)
    np.testing.assert_array_equal(np.array(seen)[:2, 1], [0.3, 0.3])
    np.testing.assert_array_equal(np.array(seen)[2:, 0], [0.1, 0.1])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"step": 0.0}, ValueError, "step"),
        ({"step": float("nan")}, ValueError, "step"),
        ({"scheme": "backward"}, ValueError, "scheme"),
        ({"params": "abc"}, TypeError, "params"),
        ({"params": np.array([1j])}, TypeError, "complex"),
    ],
)
def test_bad_input(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        numeric_gradient(**{"loss": lambda x: 0.0, "params": np.ones(2), **options})
