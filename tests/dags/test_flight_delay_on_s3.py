"""The template with its data and the store on S3: the same chain, and nothing of a run left on this machine.

One story in order, as in test_flight_delay.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Dags, Run
from live import CHAIN, predict

from tradewind.collect import collect
from tradewind.registry import CHAMPION, model_of

NAME = "flight_delay"
STEPS = CHAIN[:4]
GREEN = dict.fromkeys(CHAIN, "success")
REPLAY = ["disagreement <= 0.2", "psi <= 0.5", "errors <= 0"]


@pytest.fixture(scope="session")
def first(dags_on_s3: Dags) -> Run:
    return dags_on_s3.run()


def test_the_chain(dags_on_s3: Dags, first: Run) -> None:
    assert first.states() == GREEN
    assert first.started() == STEPS
    assert first.metrics("evaluate")["verdict"] == "PASSED"
    rollout = first.metrics("rollout")
    assert rollout["smoke_difference"] <= 1e-5
    assert predict(rollout["endpoint_url"], rollout["example"])["model_version"] == "1"


def test_all_of_it_lies_on_s3(dags_on_s3: Dags, first: Run) -> None:
    store = dags_on_s3.store
    for task in STEPS:
        manifest = store.get_manifest(first.tasks[task]["result"]["manifest"])
        assert manifest.outputs
        assert all(ref.uri.startswith(store.root) and store.exists(ref.uri) for ref in manifest.outputs.values())
    assert model_of(dags_on_s3.registry.version(NAME, "1")).uri.startswith(f"{store.root}/runs/{NAME}/")
    assert not (dags_on_s3.home / "store").exists()
    assert list((dags_on_s3.home / "scratch").iterdir()) == []


def test_reports_open(dags_on_s3: Dags, first: Run) -> None:
    from tradewind_plugin.reports import Reports
    from tradewind_plugin.results import Results

    reports = Reports(dags_on_s3.store)
    found = {result["task_id"] for result in Results(dags_on_s3.store).of_run(NAME, first.run_id)}
    assert found >= {"validate", "features", "evaluate"}
    for task in ("validate", "features", "evaluate"):
        name, text = reports.report(NAME, first.run_id, task, -1, "report")
        assert name == "report.html"
        assert b"<html" in text
    assert json.loads(reports.report(NAME, first.run_id, "features", -1, "profile")[1])["rows"] > 10_000


def test_nothing_changed(dags_on_s3: Dags, first: Run) -> None:
    again = dags_on_s3.run()
    assert again.states() == GREEN
    assert again.started() == []
    assert again.reused() == STEPS
    assert again.metrics("rollout")["changed"] is False


def test_a_second_version_is_replayed_against_the_first(dags_on_s3: Dags, first: Run) -> None:
    run = dags_on_s3.run(trees=80, replay=REPLAY)
    assert run.states() == GREEN
    assert run.started() == ["train", "evaluate", "rollout"]  # whose process is the replay
    assert run.metrics("evaluate")["champion_version"] == "1"
    champion = dags_on_s3.registry.by_alias(NAME, CHAMPION)
    assert champion and champion.version == "2"
    latest = dags_on_s3.store.latest_manifest(NAME, run.run_id, "rollout")
    assert latest and "replay" in dags_on_s3.store.read(latest[1].outputs["report"].uri).decode().lower()


def test_garbage_goes_and_what_serves_stays(dags_on_s3: Dags, first: Run, tmp_path: Path) -> None:
    store = dags_on_s3.store
    held = dags_on_s3.registry.held_uris()
    freed = collect(store, held=held, keep_runs=1, grace_s=0)
    assert freed.uris
    for version in ("1", "2"):
        assert store.exists(f"{model_of(dags_on_s3.registry.version(NAME, version)).uri}/MLmodel")
    again = dags_on_s3.run(trees=80)
    assert again.states() == GREEN
    assert again.started() == []
