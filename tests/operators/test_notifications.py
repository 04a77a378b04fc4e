"""What people are told: of which event, in which words, and never with what is secret."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.bases.notifier import BaseNotifier
from airflow.sdk.exceptions import AirflowFailException

from tradewind.contract import StepManifest
from tradewind.errors import ApprovalRefused, GateFailed, RolloutAborted, SpecError, TradewindError, ValidationFailed
from tradewind.notifications import EVENTS, WebhookNotifier, notify
from tradewind.operators import DetectDriftOperator, EvaluateModelOperator, RegisterModelOperator

SECRET, TOKEN = "S3CRETPATH", "S3CRETTOKEN"
TI = SimpleNamespace(dag_id="late", run_id="manual 1", task_id="gate", map_index=-1)
EVALUATE: dict[str, Any] = {"task_id": "gate", "model": {}, "dataset": {}, "rules": ["auc >= 0.6"]}


class Said(BaseNotifier):
    """A notifier as a provider would have one: with templates."""

    template_fields = ("text",)
    heard: list[str]

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.heard = []

    def notify(self, context: Any) -> None:
        self.heard.append(self.text)


def failed(error: BaseException | None, task: Any = None) -> Any:
    return {"ti": TI, "exception": error, "task": task}


def raised(error: TradewindError) -> BaseException:
    """As Airflow gets it from an operator of this pack."""
    task = EvaluateModelOperator(**EVALUATE)

    def work() -> None:
        raise error

    try:
        task.translated(work)
    except AirflowFailException as found:
        return found
    raise AssertionError(error)


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (GateFailed("FAILED: auc 0.5,\n  expected >= 0.6"), "gate_failed"),
        (ValidationFailed("FAILED: auc 0.5,\n  expected >= 0.6"), "validation_failed"),
        (RolloutAborted("FAILED: auc 0.5,\n  expected >= 0.6"), "rolled_back"),
        (ApprovalRefused("FAILED: auc 0.5,\n  expected >= 0.6"), "not_approved"),
        (SpecError("FAILED: auc 0.5,\n  expected >= 0.6"), "failed"),
    ],
)
def test_each_failure_is_its_event_in_one_sentence(error: TradewindError, event: str) -> None:
    said = Said("{{ tradewind.event }}|{{ tradewind.sentence }}|{{ tradewind.link }}|{{ tradewind.report }}")
    notify(said, on=EVENTS)(failed(raised(error), EvaluateModelOperator(**EVALUATE)))
    [text] = said.heard
    found, sentence, link, report = text.split("|")
    assert found == event
    assert sentence == f"late, gate: {EVENTS[event]}: FAILED: auc 0.5, expected >= 0.6"
    assert link.endswith("/dags/late/runs/manual%201/tasks/gate")
    assert report.endswith("/tradewind/dags/late/runs/manual%201/tasks/gate/-1/report")


def test_a_notifier_hears_only_of_what_it_asks_for_and_is_not_used_up() -> None:
    said = Said("{{ tradewind.reason }}")
    tell = notify(said, on=["gate_failed"])
    for text in ("one", "two"):
        tell(failed(raised(GateFailed(text))))
        tell(failed(raised(RolloutAborted(text))))
    assert said.heard == ["one", "two"]
    assert said.text == "{{ tradewind.reason }}"


def test_by_default_other_failures_are_not_told() -> None:
    said = Said("{{ tradewind.event }}")
    notify(said)(failed(ValueError("x")))
    notify(said)(failed(raised(GateFailed("x"))))
    assert said.heard == ["gate_failed"]


def test_a_task_that_was_ended_from_outside_has_no_error_and_one_without_a_report_no_link_to_one() -> None:
    said = Said("{{ tradewind.event }}|{{ tradewind.reason }}|{{ tradewind.report }}")
    notify(said, on=["failed"])({"ti": TI, "task": RegisterModelOperator(task_id="gate", name="late", model={}, gate={})})
    assert said.heard == ["failed|it was ended from outside, or its worker died; its log may say more|"]


def checked(drifted: bool, *reasons: str) -> StepManifest:
    """What a drift step leaves."""
    metrics = {"verdict": "DRIFTED" if drifted else "STEADY", "drifted": drifted, "reasons": list(reasons)}
    return StepManifest(status="success", fingerprint=None, outputs={}, metrics=metrics, started_at="", ended_at="")


def test_a_drift_is_told_with_what_moved_furthest() -> None:
    said = Said("{{ tradewind.event }}|{{ tradewind.sentence }}|{{ tradewind.link }}|{{ tradewind.report }}")
    task = DetectDriftOperator(task_id="gate", dataset={}, name="late", notifiers=notify(said, on=["drift"]))
    task.finish({"ti": TI}, checked(False))  # type: ignore[arg-type,typeddict-item]
    assert said.heard == []
    reasons = [f"'{column}' has moved: psi 1.2, expected <= 0.25" for column in ("temp", "dewp", "humid", "wind", "visib")]
    task.finish({"ti": TI}, checked(True, *reasons))  # type: ignore[arg-type,typeddict-item]
    [text] = said.heard
    event, sentence, link, report = text.split("|")
    assert event == "drift"
    assert sentence == f"late, gate: {EVENTS['drift']}: {'; '.join(reasons[:3])}; and 2 more"
    assert link.endswith("/dags/late/runs/manual%201/tasks/gate")
    assert report.endswith("/tradewind/dags/late/runs/manual%201/tasks/gate/-1/report")


def test_a_notifier_that_fails_does_not_fail_the_check(caplog: pytest.LogCaptureFixture) -> None:
    said = Said("{{ tradewind.event }}")
    broken = notify(Said("{{ nothing.there }}"))
    task = DetectDriftOperator(task_id="gate", dataset={}, name="late", notifiers=[broken, notify(said)])
    task.finish({"ti": TI}, checked(True, "'temp' is missing"))  # type: ignore[arg-type,typeddict-item]
    assert said.heard == ["drift"]
    assert "A notifier failed" in caplog.text


def test_a_long_reason_is_cut() -> None:
    said = Said("{{ tradewind.reason }}")
    notify(said)(failed(raised(GateFailed("x" * 10_000))))
    assert len(said.heard[0]) == 500


def test_what_a_reason_holds_is_no_template() -> None:
    said = Said("{{ tradewind.reason }}")
    notify(said)(failed(raised(GateFailed("column {{ 7 * 7 }}"))))
    assert said.heard == ["column {{ 7 * 7 }}"]


@pytest.mark.parametrize(("arguments", "expected"), [({"on": ["gate"]}, "gate_failed"), ({"on": "gate_failed"}, "a list of")])
def test_an_event_that_is_none_is_named(arguments: Any, expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        notify(Said(""), **arguments)
    with pytest.raises(SpecError, match="expected an Airflow notifier"):
        notify(print)  # type: ignore[arg-type]


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
    """A server whose address the connection ``team`` has; told what to answer, it gives what came."""
    came: list[dict[str, Any]] = []
    status = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            came.append({**body, "path": self.path, "authorization": self.headers["Authorization"]})
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    def answering(code: int) -> list[dict[str, Any]]:
        status[0] = code
        return came

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connect(monkeypatch, server.server_port)
        yield answering
        server.shutdown()


def connect(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    connection = {"conn_type": "http", "host": f"http://127.0.0.1:{port}/{SECRET}", "password": TOKEN}
    monkeypatch.setenv("AIRFLOW_CONN_TEAM", json.dumps(connection))


def test_a_webhook_gets_what_a_chat_service_takes(hook: Callable[[int], list[dict[str, Any]]]) -> None:
    came = hook(200)
    notify(WebhookNotifier(webhook_conn_id="team"))(failed(raised(GateFailed("FAILED: auc"))))
    [body] = came
    assert (body["path"], body["authorization"]) == (f"/{SECRET}", f"Bearer {TOKEN}")
    assert body["text"].startswith("late, gate: the gate let the model not pass: FAILED: auc ")
    assert (body["event"], body["dag_id"], body["run_id"], body["task_id"]) == ("gate_failed", "late", "manual 1", "gate")


def test_a_login_is_basic_authentication(hook: Callable[[int], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    came, before = hook(200), json.loads(os.environ["AIRFLOW_CONN_TEAM"])
    monkeypatch.setenv("AIRFLOW_CONN_TEAM", json.dumps({**before, "login": "anna"}))
    WebhookNotifier(webhook_conn_id="team", text="hello")(failed(raised(GateFailed("x"))))
    assert came[0]["authorization"].startswith("Basic ")
    assert came[0]["text"] == "hello"


def test_the_environments_proxy_is_asked(hook: Callable[[int], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    came, before = hook(200), json.loads(os.environ["AIRFLOW_CONN_TEAM"])
    monkeypatch.setenv("HTTP_PROXY", before["host"].rpartition("/")[0])
    monkeypatch.setenv("AIRFLOW_CONN_TEAM", json.dumps({**before, "host": f"http://hooks.invalid/{SECRET}"}))
    WebhookNotifier(webhook_conn_id="team")(failed(raised(GateFailed("x"))))
    assert [body["path"] for body in came] == [f"http://hooks.invalid/{SECRET}"]


def test_neither_an_error_nor_a_log_has_the_address(
    hook: Callable[[int], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (None, "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    tell = notify(WebhookNotifier(webhook_conn_id="team"))
    hook(200)
    tell(failed(raised(GateFailed("x"))))
    hook(500)
    with pytest.raises(RuntimeError, match="connection team expected something else: it answered 500") as refused:
        tell(failed(raised(GateFailed("x"))))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        connect(monkeypatch, free.getsockname()[1])
        with pytest.raises(RuntimeError, match="connection team cannot be reached: ConnectError") as unreachable:
            tell(failed(raised(GateFailed("x"))))
    for text in (str(refused.value), str(unreachable.value), caplog.text):
        assert SECRET not in text
        assert TOKEN not in text
