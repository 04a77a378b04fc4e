"""``tradewind serve`` under test, and rollouts on it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
from live import until

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, RuntimeUnavailable
from tradewind.registry import CHAMPION, ModelVersion, model_tags
from tradewind.rollout.driver import Driver, Replay
from tradewind.rollout.record import Record
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving.base import Serving
from tradewind.serving.local.client import LocalServing
from tradewind.store import Store, hash_folder

CLI = [sys.executable, "-m", "tradewind"]
TARGET = "flight_delay"


class Supervisor:
    """``tradewind serve`` as a process of its own, as users run it."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.folder = home / "serving"
        self.log = home / "serve.log"
        with self.log.open("ab") as log:
            command = [*CLI, "serve", "--home", str(home), *arguments]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def wait_until_it_answers(self) -> LocalServing:
        serving = LocalServing(folder=self.folder)

        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                serving.observe(TARGET)
            except RuntimeUnavailable:
                return False
            return True

        until(answers, within_s=60, what="the supervisor's answer")
        return serving

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, name: str) -> psutil.Process:
        return next(child for child in self.children() if name in " ".join(child.cmdline()))

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)


Refer = Callable[[Path], ArtifactRef]


def variant(refer: Refer, folder: Path, models: Path, name: str, change: Callable[[Path], Any]) -> ArtifactRef:
    """A model made from a good one by a change to its files."""
    copy = Path(shutil.copytree(models / name, folder / "model"))
    change(copy)
    return refer(copy)


def example(models: Path) -> dict[str, Any]:
    request: dict[str, Any] = json.loads((models / "logistic" / "smoke.json").read_bytes())["request"]
    return request


def predict(serving: Serving, models: Path, target: str = TARGET) -> dict[str, Any]:
    response = httpx.post(f"{serving.observe(target).endpoint_url}/infer", json=example(models), trust_env=False, timeout=30)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refer(folder: Path) -> ArtifactRef:
    return ArtifactRef(uri=folder.as_uri(), sha256=hash_folder(folder), size=0, kind="model")


class Alias:
    """Where the champion's alias would be kept, and where each version's model lies."""

    def __init__(self) -> None:
        self.champion: str | None = None
        self.models: dict[str, ArtifactRef] = {}

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        assert alias == CHAMPION
        return self.version(name, self.champion) if self.champion else None

    def version(self, name: str, version: str) -> ModelVersion:
        return ModelVersion(name=name, version=version, tags=model_tags(self.models[version]))

    def promote(self, name: str, version: str) -> None:
        self.champion = version

    def note_release(self, name: str, key: str, record: dict[str, Any]) -> None:
        pass


def begin(
    serving: Serving, alias: Alias, version: str, model: ArtifactRef, target: str = TARGET, spec: RolloutSpec | None = None,
    replay: Replay | None = None,
) -> Driver:  # fmt: skip
    """Who carries on a rollout that has just begun, by default the plain one."""
    alias.models[version] = model
    registry: Any = alias
    hands = Driver(
        serving=serving, registry=registry, store=Store(model.uri), target=target, holder=f"test / {version}", lock_timeout_s=5,
        replay=replay,
    )  # fmt: skip
    weights = serving.observe(target).weights
    stable = max((v for v in weights if v != version), key=lambda v: weights[v], default=None)

    def make(now: float) -> Record:
        return Record(
            id=f"{version} {now}", target=target, version=version, model=model, stable=stable, champion=alias.champion,
            spec=spec or RolloutSpec(), by="test", since=now, started_at=now, updated_at=now,
        )  # fmt: skip

    hands.begin(make, attempt="new")
    return hands


def roll_out(
    serving: Serving, alias: Alias, version: str, model: ArtifactRef, target: str = TARGET, spec: RolloutSpec | None = None
) -> Record:
    """A rollout to its end; raises where it was taken back."""
    record = begin(serving, alias, version, model, target, spec).finish(poll_s=0.05)
    if record.phase == "rolled_back":
        raise RolloutAborted(record.reason)
    return record
