"""What a SeldonDeployment should say: pure functions from versions to the objects that its operator reads.

Two things keep a promoted version's pods as they are. Its ports are written down: left to the operator, the metrics port
counts up across predictors, and the survivor of a promotion is renumbered, which restarts it. And all predictors have one
graph name. What changes in the course of a rollout is ``traffic`` alone: that is not part of a pod.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tradewind.contract import ArtifactRef
from tradewind.serving.base import checked_name

API = "machinelearning.seldon.io/v1"
GRAPH = "model"  # the container's name too, so it cannot be the target's: that may have an underscore
HTTP, GRPC, METRICS = 9000, 9500, 6000
# The VirtualService's host while nobody is to be served: no request has it.
DARK = "not-released.tradewind.invalid"
HOST_ANNOTATION = "seldon.io/istio-host"
TARGET_ANNOTATION = "tradewind.io/target"
VERSION = "MLSERVER_MODEL_VERSION"
_DIGEST = "#sha256="
_LONGEST = {"target": 30, "version": 20}  # together a Deployment's name has at most 63 characters: no name is a hash's


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is the same for all versions.

    Attributes:
        image: serves the model and, before that, fetches it.
        predictor_image: serves a model that answers through a class of its author's.
        service_account: of the model's pods.
        secret: its keys are the environment of what fetches the model; None where the service account is enough.
        cpu, memory_mb: what a model's server may use; it asks for a quarter of the cores.
    """

    image: str
    predictor_image: str
    service_account: str
    secret: str | None = None
    cpu: float = 1
    memory_mb: int = 1024


def deployment_name(target: str) -> str:
    """The SeldonDeployment's name for a target: different targets have different ones."""
    return _label(checked_name(target, "Target"), "target")


def predictor_name(version: str) -> str:
    return _label(f"v{checked_name(version, 'Version')}", "version")


def _label(name: str, what: str) -> str:
    """``name`` as a DNS label; with a piece of its hash where that is not the same."""
    longest, plain = _LONGEST[what], re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if plain == name and len(name) <= longest:
        return name
    return f"{plain[: longest - 7].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def model_uri(model: ArtifactRef) -> str:
    """What the loader is told: where the model is, and what its hash must be."""
    return f"{model.uri}{_DIGEST}{model.sha256}"


def digest_of(uri: str) -> str:
    """The hash in a `model_uri`; empty in one of somebody else's."""
    return uri.partition(_DIGEST)[2]


def seldon_deployment(target: str, namespace: str, predictor: Mapping[str, Any]) -> dict[str, Any]:
    """The first version of a target: it serves nobody yet."""
    return {
        "apiVersion": API,
        "kind": "SeldonDeployment",
        "metadata": {
            "name": deployment_name(target),
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "tradewind"},
            "annotations": {TARGET_ANNOTATION: target, HOST_ANNOTATION: DARK},
        },
        "spec": {"protocol": "v2", "predictors": [dict(predictor)]},
    }


def predictor(target: str, version: str, model: ArtifactRef, options: Options, *, custom: bool = False) -> dict[str, Any]:
    """A version without a share of the requests. ``custom``: a class of the model's author answers, not MLServer."""
    graph = {
        "name": GRAPH,
        # Chooses the operator's way with MLServer; what runs is the image's own runtime.
        "implementation": "MLFLOW_SERVER",
        "modelUri": model_uri(model),
        "storageInitializerImage": options.image,
        **({"envSecretRefName": options.secret} if options.secret else {}),
    }
    pod = {
        "serviceAccountName": options.service_account,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(target, version, options, custom)],
    }
    return {
        "name": predictor_name(version),
        "annotations": {"seldon.io/no-engine": "true"},
        "replicas": 1,
        "traffic": 0,
        "graph": graph,
        "componentSpecs": [{"spec": pod}],
    }


def _container(target: str, version: str, options: Options, custom: bool) -> dict[str, Any]:
    # The predictor's server reads of these what it needs.
    environment = {
        "MLSERVER_MODEL_NAME": target,
        VERSION: version,  # the operator says v1 of every version
        "MLSERVER_MODEL_IMPLEMENTATION": "tradewind_steps.serve.runtime.Runtime",
        "MLSERVER_PARALLEL_WORKERS": "0",
        # One thread a model: requests come one row at a time, and versions share a node's cores.
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "HOME": "/tmp",  # noqa: S108 - in the pod
    }
    ports = (("http", HTTP), ("grpc", GRPC), ("metrics", METRICS))
    memory = f"{options.memory_mb}Mi"
    return {
        "name": GRAPH,
        "image": options.predictor_image if custom else options.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["serve"],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports],
        # A model may take long to load: until it has, nobody looks whether its server is alive.
        "startupProbe": {
            "httpGet": {"path": "/v2/health/live", "port": "http"},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 600,
        },
        # Their times are kept, what is asked is the operator's; its own first look comes after 20 s.
        "readinessProbe": {"periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {"periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 6},
        "resources": {
            "requests": {"cpu": f"{round(options.cpu * 250)}m", "memory": memory},
            "limits": {"cpu": f"{round(options.cpu * 1000)}m", "memory": memory},
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
