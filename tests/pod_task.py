"""One try of a task whose step is a pod, with the real operator, trigger and clients, on the API of `pod_server`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from pod_server import Pod, PodServer, running, terminated

from tradewind.contract import SPEC_VARIABLE, StepManifest, StepSpec
from tradewind.profiles import Profile
from tradewind.runtimes.kubernetes import KubernetesRuntime
from tradewind.settings import Settings
from tradewind.store import Store

SMALL = Profile(cpu=1, memory_mb=100)
both = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "in the triggerer"])


class Task:
    """One try of a task whose step is a pod."""

    def __init__(self, settings: Settings, server: PodServer, kubeconfig: str) -> None:
        self.settings = settings
        self.server = server
        self.said: list[str] = []
        self.store = Store(settings.store_uri)
        self.started = datetime.now(UTC)
        self._own = {"task_id": "train", "poll_interval": 0.05, "config_file": kubeconfig}

    def spec(self, **more: Any) -> StepSpec:
        ids: dict[str, Any] = {"dag_id": "flights", "run_id": "r", "task_id": "train", "map_index": -1, "try_number": 1}
        given = {
            "step": "train", "params": {}, "inputs": {}, "code": None, "entry_point": None, "image": "train",
            "outputs_uri": self.store.new_try(*ids.values()), "store_uri": self.store.root, "resources": SMALL.to_dict(), **more,
        }  # fmt: skip
        return StepSpec(**{**ids, **given})

    def runtime(self, profile: Profile = SMALL, **own: Any) -> KubernetesRuntime:
        return KubernetesRuntime(self.settings, profile=profile, context=self.context, own={**self._own, **own})

    @property
    def context(self) -> Any:
        ti = SimpleNamespace(
            dag_id="flights", run_id="r", task_id="train", map_index=-1, try_number=1, start_date=self.started,
            xcom_push=lambda key, value: None,
        )  # fmt: skip
        return {"ti": ti, "run_id": "r", "dag": SimpleNamespace()}

    def run(self, profile: Profile = SMALL, **own: Any) -> StepSpec:
        """As Airflow does: where the task is deferred its trigger runs, and then a new process goes on."""
        spec = self.spec(resources=profile.to_dict())
        runtime, go_on = self.runtime(profile, **own), self.started_with(spec)
        while True:
            try:
                return go_on(runtime)
            except TaskDeferred as deferred:
                event = asyncio.run(_event(deferred.trigger))
                runtime, go_on = self.runtime(profile, **own), self.resumed_by(deferred, event)

    def started_with(self, spec: StepSpec) -> Callable[[KubernetesRuntime], StepSpec]:
        uri = self.store.put_spec(spec)
        return lambda runtime: runtime.run(spec, spec_uri=uri, say=self.said.append)

    def resumed_by(self, deferred: TaskDeferred, event: Any) -> Callable[[KubernetesRuntime], StepSpec]:
        return lambda runtime: runtime.resume(event, say=self.said.append, **(deferred.kwargs or {}))

    def done(self, pod: Pod) -> dict[str, Any]:
        """The status of a pod whose step leaves its manifest."""
        (uri,) = (found["value"] for found in pod["spec"]["containers"][0]["env"] if found["name"] == SPEC_VARIABLE)
        now = datetime.now(UTC).isoformat()
        manifest = StepManifest(status="success", fingerprint=None, outputs={}, metrics={}, started_at=now, ended_at=now)
        self.store.put_manifest(uri.rsplit("/", 1)[0], manifest)
        return terminated(0)


async def _event(trigger: Any) -> Any:
    return (await anext(trigger.run().__aiter__())).payload


def ends_once_seen(task: Task, server: PodServer) -> None:
    """Pods run when they are made, and end well after some looks."""
    server.comes_to = lambda _: running()
    server.then = task.done


def text(logged: Any) -> str:
    return str(logged["event"]) % logged["positional_args"] if logged.get("positional_args") else str(logged["event"])
