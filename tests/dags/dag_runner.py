"""Runs Dags by ``dag.test()`` in a process of its own, whose Airflow the tests' environment configures.

Reads requests as JSON lines from standard input and answers each with one: ``{"run_id", "state", "tasks": {id: {"state",
"try_number", "result"}}}``. Each request loads the Dag's file anew.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def run(file: str, dag_id: str, conf: dict[str, Any]) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    bag = DagBag(dag_folder=file)
    if bag.import_errors:
        return {"state": "broken", "errors": bag.import_errors}
    done = bag.dags[dag_id].test(run_conf=conf)
    with create_session() as session:
        results = {
            row.task_id: XComModel.deserialize_value(row)
            for row in session.query(XComModel).filter_by(run_id=done.run_id, dag_id=dag_id, key="return_value")
        }
        tasks = {
            ti.task_id: {"state": ti.state, "try_number": ti.try_number, "result": results.get(ti.task_id)}
            for ti in done.get_task_instances(session=session)
        }
    return {"run_id": done.run_id, "state": done.state, "tasks": tasks}


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # the tasks' logs are no answers
    for line in sys.stdin:
        answers.write(json.dumps(run(**json.loads(line)), default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
