"""What the demo says at its end, of pipelines that are copies and name their tasks as they like."""

from __future__ import annotations

from typing import Any

import pytest

from tradewind.cli.demo import _rolled_out, _summary
from tradewind.cli.embedded import Addresses
from tradewind.errors import RolloutAborted

AT = Addresses(airflow="http://127.0.0.1:1", mlflow="http://127.0.0.1:2", serving="http://127.0.0.1:3")
RESULTS: dict[str, dict[str, Any]] = {
    "check": {"rows_checked": 1000, "rows_quarantined": 7},
    "learn": {"mlflow_run_id": "0", "rows_train": 700, "device": "cpu"},
    "judge": {
        "verdict": "PASSED", "rules": [{"rule": "auc >= 0.6"}], "challenger": {"auc": 0.75}, "champion": None,
        "champion_version": None,
    },
    "serve": {"endpoint_url": "http://127.0.0.1:3/v2/models/m", "name": "m", "version": "4", "changed": True},
}  # fmt: skip


def figures(*names: str) -> dict[str, Any]:
    return {
        **{name: RESULTS[name] for name in names},
        "tasks": {name: {"state": "success" if name in names else "skipped"} for name in RESULTS},
        "run": {"dag_id": "m", "run_id": "a+b", "seconds": 9.0}, "seconds": 20.0,
        "endpoint": "http://127.0.0.1:3/v2/models/m/infer", "curl": "curl -s",
        "prediction": {"outputs": [0.25, 0.75]}, "home": "/home/of/demo",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "said", "unsaid"),
    [
        (
            RESULTS,
            [
                "1,000 rows checked, 7 quarantined",
                "auc 0.7500",
                "m version 4, alias champion",
                "0.2500, 0.7500",
                "dags/m/runs/a%2Bb/",
            ],
            "columns",
        ),
        (["serve"], ["m version 4, alias champion"], "Challenger"),
    ],
)
def test_it_shows_what_there_is(names: Any, said: list[str], unsaid: str, capsys: pytest.CaptureFixture[str]) -> None:
    _summary(figures(*names), AT)
    output = capsys.readouterr().out
    assert [text for text in said if text not in output] == []
    assert unsaid not in output


def test_a_predictors_numbers_have_its_own_names(capsys: pytest.CaptureFixture[str]) -> None:
    asked = figures("judge", "serve")
    asked["judge"] = {**asked["judge"], "classes": [0, 1]}
    _summary({**asked, "prediction": {"outputs": [1.0, 0.41], "names": ["warn", "late"]}}, AT)
    assert "warn: 1.0000, late: 0.4100" in capsys.readouterr().out


def test_without_a_rollout_it_says_which_tasks_there_are() -> None:
    with pytest.raises(RolloutAborted, match=r"got check success, learn success, judge success, serve skipped.*of/demo/airflow"):
        _rolled_out(figures("check", "learn", "judge"))
