"""A rollout's process killed before and after every single write, in every phase, and another one that goes on: counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from faults import FAULTS
from rollout_world import ALL_NEW, ALL_OLD, PASSED, TARGET, Behaviour, Killed, State, World

from tradewind.errors import RuntimeUnavailable
from tradewind.registry import ModelVersion
from tradewind.rollout.record import Order, Phase, Record

REPLAY: dict[str, Any] = {"replay": ["disagreement <= 0.1"]}
CANARY: dict[str, Any] = {
    "steps": [{"weight": 10, "bake_s": 2}, {"weight": 50, "bake_s": 2}], "min_requests": 15, "patience_s": 2, "hold_s": 3,
}  # fmt: skip
MIRROR: dict[str, Any] = {"mirror": {"percent": 50, "bake_s": 2}}
FAILED = {"verdict": "FAILED", "reasons": ["disagreement 0.4, expected <= 0.1"], "rows": 1000}
INCONCLUSIVE = {"verdict": "INCONCLUSIVE", "reasons": ["5 rows"], "rows": 5}
NOTHING: State = ({}, set(), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A rollout of version 2, and where it has to end.

    Attributes:
        words: what a person wants as soon as it is in a phase, each once.
        first: nothing serves before.
        no_alias: the registry does not take the new one; or it does, but for long neither says so nor answers at all.
        tick_s: seconds between two ticks.
    """

    spec: Mapping[str, Any]
    ends: State
    errors: float = 0.0
    rate: int = 100
    replay: dict[str, Any] = dataclasses.field(default_factory=lambda: PASSED)
    words: Mapping[Phase, Order] = dataclasses.field(default_factory=dict)
    first: bool = False
    no_alias: Literal["", "refused", "unanswered"] = ""
    tick_s: float = 1.0


CASES = {
    "all phases of a good version": Case(spec={**REPLAY, **MIRROR, **CANARY, "keep_stable_s": 2}, ends=ALL_NEW),
    "held and resumed": Case(spec=CANARY, words={"canary": "hold", "held": "resume"}, ends=ALL_NEW),
    "held and promoted": Case(spec=CANARY, rate=0, words={"held": "promote"}, ends=ALL_NEW),
    "held after its replay, and resumed": Case(
        spec={**REPLAY, **CANARY}, replay=INCONCLUSIVE, words={"held": "resume"}, ends=ALL_NEW
    ),
    "held, and nobody decides": Case(spec={**CANARY, **MIRROR}, rate=0, ends=ALL_OLD),
    "held and taken back": Case(spec=CANARY, rate=0, words={"held": "roll_back"}, ends=ALL_OLD),
    "a replay that fails": Case(spec={**REPLAY, **CANARY}, replay=FAILED, ends=ALL_OLD),
    "errors in copies": Case(spec={**MIRROR, **CANARY}, errors=0.5, ends=ALL_OLD),
    "errors in the canary": Case(spec=CANARY, errors=0.5, ends=ALL_OLD),
    "errors after the switch": Case(spec={"keep_stable_s": 5}, errors=0.5, ends=ALL_OLD),
    "an alias that is not taken": Case(spec={}, no_alias="refused", tick_s=25, ends=ALL_OLD),
    "an alias that was taken, and nobody says so": Case(spec={}, no_alias="unanswered", tick_s=25, ends=ALL_OLD),
    "a first release": Case(spec=CANARY, first=True, ends=ALL_NEW),
    "a first release that is taken back": Case(spec=CANARY, first=True, no_alias="unanswered", tick_s=25, ends=NOTHING),
}


def begun(folder: Path, case: Case) -> World:
    world = World(folder, rate=case.rate)
    world.behaviour = {"2": Behaviour(errors=case.errors)}
    return world if case.first else world.serving("1")


def carried_on(world: World, case: Case) -> Record:
    """By one process to the end, whatever another one has left. Persons say again what they do not see on record."""
    world.begin("2", dict(case.spec))
    for _ in range(300):
        record = world.driver(case.replay).tick().record
        if record.ended:
            return record
        wanted, given = case.words.get(record.phase), [order["do"] for order in record.orders]
        if wanted and wanted not in given:
            world.driver().order(wanted, by="ada", why="a look")
        world.passes(case.tick_s)
    raise AssertionError(f"Still in phase {record.phase}")


class Watched:
    """Kills at a write, the count of which is told, and sees whether ever somebody was promoted who was not to be."""

    def __init__(self, world: World, case: Case, kill_at: int | None = None) -> None:
        self.world, self.case, self.kill_at = world, case, kill_at
        self.writes: list[str] = []
        self.killed_in = ""
        self.wrong = False
        self.silent_until = 0.0
        self.by_alias, world.by_alias = world.by_alias, self.asked  # type: ignore[method-assign]
        world.fails = self

    def __call__(self, call: str) -> None:
        if self.case.no_alias == "refused" and call == "alias":
            raise RuntimeUnavailable("MLflow does not answer")
        self.writes.append(call)
        if self.case.no_alias != "unanswered":
            self.wrong |= self.world.alias not in {None, "1", self.case.ends[2]}
        elif call == "alias":
            self.silent_until = self.silent_until or self.world.now + 200
        if len(self.writes) - 1 == self.kill_at:
            kept = self.world.record(TARGET)
            self.killed_in = kept["phase"] if kept else "its beginning"
            raise Killed
        if call == "alias." and self.world.now < self.silent_until:
            raise RuntimeUnavailable("MLflow does not answer")

    def asked(self, name: str, alias: str) -> ModelVersion | None:
        if self.world.now < self.silent_until:
            raise RuntimeUnavailable("MLflow does not answer")
        return self.by_alias(name, alias)


@pytest.mark.parametrize("name", CASES)
def test_killed_at_any_write_it_ends_as_it_would_have(tmp_path: Path, name: str) -> None:
    """At the first write, in another world at the second, and so on to the last."""
    case = CASES[name]
    whole = Watched(begun(tmp_path / "whole", case), case)
    carried_on(whole.world, case)
    assert whole.world.state() == case.ends
    assert len(whole.writes) > 20
    for at in range(len(whole.writes)):
        world = begun(tmp_path / str(at), case)
        watched = Watched(world, case, at)
        with pytest.raises(Killed):
            carried_on(world, case)
        with FAULTS.injected(f"a rollout's process killed in {watched.killed_in}") as fault:
            record = carried_on(world, case)
            weights, loaded, alias = world.state()
            wrong = watched.wrong or alias != case.ends[2] or weights.get("2", 0) > case.ends[0].get("2", 0)
            copies = any(served.mirror for served in world.versions.values())
            fault.rollout(wrong=wrong, stranded=copies or len(weights) > 1 or loaded != set(weights))
            where = f"killed at write {at} ({watched.writes[at]}) in {watched.killed_in}"
            assert (world.state(), copies, wrong) == (case.ends, False, False), where
            assert world.orders(TARGET) == {}, where
            outcome = {"done": "released", "rolled_back": "rolled back"}[record.phase]
            assert [note["outcome"] for note in world.notes.values()] == [outcome], where


def test_no_phase_is_left_out(tmp_path: Path) -> None:
    """A kill is counted by the phase that is on record, and each is saved: so each of these is killed in."""
    phases: set[str] = {"load"}
    for number, case in enumerate(CASES.values()):
        phases |= {event["phase"] for event in carried_on(begun(tmp_path / str(number), case), case).events}
    assert phases == set(get_args(Phase))
