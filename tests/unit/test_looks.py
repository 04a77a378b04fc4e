"""The simulation of the tests at fixed looks, smaller: what they let pass and what they find."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.looks import World, drifted_in, share, slow_in

from tradewind.rollout.spec import RolloutSpec

LIMIT = RolloutSpec()


@pytest.mark.parametrize("times", [1.0, LIMIT.latency_ratio])
def test_what_is_no_slower_than_allowed_is_hardly_ever_taken_back(times: float) -> None:
    assert share(World(times=times), slow_in, 300) <= 0.02


@pytest.mark.parametrize("apart", [0.0, LIMIT.answer_distance])
def test_answers_no_further_apart_than_allowed_are_hardly_ever_taken_back(apart: float) -> None:
    assert share(World(apart=apart), drifted_in, 300) <= 0.02


def test_what_is_slower_or_further_apart_is_found() -> None:
    assert share(World(times=2, latency_ratio=1.5, requests=400), slow_in, 100) >= 0.9
    assert share(World(times=2, latency_ratio=1.5, requests=25), slow_in, 100) < 0.9, "few requests say little"
    assert share(World(times=3), slow_in, 100) >= 0.9
    assert share(World(apart=0.4), drifted_in, 100) >= 0.9
