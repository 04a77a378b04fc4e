"""``tradewind init`` on tables that packages bring, and the steps of what it makes, for real, with no file edited."""

from __future__ import annotations

import json
from typing import Any

import pytest
from learning import Learning, call

from tradewind.cli.embedded import flights_data
from tradewind.cli.init import init
from tradewind.runtimes.environments import Environments

# By name: the file, its column to predict, the task, the least that a model must reach on the holdout, and in which metric.
TABLES = {
    "iris": ("iris.csv", "target", "multiclass", "macro_f1", 0.85),
    "cancer": ("cancer.parquet", "target", "binary", "auc", 0.95),
    "diabetes": ("diabetes.csv", "target", "regression", "r2", 0.2),
    "planes": ("planes.csv", "engine", "multiclass", "accuracy", 0.95),
    "airports": ("airports.parquet", "tzone", "multiclass", "accuracy", 0.8),
    "weather": ("weather.csv.gz", "temp", "regression", "r2", 0.5),
    "late": ("flights.parquet", "late", "binary", "auc", 0.6),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> dict[str, dict[str, Any]]:
    """By pipeline: its ``table.json``, and the metrics of its steps."""
    folder = tmp_path_factory.mktemp("init")
    flights_data(folder / "nycflights13")
    call(environments.python("train"), "init_tables.py", str(folder), str(folder / "nycflights13"))
    learning = Learning(folder, environments)
    wanted = []
    for name, (file, target, *_) in TABLES.items():
        init(name, data=folder / file, target=target, dags=folder / "dags", home=environments.folder.parent)
        wanted.append([str(folder / "dags" / name), str(folder / file), str(folder / name)])
    (folder / "wanted.json").write_text(json.dumps(wanted))
    found = dict(zip(TABLES, call(environments.python("data"), "init_probe.py", str(folder / "wanted.json")), strict=True))
    for name in TABLES:
        table = found[name]["table"] = json.loads((folder / "dags" / name / "table.json").read_text())
        params = {"label": table["label"], "time_column": table["time"], "holdout": table["holdout"]}
        learning.train(name, folder / "dags" / name, name, {**params, "params": {"trees": 40}})
        learning.evaluate(f"{name} gate", name, name, rules=table["rules"], min_rows=table["min_rows"])
    for name, came in learning.run().items():
        pipeline, step = (name.removesuffix(" gate"), "evaluate" if name.endswith(" gate") else "train")
        found[pipeline][step] = came.get("metrics") or came
    return found


@pytest.mark.parametrize("name", TABLES)
def test_a_table_never_seen_gives_a_model(made: dict[str, Any], name: str) -> None:
    *_, task, metric, least = TABLES[name]
    found = made[name]
    assert found["table"]["task"] == task
    assert found["validate"]["verdict"] == "PASSED", found["validate"]["reasons"]
    assert found["validate"]["quarantined_share"] <= 0.02
    assert found["train"]["task"] == task, found["train"]
    assert found["evaluate"]["verdict"] == "PASSED", found["evaluate"]["reasons"]
    assert found["evaluate"]["challenger"][metric] >= least


def test_rows_are_split_by_time_where_there_is_one(made: dict[str, Any]) -> None:
    assert {name: found["table"]["time"] for name, found in made.items() if found["table"]["time"]} == {
        "weather": "time_hour",
        "late": "time_hour",
    }


def test_what_teaches_nothing_is_left_out(made: dict[str, Any]) -> None:
    assert made["iris"]["table"]["left_out"] == {"": "it has no name"}
    assert "tailnum" in made["planes"]["table"]["left_out"]
    assert "faa" in made["airports"]["table"]["left_out"]
    assert made["airports"]["table"]["texts"] == ["name"]


def test_rows_without_the_target_are_left_out(made: dict[str, Any]) -> None:
    assert made["late"]["validate"]["rows_checked"] == 200_000
    assert 190_000 < made["late"]["features"]["rows"] < 198_000
    assert made["airports"]["features"]["rows"] < made["airports"]["validate"]["rows_valid"]
