"""The chart on a real cluster: MLflow answers and keeps what it is given, rights are what they say, nothing is left behind.

KUBECONFIG names the cluster, TRADEWIND_TEST_HOST an address of this machine that its pods reach, TRADEWIND_TEST_IMAGE the pattern
of the images on its nodes (`make images`). One release is installed, upgraded and, by the last test, uninstalled.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import on_helm
import pytest
import yaml
from on_helm import kubectl
from rendering import CHART

import tradewind

IMAGE = os.environ.get("TRADEWIND_TEST_IMAGE", "localhost/tradewind/{image}:{version}")

Helm = Callable[..., subprocess.CompletedProcess[str]]

LOG_AN_ARTIFACT = """
import mlflow
mlflow.set_experiment("chart")
with mlflow.start_run() as run:
    mlflow.log_metric("auc", 0.5)
    mlflow.log_text("kept", "note.txt")
print(run.info.artifact_uri)
"""


def image(name: str) -> str:
    return IMAGE.format(image=name, version=tradewind.__version__)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release of the chart; ``bucket`` is the folder in which its store's objects lie."""

    helm: Helm
    namespace: str
    steps: str
    values: str
    bucket: Path

    def upgrade(self, *arguments: str, values: str = "") -> subprocess.CompletedProcess[str]:
        given = yaml.safe_load(self.values) | (yaml.safe_load(values) or {})
        return self.helm(
            "upgrade", "--install", "tradewind", CHART, "--namespace", self.namespace, "--wait", "--timeout", "400s", *arguments,
            values=yaml.safe_dump(given), timeout=450,
        )  # fmt: skip

    def settings(self) -> dict[str, str]:
        (found,) = on_helm.objects(
            "configmap", "--namespace", self.namespace, "--selector", "app.kubernetes.io/component=settings"
        )
        data: dict[str, str] = found["data"]
        return data

    def run_step(self, name: str, *, command: list[str] | None = None, **variables: str) -> str:
        account, secret = "tradewind-step", "tradewind-store"
        return on_helm.run_pod(self.steps, image(name), account=account, secret=secret, command=command, **variables)


@pytest.fixture(scope="module")
def release(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    name = f"tradewind-chart-{uuid.uuid4().hex[:6]}"
    folder = tmp_path_factory.mktemp("s3")
    with ExitStack() as stack:
        endpoint = stack.enter_context(on_helm.s3_server(folder, os.environ.get("TRADEWIND_TEST_HOST", "10.77.0.1")))
        storage = stack.enter_context(on_helm.volume(name))
        stack.enter_context(on_helm.namespace(name))
        login = {
            "AWS_ACCESS_KEY_ID": on_helm.ACCESS, "AWS_SECRET_ACCESS_KEY": on_helm.SECRET,
            "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        on_helm.put_secret(name, "tradewind-store", login)
        values = f"""
            image: {{pattern: "{IMAGE}"}}
            steps: {{namespace: {name}-steps}}
            store: {{uri: "s3://{on_helm.BUCKET}/store"}}
            mlflow: {{artifacts: "s3://{on_helm.BUCKET}/mlflow", volume: {{size: 1Gi, storageClass: "{storage}"}}}}
        """
        made = Release(helm=helm, namespace=name, steps=f"{name}-steps", values=values, bucket=folder / on_helm.BUCKET)
        stack.callback(
            helm, "uninstall", "tradewind", "--namespace", name, "--ignore-not-found", "--wait", "--timeout", "120s", timeout=150
        )
        done = made.upgrade()
        assert done.returncode == 0, done.stderr + kubectl("--namespace", name, "get", "events,pods", check=False).stdout
        assert "kubectl --namespace" in done.stdout  # what is left to do
        on_helm.put_secret(made.steps, "tradewind-store", login)
        yield made


def test_mlflow_answers_through_its_service_to_names_that_it_knows(release: Release) -> None:
    with on_helm.forwarded(release.namespace, "service/tradewind-mlflow", 5000) as url:
        experiments = f"{url}/api/2.0/mlflow/experiments/search?max_results=1"
        on_helm.until(lambda: on_helm.answers(experiments) == 200, seconds=60, what="MLflow's first answer")
        assert on_helm.answers(experiments, headers={"Host": "evil.example.org"}) == 403


def test_a_step_logs_to_mlflow_whose_artifacts_go_to_the_store(release: Release) -> None:
    uri = release.settings()["AIRFLOW__TRADEWIND__TRACKING_URI"]
    said = release.run_step("train", command=["python", "-c", LOG_AN_ARTIFACT], MLFLOW_TRACKING_URI=uri)
    assert said.startswith("Succeeded\n"), said
    (note,) = release.bucket.glob("mlflow/**/note.txt")
    assert note.read_text() == "kept"


@pytest.mark.parametrize("name", ["data", "train"])
def test_a_steps_image_without_a_spec_says_what_is_missing(release: Release, name: str) -> None:
    said = release.run_step(name)
    assert said.startswith("Failed\nTRADEWIND_SPEC is not set: expected the URI of a step's spec.json"), said


def test_airflow_may_do_what_it_must_in_the_steps_namespace_only(release: Release) -> None:
    def may(account: str, verb: str, resource: str, namespace: str) -> bool:
        name, _, part = resource.partition("/")
        subresource = [f"--subresource={part}"] if part else []
        who = ["--namespace", namespace, f"--as=system:serviceaccount:{account}"]
        said = kubectl("auth", "can-i", verb, name, *subresource, *who, check=False)
        assert said.stdout.split()[:1] in (["yes"], ["no"]), said.stderr
        return said.stdout.strip() == "yes"

    worker, step = f"{release.namespace}:airflow-worker", f"{release.steps}:tradewind-step"
    for verb in ("create", "get", "list", "watch", "patch", "delete"):
        assert may(worker, verb, "pods", release.steps)
        assert not may(worker, verb, "pods", release.namespace)
        assert not may(worker, verb, "secrets", release.steps)
    assert may(worker, "get", "pods/log", release.steps)
    assert not may(worker, "create", "pods/exec", release.steps)
    assert may(step, "create", "pods", release.steps)
    assert not may(step, "create", "pods", release.namespace)
    assert not may(step, "create", "configmaps", release.steps)
    assert not may(step, "get", "secrets", release.steps)


def test_the_steps_namespace_takes_no_pod_with_privileges(release: Release) -> None:
    refused = kubectl("--namespace", release.steps, "run", "root", "--image", image("data"), "--privileged", check=False)
    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted' in refused.stderr


def test_an_upgrade_changes_settings_and_keeps_what_mlflow_has(release: Release) -> None:
    changed = "{profiles: {gpu-a100: {cpu: 8, memory_mb: 65536, gpus: 1}}, settings: {schedule_timeout_s: 60}}"
    done = release.upgrade(values=changed)
    assert done.returncode == 0, done.stderr
    assert "gpu-a100" in release.settings()["AIRFLOW__TRADEWIND__PROFILES"]
    kubectl("--namespace", release.namespace, "rollout", "restart", "deployment/tradewind-mlflow")
    kubectl("--namespace", release.namespace, "rollout", "status", "deployment/tradewind-mlflow", "--timeout=300s", timeout=320)
    with on_helm.forwarded(release.namespace, "service/tradewind-mlflow", 5000) as url:
        found = httpx.get(f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=chart", trust_env=False, timeout=60)
    assert found.json()["experiment"]["name"] == "chart"


def test_uninstalling_leaves_the_claim_alone(release: Release) -> None:
    done = release.helm("uninstall", "tradewind", "--namespace", release.namespace, "--wait", "--timeout", "120s", timeout=150)
    assert done.returncode == 0, done.stderr
    gone = kubectl("get", "namespace", release.steps, check=False)
    assert "NotFound" in gone.stderr
    kinds = "all,configmap,secret,serviceaccount,role,rolebinding,networkpolicy,persistentvolumeclaim,cronjob"

    def left() -> list[tuple[str, str]]:
        found = on_helm.objects(kinds, "--namespace", release.namespace, "--selector", "app.kubernetes.io/instance=tradewind")
        return [(item["kind"], item["metadata"]["name"]) for item in found]

    # Helm waits for what it made; what that had made, a pod, may be a moment behind.
    on_helm.until(lambda: len(left()) == 1, seconds=60, what="the end of all but the claim")
    assert left() == [("PersistentVolumeClaim", "tradewind-mlflow")]
