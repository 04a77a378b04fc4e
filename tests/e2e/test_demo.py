"""The command line ``tradewind demo`` on all flights of the year: what it leaves, how it ends, what it finds in its way.

One story in order, on one home folder.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from live import CHAIN, gone, linked_home, until
from processes import environment, of_home, of_step, words

from tradewind.contract import SPEC_VARIABLE
from tradewind.runtimes.environments import Environments

TRADEWIND = str(Path(sys.executable).with_name("tradewind"))
FLIGHTS, LANDED = 336_776, 327_346  # rows of the year; those that arrived
PATIENCE = 400  # seconds for a run of the whole chain on a busy machine


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Path:
    return linked_home(tmp_path_factory.mktemp("demo") / "home", environments)


Start = Callable[..., "subprocess.Popen[str]"]


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


def said(tmp_path: Path, number: int = 0) -> str:
    """What a demo has printed, on one line: the console's width breaks it anywhere."""
    return " ".join((tmp_path / f"demo-{number}.log").read_text().split())


def up(process: subprocess.Popen[str], figures: Path) -> dict[str, Any]:
    """The figures, as soon as they are there; a demo that ends before fails the test."""

    def look() -> bool:
        assert process.poll() is None, "the demo has ended"
        return figures.exists() and figures.read_text().endswith("}\n")

    until(look, within_s=PATIENCE, what="the figures")
    found: dict[str, Any] = json.loads(figures.read_text())
    return found


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Somebody listens on the port."""
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen()
        except OSError:
            pass  # somebody does anyway
        yield


@pytest.mark.parametrize("java_home", [None, "/nowhere/jdk"])
def test_without_java(tmp_path: Path, java_home: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    environment["PATH"] = str(Path(sys.executable).parent)
    if java_home:
        environment["JAVA_HOME"] = java_home
    command = [TRADEWIND, "demo", "--exit", "--home", str(tmp_path / "home")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "apt-get install openjdk-17-jre-headless" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists(), "said before any work"


def test_it_ends_by_itself_with_the_figures(start: Start, home: Path, tmp_path: Path) -> None:
    process = start("--exit", "--json", str(tmp_path / "figures.json"))
    assert process.wait(PATIENCE) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {name: task["state"] for name, task in figures["tasks"].items()} == dict.fromkeys(CHAIN, "success")
    assert figures["validate"]["rows_checked"] == FLIGHTS
    assert figures["validate"]["rows_quarantined"] == FLIGHTS - LANDED
    assert figures["features"]["rows"] == LANDED
    assert figures["train"]["rows_train"] + figures["train"]["rows_holdout"] == LANDED
    assert figures["evaluate"]["verdict"] == "PASSED"
    assert 0.65 < figures["evaluate"]["challenger"]["auc"] < 0.9
    assert figures["register"]["version"] == "1"
    assert figures["rollout"]["changed"] is True
    assert 0 <= figures["prediction"]["outputs"][0] <= 1
    assert figures["prediction"]["version"] == "1"
    output = said(tmp_path)
    for text in (
        f"{FLIGHTS:,} rows checked",
        f"{LANDED:,} rows",
        figures["endpoint"],
        figures["airflow_url"],
        figures["mlflow_url"],
    ):
        assert text in output
    assert "curl -s" in output
    assert of_home(home) == []


def test_again_it_reuses_all_and_stays_until_ctrl_c(start: Start, home: Path, tmp_path: Path) -> None:
    """With the preferred port taken by somebody else."""
    with taken(8080):
        process = start("--json", str(tmp_path / "figures.json"))
        figures = up(process, tmp_path / "figures.json")
        assert not figures["airflow_url"].endswith(":8080")
    reused = [name for name, task in figures["tasks"].items() if task["reused"]]
    assert sorted(reused) == sorted(CHAIN[:4])
    assert figures["register"]["registered"] is False
    assert figures["rollout"]["changed"] is False
    assert figures["prediction"]["version"] == "1"

    curl = shlex.split(figures["curl"])
    assert [curl[0], curl[1], curl[3], curl[5]] == ["curl", "-s", "-H", "-d"]
    answer = httpx.post(curl[2], headers=[tuple(curl[4].split(": "))], content=curl[6], timeout=60)  # type: ignore[list-item]
    assert answer.json()["outputs"][0]["data"] == figures["prediction"]["outputs"]
    for page in (figures["airflow_url"], figures["mlflow_url"]):
        assert httpx.get(page, timeout=60, follow_redirects=True).is_success

    second = start("--exit")
    assert second.wait(60) == 1
    assert "Another demo runs in" in said(tmp_path, 1)
    assert "--home" in said(tmp_path, 1)

    tree = [*psutil.Process(process.pid).children(recursive=True), *of_home(home)]
    assert len(tree) > 8
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    gone(tree, within_s=5)
    assert of_home(home) == []


def test_interrupted_midway(start: Start, home: Path, tmp_path: Path) -> None:
    """Killed while a step runs, a demo can end nothing: the next one does, and does not wait for the run that was cut off.
    Ctrl-C while a step runs leaves nothing."""
    killed = start("--conf", '{"trees": 7}')
    learning(killed, home)
    left = [p for p in of_home(home) if p.pid != killed.pid]
    killed.kill()
    killed.wait(10)
    assert len([p for p in left if p.is_running()]) > 8, "nobody was there to end them"

    stopped = start("--exit", "--conf", '{"trees": 8}')
    learning(stopped, home, but=left)
    gone(left, within_s=5)
    tree = [p for p in of_home(home) if p.pid != stopped.pid]
    assert len(tree) > 8
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(60) == 130
    gone(tree, within_s=5)
    assert of_home(home) == []

    again = start("--exit", "--json", str(tmp_path / "figures.json"))
    assert again.wait(PATIENCE) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert sorted(name for name, task in figures["tasks"].items() if task["reused"]) == sorted(CHAIN[:4])
    assert figures["prediction"]["version"] == "1"
    assert of_home(home) == []


def test_a_drill_shows_how_a_bad_version_is_taken_back(start: Start, home: Path, tmp_path: Path) -> None:
    process = start("--exit", "--canary-fault", "errors", "--json", str(tmp_path / "figures.json"))
    assert process.wait(PATIENCE) == 0
    drill = json.loads((tmp_path / "figures.json").read_text())["drill"]
    assert (drill["fault"], drill["version"], drill["champion"]) == ("errors", "2", "1")
    assert drill["reason"].startswith("errors: ")
    assert drill["canary_errors"] > 0 and drill["canary_requests"] >= drill["canary_errors"]
    assert drill["champion_requests"] > 0 and drill["champion_errors"] == 0, "the champion never stopped serving"
    assert 0 <= drill["seconds_to_zero"] < 10 and drill["seconds_to_detect"] > 0
    output = said(tmp_path)
    assert "A drill: the next version is a bad one (errors)" in output
    assert drill["reason"].split(":")[0] in output
    assert of_home(home) == []


def test_parts_of_airflow_that_die_are_started_again(start: Start, home: Path, tmp_path: Path) -> None:
    """In the middle of a training: the run goes on to its end."""
    process = start("--exit", "--conf", '{"trees": 110}', "--json", str(tmp_path / "figures.json"))
    learning(process, home)
    for part in ("airflow scheduler", "airflow api_server"):
        [found] = [p for p in psutil.Process(process.pid).children() if part in " ".join(words(p))]
        found.kill()
    assert process.wait(PATIENCE) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["tasks"]["train"] | {"seconds": 0} == {"seconds": 0, "state": "success", "reused": False}
    for part in ("scheduler", "api-server"):
        assert f"airflow-{part} ended with exit code -9 and is started again" in said(tmp_path)
    assert of_home(home) == []


def learning(process: subprocess.Popen[str], home: Path, *, but: Sequence[psutil.Process] = ()) -> None:
    """Wait until a process of this home's train step runs that is none of ``but``."""

    def look() -> bool:
        assert process.poll() is None, "the demo has ended"
        specs = [environment(p).get(SPEC_VARIABLE, "") for p in of_step("flight_delay") if p not in but]
        return any("/train/" in spec and str(home) in spec for spec in specs)

    until(look, within_s=PATIENCE, what="the train step")
