"""The embedded services in a home of their own, started by the pack's own code, with the benchmarks' Dags."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import BUILD, ROOT
from tradewind.cli import embedded
from tradewind.cli.airflow_api import AirflowApi
from tradewind.cli.services import running
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port

FILES = 25
_POLL = 0.5  # seconds: the run's own times are read from Airflow at the end


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What runs: Airflow's API, the home folder, MLflow's address."""

    api: AirflowApi
    home: Path
    mlflow_url: str

    def run(self, dag_id: str, conf: dict[str, object] | None = None) -> tuple[float, str]:
        """Trigger, wait; seconds from trigger to end, and the run's id."""
        run_id = self.api.trigger(dag_id, dict(conf or {}))
        while (state := self.api.run_state(dag_id, run_id)) not in ("success", "failed"):
            time.sleep(_POLL)
        if state == "failed":
            failed = next(task for task in self.api.tasks(dag_id, run_id) if task.state == "failed")
            raise RuntimeError("\n".join(self.api.log(dag_id, run_id, failed.task_id, failed.try_number)[-30:]))
        return self.api.run_seconds(dag_id, run_id), run_id

    def forget(self) -> None:
        """Nothing to reuse from here on."""
        shutil.rmtree(self.home / "store" / "cache", ignore_errors=True)

    def python(self, image: str) -> Path:
        return Environments(self.home / "envs").python(image)


@contextmanager
def stack(envs: Path) -> Iterator[Stack]:
    """The services for the time of the block, on a fresh home.

    Args:
        envs: where the step environments are, or are made now: their making is not measured.
    """
    for image in embedded.IMAGES:
        Environments(envs).python(image, say=print)
    home = BUILD / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / "envs").symlink_to(envs, target_is_directory=True)
    dags = home / "dags"
    shutil.copytree(ROOT / "benchmarks" / "dags", dags)
    shutil.copytree(ROOT / "dags" / "flight_delay", dags / "flight_delay")
    embedded.flights_data(home / "data" / "nycflights13")
    _tiny_files(home / "data" / "fanout")
    started = datetime.now(UTC)
    with running(home) as services:
        # Ports that no other embedded environment on this machine wants too.
        addresses = embedded.Addresses(**{name: f"http://127.0.0.1:{free_port()}" for name in ("airflow", "mlflow", "serving")})
        addresses.write(home)
        for service in embedded.services(home, dags, addresses):
            services.start(service)
        services.wait(lambda service: print(f"  {service.name} is up", flush=True))
        api = AirflowApi(addresses.airflow)
        for dag_id in ("flight_delay", "noop_chain", "noop_fan_out", "bare_fan_out", "fan_out_processes", "fan_out"):
            api.wait_for_dag(dag_id, since=started, timeout_s=120)
        made = Stack(api=api, home=home, mlflow_url=addresses.mlflow)
        for _ in range(2):  # the first run after a start is slower, whatever it does
            made.run("noop_chain")
        yield made


def _tiny_files(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(FILES):
        rows = "".join(f"{number * 1000 + row},{row / 7}\n" for row in range(20))
        (folder / f"{number:03}.csv").write_text(f"id,amount\n{rows}")
