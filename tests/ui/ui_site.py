"""What the tests of the pages share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tradewind.cli.airflow_api import AirflowApi

NAME = "late_flights"
HOSTILE_COLUMN = "<script>alert('column')</script>"
HOSTILE_CELL = "<img src=x onerror=alert('cell')>"


@dataclass(frozen=True, kw_only=True)
class Site:
    """The running environment; ``api`` is the operator's."""

    url: str
    mlflow: str
    home: Path
    api: AirflowApi


def chain(run_id: str) -> str:
    return f"/dags/{NAME}/runs/{quote(run_id, safe='')}/plugin/tradewind-chain"


def result(run_id: str, task_id: str) -> str:
    return f"/dags/{NAME}/runs/{quote(run_id, safe='')}/tasks/{task_id}/plugin/tradewind-result"


def pipeline(name: str = NAME) -> str:
    return f"/plugin/tradewind?dag={name}"
