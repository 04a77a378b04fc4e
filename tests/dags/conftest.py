"""MLflow and serving for the session, and a process that runs Dags against them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import Dags
from live import copy_template, linked_home, sample_flights, services

from tradewind.cli import embedded
from tradewind.runtimes.environments import Environments


@pytest.fixture(scope="session")
def dags(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Iterator[Dags]:
    home = linked_home(tmp_path_factory.mktemp("dags") / "home", environments)
    folder = home / "pipelines"
    copy_template(folder)
    flights = sample_flights(home)
    log = home / "dag_runner.log"
    with services(home, folder, "mlflow", "serving") as (_, at), log.open("wb") as output:
        environment = {**os.environ, **embedded.airflow_environment(home, folder, at, at.airflow.rsplit(":", 1)[1])}
        airflow = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(airflow, env=environment, stdout=output, stderr=subprocess.STDOUT, check=True)
        with subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("dag_runner.py"))],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True,
        ) as process:  # fmt: skip
            yield Dags(home=home, folder=folder, flights=flights, process=process, log=log, mlflow=at.mlflow)
