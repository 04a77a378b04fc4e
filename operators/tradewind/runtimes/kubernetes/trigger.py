"""Waits for a step's pod in the triggerer: says why it waits, passes its log on, each line once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from airflow.providers.cncf.kubernetes.triggers.pod import ContainerState, KubernetesPodTrigger
from airflow.triggers.base import TriggerEvent
from kubernetes_asyncio import client

from tradewind.runtimes.kubernetes.diagnosis import cannot_start, ended
from tradewind.runtimes.kubernetes.lines import POSITION_ANNOTATION, Position, after
from tradewind.runtimes.kubernetes.refusals import MARK_POD, READ_LOG, Refusals
from tradewind.runtimes.kubernetes.waiting import HAVE_A_NODE, Patience, Waiting

_FRESH_S = 30.0


class Others:
    """The pods of a namespace that have a node, for all the triggers of an event loop: of a thousand that wait, each would list
    as many every minute, at seconds of a core and megabytes each."""

    _known: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Others]]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._pods: list[Any] = []
        self._until = 0.0

    @classmethod
    def of(cls, *place: Any) -> Others:
        """Those of a namespace of a cluster, by all that says which these are."""
        return cls._known.setdefault(asyncio.get_running_loop(), {}).setdefault(repr(place), cls())

    async def pods(self, ask: Callable[[], Awaitable[list[Any]]]) -> list[Any]:
        """As they were at most half a minute ago."""
        async with self._lock:
            if time.monotonic() >= self._until:
                self._pods, self._until = await ask(), time.monotonic() + _FRESH_S
            return self._pods


class StepPodTrigger(KubernetesPodTrigger):
    """KubernetesPodTrigger that tells its events only that the pod ended: how, the task finds out by looking."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusals = Refusals(self)

    @classmethod
    def like(cls, trigger: KubernetesPodTrigger) -> StepPodTrigger:
        return cls(**trigger.serialize()[1])

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", super().serialize()[1]

    async def _wait_for_pod_start(self) -> ContainerState:
        others: list[Any] = []
        waiting = Waiting(
            container=self.base_container_name,
            schedule_timeout_s=self.schedule_timeout,
            startup_timeout_s=self.startup_timeout,
            say=self._say,
            others=lambda pod: others,
            since=self.trigger_start_time.timestamp(),
        )
        while True:
            pod = await self._get_pod()
            if not pod.spec.node_name and waiting.will_ask(pod):
                where = self.kubernetes_conn_id, self.in_cluster, self.cluster_context, self.config_dict, self.connection_extras
                others = await Others.of(self.pod_namespace, *where).pods(self._others)
            if waiting.over(pod):
                return self.define_pod_container_state(pod)
            await asyncio.sleep(waiting.pause(self.startup_check_interval))

    async def _wait_for_container_completion(self) -> TriggerEvent:
        deadline = self.trigger_kwargs.get("_execution_deadline")
        position: Position | None = None
        while True:
            pod = await self._get_pod()
            if position is None:
                position = Position.parse((pod.metadata.annotations or {}).get(POSITION_ANNOTATION))
            over = ended(pod, self.base_container_name) or cannot_start(pod, self.base_container_name)
            position = await self._pass_on(position)
            if over:
                return self._event("ended")
            if deadline is not None and time.time() >= deadline:
                return self._event("timeout")
            await asyncio.sleep(self.poll_interval)

    async def _pass_on(self, position: Position) -> Position:
        """Say the new lines, and leave on the pod how far that is: another triggerer may go on from there.

        A triggerer that is killed between the two says one poll's lines again: none is lost.
        """
        if not self.get_logs:
            return position
        try:
            raw = await self._read_log(position)
        except Exception as error:  # of the network, in any library's words: the pod's status decides, not its log
            self._refusals.heard(error, READ_LOG, self.pod_namespace)
            return position
        lines, reached = after(position, raw)
        for line in lines:
            self._say(line)
        if reached != position:
            try:
                await self._mark(reached)
            except asyncio.CancelledError:  # the triggerer ends: whoever goes on must know
                await self._mark(reached)
                raise
        return reached

    async def _read_log(self, position: Position) -> list[str]:
        """Not by the hook's `read_logs`, which takes a refusal's text for the log."""
        async with self.hook.get_conn() as connection:
            api: Any = client.CoreV1Api(connection)  # its declared types are those of a preloaded answer
            answer = await api.read_namespaced_pod_log(
                self.pod_name, self.pod_namespace, container=self.base_container_name, timestamps=True,
                since_seconds=position.since_seconds(), _preload_content=False,
            )  # fmt: skip
            body = await answer.read()
            if answer.status != 200:
                raise client.ApiException(status=answer.status, reason=answer.reason)
        return await asyncio.to_thread(lambda: body.decode(errors="replace").splitlines())

    async def _mark(self, position: Position) -> None:
        body = {"metadata": {"annotations": {POSITION_ANNOTATION: str(position)}}}
        try:
            async with self.hook.get_conn() as connection:
                await client.CoreV1Api(connection).patch_namespaced_pod(self.pod_name, self.pod_namespace, body)
        except Exception as error:
            self._refusals.heard(error, MARK_POD, self.pod_namespace)

    async def _others(self) -> list[Any]:
        try:
            async with self.hook.get_conn() as connection:
                api = client.CoreV1Api(connection)
                return list((await api.list_namespaced_pod(self.pod_namespace, field_selector=HAVE_A_NODE)).items)
        except Exception as error:  # who has what is good to know, no more
            self.log.debug("The other pods cannot be listed: %s", error)
            return []

    async def _get_pod(self) -> Any:  # type: ignore[override]
        """The pod; an API server that restarts is waited for."""
        patience = Patience(self._say)
        while True:
            try:
                return await self.hook.get_pod(name=self.pod_name, namespace=self.pod_namespace)
            except client.ApiException as error:
                if error.status < 500 and error.status != 429:
                    raise
                patience.spend(error)
            except Exception as error:  # of the network, in any library's words
                patience.spend(error)
            await asyncio.sleep(self.poll_interval)

    def _event(self, status: str) -> TriggerEvent:
        event = {
            "status": status, "namespace": self.pod_namespace, "name": self.pod_name, "refusals": sorted(self._refusals.said),
            **self.trigger_kwargs,
        }  # fmt: skip
        return TriggerEvent(event)  # type: ignore[no-untyped-call]

    def _say(self, line: str) -> None:
        self.log.info("%s", line)
