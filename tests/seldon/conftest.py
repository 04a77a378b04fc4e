"""Models on Kubernetes behind Istio and Seldon, or a stand-in for Seldon: see `seldon_place`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from seldon_place import Place, place

from tradewind.runtimes.environments import Environments

SEAMS = Path(__file__).parents[1] / "seams"
sys.path.append(str(SEAMS))  # its helpers


@pytest.fixture(scope="session")
def seldon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("seldon")) as made:
        yield made


@pytest.fixture
def clear(seldon: Place) -> Place:
    """Nothing serves."""
    seldon.clear()
    return seldon


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Path:
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([environments.python("train"), SEAMS / "make_models.py", folder], check=True, capture_output=True)
    return folder
