"""Helm, for real: what the chart makes of values, and what a cluster says to it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import CHART, Rendered


@pytest.fixture(scope="session")
def helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run helm with arguments; values are given as YAML's text."""
    program = shutil.which("helm")
    assert program, "there is no helm on PATH"

    def run(*arguments: str | Path, values: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        given = ["--values", "-"] if values else []
        return subprocess.run(
            [program, *map(str, arguments), *given], input=values, capture_output=True, text=True, timeout=timeout
        )

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Rendered]:
    """The chart as release ``tradewind`` in the namespace ``airflow``."""

    def run(values: str = "", release: str = "tradewind") -> Rendered:
        done = helm("template", release, CHART, "--namespace", "airflow", values=values)
        assert done.returncode == 0, done.stderr
        return Rendered(done.stdout)

    return run
