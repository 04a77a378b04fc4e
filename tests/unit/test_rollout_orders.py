"""A person's word on a rollout, and on what was released."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from live import again_and_again
from rollout_world import ALL_NEW, ALL_OLD, CANARY, TARGET, Behaviour, Killed, World, canary_at_10, held

from tradewind.errors import Locked, RuntimeUnavailable, SpecError
from tradewind.rollout import orders
from tradewind.rollout.driver import Driver, RolloutOver
from tradewind.rollout.hands import decide, roll_back


@pytest.mark.parametrize(("do", "state"), [("promote", ALL_NEW), ("roll_back", ALL_OLD)])
def test_a_person_decides(world: World, do: Any, state: Any) -> None:
    held(world)
    world.driver().order(do, by="ada", why="seen the plots")
    record = world.to_the_end()
    assert world.state() == state
    assert any(event["what"] == f"{do.replace('_', ' ')} by ada: seen the plots" for event in record.events)


def test_held_resumes_and_nobody_means_back(world: World) -> None:
    held(world)
    world.rate = 100
    world.driver().order("resume", by="ada", why="traffic is back")
    assert world.to_the_end().phase == "done"

    other = World(world.folder).serving("1")
    other.rate = 0
    other.begin("2", {**CANARY, "hold_s": 100})
    other.to_the_end()
    other.passes(101)
    record = other.to_the_end()
    assert record.phase == "rolled_back"
    assert "nobody decided" in record.reason


def test_hold_stops_a_rising_canary(world: World) -> None:
    world.begin("2", CANARY)
    while world.observe(TARGET).weights.get("2") != 10:
        world.driver().tick()
    world.driver().order("hold", by="ada", why="a look first")
    assert world.to_the_end().phase == "held"
    world.passes(500)
    world.driver().tick()
    assert world.observe(TARGET).weights == {"1": 90, "2": 10}
    with pytest.raises(SpecError, match="No rollout"):
        World(world.folder / "other").driver().order("hold", by="ada", why="")


def test_held_after_the_switch_errors_still_count(world: World) -> None:
    world.begin("2", {**CANARY, "keep_stable_s": 60})
    while world.driver().tick().record.phase != "switch":
        world.passes()
    world.driver().order("hold", by="ada", why="a look")
    world.driver().tick()
    world.behaviour["2"] = Behaviour(errors=1.0)
    world.passes()
    assert world.to_the_end().phase == "rolled_back"
    assert world.state() == ALL_OLD


def test_a_rollback_that_was_ordered_is_not_ordered_away(world: World) -> None:
    held(world)
    world.driver().order("roll_back", by="Airflow", why="the task was ended")
    world.driver().order("hold", by="ada", why="a look")
    assert world.to_the_end().phase == "rolled_back"


@pytest.mark.usefixtures("nobody_else_ticks")
def test_an_order_is_carried_out_where_nobody_else_does(world: World) -> None:
    held(world)
    assert decide(world.driver(), "promote", by="ada", why="seen the plots").phase == "done"
    assert world.state() == ALL_NEW


@pytest.mark.usefixtures("nobody_else_ticks")
def test_who_saw_a_rollout_that_is_being_released_is_told_that_it_cannot_be_taken_back(world: World) -> None:
    seen = world.begin("2").id
    while world.driver().tick().record.phase != "release":
        world.passes()
    with pytest.raises(RolloutOver, match="Version 2 of m was released before that was taken up: roll the release back"):
        decide(world.driver(), "roll_back", by="ada", why="complaints", attempt=seen)
    assert world.state() == ALL_NEW


def test_all_that_persons_wanted_is_in_the_release_record(world: World) -> None:
    """And of a promotion its own reason, not the one for which it was held before."""
    canary_at_10(world)
    wanted = [("hold", "a look first"), ("resume", "all well"), ("hold", "lunch"), ("promote", "seen enough")]
    for do, why in wanted:
        world.passes()
        world.driver().order(do, by="ada", why=why)  # type: ignore[arg-type]
        world.driver().tick()
    assert world.to_the_end().phase == "done"
    [note] = world.releases(TARGET)
    assert [(order["do"], order["why"]) for order in note["orders"]] == wanted
    assert {order["by"] for order in note["orders"]} == {"ada"}
    assert (note["reason"], note["why"]) == ("", "promote by ada: seen enough")


def test_a_word_is_on_the_rollout_that_was_seen(world: World) -> None:
    seen = canary_at_10(world)
    world.driver().order("roll_back", by="ada", why="no", attempt=seen)
    world.to_the_end()
    with pytest.raises(RolloutOver, match="That rollout of m is not under way: there is nothing to promote"):
        world.driver().order("promote", by="ada", why="late", attempt=seen)
    world.begin("3", CANARY, attempt="another")
    with pytest.raises(RolloutOver):
        decide(world.driver(), "promote", by="ada", why="late", attempt=seen)
    record = world.driver().record()
    assert record
    assert (record.version, record.order) == ("3", None), "the other rollout knows nothing of it"


def test_what_cannot_be_done_now_is_said_at_once(world: World) -> None:
    world.begin("2", CANARY)
    with pytest.raises(SpecError, match=r"version 2 is in phase load: promote is possible in replay, mirror, canary"):
        decide(world.driver(), "promote", by="ada", why="now")
    with pytest.raises(SpecError, match="resume is possible in held"):
        world.driver().order("resume", by="ada", why="now")
    record = world.driver().record()
    assert record
    assert record.order is None


@pytest.mark.usefixtures("nobody_else_ticks")
def test_a_word_does_not_wait_for_who_holds_the_lock(world: World) -> None:
    """A replay or a model's start takes minutes, and holds it all the while."""
    canary_at_10(world)
    with world.lock(TARGET, holder="run 1, at a replay", timeout_s=0):
        began = time.monotonic()
        record = decide(world.driver(), "hold", by="ada", why="a look")
        assert record.phase == "canary"
        assert record.order and record.order["do"] == "hold"
        with pytest.raises(RuntimeUnavailable, match=r"is in phase canary: it will be taken back as soon as .* has ended"):
            roll_back(world.driver(), TARGET, by="bob", why="complaints")
        assert time.monotonic() - began < 5

    record = world.to_the_end()
    assert (record.phase, record.reason) == ("rolled_back", "roll back by bob: complaints")
    assert any(event["what"] == "hold by ada: a look (too late: it is decided)" for event in record.events), "nothing is lost"
    assert world.orders(TARGET) == {}
    assert world.state() == ALL_OLD
    again = roll_back(world.driver(), TARGET, by="bob", why="complaints")
    assert again.id == record.id, "asked again, it is the same rollback"
    assert world.state() == ALL_OLD


@pytest.mark.usefixtures("nobody_else_ticks")
def test_another_persons_order_is_not_ones_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    canary_at_10(world)
    order = Driver.order

    def both(self: Driver, do: Any, **said: Any) -> Any:
        monkeypatch.undo()
        monkeypatch.setattr("tradewind.rollout.hands._TAKEN_UP_S", 0.3)
        found = order(self, do, **said)
        world.to_the_end()
        orders.leave(self.serving, found, "hold", by="bob", why="a look", now=world.now)  # too late
        return found

    monkeypatch.setattr(Driver, "order", both)
    record = decide(world.driver(), "roll_back", by="ada", why="no")
    assert (record.phase, record.reason) == ("rolled_back", "roll back by ada: no")


@pytest.mark.parametrize("do", ["promote", "roll_back", "hold"])
def test_an_order_that_a_killed_tick_has_taken_up_is_found_again(world: World, do: Any) -> None:
    canary_at_10(world)
    world.driver().order(do, by="ada", why="seen the plots")

    def kill(call: str) -> None:
        if call == "order":
            raise Killed

    world.fails = kill
    with pytest.raises(Killed):
        world.driver().tick()
    taken = world.driver().record()
    assert taken and taken.phase != "canary" and len(world.orders(TARGET)) == 1
    world.fails = lambda _: None
    record = world.to_the_end()
    assert world.orders(TARGET) == {}
    assert record.phase == {"promote": "done", "roll_back": "rolled_back", "hold": "held"}[do]
    assert not any("too late" in event["what"] or "not possible" in event["what"] for event in record.events)
    assert sum(event["what"].endswith("by ada: seen the plots") for event in record.events) == 1


@pytest.mark.usefixtures("nobody_else_ticks")
def test_a_word_that_comes_too_late_is_told_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rollout's last tick may be under way while it is given."""
    canary_at_10(world)
    put = world.put_order

    def late(*order: Any) -> None:
        monkeypatch.undo()
        world.to_the_end()
        put(*order)

    monkeypatch.setattr(world, "put_order", late)
    with pytest.raises(RolloutOver, match="That rollout has ended"):
        decide(world.driver(), "roll_back", by="ada", why="no")
    assert world.state() == ALL_NEW
    world.begin("3", attempt="another")
    assert world.to_the_end().phase == "done", "it says nothing of the next one"
    world.begin("1", attempt="a third")
    world.driver().order("roll_back", by="ada", why="no")
    world.to_the_end()
    assert world.orders(TARGET) == {}


@pytest.mark.usefixtures("nobody_else_ticks")
def test_nobody_waits_until_the_old_version_is_let_go(world: World) -> None:
    """It may be kept for hours after the switch; a page's request must not hang for them."""
    canary_at_10(world, keep_stable_s=3600)

    def tick() -> None:
        with suppress(Locked):
            world.driver().tick()

    with again_and_again(tick, every_s=0.02):
        began = time.monotonic()
        assert decide(world.driver(), "promote", by="ada", why="seen enough").phase == "switch"
        assert time.monotonic() - began < 5
    assert world.observe(TARGET).weights == {"2": 100}
