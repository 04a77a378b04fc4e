"""What step operators do before and after the step: inputs, code and arguments; two runs at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tradewind.contract import ArtifactRef, StepManifest
from tradewind.operators import TrainModelOperator
from tradewind.runtimes.environments import Environments
from tradewind.store import Store

PROBE = Path(__file__).with_name("probe.py")
SUITE = {"name": "s", "expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}}]}

Probe = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (folder / "dag.py").touch()
    (folder / "expectations.json").write_text(json.dumps(SUITE))
    (folder / "features.py").write_text("def build(spark, sources, params): ...\n")
    (folder / "codes.csv").write_text("a,b\n")
    (tmp_path / "data.csv").write_text("a,b\n1,2\n3,4\n")
    return folder


@pytest.fixture
def probe(folder: Path, environments: Environments, tmp_path: Path) -> Probe:
    home = tmp_path / "home"
    home.mkdir()
    (home / "envs").symlink_to(environments.folder)
    own = {"AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__TRADEWIND__HOME": str(home)}

    def run(what: str, argument: Any) -> list[str]:
        command = [sys.executable, str(PROBE), what, str(folder), argument]
        done = subprocess.run(command, env={**os.environ, **own}, stdout=subprocess.PIPE, text=True, check=True)
        print(done.stdout)
        return [line for line in done.stdout.splitlines() if not re.match(r"\d{4}-\d\d-", line)]  # Airflow logs there too

    return run


def features(data: Any, **arguments: Any) -> list[Any]:
    return ["SparkFeaturesOperator", {"build": "features:build", "sources": {"table": data}, **arguments}]


def test_of_two_runs_at_once_the_second_takes_the_firsts_result(probe: Probe, tmp_path: Path) -> None:
    one, two = (json.loads(line) for line in probe("two", str(tmp_path / "data.csv")))
    assert one["dataset"] == two["dataset"]
    assert sorted(bool(run["reused"]) for run in (one, two)) == [False, True]


def test_a_named_file_is_code(probe: Probe, folder: Path, tmp_path: Path) -> None:
    data = str(tmp_path / "data.csv")
    asked = json.dumps([features(data), features(data, files=["codes.csv"])])
    plain, named = probe("specs", asked)
    (folder / "codes.csv").write_text("a,b,c\n")
    plain_again, named_again = probe("specs", asked)
    assert len(plain) == 64
    assert plain_again == plain
    assert named_again != named


def test_what_is_wrong_is_named(probe: Probe, tmp_path: Path) -> None:
    gone = {"manifest": f"file://{tmp_path}/gone/manifest.json", "metrics": {}}
    data = str(tmp_path / "data.csv")
    validate = {"data": data, "expectations": "expectations.json"}
    asked = [
        ["ValidateDataOperator", {**validate, "data": ""}],
        ["ValidateDataOperator", {**validate, "tolerance": "many"}],
        features(gone),
        features(None),
        features(data, files=["nowhere.csv"]),
    ]
    empty, tolerance, manifest, nothing, file = probe("specs", json.dumps(asked))
    assert empty.startswith("SpecError: A data URI is empty")
    assert tolerance == "SpecError: tolerance: expected a number from 0 to 1, got 'many'"
    assert manifest.startswith(f"SpecError: table: there is no manifest at {gone['manifest']} any more")
    assert nothing == "SpecError: table: expected the output of another task of this pack, got None"
    assert file.startswith("SpecError: There is no file 'nowhere.csv'")


def train(data: Any, **arguments: Any) -> list[Any]:
    return ["TrainModelOperator", {"train": "features:build", "dataset": data, "label_column": "b", **arguments}]


def evaluate(data: Any, **arguments: Any) -> list[Any]:
    return ["EvaluateModelOperator", {"model": data, "dataset": data, "rules": [], **arguments}]


def test_a_scheduled_run_sees_no_later_rows_in_any_step(probe: Probe, tmp_path: Path) -> None:
    """A manual one sees all. Where no column says when a row came to be, there is nothing to leave out."""
    data = str(tmp_path / "data.csv")
    timed = {"time_column": "a"}
    validate = ["ValidateDataOperator", {"data": data, "expectations": "expectations.json", **timed}]
    *found, untimed = probe(
        "as_of", json.dumps([validate, features(data, **timed), train(data, **timed), evaluate(data), features(data)])
    )
    assert [json.loads(line) for line in found] == [["2013-02-01T00:00:00+00:00", None]] * 4
    assert json.loads(untimed) == [None, None]


def test_each_argument_that_determines_the_result_counts(probe: Probe, tmp_path: Path) -> None:
    data = str(tmp_path / "data.csv")
    given = [{}, {"task": "binary"}, {"task": None}, {"experiment": "other"}, {"experiment": "probe"}, {"task": "guess"}]
    plain, task, no_task, experiment, own, unknown = probe("specs", json.dumps([train(data, **arguments) for arguments in given]))
    assert plain == no_task == own, "the defaults, said"
    assert len({plain, task, experiment}) == 3
    assert unknown == "SpecError: task: expected binary, multiclass, regression or None, got 'guess'"


def test_only_the_gate_of_this_very_model_lets_it_through(probe: Probe, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "home" / "store"))

    def left(task: str, outputs: dict[str, ArtifactRef], **metrics: Any) -> dict[str, str]:
        folder = store.new_try("probe", "run", task, -1, 1)
        times = {"started_at": "2026-01-01T00:00:00+00:00", "ended_at": "2026-01-01T00:00:01+00:00"}
        store.put_manifest(folder, StepManifest(status="success", fingerprint=None, outputs=outputs, metrics=metrics, **times))
        return {"manifest": f"{folder}/manifest.json"}

    model = left("train", {"model": ArtifactRef(uri="file:///m", sha256="a" * 64, size=1, kind="model")}, mlflow_run_id="0")
    gates = [left(f"gate_{n}", {}, verdict="PASSED", **metrics) for n, metrics in enumerate(({"model_sha256": "b" * 64}, {}))]
    asked = [["RegisterModelOperator", {"name": "m", "model": model, "gate": gate}] for gate in gates]
    other, older = probe("work", json.dumps(asked))
    assert other.startswith(f"SpecError: gate: expected the evaluate task's output for this model, sha256 {'a' * 64}, got one")
    assert f"for the model {'b' * 64}" in other
    assert older.startswith("SpecError: gate: ")


def test_what_was_learned_for_want_of_a_gpu_is_not_reused_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tradewind.registry.Registry.run_exists", lambda self, run_id: True)
    operator = TrainModelOperator(task_id="train", train="train:train", dataset="a", label_column="y", profile="gpu-1")
    times = {"started_at": "2026-01-01T00:00:00+00:00", "ended_at": "2026-01-01T00:00:01+00:00"}
    for device in ("cuda", "cpu"):
        metrics = {"device": device, "mlflow_run_id": "0"}
        left = StepManifest(status="success", fingerprint="f", outputs={}, metrics=metrics, **times)
        assert operator.still_valid(left) == (device == "cuda")


PARSED = """
from airflow.sdk import DAG
from tradewind.operators import EvaluateModelOperator, SparkFeaturesOperator, TrainModelOperator
with DAG("parsed"):
    other = TrainModelOperator(task_id="other", train="train:train", dataset="a", label_column="y").output
    SparkFeaturesOperator(task_id="features", build="a:b", sources=other["sources"], build_params=other["params"])
    TrainModelOperator(
        task_id="train", train="train:train", dataset="a", label_column="y", train_params=other["params"], task=other["task"]
    )
    EvaluateModelOperator(task_id="evaluate", model="a", dataset="a", rules=other["rules"])
"""


def test_any_templated_argument_may_be_what_another_task_returned(tmp_path: Path) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow")}
    subprocess.run([sys.executable, "-c", PARSED], env=environment, check=True)
