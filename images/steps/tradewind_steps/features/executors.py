"""Spark's executors as pods: started by the driver in the step's pod from what that pod is, owned by it, watched until they
are gone.

An executor gets the step's own image, login, account, nodes and security context; amounts are the profile's. What ends the
step's pod ends the executors, because it owns them.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tradewind.contract import POD_IP_VARIABLE, POD_NAME_VARIABLE, StepSpec
from tradewind.errors import SpecError
from tradewind.store import Store
from tradewind_steps.executor import CODE_VARIABLE, FOLDER_VARIABLE
from tradewind_steps.features.places import s3a_settings
from tradewind_steps.features.pods import Pod, Pods
from tradewind_steps.features.watch import Watch

log = logging.getLogger("tradewind")

CONTAINER = "executor"
DRIVER_LABEL = "tradewind.io/driver"  # the uid of the step's pod
_TMP = "/tmp"  # noqa: S108 - in the pod, a volume of its own
# In an executor's pod Spark puts a volume there; what is above must be there for all to write to.
LOCAL_DIRS = f"{_TMP}/spark"
_SMALLEST_HEAP_MB = 512  # Spark wants 450 MiB
_SMALLEST_REST_MB = 256
# What a pod of an executor takes from the step's: where it may run and as whom.
_TAKEN = (
    "affinity",
    "imagePullSecrets",
    "nodeSelector",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "serviceAccountName",
    "tolerations",
)
# Pod Security `restricted`; the step's own context goes before it.
_POD_SECURITY = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
# Of the step's variables: ours are not the executor's, and what a cloud's webhook adds it adds to an executor's pod too.
_NOT_TAKEN = ("TRADEWIND_", "SPARK_", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_")


@dataclass(frozen=True, kw_only=True)
class Executors:
    """How many and how large: ``most`` and ``fewest`` at a time, each with ``cpu`` cores of its own, ``most_cpu`` where a node
    has them, and ``memory_mb`` MiB in all."""

    most: int
    fewest: int
    cpu: float
    most_cpu: float
    memory_mb: int

    @classmethod
    def asked(cls, resources: Mapping[str, Any]) -> Executors | None:
        """What the profile asks for; None where Spark is to run in the step's process alone."""
        most = int(resources.get("executors") or 0)
        if not most:
            return None
        cpu = float(resources.get("executor_cpu") or resources.get("cpu") or 1)
        return cls(
            most=most,
            fewest=int(resources.get("min_executors") or most),
            cpu=cpu,
            most_cpu=float(resources.get("executor_cpu_limit") or cpu),
            memory_mb=int(resources.get("executor_memory_mb") or resources.get("memory_mb") or 2048),
        )

    @property
    def cores(self) -> int:
        """Tasks that one runs at a time, at least one."""
        return max(1, int(self.most_cpu))


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where the executors of one step run."""

    executors: Executors
    pods: Pods
    pod: Pod
    container: dict[str, Any]
    spec: StepSpec

    @classmethod
    def of(cls, spec: StepSpec) -> Cluster | None:
        """For a step whose profile asks for executors and that runs in a pod; None where Spark runs in this process alone.

        Raises:
            SpecError: the pod may not start executors, or they could not reach the store.
        """
        executors = Executors.asked(spec.resources)
        if executors is None:
            return None
        if POD_NAME_VARIABLE not in os.environ:
            log.info("The profile's %d executors are for a cluster: on this machine Spark runs in this process", executors.most)
            return None
        if not spec.outputs_uri.startswith("s3://"):
            raise SpecError(
                f"Spark with executors writes to a store that all of them reach, on S3; [tradewind] store_uri is {spec.store_uri}"
            )
        pods = Pods.here()
        if missing := pods.missing_rights():
            raise SpecError(
                f"Spark with executors needs a service account that may {', '.join(missing)} pods in {pods.namespace}: "
                "see [tradewind] service_account; the chart's value steps.sparkExecutors gives these rights"
            )
        pod, container = pods.own()
        return cls(executors=executors, pods=pods, pod=pod, container=container, spec=spec)

    def watch(self) -> Watch:
        return Watch(self.pods, self.selector, store=Store(self.spec.store_uri), logs_uri=f"{self.spec.outputs_uri}/executors")

    def settings(self, scratch: Path, code: Path | None) -> dict[str, str]:
        """Spark's configuration; the template of an executor's pod is written to ``scratch``."""
        template = scratch / "executor.json"
        template.write_text(json.dumps(self.template()))
        name, address, asked = self.pod["metadata"]["name"], os.environ[POD_IP_VARIABLE], self.executors
        heap = max(_SMALLEST_HEAP_MB, asked.memory_mb * 3 // 4)
        settings = {
            "spark.master": f"k8s://{self.pods.server}",
            "spark.driver.host": address,
            "spark.driver.bindAddress": address,  # executors are told this one
            "spark.kubernetes.namespace": self.pods.namespace,
            "spark.kubernetes.driver.pod.name": name,
            "spark.kubernetes.container.image": self.container["image"],
            "spark.kubernetes.container.image.pullPolicy": self.container.get("imagePullPolicy", "IfNotPresent"),
            "spark.kubernetes.executor.podTemplateFile": str(template),
            "spark.kubernetes.executor.podTemplateContainerName": CONTAINER,
            "spark.kubernetes.executor.podNamePrefix": name[:40].rstrip("-."),
            "spark.kubernetes.executor.disableConfigMap": "true",
            "spark.kubernetes.executor.deleteOnTermination": "false",  # `Watch` does, once it has read why one ended
            # Spark would look for these at its end, which wants rights for nothing.
            "spark.kubernetes.driver.service.deleteOnTermination": "false",
            "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
            "spark.kubernetes.driver.reusePersistentVolumeClaim": "false",
            "spark.kubernetes.executor.request.cores": f"{round(asked.cpu * 1000)}m",
            "spark.kubernetes.executor.limit.cores": f"{round(asked.most_cpu * 1000)}m",
            "spark.executor.cores": str(asked.cores),
            "spark.executor.memory": f"{heap}m",
            "spark.executor.memoryOverhead": f"{max(_SMALLEST_REST_MB, asked.memory_mb - heap)}m",
            "spark.sql.shuffle.partitions": str(max(4, 2 * asked.most * asked.cores)),
            **s3a_settings(os.environ),
        }
        if asked.fewest < asked.most:
            settings |= {
                "spark.dynamicAllocation.enabled": "true",
                "spark.dynamicAllocation.shuffleTracking.enabled": "true",
                "spark.dynamicAllocation.minExecutors": str(asked.fewest),
                "spark.dynamicAllocation.initialExecutors": str(asked.fewest),
                "spark.dynamicAllocation.maxExecutors": str(asked.most),
            }
        else:
            settings["spark.executor.instances"] = str(asked.most)
        if self.spec.code and code:
            settings |= {
                f"spark.executorEnv.{CODE_VARIABLE}": self.spec.code.uri,
                f"spark.executorEnv.{FOLDER_VARIABLE}": str(code),
            }
        return settings

    @property
    def selector(self) -> str:
        """Which pods are this step's executors."""
        return f"{DRIVER_LABEL}={self.pod['metadata']['uid']},spark-role=executor"

    def template(self) -> Pod:
        """An executor's pod, but for what Spark adds: image, arguments, amounts, owner."""
        spec, container = self.pod["spec"], self.container
        variables = [v for v in container.get("env", []) if not v["name"].startswith(_NOT_TAKEN) and _is_of_any_pod(v)]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"labels": {"app.kubernetes.io/name": "tradewind-executor", DRIVER_LABEL: self.pod["metadata"]["uid"]}},
            "spec": {
                **{name: spec[name] for name in _TAKEN if name in spec},
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": {**_POD_SECURITY, **spec.get("securityContext", {})},
                "volumes": [{"name": "executor-tmp", "emptyDir": {}}],
                "containers": [
                    {
                        "name": CONTAINER,
                        "command": [sys.executable, "-m", "tradewind_steps.executor"],
                        "env": variables,
                        "envFrom": container.get("envFrom", []),
                        "securityContext": {**_CONTAINER_SECURITY, **container.get("securityContext", {})},
                        "volumeMounts": [{"name": "executor-tmp", "mountPath": _TMP}],
                    }
                ],
            },
        }


def _is_of_any_pod(variable: Mapping[str, Any]) -> bool:
    """Whether it says the same in another pod: a value, or a reference to a Secret or a ConfigMap."""
    source = variable.get("valueFrom", {})
    return not ({"fieldRef", "resourceFieldRef"} & source.keys())
