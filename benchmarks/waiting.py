"""A thousand steps that wait for a node, in one event loop: what a triggerer needs for them, beside Airflow's own trigger."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kubernetes import client

from benchmarks.cluster import NAMESPACE, namespace
from benchmarks.measure import ROOT, Figure

STEPS = 1000
SECONDS = 20.0
WAITED = {"waiting": 600.0, "waiting.first_minute": 0.0}  # seconds that the pods have waited already


def waiting(envs: Path, repeat: int) -> list[Figure]:
    """Each kind once: the pods fit on no node, so that all of them wait for as long as it takes."""
    figures = []
    with namespace({}):
        names = [f"waits-{number:04}" for number in range(STEPS)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(_pod, names))
        print(f"  {STEPS} pods wait", flush=True)
        for name, kind in [(name, kind) for name in WAITED for kind in ("ours", "bare")]:
            found = _measured(kind, WAITED[name], names)
            print(f"  {name}, {kind}: {found}", flush=True)
            cores, memory = round(found["cores"], 3), round(found["memory_mb"], 1)
            goals = ("<= 1", "<= 1024") if (name, kind) == ("waiting", "ours") else ("", "")
            figures += [
                Figure(name=f"{name}.{kind}.cores", value=cores, unit="cores", goal=goals[0]),
                Figure(name=f"{name}.{kind}.memory_mb", value=memory, unit="MiB", goal=goals[1]),
            ]
    return figures


def _measured(kind: str, waited: float, names: list[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.waiting_process", kind, NAMESPACE, str(SECONDS), str(waited), *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert found, done.stderr[-3000:]
    measured: dict[str, float] = json.loads(found[0].removeprefix("FOUND "))
    return measured


def _pod(name: str) -> None:
    container = {
        "name": "step", "image": "localhost/tradewind/none:1",
        "resources": {"requests": {"cpu": "10m"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    spec = {
        "restartPolicy": "Never", "nodeSelector": {"tradewind.io/nowhere": "x"}, "serviceAccountName": "tradewind-step",
        "automountServiceAccountToken": False, "containers": [container],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }  # fmt: skip
    client.CoreV1Api().create_namespaced_pod(NAMESPACE, {"metadata": {"name": name}, "spec": spec})
