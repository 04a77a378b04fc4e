"""The pipeline on a sample of its tables, for real: ``pytest`` on this folder. Every step runs, up to the gate's verdict, and
with them the predictor's class on all rows."""

from pathlib import Path

import pytest

from tradewind.testing import run_steps

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
