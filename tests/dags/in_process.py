"""A process that runs Dags, and what it leaves."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live import CHAIN

from tradewind.registry import Registry
from tradewind.store import Store

# The template's margins are for a year of flights. On a sample of them a model that is as good may miss them by chance, and
# does so on one processor and not on another.
RULES = ["auc >= 0.6", "auc >= champion - 0.05"]
# A canary would wait for requests that nobody sends.
AT_ONCE = {"rules": RULES, "replay": [], "canary": []}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run that has ended; ``log`` is what its tasks said."""

    dag_id: str
    run_id: str
    state: str
    tasks: dict[str, Any]
    asked: list[dict[str, Any]]
    log: str
    store: Store

    def states(self) -> dict[str, str]:
        return {name: self.tasks[name]["state"] for name in CHAIN}

    def metrics(self, task: str) -> dict[str, Any]:
        return dict(self.tasks[task]["result"]["metrics"])

    def started(self) -> list[str]:
        """The tasks for which a step's process was started: those that wrote a spec for one."""
        return [name for name in CHAIN if any(f.uri.endswith("/spec.json") for f in self.store.files(self._folder(name)))]

    def reused(self) -> list[str]:
        """The tasks that committed a manifest which says whose result it is."""
        found = {name: self.store.latest_manifest(self.dag_id, self.run_id, name) for name in CHAIN}
        return [name for name, latest in found.items() if latest and latest[1].reused_from]

    def _folder(self, task: str) -> str:
        return self.store.run_uri(self.dag_id, self.run_id, task)


class Dags:
    """Dags that can be run, and what they work on.

    Args:
        home: the embedded environment's.
        process: `dag_runner`'s.
    """

    def __init__(
        self, *, home: Path, folder: Path, flights: Path, process: subprocess.Popen[str], log: Path, mlflow: str, store: Store
    ) -> None:
        self.home = home
        self.folder = folder
        self.flights = flights
        self.store = store
        self.registry = Registry(mlflow)
        self.process = process
        self._log = log

    def run(self, dag_id: str = "flight_delay", *, answer: Any = None, **conf: Any) -> Run:
        """A run to its end; `AT_ONCE` but for what ``conf`` says. What it asks a person gets ``answer``, see `dag_runner`."""
        assert self.process.stdin
        assert self.process.stdout
        before = self._log.stat().st_size
        request = {"file": str(self.folder / dag_id / "dag.py"), "dag_id": dag_id, "conf": {**AT_ONCE, **conf}, "answer": answer}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        log = self._log.read_bytes()[before:].decode(errors="replace")
        print(log)
        assert answer, "the process that runs Dags has ended"
        return Run(dag_id=dag_id, log=log, store=self.store, **json.loads(answer))
