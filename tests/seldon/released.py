"""A model with one version that serves on Seldon, and a second one that may come."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from live import until
from seldon_place import Place
from served import Alias, example, roll_out

from tradewind.cli.traffic import Traffic
from tradewind.errors import RuntimeUnavailable
from tradewind.rollout.driver import Driver
from tradewind.rollout.record import Record
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving.seldon import view as seen
from tradewind.serving.seldon.client import SeldonServing
from tradewind.serving.seldon.desired import deployment_name
from tradewind.serving.seldon.metrics import Metrics
from tradewind.store import Store

TARGET = "flight_delay"
NAME = deployment_name(TARGET)
CANARY: dict[str, Any] = {"steps": [{"weight": 20, "bake_s": 5}, {"weight": 50, "bake_s": 5}], "min_requests": 30}
LONG: dict[str, Any] = {"steps": [{"weight": 25, "bake_s": 600}], "min_requests": 30}


class Released:
    """Version 1 serves and is the champion; version 2 may come."""

    def __init__(self, seldon: Place, models: Path, statistics: Metrics | None = None) -> None:
        self.seldon = seldon
        self.models = models
        self.alias: Alias = Alias()
        self.serving = seldon.serving(statistics=statistics)
        self.alias.models = {version: seldon.refer(models / name) for version, name in {"1": "logistic", "2": "trees"}.items()}
        roll_out(self.serving, self.alias, "1", self.alias.models["1"])

    def traffic(self) -> Traffic:
        return Traffic(self.serving.observe(TARGET).endpoint_url, [example(self.models)])

    def release(self, spec: dict[str, Any]) -> Record:
        return roll_out(self.serving, self.alias, "2", self.alias.models["2"], spec=RolloutSpec.from_dict(spec))

    def driver(self, serving: SeldonServing | None = None) -> Driver:
        registry: Any = self.alias
        store = Store(self.alias.models["1"].uri)
        return Driver(
            serving=serving or self.serving, registry=registry, store=store, target=TARGET, holder="test", lock_timeout_s=30
        )

    def begin(self, spec: dict[str, Any]) -> None:
        def make(now: float) -> Record:
            return Record(
                id="2", target=TARGET, version="2", model=self.alias.models["2"], stable="1", champion=self.alias.champion,
                spec=RolloutSpec.from_dict(spec), by="test", since=now, started_at=now, updated_at=now,
            )  # fmt: skip

        self.driver().begin(make, attempt="2")

    def until_canary(self, weight: int) -> None:
        driver = self.driver()
        until(lambda: driver.tick() and self.weights.get("2") == weight, within_s=120, what=f"{weight}%")

    def finished(self) -> tuple[Record, float]:
        """The rollout carried to its end, and the seconds from the decision to take it back until it got no more requests; 0
        where it was not taken back. What is not to be had now is asked for again, as the trigger does."""
        driver, zero = self.driver(), 0.0
        while not (record := self._looked(driver)).ended:
            if record.phase == "roll_back" and not zero and self.weights == {"1": 100}:
                zero = time.time()
            time.sleep(0.1)
        decided = next((event["at"] for event in record.events if event["phase"] == "roll_back"), None)
        return record, (zero or time.time()) - decided if decided else 0.0

    def _looked(self, driver: Driver) -> Record:
        with suppress(RuntimeUnavailable):
            return driver.tick().record
        record = driver.record()
        assert record
        return record

    @property
    def weights(self) -> dict[str, int]:
        return self.serving.observe(TARGET).weights

    def spoil(self, change: Any) -> None:
        """Somebody changes the canary's predictor."""
        sdep = self.seldon.get("seldondeployments", NAME)
        predictors = sdep["spec"]["predictors"]
        change(next(p for p in predictors if p["name"] == "v2"))
        self.seldon.kube.ask("PATCH", self.seldon.path("seldondeployments", NAME), {"spec": {"predictors": predictors}})

    def assert_all_old(self) -> None:
        assert (self.weights, self.alias.champion) == ({"1": 100}, "1")
        assert set(self.serving.observe(TARGET).versions) == {"1"}
        until(lambda: names(self.seldon) == {f"{NAME}-v1-0-model"}, within_s=60, what="the canary's end")
        assert {r["metadata"]["name"] for r in self.seldon.all("destinationrules")} == {f"{NAME}-v1"}
        view = self.serving._objects.view(NAME)
        assert seen.converged(view)


def errors(predictor: dict[str, Any]) -> None:
    """A change for `Released.spoil`: one request in five fails from here on."""
    fault = {"name": "MLSERVER_MODEL_EXTRA", "value": json.dumps({"fault": "errors"})}
    predictor["componentSpecs"][0]["spec"]["containers"][0]["env"].append(fault)


def names(seldon: Place) -> set[str]:
    return {d["metadata"]["name"] for d in seldon.all("deployments")}


def failed(traffic: Traffic) -> dict[str, int]:
    return {answer: count for answer, count in traffic.answers.items() if answer.startswith("failed")}
