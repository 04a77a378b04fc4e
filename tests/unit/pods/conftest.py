"""A task whose step is a pod, on an API that refuses and ends pods as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pod_server import PodServer
from pod_task import Task

from tradewind.settings import Settings

LOG = ["2026-11-26T05:00:00.000000001Z one", "2026-11-26T05:00:01Z two"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    given = {
        "home": str(tmp_path), "store_uri": f"memory://tradewind{tmp_path}", "tracking_uri": "http://mlflow:5000",
        "runtime": "kubernetes",
    }  # fmt: skip
    return Settings.read(given.get)


@pytest.fixture
def server() -> Iterator[PodServer]:
    made = PodServer()
    with made.running():
        yield made


@pytest.fixture
def task(settings: Settings, server: PodServer, tmp_path: Path) -> Task:
    made = Task(settings, server, server.kubeconfig(tmp_path))
    server.comes_to = made.done
    server.log = LOG
    return made
