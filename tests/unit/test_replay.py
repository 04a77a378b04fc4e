"""How far two versions' answers are apart."""

from __future__ import annotations

import numpy as np
import pytest

from tradewind_steps.replay.compare import Answers, compare, ks, psi


def answers(scores: list[list[float]], *, failed: list[bool] | None = None, ms: float = 5.0) -> Answers:
    array = np.array(scores, dtype="float64")
    return Answers(scores=array, failed=np.array(failed or [False] * len(array)), ms=np.array([ms, ms]))


def test_equal_answers_are_apart_by_nothing() -> None:
    same = answers([[0.1], [0.7], [0.4]])
    found = compare(same, same, "binary", {"carrier": ["AA", "UA", "AA"]})
    assert found.metrics == {"disagreement": 0, "errors": 0, "psi": 0, "ks": 0, "latency_ratio": 1}
    assert {name: part.rows for name, part in found.slices["carrier"].items()} == {"AA": 2, "UA": 1}


def test_a_disagreement_is_another_decision() -> None:
    binary = compare(answers([[0.4], [0.6]]), answers([[0.49], [0.4]]), "binary", {"c": ["a", "b"]})
    assert binary.metrics["disagreement"] == 0.5
    assert [binary.slices["c"][name].metrics["disagreement"] for name in "ab"] == [0, 1]
    classes = compare(answers([[0.2, 0.5, 0.3]]), answers([[0.2, 0.3, 0.5]]), "multiclass", {})
    assert classes.metrics["disagreement"] == 1
    spread = answers([[0.0], [10.0], [20.0], [30.0]])
    amounts = compare(spread, answers([[1.0], [11.0], [21.0], [90.0]]), "regression", {})
    assert amounts.metrics["disagreement"] == 0.25


def test_errors_are_those_of_the_challenger_alone() -> None:
    champion = answers([[0.4], [np.nan], [0.4], [0.4]], failed=[False, True, False, False])
    challenger = answers([[np.nan], [np.nan], [0.4], [0.9]], failed=[True, True, False, False], ms=15)
    found = compare(champion, challenger, "binary", {})
    assert found.metrics["errors"] == pytest.approx(1 / 3)
    assert found.metrics["disagreement"] == 0.5
    assert found.metrics["latency_ratio"] == 3


def test_another_number_of_outputs_is_another_decision_everywhere() -> None:
    found = compare(answers([[0.4], [0.6]]), answers([[0.4, 0.6], [0.6, 0.4]]), "binary", {})
    assert found.metrics["disagreement"] == 1
    assert found.metrics["psi"] is None


def test_a_challenger_that_answers_nothing() -> None:
    nothing = answers([[np.nan], [np.nan]], failed=[True, True])
    found = compare(answers([[0.4], [0.6]]), nothing, "binary", {})
    assert (found.metrics["errors"], found.metrics["disagreement"], found.metrics["psi"]) == (1, None, None)


def test_distances_of_distributions() -> None:
    normal = np.random.default_rng(0).normal(size=20_000)
    assert psi(normal, np.random.default_rng(1).normal(size=20_000)) < 0.01
    assert psi(normal, normal + 1) > 0.5
    assert ks(normal, normal + 1) == pytest.approx(0.383, abs=0.02)  # 2 Φ(1/2) - 1
    assert psi(np.zeros(10), np.zeros(10)) == 0
