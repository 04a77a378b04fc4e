"""The few calls of Airflow's REST API that commands make."""

from __future__ import annotations

import difflib
import functools
import graphlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from tradewind.errors import RuntimeUnavailable, SpecError, told
from tradewind.settings import on_this_machine

_ATTEMPTS = 3
ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}


@dataclass(frozen=True, kw_only=True)
class TaskState:
    """A task instance as the API tells it. ``seconds`` is None before it has started."""

    task_id: str
    state: str
    seconds: float | None
    try_number: int


@dataclass(frozen=True, kw_only=True)
class TaskFound:
    """A task instance that Airflow knows. ``state`` is None where it is not scheduled yet, or was cleared."""

    state: str | None
    run_state: str


class AirflowApi:
    """A client of one Airflow.

    Args:
        url: its address, ``http://host:port``.
        token: a bearer token, where there is one.
        login: else user and password; without either, whoever Airflow lets in as admin, which the demo's does.

    Raises:
        RuntimeUnavailable: it does not answer.
        SpecError: it does not take the login.
    """

    def __init__(self, url: str, *, token: str | None = None, login: tuple[str, str] | None = None) -> None:
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=not on_this_machine(url))
        if not token and login:
            token = self._call("POST", "/auth/token", {"username": login[0], "password": login[1]})["access_token"]
        elif not token:
            token = self._call("GET", "/auth/token")["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def wait_for_dag(self, dag_id: str, *, since: datetime, timeout_s: float) -> None:
        """Until the Dag's file has been read.

        Args:
            since: what Airflow knows from before, of an earlier start on the same folder, says nothing of the file as it is now.

        Raises:
            SpecError: its file has an import error; with the trace.
            RuntimeUnavailable: it does not appear in time.
        """
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            found = self._call("GET", f"/api/v2/dags/{dag_id}", missing=True)
            if (read := found.get("last_parsed_time")) and _time(read) >= since:
                return
            for error in self._call("GET", "/api/v2/importErrors")["import_errors"]:
                if f"{dag_id}/" in error["filename"] and _time(error["timestamp"]) >= since:
                    raise SpecError(f"{error['filename']} cannot be loaded:\n{error['stack_trace']}")
            time.sleep(0.2)
        raise RuntimeUnavailable(f"Airflow does not know the Dag {dag_id!r} after {timeout_s:.0f} s")

    def switch_on(self, dag_id: str) -> bool:
        """Let Airflow run the Dag; whether it was paused. A paused Dag's runs stay queued for ever."""
        paused = bool(self._call("GET", f"/api/v2/dags/{dag_id}")["is_paused"])
        if paused:
            self._call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})
        return paused

    def check_conf(self, dag_id: str, conf: dict[str, Any]) -> None:
        """Raises SpecError where the Dag has no param of some name: Airflow would take no notice of it."""
        params = self._call("GET", f"/api/v2/dags/{dag_id}/details")["params"]
        for name in conf:
            if name not in params:
                near = difflib.get_close_matches(name, params, 1)
                may_be = f"may it be {near[0]!r}?" if near else f"it has: {', '.join(params)}"
                raise SpecError(f"The Dag {dag_id} has no param {name!r}; {may_be}")

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run now; returns its id.

        Raises:
            SpecError: a parameter is refused, in Airflow's words.
        """
        run_id = f"manual__{datetime.now(UTC).isoformat()}"  # ours: asked again, it is the same run
        path, asked = f"/api/v2/dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        response = self._response("POST", path, asked, again=True)
        if response.status_code != httpx.codes.CONFLICT:  # made by an attempt that seemed to fail
            self._read("POST", path, response)
        return run_id

    def abandon(self, dag_id: str, *, before: datetime) -> list[str]:
        """Fail the unfinished runs from before an instant: an environment that was ended midway left them, and Airflow would
        take minutes to notice. Returns their ids."""
        found = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns?state=running&state=queued")["dag_runs"]
        left = [str(run["dag_run_id"]) for run in found if run["queued_at"] and _time(run["queued_at"]) < before]
        for run_id in left:
            self._call("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", {"state": "failed"})
        return left

    def run_state(self, dag_id: str, run_id: str) -> str:
        return str(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def run_seconds(self, dag_id: str, run_id: str) -> float:
        """From the trigger to the run's end."""
        run = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
        return (_time(run["end_date"]) - _time(run["queued_at"])).total_seconds()

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """The run's task instances, in the order of the chain."""
        found = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        order = self._order(dag_id)
        return [
            TaskState(task_id=t["task_id"], state=t["state"] or "waiting", seconds=_seconds(t), try_number=t["try_number"])
            for t in sorted(found, key=lambda t: order.index(t["task_id"]))
        ]

    @functools.cache  # noqa: B019 (the client lives as long as the command)
    def _order(self, dag_id: str) -> list[str]:
        """Task ids, each after those that it waits for."""
        tasks = self._call("GET", f"/api/v2/dags/{dag_id}/tasks")["tasks"]
        sorter = graphlib.TopologicalSorter({task["task_id"]: () for task in tasks})
        for task in tasks:
            for downstream in task["downstream_task_ids"]:
                sorter.add(downstream, task["task_id"])
        return list(sorter.static_order())

    def find_task(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> TaskFound | None:
        """A task instance as it is now; None where Airflow says that there is none of these names, in so many words.

        Args:
            map_index: -1 where the task is not mapped.

        Raises:
            SpecError: it may not be read, or the answer is not Airflow's.
        """
        run = f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"
        path = f"{run}/taskInstances/{quote(task_id, safe='')}{f'/{map_index}' if map_index >= 0 else ''}"
        response = self._response("GET", path, None)
        if response.status_code == httpx.codes.NOT_FOUND and _is_absence(response, run_id):
            return None
        found = self._read("GET", path, response)
        return TaskFound(state=found["state"], run_state=str(self._call("GET", run)["state"]))

    def result(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """What a task returned; empty where it returned nothing."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        found = self._call("GET", path, missing=True)
        return dict(found["value"]) if found else {}

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[str]:
        """The lines of a task's log, and the message of the error that ended it."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        found = self._call("GET", path, missing=True)
        lines: list[str] = []
        for line in found.get("content", []):
            lines.append(str(line["event"]))
            lines += [f"{error['exc_type']}: {error['exc_value']}" for error in line.get("error_detail", [])]
        return [line for line in lines if not line.startswith(("::group::", "::endgroup::"))]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None, *, missing: bool = False) -> dict[str, Any]:
        response = self._response(method, path, body)
        if missing and response.status_code == httpx.codes.NOT_FOUND:
            return {}
        return self._read(method, path, response)

    def _read(self, method: str, path: str, response: httpx.Response) -> dict[str, Any]:
        if response.is_success:
            try:
                return dict(response.json())
            except ValueError as error:  # Airflow's pages answer wherever its API has no address
                raise SpecError(f"Airflow, {method} {path}: expected JSON, got {response.text[:100]!r}") from error
        kind = RuntimeUnavailable if response.status_code >= 500 else SpecError
        raise kind(f"Airflow, {method} {path}: {response.status_code} {response.text[:500]}")

    def _response(self, method: str, path: str, body: dict[str, Any] | None, *, again: bool = False) -> httpx.Response:
        """One request; one that reads, that says how a thing is to be, or that may be made ``again``, is repeated where a busy
        Airflow fails it."""
        for attempt in range(1, _ATTEMPTS + 1):
            last = (method == "POST" and not again) or attempt == _ATTEMPTS
            try:
                response = self._client.request(method, path, json=body)
            except httpx.HTTPError as error:
                if last:
                    raise RuntimeUnavailable(f"Airflow does not answer: {told(error)}") from error
            else:
                if last or response.status_code < 500:
                    return response
            time.sleep(attempt)
        raise AssertionError("unreachable")


def _is_absence(response: httpx.Response, run_id: str) -> bool:
    """Whether Airflow itself says so: a proxy's 404, or that of an address that Airflow does not have, says nothing."""
    try:
        said = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(said, str) and f"`{run_id}`" in said and said.endswith("was not found")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _seconds(task: dict[str, Any]) -> float | None:
    if not task["start_date"]:
        return None
    end = _time(task["end_date"]) if task["end_date"] else datetime.now(_time(task["start_date"]).tzinfo)
    return (end - _time(task["start_date"])).total_seconds()
