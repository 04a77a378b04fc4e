"""What `tradewind reap` is told of a task: absence only where Airflow itself says so."""

from __future__ import annotations

import json

import pytest
from api_server import Server

from tradewind.cli.airflow_api import AirflowApi
from tradewind.errors import SpecError

RUN = """
import json
from airflow.models import DagRun
from airflow.utils.session import create_session
with create_session() as session:
    print(json.dumps(session.query(DagRun).filter_by(dag_id="found").one().run_id))
"""
DAG = """
from airflow.sdk import DAG, task

with DAG("found") as dag:
    @task
    def one():
        pass

    @task
    def many(number):
        pass

    one() >> many.expand(number=[1, 2])

if __name__ == "__main__":
    dag.test(run_conf={})
"""
SET = """
from airflow.models import DagRun, TaskInstance
from airflow.utils.session import create_session
with create_session() as session:
    for ti in session.query(TaskInstance).filter_by(dag_id="found", task_id="one"):
        ti.state = {task!r}
        ti.dag_run.state = {run!r}
print("set")
"""


@pytest.fixture(scope="module")
def run_id(server: Server) -> str:
    file = server.folder / "dags" / "found.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(DAG)
    server.python(f"import runpy; runpy.run_path({str(file)!r}, run_name='__main__'); print('done')")
    found: str = json.loads(server.python(RUN))
    return found


def api(server: Server, *, url: str = "", user: str = "viewer") -> AirflowApi:
    return AirflowApi(url or server.url, token=server.tokens[user])


def test_a_task_is_found_with_its_state(server: Server, run_id: str) -> None:
    found = api(server).find_task("found", run_id, "one", -1)
    assert found and (found.state, found.run_state) == ("success", "success")
    mapped = api(server).find_task("found", run_id, "many", 1)
    assert mapped and mapped.state == "success"
    server.python(SET.format(task=None, run="running"))
    found = api(server).find_task("found", run_id, "one", -1)
    assert found and (found.state, found.run_state) == (None, "running")


def test_what_is_not_there_is_none(server: Server, run_id: str) -> None:
    for names in (("found", f"{run_id}x", "one", -1), ("found", run_id, "two", -1), ("other", "r+1:00", "one", -1),
                  ("found", run_id, "many", 2)):  # fmt: skip
        assert api(server).find_task(*names) is None


def test_any_other_answer_is_no_word_on_it(server: Server, run_id: str) -> None:
    with pytest.raises(SpecError, match="403"):
        api(server, user="nobody").find_task("found", run_id, "one", -1)
    with pytest.raises(SpecError, match="expected JSON"):  # where the API has no address Airflow's pages answer, with 200
        api(server, url=f"{server.url}/elsewhere").find_task("found", run_id, "one", -1)
    with pytest.raises(SpecError, match="404"):  # Airflow's own answer: it wants an index
        api(server).find_task("found", run_id, "many", -1)
    with pytest.raises(SpecError):  # no address of Airflow's has a slash in a name
        api(server).find_task("found", "a/b", "one", -1)


def test_a_login_is_taken_or_refused(server: Server, run_id: str) -> None:
    assert AirflowApi(server.url, login=("viewer", "viewer-password")).find_task("found", run_id, "one", -1)
    with pytest.raises(SpecError, match="401"):
        AirflowApi(server.url, login=("viewer", "wrong"))
    with pytest.raises(SpecError, match="403"):
        AirflowApi(server.url, token="wrong").find_task("found", run_id, "one", -1)
