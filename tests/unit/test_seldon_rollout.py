"""Rollouts by Seldon in a Kubernetes without nodes: changes, faults and kills, and where they end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kube_world import NAMESPACE, KubeWorld
from live import until
from rollout_world import Killed

from tradewind.contract import ArtifactRef
from tradewind.errors import RolloutAborted, RuntimeUnavailable, SpecError
from tradewind.registry import ModelVersion, Registry, model_tags
from tradewind.rollout.driver import Driver
from tradewind.rollout.record import Record, attempt_id
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving.base import VersionStatistics
from tradewind.serving.seldon import client, lease
from tradewind.serving.seldon.client import SeldonServing
from tradewind.serving.seldon.desired import Options
from tradewind.serving.seldon.moves import Write
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


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_LOOK_S", 0.01), ("_PUSH_S", 0.0), ("_GONE_S", 0.5), ("_SHIFT_S", 10.0), ("_MIRROR_S", 10.0)):
        monkeypatch.setattr(client, name, value)
    monkeypatch.setattr(lease, "_LOOK_S", 0.01)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    kube = KubeWorld()
    with kube.running():
        yield Platform(tmp_path, kube)


def test_a_first_release_then_a_canary_that_is_promoted_on_the_pods_that_it_had(platform: Platform) -> None:
    assert platform.release("1").phase == "done"
    assert platform.state() == ({"1": 100}, {"1"}, "1")
    platform.begin("2", CANARY)
    while platform.serving().observe(TARGET).weights != {"1": 90, "2": 10}:
        platform.driver().tick()
    pods = platform.kube.pods("v2")
    assert platform.driver().finish(poll_s=0.01).phase == "done"
    assert platform.state() == ({"2": 100}, {"2"}, "2")
    assert platform.kube.pods("v2") == pods
    assert platform.kube.names("destinationrules") == {"m-v2"}
    until(lambda: platform.kube.names("deployments") == {"m-v2-0-model"}, within_s=5, what="the end of the old Deployment")


def test_a_version_that_does_not_start_leaves_nothing(platform: Platform) -> None:
    platform.release("1")
    platform.kube.broken.add("v2")
    record = platform.release("2", CANARY)
    assert record.phase == "rolled_back" and "it fell over" in record.reason
    assert platform.state() == ({"1": 100}, {"1"}, "1")
    assert platform.kube.names("destinationrules") == {"m-v1"}


def test_a_first_version_that_does_not_start_leaves_no_seldondeployment(platform: Platform) -> None:
    platform.kube.broken.add("v1")
    assert platform.release("1").phase == "rolled_back"
    assert platform.state() == ({}, set(), None)
    assert platform.kube.names("seldondeployments") == set()


@pytest.mark.parametrize("spec", [CANARY, MIRROR])
def test_errors_take_it_back(platform: Platform, spec: dict[str, Any]) -> None:
    platform.release("1")
    platform.failing.add("2")
    record = platform.release("2", spec)
    assert record.phase == "rolled_back" and record.reason.startswith("errors: ")
    assert platform.state() == ({"1": 100}, {"1"}, "1")


def at_the_canary(platform: Platform) -> None:
    platform.release("1")
    platform.begin("2", {**CANARY, "min_requests": 100_000, "patience_s": 1000})
    while platform.serving().observe(TARGET).weights != {"1": 90, "2": 10}:
        platform.driver().tick()


def test_a_canary_that_crashes_is_removed_and_not_weighted(platform: Platform) -> None:
    at_the_canary(platform)
    platform.kube.broken.add("v2")
    platform.kube.edit("seldondeployments", "m", lambda o: o["spec"]["predictors"][1].update(labels={"changed": "yes"}))
    record = platform.driver().finish(poll_s=0.01, limit_s=60)
    assert record.phase == "rolled_back" and "ended by itself" in record.reason
    assert platform.state() == ({"1": 100}, {"1"}, "1")
    assert platform.kube.names("destinationrules") == {"m-v1"}


def test_a_stable_side_that_is_not_well_either_holds_up_no_rollback(platform: Platform) -> None:
    at_the_canary(platform)
    platform.kube.broken |= {"v1", "v2"}

    def break_both(sdep: dict[str, Any]) -> None:
        for predictor in sdep["spec"]["predictors"]:
            predictor["labels"] = {"changed": "yes"}

    platform.kube.edit("seldondeployments", "m", break_both)
    until(lambda: platform.serving().observe(TARGET).versions["2"].error is not None, within_s=5, what="the crash")
    platform.kube.writes.clear()
    platform.serving().shift(TARGET, {"1": 100})
    assert platform.serving().observe(TARGET).weights == {"1": 100}
    assert [write for write in platform.kube.writes if "virtual" in write or "seldon" in write] == [
        "PATCH virtualservices", "PATCH seldondeployments",
    ]  # fmt: skip
    assert set(platform.serving().observe(TARGET).versions) == {"1"}


def test_a_share_that_somebody_changed_by_hand_is_put_right(platform: Platform) -> None:
    at_the_canary(platform)

    def half(sdep: dict[str, Any]) -> None:
        for predictor in sdep["spec"]["predictors"]:
            predictor["traffic"] = 50

    platform.kube.edit("seldondeployments", "m", half)
    until(lambda: platform.serving().observe(TARGET).weights == {"1": 50, "2": 50}, within_s=5, what="the change")
    platform.driver().tick()
    assert platform.serving().observe(TARGET).weights == {"1": 90, "2": 10}


def test_a_deployment_that_the_operator_forgot_is_cleaned_up(platform: Platform) -> None:
    platform.release("1")
    platform.serving().load(TARGET, "2", platform.model("2"))

    def forget(sdep: dict[str, Any]) -> None:
        sdep["spec"]["predictors"] = sdep["spec"]["predictors"][:1]
        del sdep["status"]["deploymentStatus"]["m-v2-0-model"]

    with platform.kube._lock:
        platform.kube.edit("seldondeployments", "m", forget)
    assert "2" in platform.serving().observe(TARGET).versions
    platform.serving().unload(TARGET, "2")
    until(lambda: platform.kube.names("deployments") == {"m-v1-0-model"}, within_s=5, what="the end of it")


def test_others_that_write_at_the_same_time_are_no_failure(platform: Platform) -> None:
    platform.release("1")
    storm = 0

    def meddle(call: str) -> None:
        nonlocal storm
        if call == "PATCH seldondeployments" and storm < 5:
            storm += 1
            platform.kube.edit("seldondeployments", "m", lambda o: o["metadata"]["annotations"].update(by=str(storm)))

    platform.kube.fails = meddle
    assert platform.release("2", CANARY).phase == "done"
    assert storm == 5


def test_who_was_silent_for_too_long_does_not_write_over_the_next_ones_record(platform: Platform) -> None:
    """A request that took so long that another has the lock by now. Orders that come meanwhile hinder nobody."""
    slow, next_one = platform.serving(), platform.serving()
    slow.keep_record(TARGET, {"phase": "canary"})
    next_one.record(TARGET)
    next_one.put_order(TARGET, "a1", {"do": "hold", "attempt": "x", "at": 1.0})
    next_one.keep_record(TARGET, {"phase": "roll_back"})
    with pytest.raises(RuntimeUnavailable, match="Another has carried on the rollout that tradewind-rollout-m"):
        slow.keep_record(TARGET, {"phase": "switch"})
    assert slow.record(TARGET) == {"phase": "roll_back"}
    assert set(slow.orders(TARGET)) == {"a1"}
    slow.keep_record(TARGET, {"phase": "rolled_back"})
    assert next_one.record(TARGET) == {"phase": "rolled_back"}


def test_orders_that_come_while_a_record_is_written_are_no_conflict(platform: Platform) -> None:
    serving, came = platform.serving(), 0
    serving.keep_record(TARGET, {"phase": "canary"})

    def order(call: str) -> None:
        nonlocal came
        if call == "PATCH configmaps" and came < 5:
            came += 1
            platform.kube.edit("configmaps", "tradewind-rollout-m", lambda o: o["data"].update({f"order.{came}": "{}"}))

    platform.kube.fails = order
    serving.keep_record(TARGET, {"phase": "held"})
    assert (came, serving.record(TARGET), len(serving.orders(TARGET))) == (5, {"phase": "held"}, 5)


def test_who_waits_is_told_who_holds_the_lock_and_gets_it_when_the_holder_is_silent(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LENGTH_S", 2.0)
    monkeypatch.setattr(lease, "_RENEW_S", 0.1)
    lock = platform.serving().lock(TARGET, holder="run 1", timeout_s=1)
    lock.__enter__()
    with (
        pytest.raises(RuntimeUnavailable, match=r"is held by run 1; waited 0\.2 s"),
        platform.serving().lock(TARGET, holder="run 2", timeout_s=0.2),
    ):
        pass
    (hold,) = lock.gen.gi_frame.f_locals["self"]._holds.values()  # type: ignore[attr-defined]
    hold._ended.set()  # as if its process were gone: nobody renews, nobody says goodbye
    with platform.serving().lock(TARGET, holder="run 2", timeout_s=5):
        until(lambda: not hold.valid, within_s=2, what="the first holder's end")


def test_a_lost_lock_writes_nothing(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    platform.release("1")
    serving = platform.serving()
    with serving.lock(TARGET, holder="run 1", timeout_s=1):
        monkeypatch.setattr(lease, "LENGTH_S", 0.0)
        with pytest.raises(RuntimeUnavailable, match="was lost"):
            serving.keep_record(TARGET, {})
        with pytest.raises(RuntimeUnavailable, match="was lost"):
            serving.load(TARGET, "2", platform.model("2"))


def test_a_renewal_whose_answer_is_lost_is_no_lost_lock(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LENGTH_S", 4.0)
    monkeypatch.setattr(lease, "_RENEW_S", 0.1)
    ask, lost = platform.kube.ask, []

    def without_answer(method: str, path: str, *arguments: Any, **options: Any) -> Any:
        found = ask(method, path, *arguments, **options)
        if method == "PUT" and "/leases/" in path and not lost:
            lost.append(path)
            raise RuntimeUnavailable("Kubernetes does not answer")
        return found

    monkeypatch.setattr(platform.kube, "ask", without_answer)
    serving = platform.serving()
    with serving.lock(TARGET, holder="run 1", timeout_s=1):
        until(lambda: bool(lost), within_s=2, what="a renewal")
        time.sleep(3.5)
        serving.keep_record(TARGET, {"schema": 1})

        def takes(found: dict[str, Any]) -> None:
            found["spec"]["holderIdentity"] = "another's"

        platform.kube.edit("leases", "tradewind-rollout-m", takes)
        with pytest.raises(RuntimeUnavailable, match="was lost"):
            until(lambda: serving.keep_record(TARGET, {"schema": 1}), within_s=2.5, what="to notice")


def test_orders_lie_in_the_records_own_object_and_touch_nothing_else_of_it(platform: Platform) -> None:
    serving = platform.serving()
    with pytest.raises(SpecError):
        serving.put_order(TARGET, "a1", {"do": "hold"})
    serving.put_order(TARGET, "a1", None)
    serving.keep_record(TARGET, {"schema": 1})
    serving.put_order(TARGET, "a1", {"do": "hold"})
    serving.put_order(TARGET, "b2", {"do": "roll_back"})
    serving.keep_record(TARGET, {"schema": 1, "phase": "canary"})
    serving.put_order(TARGET, "a1", None)
    assert serving.orders(TARGET) == {"b2": {"do": "roll_back"}}
    assert serving.record(TARGET) == {"schema": 1, "phase": "canary"}


def test_a_record_that_is_refused_is_told_in_the_servers_words(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    serving, ask = platform.serving(), platform.kube.ask
    serving.keep_record(TARGET, {"schema": 1})

    def full(method: str, path: str, *arguments: Any, **options: Any) -> Any:
        if method == "PATCH" and "/configmaps/" in path:
            raise SpecError("Kubernetes, PATCH: 413 Request entity too large")
        return ask(method, path, *arguments, **options)

    monkeypatch.setattr(platform.kube, "ask", full)
    with pytest.raises(SpecError, match="too large"):
        serving.keep_record(TARGET, {"schema": 1})


def test_what_somebody_else_has_deleted_is_said(platform: Platform) -> None:
    objects = platform.serving()._objects
    for kind, what in (("spec", "SeldonDeployment"), ("route", "VirtualService")):
        with pytest.raises(RuntimeUnavailable, match=f"{what} m in models is gone"):
            objects.change("m", lambda _, kind=kind: Write(kind=kind, body={"spec": {}}))  # type: ignore[misc]


def test_another_model_under_a_version_that_is_loaded_is_refused(platform: Platform) -> None:
    platform.release("1")
    other = dataclasses.replace(platform.model("1"), sha256="f" * 64)
    with pytest.raises(RolloutAborted, match="from another model: expected sha256 ffff"):
        platform.serving().load(TARGET, "1", other)


@pytest.mark.parametrize(("failing", "spec"), [(False, MIRROR), (True, CANARY)])
def test_killed_at_any_write_it_ends_all_new_or_all_old(tmp_path: Path, failing: bool, spec: dict[str, Any]) -> None:
    """Before and after every write to the cluster and of the alias, with another process that goes on."""
    number, expected = 0, ({"1": 100}, {"1"}, "1") if failing else ({"2": 100}, {"2"}, "2")
    while True:
        kube, calls = KubeWorld(), 0
        with kube.running():
            platform = Platform(tmp_path / str(number), kube)
            platform.release("1")
            platform.failing |= {"2"} if failing else set()

            def kill(call: str, number: int = number) -> None:
                nonlocal calls
                calls += 1
                if calls == number + 1:
                    raise Killed

            kube.fails = kill
            try:
                platform.release("2", spec)
                killed = False
            except Killed:
                killed = True
                platform.release("2", spec)
            assert platform.state() == expected, f"killed at call {number + 1}"
        if not killed:
            break
        number += 1
    print(f"killed at each of {number} calls")
    assert number > 20
