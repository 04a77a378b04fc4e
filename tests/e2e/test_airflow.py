"""Pipelines in a real Airflow: copied, scheduled, triggered, disturbed."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from live import gone, predict, until
from platform_under_test import GREEN, Platform
from processes import of_step

from tradewind.errors import SpecError

SECONDS = 15  # within which a killed step's processes are gone: Airflow itself looks once a second


@pytest.fixture(scope="session")
def copied(platform: Platform) -> str:
    """The run of the plain copy, on which others build: what they have in common with it is reused."""
    ended = platform.run("late_flights")
    assert ended.tasks == GREEN
    return ended.metrics("rollout")["endpoint_url"]


def test_a_copied_folder_is_a_new_pipeline(platform: Platform, copied: str) -> None:
    assert platform.champion("late_flights") == "1"
    assert copied.endswith("/late_flights")
    for other in ("flight_delay", "on_asset"):
        assert platform.versions(other) == []


def test_every_link_opens(platform: Platform, copied: str) -> None:
    [run] = platform.runs("late_flights")
    expected = {
        "validate": ["Report"], "features": ["Report"], "train": ["MLflow run"], "evaluate": ["Report"],
        "register": ["Model version"], "rollout": ["Report", "Model version"],
    }  # fmt: skip
    for task, names in expected.items():
        path = f"/dags/late_flights/dagRuns/{run['dag_run_id']}/taskInstances/{task}/links"
        links = platform.http.get(path).raise_for_status().json()["extra_links"]
        assert list(links) == sorted(names)
        for url in links.values():
            assert platform.http.get(url, follow_redirects=True).status_code == 200, url


def test_wrong_params_are_refused(platform: Platform) -> None:
    falling = {"canary": [{"weight": 50}, {"weight": 10}]}
    for conf, field in (
        ({"tolerance": 7}, "tolerance"), ({"trees": "many"}, "trees"), ({"min_rows": 0}, "min_rows"), (falling, "canary"),
        (falling, "steps whose weights rise"),
    ):  # fmt: skip
        answer = platform.http.post("/dags/two_at_once/dagRuns", json={"logical_date": None, "conf": conf})
        assert answer.status_code in (400, 422), answer.text
        assert field in answer.text
    with pytest.raises(SpecError, match=r"no param 'tres'; may it be 'trees'\?"):
        platform.api.check_conf("two_at_once", {"min_rows": 200, "tres": 7})
    platform.api.check_conf("two_at_once", {"trees": 7})
    assert platform.runs("two_at_once") == []


def test_an_asset_event_starts_a_run(platform: Platform, copied: str) -> None:
    asset = platform.http.get("/assets", params={"name_pattern": "flights"}).raise_for_status().json()["assets"][0]
    platform.http.post("/assets/events", json={"asset_id": asset["id"], "extra": {}}).raise_for_status()
    [run] = until(lambda: platform.runs("on_asset"), within_s=60, what="the run")
    assert run["run_type"] == "asset_triggered"
    ended = platform.ended("on_asset", run["dag_run_id"])
    assert ended.tasks == GREEN
    assert all(ended.results[task]["reused"] for task in ("validate", "features")), "the same data, the same code"
    assert not ended.results["train"]["reused"]
    own, others = (platform.runs_in_experiment(name) for name in ("on_asset", "late_flights"))
    assert own == [ended.metrics("train")["mlflow_run_id"]], "a pipeline has an MLflow experiment of its own"
    assert others and own[0] not in others
    rollout = ended.metrics("rollout")
    assert rollout["endpoint_url"] != copied
    answer = predict(rollout["endpoint_url"], rollout["example"])
    assert (answer["model_name"], answer["model_version"]) == ("on_asset", "1")


@pytest.mark.long
def test_a_backfill_of_two_months(platform: Platform) -> None:
    """The run of 1 February sees January, that of 1 March sees February too."""
    body = {
        "dag_id": "monthly", "from_date": "2013-02-01T00:00:00Z", "to_date": "2013-03-01T00:00:00Z", "max_active_runs": 1,
        "dag_run_conf": {"rules": ["auc >= 0.5", "auc >= champion - 0.1"], "min_rows": 200, "trees": 50, "canary": []},
    }  # fmt: skip

    def asked() -> httpx.Response | None:
        answer = platform.http.post("/backfills", json=body)
        return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer  # SQLite is locked: asked again

    until(asked, within_s=60, what="the backfill").raise_for_status()
    runs = until(lambda: len(found := platform.runs("monthly")) == 2 and found, within_s=60, what="the runs")
    january, february = (platform.ended("monthly", run["dag_run_id"]) for run in sorted(runs, key=lambda r: r["logical_date"]))
    assert january.tasks == february.tasks == GREEN
    rows = [run.metrics("validate")["rows_checked"] for run in (january, february)]
    assert 1000 < rows[0] < rows[1] < 4000
    ends = [run.metrics("train")["data_end"] for run in (january, february)]
    assert ends[0] < "2013-02-01" <= ends[1] < "2013-03-01"
    first, second = (run.metrics("evaluate") for run in (january, february))
    assert first["verdict"] == second["verdict"] == "PASSED"
    assert (first["champion_version"], second["champion_version"]) == (None, "1")
    assert second["champion"]["auc"] is not None, "measured on the second's rows, whatever came of it"
    assert platform.champion("monthly") == "2"


def test_two_runs_at_once(platform: Platform, copied: str) -> None:
    """Both train; the first result is both's. There is one version, one champion, and it serves."""
    ids = [platform.api.trigger("two_at_once", {"trees": 60}) for _ in range(2)]
    one, two = (platform.ended("two_at_once", run_id) for run_id in ids)
    assert one.tasks == two.tasks == GREEN
    both = [task for task in ("train", "evaluate") if all(platform.started("two_at_once", run_id, task) for run_id in ids)]
    assert both, "neither came after the other's end"
    assert one.metrics("train") == two.metrics("train")
    assert platform.versions("two_at_once") == ["1"]
    assert platform.champion("two_at_once") == "1"
    rollout = two.metrics("rollout")
    assert predict(rollout["endpoint_url"], rollout["example"])["model_version"] == "1"
    for run_id in ids:
        for task in ("validate", "features", "train", "evaluate"):
            latest = platform.store.latest_manifest("two_at_once", run_id, task)
            assert latest
            assert all(platform.store.exists(ref.uri) for ref in latest[1].outputs.values())


def test_marked_failed(platform: Platform) -> None:
    """Its lines are in the log while it runs; then it and its JVM are gone."""
    run_id = platform.api.trigger("waits", {})
    platform.said("waits", run_id, "features", "airlines: 16")
    assert [task.state for task in platform.api.tasks("waits", run_id)] == ["running"]
    processes = of_step("waits")
    assert any("java" in process.name() for process in processes)
    platform.mark("failed", "waits", run_id, "features")
    gone(processes, within_s=SECONDS)
    assert platform.ended("waits", run_id).tasks == {"features": "failed"}
    assert of_step("waits") == []
    until(lambda: not list((platform.home / "scratch").iterdir()), within_s=SECONDS, what="an empty scratch folder")


def test_execution_timeout(platform: Platform) -> None:
    run_id = platform.api.trigger("times_out", {})
    processes = until(lambda: of_step("times_out"), within_s=60, what="the step")
    ended = platform.ended("times_out", run_id, within_s=90)
    assert ended.tasks == {"features": "failed"}
    gone(processes, within_s=SECONDS)
    assert of_step("times_out") == []
    platform.said("times_out", run_id, "features", "AirflowTaskTimeout", within_s=5)


def test_a_killed_step_is_tried_again(platform: Platform, tmp_path: Path) -> None:
    run_id = platform.api.trigger("hangs_once", {"marker": str(tmp_path / "marker")})
    platform.said("hangs_once", run_id, "train", "hanging")
    of_step("hangs_once")[0].send_signal(signal.SIGKILL)
    ended = platform.ended("hangs_once", run_id)
    assert ended.tasks == {"train": "success"}
    assert ended.tries == {"train": 2}
    platform.said("hangs_once", run_id, "train", "was ended by SIGKILL", within_s=5)


def test_a_killed_task_takes_its_step_with_it(platform: Platform, tmp_path: Path) -> None:
    run_id = platform.api.trigger("hangs_once", {"marker": str(tmp_path / "marker")})
    platform.said("hangs_once", run_id, "train", "hanging")
    processes = of_step("hangs_once")
    parent = processes[0].parent()
    assert parent
    parent.send_signal(signal.SIGKILL)
    gone(processes, within_s=SECONDS)
    ended = platform.ended("hangs_once", run_id)
    assert ended.tasks == {"train": "success"}
    assert ended.tries == {"train": 2}


def test_a_file_that_broke_since_is_reported(platform: Platform) -> None:
    """Airflow knows the Dag from before: that says nothing of its file as it is now."""
    file = platform.dags / "times_out" / "dag.py"
    text, since = file.read_text(), datetime.now(UTC)
    file.write_text(f"{text}\n1 / 0\n")
    with pytest.raises(SpecError, match=r"times_out/dag\.py cannot be loaded:\n(.*\n)*.*ZeroDivisionError"):
        platform.api.wait_for_dag("times_out", since=since, timeout_s=120)
    since = datetime.now(UTC)
    file.write_text(text)
    platform.api.wait_for_dag("times_out", since=since, timeout_s=120)


def test_a_database_that_is_written_to_does_not_hold_the_pages_up(platform: Platform) -> None:
    """SQLite lets one write at a time; the event loop that waits for another's answers nobody meanwhile."""
    database = sqlite3.connect(platform.home / "airflow" / "airflow.db", timeout=60, isolation_level=None)
    with contextlib.closing(database):
        database.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        refused = platform.http.patch("/dags/late_flights", json={"is_paused": False}, timeout=60)
        platform.http.get("/dags/late_flights", timeout=60).raise_for_status()
        assert (refused.status_code, time.monotonic() - began < 40) == (500, True)
        database.execute("ROLLBACK")
    platform.http.patch("/dags/late_flights", json={"is_paused": False}).raise_for_status()
