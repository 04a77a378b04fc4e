"""``tradewind doctor`` where models serve by Seldon: the kind and its licence, the rights, the gateway's statistics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from seldon_place import GATEWAY, NAMESPACE, STATISTICS, Place

from tradewind.serving.local.process import free_port

LOOK = """
from tradewind.serving import serving_for
from tradewind.settings import Settings
print(serving_for(Settings.load()).observe("never"))
"""


def environment(folder: Path, **options: str) -> dict[str, str]:
    """With Airflow's settings for Seldon."""
    given = {
        "home": str(folder / "home"), "serving": "seldon", "serving_namespace": NAMESPACE, "serving_gateway": GATEWAY,
        "serving_statistics": STATISTICS, "tracking_uri": f"http://mlflow.invalid:{free_port()}", **options,
    }  # fmt: skip
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(folder / "airflow"),
        **{f"AIRFLOW__TRADEWIND__{name.upper()}": value for name, value in given.items()},
    }


def doctor(folder: Path, **options: str) -> dict[str, dict[str, str]]:
    """Its lines by name."""
    command = [sys.executable, "-m", "tradewind", "doctor", "--json"]
    done = subprocess.run(command, env=environment(folder, **options), capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return {line["name"]: line for line in json.loads(done.stdout)}


def test_what_a_rollout_needs_is_looked_at(seldon: Place, tmp_path: Path) -> None:
    lines = doctor(tmp_path)
    assert {lines[name]["state"] for name in ("Seldon", "serving", "gateway statistics")} == {"pass"}, lines
    assert "1.17.1" in lines["Seldon"]["detail"] and "BSL 1.1" in lines["Seldon"]["detail"]
    assert lines["gateway statistics"]["detail"].endswith(": 1 Envoy")


def test_statistics_that_are_not_there_are_named(seldon: Place, tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/stats/prometheus"
    line = doctor(tmp_path, serving_statistics=nowhere)["gateway statistics"]
    assert line["state"] == "fail" and nowhere in line["detail"] and "serving_statistics" in line["fix"]


def test_what_the_settings_name_is_what_operators_get(seldon: Place, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], env=environment(tmp_path), capture_output=True, text=True)
    assert f"endpoint_url='{GATEWAY}/seldon/{NAMESPACE}/never/v2/models/never', versions={{}}" in done.stdout, done.stderr
