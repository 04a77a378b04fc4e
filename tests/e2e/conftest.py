"""One embedded Airflow for the session, with MLflow and serving, started by the project's own code; and demos."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pipelines
import pytest
from demos import TRADEWIND, Start
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


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Path:
    return linked_home(tmp_path_factory.mktemp("demo") / "home", environments)


@pytest.fixture
def start(home: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a demo in a session of its own; ends what the test leaves."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        with (tmp_path / f"demo-{len(started)}.log").open("w") as log:
            process = subprocess.Popen(
                [TRADEWIND, "demo", "--home", str(home), *arguments],
                env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                text=True, start_new_session=True,
            )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for number, process in enumerate(started):
        print((tmp_path / f"demo-{number}.log").read_text())
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)
