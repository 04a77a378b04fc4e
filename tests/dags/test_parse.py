"""What a Dag file of a template costs Airflow each time that it is parsed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from live import copy_template

from tradewind.cli.templates import templates

LIMIT = 0.1  # seconds above an empty Dag
TIMES = 7
HEAVY = [
    "great_expectations",
    "kubernetes",
    "mlflow",
    "numpy",
    "optuna",
    "pandas",
    "pyarrow",
    "pyspark",
    "sklearn",
    "uv",
    "xgboost",
]
EMPTY = """
from datetime import datetime

from airflow.sdk import DAG

with DAG("empty", schedule=None, start_date=datetime(2013, 1, 1)):
    pass
"""
# Airflow's processor forks a child for each file, which has loaded what parsing needs anyway.
PARSE = """
import json, os, runpy, sys, time
import airflow.sdk
from airflow.sdk import DAG, BaseOperator, Param

for file in json.loads(sys.argv[1]):
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    known = set(sys.modules)
    started = time.perf_counter()
    runpy.run_path(file)
    print(json.dumps([time.perf_counter() - started, sorted(set(sys.modules) - known)]), flush=True)
    os._exit(0)
"""


def parse(*files: Path) -> list[tuple[float, list[str]]]:
    """Of each: seconds, and the modules that it loaded, in a process of its own."""
    command = [sys.executable, "-c", PARSE, json.dumps([str(file) for file in files])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(found) == len(files), done.stderr
    return found  # type: ignore[return-value]


def test_it_loads_nothing_heavy(tmp_path: Path) -> None:
    names = list(templates())
    for name, (_, modules) in zip(
        names, parse(*(copy_template(tmp_path, name, template=name) / "dag.py" for name in names)), strict=True
    ):
        assert {"tradewind.operators.train", "tradewind.operators.sweep"} & set(modules), name
        assert not {module.split(".")[0] for module in modules} & set(HEAVY), name


def test_it_adds_little_to_an_empty_dag(tmp_path: Path) -> None:
    template, empty = copy_template(tmp_path) / "dag.py", tmp_path / "empty.py"
    empty.write_text(EMPTY)
    seconds = [taken for taken, _ in parse(*[template, empty] * TIMES)]
    ours, nothing = median(seconds[::2]), median(seconds[1::2])
    print(f"template {ours:.3f} s, empty Dag {nothing:.3f} s")
    assert ours - nothing <= LIMIT
