"""Operators at work outside Airflow's task runner, in a process of their own that ``AIRFLOW_HOME`` keeps apart.

``probe.py two FOLDER DATA``: two runs of a validate task at once, neither of which finds the other's result before it starts.
``probe.py specs FOLDER JSON``: the fingerprint of an operator's spec, or the error, one line for each ``[class, arguments]``.
``probe.py as_of FOLDER JSON``: the same, what the spec holds as ``as_of`` in a scheduled and in a manual run.
``probe.py work FOLDER JSON``: the same, what the work of one that needs no step's process returns.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG

from tradewind import operators
from tradewind.runtimes.base import runtime_for
from tradewind.settings import Settings
from tradewind.store import Store

SETTINGS = Settings.load()
STORE = Store(SETTINGS.store_uri)


def make(kind: str, folder: str, arguments: dict[str, Any]) -> Any:
    with DAG("probe") as dag:
        operator = getattr(operators, kind)(task_id="task", **arguments)
    dag.fileloc = f"{folder}/dag.py"
    operator._runtime = runtime_for(SETTINGS)
    return operator


def context(run_id: str, run_type: str = "manual") -> Any:
    ti = SimpleNamespace(
        dag_id="probe", run_id=run_id, task_id="task", map_index=-1, try_number=1, xcom_push=lambda key, value: None
    )
    end = datetime(2013, 2, 1, tzinfo=UTC)  # a manual run has an interval too
    return {"ti": ti, "params": {}, "dag_run": SimpleNamespace(run_type=run_type, data_interval_end=end)}


def two(folder: str, data: str) -> None:
    looked = threading.Barrier(2)

    def run(run_id: str, operator: Any) -> None:
        announce = operator._announce

        def announced(context: Any) -> None:  # between the look for a result and the start of the step
            looked.wait(60)
            announce(context)

        operator._announce = announced
        manifest = STORE.get_manifest(operator.work(context(run_id))["manifest"])
        print(json.dumps({"dataset": manifest.outputs["dataset"].uri, "reused": manifest.reused_from}))

    # Made one after the other: `with DAG` is one for all threads.
    arguments = {"data": data, "expectations": "expectations.json"}
    made = {name: make("ValidateDataOperator", folder, arguments) for name in ("one", "two")}
    threads = [threading.Thread(target=run, args=both) for both in made.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def each(folder: str, asked: str, question: Callable[[Any], Any]) -> None:
    for kind, arguments in json.loads(asked):
        try:
            print(question(make(kind, folder, arguments)))
        except Exception as error:
            print(f"{type(error).__name__}: {error}")


def specs(folder: str, asked: str) -> None:
    each(folder, asked, lambda operator: operator._spec(context("run"), SETTINGS, STORE).fingerprint)


def as_of(folder: str, asked: str) -> None:
    def question(operator: Any) -> str:
        operator.resolved_inputs = lambda store, settings: {}  # an evaluate task asks MLflow for the champion
        return json.dumps([operator._spec(context("run", kind), SETTINGS, STORE).as_of for kind in ("scheduled", "manual")])

    each(folder, asked, question)


def work(folder: str, asked: str) -> None:
    each(folder, asked, lambda operator: operator.work(context("run")))


if __name__ == "__main__":
    {"two": two, "specs": specs, "as_of": as_of, "work": work}[sys.argv[1]](*sys.argv[2:])
