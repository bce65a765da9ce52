from __future__ import annotations

import pickle

import numpy as np
import pytest

from gradproof.nn.layout import Layout, Slice, Views


@pytest.fixture
def layout() -> Layout:
    return Layout.of(
        [
            ("dense_0.W", (2, 3), True),
            ("dense_0.b", (3,), False),
            ("empty", (0, 4), True),
            ("scale", (), True),
            ("dense_1.W", (3, 1), True),
        ]
    )


def test_slices_lie_one_behind_the_other(layout: Layout) -> None:
    assert layout.slices[0] == Slice("dense_0.W", 0, (2, 3), True)
    assert [(entry.offset, entry.stop) for entry in layout.slices] == [(0, 6), (6, 9), (9, 9), (9, 10), (10, 13)]
    assert layout.size == 13
    assert Layout(()).size == 0


def test_every_index_has_a_name(layout: Layout) -> None:
    vector = np.arange(layout.size)
    for index in range(layout.size):
        name, position = layout.name_of(index)
        assert layout.view(vector, name)[position] == index
    assert layout.name_of(4) == ("dense_0.W", (1, 1))
    assert layout.name_of(np.int64(9)) == ("scale", ())


@pytest.mark.parametrize("index", [-1, 13])
def test_an_index_outside_is_an_error(layout: Layout, index: int) -> None:
    with pytest.raises(IndexError, match=f"index: got {index}, expected 0 <= index < 13"):
        layout.name_of(index)


def test_an_unknown_name_lists_the_known(layout: Layout) -> None:
    with pytest.raises(KeyError, match="'dense_9.W'; there are dense_0.W"):
        layout["dense_9.W"]


def test_regularized_runs_are_merged(layout: Layout) -> None:
    assert layout.regularized_runs == ((0, 6), (9, 13))


def test_a_layout_survives_pickling(layout: Layout) -> None:
    assert layout.name_of(3) == pickle.loads(pickle.dumps(layout)).name_of(3)


class TestViews:
    @pytest.fixture
    def vector(self, layout: Layout) -> np.ndarray:
        return np.arange(layout.size, dtype=np.float64)

    def test_are_a_mapping_in_declaration_order(self, layout: Layout, vector: np.ndarray) -> None:
        views = Views(layout, vector)
        assert list(views) == ["dense_0.W", "dense_0.b", "empty", "scale", "dense_1.W"]
        assert len(views) == 5
        assert "scale" in views and "nothing" not in views
        assert "dense_0.W (2, 3)" in repr(views)

    def test_share_memory_with_the_vector(self, layout: Layout, vector: np.ndarray) -> None:
        views = Views(layout, vector)
        for name in ("dense_0.W", "dense_0.b", "scale", "dense_1.W"):
            assert np.shares_memory(views[name], vector)
        views["dense_0.W"][1, 2] = -1
        assert vector[5] == -1

    def test_assigning_writes_through(self, layout: Layout, vector: np.ndarray) -> None:
        views = Views(layout, vector)
        views["dense_0.b"] = [7, 8, 9]
        views["scale"] = 3
        views["dense_1.W"] *= 2
        assert vector[6:].tolist() == [7, 8, 9, 3, 20, 22, 24]

    @pytest.mark.parametrize("value", [1.0, np.zeros(2), np.zeros((1, 3))])
    def test_a_wrong_shape_is_an_error_and_not_broadcast(
        self, layout: Layout, vector: np.ndarray, value: np.ndarray
    ) -> None:
        with pytest.raises(ValueError, match=r"dense_0.b: got shape .*, expected \(3,\)"):
            Views(layout, vector)["dense_0.b"] = value

    @pytest.mark.parametrize("value", [np.zeros(3, complex), ["1", "2", "3"], np.zeros(3, object)])
    def test_only_real_numbers_are_written(self, layout: Layout, vector: np.ndarray, value: object) -> None:
        with pytest.raises(TypeError):
            Views(layout, vector)["dense_0.b"] = value
        assert vector[6:9].tolist() == [6, 7, 8]
