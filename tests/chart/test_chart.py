"""What the chart makes of values: lint, rights, security, settings that Airflow reads, and refusals that say why."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendering import CHART, Rendered

from tradewind.cli.doctor import seldon
from tradewind.profiles import PROFILES, Profile
from tradewind.settings import OPTIONS, SERVINGS, Settings

REPOSITORY = Path(__file__).parents[2]
POSTGRES = "mlflow: {replicas: 2, database: {secret: mlflow-database, upgrade: true}}"
ELSEWHERE = """
image: {pattern: "registry.example.org/ml/{image}:{version}-2", pullSecrets: [registry]}
steps: {namespace: ml-steps, createNamespace: false, sparkExecutors: false, serviceAccount: worker}
airflow: {namespace: platform, serviceAccounts: [prod-worker]}
store: {uri: "gs://bucket/store", secret: "", dataRoot: "gs://bucket/raw"}
settings: {schedule_timeout_s: 1000000, tracking_uri: "https://mlflow.example.org", tracking_username: airflow}
mlflow: {enabled: false}
reaper: {secret: airflow-login, arguments: ["--grace", "300"]}
networkPolicy: {enabled: false}
profiles:
  gpu-a100: {cpu: 8, memory_mb: 1000000, gpus: 1, spot: true, node_selector: {gpu: a100}, tolerations: [{key: gpu}]}
  spread: {cpu: 1, memory_mb: 1024, executors: 4, min_executors: 1, executor_cpu: 0.5, executor_cpu_limit: 2}
  burst: {cpu: 0.5, cpu_limit: 2, memory_mb: 1000000, memory_limit_mb: 2000000}
"""
SELDON = """
settings: {serving: seldon, serving_gateway: "http://models.example.org", serving_statistics: "http://gateway:15090/stats"}
serving: {namespace: models}
"""
ALL = {"seldon": SELDON, "default": "", "postgres": POSTGRES, "elsewhere": ELSEWHERE, "reaper": "reaper: {secret: airflow-login}"}

Helm = Callable[..., subprocess.CompletedProcess[str]]
Render = Callable[..., Rendered]


@pytest.mark.parametrize("values", ALL.values(), ids=ALL.keys())
def test_lint_has_nothing_to_say(helm: Helm, values: str) -> None:
    done = helm("lint", CHART, "--strict", values=values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr


def test_the_chart_is_of_this_packages_version() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    airflow = yaml.safe_load((CHART / "values/airflow.yaml").read_text())
    assert airflow["images"]["airflow"]["tag"] == version


# -- settings -----------------------------------------------------------------------------------------------------------


def settings(rendered: Rendered, namespace: str) -> Settings:
    """As Airflow reads them from its environment."""
    data = rendered.one("ConfigMap", "tradewind-settings")
    assert data["metadata"]["namespace"] == namespace
    prefix = "AIRFLOW__TRADEWIND__"
    assert {name.removeprefix(prefix).lower() for name in data["data"]} <= set(OPTIONS)
    return Settings.read(lambda option: data["data"].get(prefix + option.upper()))


def test_airflow_reads_the_defaults(render: Render) -> None:
    read = settings(render(), "airflow")
    assert (read.runtime, read.namespace, read.service_account) == ("kubernetes", "tradewind-steps", "tradewind-step")
    assert read.image == OPTIONS["image"].default
    assert (read.store_uri, read.step_secret) == ("s3://tradewind/store", "tradewind-store")
    assert read.tracking_uri == "http://tradewind-mlflow.airflow.svc:5000"
    assert read.profiles == PROFILES


def test_airflow_reads_what_values_say(render: Render) -> None:
    read = settings(render(ELSEWHERE), "platform")
    assert (read.namespace, read.service_account, read.step_secret) == ("ml-steps", "worker", None)
    assert read.image == "registry.example.org/ml/{image}:{version}-2"
    assert (read.store_uri, read.data_root) == ("gs://bucket/store", "gs://bucket/raw")
    assert (read.tracking_uri, read.tracking_username) == ("https://mlflow.example.org", "airflow")
    assert read.schedule_timeout_s == 1_000_000
    assert read.profile("gpu-a100") == Profile(
        cpu=8,
        memory_mb=1_000_000,
        gpus=1,
        node_selector={"gpu": "a100"},
        tolerations=({"key": "gpu"},),
        spot=True,
    )
    assert read.profile("burst") == Profile(cpu=0.5, cpu_limit=2, memory_mb=1_000_000, memory_limit_mb=2_000_000)


def test_values_know_every_setting_and_every_part_of_a_profile() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    elsewhere = {
        "serving_namespace",
        "runtime",
        "namespace",
        "image",
        "service_account",
        "step_secret",
        "store_uri",
        "data_root",
        "profiles",
    }
    given = {name for name, option in OPTIONS.items() if not option.sensitive} - elsewhere
    known = schema["properties"]["settings"]["properties"]
    assert set(known) == given, "charts/tradewind/values.schema.json, settings: expected the options of tradewind.settings"
    assert tuple(known["serving"]["enum"]) == SERVINGS
    profile = schema["definitions"]["profile"]["properties"]
    assert set(profile) == {field.name for field in fields(Profile)} | {"device"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("stor: {uri: 's3://x/y'}", "stor"),
        ("store: {uri: relative/path}", "/store/uri"),
        ("store: {password: x}", "password"),
        ("image: {pattern: 'mine:1'}", "/image/pattern"),
        ("image: {pullPolicy: Sometimes}", "/image/pullPolicy"),
        ("steps: {podSecurity: none}", "/steps/podSecurity"),
        ("steps: {namespace: Bad_Name}", "/steps/namespace"),
        ("settings: {tracking_password: x}", "tracking_password"),
        ("settings: {tracking_uri: 'https://me:secret@host'}", "/settings/tracking_uri"),
        ("profiles: {small: {cpu: 1}}", "memory_mb"),
        ("profiles: {small: {cpu: 1, memory_mb: 1.5}}", "/profiles/small/memory_mb"),
        ("profiles: {small: {cpu: 1, cpu_limit: 0, memory_mb: 1}}", "/profiles/small/cpu_limit"),
        ("profiles: {small: {cpus: 1, memory_mb: 1, cpu: 1}}", "cpus"),
        ("profiles: {p: {cpu: 2, memory_mb: 1, cpu_limit: 1}}", "profiles.p.cpu_limit: expected cpu (2) or more, got 1"),
        ("profiles: {p: {cpu: 2, memory_mb: 2097152, memory_limit_mb: 8}}", "expected memory_mb (2097152) or more, got 8"),
        (
            "profiles: {p: {cpu: 2, memory_mb: 7, memory_limit_mb: 9, memory_cap_mb: 8}}",
            "expected memory_limit_mb (9) or more, got 8",
        ),
        ("profiles: {p: {cpu: 2, memory_mb: 9, memory_cap_mb: 8}}", "memory_cap_mb: expected memory_mb (9) or more, got 8"),
        (
            "profiles: {p: {cpu: 0.5, memory_mb: 1, executors: 2, executor_cpu: 2, executor_cpu_limit: 1}}",
            "executor_cpu_limit: expected executor_cpu (2) or more, got 1",
        ),
        ("profiles: {p: {cpu: 2, memory_mb: 1, executors: 2, executor_cpu_limit: 1}}", "expected cpu (2) or more, got 1"),
        ("profiles: {p: {cpu: 2, memory_mb: 1, min_executors: 1}}", "executors: expected min_executors (1) or more, got 0"),
        ("mlflow: {service: {port: 0}}", "/mlflow/service/port"),
        ("mlflow: {volume: {size: much}}", "/mlflow/volume/size"),
        ("mlflow: {allowedHosts: ['a,b']}", "/mlflow/allowedHosts/0"),
        ("reaper: {schedule: often}", "/reaper/schedule"),
        (
            "mlflow: {replicas: 2}",
            "mlflow.replicas: expected 1 where MLflow keeps its database or its artifacts on a volume, got 2",
        ),
    ],
)
def test_wrong_values_are_refused_by_name(helm: Helm, values: str, said: str) -> None:
    done = helm("template", "tradewind", CHART, values=values)
    assert done.returncode != 0
    assert said in done.stderr


# -- security -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", ALL.values(), ids=ALL.keys())
def test_every_pod_is_restricted_and_has_its_resources(render: Render, values: str) -> None:
    rendered = render(values)
    assert len(rendered.pods()) == ("mlflow: {enabled: false}" not in values) + ("reaper" in values)
    for name, pod in rendered.pods().items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod.get("initContainers", []) + pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"requests", "limits"} <= set(container["resources"])
            assert not container["image"].endswith(":latest") and ":" in container["image"]


@pytest.mark.parametrize("values", ALL.values(), ids=ALL.keys())
def test_no_secret_is_in_a_manifest(render: Render, values: str) -> None:
    rendered = render(values)
    assert rendered.of("Secret") == []
    assert all(word not in json.dumps(rendered.of("ConfigMap")).lower() for word in ("password", "secret_access_key"))


def rights(rendered: Rendered, name: str) -> dict[str, set[str]]:
    role = rendered.one("Role", name)
    assert all(rule["apiGroups"] == [""] for rule in role["rules"])
    return {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}


def test_airflow_may_run_pods_in_the_steps_namespace_and_nothing_else(render: Render) -> None:
    rendered = render("reaper: {secret: airflow-login}")
    assert rights(rendered, "tradewind-airflow") == {
        "pods": {"create", "get", "list", "watch", "patch", "delete"},
        "pods/log": {"get"},
        "events": {"list", "watch"},
    }
    assert rights(rendered, "tradewind-reaper") == {"pods": {"list", "delete"}}
    assert set(rights(rendered, "tradewind-step")) == {"pods", "pods/log"}
    assert rendered.of("ClusterRole") == rendered.of("ClusterRoleBinding") == []
    assert {role["metadata"]["namespace"] for role in rendered.of("Role") + rendered.of("RoleBinding")} == {"tradewind-steps"}
    subjects = rendered.one("RoleBinding", "tradewind-airflow")["subjects"]
    assert [(s["namespace"], s["name"]) for s in subjects] == [
        ("airflow", "airflow-scheduler"), ("airflow", "airflow-worker"), ("airflow", "airflow-triggerer"),
    ]  # fmt: skip


def test_a_rollout_on_seldon_may_do_what_doctor_looks_for_in_the_models_namespace(render: Render) -> None:
    rendered = render(SELDON)
    role = rendered.one("Role", "tradewind-rollout")
    given = {(group, r): set(x["verbs"]) for x in role["rules"] for group in x["apiGroups"] for r in x["resources"]}
    assert given == {(group, resource): set(verbs) for group, resource, verbs in seldon.RIGHTS}
    assert role["metadata"]["namespace"] == settings(rendered, "airflow").serving_namespace == "models"
    assert rendered.one("Namespace", "models")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"
    accounts = [a["metadata"] for a in rendered.of("ServiceAccount")]
    assert {"models", "tradewind-steps"} == {a["namespace"] for a in accounts if a["name"] == "tradewind-step"}
    assert "tradewind-rollout" not in {r["metadata"]["name"] for r in render().of("Role")}


def test_without_executors_a_step_has_no_rights(render: Render) -> None:
    rendered = render(ELSEWHERE)
    assert [role["metadata"]["name"] for role in rendered.of("Role")] == ["tradewind-airflow", "tradewind-reaper"]
    account = rendered.one("ServiceAccount", "worker")
    assert account["automountServiceAccountToken"] is False
    assert account["imagePullSecrets"] == [{"name": "registry"}]
    (subject,) = rendered.one("RoleBinding", "tradewind-airflow")["subjects"]
    assert (subject["namespace"], subject["name"]) == ("platform", "prod-worker")


def test_the_steps_namespace_is_restricted(render: Render) -> None:
    labels = render().one("Namespace", "tradewind-steps")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert render(ELSEWHERE).of("Namespace") == []


def test_the_network_lets_in_what_works_together(render: Render) -> None:
    rendered = render("networkPolicy: {mlflowNamespaces: [jupyterhub, airflow]}")
    deny = rendered.one("NetworkPolicy", "tradewind-steps")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress"]}
    executors = {"matchLabels": {"spark-role": "executor"}}
    assert rendered.one("NetworkPolicy", "tradewind-spark-executors")["spec"]["podSelector"] == executors
    assert rendered.one("NetworkPolicy", "tradewind-spark-drivers")["spec"]["ingress"] == [{"from": [{"podSelector": executors}]}]
    (rule,) = rendered.one("NetworkPolicy", "tradewind-mlflow")["spec"]["ingress"]
    namespaces = [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in rule["from"]]
    assert namespaces == ["tradewind-steps", "airflow", "jupyterhub"]
    assert render(ELSEWHERE).of("NetworkPolicy") == []


# -- MLflow, the reaper ---------------------------------------------------------------------------------------------------


def variables(pod: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in pod["containers"][0]["env"]}


def test_mlflow_keeps_its_database_on_a_volume_that_outlives_the_release(render: Render) -> None:
    rendered = render()
    deployment = rendered.one("Deployment", "tradewind-mlflow")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    pod = rendered.pods()["tradewind-mlflow"]
    assert pod["containers"][0]["image"] == "tradewind/train:0.1.0"
    assert variables(pod)["MLFLOW_BACKEND_STORE_URI"] == "sqlite:////mlflow/mlflow.db"
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "tradewind-store"}}]
    claim = rendered.one("PersistentVolumeClaim", "tradewind-mlflow")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    lost = render("mlflow: {volume: {keep: false}}").one("PersistentVolumeClaim", "tradewind-mlflow")
    assert "annotations" not in lost["metadata"]


def test_mlflow_with_a_database_of_its_own_has_no_volume(render: Render) -> None:
    rendered = render(POSTGRES)
    assert rendered.of("PersistentVolumeClaim") == []
    assert rendered.one("Deployment", "tradewind-mlflow")["spec"]["strategy"] == {"type": "RollingUpdate"}
    pod = rendered.pods()["tradewind-mlflow"]
    (upgrade,) = pod["initContainers"]
    assert upgrade["command"][:3] == ["mlflow", "db", "upgrade"]
    assert variables(pod)["MLFLOW_BACKEND_STORE_URI"] == {"secretKeyRef": {"name": "mlflow-database", "key": "uri"}}


def test_mlflow_knows_the_names_that_it_is_called_by(render: Render) -> None:
    rendered = render("mlflow: {allowedHosts: [mlflow.example.org]}", release="ml")
    hosts = variables(rendered.pods()["ml-tradewind-mlflow"])["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    uri = rendered.one("ConfigMap", "ml-tradewind-settings")["data"]["AIRFLOW__TRADEWIND__TRACKING_URI"]
    assert uri == "http://ml-tradewind-mlflow.airflow.svc:5000"
    assert {"ml-tradewind-mlflow.airflow.svc:*", "localhost:*", "mlflow.example.org"} <= set(hosts)
    assert all(host.removesuffix(":*").count("*") == 0 for host in hosts)


def test_the_reaper_asks_airflow_with_a_login_of_its_own(render: Render) -> None:
    assert render().of("CronJob") == []
    rendered = render(ELSEWHERE)
    job = rendered.one("CronJob", "tradewind-reaper")
    assert (job["metadata"]["namespace"], job["spec"]["concurrencyPolicy"]) == ("platform", "Forbid")
    pod = rendered.pods()["tradewind-reaper"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    container = pod["containers"][0]
    assert container["image"] == "registry.example.org/ml/airflow:0.1.0-2"
    assert container["args"] == ["tradewind", "reap", "--grace", "300"]
    assert container["envFrom"] == [{"configMapRef": {"name": "tradewind-settings"}}, {"secretRef": {"name": "airflow-login"}}]
    assert variables(pod)["TRADEWIND_AIRFLOW_URL"] == "http://airflow-api-server.platform:8080"


def test_what_airflows_chart_is_given_is_what_this_chart_makes(render: Render) -> None:
    values = yaml.safe_load((CHART / "values/airflow.yaml").read_text())
    sources = yaml.safe_load(values["extraEnvFrom"])
    rendered = render()
    assert [source["configMapRef"]["name"] for source in sources if "configMapRef" in source] == [
        rendered.one("ConfigMap", "tradewind-settings")["metadata"]["name"]
    ]
    assert [source["secretRef"]["name"] for source in sources if "secretRef" in source] == ["tradewind-store"]
    image = f"{values['images']['airflow']['repository']}:{values['images']['airflow']['tag']}"
    reaper = render("reaper: {secret: x}").pods()["tradewind-reaper"]
    assert image == reaper["containers"][0]["image"]
