"""Benchmarks, one name each: ``python bench/run.py gradcheck [--threads 1] [--json out.json]``.

A benchmark is a module ``bench_<name>.py`` with ``add_arguments(parser)``, ``run(arguments) -> rows`` (dicts of plain
data) and ``tables(rows) -> [(title, column names, lines)]``. Everything runs in this process, peers beside us.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "scipy", "torch", "jax", "jaxlib", "numdifftools", "scikit-learn")


def names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def limit_threads(count: int) -> None:
    """Hold every library to the same number of threads and cores; before any of them is imported."""
    for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM"):
        os.environ[f"{name}_NUM_THREADS"] = str(count)
    if hasattr(os, "sched_setaffinity"):  # JAX listens to nothing else
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    import gradproof as gp

    cpu = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    config = gp.config()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "isa": config["isa"] + (" and matrix unit" if config["matrix_unit"] else ""),
        "compiler": config["compiler"],
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def show(title: str, columns: list[str], lines: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for line in lines:
        table.add_row(*line)
    console = Console()
    console.width = max(console.width, 140)  # in a file as well
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="name", required=True)
    modules = {}
    for name in names():
        modules[name] = importlib.import_module(f"bench_{name}")  # these import no library at the top
        command = commands.add_parser(name, help=(modules[name].__doc__ or "").splitlines()[0])
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--json", metavar="FILE", help="write machine, versions and rows to this file")
        modules[name].add_arguments(command)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)

    from gradproof import _core

    _core.set_thread_count(arguments.threads)
    circumstances = machine()
    print(f"{circumstances['cpu']}, {circumstances['isa']}, threads: {arguments.threads}")
    rows = modules[arguments.name].run(arguments)
    for title, columns, lines in modules[arguments.name].tables(rows):
        show(title, columns, lines)
    if arguments.json:
        document = {
            "benchmark": arguments.name,
            "threads": arguments.threads,
            "machine": circumstances,
            "versions": {"gradproof": _core.version(), **{package: installed(package) for package in PACKAGES}},
            "rows": rows,
        }
        Path(arguments.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
