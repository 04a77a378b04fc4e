"""``tradewind reap`` between a real cluster and a real Airflow: only pods go whose task is over for sure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from access import Access, access
from api_server import Server, serve

from tradewind.serving.local.process import free_port

RIGHTS = [("", "pods", ["get", "list", "delete"])]
DAG = """
from airflow.sdk import DAG, task

with DAG("reaped") as dag:
    for state in {states!r}:
        @task(task_id=state)
        def one():
            pass
        one()

    @task
    def many(number):
        pass

    many.expand(number=[1, 2])

if __name__ == "__main__":
    print(dag.test(run_conf={{}}).run_id)
"""
# Airflow's database, as its scheduler would leave it: each task in the state that is its name, the run going on.
SET = """
from airflow.models import DagRun, TaskInstance
from airflow.utils.session import create_session
with create_session() as session:
    run = session.query(DagRun).filter_by(dag_id="reaped").one()
    run.state = {run!r}
    for ti in session.query(TaskInstance).filter_by(dag_id="reaped"):
        if ti.task_id in {states!r}:
            ti.state = None if ti.task_id == "cleared" else ti.task_id
    print(run.run_id)
"""
ALIVE = ["running", "deferred", "queued", "scheduled", "restarting", "up_for_retry", "up_for_reschedule", "awaiting_input"]
OVER = ["success", "failed", "skipped", "upstream_failed", "removed"]
STATES = [*ALIVE, *OVER, "cleared"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(tmp_path_factory.mktemp("api-server")) as running:
        yield running


@pytest.fixture(scope="module")
def run_id(server: Server) -> str:
    file = server.folder / "dags" / "reaped.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(DAG.format(states=STATES))
    server.python(f"import runpy; runpy.run_path({str(file)!r}, run_name='__main__')")
    return server.python(SET.format(states=STATES, run="running"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Access]:
    with access(tmp_path) as made:
        yield made


def pod(place: Access, name: str, **ids: str) -> None:
    """A pod as our runtime makes one for a task instance; on no node, for it takes no part."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value

    from tradewind.contract import StepSpec
    from tradewind.profiles import Profile
    from tradewind.runtimes.kubernetes.request import pod_arguments
    from tradewind.settings import Settings

    ids = {"dag_id": "reaped", "map_index": "-1", **ids}
    spec = StepSpec(
        step="train", params={}, inputs={}, code=None, entry_point=None, image="train", outputs_uri="s3://b/o", store_uri="s3://b",
        dag_id=ids["dag_id"], run_id=ids["run_id"], task_id=ids["task_id"], map_index=int(ids["map_index"]), try_number=1,
    )  # fmt: skip
    nowhere = Profile(cpu=0.1, memory_mb=64, node_selector={"tradewind.io/nowhere": "x"})
    settings = Settings.read({"namespace": place.namespace}.get)
    arguments = pod_arguments(settings, nowhere, spec, "s3://b/spec.json", {})
    labels = {"kubernetes_pod_operator": "True", **{key: make_safe_label_value(value) for key, value in ids.items()}}
    arguments |= {"name": name, "random_name_suffix": False, "labels": {**arguments["labels"], **labels}}
    built = KubernetesPodOperator(task_id="it", **arguments).build_pod_request_obj(dry_run=True)
    place.core.create_namespaced_pod(place.namespace, built)


def reap(
    place: Access, server: Server, *arguments: str, kubeconfig: Path | None = None, grace: float = 0, **variables: str
) -> tuple[int, dict[str, dict[str, str]], str]:
    """Its exit code, its lines by pod, and what it said on the error output."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "TRADEWIND_AIRFLOW"))},
        "AIRFLOW_HOME": str(server.folder / "reaping"),
        "AIRFLOW__API__BASE_URL": server.url,
        "AIRFLOW__TRADEWIND__NAMESPACE": place.namespace,
        "KUBECONFIG": str(kubeconfig or os.environ["KUBECONFIG"]),
        "TRADEWIND_AIRFLOW_USERNAME": "viewer",
        "TRADEWIND_AIRFLOW_PASSWORD": "viewer-password",
        **variables,
    }
    command = [sys.executable, "-m", "tradewind", "reap", "--json", "--grace", str(grace), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    lines = json.loads(done.stdout) if done.stdout.strip() else []
    return done.returncode, {line["pod"]: line for line in lines}, done.stderr


def verdicts(lines: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {name: line["verdict"] for name, line in lines.items()}


def left(place: Access) -> set[str]:
    return {found.metadata.name for found in place.pods()}


def test_each_state_and_what_is_gone(place: Access, server: Server, run_id: str) -> None:
    names = {state: state.replace("_", "-") for state in STATES}
    for state, name in names.items():
        pod(place, name, run_id=run_id, task_id=state)
    pod(place, "mapped", run_id=run_id, task_id="many", map_index="1")
    pod(place, "mapped-gone", run_id=run_id, task_id="many", map_index="7")
    pod(place, "run-gone", run_id=f"{run_id}-of-old", task_id="running")
    pod(place, "dag-gone", dag_id="a-very-long-name-" * 6, run_id=run_id, task_id="running")
    pod(place, "strangers", run_id=run_id, task_id="success")
    place.core.patch_namespaced_pod(
        "strangers", place.namespace, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}
    )
    pod(place, "nameless", run_id=run_id, task_id="success")
    place.core.patch_namespaced_pod("nameless", place.namespace, {"metadata": {"annotations": {"tradewind.io/run-id": None}}})
    all_of_them = left(place)

    going = {names[state] for state in OVER} | {"mapped", "mapped-gone", "run-gone", "dag-gone"}
    code, lines, _ = reap(place, server, "--dry-run")
    assert code == 0
    assert {name for name, verdict in verdicts(lines).items() if verdict == "would be deleted"} == going
    assert left(place) == all_of_them

    kubeconfig = place.account("reaper", RIGHTS)
    code, lines, _ = reap(place, server, kubeconfig=kubeconfig)
    assert code == 0
    assert {name for name, verdict in verdicts(lines).items() if verdict == "deleted"} == going
    assert "strangers" not in lines
    assert left(place) == all_of_them - going
    assert lines["failed"]["why"] == f"reaped {run_id} failed is failed"
    assert lines["run-gone"]["why"].endswith("running is gone")
    assert lines["cleared"]["why"].endswith("was cleared, and is to run again")
    assert "no annotations" in lines["nameless"]["why"]

    server.python(SET.format(states=[], run="failed"))
    try:
        code, lines, _ = reap(place, server)
        assert code == 0
        assert lines["cleared"]["verdict"] == "deleted", "its run is over: nobody will run it"
        assert lines["running"]["verdict"] == "kept"
    finally:
        server.python(SET.format(states=[], run="running"))


def test_a_young_pod_is_left_alone(place: Access, server: Server, run_id: str) -> None:
    pod(place, "young", run_id=run_id, task_id="success")
    code, lines, _ = reap(place, server, grace=600)
    assert (code, lines["young"]["verdict"]) == (0, "kept")
    assert "less than 600" in lines["young"]["why"]
    assert left(place) == {"young"}


def test_an_airflow_that_cannot_be_asked_costs_no_pod(place: Access, server: Server, run_id: str) -> None:
    pod(place, "over", run_id=run_id, task_id="success")
    nowhere = f"http://127.0.0.1:{free_port()}"
    cases: list[tuple[dict[str, str], str]] = [
        ({"TRADEWIND_AIRFLOW_URL": nowhere}, "Airflow does not answer"),
        ({"TRADEWIND_AIRFLOW_PASSWORD": "wrong"}, "401"),
        ({"TRADEWIND_AIRFLOW_USERNAME": ""}, "auth/token"),
        ({"TRADEWIND_AIRFLOW_URL": f"{server.url}/elsewhere"}, "Airflow"),
    ]
    for variables, said in cases:
        code, lines, error = reap(place, server, **variables)
        assert (code, lines) == (1, {}), variables
        assert said in error and "Nothing was deleted" in error
        assert left(place) == {"over"}

    for token in (server.tokens["nobody"], "wrong"):  # it answers, and does not tell
        code, lines, _ = reap(place, server, TRADEWIND_AIRFLOW_TOKEN=token)
        assert (code, lines["over"]["verdict"]) == (1, "unknown")
        assert "403" in lines["over"]["why"]
        assert left(place) == {"over"}


def test_what_may_not_be_deleted_is_told(place: Access, server: Server, run_id: str) -> None:
    pod(place, "over", run_id=run_id, task_id="success")
    kubeconfig = place.account("reader", [("", "pods", ["list"])])
    code, lines, _ = reap(place, server, kubeconfig=kubeconfig)
    assert (code, lines["over"]["verdict"]) == (1, "not deleted")
    assert "forbidden" in lines["over"]["why"]
    code, _, error = reap(place, server, kubeconfig=place.account("blind", []))
    assert code == 1 and "forbidden" in error


def test_others_pods_are_kept_apart_by_labels(place: Access, server: Server, run_id: str) -> None:
    pod(place, "ours", run_id=run_id, task_id="success")
    pod(place, "theirs", run_id="theirs", task_id="success")
    place.core.patch_namespaced_pod("ours", place.namespace, {"metadata": {"labels": {"app.kubernetes.io/instance": "us"}}})
    code, lines, _ = reap(place, server, "--selector", "app.kubernetes.io/instance=us")
    assert (code, verdicts(lines)) == (0, {"ours": "deleted"})
    assert left(place) == {"theirs"}


def test_nothing_to_do(place: Access, server: Server) -> None:
    code, lines, _ = reap(place, server)
    assert (code, lines) == (0, {})
    environment: dict[str, Any] = {"TRADEWIND_AIRFLOW_URL": f"http://127.0.0.1:{free_port()}"}
    assert reap(place, server, **environment)[0] == 0, "there is nothing to ask about"
