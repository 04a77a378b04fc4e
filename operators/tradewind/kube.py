"""The Kubernetes API as the operators reach it, asked for plain JSON: our few calls need no client classes.

The one other place than the operators that knows Airflow's connections: serving, triggers and the command line come here.
"""

from __future__ import annotations

import copy
import functools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Self

from tradewind.errors import RuntimeUnavailable, SpecError, told

LIMIT = 5.0  # seconds that one request may take
CONNECTION = "kubernetes_default"
_PAGE = 500
_KINDS = {"PATCH": "application/merge-patch+json"}


class Forbidden(SpecError):
    """The API server knows who asks, and that this is not for them."""


class Conflict(RuntimeUnavailable):
    """The object changed since it was read, or is there already: read it again."""


class Kube:
    """One API server.

    Args:
        conn_id: Airflow's connection to it, as `KubernetesPodOperator` has it. Where there is none of the default's name:
            the pod's own service account, else the kubeconfig file.

    Raises:
        SpecError: none of these leads to a cluster.
    """

    def __init__(self, conn_id: str = CONNECTION) -> None:
        configuration, in_cluster = _configuration(conn_id)
        self._open(configuration, "as the pod's service account" if in_cluster else "by kubeconfig")

    @classmethod
    def of(cls, configuration: Any, how: str = "by kubeconfig") -> Self:
        """From the Kubernetes client's own ``Configuration``, where no Airflow is asked."""
        made = cls.__new__(cls)
        made._open(copy.deepcopy(configuration), how)
        return made

    def _open(self, configuration: Any, how: str) -> None:
        from kubernetes import client

        configuration.retries = False  # a server that does not answer would be tried four times, for a minute each
        self.host = str(configuration.host)
        self.how = how
        self._client = client.ApiClient(configuration)

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str | int] | None = None,
        missing: bool = False,
    ) -> dict[str, Any]:
        """One request; a PATCH is a merge patch. With ``missing``, what is not there gives an empty answer.

        Raises:
            Conflict: 409.
            RuntimeUnavailable: no answer within `LIMIT` seconds, or an error of the server's own.
            Forbidden: 403, in the server's words.
            SpecError: any other refusal.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            response = self._client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": _KINDS.get(method, "application/json")},
                body=body,
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _preload_content=False,
                _request_timeout=LIMIT,
            )
            answer = response.data  # read only now: it too may break off
        except ApiException as error:
            if missing and error.status == 404:
                return {}
            raise _refusal(method, path, error.status or 0, error.body or error.reason) from error
        except AttributeError as error:
            # Where TLS fails, the client stumbles over a body that is not there; what failed is what it was handling.
            raise RuntimeUnavailable(f"Kubernetes at {self.host} does not answer: {error.__context__}") from error
        except (HTTPError, OSError) as error:
            raise RuntimeUnavailable(f"Kubernetes at {self.host} does not answer: {told(error)}") from error
        found: dict[str, Any] = json.loads(answer)
        return found

    def items(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """The objects of a list, page by page."""
        token = ""
        while True:
            page = self.ask("GET", path, query={**query, "limit": _PAGE, **({"continue": token} if token else {})})
            yield from page.get("items") or []
            token = page.get("metadata", {}).get("continue") or ""
            if not token:
                return

    def allowed(self, namespace: str, verb: str, resource: str, *, group: str = "") -> bool:
        """Whether whoever we are may do that in a namespace; ``resource`` is as in ``pods/log``. Anybody may ask this."""
        review = {"spec": {"resourceAttributes": {"group": group, **_attributes(namespace, verb, resource)}}}
        return _granted(self.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review))

    def allowed_to(self, account: str, namespace: str, verb: str, resource: str) -> bool:
        """Whether a service account of the namespace may do that there; Forbidden where we may not ask."""
        spec = {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "resourceAttributes": _attributes(namespace, verb, resource),
        }
        path = f"/apis/authorization.k8s.io/v1/namespaces/{namespace}/localsubjectaccessreviews"
        return _granted(self.ask("POST", path, {"metadata": {"namespace": namespace}, "spec": spec}))


@functools.cache
def kube_for(conn_id: str = CONNECTION) -> Kube:
    """The connection of this process: who ticks every second makes one, not one a second."""
    return Kube(conn_id)


def _configuration(conn_id: str) -> tuple[Any, bool]:
    """The client's configuration by Airflow's connection, and whether it is the pod's own."""
    # What Airflow's own commands set: connections that are kept in its database are looked up there.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from airflow.sdk.exceptions import AirflowException
    from kubernetes import config

    hook = KubernetesHook(conn_id=conn_id)
    try:
        return copy.deepcopy(hook.api_client.configuration), bool(hook.is_in_cluster)
    except (AirflowException, config.ConfigException, OSError) as error:
        raise SpecError(f"Airflow's connection {conn_id!r} leads to no cluster: {error}") from error


def _attributes(namespace: str, verb: str, resource: str) -> dict[str, str]:
    name, _, part = resource.partition("/")
    return {"namespace": namespace, "verb": verb, "resource": name, "subresource": part}


def _granted(review: Mapping[str, Any]) -> bool:
    return bool(review.get("status", {}).get("allowed"))


def _refusal(method: str, path: str, status: int, body: str | bytes) -> SpecError | RuntimeUnavailable:
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    try:
        text = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        text = text[:300]
    said = f"Kubernetes, {method} {path}: {status} {text}"
    if status == 403:
        return Forbidden(said)
    if status == 409:
        return Conflict(said)
    return RuntimeUnavailable(said) if status >= 500 or status == 429 else SpecError(said)
