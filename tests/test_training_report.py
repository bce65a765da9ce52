"""Plots of training runs and their pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import gradproof as gp
from gradproof.train import page
from gradproof.train.history import History

plot = pytest.importorskip("gradproof.train.plot")


def train(optimizer: gp.Adam, epochs: int = 4, loss: str = "softmax_cross_entropy", scale: float = 1.0) -> History:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 5)) * scale
    y = (X[:, 0] > 0).astype(int) if loss != "mse" else X[:, :1] ** 2
    layers = [gp.Dense(8), gp.BatchNorm(), gp.ReLU(), gp.Dense(8), gp.Tanh(), gp.Dense(2 if loss != "mse" else 1)]
    model = gp.Sequential(layers, 5, loss)
    data = (X[80:], y[80:])
    with np.errstate(all="ignore"):
        return model.fit(
            X[:80], y[:80], optimizer=optimizer, epochs=epochs, batch_size=20, validation_data=data, progress=False
        )


@pytest.fixture(scope="module")
def history() -> History:
    return train(gp.Adam(1e-2))


def test_every_panel_gives_back_what_it_draws(history: History) -> None:
    figure, data = history.plot()
    assert list(data) == list(plot.PANELS) == plot.available(history)
    assert len(figure.axes) == len(data)
    assert data["loss"]["loss"].tolist() == history["data_loss"]
    assert data["loss"]["val_loss"].tolist() == history["val_loss"]
    assert len(data["loss"]["batches"]) == 4 * 4
    gap = np.subtract(history["accuracy"], history["val_accuracy"])
    assert data["score"]["gap"] == pytest.approx(gap)
    assert data["learning_rate"]["learning_rate"].tolist() == [0.01] * 4
    ratios = {name: values for name, values in data["update_ratio"].items() if name != "epoch"}
    assert list(ratios) == ["dense_0.W", "dense_1.W", "dense_2.W"]
    assert ratios["dense_0.W"].tolist() == pytest.approx(history["update_ratio"]["dense_0.W"], nan_ok=True)
    layers = data["activations"]["layers"]
    assert layers == ["dense_0", "batch_norm_0", "relu_0", "dense_1", "tanh_0", "dense_2"]
    assert data["activations"]["first epoch"]["mean"][0] == history["activation_mean"]["dense_0"][0]
    assert set(data["inactive"]) == {"epoch", "relu_0 dead", "tanh_0 saturated"}


def test_panels_can_be_chosen(history: History) -> None:
    figure, data = history.plot(panels=["log_loss"])
    assert list(data) == ["log_loss"] and figure.axes[0].get_yscale() == "log"
    with pytest.raises(ValueError, match="panels: got 'los', expected any of 'loss'"):
        history.plot(panels=["los"])


def test_regression_shows_r2() -> None:
    data = train(gp.Adam(1e-2), loss="mse").plot()[1]
    assert set(data["score"]) == {"epoch", "r2", "val_r2", "gap"}


def test_the_page_of_a_healthy_run(history: History, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    history.to_html(path)
    text = path.read_text(encoding="utf-8")
    assert "Nothing wrong was found" in text or history.diagnose()
    assert text.count("<svg") == len(plot.PANELS)
    ids = re.findall(r'id="([^"]+)"', text)
    assert len(ids) == len(set(ids))  # eight pictures in one page
    assert not re.search(r'(?:src|href)="(?!#)', text)  # one file, nothing to load
    assert "batch_norm_0" in text and "Adam(learning_rate=0.01" in text


def test_the_page_of_a_sick_run_starts_with_what_is_wrong() -> None:
    sick = train(gp.Adam(1e-7))
    text = page.page(sick)
    (symptom,) = sick.diagnose()
    assert symptom.tag == "learning_rate_too_low"
    assert "<h1>Learning rate too low.</h1>" in text
    assert text.index("What is wrong") < text.index("<svg")
    assert symptom.advice in text and "path <b>" in text


def test_the_page_of_a_run_that_diverged_at_once() -> None:
    history = train(gp.SGD(1e30), loss="mse", scale=1e6)
    assert history.stopped == "diverged" and not len(history)
    text = page.page(history)
    assert "Unnormalized inputs" in text and "The run diverged in epoch 0" in text


@pytest.mark.parametrize(("rate", "batch_size"), [(10.0, 23), (1e5, 5), (1e30, 23)])
def test_numbers_beyond_every_axis_are_left_out(rate: float, batch_size: int) -> None:
    """Of such losses matplotlib makes warnings, or axes without a size."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(23, 4)), rng.normal(size=23)
    model = gp.Sequential([gp.Dense(1)], 4, "mse", dtype="float64")
    options = {"optimizer": gp.SGD(rate), "epochs": 50, "batch_size": batch_size, "progress": False}
    history = model.fit(X, y, validation_data=(X, y), **options)
    assert max(history["loss"]) > 1e30
    figure, data = history.plot()
    figure.draw_without_rendering()
    assert data["loss"]["loss"].tolist() == history["data_loss"]


def test_a_run_without_epochs_has_a_page() -> None:
    history = train(gp.Adam(1e-2), epochs=0)
    assert "No step was completed" in page.page(history)
    assert history.plot()[1] == {}


def test_a_run_that_was_not_watched_says_so() -> None:
    model = gp.Sequential([gp.Dense(2)], 3, "softmax_cross_entropy")
    history = model.fit(np.eye(3), [0, 1, 1], epochs=2, monitor=False, progress=False)
    assert "Trained without a monitor" in page.page(history)
    assert list(history.plot()[1]) == ["loss", "log_loss", "score", "learning_rate"]


def test_without_matplotlib_the_page_says_what_is_missing(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gradproof.train.plot", "gradproof.check.render.plot"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("gradproof.train.plot", None, raising=False)
    monkeypatch.delattr("gradproof.train.plot", raising=False)
    monkeypatch.delattr("gradproof.check.render.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install gradproof\[plot\]"):
        history.plot()
    assert "pip install gradproof[plot]" in page.page(history)


def test_messages_are_escaped(history: History) -> None:
    read = History.from_json(history.to_json())
    read.settings["optimizer"] = "<script>alert(1)</script>"
    assert "<script>" not in page.page(read)
