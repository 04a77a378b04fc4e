"""Which trial is the best, by rules as data."""

from __future__ import annotations

from typing import Any

import pytest

from tradewind.errors import SpecError
from tradewind.sweep.best import parse_best
from tradewind.sweep.study import COMPLETE, FAILED, PRUNED, Trial, counts, too_many_failed


def trial(number: int, state: str = COMPLETE, **metrics: Any) -> Trial:
    return Trial(number=number, params={"a": number}, state=state, metrics=metrics, error="boom" if state == FAILED else "")


TRIALS = [
    trial(0, auc=0.70, logloss=0.50, seconds_fit=9.0),
    trial(1, auc=0.80, logloss=0.40, seconds_fit=3.0),
    trial(2, auc=0.81, logloss=0.45, seconds_fit=1.0),
    trial(3, auc=0.81, logloss=0.45, seconds_fit=0.5),
    trial(4, PRUNED),
    trial(5, FAILED),
    trial(6, auc=None, logloss=0.1, seconds_fit=1.0),
]


@pytest.mark.parametrize(
    ("metric", "rules", "number"),
    [
        ("auc", [], 2),
        ("logloss", [], 6),
        ("auc", ["min seconds_fit"], 3),
        ("auc", ["max auc within 0.015", "min logloss"], 1),
        ("auc", ["auc <= 0.805"], 1),
        (None, ["max auc", "min seconds_fit"], 3),
    ],
)
def test_the_best_trial(metric: str | None, rules: list[str], number: int) -> None:
    assert parse_best(metric, rules).choose(TRIALS).number == number
    assert parse_best(metric, rules).choose(TRIALS[::-1]).number == number, "in any order"


@pytest.mark.parametrize(
    ("metric", "rules", "task", "message"),
    [
        ("auk", [], None, "metric: there is no metric 'auk'; there are auc"),
        ("rmse", [], "binary", "metric: there is no metric 'rmse'; a binary model has auc"),
        (None, [], None, "metric: expected what the sweep shall improve"),
        ("auc", ["min auc"], None, "Rule 'min auc': a higher auc is better"),
        ("rmse", ["max rmse"], None, "Rule 'max rmse': a lower rmse is better"),
        ("auc", ["best auc"], None, "Rule 'best auc': expected 'max METRIC'"),
        ("auc", ["max auc within -1"], None, "expected 'max METRIC'"),
        ("auc", ["max rmse"], "binary", "there is no metric 'rmse'; a binary model has"),
        ("auc", ["auc >= champion"], None, "a sweep knows no champion and no slices"),
        ("auc", [3], None, "Rule 3: expected"),
    ],
)
def test_a_rule_that_is_wrong_is_named(metric: str | None, rules: list[Any], task: str | None, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse_best(metric, rules, task)
    assert message in str(raised.value)


def test_why_there_is_no_best_one() -> None:
    best = parse_best("auc", ["logloss <= 0.3"])
    with pytest.raises(SpecError, match=r"None of 2 trials is complete"):
        best.choose(TRIALS[4:6])
    with pytest.raises(SpecError, match=r"metric: no trial reports 'auc'; they have logloss, seconds_fit"):
        best.choose(TRIALS[4:])
    with pytest.raises(SpecError, match=r"'logloss <= 0.3' holds for none of 4 trials: their logloss is 0.4 to 0.5"):
        best.choose(TRIALS)


def test_failures_are_counted_against_the_plan() -> None:
    assert counts(TRIALS) == {"trials": 7, "complete": 5, "pruned": 1, "failed": 1, "reused": 0}
    assert too_many_failed(TRIALS, 7, 0.25) is None
    said = too_many_failed(TRIALS, 7, 0.1)
    assert said
    assert "1 of 7 trials failed, expected at most a share of 0.1 (max_failed). Trial 5 with {'a': 5}: boom" in said
    assert Trial.from_dict(TRIALS[1].to_dict()) == TRIALS[1]
