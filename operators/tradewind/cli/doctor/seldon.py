"""What a rollout on Seldon needs beside its kind of object: rights in the models' namespace, and the gateway's statistics."""

from __future__ import annotations

from collections.abc import Iterator

from tradewind.cli.doctor import crds
from tradewind.cli.doctor.result import Result, failed, passed
from tradewind.errors import RuntimeUnavailable
from tradewind.kube import Kube, kube_for
from tradewind.serving import metrics_for
from tradewind.settings import SECTION, Settings

# What the operators ask of the API there: charts/tradewind gives the same.
RIGHTS = (
    (crds.SELDON, "seldondeployments", ("create", "get", "patch", "delete")),
    ("networking.istio.io", "virtualservices", ("get", "patch")),
    ("networking.istio.io", "destinationrules", ("list", "delete")),
    ("apps", "deployments", ("list", "delete")),
    ("", "pods", ("list",)),
    ("", "services", ("list",)),
    ("", "configmaps", ("create", "get", "patch")),
    ("coordination.k8s.io", "leases", ("create", "get", "update")),
)


def look(settings: Settings) -> Iterator[Result]:
    kube = kube_for()
    if settings.runtime == "local":  # else it is among the cluster's kinds
        yield from crds.seldon(kube, settings)
    yield from _rights(kube, settings.serving_namespace)
    if not settings.serving_gateway:
        yield failed("gateway", "no address is set by which clients reach it", f"Set [{SECTION}] serving_gateway")
    try:
        found = metrics_for(settings).look()
    except RuntimeUnavailable as error:
        yield failed("gateway statistics", str(error), f"See [{SECTION}] serving_statistics: without them no canary is judged")
    else:
        yield passed("gateway statistics", found)


def _rights(kube: Kube, namespace: str) -> Iterator[Result]:
    missing = False
    for group, resource, verbs in RIGHTS:
        if refused := [verb for verb in verbs if not kube.allowed(namespace, verb, resource, group=group)]:
            missing = True
            fix = f"Give Airflow's service account a Role in {namespace} with these verbs on {resource}.{group}".rstrip(".")
            yield failed(f"right: {resource}", f"Airflow may not {', '.join(refused)} in {namespace}", fix)
    if not missing:
        yield passed("serving", f"SeldonDeployments in {namespace}: all rights are there")
