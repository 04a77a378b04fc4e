"""A rollout tick by tick, in a world in which everything may fail or be killed: what it decides, and where it ends."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from rollout_world import TARGET, Behaviour, Killed, World

from tradewind.errors import RuntimeUnavailable, SpecError
from tradewind.rollout.hands import decide, roll_back
from tradewind.rollout.record import Traffic
from tradewind.serving.base import VersionStatistics

CANARY: dict[str, Any] = {
    "steps": [{"weight": 10, "bake_s": 20}, {"weight": 50, "bake_s": 20}], "min_requests": 100, "patience_s": 30,
}  # fmt: skip
PASSED = {"verdict": "PASSED", "reasons": [], "rows": 1000}
ALL_OLD = ({"1": 100}, {"1"}, "1")
ALL_NEW = ({"2": 100}, {"2"}, "2")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path).serving("1")


def phases(record: Any) -> list[str]:
    return [event["phase"] for event in record.events]


def test_a_first_release_has_nothing_to_compare_with(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.begin("2", CANARY)
    record = world.to_the_end()
    assert phases(record) == ["smoke", "switch", "release", "done"]
    assert world.state() == ALL_NEW
    assert [note["outcome"] for note in world.notes.values()] == ["released"]


def test_without_steps_all_requests_go_at_once(world: World) -> None:
    world.begin("2")
    record = world.to_the_end()
    assert [call for call in world.calls if call != "record"] == ["load", "shift", "alias", "note", "unload"]
    assert record.stable == "1"
    assert world.state() == ALL_NEW


def test_a_good_canary_rises_step_by_step(world: World) -> None:
    world.begin("2", {**CANARY, "replay": ["disagreement <= 0.1"]})
    started = world.now
    record = world.to_the_end(replay=PASSED)
    assert phases(record) == ["smoke", "replay", "canary", "canary", "switch", "release", "done"]
    assert world.state() == ALL_NEW
    assert 40 <= world.now - started <= 60
    shares = {sample["weight"] for sample in record.samples}
    assert {10, 50} <= shares
    new, old = record.of("2"), record.of("1")
    assert new.requests == pytest.approx(0.1 * 2000 + 0.5 * 2000, rel=0.1)
    assert old.requests == pytest.approx(0.9 * 2000 + 0.5 * 2000, rel=0.1)


MIRROR = {**CANARY, "mirror": {"percent": 50, "bake_s": 10}}


def test_copies_of_requests_come_before_requests(world: World) -> None:
    world.begin("2", MIRROR)
    record = world.to_the_end()
    assert phases(record) == ["smoke", "mirror", "mirror", "canary", "canary", "switch", "release", "done"]
    assert [call for call in world.calls if call != "record"][:3] == ["load", "mirror", "shift"]
    assert world.state() == ALL_NEW


@pytest.mark.parametrize("behaviour", [Behaviour(errors=0.2), Behaviour(ms=50), Behaviour(ends_at=40)])
def test_a_version_that_is_bad_on_copies_gets_no_requests(world: World, behaviour: Behaviour) -> None:
    world.behaviour["2"] = behaviour
    world.begin("2", MIRROR)
    record = world.to_the_end()
    assert record.phase == "rolled_back"
    assert "shift" not in world.calls
    assert world.state() == ALL_OLD


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        (Behaviour(errors=0.05), "errors: "),
        (Behaviour(errors=1.0), "errors: "),
        (Behaviour(ms=50), "latency: nine of ten requests of version 2 took up to 50 ms, of version 1 5 ms"),
        (Behaviour(ends_at=15), "ended by itself 1 times, at most 0 are allowed: MLServer ended by SIGSEGV"),
    ],
)
def test_a_bad_canary_is_taken_back(world: World, behaviour: Behaviour, says: str) -> None:
    world.behaviour["1"] = Behaviour(errors=0.001)
    world.behaviour["2"] = behaviour
    world.begin("2", CANARY)
    record = world.to_the_end()
    assert record.phase == "rolled_back"
    assert says in record.reason
    assert world.state() == ALL_OLD
    [note] = world.notes.values()
    assert (note["outcome"], note["serves"], note["reason"]) == ("rolled back", "1", record.reason)
    assert max(sample["weight"] for sample in record.samples) == 10, "it never got more"


def test_errors_that_both_have_speak_against_neither(world: World) -> None:
    world.behaviour = {"1": Behaviour(errors=0.3), "2": Behaviour(errors=0.3)}
    world.begin("2", CANARY)
    assert world.to_the_end().phase == "done"


def test_errors_after_the_switch_take_it_back_while_the_old_version_is_kept(world: World) -> None:
    world.begin("2", {**CANARY, "keep_stable_s": 60})
    while world.driver().tick().record.phase != "switch":
        world.passes()
    world.behaviour["2"] = Behaviour(errors=0.2)
    record = world.to_the_end()
    assert record.phase == "rolled_back"
    assert "since version 2 has all of them" in record.reason
    assert world.state() == ALL_OLD


@pytest.mark.parametrize(
    ("decides", "replay", "phase"),
    [("hold", PASSED, "held"), ("roll_back", PASSED, "rolled_back"), ("replay", PASSED, "done"), ("replay", None, "held")],
)
def test_no_traffic_decides_nothing_by_itself(world: World, decides: str, replay: dict[str, Any] | None, phase: str) -> None:
    world.rate = 0
    rules = ["disagreement <= 0.1"] if replay else []
    world.begin("2", {**CANARY, "replay": rules, "on_inconclusive": decides})
    started = world.now
    record = world.to_the_end(replay=replay)
    assert record.phase == phase
    assert world.now - started >= 50, "it waited for its bake and its patience"
    assert any("0 requests at 10% in" in event["what"] for event in record.events)


def test_a_replay_that_fails_gives_no_requests_to_anybody(world: World) -> None:
    world.begin("2", {**CANARY, "replay": ["disagreement <= 0.1"]})
    record = world.to_the_end(replay={"verdict": "FAILED", "reasons": ["disagreement 0.4, expected <= 0.1"], "rows": 1000})
    assert record.reason == "the replay failed: disagreement 0.4, expected <= 0.1"
    assert "shift" not in world.calls
    assert world.state() == ALL_OLD


def test_other_numbers_than_the_trained_model_gave(world: World) -> None:
    world.model("2", answers=2.02)
    world.begin("2", CANARY)
    record = world.to_the_end()
    assert "largest relative difference 0.01" in record.reason
    assert "number 1 of 1: expected 2, got 2.02" in record.reason
    assert world.state() == ALL_OLD


def held(world: World) -> None:
    world.rate = 0
    world.begin("2", CANARY)
    assert world.to_the_end().phase == "held"


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


@pytest.mark.parametrize(("errors", "spec"), [(0.0, CANARY), (0.5, CANARY), (0.0, MIRROR), (0.5, MIRROR)])
def test_killed_at_any_point_it_ends_all_new_or_all_old(tmp_path: Path, errors: float, spec: dict[str, Any]) -> None:
    """Before and after every single write, with another process that goes on: counted, none may be missed."""
    expected = ALL_OLD if errors else ALL_NEW
    whole = World(tmp_path / "whole").serving("1")
    whole.behaviour["2"] = Behaviour(errors=errors)
    whole.begin("2", spec)
    whole.to_the_end()
    assert whole.state() == expected
    for at in range(2 * len(whole.calls)):
        world = World(tmp_path / str(at)).serving("1")
        world.behaviour["2"] = Behaviour(errors=errors)
        seen: list[str] = []

        def kill(call: str, at: int = at, seen: list[str] = seen) -> None:
            seen.append(call)
            if len(seen) == at + 1:
                raise Killed

        world.fails = kill
        with pytest.raises(Killed):
            world.begin("2", spec)
            world.to_the_end()
        world.begin("2", spec)
        record = world.to_the_end()
        assert world.state() == expected, f"killed at call {at}: {seen[at]}"
        assert [note["outcome"] for note in world.notes.values()] == [record.phase.replace("done", "released").replace("_", " ")]


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
    roll_back(world.driver(), TARGET, to="2", by="ada", why="a mistake")
    assert world.state() == ALL_NEW
    with pytest.raises(SpecError, match="is the champion"):
        roll_back(world.driver(), TARGET, to="2", by="ada", why="again")


@pytest.fixture
def nobody_else_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tradewind.rollout.hands._TAKEN_UP_S", 0.3)


@pytest.mark.usefixtures("nobody_else_ticks")
def test_a_rollback_while_a_rollout_is_under_way_takes_that_back(world: World) -> None:
    held(world)
    with pytest.raises(SpecError, match="can only go back to 1"):
        roll_back(world.driver(), TARGET, to="7", by="ada", why="no")
    assert roll_back(world.driver(), TARGET, by="ada", why="no").phase == "rolled_back"
    assert world.state() == ALL_OLD


@pytest.mark.usefixtures("nobody_else_ticks")
def test_an_order_is_carried_out_where_nobody_else_does(world: World) -> None:
    held(world)
    assert decide(world.driver(), "promote", by="ada", why="seen the plots").phase == "done"
    assert world.state() == ALL_NEW


def test_with_no_release_record_a_version_must_be_named(world: World) -> None:
    with pytest.raises(SpecError, match="name a version with --to"):
        roll_back(world.driver(), TARGET, by="ada", why="complaints")


@pytest.mark.parametrize("rate", [0.3, 1, 3])
def test_few_requests_that_fail_are_never_let_through(world: World, rate: float) -> None:
    """Looks at which only one version was asked are not lost: they count at the next one at which both were."""
    world.rate = rate  # type: ignore[assignment]
    world.behaviour["2"] = Behaviour(errors=1.0)
    spec = {**CANARY, "replay": ["disagreement <= 0.1"], "on_inconclusive": "replay"}
    world.begin("2", spec)
    record = world.to_the_end(replay=PASSED)
    assert record.phase in ("rolled_back", "held")
    assert world.observe(TARGET).weights.get("2", 0) <= 10


def test_a_second_rollback_goes_further_back(world: World) -> None:
    for version in ("2", "3"):
        world.begin(version)
        world.to_the_end()
        world.passes()
    for expected in ("2", "1"):
        roll_back(world.driver(), TARGET, by="ada", why="complaints")
        world.passes()
        assert world.alias == expected


def test_an_old_version_that_is_gone_is_loaded_again(world: World) -> None:
    world.begin("2", CANARY)
    while world.observe(TARGET).weights.get("2") != 10:
        world.driver().tick()
    world.versions.clear()
    record = world.to_the_end()
    assert record.phase == "rolled_back"
    assert world.state() == ALL_OLD


def test_a_plain_rollout_that_keeps_the_old_version_watches_errors_too(world: World) -> None:
    world.behaviour["2"] = Behaviour(errors=1.0)
    world.begin("2", {"keep_stable_s": 60})
    world.driver().tick()
    world.passes()
    record = world.to_the_end()
    assert (record.phase, world.state()) == ("rolled_back", ALL_OLD)


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
    world.kept = kept
    with pytest.raises(SpecError, match=r"record .*remove it, then roll out again"):
        world.begin("2")


def test_what_could_not_be_asked_for_is_not_new_when_it_comes() -> None:
    def now(answers: dict[str, int]) -> VersionStatistics:
        return VersionStatistics(requests=1, errors=0, active=0, latency_ms={}, answers=answers)

    traffic = Traffic().looked(now({"0.1": 900}))
    traffic = dataclasses.replace(Traffic(), seen=traffic.seen)
    traffic = traffic.looked(now({})).looked(now({"0.1": 905}))
    assert traffic.answers == {"0.1": 5}


def test_a_rollback_that_was_ordered_is_not_ordered_away(world: World) -> None:
    held(world)
    world.driver().order("roll_back", by="Airflow", why="the task was ended")
    world.driver().order("hold", by="ada", why="a look")
    assert world.to_the_end().phase == "rolled_back"
