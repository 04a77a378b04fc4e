"""What a pod's status says, in words and as a class. Pure: reads a pod's status as the API gives it, asks nobody.

Sources: the Pod lifecycle, Disruptions and Images pages of the Kubernetes documentation.
``tests/unit/pods/test_pod_diagnosis.py`` has the statuses, ``tests/cluster`` provokes some of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

# What waits for no better time: another try meets the same.
_CANNOT_START = {
    "InvalidImageName": "the image's name is not valid",
    "ErrImageNeverPull": "the image is not on the node, and its pull policy is Never",
    "ErrImagePull": "the image cannot be pulled",
    "ImagePullBackOff": "the image cannot be pulled",
    "CreateContainerConfigError": "the pod names a Secret, a ConfigMap or a user that is not there",
    "CreateContainerError": "the container cannot be created",
    "RunContainerError": "the container cannot be started",
}
# The kubelet tries these again by itself, and some pass: a registry that was busy for a moment.
_TRIED_AGAIN = ("ErrImagePull",)
_PASSES = (
    "qps exceeded", "rate limit", "too many requests", "unavailable", "timeout", "timed out", "bad gateway", "connection reset",
    "deadline exceeded", "internal server error", "temporary failure", "unexpected eof", "is reserved for",
)  # fmt: skip
_INSUFFICIENT = re.compile(r"Insufficient ([a-z0-9./-]+)")
# The scheduler's words for nodes, counted, and ours for the same.
_UNFIT = tuple(
    (re.compile(rf"(\d+) node\(s\) {theirs}"), ours)
    for theirs, ours in (
        ("had untolerated taint", "nodes with a taint that it does not tolerate"),
        ("didn't match Pod's node affinity/selector", "nodes without the labels that it wants"),
        ("were unschedulable", "nodes that take no pods"),
    )
)
# Events' reasons: what takes a pod away before anybody can look at it.
TAKEN_AWAY = ("Preempted", "TaintManagerEviction", "Evicted", "NodeNotReady")
_GONE_S = 30.0  # seconds after a pod's grace period in which its node should have ended it


class End(StrEnum):
    """Why a pod ended, or never started, as far as it matters for what to do next."""

    DONE = "done"  # by itself, with exit code 0
    OUT_OF_MEMORY = "out of memory"
    LOST = "lost"  # evicted, preempted, deleted, or its node is gone: not the step's fault
    CANNOT_START = "cannot start"
    CRASHED = "crashed"  # by itself, with another exit code


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """``may_pass``: of a pod that cannot start, whether another try may."""

    end: End
    message: str
    may_pass: bool = False


def diagnose(pod: Any | None, container: str, told: str = "somebody or something deleted it") -> Diagnosis:
    """Why a pod ended; None is a pod that is not there any more.

    Args:
        container: the name of the one that runs the step.
        told: of a pod that is not there any more, why.
    """
    if pod is None:
        return Diagnosis(end=End.LOST, message=f"the pod is not there any more: {told}")
    disruption = condition(pod, "DisruptionTarget")
    terminated = _terminated(pod, container)
    if terminated is not None and terminated.reason == "OOMKilled":
        return Diagnosis(end=End.OUT_OF_MEMORY, message="it wanted more memory than its limit")
    if disruption is not None and disruption.status == "True":
        why = disruption.message or disruption.reason
        return Diagnosis(end=End.LOST, message=f"the cluster took the pod away ({disruption.reason}): {why}")
    if pod.status.reason in ("Evicted", "NodeLost", "NodeShutdown", "Terminated", "Preempting", "UnexpectedAdmissionError"):
        return Diagnosis(end=End.LOST, message=f"{pod.status.reason}: {pod.status.message or 'no more is known'}")
    if terminated is not None and terminated.reason in ("ContainerStatusUnknown",):
        return Diagnosis(end=End.LOST, message="its node lost sight of the container")
    # Whoever asks has waited: between two attempts to pull an image its state is now the one, now the other.
    problem = cannot_start(pod, container, patient=False)
    if problem is not None and pod.metadata.deletion_timestamp is None:
        return Diagnosis(end=End.CANNOT_START, message=problem, may_pass=any(text in problem.lower() for text in _PASSES))
    if terminated is None or pod.metadata.deletion_timestamp is not None:
        return Diagnosis(end=End.LOST, message=f"the pod was deleted while it was {pod.status.phase or 'unknown'}")
    if terminated.exit_code == 0:
        return Diagnosis(end=End.DONE, message="exit code 0")
    return Diagnosis(end=End.CRASHED, message=crash(terminated))


def crash(terminated: Any) -> str:
    """A container's end in words."""
    code = terminated.exit_code
    signals = {137: "SIGKILL", 139: "SIGSEGV: a crash in native code", 143: "SIGTERM", 134: "SIGABRT"}
    said = f"exit code {code}{f' ({signals[code]})' if code in signals else ''}"
    return f"{said}, {terminated.reason}: {terminated.message}" if terminated.message else said


def ended(pod: Any, container: str) -> bool:
    """Whether nothing more is to be expected of a pod: its container has ended, or it is being deleted and the node that
    should do that is gone."""
    if pod.status.phase in ("Succeeded", "Failed") or _terminated(pod, container) is not None:
        return True
    deleted = pod.metadata.deletion_timestamp
    if deleted is None:
        return False
    # The timestamp is when the grace period ends.
    return bool((datetime.now(UTC) - deleted).total_seconds() > _GONE_S)


def running(pod: Any, container: str) -> bool:
    """Whether the step's container has started."""
    status = _status(pod, container)
    return bool(status and status.state and (status.state.running or status.state.terminated))


def cannot_start(pod: Any, container: str, *, patient: bool = True) -> str | None:
    """Why a pod will never start, or None where it may.

    Args:
        patient: give the kubelet, which tries again by itself, a second chance.
    """
    for status in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        waiting = status.state.waiting if status.state else None
        if waiting is None or waiting.reason not in _CANNOT_START:
            continue
        message = waiting.message or ""
        if patient and (waiting.reason in _TRIED_AGAIN or any(text in message.lower() for text in _PASSES)):
            continue
        what = "" if status.name == container else f"container {status.name}: "
        image = f" {status.image}" if "mage" in waiting.reason and status.image else ""
        return f"{what}{_CANNOT_START[waiting.reason]}{image} ({waiting.reason}): {message or 'no more is known'}"
    return None


def waits_for(pod: Any, container: str) -> str:
    """What a pod that has not started waits for, in words."""
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.status != "True":
        if scheduled.reason == "SchedulingGated":
            return "its queue has not admitted it yet (SchedulingGated)"
        return _unfit(scheduler_says(pod)) or "a node"
    status = _status(pod, container)
    waiting = status.state.waiting if status and status.state else None
    if waiting is not None and waiting.reason not in (None, "ContainerCreating", "PodInitializing"):
        return f"{_CANNOT_START.get(waiting.reason, waiting.reason)}: {waiting.message or 'no more is known'}"
    return "its container to be made" if scheduled is not None else "the scheduler"


def lacking(pod: Any) -> list[str]:
    """The resources, as Kubernetes names them, of which the scheduler finds too little on some node."""
    return list(dict.fromkeys(_INSUFFICIENT.findall(scheduler_says(pod))))


def is_device(resource: str) -> bool:
    """Of cores and memory everybody has some."""
    return "/" in resource


def _unfit(message: str) -> str:
    """Why no node takes a pod, from the scheduler's message; nothing where it says none of what is known here."""
    short = dict.fromkeys(_INSUFFICIENT.findall(message))
    said = [f"no node has a free {name}" if is_device(name) else f"no node has enough {name} free" for name in short]
    for pattern, words in _UNFIT:
        if found := pattern.findall(message):
            said.append(f"{words}: {sum(map(int, found))}")
    return ", ".join(said)


def scheduler_says(pod: Any) -> str:
    """The scheduler's message about a pod without a node, less its last sentences, which say that nothing can be preempted or
    given back either."""
    found = condition(pod, "PodScheduled")
    message = (found.message or "") if found is not None and found.status != "True" else ""
    return message.split(" preemption:")[0].replace(" no new claims to deallocate,", "").rstrip("., ")


def condition(pod: Any, kind: str) -> Any | None:
    return next((c for c in pod.status.conditions or [] if c.type == kind), None)


def scheduled(pod: Any) -> bool:
    found = condition(pod, "PodScheduled")
    return found is not None and found.status == "True"


def _status(pod: Any, container: str) -> Any | None:
    return next((status for status in pod.status.container_statuses or [] if status.name == container), None)


def _terminated(pod: Any, container: str) -> Any | None:
    status = _status(pod, container)
    return status.state.terminated if status and status.state else None
