"""Random problems of many kinds: correct gradients accused, mistakes passed, coverage of the uncertainty, cost."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--problems", type=int, default=45, help="of each family")
    parser.add_argument("--seed", type=int, default=0, help="of the problems")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="families")


def run(arguments: argparse.Namespace) -> list[Row]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import numpy as np
    from cases.families import FAMILIES
    from cases.families_held_out import HELD_OUT
    from cases.properties import outcome

    rows: list[Row] = []
    for kind, families in (("tuned on", FAMILIES), ("held out", HELD_OUT)):
        for name, make in families.items():
            if arguments.only and name not in arguments.only:
                continue
            started = time.perf_counter()
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                found = [
                    outcome(make(np.random.default_rng([arguments.seed, i, len(name)])), i)
                    for i in range(arguments.problems)
                ]
            costs = [cost for one in found for cost in one.costs]
            row: Row = {"kind": kind, "family": name, "problems": len(found), "costs": costs}
            row |= {verdict: sum(one.verdict == verdict for one in found) for verdict in ("fail", "inconclusive")}
            row |= {key: sum(getattr(one, key) for one in found) for key in ("known", "uncovered")}
            row["asked"] = int(sum(one.asked for one in found))
            row["missed"] = int(sum(one.asked and one.found != "fail" for one in found))
            row["seconds"] = time.perf_counter() - started
            rows.append(row)
            print(*_line(name, [row]), file=sys.stderr, flush=True)
    return rows


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    lines = [_line(f"{row['kind']}: {row['family']}", [row]) for row in rows]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        lines.append(_line(f"{kind}: all", [row for row in rows if row["kind"] == kind]))
    lines.append(_line("all", rows))
    columns = [
        "",
        "problems",
        "right ones failed",
        "inconclusive",
        "mistakes beyond 10 uncertainties",
        "missed",
        "entries",
        "covered",
        "evaluations per entry, median",
        "mean",
        "99 %",
    ]
    return [
        ("Random problems: right gradients, one mistake in each, and the error of the measured values", columns, lines)
    ]


def _line(name: str, rows: list[Row]) -> list[str]:
    import numpy as np

    total = {key: sum(row[key] for row in rows) for key in rows[0] if isinstance(rows[0][key], int)}
    costs = np.concatenate([row["costs"] for row in rows])
    return [
        name,
        f"{total['problems']:,}",
        str(total["fail"]),
        str(total["inconclusive"]),
        str(total["asked"]),
        str(total["missed"]),
        f"{total['known']:,}",
        f"{100 * (1 - total['uncovered'] / max(1, total['known'])):.2f} %",
        f"{np.median(costs):.0f}",
        f"{np.mean(costs):.1f}",
        f"{np.quantile(costs, 0.99):.0f}",
    ]
