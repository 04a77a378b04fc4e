"""The watch on a model that learned from winter's flights: the same months, a later one, and no model at all."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.dag_processing.dagbag import DagBag
from in_process import Dags, Run
from live import CHAIN, copy_template

from tradewind.figures import key_figure

LEARNED = "winter"
WATCH = "flight_delay_watch"
FEBRUARY, SPRING, JULY, AUGUST = (f"2013-{day}T00:00:00+00:00" for day in ("02-01", "03-21", "07-01", "08-01"))
TELLS = """
from airflow.sdk.bases.notifier import BaseNotifier

from tradewind.notifications import notify


class Told(BaseNotifier):
    template_fields = ("text",)

    def __init__(self, text):
        super().__init__()
        self.text = text

    def notify(self, context):
        with Path(__file__).with_name("told.txt").open("a") as file:
            file.write(self.text)


TELL = notify(Told("{{ tradewind.event }}|{{ tradewind.reason }}|{{ tradewind.link }}"), on=["drift"])
"""


@pytest.fixture(scope="module")
def trained(dags: Dags) -> Run:
    copy_template(dags.folder, LEARNED)
    dag = copy_template(dags.folder, WATCH, template=WATCH) / "dag.py"
    text = dag.read_text()
    text = text.replace("datetime(2014, 1, 1)", "None").replace("\n# Knobs.", f"{TELLS}\n# Knobs.")
    dag.write_text(text.replace("default_args={", 'default_args={"notifiers": TELL, '))
    run = dags.run(LEARNED, as_of=SPRING, rules=["auc >= 0.55"], min_rows=500)
    assert run.states() == dict.fromkeys(CHAIN, "success")
    return run


def watch(dags: Dags, since: str, as_of: str, **conf: Any) -> Run:
    """A run by hand, as the scheduled one of this interval would be."""
    rules = ["unseen <= 0.05", "missing <= 0.2"]
    asked = {"model": LEARNED, "retrain": LEARNED, "rules": rules, **conf}
    return dags.run(WATCH, since=since, as_of=as_of, **asked)


def states(run: Run) -> dict[str, str]:
    return {name: task["state"] for name, task in run.tasks.items()}


def triggered(dags: Dags) -> dict[str, Any]:
    """By run, what it was given."""
    with sqlite3.connect(dags.home / "airflow" / "airflow.db") as database:
        found = database.execute("SELECT run_id, conf FROM dag_run WHERE dag_id = ? AND run_id LIKE ?", (LEARNED, f"{WATCH}%"))
        return {run_id: json.loads(conf) for run_id, conf in found}


def told(dags: Dags) -> str:
    """What people have been told so far."""
    file = dags.folder / WATCH / "told.txt"
    return file.read_text() if file.exists() else ""


STEADY = {"validate": "success", "features": "success", "drift": "success", "drifted": "success", "retrain": "skipped"}


def test_the_same_months_are_steady_and_nothing_is_trained(dags: Dags, trained: Run) -> None:
    run = watch(dags, FEBRUARY, SPRING)
    found = run.metrics("drift")
    assert (found["verdict"], found["drifted"], found["reasons"]) == ("STEADY", False, [])
    assert found["champion_version"] == trained.metrics("register")["version"]
    assert found["reference_rows"] == trained.metrics("features")["rows"]
    assert 0 < found["rows"] < found["reference_rows"]
    assert states(run) == STEADY
    assert triggered(dags) == {}
    assert told(dags) == ""


def test_summer_has_it_trained_anew_as_of_then(dags: Dags, trained: Run) -> None:
    run = watch(dags, JULY, AUGUST)
    found = run.metrics("drift")
    assert (found["verdict"], found["drifted"]) == ("DRIFTED", True)
    assert any(reason.startswith("'temp' has moved: unseen") for reason in found["reasons"])
    assert key_figure(found) == f"DRIFTED: {found['worst']} psi {found['columns'][0]['psi']:.2f}"
    assert states(run) == {**STEADY, "retrain": "success"}
    assert triggered(dags) == {f"{WATCH}__{run.run_id}": {"as_of": AUGUST}}
    event, reason, link = told(dags).split("|")
    assert event == "drift"
    assert reason.startswith("; ".join(found["reasons"][:3]))
    assert link.endswith("/tasks/drift")


def test_the_same_again_is_reused(dags: Dags, trained: Run) -> None:
    run = watch(dags, JULY, AUGUST)
    assert run.tasks["drift"]["result"]["reused"] is True
    assert run.metrics("drift")["drifted"] is True


def test_without_a_champion_there_is_nothing_to_train_anew(dags: Dags, trained: Run) -> None:
    run = watch(dags, JULY, AUGUST, model="nobody")
    assert key_figure(run.metrics("drift")) == run.metrics("drift")["verdict"] == "NO CHAMPION"
    assert states(run) == STEADY


def test_a_champion_whose_data_are_gone_is_an_error_that_says_so(dags: Dags, trained: Run) -> None:
    dataset = dags.store.get_manifest(trained.tasks["features"]["result"]["manifest"]).outputs["dataset"]
    folder = Path(dataset.uri.removeprefix("file://"))
    away = folder.rename(folder.with_name("away"))
    run = watch(dags, JULY, AUGUST)
    away.rename(folder)
    assert states(run) == {**STEADY, "drift": "failed", "drifted": "upstream_failed", "retrain": "upstream_failed"}
    assert run.tasks["drift"]["try_number"] == 1
    assert f"the dataset that version 1 of {LEARNED} was trained on, and it is gone from the store" in run.log


def test_a_scheduled_run_looks_at_the_month_before_it(dags: Dags, trained: Run) -> None:
    dag = DagBag(dag_folder=str(dags.folder / WATCH)).dags[WATCH]
    asked = {"params": {"since": None, "as_of": None}}
    # By Airflow's default a cron's run has an interval without length.
    interval = {"data_interval_end": pendulum.datetime(2013, 8, 1), "dag_run": SimpleNamespace(run_type="backfill")}

    def rendered(task: str, name: str, context: Any) -> Any:
        found = dag.get_task(task)
        return found.render_template(getattr(found, name), context, found.get_template_env(dag))

    assert rendered("features", "build_params", {**asked, **interval}) == {"since": JULY}
    assert rendered("retrain", "conf", {**asked, **interval}) == {"as_of": AUGUST}
    interval["dag_run"].run_type = "manual"
    assert rendered("features", "build_params", {**asked, **interval}) == {"since": None}
