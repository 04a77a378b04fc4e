"""What a step costs as a pod: until it begins, and over a bare KubernetesPodOperator that does the same work.

Both start the same image with the same step and wait in the triggerer, so what differs is what this pack adds: looking for
an earlier result, writing the spec, following the log, reading the manifest. KUBECONFIG names the cluster,
TRADEWIND_TEST_HOST an address of this machine that its pods reach, TRADEWIND_TEST_IMAGE what the images on its nodes are called.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

import tradewind
from benchmarks.measure import BUILD, ROOT, Figure, compared, in_turns
from tradewind.cli import embedded
from tradewind.cli.airflow_api import AirflowApi
from tradewind.cli.services import Service, answers, running
from tradewind.contract import StepSpec
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port
from tradewind.store import Store

HOST = os.environ.get("TRADEWIND_TEST_HOST", "10.77.0.1")
IMAGE = os.environ.get("TRADEWIND_TEST_IMAGE", "localhost/tradewind/{image}:{version}")
NAMESPACE = "tradewind-bench"
BUCKET = "bench"
WORK_S = 20.0  # of waiting, beside imports, a model of 100 rows and its way to the store
_ROWS = """
import sys, fsspec, pandas
rows = pandas.DataFrame({"x": range(100), "y": [0, 1] * 50})
with fsspec.open(sys.argv[1], "wb") as file:
    rows.to_parquet(file)
"""


class Pods:
    """One Airflow whose steps are pods."""

    def __init__(self, api: AirflowApi, url: str, store: Store) -> None:
        self._api = api
        self._store = store
        token = httpx.get(f"{url}/auth/token", trust_env=False).raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=f"{url}/api/v2", headers=headers, trust_env=False, timeout=30)
        self._specs: dict[float, StepSpec] = {}
        self.to_start: dict[str, list[float]] = {"pod_ours": [], "pod_bare": []}

    def ours(self, seconds: float) -> float:
        took, run_id, started = self._run("pod_ours", {"seconds": seconds})
        found = self._store.latest_manifest("pod_ours", run_id, "train")
        assert found
        spec = self._specs[seconds] = self._store.get_spec(f"{found[0].rsplit('/', 1)[0]}/spec.json")
        self._note("pod_ours", started, spec)
        return took

    def bare(self, seconds: float) -> float:
        """After one of ours, whose spec it takes, for a folder of its own."""
        like = self._specs[seconds]
        folder = self._store.new_try("pod_bare", f"{time.time_ns()}", "train", -1, 1)
        spec = dataclasses.replace(like, dag_id="pod_bare", outputs_uri=folder)
        took, _, started = self._run("pod_bare", {"spec": self._store.put_spec(spec)})
        self._note("pod_bare", started, spec)
        return took

    def _note(self, dag_id: str, started: datetime, spec: StepSpec) -> None:
        manifest = self._store.get_manifest(f"{spec.outputs_uri}/manifest.json")
        assert manifest.status == "success", manifest.error
        self.to_start[dag_id].append((datetime.fromisoformat(manifest.started_at) - started).total_seconds())

    def _run(self, dag_id: str, conf: dict[str, object]) -> tuple[float, str, datetime]:
        """Seconds from the trigger to the run's end, its id, and when the task's process began first."""
        run_id = self._api.trigger(dag_id, conf)
        started = None
        while (state := self._api.run_state(dag_id, run_id)) not in ("success", "failed"):
            if started is None:
                path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/train"
                started = self._http.get(path).raise_for_status().json()["start_date"]
            time.sleep(0.5)
        if state == "failed":
            raise RuntimeError("\n".join(self._api.log(dag_id, run_id, "train", 1)[-30:]))
        assert started
        return self._api.run_seconds(dag_id, run_id), run_id, datetime.fromisoformat(started)


def pods(envs: Path, repeat: int) -> list[Figure]:
    """A step of some length, and one of no length: what is left is the price of a pod."""
    with airflow_with_pods(envs) as made:
        figures: list[Figure] = []
        for name, seconds, goal in (("pods.no_work", 0.0, ""), ("pods", WORK_S, "<= 1.1")):
            made.ours(seconds)  # the first one after a start is slower, whatever it does
            made.bare(seconds)
            for starts in made.to_start.values():
                starts.clear()
            ours, bare = in_turns(lambda s=seconds: made.ours(s), lambda s=seconds: made.bare(s), repeat)
            figures += compared(name, "bare", ours, bare, goal)
            more = statistics.median(ours) - statistics.median(bare)
            figures.append(Figure(name=f"{name}.more_seconds", value=round(more, 3), unit="s"))
            for dag_id, starts in made.to_start.items():
                median = round(statistics.median(starts), 3)
                kind = dag_id.removeprefix("pod_")
                figures.append(Figure(name=f"{name}.start_seconds.{kind}", value=median, unit="s", spread=tuple(starts)))
        return figures


@contextmanager
def airflow_with_pods(envs: Path) -> Iterator[Pods]:
    """Airflow, MLflow and an S3 server on this machine, on a fresh home; a namespace of the cluster."""
    program = shutil.which("versitygw")
    assert program, "an S3 server is needed: versitygw on the path"
    home = BUILD / "pods"
    shutil.rmtree(home, ignore_errors=True)
    (home / "s3" / BUCKET).mkdir(parents=True)
    (home / "envs").symlink_to(envs, target_is_directory=True)
    shutil.copytree(ROOT / "benchmarks" / "pods", home / "dags" / "pods")
    python = Environments(envs).python("train", say=print)
    at = embedded.Addresses(
        airflow=f"http://127.0.0.1:{free_port()}", mlflow=f"http://{HOST}:{free_port()}", serving="http://127.0.0.1:1"
    )
    s3 = f"http://{HOST}:{free_port()}"
    login = {
        "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": os.urandom(16).hex(), "AWS_ENDPOINT_URL": s3,
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    os.environ.update(login, NO_PROXY=f"127.0.0.1,localhost,{HOST}", no_proxy=f"127.0.0.1,localhost,{HOST}")
    image = IMAGE.format(image="train", version=tradewind.__version__)
    os.environ.update(BENCH_NAMESPACE=NAMESPACE, BENCH_IMAGE=image)
    options = {
        "runtime": "kubernetes", "namespace": NAMESPACE, "image": IMAGE, "step_secret": "tradewind-store",
        "store_uri": f"s3://{BUCKET}/store", "data_root": f"s3://{BUCKET}/data",
        "profiles": json.dumps({"pod": {"cpu": 0.8, "memory_mb": 1500}}),
    }  # fmt: skip
    started = datetime.now(UTC)
    with namespace(login), running(home) as services:
        root = {"ROOT_ACCESS_KEY": login["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": login["AWS_SECRET_ACCESS_KEY"]}
        command = [program, "--port", s3.removeprefix("http://"), "posix", str(home / "s3")]
        services.start(Service(name="s3", command=command, environment=root, ready=lambda: _listens(s3)))
        services.wait(lambda service: None)
        subprocess.run([python, "-c", _ROWS, f"s3://{BUCKET}/data/rows.parquet"], check=True)
        services.start(_mlflow(home / "mlflow", at.mlflow, python))
        at.write(home)
        for service in embedded.services(home, home / "dags", at, options=options):
            if service.name.startswith("airflow"):
                services.start(service)
        services.wait(lambda service: print(f"  {service.name} is up", flush=True))
        api = AirflowApi(at.airflow)
        for dag_id in ("pod_ours", "pod_bare"):
            api.wait_for_dag(dag_id, since=started, timeout_s=120)
        yield Pods(api, at.airflow, Store(options["store_uri"]))


@contextmanager
def namespace(login: dict[str, str]) -> Iterator[None]:
    config.load_kube_config()
    core = client.CoreV1Api()

    def end() -> None:
        with contextlib.suppress(ApiException):
            core.delete_namespace(NAMESPACE, grace_period_seconds=0)
        while any(found.metadata.name == NAMESPACE for found in core.list_namespace().items):
            time.sleep(0.5)

    end()
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace({"metadata": {"name": NAMESPACE, "labels": labels}})
    try:
        core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": "tradewind-step"}})
        core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "tradewind-store"}, "stringData": login})
        yield
    finally:
        end()


def _mlflow(folder: Path, url: str, python: Path) -> Service:
    folder.mkdir(parents=True)
    host, port = url.removeprefix("http://").split(":")
    return Service(
        name="mlflow",
        command=[
            str(python), "-m", "mlflow", "server", "--host", host, "--port", port, "--workers", "1",
            "--allowed-hosts", f"{host}:{port}",
            "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts"),
        ],
        environment={"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        ready=lambda: answers(f"{url}/health"),
    )  # fmt: skip


def _listens(url: str) -> bool:
    try:
        httpx.get(url, timeout=2, trust_env=False)
    except httpx.HTTPError:
        return False
    return True
