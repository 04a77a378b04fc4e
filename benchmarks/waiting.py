"""A thousand steps that wait for a node, then get one all at once: what a triggerer needs for them, beside Airflow's own trigger.

The nodes are kwok's, which says of pods that they run and end: it must be running on the cluster, with its own stages.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from benchmarks.cluster import NAMESPACE, namespace
from benchmarks.measure import ROOT, Figure

STEPS = 1000
NODES = 5
GPU = "nvidia.com/gpu"
SECONDS = 20.0
WAITED = 600.0  # seconds that the pods have waited already, as far as a trigger knows
_PATIENCE_S = 600


def waiting(envs: Path, repeat: int) -> list[Figure]:
    """Each kind once."""
    figures = []
    for kind in ("ours", "bare"):
        with namespace({}):
            waited, started = _measured(kind, _pods())
        goals = ("<= 1", "<= 1024") if kind == "ours" else ("", "")
        figures += [
            Figure(name=f"waiting.{kind}.cores", value=round(waited["cores"], 3), unit="cores", goal=goals[0]),
            Figure(name=f"waiting.{kind}.memory_mb", value=round(waited["memory_mb"], 1), unit="MiB", goal=goals[1]),
            Figure(name=f"waiting.{kind}.all_started_seconds", value=round(started["seconds"], 1), unit="s"),
            Figure(name=f"waiting.{kind}.all_started_cores", value=round(started["cores"], 3), unit="cores"),
            Figure(name=f"waiting.{kind}.all_started_memory_mb", value=round(started["memory_mb"], 1), unit="MiB", goal=goals[1]),
        ]
        print(f"  {kind}: waited {waited}, started {started}", flush=True)
    return figures


def _measured(kind: str, names: list[str]) -> tuple[dict[str, float], dict[str, float]]:
    command = [sys.executable, "-m", "benchmarks.waiting_process", kind, NAMESPACE, str(SECONDS), str(WAITED), *names]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            waited = _said(process, "WAITED")
            with _nodes():
                return waited, _said(process, "STARTED")
        finally:
            process.kill()


def _said(process: subprocess.Popen[str], what: str) -> dict[str, float]:
    assert process.stdout
    for line in process.stdout:
        if line.startswith(f"{what} "):
            found: dict[str, float] = json.loads(line.removeprefix(f"{what} "))
            return found
    raise RuntimeError(f"It ended before it said {what}: see what it wrote above")


def _pods() -> list[str]:
    """The names of pods that wait for a node. They are a Job's: only such pods end on kwok's nodes."""
    container = {
        "name": "step", "image": "localhost/tradewind/none:1",
        "resources": {"requests": {"cpu": "10m", GPU: "1"}, "limits": {GPU: "1"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    pod = {
        "restartPolicy": "Never", "nodeSelector": {"type": NAMESPACE}, "serviceAccountName": "tradewind-step",
        "automountServiceAccountToken": False, "containers": [container],
        "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }  # fmt: skip
    job = {"metadata": {"name": "steps"}, "spec": {"parallelism": STEPS, "completions": STEPS, "template": {"spec": pod}}}
    client.BatchV1Api().create_namespaced_job(NAMESPACE, job)
    deadline = time.monotonic() + _PATIENCE_S
    while len(found := client.CoreV1Api().list_namespaced_pod(NAMESPACE).items) < STEPS:
        assert time.monotonic() < deadline, f"{len(found)} of {STEPS} pods are there after {_PATIENCE_S} s"
        time.sleep(1)
    return [pod.metadata.name for pod in found]


@contextmanager
def _nodes() -> Iterator[None]:
    core, names = client.CoreV1Api(), [f"{NAMESPACE}-{number}" for number in range(NODES)]
    amounts = {"cpu": "32", "memory": "256Gi", "pods": "250", GPU: "250"}
    try:
        for name in names:
            body = {
                "metadata": {"name": name, "annotations": {"kwok.x-k8s.io/node": "fake"}, "labels": {"type": NAMESPACE}},
                "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]},
                "status": {"capacity": amounts, "allocatable": amounts},
            }
            core.create_node(body)
        deadline = time.monotonic() + 30
        while not all(_ready(core.read_node(name)) for name in names):
            assert time.monotonic() < deadline, "the fake nodes are not ready after 30 s: is kwok running?"
            time.sleep(0.2)
        yield
    finally:
        for name in names:
            with contextlib.suppress(ApiException):
                core.delete_node(name)


def _ready(node: client.V1Node) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions or [])
