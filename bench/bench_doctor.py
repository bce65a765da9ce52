"""The training doctor on generated runs, healthy and sick: what it says, on families it was tuned on and on others."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tuning", action="store_true", help="the families that the thresholds were set with")
    parser.add_argument("--recipes", type=int, default=60, help="recipes; each gives up to 20 runs, in some seconds")
    parser.add_argument("--first", type=int, default=2000, help="seed of the first recipe")
    parser.add_argument("--each", type=int, default=0, help="no more runs of a symptom when there are so many")
    parser.add_argument("--only", nargs="+", metavar="SYMPTOM", help="make these, and healthy runs, only")
    parser.add_argument("--runs", type=Path, help="a file to keep the runs in; those that it has are not made again")
    parser.add_argument("--missed", action="store_true", help="list the runs about which something else was said")


def run(arguments: argparse.Namespace) -> list[Row]:
    from gradproof.train.history import History

    rows: list[Row] = []
    for found in _found(arguments):
        said = [symptom.tag for symptom in History.from_json(found.pop("history")).diagnose()]
        truth = found["truth"]
        row = found | {
            "kind": "tuned on" if arguments.tuning else "unseen",
            "said": said,
            "right": (truth in said) if truth else not said,
            "first": said[:1] == [truth] if truth else not said,
        }
        rows.append(row | {"truth": truth or "healthy"})
        if arguments.missed and not (row["right"] and row["first"]):
            print(f"{row['seed']}: {rows[-1]['truth']} ({row['how']}): {said or 'nothing'}", file=sys.stderr)
    return rows


def _found(arguments: argparse.Namespace) -> Iterator[Row]:
    """The runs, recipe by recipe: kept ones, then new ones."""
    counts: Counter[str | None] = Counter()
    done = -1
    file = arguments.runs
    for line in file.open(encoding="utf-8") if file and file.exists() else ():
        recipe = json.loads(line)
        done = recipe["seed"]
        counts.update(found["truth"] for found in recipe["runs"])
        yield from recipe["runs"]
    for seed in range(max(arguments.first, done + 1), arguments.first + arguments.recipes):
        made = _made(arguments, seed, counts)
        counts.update(found["truth"] for found in made)
        if file:
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"seed": seed, "runs": made}) + "\n")
        yield from made


def _made(arguments: argparse.Namespace, seed: int, counts: Counter[str | None]) -> list[Row]:
    """The runs of one recipe that are still wanted."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import numpy as np
    from cases.training_runs import recipe, sweep
    from cases.training_sick import SICK, TRUTHS, runs

    few = {
        name
        for name in SICK
        for truth in TRUTHS.get(name, [name])
        if (not arguments.each or counts[truth] < arguments.each) and (not arguments.only or truth in arguments.only)
    }
    with np.errstate(all="ignore"):
        swept = sweep(recipe(not arguments.tuning, seed))
        return [
            {
                "seed": seed,
                "truth": one.truth,
                "how": one.kind,
                "admitted": sorted(one.admitted),
                "history": one.history.to_json(),
            }
            for one in runs(swept, np.random.default_rng([77, seed]), {"healthy", *few})
        ]


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
