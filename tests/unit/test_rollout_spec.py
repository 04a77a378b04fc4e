"""A rollout's spec as plain data: what is refused, and by which name."""

from __future__ import annotations

from typing import Any

import pytest

from tradewind.errors import SpecError
from tradewind.rollout.spec import CanaryStep, RolloutSpec


def test_what_is_given_and_what_is_not() -> None:
    spec = RolloutSpec.from_dict(
        {
            "steps": [{"weight": 5}, {"weight": 50, "bake_s": 1}],
            "replay": ["psi <= 0.2"],
            "rules": ["p95 <= champion + 20"],
            "mirror": {},
        }
    )
    assert spec.steps == (CanaryStep(weight=5, bake_s=60.0), CanaryStep(weight=50, bake_s=1))
    assert spec.on_inconclusive == "hold"
    assert spec.mirror and spec.mirror.percent == 100
    assert (spec.looks, RolloutSpec().looks) == (3, 0)
    assert RolloutSpec.from_dict(spec.to_dict()) == spec
    assert RolloutSpec.from_dict({}) == RolloutSpec()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], r"rollout: expected an object, got \[\]"),
        ({"stpes": []}, "rollout: expected the fields replay, .*, got 'stpes'"),
        ({"steps": "10"}, r"rollout\.steps: expected a list, got '10'"),
        ({"steps": [10]}, r"rollout\.steps\[0\]: expected an object, got 10"),
        ({"steps": [{"bake_s": 1}]}, r"rollout\.steps\[0\]: expected a weight"),
        ({"steps": [{"weight": 0}]}, r"rollout\.steps\[0\]\.weight: expected a whole number from 1 to 99, got 0"),
        ({"steps": [{"weight": 10}, {"weight": 10}]}, r"rollout\.steps\[1\]\.weight: .* from 11 to 99, got 10"),
        ({"steps": [{"weight": 10.5}]}, r"steps\[0\]\.weight: expected a whole number"),
        ({"steps": [{"weight": 10, "bake_s": -1}]}, r"rollout\.steps\[0\]\.bake_s: expected a number"),
        ({"steps": [{"weight": 10, "bake": 1}]}, r"rollout\.steps\[0\]: expected the fields weight, bake_s, got 'bake'"),
        ({"mirror": {"percent": 0}}, r"rollout\.mirror\.percent: expected a whole number from 1 to 100, got 0"),
        ({"mirror": 100}, r"rollout\.mirror: expected an object, got 100"),
        ({"min_requests": True}, r"rollout\.min_requests: expected a whole number"),
        ({"alpha": 0}, r"rollout\.alpha: expected a number from 1e-09 to 0\.5, got 0"),
        ({"on_inconclusive": "wait"}, r"rollout\.on_inconclusive: expected one of: hold, roll_back, replay, got 'wait'"),
        ({"signature": True}, r"rollout\.signature: expected one of: compatible, any, got True"),
        ({"rules": "p95 <= 1"}, r"rollout\.rules: expected a list"),
        (
            {"rules": ["p97 <= 1"]},
            r"rollout\.rules: Rule 'p97 <= 1': there is no metric 'p97'; .* error_share, p50, p90, p95, p99",
        ),
        ({"rules": ["slice(carrier).p95 <= 1"]}, r"rollout\.rules: .* is of all requests"),
        ({"rules": ["p95 <= 1"]}, r"rollout\.rules: expected steps or a mirror"),
        ({"rules": ["p95"]}, r"rollout\.rules: Rule 'p95': expected"),
        ({"replay": ["auc >= 0.6"]}, "there is no metric 'auc'; a replay model has|'auc'"),
        ({"replay": ["disagreement"]}, "Rule 'disagreement': expected"),
    ],
)
def test_what_is_wrong_is_named(data: Any, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        RolloutSpec.from_dict(data)
