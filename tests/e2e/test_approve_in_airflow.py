"""A person's word in a real Airflow with its own logins: asked, answered by REST, refused, killed, cleared; and who is told."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from live import addresses, linked_home, until
from releases import Releases

from tradewind.cli import embedded
from tradewind.cli.airflow_api import AirflowApi
from tradewind.cli.services import running
from tradewind.registry import Registry
from tradewind.runtimes.environments import Environments
from tradewind.store import Store

USERS = {"root": "admin", "anna": "op", "mallory": "op", "vera": "viewer"}
AIRFLOW_LOOKS_S = 4
SECRET, TOKEN = "T0PS3CRETPATH", "T0PS3CRETTOKEN"

HEAD = """
import os, signal
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from tradewind.notifications import EVENTS, WebhookNotifier, notify
from tradewind.operators import ApproveReleaseOperator, RegisterModelOperator, SeldonRolloutOperator, ValidateDataOperator

tell = notify(WebhookNotifier(webhook_conn_id="team"), on=EVENTS)
arguments = dict(
    schedule=None, start_date=datetime(2013, 1, 1), render_template_as_native_obj=True,
    params={"version": Param({}, type="object"), "dies": Param("", type="string"), "marker": Param("", type="string")},
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1), "on_failure_callback": tell},
)
asked = {"version": {"metrics": "{{ params.version }}"}, "approvers": ["anna"]}
"""
ASKS = """
class Dies(ApproveReleaseOperator):
    # Its process is killed once: when the answer has come, before or after that is noted; or when it has just asked.

    def killed(self, context, moment):
        marker = Path(context["params"]["marker"])
        if context["params"]["dies"] == moment and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def answered(self, context, event, pins):
        self.killed(context, "before")
        return super().answered(context, event, pins)

    def _decided(self, context, *rest):
        self.killed(context, "after")
        return super()._decided(context, *rest)

    def _ask(self, context, *rest):
        try:
            super()._ask(context, *rest)
        finally:
            self.killed(context, "asking")

asked["approvers"] = [Path(__file__).with_name("approver.txt").read_text()]
with DAG("asks", **arguments):
    Dies(task_id="approve", notifiers=tell, **asked)
with DAG("hurries", **arguments):
    ApproveReleaseOperator(task_id="approve", response_timeout=timedelta(seconds=5), **asked)
"""
FAILS = """
with DAG("fails", **arguments):
    ValidateDataOperator(task_id="validate", data="bad.csv", expectations="expectations.json")
    RegisterModelOperator(
        task_id="register", name="fails", model={"manifest": "{{ params.version.model }}"},
        gate={"manifest": "{{ params.version.gate }}"},
    )
    SeldonRolloutOperator(task_id="rollout", version={"metrics": "{{ params.version.asked }}"})
    ApproveReleaseOperator(task_id="broken", version={"metrics": {}})
"""
EXPECTATIONS = {"name": "s", "expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 100}}]}


class Hook:
    """A chat service's side of a webhook: what came, and with which token."""

    def __init__(self) -> None:
        self.came: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                right = self.path == f"/{SECRET}" and self.headers["Authorization"] == f"Bearer {TOKEN}"
                if right:
                    hook.came.append(body)
                self.send_response(200 if right else 403)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, run_id: str) -> list[dict[str, Any]]:
        return [body for body in self.came if body["run_id"] == run_id]


@dataclass(frozen=True, kw_only=True)
class World:
    url: str
    home: Path
    api: AirflowApi
    hook: Hook
    made: Releases
    registry: Registry

    def http(self, user: str) -> httpx.Client:
        answer = httpx.post(f"{self.url}/auth/token", json={"username": user, "password": f"{user}-password"}, timeout=60)
        token = answer.raise_for_status().json()["access_token"]
        return httpx.Client(base_url=f"{self.url}/api/v2", timeout=60, headers={"Authorization": f"Bearer {token}"})

    def state(self, dag_id: str, run_id: str, task_id: str) -> tuple[str, int]:
        [task] = [task for task in self.api.tasks(dag_id, run_id) if task.task_id == task_id]
        return task.state, task.try_number

    def waits(self, run_id: str, *, dag_id: str = "asks") -> dict[str, Any]:
        """The question, as soon as the task waits for its answer."""
        until(lambda: self.state(dag_id, run_id, "approve")[0] == "awaiting_input", within_s=180, what="the question")
        # Airflow takes an answer that comes before it has seen the task's process end for a task that was killed. It looks once
        # a second; no person is so quick.
        time.sleep(AIRFLOW_LOOKS_S)
        found: dict[str, Any] = self.http("root").get(_detail(dag_id, run_id)).raise_for_status().json()
        return found

    def answer(self, run_id: str, user: str, option: str = "Approve", **params: Any) -> httpx.Response:
        return self.http(user).patch(_detail("asks", run_id), json={"chosen_options": [option], "params_input": params})

    def clear(self, run_id: str) -> None:
        body = {"dry_run": False, "task_ids": ["approve"], "dag_run_id": run_id, "only_failed": False}
        self.http("root").post("/dags/asks/clearTaskInstances", json=body).raise_for_status()
        until(lambda: self.state("asks", run_id, "approve")[0] not in ("success", "failed"), within_s=60, what="the clearing")

    def ended(self, run_id: str, *, dag_id: str = "asks") -> str:
        until(lambda: self.api.run_state(dag_id, run_id) in ("success", "failed"), within_s=180, what=f"the end of {run_id}")
        return self.api.run_state(dag_id, run_id)

    def log(self, run_id: str, *, dag_id: str = "asks", task_id: str = "approve", tries: int = 1) -> str:
        return "\n".join(line for number in range(1, tries + 1) for line in self.api.log(dag_id, run_id, task_id, number))


def _detail(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Iterator[World]:
    home = linked_home(tmp_path_factory.mktemp("approve") / "home", environments)
    dags = home / "pipelines"
    for name, text in (("asks", ASKS), ("fails", FAILS)):
        (dags / name).mkdir(parents=True)
        (dags / name / "dag.py").write_text(HEAD + text)
    (dags / "asks" / "approver.txt").write_text("anna")
    (dags / "fails" / "expectations.json").write_text(json.dumps(EXPECTATIONS))
    (home / "data").mkdir()
    (home / "data" / "bad.csv").write_text("a,b\n1,2\n")
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({user: f"{user}-password" for user in USERS}) + "\n")
    hook, at, started = Hook(), addresses(), datetime.now(UTC)
    connection = {"conn_type": "http", "host": f"http://127.0.0.1:{hook.server.server_port}/{SECRET}", "password": TOKEN}
    own = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
        "AIRFLOW_CONN_TEAM": json.dumps(connection),
    }
    with running(home) as up:
        at.write(home)
        for service in embedded.services(home, dags, at):
            if service.name.startswith("airflow"):
                up.start(dataclasses.replace(service, environment={**service.environment, **own}))
            elif service.name == "mlflow":
                up.start(service)
        up.wait(lambda service: None)
        api = AirflowApi(at.airflow, login=("root", "root-password"))
        for dag_id in ("asks", "fails"):
            api.wait_for_dag(dag_id, since=started, timeout_s=180)
        store, registry = Store(str(home / "store")), Registry(at.mlflow)
        made = Releases(store, registry, "asks")
        made.make("one")
        registry.promote("asks", "1")
        yield World(url=at.airflow, home=home, api=api, hook=hook, made=made, registry=registry)
    hook.server.shutdown()


@pytest.fixture(scope="module")
def second(world: World) -> dict[str, Any]:
    return world.made.make("two", champion="1", champion_auc=0.7, auc=0.75)


def test_who_may_answer_does_so_by_rest(world: World, second: dict[str, Any]) -> None:
    run_id = world.api.trigger("asks", {"version": second})
    question = world.waits(run_id)
    assert question["subject"] == "May asks version 2 serve?"
    assert [user["id"] for user in question["assigned_users"]] == ["anna"]
    assert world.answer(run_id, "vera").status_code == 403, "a viewer may not"
    refused = world.answer(run_id, "mallory")
    assert refused.status_code == 403
    assert "mallory" in refused.text
    assert world.answer(run_id, "anna", "Perhaps").status_code == 400
    links = world.http("anna").get(f"/dags/asks/dagRuns/{run_id}/taskInstances/approve/links").raise_for_status().json()
    report = world.http("anna").get(links["extra_links"]["Report"])
    assert report.status_code == 200, "the dossier is open while the task waits"
    assert "WAITS FOR A PERSON" in report.text
    assert "sandbox" in report.headers["content-security-policy"]
    assert world.state("asks", run_id, "approve") == ("awaiting_input", 1)

    assert world.answer(run_id, "anna", reason="as good as before").status_code == 200
    assert world.answer(run_id, "anna", "Reject").status_code == 409, "one answer"
    assert world.ended(run_id) == "success"
    approval = world.api.result("asks", run_id, "approve")["metrics"]["approval"]
    assert (approval["by_id"], approval["why"]) == ("anna", "as good as before")
    assert "APPROVED" in world.http("anna").get(links["extra_links"]["Report"]).text

    [told] = world.hook.of(run_id)
    assert told["event"] == "approval_wanted"
    assert told["reason"].startswith("May asks version 2 serve? Since version 1: ")
    assert told["link"] == f"{world.url}/dags/asks/runs/{quote(run_id, safe='')}/tasks/approve/required_actions"
    assert told["text"] == f"asks, approve: a person is asked: {told['reason']} {told['link']}"
    log = world.log(run_id)
    assert "Waiting for the word of anna" in log
    assert SECRET not in log
    assert TOKEN not in log


def test_a_no_ends_it_and_is_told(world: World, second: dict[str, Any]) -> None:
    run_id = world.api.trigger("asks", {"version": second})
    world.waits(run_id)
    world.answer(run_id, "anna", "Reject", reason="not on a Friday").raise_for_status()
    assert world.ended(run_id) == "failed"
    assert world.state("asks", run_id, "approve") == ("failed", 1)
    told = until(
        lambda: [body for body in world.hook.of(run_id) if body["event"] == "not_approved"], within_s=30, what="the word"
    )
    assert told[0]["reason"] == "asks version 2 was rejected by anna: not on a Friday"
    assert told[0]["report"].endswith("/tasks/approve/-1/report")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_task_that_is_killed_with_its_answer_does_not_ask_again(
    world: World, second: dict[str, Any], moment: str, tmp_path: Path
) -> None:
    run_id = world.api.trigger("asks", {"version": second, "dies": moment, "marker": str(tmp_path / "marker")})
    world.waits(run_id)
    world.answer(run_id, "anna", reason="once is enough").raise_for_status()
    assert world.ended(run_id) == "success"
    assert world.state("asks", run_id, "approve") == ("success", 2)
    assert world.api.result("asks", run_id, "approve")["metrics"]["approval"]["why"] == "once is enough"
    said = "that question stands" if moment == "before" else "Asked before: anna has answered"
    assert said in world.log(run_id, tries=2)


def test_a_task_that_is_killed_while_it_asks_asks_on(world: World, second: dict[str, Any], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    run_id = world.api.trigger("asks", {"version": second, "dies": "asking", "marker": str(marker)})
    until(lambda: world.state("asks", run_id, "approve") == ("deferred", 2), within_s=180, what="the second try")
    assert "that question stands" in world.log(run_id, tries=2)
    assert [body["event"] for body in world.hook.of(run_id)] == ["approval_wanted"], "told once"
    time.sleep(AIRFLOW_LOOKS_S)
    world.answer(run_id, "anna", reason="there").raise_for_status()
    assert world.ended(run_id) == "success"
    assert world.state("asks", run_id, "approve") == ("success", 2)


def test_who_clears_it_is_asked_again(world: World, second: dict[str, Any]) -> None:
    run_id = world.api.trigger("asks", {"version": second})
    world.waits(run_id)
    world.answer(run_id, "anna", "Reject", reason="first").raise_for_status()
    assert world.ended(run_id) == "failed"
    world.clear(run_id)
    again = world.waits(run_id)
    assert not again["response_received"]
    world.answer(run_id, "anna", reason="second").raise_for_status()
    assert world.ended(run_id) == "success"
    assert world.api.result("asks", run_id, "approve")["metrics"]["approval"]["why"] == "second"


def test_nobody_is_asked_by_another_champions_figures(world: World, second: dict[str, Any]) -> None:
    """Airflow keeps a cleared task's question, and a new run would ask by a gate that knows another champion."""
    run_id = world.api.trigger("asks", {"version": second})
    world.waits(run_id)
    world.answer(run_id, "anna").raise_for_status()
    assert world.ended(run_id) == "success"
    third = world.made.make("three", auc=0.71)["version"]
    world.registry.promote("asks", third)
    try:
        world.clear(run_id)
        assert world.ended(run_id) == "failed"
        new = world.api.trigger("asks", {"version": second})
        assert world.ended(new) == "failed"
        for log in (world.log(run_id, tries=2), world.log(new)):
            assert f"is version {third}, but the gate compared with 1" in log
    finally:
        world.registry.promote("asks", "1")


def test_a_question_that_airflow_would_show_as_it_was_is_not_asked(world: World, second: dict[str, Any]) -> None:
    """Airflow keeps a cleared task's question, and whom it is put to: an author who names another approver means that one."""
    run_id = world.api.trigger("asks", {"version": second})
    world.waits(run_id)
    world.answer(run_id, "anna").raise_for_status()
    assert world.ended(run_id) == "success"
    approver = world.home / "pipelines" / "asks" / "approver.txt"
    approver.write_text("mallory")
    try:
        world.clear(run_id)
        assert world.ended(run_id) == "failed"
        assert "start a new run; what has not changed is reused" in world.log(run_id, tries=2)
        new = world.api.trigger("asks", {"version": second})
        assert [user["id"] for user in world.waits(new)["assigned_users"]] == ["mallory"]
        world.answer(new, "mallory", "Reject").raise_for_status()
        world.ended(new)
    finally:
        approver.write_text("anna")


def test_nobody_answers_in_time(world: World, second: dict[str, Any]) -> None:
    run_id = world.api.trigger("hurries", {"version": second})
    assert world.ended(run_id, dag_id="hurries") == "failed"
    assert world.state("hurries", run_id, "approve") == ("failed", 1)
    told = until(lambda: world.hook.of(run_id), within_s=30, what="the word")
    assert [body["event"] for body in told] == ["not_approved"]
    assert told[0]["reason"] == "Nobody answered within 0:00:05: clear the task to ask again"


def test_each_failure_is_told_with_its_reason_and_a_link(world: World, second: dict[str, Any]) -> None:
    store = world.made.store
    gate = store.get_manifest(second["gate"])
    failed = dataclasses.replace(gate, metrics={**gate.metrics, "verdict": "FAILED"})
    uri = f"{store.root}/failed.json"
    store.write(uri, failed.to_json().encode())
    version = {
        "model": f"{store.run_uri('asks', 'two', 'train', -1, 1)}/manifest.json", "gate": uri,
        "asked": {**second, "champion": "7"},
    }  # fmt: skip
    run_id = world.api.trigger("fails", {"version": version})
    assert world.ended(run_id, dag_id="fails") == "failed"
    until(lambda: len(world.hook.of(run_id)) == 4, within_s=60, what="four messages")
    told = {body["task_id"]: body for body in world.hook.of(run_id)}
    expected = {
        "validate": ("validation_failed", "expect_table_row_count_to_be_between"),
        "register": ("gate_failed", "The gate's verdict on this model is FAILED"),
        "rollout": ("rolled_back", "The champion is version 1, but the gate compared with 7"),
        "broken": ("failed", "version: expected a register task's output"),
    }
    for task, (event, reason) in expected.items():
        body = told[task]
        assert body["event"] == event
        assert reason in body["reason"]
        assert "\n" not in body["text"]
        assert body["link"] == f"{world.url}/dags/fails/runs/{quote(run_id, safe='')}/tasks/{task}"
        log = world.log(run_id, dag_id="fails", task_id=task)
        assert reason in log, "it was read"
        assert SECRET not in log
        assert TOKEN not in log
