"""The same work in a pod by this pack's operator and by a bare KubernetesPodOperator, which is told the spec of a step."""

import os
from datetime import datetime

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, Param
from kubernetes.client import models as k8s

from tradewind.operators import TrainModelOperator

COMMON = {"schedule": None, "start_date": datetime(2013, 1, 1), "render_template_as_native_obj": True}

with DAG("pod_ours", params={"seconds": Param(0, type="number")}, **COMMON):
    TrainModelOperator(
        task_id="train", train="train:train", dataset="rows.parquet", label_column="y", profile="pod", reuse=False,
        train_params={"seconds": "{{ params.seconds }}"},
    )  # fmt: skip

with DAG("pod_bare", params={"spec": Param("", type="string")}, **COMMON):
    amounts = {"cpu": "800m", "memory": "1500Mi"}
    KubernetesPodOperator(
        task_id="train", name="bare", namespace=os.environ["BENCH_NAMESPACE"], image=os.environ["BENCH_IMAGE"],
        env_vars={"TRADEWIND_SPEC": "{{ params.spec }}", "HOME": "/tmp"}, service_account_name="tradewind-step",
        env_from=[k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name="tradewind-store"))],
        container_resources=k8s.V1ResourceRequirements(requests=amounts, limits=amounts),
        security_context={"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        container_security_context={"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        volumes=[k8s.V1Volume(name="tmp", empty_dir=k8s.V1EmptyDirVolumeSource())],
        volume_mounts=[k8s.V1VolumeMount(name="tmp", mount_path="/tmp")],
        deferrable=True, retries=0,
    )  # fmt: skip
