"""The training doctor on generated runs, healthy and sick: what it says, on families it was tuned on and on others."""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tuning", action="store_true", help="the families that the thresholds were set with")
    parser.add_argument(
        "--recipes", type=int, default=60, help="recipes; each gives up to 20 runs and takes some seconds"
    )
    parser.add_argument("--first", type=int, default=2000, help="seed of the first recipe")
    parser.add_argument("--missed", action="store_true", help="list the runs about which something else was said")


def run(arguments: argparse.Namespace) -> list[Row]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import numpy as np
    from cases.training_runs import recipe, sweep
    from cases.training_sick import runs

    rows: list[Row] = []
    for seed in range(arguments.first, arguments.first + arguments.recipes):
        with np.errstate(all="ignore"):
            swept = sweep(recipe(not arguments.tuning, seed))
            for one in runs(swept, np.random.default_rng([77, seed])):
                said = [symptom.tag for symptom in one.history.diagnose()]
                right = (one.truth in said) if one.truth else not said
                rows.append(
                    {
                        "kind": "tuned on" if arguments.tuning else "unseen",
                        "seed": seed,
                        "truth": one.truth or "healthy",
                        "how": one.kind,
                        "admitted": sorted(one.admitted),
                        "said": said,
                        "right": right,
                        "first": said[:1] == [one.truth] if one.truth else not said,
                    }
                )
                if arguments.missed and not (right and rows[-1]["first"]):
                    print(f"{seed}: {rows[-1]['truth']} ({one.kind}): {said or 'nothing'}", file=sys.stderr)
    return rows


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    said: Counter[str] = Counter()
    justified: Counter[str] = Counter()
    by_truth: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_truth[row["truth"]].append(row)
        for tag in set(row["said"]):
            said[tag] += 1
            justified[tag] += tag == row["truth"] or tag in row["admitted"]
    lines = []
    for truth in sorted(by_truth, key=lambda name: (name != "healthy", name)):
        own = by_truth[truth]
        others = Counter(" + ".join(row["said"]) or "nothing" for row in own if not row["first"])
        lines.append(
            [
                truth,
                str(len(own)),
                _share(sum(row["right"] for row in own), len(own)),
                _share(sum(row["first"] for row in own), len(own)),
                str(said[truth]) if truth != "healthy" else "",
                _share(justified[truth], said[truth]) if truth != "healthy" else "",
                ", ".join(f"{what} {count}" for what, count in others.most_common(3)),
            ]
        )
    kind = rows[0]["kind"] if rows else ""
    columns = ["", "runs", "recall", "said first", "times said", "precision", "said first instead"]
    return [(f"Training doctor, families {kind} ({len(rows)} runs)", columns, lines)]


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "–"
