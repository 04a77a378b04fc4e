"""Sweeps through ``dag.test()``: a real table, each trial a mapped task with a process of its own, or all in one.

One story in order: each test goes on from what the one before has left in the store.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from in_process import Dags, Run

from tradewind.contract import StepManifest
from tradewind.runtimes.environments import Environments

DAG = """
from airflow.sdk import DAG
from tradewind.operators import EvaluateModelOperator, SweepOperator, TrainModelOperator, sweep_tasks

TABLE = {table!r}
ABOUT = dict(
    train="train:train", dataset=TABLE, label_column="late", time_column="time_hour", exclude=["carrier", "engine"],
    experiment="sweeps",
)
with DAG({name!r}, schedule=None):
    model = {model}
    EvaluateModelOperator(task_id="evaluate", model=model.output, dataset=TABLE, rules=["auc >= 0.6"], min_rows=100)
"""
TRAIN = """
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

def train(dataset, params, report=None):
    depth = params["max_depth"]
    if depth == 13:
        raise ValueError("thirteen")
    if report:
        for step in range(3):
            report(step, 1 / depth)
    model = make_pipeline(SimpleImputer(), DecisionTreeClassifier(max_depth=depth, random_state=0))
    return model.fit(dataset.train.X, dataset.train.y)
"""
TPE = (
    'sweep_tasks(space={"max_depth": [2, 3, 4, 5]}, trials=4, batch=2, pruner="median", seed=1, metric="auc", parallel=2,'
    " **ABOUT)"
)
GRID = 'sweep_tasks(space={"max_depth": [%s, 13]}, sampler="grid", metric="auc", max_failed=%s, **ABOUT)'
POOL = 'SweepOperator(task_id="pool", space={"max_depth": [2, 3, 4, 5]}, sampler="grid", metric="auc", **ABOUT)'
TRAIN_ALONE = 'TrainModelOperator(task_id="alone", train_params={"max_depth": %s}, **ABOUT)'


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    script = Path(__file__).parents[1] / "steps" / "learning_tables.py"
    subprocess.run([environments.python("train"), script, folder], check=True)
    return folder / "flights"


@pytest.fixture(scope="module")
def tpe(dags: Dags, table: Path) -> Run:
    return run(dags, table, "tpe", TPE)


def run(dags: Dags, table: Path, name: str, model: str) -> Run:
    folder = dags.folder / name
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(TRAIN)
    (folder / "dag.py").write_text(DAG.format(name=name, model=model, table=str(table)))
    return dags.run(name)


def started(found: Run) -> set[str]:
    """The tasks for which a process was started."""
    files = found.store.files(found.store.run_uri(found.dag_id, found.run_id))
    return {file.uri.split("/")[-4] for file in files if file.uri.endswith("/spec.json")}


def manifest(found: Run, task: str) -> StepManifest:
    return found.store.get_manifest(found.tasks[task]["result"]["manifest"])


def trials(found: Run, task: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(found.store.read(manifest(found, task).outputs["study"].uri))["trials"]
    return listed


TASKS = ["sweep.ask_1", "sweep.trials_1[0]", "sweep.trials_1[1]", "sweep.ask_2", "sweep.trials_2[0]", "sweep.trials_2[1]"]


def test_round_after_round_to_the_gate(tpe: Run) -> None:
    assert tpe.state == "success"
    assert started(tpe), "what `started` finds"
    assert {name: task["state"] for name, task in tpe.tasks.items()} == dict.fromkeys(
        [*TASKS, "sweep.best", "evaluate"], "success"
    )
    best = tpe.metrics("sweep.best")
    assert (best["sweep"]["trials"], best["sweep"]["failed"]) == (4, 0)
    found = trials(tpe, "sweep.best")
    assert [trial["params"] for trial in found[:2]] == tpe.metrics("sweep.ask_1")["trials"]
    assert [trial["params"] for trial in found[2:]] == tpe.metrics("sweep.ask_2")["trials"]
    highest = max(trial["metrics"]["auc"] for trial in found)
    assert best["auc"] == best["sweep"]["value"] == highest
    chosen = found[best["sweep"]["best"]]
    assert best["mlflow_run_id"] == chosen["run_id"]
    assert tpe.metrics("evaluate")["challenger"]["auc"] == pytest.approx(highest)
    assert [round(value, 6) for _, value in chosen["curve"]] == [round(1 / chosen["params"]["max_depth"], 6)] * 3
    page = tpe.store.read(manifest(tpe, "sweep.best").outputs["report"].uri).decode()
    assert "Sweep of 4 trials" in page


def test_the_trials_runs_are_below_the_sweeps(dags: Dags, tpe: Run) -> None:
    sweep = tpe.metrics("sweep.best")["sweep"]
    for trial in trials(tpe, "sweep.best"):
        tags = {
            tag["key"]: tag["value"]
            for tag in dags.registry._call("GET", "runs/get", {"run_id": trial["run_id"]})["run"]["data"]["tags"]
        }
        assert tags["mlflow.parentRunId"] == sweep["mlflow_run_id"]


def test_nothing_changed(dags: Dags, table: Path, tpe: Run) -> None:
    again = run(dags, table, "tpe", TPE)
    assert again.state == "success"
    assert started(again) == set()
    assert again.metrics("sweep.best") == tpe.metrics("sweep.best")


def test_a_training_with_the_best_hyperparameters_is_there_already(dags: Dags, table: Path, tpe: Run) -> None:
    best = tpe.metrics("sweep.best")
    alone = run(dags, table, "alone", TRAIN_ALONE % best["sweep"]["params"]["max_depth"])
    assert started(alone) == set(), "nor for the gate: it is the same model"
    assert manifest(alone, "alone").outputs["model"] == manifest(tpe, "sweep.best").outputs["model"]


def test_one_step_takes_what_the_tasks_have_learned(dags: Dags, table: Path, tpe: Run) -> None:
    pool = run(dags, table, "pool", POOL)
    assert pool.state == "success"
    found = trials(pool, "pool")
    known = {trial["params"]["max_depth"]: trial["metrics"]["auc"] for trial in trials(tpe, "sweep.best")}
    assert {trial["params"]["max_depth"] for trial in found if trial["reused"]} == set(known)
    assert all(trial["metrics"]["auc"] == known[trial["params"]["max_depth"]] for trial in found if trial["reused"])
    again = run(dags, table, "pool", POOL)
    assert started(again) == set()


def test_a_failed_trial_does_not_stop_the_sweep(dags: Dags, table: Path, tpe: Run) -> None:
    depth = tpe.metrics("sweep.best")["sweep"]["params"]["max_depth"]
    some = run(dags, table, "some", GRID % (depth, 0.5))
    assert some.state == "success"
    assert [some.tasks[f"sweep.trials[{place}]"]["state"] for place in (0, 1)] == ["success", "failed"]
    found = trials(some, "sweep.best")
    assert [trial["state"] for trial in found] == ["complete", "failed"]
    assert found[1]["error"] == "ValueError: thirteen"
    assert some.metrics("sweep.best")["sweep"]["best"] == 0


def test_too_many_failed_trials_do(dags: Dags, table: Path, tpe: Run) -> None:
    depth = tpe.metrics("sweep.best")["sweep"]["params"]["max_depth"]
    none = run(dags, table, "none", GRID % (depth, 0.4))
    assert none.state == "failed"
    assert none.tasks["sweep.best"]["state"] == "failed"
    assert "1 of 2 trials failed, expected at most a share of 0.4 (max_failed)" in none.log
    assert none.tasks["evaluate"]["state"] == "upstream_failed"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (TPE.replace("[2, 3, 4, 5]", "[]"), "space: expected values for 'max_depth', got an empty list"),
        (POOL.replace('"grid"', '"guess"'), "sampler: expected one of grid, random, tpe, got 'guess'"),
        (POOL.replace('metric="auc"', 'metric="auk"'), "metric: there is no metric 'auk'"),
        (TPE.replace("trials=4", "trials=None"), "trials: expected how many the sampler 'tpe' shall try, got None"),
    ],
)
def test_what_is_wrong_is_named_when_the_dag_is_parsed(dags: Dags, table: Path, model: str, message: str) -> None:
    broken = run(dags, table, "broken", model)
    assert broken.state == "broken"
    assert message in broken.log
