"""The whole chain on all flights, beside a plain script that does the same work in a process a phase."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import httpx

from benchmarks.measure import ROOT, Figure, compared, in_turns
from benchmarks.stack import Stack

# Each phase of the plain script with the environment that it needs.
_PLAIN = {"validate": "data", "features": "data", "train": "train", "evaluate": "train", "register": "train", "serve": "serve"}
_HYPERPARAMETERS = {"trees": 100, "max_depth": 6, "learning_rate": 0.1}
_SAME_AUC = 0.002  # threads add in another order


def pipeline(made: Stack, repeat: int) -> list[Figure]:
    """Warm Airflow with nothing to reuse; both include serving and a prediction."""
    phases: dict[str, list[float]] = {}
    scores: list[float] = []
    ours, theirs = in_turns(lambda: _chain(made, phases, scores), lambda: _plain(made, phases, scores), repeat)
    assert max(scores) - min(scores) < _SAME_AUC, f"Not the same model: AUC {scores}"
    parts = [Figure(name=f"pipeline.{name}", value=round(statistics.median(s), 3), unit="s") for name, s in phases.items()]
    return [*compared("pipeline", "plain", ours, theirs, "<= 1.1"), *parts]


def _chain(made: Stack, phases: dict[str, list[float]], scores: list[float]) -> float:
    made.forget()
    seconds, run_id = made.run("flight_delay", {**_HYPERPARAMETERS, "replay": [], "canary": []})  # the plain one has neither
    result = made.api.result("flight_delay", run_id, "rollout")["metrics"]
    started = time.monotonic()
    httpx.post(f"{result['endpoint_url']}/infer", json=result["example"], timeout=30).raise_for_status()
    seconds += time.monotonic() - started
    for step in ("validate", "features", "train", "evaluate"):
        assert not made.api.result("flight_delay", run_id, step)["reused"], f"{step} was not done but taken from an earlier run"
    for task in made.api.tasks("flight_delay", run_id):
        phases.setdefault(f"{task.task_id}.seconds", []).append(task.seconds or 0)
    scores.append(made.api.result("flight_delay", run_id, "evaluate")["metrics"]["challenger"]["auc"])
    return seconds


def _plain(made: Stack, phases: dict[str, list[float]], scores: list[float]) -> float:
    out = made.home / "plain"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    pipeline_folder, data = ROOT / "dags" / "flight_delay", made.home / "data" / "nycflights13"
    arguments: dict[str, list[str | Path]] = {
        "validate": [data / "flights.csv", pipeline_folder / "expectations.json", out, "0.05"],
        "features": [pipeline_folder, data, out],
        "train": [pipeline_folder, out, made.mlflow_url, json.dumps(_HYPERPARAMETERS)],
        "evaluate": [out, made.mlflow_url],
        "register": [out, made.mlflow_url],
        "serve": [out, made.mlflow_url],
    }
    total = 0.0
    for name, image in _PLAIN.items():
        started = time.monotonic()
        with (out / f"{name}.log").open("w") as log:
            command = [made.python(image), ROOT / "benchmarks" / "plain" / f"{name}.py", *arguments[name]]
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False, cwd=out).returncode
        seconds = time.monotonic() - started
        if code:
            raise RuntimeError(f"The plain {name} failed:\n{(out / f'{name}.log').read_text()[-3000:]}")
        total += seconds
        phases.setdefault(f"{name}.plain_seconds", []).append(seconds)
    scores.append(json.loads((out / "evaluation.json").read_text())["auc"])
    return total
