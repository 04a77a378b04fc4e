"""A table of a real PostgreSQL as a source of the features step. Skipped where there is none (Debian: postgresql)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from live import until

from tradewind.contract import ArtifactRef, StepManifest
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
JARS = Path(__file__).parents[2] / "images" / "data" / "jars"
pytestmark = pytest.mark.cluster
TABLE = """
CREATE TABLE "Flights" AS
SELECT x AS id, x % 2 AS late, 'N' || x % 5 AS tailnum, timestamptz '2013-01-01 00:00Z' + x * interval '1 minute' AS at
FROM generate_series(1, 5000) AS x;
CREATE USER reader PASSWORD 'a reader''s secret';
GRANT SELECT ON "Flights" TO reader;
"""
COPYING = """
def build(spark, sources, params):
    return sources["flights"]
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; a reader has a password."""
    folder = tmp_path_factory.mktemp("postgresql")
    data = folder / "data"
    data.mkdir()
    for path in (folder, data):
        shutil.chown(path, "postgres", "postgres")
    for parent in [p for p in folder.parents if p.name.startswith(("pytest-", "popen-"))]:
        parent.chmod(0o755)
    as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"] if os.geteuid() == 0 else []
    (folder / "password").write_text("owner")
    (folder / "password").chmod(0o644)
    making = ["-D", str(data), "-U", "owner", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
    assert PROGRAMS, "no PostgreSQL: apt-get install postgresql"
    subprocess.run([*as_owner, str(PROGRAMS[-1] / "initdb"), *making], check=True, capture_output=True)
    port = str(free_port())
    listening = ["-c", "listen_addresses=127.0.0.1", "-p", port, "-k", str(folder)]
    with (folder.parent / "postgresql.log").open("wb") as log:
        server = subprocess.Popen(
            [*as_owner, str(PROGRAMS[-1] / "postgres"), "-D", str(data), *listening], stderr=log, stdout=log
        )
    psql = ["psql", "-h", "127.0.0.1", "-p", port, "-U", "owner", "-d", "postgres", "-v", "ON_ERROR_STOP=1"]
    environment = {**os.environ, "PGPASSWORD": "owner"}
    try:
        until(
            lambda: subprocess.run([*psql, "-c", "SELECT 1"], env=environment, capture_output=True).returncode == 0,
            within_s=60, what="the database's answer",
        )  # fmt: skip
        subprocess.run(psql, input=TABLE, env=environment, text=True, check=True, capture_output=True)
        yield f"jdbc:postgresql://127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait()


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
    monkeypatch.setenv("PGUSER", "reader")
    monkeypatch.setenv("PGPASSWORD", "a reader's secret")
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
