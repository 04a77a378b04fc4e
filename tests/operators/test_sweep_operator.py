"""What a sweep's operator says before anything runs: mistakes, and what it is reused by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tradewind.errors import SpecError
from tradewind.operators import SweepOperator

PROBE = Path(__file__).with_name("probe.py")
SPACE = {"max_depth": [3, 6], "rate": {"low": 0.01, "high": 0.3, "log": True}}


def sweep(**arguments: Any) -> SweepOperator:
    given = {
        "task_id": "s",
        "train": "train:train",
        "dataset": "a",
        "label_column": "y",
        "space": SPACE,
        "metric": "auc",
        "trials": 4,
    }
    return SweepOperator(**{**given, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": {}}, "space: expected hyperparameters"),
        ({"space": {"rate": {"low": 1, "high": 0}}}, "space: expected low below high for 'rate'"),
        ({"space": {"depth": [1, {2}]}}, "space: 'depth': Expected plain JSON"),
        ({"sampler": "guess"}, "sampler: expected one of grid, random, tpe, got 'guess'"),
        ({"metric": "auk"}, "metric: there is no metric 'auk'"),
        ({"metric": "rmse", "task": "binary"}, "metric: there is no metric 'rmse'; a binary model has"),
        ({"rules": ["auc >= champion"]}, "a sweep knows no champion"),
        ({"rules": "max auc"}, "rules: expected a list of texts, got 'max auc'"),
        ({"trials": 2.5}, "trials: expected a whole number, got 2.5"),
        ({"trials": None}, "trials: expected how many the sampler 'tpe' shall try, got None"),
        ({"max_failed": 2}, "max_failed: expected a number from 0 to 1, got 2"),
        ({"predictor": "predictor:Warnings"}, "predictor: a sweep takes none"),
        ({"predictor": "predictor"}, "predictor: expected 'module:Class', got 'predictor'"),
        ({"pruner": "axe"}, "pruner: expected one of median, halving, or None, got 'axe'"),
    ],
)
def test_a_mistake_is_named_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as raised:
        sweep(**arguments)
    assert message in str(raised.value)


def test_what_is_templated_is_read_at_the_run() -> None:
    operator = sweep(trials="{{ params.trials }}", metric="{{ params.metric }}", space={"max_depth": "{{ params.depths }}"})
    operator.trials, operator.metric, operator.space = "12", "rmse", {"max_depth": [1, 2]}
    operator.dag = None
    assert operator._search().trials == 12
    operator.metric = "rmze"
    with pytest.raises(SpecError, match="there is no metric 'rmze'"):
        operator._checked_rules()


def test_what_determines_the_outcome_counts_and_how_fast_it_is_had_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (folder / "dag.py").touch()
    (folder / "train.py").write_text("def train(dataset, params): ...\n")
    (tmp_path / "data.csv").write_text("a,y\n1,2\n")
    given = {
        "train": "train:train", "dataset": str(tmp_path / "data.csv"), "label_column": "y", "space": SPACE, "metric": "auc",
        "trials": 4,
    }  # fmt: skip
    reordered = dict(reversed(SPACE.items()))
    asked = [{}, {"parallel": 7}, {"space": reordered}, {"trials": "4"}, {"trials": 5}, {"seed": 1}, {"rules": ["min logloss"]}]
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__TRADEWIND__HOME": str(tmp_path / "home")}
    command = [sys.executable, PROBE, "specs", folder, json.dumps([["SweepOperator", {**given, **one}] for one in asked])]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    plain, parallel, order, text, *others = [line for line in done.stdout.splitlines() if len(line) == 64]
    assert plain == parallel == order == text
    assert len({plain, *others}) == 4
