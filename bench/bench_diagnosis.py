"""The diagnosis on generated mistakes: which cause it names, on the families it was tuned on and on others."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

Row = dict[str, Any]

CONFIDENT = 0.6  # a wrong cause said with more than this is worse than "unknown"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3, help="draws of the data of every family")
    parser.add_argument("--missed", action="store_true", help="list the mistakes whose cause was not named")


def run(arguments: argparse.Namespace) -> list[Row]:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from cases.generated import mistakes
    from cases.measured import measured
    from cases.networks_unseen import UNSEEN
    from cases.networks_with_mistakes import TUNING

    from gradproof.check.diagnose import diagnose

    rows: list[Row] = []
    for kind, families in (("tuned on", TUNING), ("unseen", UNSEEN)):
        for family in families:
            for seed in range(arguments.seeds):
                for mistake in mistakes(family, seed):
                    tensors = measured(mistake.network.params, mistake.right, mistake.gradient, seed)
                    started = time.perf_counter()
                    first = diagnose(tensors)[0]
                    rows.append(
                        {
                            "kind": kind,
                            "family": family.__name__,
                            "mistake": mistake.name,
                            # Made from any gradient, or a step of just this network done wrong.
                            "particular": mistake.name.split(":")[0] not in mistake.right,
                            "cause": mistake.cause,
                            "said": first.cause,
                            "placed": first.tensor in mistake.blame,
                            "confidence": first.confidence,
                            "candidates": list(first.evidence.get("candidates", ())),
                            "seconds": time.perf_counter() - started,
                        }
                    )
                    if arguments.missed and first.cause != mistake.cause:
                        print(f"{kind}, {family.__name__}, {mistake.name}: {first.message}", file=sys.stderr)
    return rows


def tables(rows: list[Row]) -> list[tuple[str, list[str], list[list[str]]]]:
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    result = [_summary(rows)]
    result += [_confusion([row for row in rows if row["kind"] == kind], kind) for kind in kinds]
    return result


def _summary(rows: list[Row]) -> tuple[str, list[str], list[list[str]]]:
    lines = []
    for kind, family in dict.fromkeys((row["kind"], row["family"]) for row in rows):
        own = [row for row in rows if (row["kind"], row["family"]) == (kind, family)]
        lines.append([f"{kind}: {family}", *_shares(own)])
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        lines.append([f"{kind}: steps of the network", *_shares([row for row in own if row["particular"]])])
        lines.append([f"{kind}: all", *_shares(own)])
    columns = ["", "mistakes", "tensor", "cause", "cause or candidate", "unknown", "wrong and confident", "ms (worst)"]
    return f"Diagnosis (wrong and confident: another cause with confidence above {CONFIDENT})", columns, lines


def _shares(rows: list[Row]) -> list[str]:
    def share(count: int) -> str:
        return f"{100 * count / len(rows):.1f} %"

    named = [row for row in rows if row["said"] == row["cause"]]
    listed = [row for row in rows if row["cause"] in (row["said"], *row["candidates"])]
    unknown = [row for row in rows if row["said"] == "unknown"]
    confident = [row for row in rows if row["said"] != row["cause"] and row["confidence"] > CONFIDENT]
    return [
        str(len(rows)),
        share(sum(row["placed"] for row in rows)),
        share(len(named)),
        share(len(listed)),
        share(len(unknown)),
        share(len(confident)),
        f"{1e3 * max(row['seconds'] for row in rows):.0f}",
    ]


def _confusion(rows: list[Row], kind: str) -> tuple[str, list[str], list[list[str]]]:
    counts = Counter((row["cause"], row["said"]) for row in rows)
    causes = sorted({row["cause"] for row in rows})
    said = [*causes, *sorted({row["said"] for row in rows} - set(causes))]
    lines = [
        [cause, *(str(counts[cause, other]) if counts[cause, other] else "·" for other in said)] for cause in causes
    ]
    return f"Confusion matrix, families {kind} (rows: the mistake made, columns: the cause named)", ["", *said], lines
