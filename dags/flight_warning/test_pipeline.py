"""The pipeline on a sample of its tables, for real: ``pytest`` on this folder. Every step runs, up to the gate's verdict, and
then the predictor where it serves."""

import json
from pathlib import Path

import httpx
import pytest

from tradewind.testing import run_steps, served

FOLDER = Path(__file__).parent
SAMPLE = {name: str(FOLDER / "sample" / f"{name}.csv") for name in ("flights", "weather")}


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    rules = ["auc >= 0.55"]  # of so few flights
    return run_steps(FOLDER, tmp_path_factory.mktemp("steps"), params={**SAMPLE, "min_rows": 100, "rules": rules})


def test_flights_that_arrived_are_learned_from(steps):
    found = steps["validate"].metrics
    assert found["verdict"] == "PASSED", found["reasons"]
    assert steps["features"].metrics["rows"] == found["rows_valid"], "a join neither adds nor loses a flight"


def test_the_predictor_knows_late_flights_from_others(steps):
    found = steps["evaluate"].metrics
    assert steps["train"].metrics["task"] == "binary"
    assert found["verdict"] == "PASSED", found["reasons"]


def test_where_it_serves_it_warns_of_flights_that_are_worth_it(steps, tmp_path):
    model = steps["train"].outputs["model"]
    smoke = json.loads((Path(model.uri.removeprefix("file://")) / "smoke.json").read_text())
    with served(model, tmp_path) as url:
        answer = httpx.post(f"{url}/infer", json=smoke["request"], timeout=30).json()
        metrics = httpx.get(f"{url.partition('/v2/')[0]}/metrics", timeout=30).text
    rows = [answer["outputs"][0]["data"][first : first + 2] for first in range(0, 2 * len(smoke["outputs"]), 2)]
    assert rows == [pytest.approx(row, abs=1e-6) for row in smoke["outputs"]], "as in training"
    assert all(warn == (late > 15 / 60) for warn, late in rows)
    assert answer["parameters"] == {"warned": sum(warn for warn, _ in rows), "warn_from": 0.25}
    assert "flights_warned_total{" in metrics
