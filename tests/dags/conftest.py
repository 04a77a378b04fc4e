"""MLflow and serving for the session, and a process that runs Dags against them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from in_process import Dags
from live import copy_template, linked_home, sample_flights, services
from object_store import S3

from tradewind.cli import embedded
from tradewind.runtimes.environments import Environments
from tradewind.store import Store


@pytest.fixture(scope="session")
def dags(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Iterator[Dags]:
    home = linked_home(tmp_path_factory.mktemp("dags") / "home", environments)
    with running_dags(home, store=Store(str(home / "store"))) as running:
        yield running


@pytest.fixture(scope="session")
def dags_on_s3(tmp_path_factory: pytest.TempPathFactory, environments: Environments, s3: S3) -> Iterator[Dags]:
    """The same with nothing of a run on this machine's disk: data and store are on S3."""
    home = linked_home(tmp_path_factory.mktemp("dags-on-s3") / "home", environments)
    place = s3.new_place()
    options = {"AIRFLOW__TRADEWIND__STORE_URI": f"{place}/store", "AIRFLOW__TRADEWIND__DATA_ROOT": f"{place}/data"}
    with running_dags(home, store=Store(f"{place}/store"), options=options) as running:
        Store(place).upload(home / "data", f"{place}/data")
        yield running


@contextmanager
def running_dags(home: Path, *, store: Store, options: Mapping[str, str] | None = None) -> Iterator[Dags]:
    folder = home / "pipelines"
    copy_template(folder)
    flights = sample_flights(home)
    log = home / "dag_runner.log"
    with services(home, folder, "mlflow", "serving") as (_, at), log.open("wb") as output:
        environment = {**os.environ, **embedded.airflow_environment(home, folder, at, at.airflow.rsplit(":", 1)[1])}
        environment |= options or {}
        airflow = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(airflow, env=environment, stdout=output, stderr=subprocess.STDOUT, check=True)
        with subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("dag_runner.py"))],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True,
        ) as process:  # fmt: skip
            yield Dags(home=home, folder=folder, flights=flights, process=process, log=log, mlflow=at.mlflow, store=store)
