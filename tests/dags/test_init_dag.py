"""A pipeline that ``tradewind init`` made, as it is, through ``dag.test()`` to a served prediction."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import Dags
from live import CHAIN, predict

from tradewind.resources import data_path

TRADEWIND = str(Path(sys.executable).with_name("tradewind"))
FILMS = data_path("dags") / "tabular" / "sample.csv"


def init(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TRADEWIND, "init", *map(str, arguments)], capture_output=True, text=True)


def test_from_a_table_to_a_prediction(dags: Dags) -> None:
    made = init("films", "--data", FILMS, "--target", "Runtime", "--dags", dags.folder, "--home", dags.home)
    assert made.returncode == 0, made.stderr
    assert "'Runtime' is a number (regression), learned from 2 numbers, 3 categories, 3 texts, 1 date;" in made.stdout
    assert "The rows are split by 'Released'" in made.stdout
    table = json.loads((dags.folder / "films" / "table.json").read_text())
    files = {path.name for path in data_path("dags").joinpath("tabular").iterdir()} - {"sample.csv", "__pycache__"}
    assert {path.name for path in (dags.folder / "films").iterdir()} == files
    run = dags.run("films", rules=table["rules"], trees=30)
    assert run.states() == dict.fromkeys(CHAIN, "success")
    gate, rollout = run.metrics("evaluate"), run.metrics("rollout")
    assert gate["verdict"] == "PASSED"
    assert run.metrics("register")["name"] == "films"
    (minutes,) = predict(rollout["endpoint_url"], rollout["example"])["outputs"][0]["data"]
    assert 60 < minutes < 200
    again = dags.run("films", rules=table["rules"], trees=30)
    assert again.reused() == CHAIN[:4]
    assert again.metrics("rollout")["changed"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a name"], "NAME 'a name': expected at most 128 letters"),
        (["x", "--template", "nothing"], "There is no template 'nothing'; there are: air_time, air_time_monthly, air_time_sweep"),
        (["x", "--data", FILMS], "--data and --target belong together"),
        (["x", "--data", FILMS, "--target", "genre"], "Target 'genre': there is no such column"),
        (["x", "--template", "air_time", "--data", FILMS, "--target", "Genre"], "--data goes with: tabular"),
        (["x", "--data", "/nowhere.csv", "--target", "y"], "There is no file or folder at /nowhere.csv"),
        (["flight_delay"], "flight_delay already: choose another name"),
        ([], "NAME: expected the new pipeline's name, got none"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_left(dags: Dags, arguments: list[object], message: str) -> None:
    before = sorted(dags.folder.rglob("*"))
    done = init(*arguments, "--dags", dags.folder, "--home", dags.home)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(dags.folder.rglob("*")) == before


def test_the_list() -> None:
    lines = init("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "air_time", "air_time_monthly", "air_time_sweep", "flight_delay", "flight_delay_net", "flight_delay_watch",
        "flight_warning", "tabular",
    ]  # fmt: skip
