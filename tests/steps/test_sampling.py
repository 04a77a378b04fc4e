"""What the samplers try: always the same for one seed, and what Optuna has learned."""

from __future__ import annotations

import json
from typing import Any

import pytest
from learning import call

from tradewind.runtimes.environments import Environments

SPACE = {
    "rate": {"low": 1e-4, "high": 1.0, "log": True},
    "layers": {"low": 1, "high": 5},
    "kind": ["a", "b", None, True, 1],
}


def asked(**changed: Any) -> dict[str, Any]:
    return {"space": SPACE, "trials": 40, "sampler": "tpe", "seed": 0, "batch": 4, "pruner": None, "warm_up": 0, **changed}


@pytest.fixture(scope="module")
def came(environments: Environments) -> dict[str, Any]:
    searches = {
        "tpe": asked(),
        "again": asked(),
        "shorter": asked(trials=14),
        "other": asked(seed=1),
        "random": asked(sampler="random"),
    }
    return dict(
        zip(searches, call(environments.python("train"), "sampling_probe.py", json.dumps(list(searches.values()))), strict=True)
    )


def test_equal_seeds_try_the_same(came: dict[str, Any]) -> None:
    assert came["again"] == came["tpe"]
    assert came["other"]["points"] != came["tpe"]["points"]


def test_a_longer_search_begins_as_a_shorter_one_did(came: dict[str, Any]) -> None:
    assert came["tpe"]["points"][:14] == came["shorter"]["points"]


def test_all_points_lie_in_the_space(came: dict[str, Any]) -> None:
    for name in ("tpe", "random"):
        for point in came[name]["points"]:
            assert 1e-4 <= point["rate"] <= 1
            assert point["layers"] in range(1, 6)
            assert any(
                point["kind"] is value or (point["kind"] == value and type(value) is type(point["kind"]))
                for value in SPACE["kind"]
            )


def test_tpe_learns(came: dict[str, Any]) -> None:
    """Of its later trials many are of the best kind; chance gives one in five."""
    later = [sum(point["kind"] == "b" for point in came[name]["points"][20:]) for name in ("tpe", "random")]
    assert later[0] >= 8 > later[1]
    assert came["tpe"]["highest"] > 0.8
