"""The running embedded environment, as a user's browser and scripts see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from live import CHAIN, until

from tradewind.cli.airflow_api import ENDED, AirflowApi
from tradewind.cli.embedded import Addresses
from tradewind.registry import Registry
from tradewind.store import Store


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run that has ended."""

    state: str
    tasks: dict[str, str]
    tries: dict[str, int]
    results: dict[str, dict[str, Any]]

    def metrics(self, task: str) -> dict[str, Any]:
        return dict(self.results[task]["metrics"])


class Platform:
    """Airflow, MLflow and serving.

    Args:
        home: the environment's folder.
        dags: where the pipelines lie.
        at: the addresses.
    """

    def __init__(self, *, home: Path, dags: Path, at: Addresses) -> None:
        self.home = home
        self.at = at
        self.dags = dags
        self.api = AirflowApi(at.airflow)
        self.registry = Registry(at.mlflow)
        self.store = Store(str(home / "store"))
        token = httpx.get(f"{at.airflow}/auth/token", timeout=60).raise_for_status().json()["access_token"]
        self.http = httpx.Client(base_url=f"{at.airflow}/api/v2", timeout=60, headers={"Authorization": f"Bearer {token}"})

    def ended(self, dag_id: str, run_id: str, *, within_s: float = 240) -> Ended:
        """Wait for a run's end."""

        def look() -> bool:
            state = self.api.run_state(dag_id, run_id)
            return state in ("success", "failed") and all(t.state in ENDED for t in self.api.tasks(dag_id, run_id))

        until(look, within_s=within_s, what=f"{dag_id} {run_id}")
        tasks = self.api.tasks(dag_id, run_id)
        results = {t.task_id: self.api.result(dag_id, run_id, t.task_id) for t in tasks if t.state == "success"}
        ended = Ended(
            state=self.api.run_state(dag_id, run_id),
            tasks={t.task_id: t.state for t in tasks},
            tries={t.task_id: t.try_number for t in tasks},
            results=results,
        )
        for task in tasks:
            if task.state == "failed":
                print(f"{dag_id} {task.task_id}:", *self.api.log(dag_id, run_id, task.task_id, task.try_number)[-40:], sep="\n  ")
        return ended

    def run(self, dag_id: str, **conf: Any) -> Ended:
        return self.ended(dag_id, self.api.trigger(dag_id, conf))

    def mark(self, state: str, dag_id: str, run_id: str, task_id: str) -> None:
        """What the button in Airflow's pages does; again where a busy Airflow fails it."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"

        def marked() -> bool:
            answer = self.http.patch(path, json={"new_state": state})
            return not answer.is_server_error and bool(answer.raise_for_status())

        until(marked, within_s=30, what=f"{task_id} marked {state}")

    def said(self, dag_id: str, run_id: str, task_id: str, line: str, *, try_number: int = 1, within_s: float = 120) -> None:
        """Wait until a line stands in a task's log as Airflow shows it."""

        def look() -> bool:
            return any(line in text for text in self.api.log(dag_id, run_id, task_id, try_number))

        until(look, within_s=within_s, what=f"{line!r} in the log of {dag_id} {task_id} try {try_number}")

    def started(self, dag_id: str, run_id: str, task_id: str) -> bool:
        """Whether its step was carried out: what is taken from an earlier one starts nothing."""
        files = self.store.files(self.store.run_uri(dag_id, run_id, task_id))
        return any(file.uri.endswith("/spec.json") for file in files)

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The Dag's runs, the earliest started first."""
        found = self.http.get(f"/dags/{dag_id}/dagRuns").raise_for_status().json()["dag_runs"]
        return sorted(found, key=lambda run: run["start_date"] or "9")

    def runs_in_experiment(self, name: str) -> list[str]:
        """The ids of an MLflow experiment's runs; empty where there is no such experiment."""
        url = f"{self.registry.tracking_uri}/api/2.0/mlflow"
        found = httpx.get(f"{url}/experiments/get-by-name", params={"experiment_name": name}, timeout=60)
        if found.status_code == httpx.codes.NOT_FOUND:
            return []
        asked = {"experiment_ids": [found.raise_for_status().json()["experiment"]["experiment_id"]]}
        runs = httpx.post(f"{url}/runs/search", json=asked, timeout=60).raise_for_status().json()
        return [run["info"]["run_id"] for run in runs.get("runs", [])]

    def champion(self, name: str) -> str | None:
        found = self.registry.by_alias(name, "champion")
        return found.version if found else None

    def versions(self, name: str) -> list[str]:
        url = f"{self.registry.tracking_uri}/api/2.0/mlflow/model-versions/search"
        found = httpx.get(url, params={"filter": f"name='{name}'"}, timeout=60).raise_for_status().json()
        return sorted(version["version"] for version in found.get("model_versions", []))


GREEN = dict.fromkeys(CHAIN, "success")
