"""``gradproof bench``: what it runs and writes. How fast anything is, is not tested."""

from __future__ import annotations

import json

import numpy as np

from gradproof import cli, cli_bench


def test_it_measures_both_kinds_of_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli_bench, "NETWORKS", (((6, 5, 3), 4, 8, True),))
    path = tmp_path / "figures.json"
    assert cli.main(["bench", "--seconds", "1e-3", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())["figures"]
    assert [(row["dtype"], row["work"].split()[0]) for row in figures] == [
        ("float32", "check"),
        ("float32", "training"),
        ("float64", "check"),
        ("float64", "training"),
    ]
    assert all(0 < row["seconds"] < np.inf and 0 < row["numpy"] < np.inf for row in figures)
    assert "6-5-3" in capsys.readouterr().out


def test_numpy_does_the_same_work(monkeypatch):
    """The peer is not crippled: its steps lead where ours do, and its loop moves the parameters it says."""
    made = []
    subject = cli_bench._subject
    monkeypatch.setattr(cli_bench, "_subject", lambda *arguments: made.append(subject(*arguments)) or made[-1])
    ends = []

    def three_times(work, seconds):
        for _ in range(3):
            work()
        cells = dict(zip(work.__code__.co_freevars, (cell.cell_contents for cell in work.__closure__), strict=True))
        ends.append((cells.get("model") or cells["twin"]).theta)
        return 1.0

    monkeypatch.setattr(cli_bench, "_best", three_times)
    cli_bench._train((6, 5, 3), 8, True, "float64", 0.0)
    ours, theirs = ends
    assert np.any(ours != subject((6, 5, 3), 8, True, "float64")[0].theta)
    np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=1e-8)


def test_where_the_figures_go_is_looked_at_first(monkeypatch, capsys):
    monkeypatch.setattr(cli_bench, "bench", None)
    assert cli.main(["bench", "--json", "none/figures.json"]) == cli.USAGE
    assert "--json: 'none/figures.json', but there is no folder" in capsys.readouterr().err
