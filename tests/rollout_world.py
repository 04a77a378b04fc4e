"""A world for a rollout without servers, in which time passes and requests come as told: everything may fail or be killed.

Record, orders and lock are the local serving's own files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted
from tradewind.registry import ModelVersion, Registry, model_tags
from tradewind.rollout.driver import Driver
from tradewind.rollout.record import Record, attempt_id
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving.base import Deployment, ServedVersion, VersionStatistics
from tradewind.serving.local.client import LocalServing
from tradewind.store import Store, hash_folder

TARGET = "m"
State = tuple[dict[str, int], set[str], str | None]
ALL_OLD: State = ({"1": 100}, {"1"}, "1")
ALL_NEW: State = ({"2": 100}, {"2"}, "2")
CANARY: dict[str, Any] = {
    "steps": [{"weight": 10, "bake_s": 20}, {"weight": 50, "bake_s": 20}], "min_requests": 100, "patience_s": 30,
}  # fmt: skip
MIRROR = {**CANARY, "mirror": {"percent": 50, "bake_s": 10}}
PASSED = {"verdict": "PASSED", "reasons": [], "rows": 1000}


class Killed(BaseException):
    """What ends a process without a word."""


@dataclasses.dataclass
class Behaviour:
    """Of one version: what share of its requests fails, how long one takes, at which request it ends by itself."""

    errors: float = 0.0
    ms: float = 5.0
    ends_at: int | None = None


class World:
    """Serving, registry and clock in one. A tick of a driver is a second, in which ``rate`` requests come.

    ``fails`` is told each call that changes something, before (``"shift"``) and after (``"shift."``) it took effect.
    """

    def __init__(self, folder: Path, *, rate: int = 100) -> None:
        self.folder = folder
        self.rate = rate
        self.now = 1_000_000.0
        self.versions: dict[str, ServedVersion] = {}
        self.answers: dict[str, float] = {}
        self.behaviour: dict[str, Behaviour] = {}
        self.counts: dict[str, VersionStatistics] = {}
        self.owed: dict[str, float] = {}
        self.alias: str | None = None
        self.notes: dict[str, dict[str, Any]] = {}
        self.files = LocalServing(folder=folder / "serving")
        self.calls: list[str] = []
        self.fails: Callable[[str], None] = lambda _: None

    # -- the serving ----------------------------------------------------------------------------------------------

    def observe(self, target: str) -> Deployment:
        return Deployment(target=target, endpoint_url="http://127.0.0.1:1/v2/models/m", versions=dict(self.versions))

    def load(self, target: str, version: str, model: ArtifactRef) -> None:
        with self._call("load"):
            served = ServedVersion(ready=True, digest=model.sha256, weight=0, url="http://127.0.0.1:1/v2/models/m")
            self.versions.setdefault(version, served)
            self.answers[version] = float((Path(model.uri.removeprefix("file://")) / "model").read_text())

    def infer(self, target: str, version: str, request: dict[str, Any]) -> dict[str, Any]:
        return {"outputs": [{"data": [self.answers[version]]}]}

    def shift(self, target: str, weights: dict[str, int], *, even_unready: bool = False) -> None:
        with self._call("shift"):
            there = {version for version, served in self.versions.items() if served.ready or even_unready}
            if missing := {version for version, weight in weights.items() if weight} - there:
                raise RolloutAborted(f"{missing} is not loaded or not ready")
            self.versions = {
                version: dataclasses.replace(
                    served, weight=weights.get(version, 0), mirror=0 if weights.get(version) else served.mirror
                )
                for version, served in self.versions.items()
            }

    def mirror(self, target: str, version: str, percent: int) -> None:
        with self._call("mirror"):
            if version in self.versions:
                self.versions[version] = dataclasses.replace(self.versions[version], mirror=percent)

    def unload(self, target: str, version: str) -> None:
        with self._call("unload"):
            served = self.versions.get(version)
            assert served is None or served.weight == served.mirror == 0
            self.versions.pop(version, None)

    def statistics(self, target: str) -> dict[str, VersionStatistics]:
        return {version: self.counts.get(version, _NONE) for version in self.versions}

    def record(self, target: str) -> dict[str, Any] | None:
        return self.files.record(target)

    def keep_record(self, target: str, record: dict[str, Any]) -> None:
        with self._call("record"):
            self.files.keep_record(target, record)

    def orders(self, target: str) -> dict[str, dict[str, Any]]:
        return self.files.orders(target)

    def put_order(self, target: str, key: str, order: dict[str, Any] | None) -> None:
        with self._call("order"):
            self.files.put_order(target, key, order)

    def lock(self, target: str, *, holder: str, timeout_s: float) -> AbstractContextManager[None]:
        """Nobody waits for it: time passes only between ticks."""
        return self.files.lock(target, holder=holder, timeout_s=0)

    # -- the registry ---------------------------------------------------------------------------------------------

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        return self.version(name, self.alias) if self.alias else None

    def version(self, name: str, version: str) -> ModelVersion:
        return ModelVersion(name=name, version=version, tags=model_tags(self.model(version)))

    def promote(self, name: str, version: str) -> None:
        with self._call("alias"):
            self.alias = version

    def withdraw(self, name: str) -> None:
        with self._call("withdraw"):
            self.alias = None

    def note_release(self, name: str, key: str, record: dict[str, Any]) -> None:
        with self._call("note"):
            self.notes[key] = record

    def releases(self, name: str) -> list[dict[str, Any]]:
        return sorted(self.notes.values(), key=lambda note: float(note["at"]), reverse=True)

    # -- what tests do --------------------------------------------------------------------------------------------

    def model(self, version: str, *, answers: float | None = None) -> ArtifactRef:
        folder = self.folder / version
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "model").write_text(version if answers is None else str(answers))
            (folder / "smoke.json").write_text(json.dumps({"request": {}, "outputs": [float(version)]}))
        return ArtifactRef(uri=folder.as_uri(), sha256=hash_folder(folder), size=1, kind="model")

    def serving(self, version: str) -> World:
        """With this version as what serves and the champion."""
        self.load(TARGET, version, self.model(version))
        self.shift(TARGET, {version: 100})
        self.alias = version
        self.calls.clear()
        return self

    def driver(self, replay: dict[str, Any] | None = None) -> Driver:
        registry: Registry = self  # type: ignore[assignment]
        return Driver(
            serving=self, registry=registry, store=Store(str(self.folder)), target=TARGET, holder="test", clock=lambda: self.now,
            replay=(lambda _: self._replayed(replay)) if replay else None,
        )  # fmt: skip

    def begin(self, version: str, spec: dict[str, Any] | None = None, *, attempt: str = "run") -> Record:
        """A rollout of this version, at its beginning; again, where it is."""
        found = RolloutSpec.from_dict(spec or {})
        model, stable = self.model(version), next(iter(self.observe(TARGET).weights), None)
        name = attempt_id(TARGET, version, model, found, attempt)

        def make(now: float) -> Record:
            return Record(
                id=name, target=TARGET, version=version, model=model, stable=stable, champion=self.alias, spec=found, by="test",
                since=now, started_at=now, updated_at=now,
            )  # fmt: skip

        record = self.driver().begin(make, attempt=name)
        assert record
        return record

    def passes(self, seconds: float = 1.0) -> None:
        """Time in which requests come."""
        self.now += seconds
        for version, served in list(self.versions.items()):
            come = self.owed.get(version, 0.0) + self.rate * seconds * (served.weight + served.mirror) / 100
            self.owed[version] = come - int(come)
            self._answer(version, int(come))

    def to_the_end(self, *, replay: dict[str, Any] | None = None, most: int = 5000) -> Record:
        """Tick, a second each, until the rollout has ended or is held."""
        for _ in range(most):
            ticked = self.driver(replay).tick()
            if ticked.record.ended or (ticked.record.phase == "held" and not ticked.moved):
                return ticked.record
            self.passes()
        raise AssertionError(f"Still in phase {ticked.record.phase} after {most} ticks")

    def state(self) -> State:
        return self.observe(TARGET).weights, set(self.versions), self.alias

    def _answer(self, version: str, requests: int) -> None:
        how, before = self.behaviour.get(version, Behaviour()), self.counts.get(version, _NONE)
        total = before.requests + requests
        latency = {**before.latency, f"{how.ms:g}": before.latency.get(f"{how.ms:g}", 0) + requests}
        self.counts[version] = VersionStatistics(
            requests=total, errors=int(total * how.errors), active=0, latency_ms={}, latency=latency
        )
        if how.ends_at is not None and before.requests < how.ends_at <= total:
            served = self.versions[version]
            self.versions[version] = dataclasses.replace(served, restarts=served.restarts + 1, error="MLServer ended by SIGSEGV")

    def _replayed(self, found: dict[str, Any]) -> dict[str, Any]:
        with self._call("replay"):
            return found

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        self.calls.append(name)
        self.fails(name)
        yield
        self.fails(f"{name}.")


_NONE = VersionStatistics(requests=0, errors=0, active=0, latency_ms={})


def held(world: World) -> None:
    """A rollout of version 2 that waits for a person."""
    world.rate = 0
    world.begin("2", CANARY)
    assert world.to_the_end().phase == "held"


def canary_at_10(world: World, **spec: Any) -> str:
    """The id of a rollout of version 2 that gets its first requests."""
    record = world.begin("2", {**CANARY, **spec})
    while world.observe(TARGET).weights.get("2") != 10:
        world.driver().tick()
    return record.id
