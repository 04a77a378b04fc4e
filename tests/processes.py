"""Finding real processes by what their environment or command line says, and watching them go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from tradewind.contract import SPEC_VARIABLE


def of_home(home: Path) -> list[psutil.Process]:
    """All processes that work in this home folder: Airflow's, MLflow's, the servers', the steps'."""
    return [p for p in living() if any(f"{home}/" in text or text.endswith(str(home)) for text in words(p))]


def of_step(dag_id: str) -> list[psutil.Process]:
    """The processes of a Dag's running steps, JVMs and all: they inherit the spec's address. Leaders of groups first."""
    found = [p for p in living() if f"/runs/{dag_id}/" in environment(p).get(SPEC_VARIABLE, "")]
    return sorted(found, key=lambda p: "tradewind_steps" not in " ".join(words(p)))


def living() -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process


def environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {}


def words(process: psutil.Process) -> list[str]:
    return [*command(process), *environment(process).values()]


def command(process: psutil.Process) -> list[str]:
    try:
        words: list[str] = process.cmdline()
        return words
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
