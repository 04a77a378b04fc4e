"""Beside the cluster what a platform team runs: an S3 server, MLflow, Airflow."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import jobs
import pytest
from live import again_and_again, copy_template, linked_home, sample_flights
from object_store import customer
from on_kubernetes import Cluster
from platform_under_test import Platform

from tradewind.cli import embedded
from tradewind.cli.services import Service, running
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port
from tradewind.store import Store

PATIENCE = 400  # seconds for each service: what a busy machine takes is no matter of these tests


@pytest.fixture(scope="session")
def platform(
    tmp_path_factory: pytest.TempPathFactory, environments: Environments, cluster: Cluster, host: str
) -> Iterator[Platform]:
    """Airflow on this machine, its steps as pods; the store on S3, MLflow a server that pods reach."""
    home = linked_home(tmp_path_factory.mktemp("cluster") / "home", environments)
    dags = home / "pipelines"
    copy_template(dags)
    for name, text in jobs.DAGS.items():
        (dags / name).mkdir(parents=True)
        (dags / name / "dag.py").write_text(text)
        (dags / name / "train.py").write_text(jobs.TRAIN)
        (dags / name / "features.py").write_text(jobs.FEATURES)
    sample_flights(home)
    at = embedded.Addresses(
        airflow=f"http://127.0.0.1:{free_port()}",
        mlflow=f"http://{host}:{free_port()}",
        serving=f"http://127.0.0.1:{free_port()}",
    )
    s3 = cluster.s3_variables(f"http://{host}:{free_port()}")
    cluster.put_secret(s3)
    past_proxies = dict.fromkeys(("NO_PROXY", "no_proxy"), f"127.0.0.1,localhost,{host}")
    options = cluster.airflow_settings(jobs.PROFILES)
    started = datetime.now(UTC)
    with customer(s3 | past_proxies), running(home) as up:
        at.write(home)
        up.start(s3_server(home / "s3", s3))
        up.wait(lambda service: None)
        cluster.fill_store(home / "data", environments.python("train"))
        for service in [
            mlflow_server(home / "mlflow", at.mlflow, environments),
            *embedded.services(home, dags, at, options=options),
        ]:
            if service.name != "mlflow":
                up.start(dataclasses.replace(service, patience=PATIENCE))
        up.wait(lambda service: None)
        platform = Platform(home=home, dags=dags, at=at)
        platform.store = Store(options["store_uri"])
        for name in ["flight_delay", *jobs.DAGS]:
            platform.api.wait_for_dag(name, since=started, timeout_s=180)
        # As Kubernetes would: some tests kill a part, and Airflow's scheduler ends where it reads a run that was just deleted.
        with again_and_again(up.check, every_s=2):
            yield platform


def s3_server(folder: Path, s3: dict[str, str]) -> Service:
    program = shutil.which("versitygw")
    assert program, "an S3 server is needed: versitygw on the path"
    (folder / "tradewind").mkdir(parents=True)
    url = s3["AWS_ENDPOINT_URL"]
    return Service(
        name="s3",
        command=[program, "--port", url.removeprefix("http://"), "posix", str(folder)],
        environment={"ROOT_ACCESS_KEY": s3["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": s3["AWS_SECRET_ACCESS_KEY"]},
        ready=lambda: answers_at_all(url),
    )


def answers_at_all(url: str) -> bool:
    try:
        httpx.get(url, timeout=2, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


def mlflow_server(folder: Path, url: str, environments: Environments) -> Service:
    folder.mkdir(parents=True, exist_ok=True)
    name, port = url.removeprefix("http://").split(":")
    return Service(
        name="mlflow server",
        command=[
            str(environments.python("train")), "-m", "mlflow", "server", "--host", name, "--port", port, "--workers", "1",
            "--allowed-hosts", f"{name}:{port}",
            "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts"),
        ],
        environment={"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        ready=lambda: answers_at_all(f"{url}/api/2.0/mlflow/experiments/search?max_results=1"),
    )  # fmt: skip
