"""The template's rollout with real servers and real requests: replay, canary, and what takes a version back.

One story in order, on a pipeline of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from in_process import Dags, Run
from live import copy_template, predict

from tradewind.resources import data_path

NAME = "late"
STEPS = [{"weight": 30, "bake_s": 4}, {"weight": 60, "bake_s": 2}]
REPLAY = ["disagreement <= 0.1", "psi <= 0.25", "errors <= 0"]


@pytest.fixture(scope="module")
def first(dags: Dags) -> Run:
    copy_template(dags.folder, NAME)
    run = dags.run(NAME, canary=STEPS, replay=REPLAY)
    assert run.state == "success"
    return run


@contextmanager
def requests(run: Run) -> Iterator[Counter[str]]:
    """People ask the endpoint all the time; which versions answered, and what failed."""
    rollout = run.metrics("rollout")
    answers: Counter[str] = Counter()
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not ended.wait(0.02):
                try:
                    response = client.post(f"{rollout['endpoint_url']}/infer", json=rollout["example"])
                    said = response.json()["model_version"] if response.is_success else str(response.status_code)
                except (httpx.HTTPError, ValueError, KeyError) as error:
                    said = f"failed: {type(error).__name__}"
                answers[said] += 1

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def champion(dags: Dags) -> str | None:
    found = dags.registry.by_alias(NAME, "champion")
    return found.version if found else None


def test_a_first_release_has_no_canary(dags: Dags, first: Run) -> None:
    rollout = first.metrics("rollout")
    (output,) = predict(rollout["endpoint_url"], rollout["example"])["outputs"]
    assert (output["shape"], output["parameters"]["names"]) == ([1, 2], first.metrics("evaluate")["classes"])
    assert (rollout["replay"], rollout["canary"], rollout["replaced"]) == (None, None, [])
    assert champion(dags) == "1"


def test_a_good_version_rises_under_load(dags: Dags, first: Run) -> None:
    with requests(first) as answers:
        run = dags.run(NAME, canary=STEPS, replay=REPLAY, min_requests=20, trees=90)
    assert run.state == "success"
    rollout = run.metrics("rollout")
    assert rollout["replay"]["verdict"] == "PASSED"
    assert rollout["replay"]["rows"] > 500
    assert 0 <= rollout["replay"]["disagreement"] < 0.1
    gate = run.metrics("evaluate")
    for name in ("disagreement", "psi", "ks"):  # a replay is of a thousand of the rows
        assert gate["differences"][name] == pytest.approx(rollout["replay"][name], abs=0.05), "known before the rollout"
    found = dags.store.latest_manifest(NAME, run.run_id, "evaluate")
    assert found
    data = json.loads(dags.store.read(found[1].outputs["verdict"].uri))["data"]
    assert data["columns"] is None, "the rows that the champion learned from"
    assert rollout["canary"]["requests"] >= 40
    assert rollout["canary"]["errors"] == 0
    assert set(answers) == {"1", "2"}, "no request failed"
    assert champion(dags) == "2"
    assert [(note["outcome"], note["version"], note["before"]) for note in dags.registry.releases(NAME)] == [
        ("released", "2", "1"),
        ("released", "1", None),
    ]
    manifest = dags.store.latest_manifest(NAME, run.run_id, "rollout")
    assert manifest
    page = dags.store.read(manifest[1].outputs["report"].uri).decode()
    assert "RELEASED" in page
    assert "Evidence against the canary" in page
    replay = dags.store.read(manifest[1].outputs["replay"].uri).decode()
    assert "<svg" in replay
    assert "By carrier" in replay


def test_a_version_that_answers_otherwise_gets_no_requests(dags: Dags, first: Run) -> None:
    with requests(first) as answers:
        run = dags.run(NAME, canary=STEPS, trees=5, replay=["disagreement <= 0.001"], rules=["auc >= 0.5"])
    assert run.state == "failed"
    assert run.tasks["rollout"]["try_number"] == 1, "the same version answers the same: no retry"
    assert "the replay failed: disagreement 0." in run.log
    assert set(answers) == {"2"}
    assert champion(dags) == "2"
    assert dags.registry.releases(NAME)[0]["outcome"] == "rolled back"


def test_without_requests_the_replay_decides(dags: Dags, first: Run) -> None:
    rollout: dict[str, Any] = {"canary": [{"weight": 10, "bake_s": 1}], "replay": REPLAY, "trees": 80}
    text = (dags.folder / NAME / "dag.py").read_text()
    (dags.folder / NAME / "dag.py").write_text(text.replace('"patience_s": 30', '"patience_s": 2'))
    run = dags.run(NAME, **rollout)
    assert run.state == "success"
    assert "expected at least 50 to conclude; the replay has passed, and the spec lets that decide" in run.log
    assert champion(dags) == run.metrics("rollout")["version"]


def test_a_wrong_rollout_is_named(dags: Dags, first: Run) -> None:
    run = dags.run(NAME, canary=[{"weight": 50, "bake_s": 1}, {"weight": 20}], trees=5, rules=["auc >= 0.5"])
    assert run.state == "failed"
    assert "rollout.steps[1].weight: expected a whole number from 51 to 99, got 20" in run.log
    assert run.tasks["rollout"]["try_number"] == 1


def tradewind(dags: Dags, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tradewind", *arguments, "--home", str(dags.home)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "300"})


def test_a_person_takes_the_release_back_by_hand_and_by_a_dag(dags: Dags, first: Run) -> None:
    last = dags.registry.releases(NAME)[0]["version"]
    before = champion(dags)
    assert before is not None
    with requests(first) as answers:
        done = tradewind(dags, "rollback", NAME, "--reason", "complaints")
    assert done.returncode == 0, done.stderr
    assert champion(dags) == "2" != before
    assert set(answers) == {before, "2"}, "no request failed"
    shown = tradewind(dags, "releases", NAME).stdout
    assert "complaints" in shown
    assert last in shown
    assert tradewind(dags, "hold", NAME, "--reason", "x").stderr.startswith("RolloutOver: No rollout of late is under way")

    shutil.copytree(data_path("dags") / "rollback", dags.folder / "rollback")
    run = dags.run("rollback", model=NAME, to=before, reason="a mistake")
    assert run.state == "success"
    assert run.metrics("rollback") == {"name": NAME, "version": before, "instead_of": "2"}
    assert champion(dags) == before
