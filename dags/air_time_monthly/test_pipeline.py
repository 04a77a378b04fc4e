"""The pipeline on a sample of its tables, for real: ``pytest`` on this folder. A run of September, up to the gate's verdict."""

from pathlib import Path

import pytest

from tradewind.testing import run_steps

FOLDER = Path(__file__).parent
SAMPLE = {name: str(FOLDER / "sample" / f"{name}.csv") for name in ("flights", "airports")}
SEPTEMBER_ENDS = "2013-10-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    return run_steps(
        FOLDER, tmp_path_factory.mktemp("steps"), params={**SAMPLE, "as_of": SEPTEMBER_ENDS, "days": 90, "min_rows": 20}
    )


def test_a_run_sees_the_flights_before_its_intervals_end(steps):
    found = steps["validate"].metrics
    assert found["verdict"] == "PASSED", found["reasons"]
    assert 550 < found["rows_checked"] < 650  # of the sample's 800, nine months
    assert found["data_end"] < SEPTEMBER_ENDS


def test_it_learns_from_the_last_days_of_them(steps):
    valid, learned = steps["validate"].metrics["rows_valid"], steps["features"].metrics["rows"]
    assert 0.25 * valid < learned < 0.45 * valid, "three months of nine"


def test_the_model_knows_the_air_time(steps):
    found = steps["evaluate"].metrics
    assert found["verdict"] == "PASSED", found["reasons"]
    assert found["challenger"]["r2"] > 0.9
