"""Runs Dags by ``dag.test()`` in a process of its own, whose Airflow the tests' environment configures.

Reads requests as JSON lines from standard input and answers each with one: ``{"run_id", "state", "tasks": {id: {"state",
"try_number", "result"}}}``; a mapped task's are by ``id[index]``. Each request loads the Dag's file anew.
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
        print(bag.import_errors)
        return {"run_id": "", "state": "broken", "tasks": {}}
    done = bag.dags[dag_id].test(run_conf=conf)
    with create_session() as session:
        results = {
            named(row): XComModel.deserialize_value(row)
            for row in session.query(XComModel).filter_by(run_id=done.run_id, dag_id=dag_id, key="return_value")
        }
        tasks = {
            named(ti): {"state": ti.state, "try_number": ti.try_number, "result": results.get(named(ti))}
            for ti in done.get_task_instances(session=session)
        }
    return {"run_id": done.run_id, "state": done.state, "tasks": tasks}


def named(instance: Any) -> str:
    """What a task instance, or a row that belongs to one, is called in an answer."""
    return instance.task_id if instance.map_index < 0 else f"{instance.task_id}[{instance.map_index}]"


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # the tasks' logs are no answers
    for line in sys.stdin:
        answers.write(json.dumps(run(**json.loads(line)), default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
