"""The embedded environment for tests: the project's own services, in a folder of the test's, on free ports."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from tradewind.cli import embedded
from tradewind.cli.services import Services, running
from tradewind.resources import data_path
from tradewind.runtimes.environments import Environments
from tradewind.serving.local.process import free_port

EVERY = 17  # of the flights, one in so many: about 19,800, all year round
T = TypeVar("T")
CHAIN = ["validate", "features", "train", "evaluate", "register", "rollout"]


def linked_home(home: Path, environments: Environments) -> Path:
    """A home folder of its own that shares the step environments: making them takes half a minute."""
    home.mkdir(parents=True)
    (home / "envs").symlink_to(environments.folder)
    return home


def copy_template(dags: Path, name: str = "flight_delay", *, template: str = "flight_delay") -> Path:
    """What a user does to make a pipeline of their own: copy the template's folder."""
    return Path(shutil.copytree(data_path("dags") / template, dags / name, ignore=shutil.ignore_patterns("__pycache__")))


def ask(file: Path, *approvers: str) -> None:
    """Has a template's release wait for a person, by its knob."""
    text, knob = file.read_text(), "APPROVERS: list[str] = []"
    assert knob in text
    file.write_text(text.replace(knob, f"APPROVERS: list[str] = {list(approvers)}"))


def sample_flights(home: Path) -> Path:
    """One flight in `EVERY`, with the whole of the other tables, where the template looks for them. The flights' file."""
    tables = home / "data" / "nycflights13"
    embedded.flights_data(tables)
    flights = tables / "flights.csv"
    head, *rows = flights.read_text().splitlines(keepends=True)
    flights.write_text(head + "".join(rows[::EVERY]))
    return flights


def addresses() -> embedded.Addresses:
    """Three free ports."""
    airflow, mlflow, serving = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
    return embedded.Addresses(airflow=airflow, mlflow=mlflow, serving=serving)


@contextmanager
def services(
    home: Path, dags: Path, *names: str, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[Services, embedded.Addresses]]:
    """The named services of the demo, up for the time of the block; with ``environment`` on top of each one's own."""
    at = addresses()
    with running(home) as up:
        at.write(home)
        for service in embedded.services(home, dags, at):
            if service.name.partition("-")[0] in names:
                up.start(dataclasses.replace(service, environment={**service.environment, **(environment or {})}))
        up.wait(lambda service: None)
        yield up, at


@contextmanager
def again_and_again(do: Callable[[], object], *, every_s: float) -> Iterator[None]:
    """Done by a thread for the time of the block, whose end raises what ended the thread before."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(every_s):
            do()

    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(go_on)
        try:
            yield
        finally:
            ended.set()
            going.result()


def until(look: Callable[[], T | None], *, within_s: float, what: str) -> T:
    """What ``look`` gives as soon as that is true; AssertionError after ``within_s`` seconds."""
    deadline = time.monotonic() + within_s
    while True:
        if found := look():
            return found
        assert time.monotonic() < deadline, f"{what}: not within {within_s:.0f} s"
        time.sleep(0.1)


def gone(processes: Iterable[psutil.Process], *, within_s: float) -> None:
    """Waits until none of them runs; AssertionError with those that do."""
    processes = list(processes)
    assert processes, "there is none whose end could be waited for"

    def left() -> list[psutil.Process]:
        alive = []
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
        return alive

    until(lambda: not left(), within_s=within_s, what=f"the end of {len(processes)} processes")


def strike(processes: Iterable[psutil.Process], how: signal.Signals, *, within_s: float) -> None:
    """The signal to each, which runs until then, and their end."""
    processes = list(processes)
    assert all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
    for process in processes:
        process.send_signal(how)
    gone(processes, within_s=within_s)


def predict(endpoint_url: str, example: dict[str, Any]) -> dict[str, Any]:
    """The endpoint's answer to a request by the Open Inference Protocol."""
    response = httpx.post(f"{endpoint_url}/infer", json=example, timeout=60)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer
