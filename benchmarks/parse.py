"""What parsing the flights' Dag costs over an empty one, in a fresh process each."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from benchmarks.measure import BUILD, ROOT, Figure, in_turns

# What any Dag file needs is there before, as it is in Airflow's Dag processor.
_PARSE = """
import sys, time
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
started = time.perf_counter()
bag = DagBag(sys.argv[1])
seconds = time.perf_counter() - started
assert len(bag.dags) == 1 and not bag.import_errors, bag.import_errors
print(seconds)
"""
_EMPTY = "from airflow.sdk import DAG\n\nwith DAG('empty', schedule=None):\n    pass\n"


def parse(repeat: int) -> list[Figure]:
    """The difference of the medians, in seconds."""
    empty = BUILD / "empty_dag.py"
    empty.parent.mkdir(parents=True, exist_ok=True)
    empty.write_text(_EMPTY)
    ours, theirs = in_turns(
        lambda: _seconds(str(ROOT / "dags" / "flight_delay" / "dag.py")), lambda: _seconds(str(empty)), 3 * repeat
    )
    a, b = statistics.median(ours), statistics.median(theirs)
    return [
        Figure(name="parse", value=round(a - b, 3), unit="s", goal="<= 0.1"),
        Figure(name="parse.seconds", value=round(a, 3), unit="s", spread=tuple(ours)),
        Figure(name="parse.empty_seconds", value=round(b, 3), unit="s", spread=tuple(theirs)),
    ]


def _seconds(path: str) -> float:
    home = BUILD / "parse_home"
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run([sys.executable, "-c", _PARSE, path], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout.splitlines()[-1])
