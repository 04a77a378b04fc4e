"""The watch on a sample of its tables, for real: ``pytest`` on this folder. Summer's flights beside those of winter."""

from pathlib import Path

import pytest

from tradewind.testing import run_steps

FOLDER = Path(__file__).parent
SAMPLE = {name: str(FOLDER / "sample" / f"{name}.csv") for name in ("flights", "weather", "planes", "airports", "airlines")}
JANUARY, APRIL, JUNE, SEPTEMBER = (f"2013-{month:02}-01T00:00:00+00:00" for month in (1, 4, 6, 9))


@pytest.fixture(scope="module")
def winter(tmp_path_factory):
    params = {**SAMPLE, "since": JANUARY, "as_of": APRIL}
    return run_steps(FOLDER, tmp_path_factory.mktemp("winter"), params=params)


@pytest.fixture(scope="module")
def summer(tmp_path_factory, winter):
    learned = {"drift": {"reference": winter["features"].outputs["dataset"]}}
    params = {**SAMPLE, "since": JUNE, "as_of": SEPTEMBER}
    return run_steps(FOLDER, tmp_path_factory.mktemp("summer"), params=params, inputs=learned)


def test_a_run_looks_at_the_flights_of_its_interval(summer):
    valid, seen = summer["validate"].metrics["rows_valid"], summer["features"].metrics["rows"]
    assert 0.3 * valid < seen < 0.45 * valid, "three months of eight"


def test_without_a_champion_nothing_has_drifted(winter):
    assert (winter["drift"].metrics["verdict"], winter["drift"].metrics["drifted"]) == ("NO CHAMPION", False)


def test_summer_is_not_winter(summer):
    found = summer["drift"].metrics
    assert found["verdict"] == "DRIFTED"
    assert any(reason.startswith("'temp' has moved: unseen") for reason in found["reasons"]), found["reasons"]
    assert "distance" not in str(found["reasons"]), "they fly to the same places"
