"""A rollout, or a release, that a person takes back: at once, whatever else does not answer."""

from __future__ import annotations

from typing import Any

import pytest
from rollout_world import ALL_NEW, ALL_OLD, TARGET, World, canary_at_10, held

from tradewind.errors import RuntimeUnavailable, SpecError
from tradewind.rollout.driver import Driver, RolloutOver
from tradewind.rollout.hands import roll_back


def test_a_person_takes_a_release_back_and_forth(world: World) -> None:
    world.begin("2")
    world.to_the_end()
    world.passes()
    with pytest.raises(SpecError, match="A reason is needed"):
        roll_back(world.driver(), TARGET, by="ada", why=" ")
    record = roll_back(world.driver(), TARGET, by="ada", why="complaints")
    assert (record.version, record.stable) == ("1", "2")
    assert world.state() == ALL_OLD
    [note, *_] = world.releases(TARGET)
    assert (note["outcome"], note["version"], note["rolled_back"], note["why"]) == ("released", "1", "2", "complaints")
    world.passes()
    with pytest.raises(SpecError, match=r"before version 1: .*; --to 2 serves again what was rolled back last"):
        roll_back(world.driver(), TARGET, by="ada", why="once more")
    roll_back(world.driver(), TARGET, to="2", by="ada", why="a mistake")
    assert world.state() == ALL_NEW
    with pytest.raises(SpecError, match="is the champion"):
        roll_back(world.driver(), TARGET, to="2", by="ada", why="again")


def test_a_second_rollback_goes_further_back(world: World) -> None:
    for version in ("2", "3"):
        world.begin(version)
        world.to_the_end()
        world.passes()
    for expected in ("2", "1"):
        roll_back(world.driver(), TARGET, by="ada", why="complaints")
        world.passes()
        assert world.alias == expected


@pytest.mark.usefixtures("nobody_else_ticks")
def test_a_rollback_while_a_rollout_is_under_way_takes_that_back(world: World) -> None:
    held(world)
    with pytest.raises(SpecError, match="can only go back to 1"):
        roll_back(world.driver(), TARGET, to="7", by="ada", why="no")
    assert roll_back(world.driver(), TARGET, by="ada", why="no").phase == "rolled_back"
    assert world.state() == ALL_OLD


def test_with_no_release_record_a_version_must_be_named(world: World) -> None:
    with pytest.raises(SpecError, match="name a version with --to"):
        roll_back(world.driver(), TARGET, by="ada", why="complaints")


def test_a_rollback_does_not_wait_for_figures(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy that counts may be what is broken."""
    canary_at_10(world)

    def unreachable(target: str) -> Any:
        raise RuntimeUnavailable("The gateway's statistics cannot be read")

    monkeypatch.setattr(world, "statistics", unreachable)
    world.driver().order("roll_back", by="ada", why="blind")
    assert world.to_the_end().phase == "rolled_back"
    assert world.state() == ALL_OLD


def test_a_rollback_does_not_wait_for_the_registry(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs would keep each look waiting. It is asked once the requests are back."""
    asked: list[dict[str, int]] = []
    by_alias = world.by_alias
    monkeypatch.setattr(world, "by_alias", lambda *given: asked.append(world.observe(TARGET).weights) or by_alias(*given))
    canary_at_10(world)
    asked.clear()
    world.driver().order("roll_back", by="ada", why="no")
    assert world.to_the_end().phase == "rolled_back"
    assert asked and {tuple(weights.items()) for weights in asked} == {(("1", 100),)}


@pytest.mark.usefixtures("nobody_else_ticks")
def test_a_rollback_that_comes_while_a_version_is_released_takes_the_release_back(world: World) -> None:
    world.begin("2")
    while world.driver().tick().record.phase != "release":
        world.passes()
    record = roll_back(world.driver(), TARGET, by="ada", why="complaints")
    assert (record.phase, record.version) == ("done", "1")
    assert world.state() == ALL_OLD
    assert {(note["version"], note["why"]) for note in world.releases(TARGET)} == {("1", "complaints"), ("2", "")}


def test_a_champion_that_is_set_back_by_hand_in_the_midst_of_the_release_stays(world: World) -> None:
    world.begin("2")
    while world.alias != "2":
        world.driver().tick()
        world.passes()
    world.alias = "1"
    record = world.to_the_end()
    assert (record.phase, world.state()) == ("rolled_back", ALL_OLD)
    assert "but it was 2 just now: it was changed by hand" in record.reason


def test_no_other_rollout_is_carried_on_in_its_place(world: World) -> None:
    """Between two ticks of one, a rollout may end by another's hand and a second one begin."""
    mine = canary_at_10(world)
    world.driver().order("roll_back", by="ada", why="no")
    world.to_the_end()
    others = world.begin("3", attempt="another")
    with pytest.raises(RolloutOver, match=r"Another rollout of m has begun since: of version 3 by test"):
        world.driver().tick(attempt=mine)
    with pytest.raises(RolloutOver):
        world.driver().finish(attempt=mine)
    assert world.driver().record() == others
    assert world.driver().finish(attempt=others.id).phase == "done"


def test_a_rollback_looks_at_the_champion_once_it_may_begin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have waited for another rollout, which made another version the champion."""
    world.begin("2")
    world.to_the_end()
    begin = Driver.begin

    def late(self: Driver, make: Any, *, attempt: str) -> Any:
        monkeypatch.undo()
        world.begin("3", attempt="another")
        world.to_the_end()
        return begin(self, make, attempt=attempt)

    monkeypatch.setattr(Driver, "begin", late)
    with pytest.raises(SpecError, match="The champion of m is version 3 by now, it was 2"):
        roll_back(world.driver(), TARGET, by="ada", why="complaints")
    assert world.state() == ({"3": 100}, {"3"}, "3"), "what serves is the champion"
