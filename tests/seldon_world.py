"""Rollouts by Seldon in a Kubernetes without nodes (`kube_world`): the serving, a registry, and whoever ticks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kube_world import NAMESPACE, KubeWorld

from tradewind.contract import ArtifactRef
from tradewind.registry import ModelVersion, Registry, model_tags
from tradewind.rollout.driver import Driver
from tradewind.rollout.record import Record, attempt_id
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving.base import VersionStatistics
from tradewind.serving.seldon.client import SeldonServing
from tradewind.serving.seldon.desired import Options
from tradewind.serving.seldon.statistics import Gateway
from tradewind.store import Store

TARGET = "m"
CANARY: dict[str, Any] = {"steps": [{"weight": 10, "bake_s": 0}], "min_requests": 1}
MIRROR = {**CANARY, "mirror": {"percent": 50, "bake_s": 0}}


class Serving(SeldonServing):
    """Each version's requests are what a test says: there is no gateway to ask."""

    counts: dict[str, int]
    failing: set[str]

    def statistics(self, target: str) -> dict[str, VersionStatistics]:
        found = {}
        for version, served in self.observe(target).versions.items():
            if served.weight or served.mirror:
                self.counts[version] = self.counts.get(version, 0) + 50
            asked = self.counts.get(version, 0)
            errors = asked if version in self.failing else 0
            found[version] = VersionStatistics(requests=asked, errors=errors, active=0, latency_ms={})
        return found


class Platform:
    """The cluster, the registry, and whoever ticks."""

    def __init__(self, folder: Path, kube: KubeWorld) -> None:
        self.folder = folder
        self.kube = kube
        self.alias: str | None = None
        self.counts: dict[str, int] = {}
        self.failing: set[str] = set()

    def serving(self) -> Serving:
        options = Options(image="serve:1", predictor_image="predictor:1", service_account="tradewind-step")
        nowhere = Gateway("http://none")
        made = Serving(kube=self.kube, namespace=NAMESPACE, gateway="http://gateway", statistics=nowhere, options=options)
        made.counts, made.failing = self.counts, self.failing
        return made

    def driver(self) -> Driver:
        registry: Registry = self  # type: ignore[assignment]
        store = Store(str(self.folder))
        return Driver(serving=self.serving(), registry=registry, store=store, target=TARGET, holder="test", lock_timeout_s=30)

    def begin(self, version: str, spec: dict[str, Any] | None = None) -> None:
        found, stable = RolloutSpec.from_dict(spec or {}), next(iter(self.serving().observe(TARGET).weights), None)
        attempt = attempt_id(TARGET, version, self.model(version), found)

        def make(now: float) -> Record:
            return Record(
                id=attempt, target=TARGET, version=version, model=self.model(version), stable=stable, champion=self.alias,
                spec=found, by="test", since=now, started_at=now, updated_at=now,
            )  # fmt: skip

        self.driver().begin(make, attempt=attempt)

    def release(self, version: str, spec: dict[str, Any] | None = None) -> Record:
        self.begin(version, spec)
        return self.driver().finish(poll_s=0.01, limit_s=60)

    def state(self) -> tuple[dict[str, int], set[str], str | None]:
        found = self.serving().observe(TARGET)
        return found.weights, set(found.versions), self.alias

    # -- the registry

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        return self.version(name, self.alias) if self.alias else None

    def version(self, name: str, version: str) -> ModelVersion:
        return ModelVersion(name=name, version=version, tags=model_tags(self.model(version)))

    def promote(self, name: str, version: str) -> None:
        self.kube.fails("alias")
        self.alias = version
        self.kube.fails("alias.")

    def note_release(self, name: str, key: str, record: dict[str, Any]) -> None:
        pass

    def model(self, version: str) -> ArtifactRef:
        (self.folder / version).mkdir(parents=True, exist_ok=True)
        return ArtifactRef(uri=(self.folder / version).as_uri(), sha256=version * 64, size=1, kind="model")
