"""Runs Dags by ``dag.test()`` in a process of its own, whose Airflow the tests' environment configures.

Reads requests as JSON lines from standard input and answers each with one: ``{"run_id", "state", "asked", "tasks": {id: {"state",
"try_number", "result"}}}``; a mapped task's are by ``id[index]``. Each request loads the Dag's file anew.

What a task asks a person is answered by the request's ``answer``: ``{"option", "by", "why"}``, or the path of a file that will
hold one; until it is there nobody answers. ``asked`` in the reply are the questions.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any


def run(file: str, dag_id: str, conf: dict[str, Any], answer: Any = None) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    from tradewind.testing import Question, answers

    def decide(question: Question) -> Any:
        if isinstance(answer, str):
            return json.loads(Path(answer).read_text()) if Path(answer).exists() else None
        return answer

    bag = DagBag(dag_folder=file)
    if bag.import_errors:
        print(bag.import_errors)
        return {"run_id": "", "state": "broken", "tasks": {}, "asked": []}
    with answers(decide) as asked:
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
    return {"run_id": done.run_id, "state": done.state, "tasks": tasks, "asked": [dataclasses.asdict(one) for one in asked]}


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
