"""``tradewind reap``: delete pods whose task is over.

Airflow's operator deletes its pods itself. A worker or a cluster that dies at the wrong moment leaves one behind, which
holds its memory, or its GPU, for nobody.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

import typer
from rich.console import Console

from tradewind.cli.airflow_api import AirflowApi, TaskFound
from tradewind.cli.kube import CONNECTION, Kube, quiet_airflow
from tradewind.errors import RuntimeUnavailable, SpecError, TradewindError
from tradewind.settings import Settings

SELECTOR = "app.kubernetes.io/managed-by=tradewind,kubernetes_pod_operator=True"
ANNOTATION = "tradewind.io/"
TOKEN, USER, PASSWORD = "TRADEWIND_AIRFLOW_TOKEN", "TRADEWIND_AIRFLOW_USERNAME", "TRADEWIND_AIRFLOW_PASSWORD"
# A task in one of these has, or will have, a try that owns its pod: one that waits for its next try may take it over.
_ALIVE = {"running", "deferred", "queued", "scheduled", "restarting", "up_for_retry", "up_for_reschedule", "awaiting_input"}
console = Console(soft_wrap=True, highlight=False)
Verdict = Literal["deleted", "would be deleted", "not deleted", "kept", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of a pod, and why. ``unknown``: Airflow does not say, so it is left alone."""

    pod: str
    verdict: Verdict
    why: str


@dataclass(frozen=True, kw_only=True)
class StepPod:
    """A pod of a task instance; ``age_s`` in seconds."""

    name: str
    uid: str
    age_s: float
    dag_id: str
    run_id: str
    task_id: str
    map_index: int

    @classmethod
    def of(cls, pod: Mapping[str, Any]) -> StepPod | None:
        """None where its annotations do not name a task instance: its labels may be shortened and are no names."""
        metadata = pod["metadata"]
        annotations = metadata.get("annotations") or {}
        ids = {name: annotations.get(f"{ANNOTATION}{name}") for name in ("dag-id", "run-id", "task-id")}
        index = annotations.get(f"{ANNOTATION}map-index") or "-1"
        if not all(ids.values()) or not index.lstrip("-").isdigit():
            return None
        made = datetime.fromisoformat(metadata["creationTimestamp"])
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            age_s=(datetime.now(UTC) - made).total_seconds(),
            dag_id=str(ids["dag-id"]),
            run_id=str(ids["run-id"]),
            task_id=str(ids["task-id"]),
            map_index=int(index),
        )


def reap(
    grace: Annotated[float, typer.Option(min=0, help="Seconds: a younger pod is left alone.")] = 60,
    airflow: Annotated[
        str | None, typer.Option(envvar="TRADEWIND_AIRFLOW_URL", help="Airflow's API; by default its base_url.")
    ] = None,
    selector: Annotated[
        str, typer.Option(help="Further labels that a pod must have, where two Airflows share the steps' namespace.")
    ] = "",
    conn_id: Annotated[
        str, typer.Option("--kubernetes-conn-id", help="Airflow's connection to the cluster that steps run in.")
    ] = CONNECTION,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="For machines: a list of pod, verdict and why.")] = False,
) -> None:
    """Delete pods of the steps' namespace whose task is over, or whose run is gone.

    Airflow says which, by its REST API, as TRADEWIND_AIRFLOW_TOKEN or as TRADEWIND_AIRFLOW_USERNAME with
    TRADEWIND_AIRFLOW_PASSWORD, who may read all Dags. Where it cannot be asked nothing is deleted, and the exit code is 1.
    The namespace's pods must be of this one Airflow: what it does not know counts as gone. Spark's executors go with their
    driver.
    """
    quiet_airflow()
    settings = Settings.load()
    url = (airflow or settings.airflow_url).rstrip("/")
    if not url:
        raise SpecError("Which Airflow? Expected --airflow, TRADEWIND_AIRFLOW_URL or [api] base_url, got none of them")
    kube = Kube(conn_id)
    pods = f"/api/v1/namespaces/{quote(settings.namespace, safe='')}/pods"
    wanted = ",".join(filter(None, (SELECTOR, selector)))
    found = [pod for pod in kube.items(pods, labelSelector=wanted) if not pod["metadata"].get("deletionTimestamp")]
    said: list[Judged] = []
    for pod, line in _judged(found, url, grace):
        said.append(_done(kube, pods, pod, line, dry_run=dry_run))
        if not json_:
            console.print(f"{said[-1].verdict:16} {said[-1].pod}: {said[-1].why}", markup=False)
    if json_:
        typer.echo(json.dumps([dataclasses.asdict(line) for line in said], indent=2))
    elif not found:
        console.print(f"No pod in {settings.namespace} is a step's")
    if any(line.verdict in ("unknown", "not deleted") for line in said):
        raise typer.Exit(1)


def _judged(found: Sequence[Mapping[str, Any]], url: str, grace_s: float) -> list[tuple[StepPod | None, Judged]]:
    """A verdict on each pod, with the pod where it is to go. All are there before the first one goes: an Airflow that stops
    answering midway costs none."""
    if not found:
        return []
    try:
        api = AirflowApi(url, token=os.environ.get(TOKEN), login=_login())
        return [_judge(api, data, grace_s) for data in found]
    except (RuntimeUnavailable, SpecError) as error:
        raise type(error)(f"{error}. Nothing was deleted") from error


def _judge(api: AirflowApi, data: Mapping[str, Any], grace_s: float) -> tuple[StepPod | None, Judged]:
    name, pod = data["metadata"]["name"], StepPod.of(data)
    if pod is None:
        why = f"has no annotations {ANNOTATION}dag-id, run-id and task-id: not of this package's making"
        return None, Judged(pod=name, verdict="kept", why=why)
    if pod.age_s < grace_s:
        return None, Judged(pod=name, verdict="kept", why=f"is {pod.age_s:.0f} s old, less than {grace_s:.0f}")
    return _asked(api, pod)


def _asked(api: AirflowApi, pod: StepPod) -> tuple[StepPod | None, Judged]:
    what = f"{pod.dag_id} {pod.run_id} {pod.task_id}{f' [{pod.map_index}]' if pod.map_index >= 0 else ''}"
    try:
        task = api.find_task(pod.dag_id, pod.run_id, pod.task_id, pod.map_index)
    except SpecError as error:  # refused, or not understood: no word on this pod
        return None, Judged(pod=pod.name, verdict="unknown", why=f"{what}: {error}")
    if alive := _alive(task):
        return None, Judged(pod=pod.name, verdict="kept", why=f"{what} {alive}")
    state = f"is {task.state or 'never to run'}" if task else "is gone"
    return pod, Judged(pod=pod.name, verdict="deleted", why=f"{what} {state}")


def _alive(task: TaskFound | None) -> str:
    """Why a task may still want its pod; empty where it does not."""
    if task is None:
        return ""
    if task.state in _ALIVE:
        return f"is {task.state}"
    if task.state is None and task.run_state in ("queued", "running"):
        return "was cleared, and is to run again"
    return ""


def _done(kube: Kube, pods: str, pod: StepPod | None, line: Judged, *, dry_run: bool) -> Judged:
    if pod is None:
        return line
    if dry_run:
        return dataclasses.replace(line, verdict="would be deleted")
    # By its uid: another of the same name may have taken its place since.
    try:
        kube.ask("DELETE", f"{pods}/{pod.name}", {"preconditions": {"uid": pod.uid}}, missing=True)
    except TradewindError as error:
        return dataclasses.replace(line, verdict="not deleted", why=f"{line.why}, but {error}")
    return line


def _login() -> tuple[str, str] | None:
    user = os.environ.get(USER)
    return (user, os.environ.get(PASSWORD, "")) if user else None
