"""A step whose pod waits for the namespace's quota, and for how long."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from pod_server import PodServer
from pod_task import Task

from tradewind.errors import RuntimeUnavailable, StepFailed
from tradewind.runtimes.kubernetes import runtime

pytestmark = pytest.mark.timeout(60)  # a task that waits for ever


QUOTA = (403, 'pods "x" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0')


class Hours:
    """Time that passes when somebody waits, or the triggerer does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time()
        monkeypatch.setattr(runtime.time, "time", lambda: self.now)
        monkeypatch.setattr(runtime.time, "sleep", self.pass_by)
        self.waited: list[float] = []

    def pass_by(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Hours:
    return Hours(monkeypatch)


def waits(task: Task, hours: Hours, **own: Any) -> None:
    """Until it waits no more: in the triggerer, where Airflow's own timer begins anew each time."""
    runtime, go_on = task.runtime(deferrable=True, **own), task.started_with(task.spec())
    while True:
        try:
            go_on(runtime)
            return
        except TaskDeferred as deferred:
            hours.pass_by(round((deferred.trigger.moment - datetime.now(UTC)).total_seconds()))
            runtime, go_on = task.runtime(deferrable=True, **own), task.resumed_by(deferred, None)


def test_the_wait_for_the_quota_ends_with_the_tasks_time(task: Task, server: PodServer, hours: Hours) -> None:
    server.refuses["POST pods"] = QUOTA
    with pytest.raises(
        StepFailed, match=r"execution_timeout of 0:01:40: it waited 2 min for the namespace's quota: .*quota: none"
    ):
        waits(task, hours, execution_timeout=timedelta(seconds=100))
    assert hours.waited == [30, 30, 30, 10]
    assert len([line for line in task.said if line.startswith("Waiting ")]) == 2, "every minute"


def test_the_wait_for_the_quota_in_the_worker_ends_too(task: Task, server: PodServer, hours: Hours) -> None:
    server.refuses["POST pods"] = QUOTA
    with pytest.raises(StepFailed, match="execution_timeout of 0:01:40"):
        task.run(deferrable=False, execution_timeout=timedelta(seconds=100))
    assert [round(pause) for pause in hours.waited] == [30, 30, 30, 10]


def test_the_wait_for_the_quota_has_a_limit_of_its_own(task: Task, server: PodServer, hours: Hours) -> None:
    server.refuses["POST pods"] = QUOTA
    with pytest.raises(RuntimeUnavailable, match=r"The namespace's quota was used up for 60 min: .*quota: none"):
        waits(task, hours)
    assert 3600 < sum(hours.waited) <= 3630
    assert [line.split(" for ")[0] for line in task.said[:3]] == ["Waiting 0 s", "Waiting 1 min", "Waiting 2 min"]
