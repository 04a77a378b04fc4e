"""The runtime ``kubernetes``: one step, one pod, and another where the first was not to blame."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException, AirflowSkipException, TaskDeferred
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tradewind.contract import StepSpec
from tradewind.errors import RuntimeUnavailable, SpecError, StepFailed
from tradewind.profiles import Profile
from tradewind.runtimes.base import Say
from tradewind.runtimes.kubernetes.diagnosis import Diagnosis, End
from tradewind.runtimes.kubernetes.pod import StepPod
from tradewind.runtimes.kubernetes.request import image_reference, pod_arguments
from tradewind.runtimes.kubernetes.waiting import EVERY_S, minutes
from tradewind.settings import Settings, on_this_machine
from tradewind.store import MANIFEST, Store

if TYPE_CHECKING:
    from airflow.sdk import Context

_REPLACED, _REPLACED_SPOT = 3, 20  # pods lost in one try
_QUOTA_S = 30.0


class QuotaExceeded(Exception):
    """The namespace has no room for the pod at the moment."""


class KubernetesRuntime:
    """Pods for one task's step.

    Args:
        context: Airflow's, of the task.
        own: the author's arguments of KubernetesPodOperator, beside what Airflow knows of the task (``task_id``,
            ``execution_timeout``, ``deferrable``).

    Raises:
        SpecError: what pods need lies on this machine alone.
    """

    def __init__(self, settings: Settings, *, profile: Profile, context: Context, own: Mapping[str, Any]) -> None:
        for option, address in (("store_uri", settings.store_uri), ("tracking_uri", settings.tracking_uri)):
            if "://" not in address or address.startswith("file://") or on_this_machine(address):
                raise SpecError(
                    f"[tradewind] {option}: with runtime = kubernetes expected an address that pods reach, got {address!r}"
                )
        self._settings = settings
        self._profile = profile
        self._context = context
        self._own = own
        self._store = Store(settings.store_uri)
        self._pod: StepPod | None = None
        self._full_since: float | None = None
        self._said_at = 0.0  # what it waits for, of the quota
        self._killed = False

    def environment_id(self, image: str) -> str:
        return image_reference(self._settings, image, self._own)

    def run(self, spec: StepSpec, *, spec_uri: str, say: Say) -> StepSpec:
        remembered = self._remembered(spec)
        if remembered > int(spec.resources["memory_mb"]):
            say(f"{remembered} MiB of memory: this task ran out of {spec.resources['memory_mb']} before")
            spec = self._again(spec, memory_mb=remembered)
            spec_uri = self._store.put_spec(spec)
        return self._carried_out(spec, spec_uri, say, lost=0, begin=lambda pod: pod.begin(self._context))

    def resume(self, event: Any, *, spec_uri: str, state: Mapping[str, Any], say: Say) -> StepSpec:
        spec = self._store.get_spec(spec_uri)
        lost = int(state["lost"])
        if state.get("full_since"):
            self._full_since, self._said_at = float(state["full_since"]), float(state.get("said_at", 0.0))
            return self._carried_out(spec, spec_uri, say, lost=lost, begin=lambda pod: pod.begin(self._context))
        if event["status"] == "timeout":
            return self._timed_out(spec, spec_uri, event, say)
        reenter = lambda pod: pod.trigger_reentry(self._context, event)  # noqa: E731
        return self._carried_out(spec, spec_uri, say, lost=lost, begin=reenter)

    def kill(self) -> None:
        # From a signal's handler: what it interrupted goes on after it, and must not make another pod.
        self._killed = True
        if self._pod is not None:
            self._pod.on_kill()

    # -- one pod after another ------------------------------------------------------------------------------------

    def _carried_out(self, spec: StepSpec, spec_uri: str, say: Say, *, lost: int, begin: Callable[[StepPod], Any]) -> StepSpec:
        while not self._killed:
            pod = self._pod = self._new_pod(spec, spec_uri, say)
            if self._killed:
                break
            try:
                self._begun(pod, begin, spec_uri=spec_uri, lost=lost)
            except QuotaExceeded as full:
                self._wait_for_quota(full, spec_uri=spec_uri, lost=lost, say=say)
                continue
            self._full_since = None
            spec_uri = pod.spec_uri or spec_uri
            if self._has_result(spec_uri):
                return self._store.get_spec(spec_uri)
            if self._killed:
                break
            found = pod.diagnosis()
            memory_mb = int(spec.resources["memory_mb"])
            may_grow = memory_mb < self._profile.largest_memory_mb and "container_resources" not in self._own
            if found.end is End.OUT_OF_MEMORY and may_grow:
                more = min(2 * memory_mb, self._profile.largest_memory_mb)
                say(f"Out of memory: {memory_mb} MiB were not enough. Once more with {more} MiB, now and from now on")
                self._remember(spec, more)
                spec = self._again(spec, memory_mb=more)
            elif found.end is End.LOST and lost < (_REPLACED_SPOT if self._profile.spot else _REPLACED):
                lost += 1
                say(f"The pod is lost: {found.message}. Another one takes its place, number {lost} of this try")
                spec = self._again(spec)
            else:
                raise _failure(spec, found)
            spec_uri = self._store.put_spec(spec)
            begin = lambda pod: pod.begin(self._context)  # noqa: E731
        raise StepFailed(f"The task was ended, and its step {spec.step!r} with it")

    def _begun(self, pod: StepPod, begin: Callable[[StepPod], Any], *, spec_uri: str, lost: int) -> None:
        try:
            begin(pod)
        except TaskDeferred as deferred:
            deferred.method_name = "resume"
            deferred.kwargs = {"spec_uri": pod.spec_uri or spec_uri, "state": {"lost": lost}}
            raise
        except ApiException as error:
            if error.status == 404 and pod.pod is not None:
                return  # it went while it was tidied up: the manifest says what came of it
            raise _refused(error) from error
        except HTTPError as error:
            raise RuntimeUnavailable(f"Kubernetes does not answer: {error}") from error
        except AirflowSkipException:
            raise
        except AirflowException:
            if pod.pod is None:
                raise
            # The pod failed, says the operator. How is in what it left: a manifest, or its last status.

    def _wait_for_quota(self, full: QuotaExceeded, *, spec_uri: str, lost: int, say: Say) -> None:
        """Wait in the triggerer, or here, until it is worth asking again.

        Airflow's own timer begins anew each time that a deferred task goes on: how long the try has taken is counted here.
        """
        now = time.time()
        self._full_since = self._full_since or now
        waited, left = now - self._full_since, self._deadline() - now
        if left <= 0:
            limit = self._own["execution_timeout"]
            raise StepFailed(
                f"The task took longer than its execution_timeout of {limit}: it waited {minutes(waited)} for the namespace's "
                f"quota: {full}"
            ) from full
        if waited > self._settings.schedule_timeout_s:
            raise RuntimeUnavailable(f"The namespace's quota was used up for {minutes(waited)}: {full}") from full
        if now - self._said_at >= EVERY_S:
            self._said_at = now
            say(f"Waiting {minutes(waited)} for the namespace's quota: {full}")
        pause = min(_QUOTA_S, left)
        if not self._own.get("deferrable"):
            time.sleep(pause)
            return
        state = {"lost": lost, "full_since": self._full_since, "said_at": self._said_at}
        raise TaskDeferred(
            trigger=TimeDeltaTrigger(timedelta(seconds=pause)),
            method_name="resume",
            kwargs={"spec_uri": spec_uri, "state": state},
        )

    def _deadline(self) -> float:
        """When the task's execution_timeout is over, counted from the try's first start, in seconds since the epoch."""
        limit: timedelta | None = self._own.get("execution_timeout")
        return self._context["ti"].start_date.timestamp() + limit.total_seconds() if limit else math.inf

    def _timed_out(self, spec: StepSpec, spec_uri: str, event: dict[str, Any], say: Say) -> StepSpec:
        pod = self._pod = self._new_pod(spec, spec_uri, say)
        self._begun(pod, lambda pod: pod.trigger_reentry(self._context, event), spec_uri=spec_uri, lost=0)
        if self._has_result(pod.spec_uri or spec_uri):
            return self._store.get_spec(pod.spec_uri or spec_uri)
        limit = self._own.get("execution_timeout")
        raise StepFailed(f"The step {spec.step!r} took longer than the task's execution_timeout of {limit}: its pod was deleted")

    def _new_pod(self, spec: StepSpec, spec_uri: str, say: Say) -> StepPod:
        arguments = pod_arguments(self._settings, self._profile, spec, spec_uri, self._own)
        arguments["kubernetes_conn_id"] = _connection(arguments.get("kubernetes_conn_id"))
        return StepPod(say=say, has_result=self._has_result, store_uri=self._store.root, **arguments)

    def _has_result(self, spec_uri: str) -> bool:
        return self._store.exists(f"{spec_uri.rsplit('/', 1)[0]}/{MANIFEST}")

    def _again(self, spec: StepSpec, *, memory_mb: int | None = None) -> StepSpec:
        """The same step for another pod, in a folder of its own: the first may still be running where nobody sees it."""
        folder = self._store.new_try(spec.dag_id, spec.run_id, spec.task_id, spec.map_index, spec.try_number)
        resources = {**spec.resources, **({"memory_mb": memory_mb} if memory_mb else {})}
        return dataclasses.replace(spec, outputs_uri=folder, resources=resources)

    # -- memory ---------------------------------------------------------------------------------------------------

    def _memory_uri(self, spec: StepSpec) -> str:
        return self._store.memory_uri(spec.dag_id, spec.task_id)

    def _remembered(self, spec: StepSpec) -> int:
        try:
            found = int(json.loads(self._store.read(self._memory_uri(spec)))["memory_mb"])
        except FileNotFoundError:
            return 0
        return min(found, self._profile.largest_memory_mb)

    def _remember(self, spec: StepSpec, memory_mb: int) -> None:
        more = max(memory_mb, self._remembered(spec))  # another of the mapped ones may have needed still more
        self._store.write(self._memory_uri(spec), json.dumps({"memory_mb": more}).encode())


def _connection(name: str | None) -> str | None:
    """None where the default one is not there: the operator would warn of that in every task."""
    try:
        return BaseHook.get_connection(name).conn_id if name else None
    except AirflowNotFoundException:
        if name != KubernetesHook.default_conn_name:
            raise SpecError(f"kubernetes_conn_id: Airflow has no connection {name!r}") from None
        return None


def _failure(spec: StepSpec, found: Diagnosis) -> Exception:
    if found.end is End.CANNOT_START:
        return StepFailed(f"The pod of step {spec.step!r} cannot start: {found.message}", retryable=found.may_pass)
    if found.end is End.OUT_OF_MEMORY:
        return StepFailed(
            f"The step {spec.step!r} ran out of memory with {spec.resources['memory_mb']} MiB, the most that its profile "
            "allows (memory_cap_mb)",
            retryable=False,
        )
    if found.end is End.LOST:
        return RuntimeUnavailable(f"The pod of step {spec.step!r} was lost: {found.message}")
    return StepFailed(f"The step {spec.step!r} ended without a manifest: {found.message}")


def _refused(error: ApiException) -> Exception:
    """What the API server will not have, in its own words."""
    said = _message(error)
    # The second: of a quota that was made a moment ago, whose use nobody has counted yet.
    if error.status == 403 and ("exceeded quota" in said or "status unknown for quota" in said):
        return QuotaExceeded(said)
    if error.status in (401, 403):
        return StepFailed(
            f"Kubernetes forbids it: {said}. The chart's RBAC gives what is needed; `tradewind doctor` lists it", retryable=False
        )
    if error.status in (400, 404, 422):
        return StepFailed(f"Kubernetes refuses the pod: {said}", retryable=False)
    return RuntimeUnavailable(f"Kubernetes answers {error.status}: {said}")


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
