"""The template through ``dag.test()`` on a sample of real flights: the chain, what is run again, and what goes wrong.

One story in order: each test goes on from what the one before has left in store, registry and serving.
"""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from in_process import Dags, Run
from live import CHAIN, predict

from tradewind.registry import CHALLENGER, CHAMPION, DATA_END_TAG, Registry, model_of

NAME = "flight_delay"
STEPS = CHAIN[:4]
GREEN = dict.fromkeys(CHAIN, "success")


@pytest.fixture(scope="session")
def first(dags: Dags) -> Run:
    return dags.run()


def alias(dags: Dags, name: str) -> str | None:
    found = dags.registry.by_alias(NAME, name)
    return found.version if found else None


def serves(run: Run, version: str) -> None:
    """The endpoint that this run's rollout left answers with the version."""
    rollout = run.metrics("rollout")
    assert predict(rollout["endpoint_url"], rollout["example"])["model_version"] == version


def test_the_chain(dags: Dags, first: Run) -> None:
    assert first.states() == GREEN
    assert first.started() == STEPS
    assert first.reused() == []
    with dags.flights.open() as file:
        rows = list(csv.DictReader(file))
    landed = sum(row["arr_delay"] not in ("", "NA") for row in rows)
    validate, features, train = (first.metrics(name) for name in STEPS[:3])
    assert validate["verdict"] == "PASSED"
    assert validate["rows_checked"] == len(rows)
    assert validate["rows_quarantined"] == len(rows) - landed > 0
    assert features["rows"] == landed
    assert features["columns"] > 20
    assert train["rows_train"] + train["rows_holdout"] == landed
    assert train["data_start"][:10] == "2013-01-01"
    assert train["data_end"][:10] in ("2013-12-31", "2014-01-01")


def test_the_gate_without_a_champion(first: Run) -> None:
    gate = first.metrics("evaluate")
    assert gate["verdict"] == "PASSED"
    assert 0.6 < gate["challenger"]["auc"] < 0.95
    assert not gate["champion"]
    assert gate["champion_version"] is None


def test_the_version_says_where_it_comes_from(dags: Dags, first: Run) -> None:
    assert first.metrics("register")["version"] == "1"
    assert first.metrics("register")["registered"] is True
    tags = dags.registry.version(NAME, "1").tags
    assert tags["tradewind.dag_id"] == NAME
    assert tags["tradewind.run_id"] == first.run_id
    assert tags["tradewind.model"] == first.tasks["train"]["result"]["manifest"]
    assert tags["tradewind.gate"] == first.tasks["evaluate"]["result"]["manifest"]
    assert tags[DATA_END_TAG] == first.metrics("train")["data_end"]
    model = model_of(dags.registry.version(NAME, "1"))
    assert dags.store.exists(f"{model.uri}/MLmodel")
    assert (alias(dags, CHAMPION), alias(dags, CHALLENGER)) == ("1", None)


def test_the_endpoint_answers(first: Run) -> None:
    rollout = first.metrics("rollout")
    assert rollout["changed"] is True
    assert rollout["smoke_difference"] <= 1e-5
    answer = predict(rollout["endpoint_url"], rollout["example"])
    assert answer["model_version"] == "1"
    assert all(0 <= number <= 1 for number in answer["outputs"][0]["data"])
    names = {tensor["name"] for tensor in rollout["example"]["inputs"]}
    assert {"carrier", "distance", "visib"} <= names
    assert not {"late", "arr_delay", "dep_delay", "dep_time"} & names, "known only after departure"


def test_the_reports_are_there(dags: Dags, first: Run) -> None:
    for task in ("validate", "features", "evaluate"):
        report = dags.store.get_manifest(first.tasks[task]["result"]["manifest"]).outputs["report"]
        text = dags.store.read(report.uri).decode()
        if report.uri.endswith(".html"):
            assert "<html" in text
            assert 'src="http' not in text
        else:
            assert json.loads(text)


def test_nothing_changed(dags: Dags, first: Run) -> None:
    again = dags.run()
    assert again.states() == GREEN
    assert again.started() == []
    assert again.reused() == STEPS
    assert again.metrics("train") == first.metrics("train")
    assert again.metrics("register")["registered"] is False
    assert again.metrics("rollout")["changed"] is False
    assert alias(dags, CHAMPION) == "1"
    serves(again, "1")


def test_words_are_no_code(dags: Dags, first: Run) -> None:
    (dags.folder / NAME / "README.md").write_text("# Late flights\n\nOf another airline.\n")
    with (dags.folder / NAME / "dag.py").open("a") as file:
        file.write("\n# The one who reads this is not late.\n")
    again = dags.run()
    assert again.states() == GREEN
    assert again.started() == []
    assert again.reused() == STEPS


def test_a_line_of_train(dags: Dags, first: Run) -> None:
    replace(dags.folder / NAME / "train.py", "min_child_weight=50", "min_child_weight=40")
    again = dags.run()
    assert again.states() == GREEN
    assert again.started() == ["train", "evaluate"]
    assert again.reused() == ["validate", "features"]
    gate = again.metrics("evaluate")
    assert gate["champion_version"] == "1"
    assert gate["champion"]["auc"] == pytest.approx(first.metrics("evaluate")["challenger"]["auc"], abs=1e-9)
    assert again.metrics("rollout")["replaced"] == ["1"]
    assert alias(dags, CHAMPION) == "2"
    serves(again, "2")


def test_a_row_of_the_flights(dags: Dags, first: Run) -> None:
    text = dags.flights.read_text().splitlines(keepends=True)
    row = text[1].split(",")
    row[15] = str(float(row[15]) + 1)  # distance
    text[1] = ",".join(row)
    dags.flights.write_text("".join(text))
    again = dags.run()
    assert again.states() == GREEN
    assert again.started() == STEPS
    assert again.metrics("validate")["rows_checked"] == first.metrics("validate")["rows_checked"]
    assert alias(dags, CHAMPION) == "3"


def test_one_task_without_reuse(dags: Dags, first: Run) -> None:
    """What it makes has the same content as before, so the tasks after it are reused."""
    replace(dags.folder / NAME / "dag.py", 'task_id="validate", ', 'task_id="validate", reuse=False, ')
    again = dags.run()
    assert again.states() == GREEN
    assert again.started() == ["validate"]
    assert again.reused() == STEPS[1:]
    assert again.metrics("rollout")["changed"] is False
    replace(dags.folder / NAME / "dag.py", "reuse=False, ", "")


def test_a_deleted_mlflow_run_is_a_miss(dags: Dags, first: Run) -> None:
    before = dags.run()
    assert before.started() == []
    run_id = before.metrics("train")["mlflow_run_id"]
    httpx.post(f"{dags.registry.tracking_uri}/api/2.0/mlflow/runs/delete", json={"run_id": run_id}).raise_for_status()
    again = dags.run()
    assert again.states() == GREEN
    assert again.started() == ["train", "evaluate"]
    assert again.metrics("train")["mlflow_run_id"] != run_id
    assert alias(dags, CHAMPION) == "4"


def test_a_gate_that_fails(dags: Dags, first: Run) -> None:
    run = dags.run(rules=["auc >= 0.6", "auc >= 0.99"], trees=20)
    assert run.state == "failed"
    expected = {"evaluate": "failed", "register": "upstream_failed", "rollout": "upstream_failed"}
    assert run.states() == {**GREEN, **expected}
    assert run.tasks["evaluate"]["try_number"] == 1, "the same model fails again: no retry"
    assert "FAILED: " in run.log
    assert "0.99" in run.log
    assert alias(dags, CHAMPION) == "4"
    assert alias(dags, CHALLENGER) is None
    assert {version for version in ("4", "5") if exists(dags, version)} == {"4"}
    serves(first, "4")
    latest = dags.store.latest_manifest(NAME, run.run_id, "evaluate")
    assert latest
    manifest = latest[1]
    assert manifest.metrics["verdict"] == "FAILED"
    assert "0.99" in dags.store.read(manifest.outputs["report"].uri).decode()


@pytest.fixture
def kept(dags: Dags) -> Iterator[str]:
    """The champion, which a person makes the champion again after the gate and before the rollout."""
    champion = alias(dags, CHAMPION)
    assert champion
    dag = dags.folder / NAME / "dag.py"
    before = dag.read_text()
    dag.write_text(before + MEDDLE % champion)
    yield champion
    dag.write_text(before)


MEDDLE = """
    from airflow.sdk import task

    @task
    def meddle():
        from tradewind.registry import Registry
        from tradewind.settings import Settings

        with Registry.of(Settings.load()) as registry:
            registry.set_alias(NAME, "champion", "%s")

    version >> meddle() >> version.dag.get_task("rollout")
"""


def test_a_champion_changed_meanwhile(dags: Dags, first: Run, kept: str) -> None:
    dags.registry.set_alias(NAME, CHAMPION, "3")
    run = dags.run(trees=150)
    assert run.states() == {**GREEN, "rollout": "failed"}
    assert run.metrics("evaluate")["champion_version"] == "3"
    assert run.tasks["rollout"]["try_number"] == 1
    assert f"The champion is version {kept}, but the gate compared with 3" in run.log
    assert alias(dags, CHAMPION) == kept
    assert alias(dags, CHALLENGER) == "5"
    serves(first, kept)


def test_older_data_never_replaces_newer(dags: Dags, first: Run, kept: str) -> None:
    """Nobody is champion while the gate looks, so that it has nothing to compare with."""
    url = f"{dags.registry.tracking_uri}/api/2.0/mlflow/registered-models/alias"
    httpx.request("DELETE", url, json={"name": NAME, "alias": CHAMPION}).raise_for_status()
    run = dags.run(as_of="2013-04-01T00:00:00Z", rules=["auc >= 0.55"], min_rows=500)
    assert run.states() == {**GREEN, "rollout": "skipped"}
    assert run.state == "success"
    assert run.metrics("validate")["rows_checked"] < first.metrics("validate")["rows_checked"] / 3
    assert run.metrics("train")["data_end"] < "2013-04-01"
    assert "older data never replaces newer" in run.log
    assert alias(dags, CHAMPION) == kept
    serves(first, kept)


def test_one_training_run_is_one_version(dags: Dags, first: Run) -> None:
    """However many register it at the same instant."""
    train, at_once = first.metrics("train"), 6
    together = threading.Barrier(at_once)

    def register(_: int) -> tuple[str, bool]:
        with Registry(dags.registry.tracking_uri) as registry:
            together.wait()
            version, new = registry.register("race", model_id=train["model_id"], run_id=train["mlflow_run_id"], tags={})
            return version.version, new

    with ThreadPoolExecutor(at_once) as threads:
        told = list(threads.map(register, range(at_once)))
    query = {"filter": "name='race'"}
    found = httpx.get(f"{dags.registry.tracking_uri}/api/2.0/mlflow/model-versions/search", params=query).json()
    [version] = [version["version"] for version in found["model_versions"]]
    assert {number for number, _ in told} == {version}
    assert sum(new for _, new in told) == 1


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def exists(dags: Dags, version: str) -> bool:
    query = {"name": NAME, "version": version}
    return httpx.get(f"{dags.registry.tracking_uri}/api/2.0/mlflow/model-versions/get", params=query).is_success
