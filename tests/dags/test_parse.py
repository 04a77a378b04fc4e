"""What a Dag file of a template costs Airflow each time that it is parsed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from live import ask, copy_template

from tradewind.cli.templates import templates
from tradewind.resources import data_path

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

WRONG = """
from pathlib import Path

from airflow.sdk import DAG

from tradewind.operators import TrainModelOperator

with DAG(Path(__file__).stem):
    TrainModelOperator(task_id="train", train="train:train", dataset="a", label_column="y", {argument})
"""
LOAD = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(dag_folder=sys.argv[1])
print(json.dumps({"dags": sorted(bag.dags), "errors": list(bag.import_errors.values())}))
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
        assert {f"tradewind.operators.{step}" for step in ("train", "sweep", "drift")} & set(modules), name
        assert not {module.split(".")[0] for module in modules} & set(HEAVY), name


CHAINS = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(dag_folder=sys.argv[1])
chains = {name: [task.task_id for task in dag.topological_sort()] for name, dag in bag.dags.items()}
approve = {name: dag.get_task("approve") for name, dag in bag.dags.items() if dag.has_task("approve")}
asked = {
    name: [task.approvers, task.response_timeout.days, sorted(task.upstream_task_ids), sorted(task.downstream_task_ids)]
    for name, task in approve.items()
}
print(json.dumps({"chains": chains, "asked": asked, "errors": bag.import_errors}))
"""


def test_a_release_waits_for_a_person_where_the_knob_names_one(tmp_path: Path) -> None:
    releasing = [name for name in templates() if "SeldonRollout" in (data_path("dags") / name / "dag.py").read_text()]
    assert len(releasing) == 7
    for name in releasing:
        copy_template(tmp_path, name, template=name)
        ask(copy_template(tmp_path, f"asking_{name}", template=name) / "dag.py", "anna")
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    done = subprocess.run(
        [sys.executable, "-c", CHAINS, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == {}
    anna = [[{"id": "anna", "name": "anna"}], 2, ["register"], ["rollout"]]
    assert found["asked"] == {f"asking_{name}": anna for name in releasing}
    for name in releasing:
        chain = [*found["chains"][name][:-1], "approve", "rollout"]
        assert (found["chains"][f"asking_{name}"], chain[-3]) == (chain, "register")


def test_it_adds_little_to_an_empty_dag(tmp_path: Path) -> None:
    template, empty = copy_template(tmp_path) / "dag.py", tmp_path / "empty.py"
    empty.write_text(EMPTY)
    seconds = [taken for taken, _ in parse(*[template, empty] * TIMES)]
    ours, nothing = median(seconds[::2]), median(seconds[1::2])
    print(f"template {ours:.3f} s, empty Dag {nothing:.3f} s")
    assert ours - nothing <= LIMIT


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        (
            'profile="gpu-9"',
            "There is no resource profile 'gpu-9'; there are: cpu-large, cpu-small, gpu-1, mine, spark-large, spark-small",
        ),
        ('pod={"container_logs": True}', "pod: 'container_logs' would do nothing for a step: "),
    ],
)
def test_what_is_plainly_wrong_is_an_import_error(tmp_path: Path, argument: str, says: str) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "wrong.py").write_text(WRONG.format(argument=argument))
    (dags / "right.py").write_text(WRONG.format(argument='profile="mine", pod={"labels": {"a": "b"}}'))
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__TRADEWIND__PROFILES": '{"mine": {"cpu": 1, "memory_mb": 100}}',
    }
    done = subprocess.run([sys.executable, "-c", LOAD, str(dags)], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["dags"] == ["right"]
    (error,) = found["errors"]
    assert says in error
