"""KubernetesPodOperator as a step needs it: it takes over what an earlier try began, reads each line once, and tells how the
pod ended instead of only that it failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from kubernetes.client.exceptions import ApiException
from kubernetes.client.models import V1ObjectMeta, V1Pod
from urllib3.exceptions import HTTPError

from tradewind.contract import SPEC_VARIABLE
from tradewind.runtimes.kubernetes.diagnosis import End, cannot_start, diagnose, ended
from tradewind.runtimes.kubernetes.lines import POSITION_ANNOTATION, Position, after
from tradewind.runtimes.kubernetes.request import WORK_ANNOTATION
from tradewind.runtimes.kubernetes.trigger import StepPodTrigger
from tradewind.runtimes.kubernetes.waiting import Patience, Waiting

if TYPE_CHECKING:
    from airflow.sdk import Context

_DONE = ("Succeeded", "Failed")


class PodFailed(AirflowException):
    """The pod ended otherwise than well."""


class StepPod(KubernetesPodOperator):
    """One pod for one step.

    Args:
        say: takes the step's output, line by line.
        has_result: whether the step whose spec's URI is given has left its manifest.

    Attributes:
        last: the pod as it was when it had ended; None where it is gone.
        spec_uri: of the step that the pod runs; an earlier try's where that one's pod was taken over.
    """

    def __init__(self, *, say: Callable[[str], None], has_result: Callable[[str], bool], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.say = say
        self.has_result = has_result
        self.last: V1Pod | None = None
        self._position: Position | None = None  # of the log, where this process has read some
        self.spec_uri: str | None = None

    # -- the start ------------------------------------------------------------------------------------------------

    def begin(self, context: Context) -> None:
        """`execute`, which warns whoever calls it from another operator."""
        self.name = self._set_name(self.name)
        if self.deferrable:
            self.execute_async(context)
        else:
            self.execute_sync(context)

    def log_matching_pod(self, pod: V1Pod, context: Context) -> None:
        """`get_or_create_pod` says what is worth saying."""

    def get_or_create_pod(self, pod_request_obj: V1Pod, context: Context) -> V1Pod:
        for pod in self._earlier(pod_request_obj.metadata.namespace, context):
            if self.spec_uri is None and self._does_the_same(pod, pod_request_obj):
                self.say(
                    f"Taking over pod {pod.metadata.name} of try {pod.metadata.labels.get('try_number')}: it does the same work"
                )
                self._persist_pod_identity_to_task_state_store(context, pod)
                self.spec_uri = _variable(pod, SPEC_VARIABLE)
                found = pod
                continue
            self.say(f"Deleting pod {pod.metadata.name} of an earlier try")
            self.pod_manager.delete_pod(pod)
        if self.spec_uri is not None:
            return found
        created = self.pod_manager.create_pod(pod=pod_request_obj)
        if self._killed:  # meanwhile: `on_kill` knew of no pod
            self.pod_manager.delete_pod(created)
            raise PodFailed("The task was ended while its pod was made")
        self._persist_pod_identity_to_task_state_store(context, created)
        self.spec_uri = _variable(created, SPEC_VARIABLE)
        self.say(f"Pod {created.metadata.name} in namespace {created.metadata.namespace}, image {self.image}")
        return created

    def _earlier(self, namespace: str, context: Context) -> list[V1Pod]:
        """Pods of this task instance that nobody has finished with, the newest first."""
        selector = self._build_find_pod_label_selector(context)
        found = self.client.list_namespaced_pod(namespace=namespace, label_selector=selector).items
        there = [pod for pod in found if pod.metadata.deletion_timestamp is None]
        return sorted(there, key=lambda pod: pod.metadata.creation_timestamp, reverse=True)

    def _does_the_same(self, pod: V1Pod, wanted: V1Pod) -> bool:
        if (pod.metadata.annotations or {}).get(WORK_ANNOTATION) != wanted.metadata.annotations[WORK_ANNOTATION]:
            return False
        uri = _variable(pod, SPEC_VARIABLE)
        return bool(uri) and (pod.status.phase not in _DONE or self.has_result(str(uri)))

    # -- waiting --------------------------------------------------------------------------------------------------

    def await_pod_start(self, pod: V1Pod) -> None:
        waiting = self._waiting()
        while (there := self._there(pod)) is not None and not waiting.over(there):
            time.sleep(self.startup_check_interval_seconds)

    def await_pod_completion(self, pod: V1Pod) -> None:  # type: ignore[override]
        while True:
            there = self._there(pod)
            if there is not None:
                self._read(there)
            if there is None or ended(there, self.base_container_name) or cannot_start(there, self.base_container_name):
                break
            time.sleep(self.poll_interval)
        if (found := diagnose(there, self.base_container_name)).end is not End.DONE:
            raise PodFailed(found.message)  # to the tidying up; how it ended is looked at again after that

    def convert_config_file_to_dict(self) -> None:
        """Leave the kubeconfig where it is: the triggerer has its own, and what a trigger is told lies in a database."""
        self._config_dict = None

    def invoke_defer_method(self, last_log_time: Any = None, context: Context | None = None) -> None:
        try:
            super().invoke_defer_method(last_log_time, context)
        except TaskDeferred as deferred:
            deferred.trigger = StepPodTrigger.like(deferred.trigger)
            raise

    def _waiting(self) -> Waiting:
        return Waiting(
            container=self.base_container_name,
            schedule_timeout_s=self.schedule_timeout_seconds,
            startup_timeout_s=self.startup_timeout_seconds,
            say=self.say,
            others=lambda pod: self.client.list_namespaced_pod(namespace=pod.metadata.namespace).items,
        )

    # -- the end --------------------------------------------------------------------------------------------------

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> None:
        """Read what is left of the log, tidy up."""
        self.pod = self._there(V1Pod(metadata=V1ObjectMeta(name=event["name"], namespace=event["namespace"])))
        if self.pod is None:
            return
        self.spec_uri = _variable(self.pod, SPEC_VARIABLE)
        self._read(self.pod)
        self.post_complete_action(pod=self.pod, remote_pod=self.pod, context=context, result=None)

    def cleanup(self, pod: V1Pod, remote_pod: V1Pod, xcom_result: Any = None, context: Context | None = None) -> None:
        self.last = self._there(pod) if pod is not None and not self._killed else None
        super().cleanup(pod=pod, remote_pod=self.last, xcom_result=xcom_result, context=context)

    def is_istio_enabled(self, pod: V1Pod) -> bool:
        """Steps run without a sidecar: with one, a pod would outlive its step."""
        return False

    def _there(self, pod: V1Pod) -> V1Pod | None:
        """The pod as it is now, None where it is gone; an API server that restarts is waited for."""
        patience = Patience(self.say)
        while True:
            try:
                return self.hook.get_pod(pod.metadata.name, pod.metadata.namespace)
            except ApiException as error:
                if error.status == 404:
                    return None
                if error.status < 500 and error.status != 429:
                    raise
                patience.spend(error)
            except HTTPError as error:
                patience.spend(error)
            time.sleep(self.poll_interval)

    def _read(self, pod: V1Pod) -> None:
        """Say the lines that nobody has said yet, and leave on the pod how far that is."""
        position = self._position or Position.parse((pod.metadata.annotations or {}).get(POSITION_ANNOTATION))
        try:
            raw = self.client.read_namespaced_pod_log(
                name=pod.metadata.name, namespace=pod.metadata.namespace, container=self.base_container_name,
                timestamps=True, since_seconds=position.since_seconds(), _preload_content=False,
            )  # fmt: skip
            lines, reached = after(position, raw.data.decode(errors="replace").splitlines())
        except (ApiException, HTTPError) as error:  # the pod's status decides, not its log
            self.log.debug("The log cannot be read at the moment: %s", error)
            return
        for line in lines:
            self.say(line)
        self._position = reached
        if reached != position:
            body = {"metadata": {"annotations": {POSITION_ANNOTATION: str(reached)}}}
            try:
                self.client.patch_namespaced_pod(pod.metadata.name, pod.metadata.namespace, body)
            except (ApiException, HTTPError) as error:
                self.log.debug("The log's position cannot be left on the pod: %s", error)


def _variable(pod: V1Pod, name: str) -> str | None:
    return next((variable.value for c in pod.spec.containers for variable in c.env or [] if variable.name == name), None)
