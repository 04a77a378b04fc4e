"""What KubernetesPodOperator is asked for: a step's spec and its profile as the operator's arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernetes.client import models as k8s

import tradewind
from tradewind.contract import POD_IP_VARIABLE, POD_NAME_VARIABLE, POD_NAMESPACE_VARIABLE, SPEC_VARIABLE, StepSpec, digest
from tradewind.profiles import Profile
from tradewind.settings import Settings
from tradewind.store import segment

CONTAINER = "step"
WORK_ANNOTATION = "tradewind.io/work"
MANAGED_BY = {"app.kubernetes.io/managed-by": "tradewind"}
POD_VARIABLES = {
    POD_NAME_VARIABLE: "metadata.name",
    POD_NAMESPACE_VARIABLE: "metadata.namespace",
    POD_IP_VARIABLE: "status.podIP",
}
_GPU = "nvidia.com/gpu"
_TMP = "/tmp"  # noqa: S108 - in the pod, a volume of its own


def image_reference(settings: Settings, image: str, own: Mapping[str, Any]) -> str:
    """The image of a step's pod: the author's own, else what the settings make of the environment's name."""
    return str(own.get("image") or settings.image.format(image=image, version=tradewind.__version__))


def work_of(reference: str, spec: StepSpec) -> str:
    """What a step does, whichever try does it: a pod of an earlier try that does the same is taken over.

    Args:
        reference: the pod's image.
    """
    inputs = {name: ref.sha256 for name, ref in spec.inputs.items()}
    where = [reference, spec.resources.get("device")]
    code = [spec.code.sha256 if spec.code else None, spec.entry_point]
    return digest([spec.fingerprint, spec.step, spec.params, inputs, code, where, spec.as_of])


def pod_arguments(settings: Settings, profile: Profile, spec: StepSpec, spec_uri: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """KubernetesPodOperator's arguments for a step.

    Args:
        spec: its ``resources`` hold the memory that it may use, which may be more than the profile's limit.
        own: the author's: lists and mappings add to ours, anything else replaces it.
    """
    ids = {
        "dag-id": spec.dag_id, "run-id": spec.run_id, "task-id": spec.task_id,
        "map-index": str(spec.map_index), "try-number": str(spec.try_number),
    }  # fmt: skip
    reference = image_reference(settings, spec.image, own)
    with_executors = bool(profile.executors and spec.step == "features")
    ours: dict[str, Any] = {
        "name": segment(f"{spec.dag_id}-{spec.task_id}").replace("_", "-").replace(".", "-").strip("-")[:50] or "step",
        "namespace": settings.namespace,
        "image_pull_policy": "IfNotPresent",
        "base_container_name": CONTAINER,
        "env_vars": [
            k8s.V1EnvVar(name=SPEC_VARIABLE, value=spec_uri),
            k8s.V1EnvVar(name="PYTHONUNBUFFERED", value="1"),
            k8s.V1EnvVar(name="HOME", value=_TMP),
            *(
                k8s.V1EnvVar(name=name, value_from=k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path=path)))
                for name, path in POD_VARIABLES.items()
            ),
        ],
        "env_from": _secret(settings.step_secret),
        "labels": {
            **MANAGED_BY,
            "app.kubernetes.io/name": "tradewind-step",
            **({"kueue.x-k8s.io/queue-name": profile.queue} if profile.queue else {}),
        },
        "annotations": {WORK_ANNOTATION: work_of(reference, spec), **{f"tradewind.io/{name}": ids[name] for name in ids}},
        "container_resources": _resources(profile, int(spec.resources.get("memory_mb") or profile.most_memory_mb)),
        "node_selector": dict(profile.node_selector),
        "tolerations": [_toleration(item) for item in profile.tolerations],
        "priority_class_name": profile.priority_class or None,
        "service_account_name": settings.service_account,
        # Only Spark's driver talks to Kubernetes.
        "automount_service_account_token": with_executors,
        "volumes": _volumes(profile),
        "volume_mounts": [
            k8s.V1VolumeMount(name="tmp", mount_path=_TMP),
            *([k8s.V1VolumeMount(name="shm", mount_path="/dev/shm")] if profile.shared_memory_mb else []),  # noqa: S108
        ],
        "security_context": k8s.V1PodSecurityContext(
            run_as_non_root=True, seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault")
        ),
        "container_security_context": k8s.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=k8s.V1Capabilities(drop=["ALL"]),
        ),
        "schedule_timeout_seconds": settings.schedule_timeout_s,
        "startup_timeout_seconds": settings.startup_timeout_s,
        # What is said of a pod while it starts is said by our trigger, in words.
        "log_events_on_startup": False,
        "log_pod_spec_on_failure": False,
        "do_xcom_push": False,
        "get_logs": True,
    }  # fmt: skip
    return {**ours, **{name: _added(ours.get(name), value) for name, value in own.items()}, "image": reference}


def _added(ours: Any, own: Any) -> Any:
    if isinstance(ours, dict) and isinstance(own, Mapping):
        return {**ours, **own}
    if isinstance(ours, list) and isinstance(own, list | tuple):
        return [*ours, *own]
    if isinstance(ours, list) and ours and isinstance(ours[0], k8s.V1EnvVar) and isinstance(own, Mapping):
        return [*ours, *(k8s.V1EnvVar(name=name, value=value) for name, value in own.items())]
    return own


def _secret(name: str | None) -> list[k8s.V1EnvFromSource]:
    return [k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=name))] if name else []


def _resources(profile: Profile, memory_mb: int) -> k8s.V1ResourceRequirements:
    def amounts(cpu: float, memory_mb: int) -> dict[str, str]:
        gpus = {_GPU: str(profile.gpus)} if profile.gpus else {}  # as many as it may use: Kubernetes wants it so
        return {"cpu": f"{round(cpu * 1000)}m", "memory": f"{memory_mb}Mi", **gpus}

    return k8s.V1ResourceRequirements(
        requests=amounts(profile.cpu, profile.requested_memory_mb(memory_mb)), limits=amounts(profile.most_cpu, memory_mb)
    )


def _volumes(profile: Profile) -> list[k8s.V1Volume]:
    volumes = [k8s.V1Volume(name="tmp", empty_dir=k8s.V1EmptyDirVolumeSource())]
    if profile.shared_memory_mb:
        memory = k8s.V1EmptyDirVolumeSource(medium="Memory", size_limit=f"{profile.shared_memory_mb}Mi")
        volumes.append(k8s.V1Volume(name="shm", empty_dir=memory))
    return volumes


def _toleration(item: Mapping[str, Any]) -> k8s.V1Toleration:
    return k8s.V1Toleration(
        key=item.get("key"), operator=item.get("operator"), value=item.get("value"), effect=item.get("effect"),
        toleration_seconds=item.get("tolerationSeconds"),
    )  # fmt: skip
