"""What the tests do to a cluster: make a namespace for steps, look at pods, take them away."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from live import until

STORE = "tradewind"  # the bucket
_FILL = """
import os, sys, fsspec
source, bucket = sys.argv[1:]
fsspec.filesystem("s3").put(source.rstrip("/") + "/", f"{bucket}/data", recursive=True)
"""


class Cluster:
    """A namespace with Pod Security `restricted`, a service account without rights for steps, one for Spark's driver, and a
    Secret."""

    def __init__(self, api: client.ApiClient, *, namespace: str) -> None:
        self.namespace = namespace
        self.core = client.CoreV1Api(api)
        self.rbac = client.RbacAuthorizationV1Api(api)
        self.scheduling = client.SchedulingV1Api(api)

    def create(self) -> None:
        self.delete()
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.core.create_namespace({"metadata": {"name": self.namespace, "labels": labels}})
        for account in ("tradewind-step", "tradewind-spark"):
            self.core.create_namespaced_service_account(self.namespace, {"metadata": {"name": account}})
        may_start_executors(self.rbac, self.namespace, "tradewind-spark")

    def delete(self) -> None:
        with contextlib.suppress(ApiException):
            self.core.delete_namespace(self.namespace, grace_period_seconds=0)
        until(lambda: not self._exists(), within_s=120, what="the end of the namespace")

    def _exists(self) -> bool:
        try:
            self.core.read_namespace(self.namespace)
        except ApiException as error:
            return error.status != 404
        return True

    def s3_variables(self, url: str) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": secrets.token_hex(8),
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def put_secret(self, values: Mapping[str, str]) -> None:
        data = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
        self.core.create_namespaced_secret(self.namespace, {"metadata": {"name": "tradewind-store"}, "data": data})

    def airflow_settings(self, profiles: Mapping[str, Any]) -> dict[str, str]:
        """All that differs from the embedded run: settings."""
        return {
            "runtime": "kubernetes",
            "namespace": self.namespace,
            "image": os.environ.get("TRADEWIND_TEST_IMAGE", "localhost/tradewind/{image}:{version}"),
            "step_secret": "tradewind-store",
            "store_uri": f"s3://{STORE}/store",
            "data_root": f"s3://{STORE}/data",
            "profiles": json.dumps(profiles),
        }

    def fill_store(self, data: Path, python: Path) -> None:
        """Put the sample where steps read it: on S3."""
        rows = "import pandas, sys; pandas.DataFrame({'x': range(100), 'y': [0, 1] * 50}).to_parquet(sys.argv[1])"
        subprocess.run([python, "-c", rows, str(data / "rows.parquet")], check=True)
        subprocess.run([python, "-c", _FILL, str(data), STORE], check=True)

    # -- pods -----------------------------------------------------------------------------------------------------

    def pods(self, run_id: str | None = None, *, task: str | None = None) -> list[Any]:
        """Pods of steps that are there, of one run or all, the oldest first."""
        found = self.core.list_namespaced_pod(self.namespace, label_selector="app.kubernetes.io/managed-by=tradewind").items
        kept = [
            pod
            for pod in found
            if run_id in (None, said(pod, "run-id")) and task in (None, said(pod, "task-id"))
        ]  # fmt: skip
        return sorted(kept, key=lambda pod: pod.metadata.creation_timestamp)

    def pod(self, run_id: str, *, phase: str = "Running", within_s: float = 120, but: str = "") -> Any:
        """The one pod of a run, as soon as it is in that phase; another than the one named ``but``."""

        def look() -> Any:
            return next((p for p in self.pods(run_id) if p.status.phase == phase and p.metadata.name != but), None)

        return until(look, within_s=within_s, what=f"a pod of {run_id} that is {phase}")

    def executors(self) -> list[Any]:
        """Spark's, of all steps."""
        return list(self.core.list_namespaced_pod(self.namespace, label_selector="spark-role=executor").items)

    def no_pods(self, run_id: str, *, within_s: float = 60) -> None:
        until(lambda: not self.pods(run_id), within_s=within_s, what=f"the end of {run_id}'s pods")

    def evict(self, pod: Any) -> None:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod.metadata.name}}
        self.core.create_namespaced_pod_eviction(pod.metadata.name, self.namespace, body)

    def force_delete(self, pod: Any) -> None:
        self.core.delete_namespaced_pod(pod.metadata.name, self.namespace, grace_period_seconds=0)

    def delete_pod(self, pod: Any) -> None:
        """As `kubectl delete` does: it is told, and has half a minute to end."""
        self.core.delete_namespaced_pod(pod.metadata.name, self.namespace)

    @contextmanager
    def tainted(self, node: str) -> Iterator[None]:
        """For the time of the block no pod may be on the node: what an administrator does to one that is gone."""
        taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
        before = self.core.read_node(node).spec.taints or []
        self.core.patch_node(node, {"spec": {"taints": [*before, taint]}})
        try:
            yield
        finally:
            left = [found for found in self.core.read_node(node).spec.taints or [] if found.key != taint["key"]]
            self.core.patch_node(node, {"spec": {"taints": left}})

    def is_ready(self, node: str) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.core.read_node(node).status.conditions)

    @contextmanager
    def priority_class(self, value: int) -> Iterator[str]:
        name = f"{self.namespace}-{value}"
        self.scheduling.create_priority_class({"metadata": {"name": name}, "value": value})
        try:
            yield name
        finally:
            self.scheduling.delete_priority_class(name)

    def occupy_gpus(self, count: int, image: str, priority_class: str) -> str:
        """A pod of somebody else's that wants GPUs; its name."""
        body = {
            "metadata": {"generateName": "somebody-", "labels": {"who": "somebody"}},
            "spec": {
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "priorityClassName": priority_class,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "c", "image": image, "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", "import time; time.sleep(3600)"],
                    "resources": {"limits": {"nvidia.com/gpu": str(count), "cpu": "10m", "memory": "64Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }],
            },
        }  # fmt: skip
        return str(self.core.create_namespaced_pod(self.namespace, body).metadata.name)


def may_start_executors(rbac: client.RbacAuthorizationV1Api, namespace: str, account: str) -> None:
    """Give a service account what the chart gives to steps for Spark."""
    verbs = ["create", "get", "list", "watch", "patch", "delete", "deletecollection"]
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": verbs},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
    rbac.create_namespaced_role(namespace, {"metadata": {"name": account}, "rules": rules})
    binding = {
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
    rbac.create_namespaced_role_binding(namespace, binding)


def said(pod: Any, name: str) -> str | None:
    """What our runtime wrote on a pod: ``run-id``, ``task-id``."""
    found: str | None = (pod.metadata.annotations or {}).get(f"tradewind.io/{name}")
    return found
