"""A small pod of a step's image, as a step's pod is: what it reaches and may do is what a step reaches and may do."""

from __future__ import annotations

import contextlib
import functools
import json
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from tradewind.cli.doctor.result import LIMIT, Result, failed, passed
from tradewind.cli.kube import Forbidden, Kube
from tradewind.contract import PROBE_VARIABLE, StepSpec
from tradewind.errors import RuntimeUnavailable, StoreError, TradewindError
from tradewind.packaging import own_code, own_files
from tradewind.profiles import Profile
from tradewind.settings import SECTION, Settings
from tradewind.store import Store

PATIENCE_S = 180  # until it has ended: its image may have to be pulled
_POLL_S = 0.5
_SMALL = Profile(cpu=0.5, memory_mb=512)
_LABELS = {"app.kubernetes.io/managed-by": "tradewind-doctor"}  # no step's: `tradewind reap` knows nothing of it
_CLOSED = (StoreError, OSError, ImportError, ValueError)  # what a store raises that cannot be used from here
_HOPELESS = ("ErrImageNeverPull", "InvalidImageName", "ImagePullBackOff", "CreateContainerConfigError", "CreateContainerError")
_FIXES = {
    "image": f"See that [{SECTION}] image names what was pushed, and that nodes may pull it",
    "config": "See that the Secret that step_secret names is in the steps' namespace",
    "node": "See the profiles' lines above: the cluster is full, or no node takes such pods",
}


def look(kube: Kube, settings: Settings, image: str, reference: str, stop: threading.Event) -> Iterator[Result]:
    """Start the pod, wait for its end, say what it said. Removes the pod and what both wrote."""
    name = f"pod {image}"
    store = Store(settings.store_uri)
    folder = f"{store.root}/doctor-{uuid.uuid4().hex}"
    pods = f"/api/v1/namespaces/{quote(settings.namespace, safe='')}/pods"
    pod = _pod(settings, image, folder)
    mine = f"{pods}/{quote(pod['metadata']['name'], safe='')}"
    remove = functools.partial(kube.ask, "DELETE", mine, query={"gracePeriodSeconds": 0}, missing=True)
    with contextlib.ExitStack() as stack:
        stack.callback(_forget, store, folder)
        with contextlib.suppress(*_CLOSED):  # its own check says so, and the pod may do better
            store.write(f"{folder}/ours", b"from Airflow")
        try:
            kube.ask("POST", pods, pod)
        except Forbidden as error:
            yield failed(name, str(error), "The message names the policy, the quota or the right that forbids it")
            return
        except RuntimeUnavailable:
            with contextlib.suppress(TradewindError):  # it may have been made, and the answer lost
                remove()
            raise
        stack.callback(remove)
        end, problem, fix = _ended(kube, mine, stop)
        if problem:
            yield failed(name, problem, fix)
            return
        try:
            said = json.loads(end.get("message") or "")
        except ValueError:
            detail = f"{reference} ended with exit code {end['exitCode']} ({end.get('reason')}): {end.get('message') or ''}"
            yield failed(name, detail.rstrip(": "), "It holds another version of this package, or none: build it again")
            return
        yield from _told(name, settings, reference, said, _theirs(store, folder))


def _told(name: str, settings: Settings, reference: str, said: dict[str, Any], theirs: bytes) -> Iterator[Result]:
    """Lines of what the pod found, and of whether what it wrote is what is here."""
    versions = f"{reference}: tradewind {said['tradewind']}, Python {said['python']}"
    if said["code"] == own_code():
        yield passed(name, f"{versions}; its tradewind and tradewind_steps are the ones here")
    else:
        fix = "Build and push the images again, from what Airflow runs"
        yield failed(name, f"{versions}; its tradewind or tradewind_steps are other code than Airflow's", fix)
    if said["store"]:
        yield failed(f"{name}, store", said["store"], f"See step_secret and that pods reach {settings.store_uri}")
    elif theirs != said["wrote"].encode():
        fix = "Pods and Airflow see different stores: compare AWS_ENDPOINT_URL here and in step_secret"
        yield failed(f"{name}, store", f"what it wrote to {settings.store_uri} is not there from here", fix)
    else:
        yield passed(f"{name}, store", f"{settings.store_uri}: it read what Airflow wrote, and Airflow read what it wrote")
    if said["mlflow"]:
        fix = f"See that pods reach {settings.tracking_uri} (MLflow's --allowed-hosts too), and the login in step_secret"
        yield failed(f"{name}, MLflow", said["mlflow"], fix)
    else:
        yield passed(f"{name}, MLflow", f"it reaches {settings.tracking_uri}")


def _ended(kube: Kube, path: str, stop: threading.Event) -> tuple[dict[str, Any], str, str]:
    """How its container ended, once it has; or why it never will, and the fix."""
    from tradewind.runtimes.kubernetes.request import CONTAINER

    until = time.monotonic() + PATIENCE_S
    waits = "for the scheduler"
    while time.monotonic() < until and not stop.wait(_POLL_S):
        try:
            status = kube.ask("GET", path)["status"]
        except RuntimeUnavailable as error:
            waits = f"for Kubernetes: {error}"
            continue
        # A mesh or a cloud may have put containers of its own beside it.
        state: dict[str, Any] = next((c["state"] for c in status.get("containerStatuses", []) if c["name"] == CONTAINER), {})
        if "terminated" in state:
            return state["terminated"], "", ""
        if status.get("phase") == "Failed":
            return {}, f"{status.get('reason', 'Failed')}: {status.get('message', '')}", _FIXES["node"]
        scheduled: dict[str, str] = next((c for c in status.get("conditions", []) if c["type"] == "PodScheduled"), {})
        if scheduled.get("status") == "False":
            waits = f"for a node: {scheduled.get('message', '')}"
        if state:
            waiting = state.get("waiting", {})
            reason, message = waiting.get("reason", ""), waiting.get("message", "")
            if reason in _HOPELESS:
                return {}, f"{reason}: {message}", _FIXES["image" if "mage" in reason else "config"]
            waits = f"{reason} {message}".strip() or "for its end"
    return {}, f"not ended within {PATIENCE_S} s; it waits {waits}", _FIXES["node"]


def _theirs(store: Store, folder: str) -> bytes:
    with contextlib.suppress(*_CLOSED):
        return store.read(f"{folder}/theirs")
    return b""


def _forget(store: Store, folder: str) -> None:
    with contextlib.suppress(*_CLOSED):
        store.delete(folder)


def _pod(settings: Settings, image: str, folder: str) -> dict[str, Any]:
    """The pod that a step of this image would get, with another command."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from kubernetes.client import ApiClient
    from kubernetes.client.models import V1EnvVar

    from tradewind.runtimes.kubernetes.request import pod_arguments

    asked = {
        "folder": folder,
        "tracking_uri": settings.tracking_uri,
        "files": [file for file, _ in own_files()],
        "limit_s": LIMIT,
    }
    spec = StepSpec(
        step="doctor", dag_id="tradewind-doctor", run_id="", task_id=image, map_index=-1, try_number=1, params={}, inputs={},
        code=None, entry_point=None, image=image, outputs_uri=folder, store_uri=settings.store_uri,
    )  # fmt: skip
    arguments = pod_arguments(settings, _SMALL, spec, "", {})
    arguments |= {
        "cmds": ["python", "-m", "tradewind_steps.doctor"],
        "env_vars": [*arguments["env_vars"], V1EnvVar(name=PROBE_VARIABLE, value=json.dumps(asked))],
        "labels": _LABELS,
        "annotations": {},
        "active_deadline_seconds": PATIENCE_S,  # should nobody be left to delete it
        "termination_message_policy": "FallbackToLogsOnError",
    }
    built = KubernetesPodOperator(task_id="doctor", **arguments).build_pod_request_obj(dry_run=True)
    pod: dict[str, Any] = ApiClient().sanitize_for_serialization(built)
    return pod
