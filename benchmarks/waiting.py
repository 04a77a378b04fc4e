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
SECONDS = 30.0


def waiting(envs: Path, repeat: int) -> list[Figure]:
    """Each kind once: the pods fit on no node, so that all of them wait for as long as it takes."""
    figures = []
    with namespace({}):
        names = [f"waits-{number:04}" for number in range(STEPS)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(_pod, names))
        print(f"  {STEPS} pods wait", flush=True)
        for kind in ("ours", "bare"):
            command = [sys.executable, "-m", "benchmarks.waiting_process", kind, NAMESPACE, str(SECONDS), *names]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            [line] = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")] or [done.stderr[-2000:]]
            found = json.loads(line.removeprefix("FOUND "))
            print(f"  {kind}: {found}", flush=True)
            cores, memory = round(found["cores"], 3), round(found["memory_mb"], 1)
            figures += [
                Figure(name=f"waiting.{kind}.cores", value=cores, unit="cores", goal="<= 1" if kind == "ours" else ""),
                Figure(name=f"waiting.{kind}.memory_mb", value=memory, unit="MiB", goal="<= 1024" if kind == "ours" else ""),
                Figure(name=f"waiting.{kind}.late_seconds", value=round(found["late_s"], 3), unit="s"),
            ]
    return figures


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
