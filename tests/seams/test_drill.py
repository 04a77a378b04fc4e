"""Versions that are bad on live requests only, on real servers under load: each is caught, and the champion serves on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from served import Alias, Supervisor, refer, roll_out

from tradewind.cli.traffic import Traffic, rows_of
from tradewind.errors import RolloutAborted, SpecError
from tradewind.rollout.record import Record
from tradewind.rollout.spec import RolloutSpec
from tradewind.serving.base import Serving
from tradewind.testing.faults import KINDS, next_version_is_bad

NAME = "drill"
CANARY: dict[str, Any] = {"steps": [{"weight": 30, "bake_s": 5}, {"weight": 60, "bake_s": 5}], "min_requests": 30}
SAYS = {
    "errors": "errors: ",
    "latency": "latency: nine of ten requests of version",
    "drift": "answers: those of version",
    "crash": "ended by itself",
}


@pytest.fixture(scope="module")
def serving_kind() -> str:
    return "local"


@pytest.fixture(scope="module")
def traffic(serving: Serving, models: Path, alias: Alias) -> Traffic:
    roll_out(serving, alias, "1", refer(models / "trees"), NAME)
    request = json.loads((models / "trees" / "smoke.json").read_bytes())["request"]
    return Traffic(serving.observe(NAME).endpoint_url, rows_of(request))


@pytest.mark.parametrize("drilled", [*KINDS, "errors in copies"])
def test_a_bad_version_is_taken_back(
    serving: Serving, supervisor: Supervisor, models: Path, alias: Alias, traffic: Traffic, drilled: str
) -> None:
    fault, _, copies = drilled.partition(" in ")
    spec = RolloutSpec.from_dict({**CANARY, **({"mirror": {"bake_s": 5}} if copies else {})})
    asked = Traffic(*traffic.to)
    with next_version_is_bad(supervisor.folder.parent, NAME, fault), asked, pytest.raises(RolloutAborted, match=SAYS[fault]):
        roll_out(serving, alias, "2", refer(models / "trees"), NAME, spec)
    kept = serving.record(NAME)
    assert kept
    record = Record.from_dict(kept)
    assert record.phase == "rolled_back"
    assert record.of("1").errors == 0
    assert (asked.ask(), alias.champion) == ("1", "1")
    assert set(serving.observe(NAME).versions) == {"1"}
    decided = next(event["at"] for event in record.events if event["phase"] == "roll_back")
    assert record.updated_at - decided < 10, "seconds from the decision to the end"
    if copies:
        assert not any(answer.startswith("failed") for answer in asked.answers), "nobody saw an error"


def test_the_same_version_without_a_fault_is_released(serving: Serving, models: Path, alias: Alias, traffic: Traffic) -> None:
    with Traffic(*traffic.to) as asked:
        roll_out(serving, alias, "2", refer(models / "trees"), NAME, RolloutSpec.from_dict(CANARY))
    assert alias.champion == "2"
    assert set(asked.answers) == {"1", "2"}


def test_a_fault_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="errors, latency, drift, crash"), next_version_is_bad(tmp_path, NAME, "boredom"):
        pass
