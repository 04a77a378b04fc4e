"""One serving of each kind a module, and small real models."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kinds import KINDS, MARKS, Kind
from live import linked_home
from served import Alias, Refer, Supervisor, roll_out

from tradewind.runtimes.environments import Environments
from tradewind.serving.base import Serving


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


@pytest.fixture(scope="module")
def seldon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from seldon_place import place

    with place(tmp_path_factory.mktemp("seldon")) as made:
        yield made


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in KINDS])
def serving_kind(request: pytest.FixtureRequest) -> str:
    """Which implementation of the seam."""
    return str(request.param)


@pytest.fixture(scope="module")
def kind(serving_kind: str, request: pytest.FixtureRequest) -> Kind:
    return KINDS[serving_kind](request)


@pytest.fixture(scope="module")
def serving(kind: Kind) -> Serving:
    return kind.serving


@pytest.fixture(scope="module")
def refer(kind: Kind) -> Refer:
    return kind.refer


@pytest.fixture
def served(serving: Serving, refer: Refer, models: Path, alias: Alias) -> Serving:
    """The serving with version 3 behind the target, and nothing else."""
    roll_out(serving, alias, "3", refer(models / "logistic"))
    return serving


@pytest.fixture(scope="module")
def alias() -> Alias:
    return Alias()
