"""What the operator makes of a SeldonDeployment: pure functions to the objects that it would apply."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

HTTP, GRPC, METRICS = 9000, 9500, 6000
GATEWAY = "istio-system/seldon-gateway"
_MODELS = "/mnt/models"
_RUNTIMES = {
    "SKLEARN_SERVER": "mlserver_sklearn.SKLearnModel",
    "XGBOOST_SERVER": "mlserver_xgboost.XGBoostModel",
    "MLFLOW_SERVER": "mlserver_mlflow.MLflowRuntime",
}

Object = dict[str, Any]


def deployments(sdep: Object) -> list[Object]:
    """One for each predictor, with its metrics port as the operator counts."""
    found, next_port = [], METRICS
    for predictor in sdep["spec"]["predictors"]:
        named = next((p for p in _own(predictor).get("ports", []) if p.get("name") == "metrics"), None)
        port = named["containerPort"] if named else next_port
        next_port += not named
        found.append(_deployment(sdep, predictor, port))
    return found


def services(sdep: Object) -> list[Object]:
    """Two for each predictor: the one that is routed to, and its container's."""
    found = []
    for predictor in sdep["spec"]["predictors"]:
        for name, selector in (
            (key(sdep, predictor), {"seldon-app": key(sdep, predictor)}),
            (_short(f"{key(sdep, predictor)}-{predictor['graph']['name']}"), _selector(sdep, predictor)),
        ):
            ports = [{"name": "http", "port": HTTP, "targetPort": HTTP}, {"name": "grpc", "port": GRPC, "targetPort": GRPC}]
            labels = {"seldon-deployment-id": sdep["metadata"]["name"], "app.kubernetes.io/managed-by": "seldon-core"}
            found.append(
                {
                    "apiVersion": "v1", "kind": "Service", "metadata": _metadata(sdep, name, labels),
                    "spec": {"selector": selector, "ports": ports, "type": "ClusterIP"},
                }
            )  # fmt: skip
    return found


def virtual_service(sdep: Object) -> Object:
    name, namespace = sdep["metadata"]["name"], sdep["metadata"]["namespace"]
    rest: Object = {"match": [{"uri": {"prefix": f"/seldon/{namespace}/{name}/"}}], "rewrite": {"uri": "/"}}
    grpc: Object = {
        "match": [
            {
                "uri": {"regex": ".*tensorflow.*|.*seldon.protos.*|.*inference.*"},
                "headers": {"seldon": {"exact": name}, "namespace": {"exact": namespace}},
            }
        ]
    }
    for route, port in ((rest, HTTP), (grpc, GRPC)):
        route["route"] = []
        for predictor in sdep["spec"]["predictors"]:
            destination = {"host": _host(sdep, predictor), "subset": predictor["name"], "port": {"number": port}}
            traffic = predictor.get("traffic") or 0
            if predictor.get("shadow"):
                route["mirror"] = destination
                if traffic:
                    route["mirrorPercentage"] = {"value": traffic}
                continue
            route["route"].append({"destination": destination, **({"weight": traffic} if traffic else {})})
    annotations = {**(sdep["metadata"].get("annotations") or {}), **(sdep["spec"].get("annotations") or {})}
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": _metadata(sdep, name, {}),
        "spec": {
            "gateways": [annotations.get("seldon.io/istio-gateway", GATEWAY)],
            "hosts": [annotations.get("seldon.io/istio-host", "*")],
            "http": [rest, grpc],
        },
    }  # fmt: skip


def destination_rules(sdep: Object) -> list[Object]:
    return [
        {
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": _metadata(sdep, key(sdep, p), {}),
            "spec": {
                "host": _host(sdep, p), "subsets": [{"name": p["name"], "labels": {"version": p["name"]}}],
                "trafficPolicy": {"connectionPool": {"http": {"idleTimeout": "60s"}}},
            },
        }
        for p in sdep["spec"]["predictors"]
    ]  # fmt: skip


def key(sdep: Object, predictor: Object) -> str:
    return _short(f"{sdep['metadata']['name']}-{predictor['name']}")


def _deployment(sdep: Object, predictor: Object, metrics: int) -> Object:
    pod = copy.deepcopy(predictor["componentSpecs"][0]["spec"])
    name = _short(f"{sdep['metadata']['name']}-{predictor['name']}-0-{'-'.join(c['name'] for c in pod['containers'])}")
    graph = predictor["graph"]
    container = next(c for c in pod["containers"] if c["name"] == graph["name"])
    _serving(container, sdep, predictor, metrics)
    volume = f"{container['name']}-provision-location"
    container.setdefault("volumeMounts", []).extend(
        [{"name": "seldon-podinfo", "mountPath": "/etc/podinfo"}, {"name": volume, "mountPath": _MODELS, "readOnly": True}]
    )
    pod["initContainers"] = [
        {
            "name": f"{container['name']}-model-initializer",
            "image": graph["storageInitializerImage"],
            "imagePullPolicy": "IfNotPresent",
            "args": [graph["modelUri"], _MODELS],
            "volumeMounts": [{"name": volume, "mountPath": _MODELS}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "10m", "memory": "32Mi"}},
            **({"envFrom": [{"secretRef": {"name": graph["envSecretRefName"]}}]} if graph.get("envSecretRefName") else {}),
        }
    ]
    podinfo = {"items": [{"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}]}
    pod["volumes"] = [
        *pod.get("volumes", []), {"name": "seldon-podinfo", "downwardAPI": podinfo}, {"name": volume, "emptyDir": {}},
    ]  # fmt: skip
    pod.setdefault("terminationGracePeriodSeconds", 20)
    annotations = {**(sdep["spec"].get("annotations") or {}), **(predictor.get("annotations") or {})}
    labels = {
        "app": name, "app.kubernetes.io/managed-by": "seldon-core", "fluentd": "true", "seldon.io/model": "true",
        **_selector(sdep, predictor), "version": predictor["name"], **(predictor.get("labels") or {}),
        **({"seldon.io/shadow": "true"} if predictor.get("shadow") else {}),
    }  # fmt: skip
    template = {
        "metadata": {
            "labels": labels,
            "annotations": {"prometheus.io/path": "/prometheus", "prometheus.io/scrape": "true", **annotations},
        },
        "spec": pod,
    }
    replicas = predictor.get("replicas", sdep["spec"].get("replicas", 1))
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {**_metadata(sdep, name, labels), "annotations": annotations},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": _selector(sdep, predictor)}, "template": template,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "progressDeadlineSeconds": predictor.get("progressDeadlineSeconds", 600),
        },
    }  # fmt: skip


def _serving(container: Object, sdep: Object, predictor: Object, metrics: int) -> None:
    """MLServer's settings where the author has none; ports are the graph's, whatever the author has."""
    graph = predictor["graph"]
    own = {variable["name"]: variable for variable in container.get("env", [])}
    ours = {
        "MLSERVER_HTTP_PORT": HTTP, "MLSERVER_GRPC_PORT": GRPC,
        "MLSERVER_MODEL_IMPLEMENTATION": _RUNTIMES[graph["implementation"]], "MLSERVER_MODEL_NAME": graph["name"],
        "MLSERVER_MODEL_VERSION": "v1", "MLSERVER_MODEL_URI": _MODELS, "PREDICTIVE_UNIT_SERVICE_PORT": HTTP,
        "PREDICTIVE_UNIT_ID": graph["name"], "PREDICTOR_ID": predictor["name"],
        "SELDON_DEPLOYMENT_ID": sdep["metadata"]["name"], "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": metrics,
        "PREDICTIVE_UNIT_METRICS_ENDPOINT": "/prometheus", "MLSERVER_METRICS_PORT": metrics,
        "MLSERVER_METRICS_ENDPOINT": "/prometheus",
    }  # fmt: skip
    defaults = {name: {"name": name, "value": str(value)} for name, value in ours.items()}
    container["env"] = list({**defaults, **own}.values())
    container["ports"] = [
        {"name": "grpc", "containerPort": GRPC, "protocol": "TCP"}, {"name": "http", "containerPort": HTTP, "protocol": "TCP"},
    ]  # fmt: skip
    times = {"initialDelaySeconds": 20, "periodSeconds": 5, "failureThreshold": 3, "timeoutSeconds": 60}
    for probe, path in (("readinessProbe", "ready"), ("livenessProbe", "live")):
        handler = {"httpGet": {"path": f"/v2/health/{path}", "port": "http", "scheme": "HTTP"}}
        container[probe] = {**(container.get(probe) or times), **handler}
    container.setdefault("lifecycle", {"preStop": {"exec": {"command": ["/bin/sh", "-c", "/bin/sleep 10"]}}})


def _own(predictor: Object) -> Object:
    containers = predictor["componentSpecs"][0]["spec"]["containers"]
    found: Object = next(c for c in containers if c["name"] == predictor["graph"]["name"])
    return found


def _selector(sdep: Object, predictor: Object) -> Object:
    service = _short(f"{key(sdep, predictor)}-{predictor['graph']['name']}")
    return {
        "seldon-app": key(sdep, predictor), "seldon-app-svc-" + predictor["graph"]["name"]: service,
        "seldon-deployment-id": sdep["metadata"]["name"],
    }  # fmt: skip


def _metadata(sdep: Object, name: str, labels: Object) -> Object:
    owner = {
        "apiVersion": "machinelearning.seldon.io/v1", "kind": "SeldonDeployment", "name": sdep["metadata"]["name"],
        "uid": sdep["metadata"].get("uid", ""), "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip
    namespace = sdep["metadata"]["namespace"]
    return {"name": name, "namespace": namespace, "labels": dict(labels), "ownerReferences": [owner]}


def _host(sdep: Object, predictor: Object) -> str:
    return f"{key(sdep, predictor)}.{sdep['metadata']['namespace']}.svc.cluster.local"


def _short(name: str) -> str:
    return name if len(name) <= 63 else f"seldon-{hashlib.md5(name.encode()).hexdigest()}"
