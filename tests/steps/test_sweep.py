"""The sweep step, for real: a pool of trials in the train environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from learning import FLIGHTS, TEMPLATE, Learning, call, make_tables

from tradewind.contract import StepManifest
from tradewind.runtimes.environments import Environments
from tradewind.store import Store
from tradewind.sweep.study import Search

SPACE = {"max_depth": [2, 4], "learning_rate": {"low": 0.02, "high": 0.5, "log": True}}
RunStep = Callable[..., StepManifest]
IDENTITY = {"code": "c", "environment": "e", "device": "cpu"}


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory, environments: Environments) -> Learning:
    return Learning(make_tables(tmp_path_factory.mktemp("sweep"), environments), environments)


Sweep = Callable[..., StepManifest]


@pytest.fixture
def sweep(run_step: RunStep, learning: Learning) -> Sweep:
    def run(
        code: Path = TEMPLATE,
        *,
        table: str = "flights",
        train: dict[str, Any] | None = None,
        fields: dict[str, Any] | None = None,
        **asked: Any,
    ) -> StepManifest:
        search = {"space": SPACE, "trials": 4, "sampler": "random", "seed": 0, "batch": 4, "pruner": None, "warm_up": 0}
        outer = {"metric": "auc", "rules": [], "max_failed": 0.25, "identity": IDENTITY, "parallel": 2}
        outer |= {name: asked.pop(name) for name in list(asked) if name in outer}
        params = {**FLIGHTS, "params": {"trees": 20}, "exclude": [], "task": None, "experiment": "sweep", **(train or {})}
        return run_step(
            "sweep", image="train", code=code, entry_point="train:train", inputs={"dataset": learning.table(table)},
            params={"train": params, "search": Search.of(**{**search, **asked}).to_dict(), **outer},
            tracking_uri=learning.tracking_uri, resources={"cpu": 2, "device": "cpu"}, **(fields or {}),
        )  # fmt: skip

    return run


def test_it(sweep: Sweep, learning: Learning, store: Store) -> None:
    done = sweep()
    assert done.status == "success", done.error
    print(json.dumps(done.metrics, indent=1))
