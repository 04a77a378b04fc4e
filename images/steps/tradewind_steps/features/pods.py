"""Kubernetes' API as far as Spark's driver needs it beside Spark: what its own pod is, and how its executors' pods are.

Plain HTTP with the service account's token: a client library would cost the driver a second and 40 MB.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

from tradewind.contract import POD_NAME_VARIABLE, POD_NAMESPACE_VARIABLE, SPEC_VARIABLE
from tradewind.errors import RuntimeUnavailable, SpecError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT = 15.0  # seconds
# What the driver does with executors' pods, here and in Spark.
_RIGHTS = ("get", "list", "watch", "create", "delete")

Pod = dict[str, Any]


class Pods:
    """The pods of one namespace, by the token of the pod's service account.

    Raises:
        RuntimeUnavailable: the API does not answer; by every method.
    """

    def __init__(self, namespace: str, *, server: str, account: Path = _ACCOUNT) -> None:
        self.namespace = namespace
        self.server = server
        self._account = account
        context = ssl.create_default_context(cafile=str(account / "ca.crt")) if server.startswith("https") else None
        handlers = [urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])]
        self._open = urllib.request.build_opener(*handlers).open

    @classmethod
    def here(cls) -> Self:
        """Of this pod's namespace.

        Raises:
            SpecError: the pod has no token.
        """
        if not (_ACCOUNT / "token").exists():
            raise SpecError(
                f"Spark with executors needs the token of a service account that may start pods; there is none at {_ACCOUNT}: "
                "automountServiceAccountToken is false"
            )
        # Every pod is told the address: it asks no name server.
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        return cls(os.environ[POD_NAMESPACE_VARIABLE], server=f"https://{f'[{host}]' if ':' in host else host}:{port}")

    def own(self) -> tuple[Pod, dict[str, Any]]:
        """This process's pod, and in it the container of the step."""
        pod: Pod = json.loads(self._ask("GET", f"/pods/{os.environ[POD_NAME_VARIABLE]}"))
        containers: list[dict[str, Any]] = pod["spec"]["containers"]
        return pod, next(c for c in containers if any(v["name"] == SPEC_VARIABLE for v in c.get("env", [])))

    def missing_rights(self) -> list[str]:
        """The verbs on pods that the service account may not use."""
        missing = []
        for verb in _RIGHTS:
            attributes = {"namespace": self.namespace, "verb": verb, "resource": "pods"}
            body = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            answer = self._send("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
            if not json.loads(answer)["status"]["allowed"]:
                missing.append(verb)
        return missing

    def labelled(self, selector: str) -> list[Pod]:
        return list(json.loads(self._ask("GET", "/pods", labelSelector=selector))["items"])

    def last_lines(self, name: str, count: int) -> list[str]:
        """Of what a pod said; raises RuntimeUnavailable also where the service account may not read it."""
        return self._ask("GET", f"/pods/{name}/log", tailLines=str(count)).splitlines()

    def delete(self, name: str) -> None:
        """Nothing happens where there is none."""
        self._ask("DELETE", f"/pods/{name}", gracePeriodSeconds="0", missing="{}")

    def _ask(self, method: str, path: str, *, missing: str | None = None, **query: str) -> str:
        address = f"/api/v1/namespaces/{self.namespace}{path}?{urllib.parse.urlencode(query)}"
        return self._send(method, address, missing=missing)

    def _send(self, method: str, address: str, body: Any = None, *, missing: str | None = None) -> str:
        request = urllib.request.Request(  # noqa: S310 - the address is ours
            f"{self.server}{address}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"},
        )
        try:
            with self._open(request, timeout=_TIMEOUT) as response:
                text: str = response.read().decode(errors="replace")
                return text
        except urllib.error.HTTPError as error:
            if error.code == 404 and missing is not None:
                return missing
            said = error.read().decode(errors="replace")[:500]
            raise RuntimeUnavailable(
                f"Kubernetes answers {error.code} to {method} {address.partition('?')[0]}: {said}"
            ) from error
        except (OSError, http.client.HTTPException) as error:  # the latter: an answer that breaks off
            raise RuntimeUnavailable(f"Kubernetes at {self.server} does not answer: {error}") from error

    def _token(self) -> str:
        """Read anew: the kubelet puts another one there before it expires."""
        return (self._account / "token").read_text().strip()
