"""Rollouts by Seldon in a Kubernetes without nodes: changes, faults and kills, and where they end."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from faults import FAULTS
from kube_world import KubeWorld
from live import until
from rollout_world import Killed
from seldon_world import CANARY, MIRROR, TARGET, Platform

from tradewind.errors import RolloutAborted, RuntimeUnavailable
from tradewind.serving.seldon.moves import Write


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


@pytest.mark.usefixtures("quick")
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
            except Killed:
                with FAULTS.injected("a rollout's process killed at a write of Seldon's objects") as fault:
                    platform.release("2", spec)
                    weights, loaded, alias = platform.state()
                    wrong = (weights, alias) != (expected[0], expected[2])
                    fault.rollout(wrong=wrong, stranded=loaded != set(weights))
                    assert platform.state() == expected, f"killed at call {number + 1}"
            else:
                assert platform.state() == expected
                break
        number += 1
    assert number > 20
