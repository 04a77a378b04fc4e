"""A table of a real PostgreSQL as a source of the features step. Skipped where there is none (Debian: postgresql)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgresql_server import LOGIN, postgresql

from tradewind.contract import ArtifactRef, StepManifest
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port

JARS = Path(__file__).parents[2] / "images" / "data" / "jars"
pytestmark = pytest.mark.cluster
COPYING = """
def build(spark, sources, params):
    return sources["flights"]
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgresql(tmp_path_factory.mktemp("postgresql")) as address:
        yield address


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Path:
    """The jars that the data image has, for a Spark of this machine."""
    folder = tmp_path_factory.mktemp("jars")
    subprocess.run([environments.python("data"), JARS, folder], check=True)
    return folder


Read = Callable[..., StepManifest]


@pytest.fixture
def read(run_step: Read, tmp_path: Path, driver: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    monkeypatch.setenv("SPARK_DIST_CLASSPATH", f"{driver}/*")
    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "features.py").write_text(COPYING)

    def run(uri: str) -> StepManifest:
        inputs = {"flights": ArtifactRef(uri=uri, sha256="0", size=0, kind="dataset")}
        params = {"label": "late", "time_column": "at"}
        return run_step("features", image="data", params=params, inputs=inputs, code=tmp_path, entry_point="features:build")

    return run


def test_ranges_of_a_key_are_the_whole_table(read: Read, database: str, capfd: pytest.CaptureFixture[str]) -> None:
    done = read(f"{database}?table=public.Flights&key=id&partitions=3")
    assert done.error is None
    assert done.metrics["rows"] == 5000
    assert done.metrics["label_rate"] == 0.5
    assert done.metrics["data_end"] == "2013-01-04T11:20:00+00:00"
    whole = read(f"{database}?table=Flights")
    assert whole.outputs["dataset"].sha256 == done.outputs["dataset"].sha256
    assert "a reader's secret" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?table=nowhere", 'relation "nowhere" does not exist'),
        ("?table=Flights&key=nokey", 'column "nokey" does not exist'),
        ("?table=Flights&user=me", "expected no user and no password in the URI"),
        ("?key=id", "expected jdbc:postgresql://HOST:PORT/DATABASE?table="),
    ],
)
def test_what_is_wrong_is_said(read: Read, database: str, query: str, expected: str) -> None:
    error = read(f"{database}{query}").error
    assert error and error.type == "SpecError" and error.retryable is False
    assert expected in error.message


def test_a_wrong_password_and_no_server(read: Read, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = read(f"jdbc:postgresql://127.0.0.1:{free_port()}/postgres?table=x").error
    assert gone and gone.retryable is True
    assert "refused" in gone.message
    monkeypatch.setenv("PGPASSWORD", "wrong")
    wrong = read(f"{database}?table=Flights").error
    assert wrong and wrong.type == "SpecError"
    assert "password authentication failed" in wrong.message


TWICE = """
from tradewind.operators.base import _resolve
from tradewind.settings import Settings
from tradewind.store import Store

settings = Settings.load()
first, second = (_resolve(Store(settings.store_uri), settings, "x", "jdbc:postgresql://h/d?table=t") for _ in range(2))
print(first.uri, first.sha256 != second.sha256)
"""


def test_a_run_is_never_taken_for_another(tmp_path: Path) -> None:
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__TRADEWIND__HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", TWICE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "jdbc:postgresql://h/d?table=t True"
