"""One embedded Airflow for the session, with MLflow and serving, started by the project's own code."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

import pipelines
import pytest
from live import copy_template, linked_home, sample_flights, services
from platform_under_test import Platform

from tradewind.runtimes.environments import Environments


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Iterator[Platform]:
    home = linked_home(tmp_path_factory.mktemp("airflow") / "home", environments)
    dags = home / "pipelines"
    for name, changes in pipelines.COPIES.items():
        folder = copy_template(dags, name)
        text = (folder / "dag.py").read_text()
        for old, new in changes.items():
            assert old in text, f"{name}: the template has no {old!r}"
            text = text.replace(old, new)
        (folder / "dag.py").write_text(text)
    for name, files in pipelines.OWN.items():
        (dags / name).mkdir()
        for file, text in files.items():
            (dags / name / file).write_text(text)
    sample_flights(home)
    subprocess.run([environments.python("train"), "-c", pipelines.MAKE_ROWS, str(home / "data" / "rows.parquet")], check=True)
    started = datetime.now(UTC)
    with services(home, dags, "airflow", "mlflow", "serving") as (_, at):
        platform = Platform(home=home, dags=dags, at=at)
        for name in [*pipelines.COPIES, *pipelines.OWN]:
            platform.api.wait_for_dag(name, since=started, timeout_s=120)
        yield platform
