"""A rollout in a world in which everything may fail or be killed: where it ends."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from rollout_world import ALL_NEW, ALL_OLD, CANARY, TARGET, Behaviour, World

from tradewind.errors import RuntimeUnavailable, SpecError
from tradewind.rollout.record import Traffic
from tradewind.serving.base import VersionStatistics


def test_a_champion_changed_by_hand_ends_it(world: World) -> None:
    world.begin("2", CANARY)
    while world.observe(TARGET).weights.get("2") != 10:
        world.driver().tick()
    world.alias = "7"
    record = world.to_the_end()
    assert "the champion is version 7, but it was 1" in record.reason
    assert world.state() == ({"1": 100}, {"1"}, "7")


def test_an_alias_that_cannot_be_set_for_a_minute_takes_the_requests_back(world: World) -> None:
    def fails(call: str) -> None:
        if call == "alias":
            raise RuntimeUnavailable("MLflow does not answer")

    world.fails = fails
    world.begin("2")
    record = world.to_the_end()
    assert record.reason == "the registry does not take the champion's alias"
    assert world.state() == ALL_OLD


def test_a_release_record_that_is_refused_holds_up_nothing(world: World) -> None:
    def fails(call: str) -> None:
        if call == "note":
            raise SpecError("400, Invalid value")

    world.fails = fails
    world.begin("2")
    record = world.to_the_end()
    assert world.state() == ALL_NEW
    assert "no release record is kept: 400, Invalid value" in [event["what"] for event in record.events]


def test_an_alias_that_was_set_though_the_answer_was_lost(world: World) -> None:
    def fails(call: str) -> None:
        if call == "alias.":
            raise RuntimeUnavailable("MLflow does not answer")

    world.fails = fails
    world.begin("2")
    assert world.to_the_end().phase == "done"
    assert world.state() == ALL_NEW


@pytest.mark.parametrize(("refused", "alias"), [(False, None), (True, "2")])
def test_a_first_release_that_is_taken_back_is_no_champion(tmp_path: Path, refused: bool, alias: str | None) -> None:
    """MLflow had taken the alias, but neither said so nor answered at all for too long."""
    world = World(tmp_path)
    by_alias, silent_until = world.by_alias, [0.0]

    def fails(call: str) -> None:
        if call == "alias.":
            silent_until[0] = world.now + 65
            raise RuntimeUnavailable("MLflow does not answer")
        if call == "withdraw" and refused:
            raise SpecError("403, not for you")

    def found(name: str, alias: str) -> Any:
        if world.now < silent_until[0]:
            raise RuntimeUnavailable("MLflow does not answer")
        return by_alias(name, alias)

    world.fails, world.by_alias = fails, found  # type: ignore[method-assign]
    world.begin("2")
    record = world.to_the_end()
    assert record.reason == "the registry does not take the champion's alias"
    assert world.state() == ({}, set(), alias)
    assert ("403, not for you" in [event["what"] for event in record.events]) == refused


def test_another_rollout_waits_or_takes_over_what_nobody_carries_on(world: World) -> None:
    world.begin("2", CANARY)
    while world.observe(TARGET).weights.get("2") != 10:
        world.driver().tick()
    hands = world.driver()
    hands._lock_timeout_s = 0.1
    with pytest.raises(RuntimeUnavailable, match=r"the rollout of m version 2 by test, in phase canary"):
        hands.begin(lambda now: None, attempt="another")
    world.now += 1000
    assert hands.begin(lambda now: None, attempt="another") is None
    assert world.state() == ALL_OLD


def test_a_changed_spec_is_another_rollout(world: World) -> None:
    first = world.begin("2", CANARY)
    world.to_the_end()
    again = world.begin("2", CANARY)
    assert (first.id, again.phase) == (again.id, "done"), "a retry finds how it ended"
    assert world.begin("2", {**CANARY, "alpha": 0.05}).id != first.id
    world.to_the_end()
    assert world.begin("2", CANARY, attempt="another run").id != first.id


def test_counts_go_on_where_the_proxy_began_anew() -> None:
    def now(requests: int, errors: int, latency: dict[str, int]) -> VersionStatistics:
        return VersionStatistics(requests=requests, errors=errors, active=0, latency_ms={}, latency=latency)

    traffic = Traffic().looked(now(100, 5, {"5": 100}))
    traffic = dataclasses.replace(Traffic(), seen=traffic.seen)
    traffic = traffic.looked(now(150, 6, {"5": 140, "9": 10}))
    assert (traffic.requests, traffic.errors, traffic.latency) == (50, 1, {"5": 40, "9": 10})
    traffic = traffic.looked(now(20, 1, {"5": 20}))
    assert (traffic.requests, traffic.errors, traffic.latency) == (70, 2, {"5": 60, "9": 10})


def test_what_could_not_be_asked_for_is_not_new_when_it_comes() -> None:
    def now(answers: dict[str, int]) -> VersionStatistics:
        return VersionStatistics(requests=1, errors=0, active=0, latency_ms={}, answers=answers)

    traffic = Traffic().looked(now({"0.1": 900}))
    traffic = dataclasses.replace(Traffic(), seen=traffic.seen)
    traffic = traffic.looked(now({})).looked(now({"0.1": 905}))
    assert traffic.answers == {"0.1": 5}


def test_an_old_version_that_is_gone_is_loaded_again(world: World) -> None:
    world.begin("2", CANARY)
    while world.observe(TARGET).weights.get("2") != 10:
        world.driver().tick()
    world.versions.clear()
    record = world.to_the_end()
    assert record.phase == "rolled_back"
    assert world.state() == ALL_OLD


def test_a_registry_that_answers_nonsense_leaves_no_canary_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.behaviour["2"] = Behaviour(errors=1.0)
    world.begin("2", CANARY)
    while world.observe(TARGET).weights.get("2") != 10:
        world.driver().tick()

    def nonsense(name: str, alias: str) -> None:
        raise SpecError("403, a proxy's page")

    with monkeypatch.context() as patch:
        patch.setattr(world, "by_alias", nonsense)
        for _ in range(20):
            world.driver().tick()
            world.passes()
        assert world.observe(TARGET).weights == {"1": 100}
    assert world.to_the_end().phase == "rolled_back"


@pytest.mark.parametrize("kept", ["{}", "[]", '{"schema": 1}', '{"schema": 1, "phase": "nonsense"}'])
def test_a_damaged_record_is_named(world: World, kept: str) -> None:
    file = world.folder / "serving" / "records" / f"{TARGET}.json"
    file.parent.mkdir(parents=True)
    file.write_text(kept)
    with pytest.raises(SpecError, match=r"record .*remove it, then roll out again"):
        world.begin("2")
