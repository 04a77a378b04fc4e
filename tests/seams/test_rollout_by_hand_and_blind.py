"""Canaries without traffic, without counts, and with a person's hands in them: real servers, one suite over every serving."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults import FAULTS
from kinds import Kind
from live import again_and_again, until
from served import TARGET, Alias, Refer, begin, example, roll_out

from tradewind.cli.traffic import Traffic
from tradewind.errors import RuntimeUnavailable, SpecError, StoreError
from tradewind.rollout.driver import Driver
from tradewind.rollout.record import Record
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving.base import Serving

CANARY: dict[str, Any] = {
    "steps": [{"weight": 20, "bake_s": 3}], "min_requests": 20, "patience_s": 4, "latency_ratio": 50, "answer_distance": 1,
}  # fmt: skip
OLD, AT_20 = {"1": 100}, {"1": 80, "2": 20}


class Canary:
    """Version 1 serves and is the champion; version 2 may come."""

    def __init__(self, kind: str, serving: Serving, alias: Alias, refer: Refer, models: Path) -> None:
        self.kind, self.serving, self.alias = kind, serving, alias
        self.model, self.example = refer(models / "trees"), example(models)
        alias.champion = alias.champion or "1"
        if self.weights != OLD:
            roll_out(serving, alias, "1", self.model)

    def begin(self, **spec: Any) -> Driver:
        return begin(
            self.serving, self.alias, "2", self.model, spec=RolloutSpec.from_dict({**CANARY, **spec}), replay=self.replay
        )

    def until_canary(self, **spec: Any) -> Driver:
        hands = self.begin(**spec)
        until(lambda: hands.tick() and self.weights == AT_20, within_s=120, what="the canary's share")
        return hands

    def replay(self, record: Record) -> dict[str, Any]:
        """The example's rows, asked of both."""
        asked = (record.version, str(record.stable))
        one, other = (self.serving.infer(TARGET, version, self.example)["outputs"][0]["data"] for version in asked)
        return {"verdict": "PASSED" if one == other else "FAILED", "reasons": [], "rows": len(one)}

    def traffic(self) -> Traffic:
        return Traffic(self.serving.observe(TARGET).endpoint_url, [self.example])

    @contextmanager
    def injected(self, fault: str, *, ends: str) -> Iterator[None]:
        """The rollout ends with this version alone, and as the champion."""
        with FAULTS.injected(f"{fault}, on {self.kind}") as counted:
            yield
            versions, wanted = set(self.serving.observe(TARGET).versions), ({ends: 100}, ends)
            counted.rollout(wrong=(self.weights, self.alias.champion) != wanted, stranded=versions != set(self.weights))
            assert (self.weights, self.alias.champion, versions) == (*wanted, {ends})

    @property
    def weights(self) -> dict[str, int]:
        return self.serving.observe(TARGET).weights


@pytest.fixture
def canary(serving_kind: str, serving: Serving, alias: Alias, refer: Refer, models: Path) -> Canary:
    return Canary(serving_kind, serving, alias, refer, models)


@pytest.fixture
def blind(kind: Kind) -> Iterator[Callable[[bool], None]]:
    """Takes the counts away, and gives them back."""
    yield kind.blind
    kind.blind(False)


def ended(hands: Driver) -> Record:
    """To its end, or until a person is waited for."""

    def tick() -> Record | None:
        record = hands.tick().record
        return record if record.ended or record.phase == "held" else None

    return until(tick, within_s=120, what="the end")


def failed(load: Traffic) -> dict[str, int]:
    return {answer: count for answer, count in load.answers.items() if answer.startswith("failed")}


def test_without_traffic_a_person_decides(canary: Canary) -> None:
    with canary.injected("no traffic", ends="1"):
        hands = canary.until_canary()
        record = ended(hands)
        assert (record.phase, canary.weights) == ("held", AT_20)
        assert "0 requests at 20% in" in record.reason
        hands.order("roll_back", by="ada", why="nobody asks")
        assert hands.finish(poll_s=0.1).phase == "rolled_back"


def test_without_traffic_a_replay_that_passed_decides_where_the_spec_says_so(canary: Canary) -> None:
    with canary.injected("no traffic, the replay decides", ends="2"):
        record = ended(canary.begin(replay=["errors <= 0"], on_inconclusive="replay"))
        assert record.phase == "done" and record.replay and record.replay["verdict"] == "PASSED"
        assert any("the replay has passed, and the spec lets that decide" in event["what"] for event in record.events)


def test_without_counts_nothing_rises_until_they_are_back(canary: Canary, blind: Callable[[bool], None]) -> None:
    with canary.injected("no counts", ends="2"), canary.traffic() as load:
        hands = canary.until_canary()
        blind(True)
        record = ended(hands)
        assert (record.phase, canary.weights) == ("held", AT_20)
        assert re.search("nothing could be compared: (Envoy does not tell|The gateway's statistics)", record.reason)
        blind(False)
        hands.order("resume", by="ada", why="they are back")
        hands.tick()
        record = ended(hands)
        assert record.phase == "done", record.reason
    assert failed(load) == {}


def test_without_counts_it_can_be_taken_back(canary: Canary, blind: Callable[[bool], None]) -> None:
    with canary.injected("no counts, taken back", ends="1"), canary.traffic() as load:
        hands = canary.until_canary(patience_s=600)
        blind(True)
        hands.order("roll_back", by="ada", why="wrong answers")
        began = time.monotonic()
        with again_and_again(lambda: try_to_tick(hands), every_s=0.1):
            until(lambda: canary.weights == OLD, within_s=60, what="no share")
            time.sleep(0.5)
            to_zero, asked = time.monotonic() - began, load.answers["2"]
            until(lambda: (record := hands.record()) and record.ended, within_s=120, what="the end")
        assert (load.ask(), load.answers["2"]) == ("1", asked)
    print(f"{to_zero:.1f} s to no requests; {dict(load.answers)}")
    assert to_zero < 10
    assert failed(load) == {}


def try_to_tick(hands: Driver) -> None:
    """As the trigger does: what is not to be had now is asked for again."""
    with contextlib.suppress(RuntimeUnavailable):
        hands.tick()


def test_shares_changed_by_hand_are_put_right(canary: Canary) -> None:
    with canary.injected("shares changed by hand", ends="2"), canary.traffic() as load:
        hands = canary.until_canary(steps=[{"weight": 20, "bake_s": 6}])
        canary.serving.shift(TARGET, {"1": 50, "2": 50})
        assert canary.weights == {"1": 50, "2": 50}
        hands.tick()
        assert canary.weights == AT_20
        record = ended(hands)
        assert record.phase == "done", record.reason
    assert failed(load) == {}


def test_a_canary_taken_out_by_hand_is_a_rollback(canary: Canary) -> None:
    with canary.injected("a canary taken out by hand", ends="1"), canary.traffic() as load:
        hands = canary.until_canary()
        canary.serving.shift(TARGET, OLD)
        canary.serving.unload(TARGET, "2")
        record = ended(hands)
        assert (record.phase, record.reason) == ("rolled_back", "version 2 is not loaded any more")
    assert failed(load) == {}


@pytest.mark.parametrize("text", ["{", '{"schema": 1, "phase": "canary, please"}'])
def test_a_record_spoilt_by_hand_is_named_and_nothing_moves(canary: Canary, kind: Kind, text: str) -> None:
    with canary.injected("a record spoilt by hand", ends="2"), canary.traffic() as load:
        hands = canary.until_canary()
        before = canary.serving.record(TARGET)
        kind.write_record(TARGET, text)
        with pytest.raises((SpecError, StoreError), match="remove it, then roll out again"):
            hands.tick()
        assert canary.weights == AT_20
        kind.write_record(TARGET, None)
        with pytest.raises(SpecError, match="Nothing was ever rolled out"):
            hands.tick()
        record = ended(canary.begin())
        assert before and record.id != before["id"]
        assert (record.phase, record.stable) == ("done", "1"), record.reason
    assert failed(load) == {}


def test_a_champion_changed_by_hand_takes_it_back(canary: Canary) -> None:
    with canary.traffic() as load:
        hands = canary.until_canary()
        canary.alias.models["7"] = canary.model
        canary.alias.promote(TARGET, "7")
        record = ended(hands)
    assert "the champion is version 7, but it was 1 when the rollout began" in record.reason
    assert (canary.weights, set(canary.serving.observe(TARGET).versions), canary.alias.champion) == (OLD, {"1"}, "7")
    assert failed(load) == {}
    canary.alias.promote(TARGET, "1")
