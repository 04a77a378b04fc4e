"""``tradewind doctor`` on an embedded environment that is up, and on the same one when a part of it has ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
from live import gone, linked_home, services

from tradewind.registry import Registry
from tradewind.runtimes.environments import Environments


def doctor(home: Path) -> tuple[int, dict[str, dict[str, str]]]:
    command = [sys.executable, "-m", "tradewind", "doctor", "--json", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, {line["name"]: line for line in json.loads(done.stdout)}


def test_all_passes_and_nothing_stays_then_what_ended_fails(tmp_path: Path, environments: Environments) -> None:
    home = linked_home(tmp_path / "home", environments)
    dags = tmp_path / "dags"
    dags.mkdir()
    with services(home, dags, "mlflow", "serving", "airflow") as (up, at):
        code, lines = doctor(home)
        assert (code, {line["state"] for line in lines.values()}) == (0, {"pass"}), lines
        assert at.mlflow in lines["MLflow"]["detail"]
        assert {"MLflow, rights", "store, exclusive", "serving", "Airflow, triggerer", "profile cpu-small"} <= lines.keys()
        with Registry(at.mlflow) as registry:
            assert registry._call("GET", "registered-models/search", {}).get("registered_models", []) == []
        assert list((home / "store").iterdir()) == []

        mlflow = psutil.Process(up.pid("mlflow"))
        mlflow.terminate()
        gone([mlflow], within_s=30)
        code, lines = doctor(home)
        assert code == 1
        assert [name for name, line in lines.items() if line["state"] == "fail"] == ["MLflow"]
        assert at.mlflow in lines["MLflow"]["detail"]

    code, lines = doctor(home)
    assert code == 1
    assert [name for name, line in lines.items() if line["state"] == "fail"] == ["MLflow", "Airflow", "serving"]


def test_a_folder_in_which_nothing_was_started(tmp_path: Path) -> None:
    code, lines = doctor(tmp_path)
    assert code == 1
    assert lines["settings"]["state"] == "fail"
    assert "Nothing was ever started" in lines["settings"]["detail"]
