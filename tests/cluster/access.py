"""A namespace of a test's own, and service accounts in it that may do so much and no more, each with a kubeconfig."""

from __future__ import annotations

import base64
import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

Rule = tuple[str, str, Sequence[str]]  # API group, resource, verbs


class Access:
    """Made as the cluster's administrator, whom KUBECONFIG names."""

    def __init__(self, folder: Path) -> None:
        config.load_kube_config()
        self.api = client.ApiClient()
        self.core = client.CoreV1Api(self.api)
        self.rbac = client.RbacAuthorizationV1Api(self.api)
        self.scheduling = client.SchedulingV1Api(self.api)
        self.namespace = f"tradewind-test-{uuid.uuid4().hex[:8]}"
        self._folder = folder
        self._cluster_wide: list[str] = []
        self._priorities: list[str] = []

    def create(self) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.core.create_namespace({"metadata": {"name": self.namespace, "labels": labels}})
        self.core.create_namespaced_service_account(self.namespace, {"metadata": {"name": "tradewind-step"}})

    def delete(self) -> None:
        for name in self._cluster_wide:
            self.rbac.delete_cluster_role_binding(name)
            self.rbac.delete_cluster_role(name)
        for name in self._priorities:
            self.scheduling.delete_priority_class(name)
        with contextlib.suppress(ApiException):
            self.core.delete_namespace(self.namespace, grace_period_seconds=0)

    def account(self, name: str, rules: Sequence[Rule], cluster_wide: Sequence[Rule] = ()) -> Path:
        """A service account with these rights; the file that lets one be it."""
        with contextlib.suppress(ApiException):  # the steps' is there
            self.core.create_namespaced_service_account(self.namespace, {"metadata": {"name": name}})
        subjects = [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}]
        if rules:
            self.rbac.create_namespaced_role(self.namespace, {"metadata": {"name": name}, "rules": _rules(rules)})
            body = {"metadata": {"name": name}, "subjects": subjects, "roleRef": _reference("Role", name)}
            self.rbac.create_namespaced_role_binding(self.namespace, body)
        if cluster_wide:
            wide = f"{self.namespace}-{name}"
            self.rbac.create_cluster_role({"metadata": {"name": wide}, "rules": _rules(cluster_wide)})
            body = {"metadata": {"name": wide}, "subjects": subjects, "roleRef": _reference("ClusterRole", wide)}
            self._cluster_wide.append(wide)
            self.rbac.create_cluster_role_binding(body)
        return self._kubeconfig(name)

    def secret(self, name: str, values: Mapping[str, str]) -> None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        self.core.create_namespaced_secret(self.namespace, {"metadata": {"name": name}, "data": data})

    def priority_class(self) -> str:
        name = f"{self.namespace}-low"
        self.scheduling.create_priority_class({"metadata": {"name": name}, "value": 1})
        self._priorities.append(name)
        return name

    def pods(self) -> list[Any]:
        """Those that nobody has deleted."""
        found = self.core.list_namespaced_pod(self.namespace).items
        return [pod for pod in found if pod.metadata.deletion_timestamp is None]

    def _kubeconfig(self, account: str) -> Path:
        asked = {"spec": {"expirationSeconds": 3600}}
        token = self.core.create_namespaced_service_account_token(account, self.namespace, asked).status.token
        at = self.api.configuration
        authority = Path(at.ssl_ca_cert).read_bytes()
        cluster = {"server": at.host, "certificate-authority-data": base64.b64encode(authority).decode()}
        file = self._folder / f"{self.namespace}-{account}.yaml"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": account, "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": account}}],
            "current-context": "it",
        }
        file.write_text(yaml.safe_dump(document))
        return file


@contextmanager
def access(folder: Path) -> Iterator[Access]:
    """The namespace, for the time of the block."""
    made = Access(folder)
    try:
        made.create()
        yield made
    finally:
        made.delete()


def _rules(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    return [{"apiGroups": [group], "resources": [resource], "verbs": list(verbs)} for group, resource, verbs in rules]


def _reference(kind: str, name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
