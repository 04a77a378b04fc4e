"""What the chart needs of a cluster under test: two namespaces, a volume, an S3 server, and pods that look around."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tradewind.serving.local.process import free_port

BUCKET, ACCESS, SECRET = "tradewind", "chart-test", "chart-test-secret"
_STATIC = "kubernetes.io/no-provisioner"


def kubectl(
    *arguments: str, given: str | None = None, check: bool = True, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["kubectl", *arguments], input=given, capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done


def objects(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(kubectl("get", *arguments, "--output", "json").stdout)["items"]
    return found


def put_secret(namespace: str, name: str, values: dict[str, str]) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": values}
    kubectl("apply", "--filename", "-", given=json.dumps(body))


@contextmanager
def namespace(name: str) -> Iterator[None]:
    kubectl("create", "namespace", name)
    try:
        yield
    finally:
        kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=120s", timeout=150)


@contextmanager
def volume(name: str) -> Iterator[str]:
    """A storage class that has room for one claim: the cluster's own, or, where that makes no volumes, a folder of this machine,
    which then is the node."""
    classes = {item["metadata"]["name"]: item for item in objects("storageclass")}
    default = "storageclass.kubernetes.io/is-default-class"
    usual = [k for k, item in classes.items() if (item["metadata"].get("annotations") or {}).get(default) == "true"]
    if usual and classes[usual[0]]["provisioner"] != _STATIC:
        yield usual[0]
        return
    folder = Path("/var/tmp") / name  # not below pytest's folders, which only their owner may enter
    folder.mkdir()
    folder.chmod(0o777)
    made = {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": name, "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }  # fmt: skip
    kubectl("apply", "--filename", "-", given=json.dumps(made))
    try:
        yield name
    finally:
        kubectl("delete", "persistentvolume", name, "--timeout=60s", check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def s3_server(folder: Path, host: str) -> Iterator[str]:
    """An S3 server that pods reach, over a folder; its address."""
    (folder / BUCKET).mkdir(parents=True)
    at = f"{host}:{free_port()}"
    environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET}
    process = subprocess.Popen(
        ["versitygw", "--port", at, "posix", str(folder)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: answers(f"http://{at}") is not None, seconds=20, what="the S3 server's answer")
        yield f"http://{at}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def forwarded(namespace: str, target: str, port: int) -> Iterator[str]:
    """A port of loopback that leads to one in the cluster; its address."""
    here = free_port()
    process = subprocess.Popen(
        ["kubectl", "--namespace", namespace, "port-forward", target, f"{here}:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: answers(f"http://localhost:{here}/health") == 200, seconds=30, what=f"{target} through port-forward")
        yield f"http://localhost:{here}"
    finally:
        process.kill()
        process.wait()


def answers(url: str, headers: dict[str, str] | None = None) -> int | None:
    try:
        return httpx.get(url, headers=headers, timeout=5, trust_env=False).status_code
    except httpx.HTTPError:
        return None


def until(true: Callable[[], bool], *, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.5)


def run_pod(
    namespace: str, image: str, *, account: str, secret: str | None, command: list[str] | None = None, **variables: str
) -> str:
    """A pod as a step's is, to its end: its phase, and what it said."""
    name = f"look-{uuid.uuid4().hex[:8]}"
    container: dict[str, Any] = {
        "name": "step", "image": image, "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in {"HOME": "/tmp", **variables}.items()],
        "envFrom": [{"secretRef": {"name": secret}}] if secret else [],
        "securityContext": {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }  # fmt: skip
    if command:
        container["command"] = command
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never", "serviceAccountName": account, "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }  # fmt: skip
    kubectl("apply", "--filename", "-", given=json.dumps(pod))
    try:
        ends = time.monotonic() + 300
        while (phase := _phase(namespace, name)) not in ("Succeeded", "Failed") and time.monotonic() < ends:
            time.sleep(0.5)
        return f"{phase}\n{kubectl('--namespace', namespace, 'logs', name, check=False).stdout}"
    finally:
        kubectl("--namespace", namespace, "delete", "pod", name, "--grace-period=0", "--force", "--ignore-not-found")


def _phase(namespace: str, name: str) -> str:
    return kubectl("--namespace", namespace, "get", "pod", name, "--output", "jsonpath={.status.phase}").stdout
