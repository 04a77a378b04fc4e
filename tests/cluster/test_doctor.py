"""``tradewind doctor`` on a real cluster: as an account that may do what operators need, as one that may not, as nobody."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from access import Access, access
from kubernetes import client
from live import until

from tradewind.cli.doctor.cluster import RIGHTS, SPARK_RIGHTS
from tradewind.serving.local.process import free_port

VALUE = "hunter2-hunter2"
SECRET = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": VALUE, "AWS_ENDPOINT_URL": "http://10.0.0.1"}
LOOKING = [
    ("", "secrets", ["get"]),
    ("", "serviceaccounts", ["get"]),
    ("authorization.k8s.io", "localsubjectaccessreviews", ["create"]),
]
CLUSTER_WIDE = [
    ("", "nodes", ["list"]),
    ("", "pods", ["list"]),
    ("", "namespaces", ["get"]),
    ("scheduling.k8s.io", "priorityclasses", ["get"]),
]
EXECUTORS = {"cpu": 0.1, "memory_mb": 64, "executors": 2}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with access(tmp_path_factory.mktemp("access")) as made:
        made.secret("tradewind-store", SECRET)
        yield made


@pytest.fixture(scope="module")
def operators(place: Access) -> Path:
    """All that operators need, and what doctor would like to see. Steps may start executors."""
    place.account("tradewind-step", [("", resource, verbs) for resource, verbs in SPARK_RIGHTS])
    return place.account("airflow", [*(("", resource, verbs) for resource, verbs in RIGHTS), *LOOKING], CLUSTER_WIDE)


def asked(
    kubeconfig: Path, folder: Path, place: Access, *arguments: str, profiles: Mapping[str, Any] | None = None, **options: str
) -> tuple[dict[str, str], list[str]]:
    """The environment and the command."""
    given = {
        "home": str(folder / "home"),
        "runtime": "kubernetes",
        "namespace": place.namespace,
        "store_uri": "memory://tradewind",
        "tracking_uri": f"http://mlflow.invalid:{free_port()}",
        "step_secret": "tradewind-store",
        "image": "localhost/tradewind-none/{image}:1",
        "profiles": json.dumps(profiles or {}),
        **options,
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(folder / "airflow"),
        "KUBECONFIG": str(kubeconfig),
        **{f"AIRFLOW__TRADEWIND__{name.upper()}": value for name, value in given.items()},
    }
    return environment, [sys.executable, "-m", "tradewind", "doctor", *arguments]


def doctor(
    kubeconfig: Path, folder: Path, place: Access, *, profiles: Mapping[str, Any] | None = None, **options: str
) -> tuple[int, dict[str, dict[str, str]]]:
    """Its exit code and its lines by name, with nothing of what the secret holds in them."""
    environment, command = asked(kubeconfig, folder, place, "--json", profiles=profiles, **options)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    for form in (VALUE, base64.b64encode(VALUE.encode()).decode()):
        assert form not in done.stdout + done.stderr
    return done.returncode, {line["name"]: line for line in json.loads(done.stdout)}


def states(lines: Mapping[str, Mapping[str, str]], *names: str) -> dict[str, str]:
    return {name: lines[name]["state"] for name in names}


def test_an_account_with_the_operators_rights(operators: Path, place: Access, tmp_path: Path) -> None:
    low = place.priority_class()
    profiles = {
        "mini": {"cpu": 0.1, "memory_mb": 64, "priority_class": low},
        "many": EXECUTORS,
        "huge": {"cpu": 4000, "memory_mb": 64, "priority_class": "no-such-class"},
        "placed": {"cpu": 0.1, "memory_mb": 64, "node_selector": {"tradewind.io/none": "x"}},
        "queued": {"cpu": 0.1, "memory_mb": 64, "queue": "ml"},
    }
    code, lines = doctor(operators, tmp_path, place, profiles=profiles)
    assert code == 1
    passing = states(lines, "Kubernetes", "rights", "namespace", "service account", "Spark executors", "step secret",
                     "profile mini", "profile many", f"priority class {low}")  # fmt: skip
    assert set(passing.values()) == {"pass"}, lines
    assert "version v1." in lines["Kubernetes"]["detail"]
    assert "Pod Security restricted" in lines["namespace"]["detail"]
    assert ", ".join(sorted(SECRET)) in lines["step secret"]["detail"]
    failing = {name for name, line in lines.items() if line["state"] == "fail"}
    assert failing == {"MLflow", "profile huge", "profile placed", "priority class no-such-class", "Kueue"}
    assert "no node has 4000 cores and 64 MiB; the largest free is" in lines["profile huge"]["detail"]
    assert "no node has the labels tradewind.io/none=x" in lines["profile placed"]["detail"]
    assert "names a queue, and Kueue is not here" in lines["Kueue"]["detail"]
    groups = {group.name for group in client.ApisApi(place.api).get_api_versions().groups}
    if groups & {"machinelearning.seldon.io", "mlops.seldon.io"}:  # somebody else's, on a cluster of people's own
        assert lines["Seldon"]["state"] == "pass"
    else:
        assert lines["Seldon"]["state"] == "skipped"
        assert "1.17.1" in lines["Seldon"]["detail"] and "BSL 1.1" in lines["Seldon"]["detail"]
    assert states(lines, "image data", "image train") == {"image data": "skipped", "image train": "skipped"}
    assert "not on any node yet" in lines["image data"]["detail"]


@pytest.mark.parametrize(("resource", "verb"), [("pods", "patch"), ("pods/log", "get"), ("events", "list")])
def test_a_right_that_is_missing(place: Access, tmp_path: Path, resource: str, verb: str) -> None:
    rules = [("", other, [v for v in verbs if (other, v) != (resource, verb)]) for other, verbs in RIGHTS]
    account = place.account(f"no-{verb}-{resource.replace('/', '-')}", [rule for rule in rules if rule[2]])
    code, lines = doctor(account, tmp_path, place)
    assert code == 1
    refused = [line for name, line in lines.items() if name.startswith("right")]
    assert [(line["name"], line["state"]) for line in refused] == [(f"right: {resource}", "fail")]
    assert refused[0]["detail"] == f"Airflow may not {verb} in {place.namespace}"
    assert "Role" in refused[0]["fix"]


def test_what_an_account_may_not_look_at_is_skipped(place: Access, tmp_path: Path) -> None:
    bare = place.account("bare", [("", resource, verbs) for resource, verbs in RIGHTS])
    profiles = {"queued": {"cpu": 1, "memory_mb": 64, "priority_class": "any"}, "many": EXECUTORS}
    _, lines = doctor(bare, tmp_path, place, profiles=profiles)
    looked = ("namespace", "service account", "Spark executors", "step secret", "capacity", "priority classes", "images")
    assert set(states(lines, *looked).values()) == {"skipped"}, lines
    assert all(lines[name]["fix"] for name in looked)
    assert lines["rights"]["state"] == "pass"


def test_what_is_not_there(operators: Path, place: Access, tmp_path: Path) -> None:
    options = {"service_account": "nobody", "step_secret": "nothing", "tracking_username": "me"}
    _, lines = doctor(operators, tmp_path, place, **options)
    assert states(lines, "service account", "step secret") == {"service account": "fail", "step secret": "fail"}
    assert f"kubectl -n {place.namespace} create serviceaccount nobody" in lines["service account"]["fix"]
    assert "MLFLOW_TRACKING_PASSWORD" in lines["step secret"]["fix"]

    _, lines = doctor(operators, tmp_path, place, tracking_username="me")
    assert lines["step secret"]["state"] == "fail"
    assert lines["step secret"]["detail"].endswith("lacks MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_USERNAME")


def test_steps_that_may_not_start_executors(place: Access, tmp_path: Path, operators: Path) -> None:
    place.account("idle", [])
    _, lines = doctor(operators, tmp_path, place, service_account="idle", profiles={"many": EXECUTORS})
    assert lines["Spark executors"]["state"] == "fail"
    assert "idle may not create pods, get pods" in lines["Spark executors"]["detail"]
    _, lines = doctor(operators, tmp_path, place, service_account="idle")
    assert lines["Spark executors"]["state"] == "skipped", "only the built-in profile asks for executors"


def test_a_namespace_that_is_not_there(place: Access, tmp_path: Path) -> None:
    admin = Path(os.environ["KUBECONFIG"])
    _, lines = doctor(admin, tmp_path, place, namespace="no-such-namespace")
    assert lines["namespace"]["state"] == "fail"
    assert lines["namespace"]["fix"] == "kubectl create namespace no-such-namespace"


@pytest.mark.parametrize("server", ["https://127.0.0.1:1", "https://10.255.255.1:6443"])
def test_no_cluster(place: Access, tmp_path: Path, server: str) -> None:
    """Refused at once, or swallowed by the network: one line within seconds, and nothing else is asked."""
    text = Path(os.environ["KUBECONFIG"]).read_text()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(text.replace(place.api.configuration.host, server))
    started = time.monotonic()
    code, lines = doctor(kubeconfig, tmp_path, place)
    assert time.monotonic() - started < 120, "the system itself gives up a single connection after 127"
    assert (code, lines["Kubernetes"]["state"]) == (1, "fail")
    assert server in lines["Kubernetes"]["detail"]
    assert "kubernetes_default" in lines["Kubernetes"]["fix"]
    assert list(lines)[-1].startswith("rights, namespace")


def test_no_kubeconfig_at_all(place: Access, tmp_path: Path) -> None:
    code, lines = doctor(tmp_path / "nothing", tmp_path, place)
    assert (code, lines["Kubernetes"]["state"]) == (1, "fail")
    assert "leads to no cluster" in lines["Kubernetes"]["detail"]


def test_ctrl_c_leaves_no_pod(operators: Path, place: Access, tmp_path: Path) -> None:
    place.account("podless", [])
    environment, command = asked(operators, tmp_path, place, "--pods", service_account="podless")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        until(lambda: place.pods() or process.poll() is not None, within_s=180, what="doctor's pod")
        (pod,) = place.pods()
        assert pod.spec.service_account_name == "podless"
        assert pod.spec.containers[0].security_context.read_only_root_filesystem
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "Traceback" not in said
    until(lambda: not place.pods(), within_s=30, what="the pod's end")
