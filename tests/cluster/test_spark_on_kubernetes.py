"""The features step with Spark's executors on a real cluster: what they run, what is left of them, what is said of them.

KUBECONFIG names the cluster, TRADEWIND_TEST_HOST an address of this machine that its pods reach, TRADEWIND_TEST_IMAGE what the
images on its nodes are called.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import FAULTS
from kubernetes import client, config
from live import until
from object_store import S3, customer, s3_server
from on_kubernetes import may_start_executors

import tradewind
from tradewind.contract import SPEC_VARIABLE, StepManifest, StepSpec
from tradewind.packaging import bundle
from tradewind.runtimes.environments import Environments
from tradewind.runtimes.kubernetes.request import POD_VARIABLES
from tradewind.store import Store

pytestmark = pytest.mark.timeout(900)
HOST = os.environ.get("TRADEWIND_TEST_HOST", "10.77.0.1")
IMAGE = os.environ.get("TRADEWIND_TEST_IMAGE", "localhost/tradewind/{image}:{version}")
EXECUTORS = "spark-role=executor"
RESOURCES = {
    "cpu": 1, "memory_mb": 1600, "device": "cpu", "executors": 2, "min_executors": 2,
    "executor_cpu": 0.2, "executor_cpu_limit": 0.8, "executor_memory_mb": 1000,
}  # fmt: skip
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

FEATURES = """
import socket, time

from pyspark.sql.functions import udf

from words import word


@udf("string")
def said(x):
    return word(x)


def where(task):
    time.sleep(0.2)
    return socket.gethostname()


def build(spark, sources, params):
    there = 2 if spark.sparkContext.master.startswith("k8s") else 1
    hosts, until = set(), time.monotonic() + 120  # Spark begins with the executors that there are
    while len(hosts) < there and time.monotonic() < until:
        hosts |= set(spark.sparkContext.parallelize(range(8), 8).map(where).collect())
    print("ran on", *sorted(hosts), flush=True)
    joined = sources["table"].join(sources["names"], "x")
    return joined.select("x", "name", said("x").alias("word")).selectExpr("*", "x % 2 AS y")
"""
TABLE = """
import sys
import pyarrow as pa, pyarrow.parquet as pq

for n in range(4):
    pq.write_table(pa.table({"x": range(n * 750, (n + 1) * 750)}), f"{sys.argv[1]}/part-{n}.parquet")
"""
WORDS = """
from pathlib import Path


def word(x):
    return Path(__file__).with_name("words.txt").read_text().split()[int(x) % 3]
"""
WAITING = """
import time


def build(spark, sources, params):
    spark.sparkContext.parallelize(range(4), 4).map(lambda _: time.sleep(600)).collect()
"""
ENDING = """
import os, signal, time

from pyspark import TaskContext


def end(task):
    if task == 0 and TaskContext.get().attemptNumber() == 0:
        os.kill(1, signal.SIGTERM)  # the executor's JVM
        time.sleep(60)
    return task


def build(spark, sources, params):
    spark.sparkContext.parallelize(range(4), 4).map(end).collect()
    return sources["table"].selectExpr("x", "x % 2 AS y")
"""

RAISING = f"""{FEATURES}

def of_the_user(spark, sources, params):
    build(spark, sources, params)
    raise KeyError("no column of that name")
"""


class Space:
    """A namespace for steps as the chart makes one, on a cluster that reaches an S3 server of this machine."""

    def __init__(self, s3: S3) -> None:
        self.s3 = s3
        self.core = client.CoreV1Api()
        self.rbac = client.RbacAuthorizationV1Api()
        self.namespace = f"tradewind-spark-{uuid.uuid4().hex[:8]}"
        self.count = 0

    def create(self) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.core.create_namespace({"metadata": {"name": self.namespace, "labels": labels}})
        self.core.create_namespaced_service_account(
            self.namespace, {"metadata": {"name": "step"}, "automountServiceAccountToken": False}
        )
        may_start_executors(self.rbac, self.namespace, "step")
        logins = {name: value for name, value in self.s3.environment.items() if name.startswith("AWS_")}
        data = {name: base64.b64encode(value.encode()).decode() for name, value in logins.items()}
        self.core.create_namespaced_secret(self.namespace, {"metadata": {"name": "store"}, "data": data})

    def delete(self) -> None:
        self.core.delete_namespace(self.namespace, grace_period_seconds=0)

    def start(self, spec_uri: str, *, account: str = "step") -> str:
        """The step in a pod as the runtime makes one; its name."""
        self.count += 1
        name = f"features-{self.count}"

        container = {
            "name": "step",
            "image": IMAGE.format(image="data", version=tradewind.__version__),
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-m", "tradewind_steps"],
            "env": [
                {"name": SPEC_VARIABLE, "value": spec_uri},
                {"name": "HOME", "value": "/tmp"},
                *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in POD_VARIABLES.items()),
            ],
            "envFrom": [{"secretRef": {"name": "store"}}],
            "resources": {"requests": {"cpu": "200m", "memory": "1600Mi"}, "limits": {"memory": "1600Mi"}},
            "securityContext": RESTRICTED,
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }
        spec = {
            "serviceAccountName": account,
            "automountServiceAccountToken": True,
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        }
        self.core.create_namespaced_pod(self.namespace, {"metadata": {"name": name}, "spec": spec})
        return name

    def ended(self, name: str, *, within_s: float = 600) -> str:
        """What the pod said, once it has ended."""

        def look() -> bool:
            return self.core.read_namespaced_pod(name, self.namespace).status.phase in ("Succeeded", "Failed")

        until(look, within_s=within_s, what=f"the end of {name}")
        return self.log(name)

    def log(self, name: str) -> str:
        said: str = self.core.read_namespaced_pod_log(name, self.namespace, _preload_content=False).data.decode()
        print(said)
        return said

    def executors(self, phase: str | None = None) -> list[Any]:
        found = self.core.list_namespaced_pod(self.namespace, label_selector=EXECUTORS).items
        return [pod for pod in found if phase in (None, pod.status.phase)]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    config.load_kube_config()
    past_proxies = dict.fromkeys(("NO_PROXY", "no_proxy"), f"127.0.0.1,localhost,{HOST}")
    folder = tmp_path_factory.mktemp("spark-s3") / "buckets"
    with s3_server(folder, host=HOST) as s3, customer(s3.environment | past_proxies):
        space = Space(s3)
        space.create()
        try:
            yield space
        finally:
            space.delete()


@pytest.fixture
def remote(space: Space) -> Store:
    return Store(space.s3.new_place())


@pytest.fixture
def files(tmp_path: Path, environments: Environments) -> Path:
    """A pipeline's folder, and two tables beside it: a CSV, and a Parquet folder of several files."""
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (folder / "words.py").write_text(WORDS)
    (folder / "words.txt").write_text("one two three")
    (tmp_path / "names.csv").write_text("x,name\n" + "".join(f"{x},name{x}\n" for x in range(3000)))
    (tmp_path / "table").mkdir()
    subprocess.run([environments.python("data"), "-c", TABLE, str(tmp_path / "table")], check=True)
    return folder


Sent = Callable[..., tuple[StepSpec, str]]


@pytest.fixture
def sent(remote: Store, files: Path) -> Sent:
    """A spec in the store on S3, of the pipeline's folder with ``code`` as its features.py."""
    for name in ("names.csv", "table"):
        remote.upload(files.parent / name, f"{remote.root}/{name}")

    def send(code: str = FEATURES, **resources: Any) -> tuple[StepSpec, str]:
        (files / "features.py").write_text(code)
        inputs = {"names": remote.refer(f"{remote.root}/names.csv"), "table": remote.refer(f"{remote.root}/table")}
        spec = StepSpec(
            step="features", dag_id="test", run_id="run", task_id="features", map_index=-1, try_number=1,
            params={"params": {}, "label": "y"}, inputs=inputs, code=bundle(files, remote), entry_point="features:build",
            image="data", outputs_uri=remote.new_try("test", "run", "features", -1, 1), store_uri=remote.root,
            resources={**RESOURCES, **resources},
        )  # fmt: skip
        return spec, remote.put_spec(spec)

    return send


def test_executors_run_the_tasks(
    space: Space, remote: Store, sent: Sent, files: Path, run_step: Callable[..., StepManifest]
) -> None:
    spec, uri = sent()
    log = space.ended(space.start(uri))
    done = remote.get_manifest(f"{spec.outputs_uri}/manifest.json")
    assert done.error is None
    on = re.search(r"^ran on (.*)$", log, re.MULTILINE)
    assert on and len(on[1].split()) == 2 and all("-exec-" in name for name in on[1].split())
    assert len(re.findall(r"^Executor features-\S+-exec-\d+ runs on node", log, re.MULTILINE)) == 2
    assert not space.executors(), "they are gone when the step has ended"
    assert done.metrics["rows"] == 3000

    # The same on one machine, from its disk, is the same table.
    local = Store(str(files.parent))
    inputs = {name: local.refer(str(files.parent / path)) for name, path in (("names", "names.csv"), ("table", "table"))}
    here = run_step(
        "features",
        image="data",
        params=spec.params,
        inputs=inputs,
        code=files,
        entry_point="features:build",
        resources={"cpu": 2},
    )
    assert here.error is None
    assert here.outputs["dataset"].sha256 == done.outputs["dataset"].sha256
    assert here.metrics == done.metrics

    # And what lies on S3 is a dataset for the next step, without anything of a writer in it.
    assert done.outputs["dataset"].uri == f"{spec.outputs_uri}/dataset"
    written = remote.files(done.outputs["dataset"].uri)
    assert written and all(file.uri.endswith(".parquet") for file in written)


def test_executors_end_with_the_driver(space: Space, sent: Sent) -> None:
    _, uri = sent(WAITING)
    name = space.start(uri)
    until(lambda: len(space.executors("Running")) == 2, within_s=240, what="two executors")
    owners = [owner.name for pod in space.executors() for owner in pod.metadata.owner_references]
    assert owners == [name, name]
    pod = space.executors()[0]
    amounts = pod.spec.containers[0].resources
    assert (amounts.requests["cpu"], amounts.limits["cpu"]) == ("200m", "800m")
    assert pod.spec.automount_service_account_token is False
    assert [source.secret_ref.name for source in pod.spec.containers[0].env_from] == ["store"]
    assert space.s3.environment["AWS_SECRET_ACCESS_KEY"] not in str(pod)
    with FAULTS.injected("Spark's driver deleted") as fault:
        space.core.delete_namespaced_pod(name, space.namespace, grace_period_seconds=0)
        try:
            until(lambda: not space.executors(), within_s=90, what="the executors' end")
        finally:
            fault.pods(space.executors())


def test_an_executor_that_ends_is_told_of_and_replaced(space: Space, remote: Store, sent: Sent) -> None:
    spec, uri = sent(ENDING, executors=1, min_executors=1)  # what it did not end can only run on the next one
    with FAULTS.injected("Spark's executor ended by SIGTERM") as fault:
        log = space.ended(space.start(uri))
        manifest = remote.get_manifest(f"{spec.outputs_uri}/manifest.json")
        fault.run(manifest.status)
        fault.pods(space.executors())
        assert manifest.error is None
        assert re.search(r"^Executor features-\S+ ended: Error, exit code 143", log, re.MULTILINE)
        assert len(re.findall(r"^Executor features-\S+-exec-\d+ runs on node", log, re.MULTILINE)) == 2
        assert re.search(r"^  features-\S+-exec-\d+ \| .*SIGNAL TERM", log, re.MULTILINE), "its last lines"
        assert not space.executors()


def test_no_executor_outlives_a_step_whose_code_raises(space: Space, remote: Store, sent: Sent) -> None:
    spec, _ = sent(RAISING)
    log = space.ended(space.start(remote.put_spec(dataclasses.replace(spec, entry_point="features:of_the_user"))))
    error = remote.get_manifest(f"{spec.outputs_uri}/manifest.json").error
    assert error and "KeyError: 'no column of that name'" in error.message
    assert not space.executors()
    assert "EOFError" not in log, "Spark's own threads end before its JVM does"


def test_without_the_right_nothing_is_tried(space: Space, remote: Store, sent: Sent) -> None:
    spec, uri = sent()
    space.ended(space.start(uri, account="default"))
    error = remote.get_manifest(f"{spec.outputs_uri}/manifest.json").error
    assert error and error.retryable is False
    assert f"needs a service account that may get, list, watch, create, delete pods in {space.namespace}" in error.message
