"""A rollout tick by tick, in a simulated world: what it decides of a good and of a bad version."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rollout_world import ALL_NEW, ALL_OLD, CANARY, MIRROR, PASSED, TARGET, Behaviour, World

from tradewind.errors import RolloutAborted
from tradewind.rollout.hands import roll_back
from tradewind.rollout.record import Record
from tradewind.rollout.report import page


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


def test_each_look_keeps_both_versions_latency(world: World) -> None:
    world.behaviour["2"] = Behaviour(ms=7)
    world.begin("2", CANARY)
    record = world.to_the_end()
    assert [0.007, 0.005] in [sample["p95"] for sample in record.samples]
    before = record.to_dict()  # as an older version of this package wrote it
    for sample in before["samples"]:
        del sample["p95"]
    assert Record.from_dict(before).samples == before["samples"]


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


def test_a_canary_that_does_not_answer_is_taken_back_after_some_seconds(world: World) -> None:
    world.begin("2", CANARY)
    while world.observe(TARGET).weights.get("2") != 10:
        world.driver().tick()
    world.versions["2"] = dataclasses.replace(world.versions["2"], ready=False, error="it is full")
    began = world.now
    record = world.to_the_end()
    assert record.reason == "version 2 has not answered for 5 s: it is full"
    assert (world.now - began < 10, world.state()) == (True, ALL_OLD)


@pytest.mark.parametrize(
    ("outputs", "refused", "says"),
    [
        ([1.0, 2.0], "", "To what the clients of m send today, version 2 answers 1 numbers, not 2"),
        (
            [1.0],
            "wants the column age",
            "What the clients of m send today is not answered by the new version: wants the column age",
        ),
    ],
)
def test_what_clients_send_today_is_asked_of_the_new_version_first(
    world: World, monkeypatch: pytest.MonkeyPatch, outputs: list[float], refused: str, says: str
) -> None:
    smoke = Path(world.model("1").uri.removeprefix("file://")) / "smoke.json"
    smoke.write_text(json.dumps({"request": {"of": "clients"}, "outputs": outputs}))
    infer = world.infer

    def answer(target: str, version: str, request: dict[str, Any]) -> dict[str, Any]:
        if refused and request == {"of": "clients"}:
            raise RolloutAborted(refused)
        return infer(target, version, request)

    monkeypatch.setattr(world, "infer", answer)
    world.begin("2", CANARY)
    assert world.to_the_end().reason == says
    assert ("shift" in world.calls, world.state()) == (False, ALL_OLD)


@pytest.mark.parametrize("signature", ["compatible", "any"])
def test_another_signature_is_refused_before_any_request_unless_the_spec_lets_it(world: World, signature: str) -> None:
    for version, kind in (("1", "long"), ("2", "string")):
        file = Path(world.model(version).uri.removeprefix("file://")) / "MLmodel"
        file.write_text(
            f"""signature:\n  inputs: '[{{"type": "{kind}", "name": "hour", "required": true}}]'\n  outputs: null\n"""
        )
    world.versions["1"] = dataclasses.replace(world.versions["1"], digest=world.model("1").sha256)
    world.begin("2", {**CANARY, "signature": signature})
    record = world.to_the_end()
    if signature == "any":
        assert world.state() == ALL_NEW
        assert roll_back(world.driver(), TARGET, by="ada", why="the clients cannot").phase == "done", "and back"
        assert world.state() == ALL_OLD
        return
    assert "column 'hour': long there, string here" in record.reason
    assert ("shift" in world.calls, world.state()) == (False, ALL_OLD)


@pytest.mark.parametrize("spec", [CANARY, MIRROR])
@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("p95 <= 6", "p95 7, expected <= 6$"),
        ("p99 <= champion + 1", r"p99 7, expected <= champion \+ 1, which is 6$"),
        ("error_share < 0.02", r"error_share 0\.04\d+, expected < 0\.02$"),
    ],
)
def test_a_rule_of_ones_own_takes_a_version_back(world: World, spec: dict[str, Any], rule: str, says: str) -> None:
    """What the tests let pass: both fail alike, and 7 ms are less than twice 5."""
    world.behaviour = {"1": Behaviour(errors=0.05), "2": Behaviour(errors=0.05, ms=7)}
    world.begin("2", {**spec, "rules": [rule]})
    record = world.to_the_end()
    assert (record.phase, world.state()) == ("rolled_back", ALL_OLD)
    assert re.match(says, record.reason), record.reason
    assert max((sample["weight"] for sample in record.samples), default=0) <= 10


def test_rules_that_hold_are_told_with_their_figures(world: World) -> None:
    world.begin("2", {**CANARY, "rules": ["p95 <= 6", "error_share <= champion + 0.01"]})
    record = world.to_the_end()
    assert record.phase == "done"
    said = "no worse than version 1; p95 5, expected <= 6; error_share 0, expected <= champion + 0.01, which is 0.01"
    assert said in " ".join(event["what"] for event in record.events)
    assert "p95 5, expected &lt;= 6" in page(record)


def test_a_rule_that_cannot_be_judged_is_for_a_person(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = world.statistics
    without = lambda target: {v: dataclasses.replace(s, latency={}) for v, s in statistics(target).items()}  # noqa: E731
    monkeypatch.setattr(world, "statistics", without)
    world.begin("2", {**CANARY, "rules": ["p95 <= 6"]})
    record = world.to_the_end()
    assert (record.phase, record.reason) == ("held", "p95 unknown, expected <= 6")


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


def test_a_plain_rollout_that_keeps_the_old_version_watches_errors_too(world: World) -> None:
    world.behaviour["2"] = Behaviour(errors=1.0)
    world.begin("2", {"keep_stable_s": 60})
    world.driver().tick()
    world.passes()
    record = world.to_the_end()
    assert (record.phase, world.state()) == ("rolled_back", ALL_OLD)
