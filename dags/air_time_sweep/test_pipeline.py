"""The pipeline on a sample of its table, for real: ``pytest`` on this folder. Every step runs, up to the gate's verdict."""

from pathlib import Path

import pytest

from tradewind.testing import run_steps

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    params = {"flights": str(FOLDER / "sample" / "flights.csv"), "min_rows": 50, "trials": 10, "trees": 60}
    return run_steps(FOLDER, tmp_path_factory.mktemp("steps"), params=params)


def test_all_trials_come_to_an_end(steps):
    sweep = steps["sweep"].metrics["sweep"]
    assert (sweep["trials"], sweep["failed"]) == (10, 0)
    assert sweep["complete"] >= 8, "the first batch, which nothing can be compared with"


def test_the_best_model_knows_the_air_time_to_some_minutes(steps):
    sweep, gate = steps["sweep"].metrics["sweep"], steps["evaluate"].metrics
    assert gate["verdict"] == "PASSED", gate["reasons"]
    assert gate["challenger"]["rmse"] == pytest.approx(sweep["value"])
    assert gate["challenger"]["r2"] > 0.9
