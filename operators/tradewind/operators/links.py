"""Buttons on a task in Airflow's UI: its report, its MLflow run, its model version.

Airflow asks `get_link` when a task has ended, in the task's own process, and keeps the answer as an XCom. A report's link
should be there while the task runs: the operator pushes it before, under the link's ``xcom_key``.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.types import TaskInstanceKey

from tradewind.settings import Settings

PLUGIN_PREFIX = "/tradewind"


class TaskInstanceName(Protocol):
    """What names a task instance: a TaskInstanceKey, or the ``ti`` of a task's context."""

    @property
    def dag_id(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def task_id(self) -> str: ...
    @property
    def map_index(self) -> int | None: ...


def report_url(ti_key: TaskInstanceName, name: str = "report") -> str:
    """Where Airflow serves a task instance's report, behind Airflow's own login.

    Args:
        name: the output of kind ``report`` to show.

    Returns:
        An absolute URL where ``[api] base_url`` is set, else one without a host.
    """
    parts = ("dags", ti_key.dag_id, "runs", ti_key.run_id, "tasks", ti_key.task_id, str(_map_index(ti_key)), "report")
    path = "/".join(quote(part, safe="") for part in parts)
    query = "" if name == "report" else f"?name={quote(name, safe='')}"
    return f"{Settings.load().airflow_url}{PLUGIN_PREFIX}/{path}{query}"


def task_url(ti_key: TaskInstanceName, page: str = "") -> str:
    """A task instance's own page in Airflow.

    Args:
        page: a page of it, such as ``required_actions``.
    """
    index = _map_index(ti_key)
    parts = [
        "dags",
        ti_key.dag_id,
        "runs",
        ti_key.run_id,
        "tasks",
        ti_key.task_id,
        *(["mapped", str(index)] if index >= 0 else []),
    ]
    path = "/".join(quote(part, safe="") for part in [*parts, *([page] if page else [])])
    return f"{Settings.load().airflow_url}/{path}"


def run_url(tracking_uri: str, experiment_id: str, run_id: str) -> str:
    """The page of a run in MLflow's UI."""
    return f"{tracking_uri.rstrip('/')}/#/experiments/{quote(experiment_id, safe='')}/runs/{quote(run_id, safe='')}"


def version_url(tracking_uri: str, name: str, version: str | int) -> str:
    """The page of a registered model's version in MLflow's UI."""
    return f"{tracking_uri.rstrip('/')}/#/models/{quote(name, safe='')}/versions/{version}"


class ReportLink(BaseOperatorLink):
    """The report that the task's step wrote."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        return report_url(ti_key)


class _FoundLink(BaseOperatorLink):
    """An address that only the task's work finds out: it leaves it in the operator's ``link_url``, and Airflow, which asks in
    the same process, keeps it. Asking XCom for it instead would cost each task two requests."""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        return getattr(operator, "link_url", "")


class RunLink(_FoundLink):
    """The MLflow run in which a model was trained."""

    name = "MLflow run"


class VersionLink(_FoundLink):
    """The registered model's version in MLflow."""

    name = "Model version"


def _map_index(ti_key: TaskInstanceName) -> int:
    return -1 if ti_key.map_index is None else ti_key.map_index
