"""Links as Airflow keeps and gives them: a real task pushes them, the real API server answers with them."""

from __future__ import annotations

import json
import textwrap

import pytest
from api_server import Server

DAG = """
import json, sys
from airflow.sdk import DAG, BaseOperator
from tradewind.operators.links import ReportLink, RunLink, VersionLink, report_url, run_url

class Linked(BaseOperator):
    operator_extra_links = (ReportLink(), RunLink())

    def execute(self, context):
        ti = context["ti"]
        ti.xcom_push(key=ReportLink().xcom_key, value=report_url(ti))
        self.link_url = run_url("http://mlflow.example.org/", "3", "abc")

class Unfinished(BaseOperator):
    operator_extra_links = (VersionLink(),)

    def execute(self, context):
        pass

with DAG("linked") as dag:
    Linked(task_id="train")
    Unfinished(task_id="register")

if __name__ == "__main__":
    run = dag.test(run_conf={})
    print(json.dumps({"run_id": run.run_id, "state": run.state}))
"""


@pytest.fixture(scope="module")
def run_id(server: Server) -> str:
    file = server.folder / "dags" / "linked.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(textwrap.dedent(DAG))
    done = json.loads(server.python(f"import runpy; runpy.run_path({str(file)!r}, run_name='__main__')"))
    assert done["state"] == "success"
    return str(done["run_id"])


def links(server: Server, run_id: str, task_id: str) -> dict[str, str | None]:
    answer = server.get_url(f"{server.url}/api/v2/dags/linked/dagRuns/{run_id}/taskInstances/{task_id}/links")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["extra_links"])


def test_the_report_link_opens_the_plugins_route(server: Server, run_id: str) -> None:
    report = links(server, run_id, "train")["Report"]
    assert report is not None and report.startswith(f"{server.url}/tradewind/dags/linked/runs/")
    answer = server.get_url(report)
    assert (answer.status_code, answer.text) == (404, "This task instance has left no result yet.")


def test_a_link_that_the_work_found_is_kept_after_the_task(server: Server, run_id: str) -> None:
    assert links(server, run_id, "train")["MLflow run"] == "http://mlflow.example.org/#/experiments/3/runs/abc"


def test_a_link_that_it_did_not_find_is_not_shown(server: Server, run_id: str) -> None:
    assert not links(server, run_id, "register")["Model version"]


def test_addresses_are_encoded(server: Server) -> None:
    code = """
import json
from airflow.sdk.types import TaskInstanceKey
from tradewind.operators.links import ReportLink, report_url, version_url
key = TaskInstanceKey(dag_id="d", task_id="t", run_id="a/b+00:00", map_index=2)
same = ReportLink().get_link(None, ti_key=key)
print(json.dumps([report_url(key), report_url(key, "drift 1"), version_url("http://m", "a b", 3), same]))
"""
    base = f"{server.url}/tradewind/dags/d/runs/a%2Fb%2B00%3A00/tasks/t/2/report"
    assert json.loads(server.python(code)) == [base, f"{base}?name=drift%201", "http://m/#/models/a%20b/versions/3", base]
