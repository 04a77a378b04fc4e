"""A canary in a real Airflow: people end its task, its triggerer is killed, a person decides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from live import gone, strike, until
from platform_under_test import GREEN, Platform
from processes import of_home

from tradewind.cli import embedded
from tradewind.cli.drill import read_record
from tradewind.cli.traffic import Traffic
from tradewind.rollout.record import Record

NAME = "canary"
SLOW: dict[str, Any] = {
    "canary": [{"weight": 20, "bake_s": 300}], "rules": ["auc >= 0.5"], "replay": ["errors <= 0"], "min_requests": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def champion(platform: Platform) -> str:
    assert platform.run(NAME).tasks == GREEN
    found = platform.champion(NAME)
    assert found
    return found


@pytest.fixture
def traffic(platform: Platform, champion: str) -> Iterator[Traffic]:
    asked = Traffic.to_what_serves(platform.home, NAME)
    assert asked
    with asked:
        yield asked


def waits(platform: Platform, **conf: Any) -> tuple[str, Record]:
    """A run whose canary gets requests, and waits in the triggerer."""
    run_id = platform.api.trigger(NAME, {**SLOW, **conf})

    def look() -> Record | None:
        record = read_record(platform.home, NAME)
        deferred = any(t.task_id == "rollout" and t.state == "deferred" for t in platform.api.tasks(NAME, run_id))
        found = record and record.phase == "canary" and record.of(record.version).requests > 5
        return record if deferred and found else None

    return run_id, until(look, within_s=240, what="the canary")


def test_marked_failed_it_is_taken_back(platform: Platform, champion: str, traffic: Traffic) -> None:
    run_id, record = waits(platform, trees=61)
    platform.mark("failed", NAME, run_id, "rollout")

    def back() -> Record | None:
        found = read_record(platform.home, NAME)
        return found if found and found.id == record.id and found.ended else None

    ended = until(back, within_s=30, what="the rollback")
    assert (ended.phase, ended.reason) == ("rolled_back", "roll back by Airflow: the task was ended")
    assert platform.champion(NAME) == champion
    assert traffic.ask() == champion
    assert not any(answer.startswith("failed") for answer in traffic.answers)


@pytest.mark.long
def test_out_of_time_it_is_taken_back(platform: Platform) -> None:
    """The limit holds while the task waits in the triggerer, too."""
    assert platform.run("timed").tasks == GREEN
    asked = Traffic.to_what_serves(platform.home, "timed")
    assert asked
    with asked:
        run_id = platform.api.trigger("timed", {**SLOW, "trees": 63})
        platform.said("timed", run_id, "rollout", "Waiting for the traffic of the canary")  # said just before it defers
        ended = platform.ended("timed", run_id)
    assert ended.tasks == {**GREEN, "rollout": "failed"}
    record = read_record(platform.home, "timed")
    assert record
    assert (record.phase, record.stable, platform.champion("timed")) == ("rolled_back", "1", "1")
    assert "the task's time was over" in record.reason or "the task was ended" in record.reason
    assert asked.answers and not any(answer.startswith("failed") for answer in asked.answers)


@pytest.mark.long
def test_a_killed_triggerer_takes_nothing_with_it(platform: Platform, champion: str, traffic: Traffic) -> None:
    """Another goes on with the same canary; a person's word ends it."""
    run_id, record = waits(platform, trees=62)
    triggerers = [p for p in of_home(platform.home) if "triggerer" in " ".join(p.cmdline())]
    strike(triggerers, signal.SIGKILL, within_s=10)
    port = platform.at.airflow.rsplit(":", 1)[1]
    environment = {**os.environ, **embedded.airflow_environment(platform.home, platform.dags, platform.at, port)}
    log = (platform.home / "logs" / "triggerer.log").open("wb")
    command = [sys.executable, "-m", "airflow", "triggerer"]
    with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as other:
        try:
            seen = read_record(platform.home, NAME)
            assert seen

            def goes_on() -> bool:
                found = read_record(platform.home, NAME)
                return bool(found and found.updated_at > seen.updated_at)

            until(goes_on, within_s=150, what="the next tick")
            command = [
                sys.executable,
                "-m",
                "tradewind",
                "promote",
                NAME,
                "--reason",
                "enough seen",
                "--home",
                str(platform.home),
            ]
            subprocess.run(command, check=True)
            ended = platform.ended(NAME, run_id)
        finally:
            children = psutil.Process(other.pid).children(recursive=True)
            os.killpg(other.pid, signal.SIGINT)
            gone([psutil.Process(other.pid), *children], within_s=30)
    assert ended.tasks == GREEN
    assert platform.champion(NAME) == record.version
    assert ended.metrics("rollout")["canary"]["requests"] > 5
    assert not any(answer.startswith("failed") for answer in traffic.answers)
