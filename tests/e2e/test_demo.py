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
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from demos import PATIENCE, TRADEWIND, Start, said
from live import CHAIN, gone, until
from processes import of_home

FLIGHTS, LANDED = 336_776, 327_346  # rows of the year; those that arrived


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
