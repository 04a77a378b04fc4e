"""What is done while something cannot be seen, or does not answer: the proxy's counts, the version that serves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from rollout_world import ALL_NEW, ALL_OLD, CANARY, PASSED, TARGET, World, canary_at_10

from tradewind.errors import RuntimeUnavailable, SpecError
from tradewind.serving.base import VersionStatistics

Blind = Callable[[bool], None]
AT_10 = {"1": 90, "2": 10}


@pytest.fixture
def blind(world: World, monkeypatch: pytest.MonkeyPatch) -> Blind:
    """Takes the proxy's counts away, and gives them back."""
    statistics = world.statistics

    def unreachable(target: str) -> Any:
        raise RuntimeUnavailable("The gateway's statistics cannot be read")

    return lambda away: monkeypatch.setattr(world, "statistics", unreachable if away else statistics)


def ticks(world: World, count: int) -> str:
    for _ in range(count):
        phase = world.driver().tick().record.phase
        world.passes()
    return phase


def test_nothing_rises_unseen_and_then_a_person_decides(world: World, blind: Blind) -> None:
    canary_at_10(world)
    ticks(world, 15)
    blind(True)
    assert ticks(world, 29) == "canary"
    record = world.to_the_end()
    assert (record.phase, world.observe(TARGET).weights) == ("held", AT_10)
    assert record.reason == "for 30 s nothing could be compared: The gateway's statistics cannot be read"
    world.driver().order("promote", by="ada", why="the gateway is what is broken")
    assert world.to_the_end().phase == "done"
    assert world.state() == ALL_NEW


def test_a_short_while_without_counts_changes_nothing(world: World, blind: Blind) -> None:
    """What came meanwhile is in them when they are back."""
    canary_at_10(world)
    for _ in range(4):
        blind(True)
        assert ticks(world, 20) in ("canary", "switch")
        blind(False)
        ticks(world, 1)
    record = world.to_the_end()
    assert (record.phase, world.state()) == ("done", ALL_NEW)
    assert record.of("2").requests > 1000


def test_the_spec_may_want_it_back(world: World, blind: Blind) -> None:
    canary_at_10(world, on_inconclusive="roll_back")
    blind(True)
    assert "nothing could be compared" in world.to_the_end().reason
    assert world.state() == ALL_OLD


def test_a_replay_that_passed_has_not_seen_it_either(world: World, blind: Blind) -> None:
    world.begin("2", {**CANARY, "on_inconclusive": "replay", "replay": ["errors <= 0"]})
    while world.observe(TARGET).weights.get("2") != 10:
        world.driver(PASSED).tick()
    blind(True)
    record = world.to_the_end(replay=PASSED)
    assert record.replay and record.replay["verdict"] == "PASSED" and record.phase == "held"


def test_what_can_be_seen_still_counts(world: World, blind: Blind) -> None:
    canary_at_10(world)
    blind(True)
    ticks(world, 3)
    world.versions["2"] = dataclasses.replace(world.versions["2"], restarts=5)
    assert "ended by itself 5 times" in world.to_the_end().reason
    assert world.state() == ALL_OLD


def test_after_the_switch_too(world: World, blind: Blind) -> None:
    world.begin("2", {"keep_stable_s": 100})
    while world.observe(TARGET).weights != {"2": 100}:
        world.driver().tick()
        world.passes()
    blind(True)
    record = world.to_the_end()
    assert (record.phase, record.paused) == ("held", "switch")


def test_counting_does_not_begin_unseen(world: World, blind: Blind) -> None:
    """All that the proxy ever counted would be this rollout's."""
    world.begin("2", CANARY)
    blind(True)
    with pytest.raises(RuntimeUnavailable, match="statistics cannot be read"):
        ticks(world, 10)
    assert world.observe(TARGET).weights == {"1": 100}


def test_counts_that_nobody_may_read_are_no_outage(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    canary_at_10(world)

    def forbidden(target: str) -> Any:
        raise SpecError("The gateway's statistics may not be read")

    monkeypatch.setattr(world, "statistics", forbidden)
    with pytest.raises(SpecError):
        world.driver().tick()


def unready(world: World, version: str, ready: bool = False) -> None:
    world.versions[version] = dataclasses.replace(world.versions[version], ready=ready)


def test_an_outage_of_what_serves_speaks_not_against_the_canary(world: World) -> None:
    """It waits where it is to get more, and goes on when that is back; a person decides where that takes long."""
    canary_at_10(world)
    unready(world, "1")
    assert ticks(world, 40) == "canary"
    assert world.observe(TARGET).weights == AT_10
    unready(world, "1", ready=True)
    assert world.to_the_end().phase == "done"


@pytest.mark.parametrize("decides", ["hold", "replay", "roll_back"])
def test_a_canary_is_not_skipped_while_what_serves_does_not_answer(world: World, decides: str) -> None:
    world.begin("2", {**CANARY, "on_inconclusive": decides, "replay": ["errors <= 0"]})
    while world.driver(PASSED).tick().record.phase != "canary":
        world.passes()
    unready(world, "1")
    record = world.to_the_end(replay=PASSED)
    assert (record.phase, record.reason) == ("held", "for 30 s nothing could be compared: version 1 does not answer")
    unready(world, "1", ready=True)
    world.driver().order("resume", by="ada", why="it is back")
    assert ticks(world, 3) == "canary"
    assert world.observe(TARGET).weights == AT_10
    assert ticks(world, 15) == "canary", "its step takes its whole time"


def test_a_resumed_rollout_waits_for_counts_anew(world: World, blind: Blind) -> None:
    canary_at_10(world)
    blind(True)
    assert world.to_the_end().phase == "held"
    world.driver().order("resume", by="ada", why="soon")
    assert ticks(world, 25) == "canary"
    blind(False)
    assert world.to_the_end().phase == "done"


def test_what_was_counted_before_is_none_of_a_rollout_that_begins_unseen(world: World, blind: Blind) -> None:
    """Held by its replay, and resumed while there are no counts."""
    world.counts["1"] = VersionStatistics(requests=1_000_000, errors=0, active=0, latency_ms={})
    world.begin("2", {**CANARY, "replay": ["errors <= 0"]})
    assert world.to_the_end(replay={**PASSED, "verdict": "INCONCLUSIVE"}).phase == "held"
    world.driver().order("resume", by="ada", why="it will do")
    blind(True)
    ticks(world, 3)
    blind(False)
    record = world.to_the_end()
    assert (record.phase, world.state()) == ("done", ALL_NEW)
    assert record.of("1").requests < 10_000


def test_a_rollback_is_one_whatever_what_served_is_like(world: World) -> None:
    """A person who wants no more answers of the new version gets that at once."""
    canary_at_10(world)
    unready(world, "1")
    world.driver().order("roll_back", by="ada", why="wrong answers")
    assert world.to_the_end().phase == "rolled_back"
    assert world.state() == ALL_OLD
