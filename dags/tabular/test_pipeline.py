"""The pipeline on its table, for real: ``pytest`` on this folder. Every step runs, up to the gate's verdict."""

import json
from pathlib import Path

import pytest

from tradewind.testing import run_steps

FOLDER = Path(__file__).parent
TABLE = json.loads((FOLDER / "table.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    return run_steps(FOLDER, tmp_path_factory.mktemp("steps"))


def test_nearly_all_rows_are_as_expected(steps):
    found = steps["validate"].metrics
    assert found["verdict"] == "PASSED", found["reasons"]
    assert found["quarantined_share"] <= 0.05


def test_the_features_are_those_of_the_table(steps):
    dates = sum(len(date["parts"]) for date in TABLE["dates"].values())
    columns = len(TABLE["numbers"]) + len(TABLE["categories"]) + len(TABLE["texts"]) + dates
    assert steps["features"].metrics["features"] == columns
    assert steps["features"].metrics["rows"] <= steps["validate"].metrics["rows_valid"]


def test_a_model_passes_the_gate(steps):
    assert steps["train"].metrics["task"] == TABLE["task"]
    assert steps["evaluate"].metrics["verdict"] == "PASSED", steps["evaluate"].metrics["reasons"]
