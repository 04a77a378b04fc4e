"""One supervisor a module, and small real models."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import linked_home
from served import Alias, Supervisor

from tradewind.runtimes.environments import Environments
from tradewind.serving.base import Serving
from tradewind.serving.local.client import LocalServing


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Path:
    folder = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("make_models.py")
    subprocess.run([environments.python("train"), script, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def supervisor(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Iterator[Supervisor]:
    started = Supervisor(linked_home(tmp_path_factory.mktemp("serving") / "home", environments))
    try:
        started.wait_until_it_answers()
        yield started
    finally:
        started.end()


@pytest.fixture(scope="module", params=["local"])
def serving(request: pytest.FixtureRequest) -> Serving:
    running: Supervisor = request.getfixturevalue("supervisor")
    return LocalServing(folder=running.folder)


@pytest.fixture(scope="module")
def alias() -> Alias:
    return Alias()
