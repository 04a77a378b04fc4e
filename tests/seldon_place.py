"""A namespace in which models serve by Seldon: `make test-seldon`.

KUBECONFIG names the cluster; it has Istio with the gateway ``istio-system/seldon-gateway``. TRADEWIND_TEST_GATEWAY is that
gateway's address, TRADEWIND_TEST_GATEWAY_STATISTICS its Envoy's, TRADEWIND_TEST_HOST an address of this machine that pods reach,
TRADEWIND_TEST_IMAGE the pattern of the images on its nodes, TRADEWIND_TEST_SERVING_NAMESPACE one that is made and deleted.
Seldon's operator is a stand-in (`cluster.seldon_standin`), started here, unless SELDON=real: then the cluster has the real one.
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from live import until
from object_store import BUCKET, S3, customer, s3_server

import tradewind
from tradewind.contract import ArtifactRef
from tradewind.errors import TradewindError
from tradewind.kube import Kube
from tradewind.serving.seldon.client import SeldonServing
from tradewind.serving.seldon.desired import Options
from tradewind.serving.seldon.metrics import Metrics
from tradewind.serving.seldon.statistics import Gateway
from tradewind.store import Store, hash_folder

REAL = os.environ.get("SELDON") == "real"
NAMESPACE = os.environ.get("TRADEWIND_TEST_SERVING_NAMESPACE", "tradewind-seldon")
IMAGE = os.environ.get("TRADEWIND_TEST_IMAGE", "localhost/tradewind/{image}:{version}")
GATEWAY = os.environ.get("TRADEWIND_TEST_GATEWAY", "http://10.77.0.2:8003")
STATISTICS = os.environ.get("TRADEWIND_TEST_GATEWAY_STATISTICS", "http://10.77.0.2:15000/stats/prometheus")
ACCOUNT, SECRET = "tradewind-step", "tradewind-store"
HERE = Path(__file__).parent
CRD = HERE / "cluster/seldon_standin/crd.yaml"

Object = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Place:
    """The namespace, an S3 server that its pods reach, and who writes there."""

    kube: Kube
    s3: S3
    log: Path
    namespace: str = NAMESPACE

    @property
    def options(self) -> Options:
        serve, predictor = (IMAGE.format(image=name, version=tradewind.__version__) for name in ("serve", "predictor"))
        return Options(image=serve, predictor_image=predictor, service_account=ACCOUNT, secret=SECRET, cpu=0.8, memory_mb=700)

    def serving(self, kube: Kube | None = None, *, statistics: Metrics | None = None) -> SeldonServing:
        """As a process of its own would have it; the gateway itself counts, unless another does."""
        return SeldonServing(
            kube=kube or self.kube,
            namespace=self.namespace,
            gateway=GATEWAY,
            statistics=statistics or Gateway(STATISTICS),
            options=self.options,
        )

    def refer(self, folder: Path) -> ArtifactRef:
        """A model where pods find it."""
        sha256 = hash_folder(folder)
        uri = f"s3://{BUCKET}/{sha256}"
        if not self.s3.file(uri).exists():
            Store(uri).upload(folder, uri)
        return ArtifactRef(uri=uri, sha256=sha256, size=0, kind="model")

    # -- the cluster ----------------------------------------------------------------------------------------------

    def path(self, kind: str, name: str = "") -> str:
        groups = {
            "seldondeployments": "/apis/machinelearning.seldon.io/v1",
            "virtualservices": "/apis/networking.istio.io/v1",
            "destinationrules": "/apis/networking.istio.io/v1",
            "deployments": "/apis/apps/v1",
            "leases": "/apis/coordination.k8s.io/v1",
        }
        return f"{groups.get(kind, '/api/v1')}/namespaces/{self.namespace}/{kind}{f'/{name}' if name else ''}"

    def get(self, kind: str, name: str) -> Object:
        return self.kube.ask("GET", self.path(kind, name), missing=True)

    def all(self, kind: str, **query: str) -> list[Object]:
        return list(self.kube.items(self.path(kind), **query))

    def pods(self, name: str, predictor: str) -> dict[str, Object]:
        """By uid, those that nobody takes away."""
        found = self.all("pods", labelSelector=f"seldon-deployment-id={name},version={predictor}")
        return {pod["metadata"]["uid"]: pod for pod in found if not pod["metadata"].get("deletionTimestamp")}

    def clear(self) -> None:
        """Nothing serves, nothing is on record."""
        for kind in ("seldondeployments", "destinationrules", "configmaps", "leases"):
            for found in self.all(kind):
                if found["metadata"]["name"] != "kube-root-ca.crt" and "istio" not in found["metadata"]["name"]:
                    self.kube.ask("DELETE", self.path(kind, found["metadata"]["name"]), missing=True)
        until(lambda: not self.all("deployments"), within_s=90, what="the end of all Deployments")


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """The namespace with all that is in it, for the time of the block."""
    assert os.environ.get("KUBECONFIG"), "there is no cluster: KUBECONFIG is not set"
    config.load_kube_config()
    kube = Kube.of(client.Configuration.get_default_copy())
    host = os.environ.get("TRADEWIND_TEST_HOST", "10.77.0.1")
    log = folder / "seldon-standin.log"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(s3_server(folder / "buckets", host=host))
        stack.enter_context(customer(server.environment | dict.fromkeys(("NO_PROXY", "no_proxy"), f"127.0.0.1,localhost,{host}")))
        if not REAL:
            _make_crd(kube)
            stack.callback(_delete_crd, kube)
        _make_namespace(kube, server)
        stack.callback(_delete_namespace, kube)
        if not REAL:
            stack.enter_context(_standin(log))
        made = Place(kube=kube, s3=server, log=log)
        stack.callback(_end_deployments, made)
        yield made


@contextmanager
def _standin(log: Path) -> Iterator[None]:
    environment = {**os.environ, "PYTHONPATH": str(HERE / "cluster")}
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "seldon_standin", NAMESPACE], env=environment, stdout=file, stderr=file)
        try:
            yield
            assert process.poll() is None, log.read_text()
        finally:
            process.kill()
            process.wait()


def _make_crd(kube: Kube) -> None:
    body = yaml.safe_load(CRD.read_text())
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    there = kube.ask("GET", f"{path}/{body['metadata']['name']}", missing=True)
    ours = "tradewind.io/stand-in" in (there.get("metadata", {}).get("labels") or {})
    assert not there or ours, "this cluster has the real Seldon: SELDON=real"
    if there:
        kube.ask("PATCH", f"{path}/{body['metadata']['name']}", {"spec": body["spec"]})
    else:
        kube.ask("POST", path, body)
    until(lambda: _served(kube), within_s=30, what="the kind SeldonDeployment")


def _delete_crd(kube: Kube) -> None:
    """The cluster is as it was, unless another one's tests run on it."""
    if not list(kube.items("/apis/machinelearning.seldon.io/v1/seldondeployments")):
        name = yaml.safe_load(CRD.read_text())["metadata"]["name"]
        kube.ask("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", missing=True)


def _served(kube: Kube) -> bool:
    try:
        kube.ask("GET", "/apis/machinelearning.seldon.io/v1/seldondeployments")
    except TradewindError:
        return False
    return True


def _make_namespace(kube: Kube, server: S3) -> None:
    _delete_namespace(kube)
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    kube.ask("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": labels}})
    at = f"/api/v1/namespaces/{NAMESPACE}"
    kube.ask("POST", f"{at}/serviceaccounts", {"metadata": {"name": ACCOUNT}})
    variables = {name: value for name, value in server.environment.items() if name.startswith("AWS_")}
    data = {name: base64.b64encode(value.encode()).decode() for name, value in variables.items()}
    kube.ask("POST", f"{at}/secrets", {"metadata": {"name": SECRET}, "data": data})


def _end_deployments(made: Place) -> None:
    for found in made.all("seldondeployments"):
        made.kube.ask("DELETE", made.path("seldondeployments", found["metadata"]["name"]), missing=True)


def _delete_namespace(kube: Kube) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}"
    kube.ask("DELETE", path, {"gracePeriodSeconds": 0}, missing=True)
    until(lambda: not kube.ask("GET", path, missing=True), within_s=180, what="the end of the namespace")
