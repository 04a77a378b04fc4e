"""``python -m benchmarks [names]``: measure, print a table, write ``build/bench.json``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.cluster import pods
from benchmarks.gpu import gpu
from benchmarks.handover import handover
from benchmarks.measure import BUILD, ROOT, Figure
from benchmarks.pages import pages
from benchmarks.parse import parse
from benchmarks.pipeline import pipeline
from benchmarks.rollout import rollout
from benchmarks.stack import stack
from benchmarks.sweep import sweep
from benchmarks.tasks import fan_out, rerun
from benchmarks.waiting import waiting

ALONE = {"parse": parse, "handover": handover}
SERVED = {"rollout": rollout, "sweep": sweep, "gpu": gpu, "pages": pages, "pods": pods, "waiting": waiting}
IN_AIRFLOW = {"pipeline": pipeline, "rerun": rerun, "fanout": fan_out}


def main() -> int:
    """Exit code 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        choices=[[], *ALONE, *SERVED, *IN_AIRFLOW],
        help="which; by default parse, handover, pipeline, rerun and fanout",
    )
    parser.add_argument("--repeat", type=int, default=3, help="how often each pair is run (cheap ones more often)")
    parser.add_argument("--envs", type=Path, default=ROOT / ".tradewind" / "envs", help="folder of the step environments")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", help="file for the figures")
    arguments = parser.parse_args()
    names = arguments.names or [*ALONE, *IN_AIRFLOW]
    BUILD.mkdir(parents=True, exist_ok=True)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    figures: list[Figure] = []
    for name in (name for name in ALONE if name in names):
        print(name, flush=True)
        figures += ALONE[name](arguments.repeat)
    for name in (name for name in SERVED if name in names):
        print(name, flush=True)
        figures += SERVED[name](arguments.envs, arguments.repeat)
    if set(names) & set(IN_AIRFLOW):
        with stack(arguments.envs) as made:
            for name in (name for name in IN_AIRFLOW if name in names):
                print(name, flush=True)
                figures += IN_AIRFLOW[name](made, arguments.repeat)
    _write(figures, arguments.json)
    _show(figures)
    return 1 if any(figure.met is False for figure in figures) else 0


def _write(figures: list[Figure], path: Path) -> None:
    """Benchmarks that were not asked for keep the figures they had."""
    known = json.loads(path.read_text()) if path.exists() else {}
    for figure in figures:
        known[figure.name] = {"value": figure.value, "unit": figure.unit, "goal": figure.goal}
    path.write_text(json.dumps(known, indent=2) + "\n")


def _show(figures: list[Figure]) -> None:
    table = Table("benchmark", "value", "unit", "goal", "single values")
    table.columns[1].justify = "right"
    for figure in figures:
        colour = {None: "", True: "[green]", False: "[red]"}[figure.met]
        single = " ".join(f"{value:.2f}" for value in figure.spread)
        table.add_row(figure.name, f"{colour}{figure.value:g}", figure.unit, figure.goal, single)
    Console(width=130).print(table)


if __name__ == "__main__":
    sys.exit(main())
