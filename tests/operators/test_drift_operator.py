"""A drift check that no run could make, refused where the Dag is read."""

from __future__ import annotations

from typing import Any

import pytest

from tradewind.errors import SpecError
from tradewind.operators import DetectDriftOperator


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rules": ["auc >= 0.6"]}, "a drift model has psi, ks, unseen, missing"),
        ({"rules": ["psi <= champion"]}, "a rule about drift is of all columns"),
        ({"rules": ["slice(carrier).psi <= 0.1"]}, "a rule about drift is of all columns"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_a_mistake_is_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        DetectDriftOperator(task_id="drift", dataset={}, **{"name": "late", **arguments})


def test_what_is_known_at_the_run_only_is_checked_then() -> None:
    task = DetectDriftOperator(task_id="drift", dataset={}, name="{{ params.model }}", rules="{{ params.rules }}")
    task.rules = ["psi <= champion"]
    with pytest.raises(SpecError, match="a rule about drift is of all columns"):
        task.step_params()
