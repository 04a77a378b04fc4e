"""KubernetesPodOperator as a step needs it: it takes over what an earlier try began, reads each line once, and tells how the
pod ended instead of only that it failed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.callbacks import ExecutionMode
from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import generic_api_retry
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, AirflowSkipException, TaskDeferred
from kubernetes.client.exceptions import ApiException
from kubernetes.client.models import V1ObjectMeta, V1Pod
from urllib3.exceptions import HTTPError

from tradewind.contract import SPEC_VARIABLE
from tradewind.errors import RuntimeUnavailable
from tradewind.runtimes.kubernetes.diagnosis import TAKEN_AWAY, Diagnosis, End, cannot_start, diagnose, ended, running
from tradewind.runtimes.kubernetes.lines import POSITION_ANNOTATION, Position, after
from tradewind.runtimes.kubernetes.refusals import MARK_POD, READ_LOG, Refusals
from tradewind.runtimes.kubernetes.request import MANAGED_BY, WORK_ANNOTATION
from tradewind.runtimes.kubernetes.trigger import StepPodTrigger
from tradewind.runtimes.kubernetes.waiting import HAVE_A_NODE, Patience, Waiting

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
        store_uri: a pod whose spec lies elsewhere is another Airflow's.

    Attributes:
        last: the pod as it was when it had ended; None where it is gone.
        spec_uri: of the step that the pod runs; an earlier try's where that one's pod was taken over.
    """

    def __init__(self, *, say: Callable[[str], None], has_result: Callable[[str], bool], store_uri: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.store_uri = store_uri
        self.say = say
        self.has_result = has_result
        self.last: V1Pod | None = None
        self._position: Position | None = None  # of the log, where this process has read some
        self.spec_uri: str | None = None
        self._context: Context | None = None
        self._refusals = Refusals(self)

    # -- the start ------------------------------------------------------------------------------------------------

    def begin(self, context: Context) -> None:
        """`execute`, which warns whoever calls it from another operator."""
        self._context = context
        self.name = self._set_name(self.name)
        if self.deferrable:
            self.execute_async(context)
        else:
            self.execute_sync(context)

    def find_pod(self, namespace: str, context: Context, *, exclude_checked: bool = True) -> V1Pod | None:
        """The one that was made or taken over: by its labels there may be another, which is on its way out."""
        return self._there(self.pod) if self.pod else None

    def get_or_create_pod(self, pod_request_obj: V1Pod, context: Context) -> V1Pod:
        for pod in self._earlier(pod_request_obj.metadata.namespace, context):
            if self.spec_uri is None and self._does_the_same(pod, pod_request_obj):
                self.say(
                    f"Taking over pod {pod.metadata.name} of try {pod.metadata.labels.get('try_number')}: it does the same work"
                )
                self.spec_uri = _variable(pod, SPEC_VARIABLE)
                found = pod
                continue
            self.say(f"Deleting pod {pod.metadata.name} of an earlier try")
            self.pod_manager.delete_pod(pod)
        if self.spec_uri is None:
            found = self._created(pod_request_obj)
            self.spec_uri = _variable(found, SPEC_VARIABLE)
        self.pod = found  # at once: `on_kill` deletes the pod that it knows of
        if self._killed:  # meanwhile
            self.pod_manager.delete_pod(found)
            raise PodFailed("The task was ended while its pod was made")
        self._persist_pod_identity_to_task_state_store(context, found)
        return found

    def _created(self, wanted: V1Pod) -> V1Pod:
        # Not by `create_pod`, which logs the whole of a pod that is refused, with what an author put in it.
        create = generic_api_retry(self.client.create_namespaced_pod)  # type: ignore[no-untyped-call]
        try:
            created = create(namespace=wanted.metadata.namespace, body=wanted)
        except ApiException as error:
            created = self._there(wanted) if error.status == 409 else None  # made by a request whose answer was lost
            if created is None:
                raise
        self.say(f"Pod {created.metadata.name} in namespace {created.metadata.namespace}, image {self.image}")
        return created

    def _earlier(self, namespace: str, context: Context) -> list[V1Pod]:
        """Pods of this task instance, the newest first. Labels that a profile or an author gives may be others by now."""
        labels = {**self._get_ti_pod_labels(context, include_try_number=False), **MANAGED_BY}
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        listed = generic_api_retry(self.client.list_namespaced_pod)  # type: ignore[no-untyped-call]
        found = listed(namespace=namespace, label_selector=selector).items
        there = [
            pod
            for pod in found
            if pod.metadata.deletion_timestamp is None
            and (_variable(pod, SPEC_VARIABLE) or "").startswith(f"{self.store_uri}/")
            and not (self.on_finish_action.value == "keep_pod" and self._is_finished_with(pod))
        ]
        return sorted(there, key=lambda pod: pod.metadata.creation_timestamp, reverse=True)

    def _does_the_same(self, pod: V1Pod, wanted: V1Pod) -> bool:
        if (pod.metadata.annotations or {}).get(WORK_ANNOTATION) != wanted.metadata.annotations[WORK_ANNOTATION]:
            return False
        uri = _variable(pod, SPEC_VARIABLE)
        return not self._is_finished_with(pod) and (pod.status.phase not in _DONE or self.has_result(str(uri)))

    def _is_finished_with(self, pod: V1Pod) -> bool:
        return (pod.metadata.labels or {}).get(self.POD_CHECKED_KEY) == "True"

    # -- waiting --------------------------------------------------------------------------------------------------

    def await_pod_start(self, pod: V1Pod) -> None:
        waiting = self._waiting()
        while (there := self._there(pod)) is not None and not waiting.over(there):
            time.sleep(waiting.pause(self.startup_check_interval_seconds))

    def await_pod_completion(self, pod: V1Pod) -> None:  # type: ignore[override]
        while True:
            there = self._there(pod)
            if there is not None:
                self._read(there)
            if there is None or ended(there, self.base_container_name) or cannot_start(there, self.base_container_name):
                break
            time.sleep(self.poll_interval)
        if (found := diagnose(there, self.base_container_name)).end is not End.DONE:
            if there is not None:
                self._tell_end(there, self._context)  # as the operator does after a good one
            raise PodFailed(found.message)  # to the tidying up; how it ended is looked at again after that

    def convert_config_file_to_dict(self) -> None:
        """Leave the kubeconfig where it is: the triggerer has its own, and what a trigger is told lies in a database."""
        self._config_dict = None

    def invoke_defer_method(self, last_log_time: Any = None, context: Context | None = None) -> None:
        try:
            super().invoke_defer_method(last_log_time, context)
        except TaskDeferred as deferred:
            deferred.trigger = StepPodTrigger.like(deferred.trigger)
            if self.config_file:  # its path, not what is in it
                deferred.trigger.connection_extras = {"kube_config_path": self.config_file}
            deferred.timeout = None  # the trigger keeps the time: who is timed out by Airflow never comes back to tidy up
            raise

    def _waiting(self) -> Waiting:
        return Waiting(
            container=self.base_container_name,
            schedule_timeout_s=self.schedule_timeout_seconds,
            startup_timeout_s=self.startup_timeout_seconds,
            say=self.say,
            others=self._others,
        )

    def _others(self, pod: V1Pod) -> list[V1Pod]:
        try:
            return list(self.client.list_namespaced_pod(pod.metadata.namespace, field_selector=HAVE_A_NODE).items)
        except (ApiException, HTTPError):
            return []  # who has what is good to know, no more

    def _tell_end(self, pod: V1Pod, context: Context | None) -> None:
        told = {"pod": pod, "client": self.client, "mode": ExecutionMode.SYNC, "context": context, "operator": self}
        for callback in self.callbacks:
            callback.on_pod_completion(**told)
        for callback in self.callbacks:
            callback.on_pod_teardown(**told)

    # -- the end --------------------------------------------------------------------------------------------------

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> None:
        """Read what is left of the log, tidy up.

        Raises:
            RuntimeUnavailable: the trigger gave up waiting, or lost sight of a pod that still runs: that one stays, for the next
                try.
        """
        self.pod = V1Pod(metadata=V1ObjectMeta(name=event["name"], namespace=event["namespace"]))  # for `on_kill`
        self._refusals.known(event.get("refusals", ()))
        there = self._there(self.pod)
        if there is None:
            return
        self.pod, self.spec_uri = there, _variable(there, SPEC_VARIABLE)
        self._read(there)
        alive = not ended(there, self.base_container_name)
        if event["status"] == "error" and alive and running(there, self.base_container_name):
            count = int(event.get("_redefer_count", 0))
            if count < self.MAX_REDEFER_ATTEMPTS:
                self.trigger_kwargs = {**(self.trigger_kwargs or {}), "_redefer_count": count + 1}
                self.invoke_defer_method(context=context)
            raise RuntimeUnavailable(f"Nobody could look after pod {event['name']}, which still runs: {event['message']}")
        self._tell_end(there, context)
        self.post_complete_action(pod=there, remote_pod=there, context=context, result=None)
        if event["status"] == "error" and alive and not cannot_start(there, self.base_container_name, patient=False):
            raise RuntimeUnavailable(str(event["message"]))

    def cleanup(self, pod: V1Pod, remote_pod: V1Pod, xcom_result: Any = None, context: Context | None = None) -> None:
        self.last = self._there(pod) if pod is not None and not self._killed else None
        if self.last and self.last.status.phase == "Succeeded" and self.spec_uri:
            self.has_result(self.spec_uri)  # a store that does not answer says so while there is a pod to take over
        try:
            super().cleanup(pod=pod, remote_pod=self.last, xcom_result=xcom_result, context=context)
        except AirflowSkipException:
            raise
        except AirflowException as error:
            # That it failed. Whoever called looks at `last`; and what is under way here, a timeout say, goes on.
            self.log.debug("%s", error)

    def diagnosis(self) -> Diagnosis:
        """How it ended; of a pod that went before anybody looked at its end, Kubernetes' events may tell."""
        told = ""
        if self.last is None and self.pod is not None:
            try:
                found = self.client.list_namespaced_event(
                    self.pod.metadata.namespace, field_selector=f"involvedObject.name={self.pod.metadata.name}"
                )
                told = next((f"{event.message} ({event.reason})" for event in found.items if event.reason in TAKEN_AWAY), "")
            except (ApiException, HTTPError) as error:
                self.log.debug("The pod's events cannot be read: %s", error)
        return diagnose(self.last, self.base_container_name, **({"told": told} if told else {}))

    def is_istio_enabled(self, pod: V1Pod) -> bool:
        """To go by the step's container, whatever else somebody put into the pod and never ends."""
        return True

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
        if not self.get_logs:
            return
        position = self._position or Position.parse((pod.metadata.annotations or {}).get(POSITION_ANNOTATION))
        try:
            raw = self.client.read_namespaced_pod_log(
                name=pod.metadata.name, namespace=pod.metadata.namespace, container=self.base_container_name,
                timestamps=True, since_seconds=position.since_seconds(), _preload_content=False,
            )  # fmt: skip
            lines, reached = after(position, raw.data.decode(errors="replace").splitlines())
        except (ApiException, HTTPError) as error:  # the pod's status decides, not its log
            self._refusals.heard(error, READ_LOG, pod.metadata.namespace)
            return
        for line in lines:
            self.say(line)
            for callback in self.callbacks:
                callback.progress_callback(
                    line=line, client=self.client, mode=ExecutionMode.SYNC, container_name=self.base_container_name,
                    timestamp=None, pod=pod,
                )  # fmt: skip
        self._position = reached
        if reached != position:
            body = {"metadata": {"annotations": {POSITION_ANNOTATION: str(reached)}}}
            try:
                self.client.patch_namespaced_pod(pod.metadata.name, pod.metadata.namespace, body)
            except (ApiException, HTTPError) as error:
                self._refusals.heard(error, MARK_POD, pod.metadata.namespace)


def _variable(pod: V1Pod, name: str) -> str | None:
    return next((variable.value for c in pod.spec.containers for variable in c.env or [] if variable.name == name), None)
