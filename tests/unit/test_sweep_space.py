"""What a sweep may try, and in which order: data in, points out."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tradewind.errors import SpecError
from tradewind.sweep.space import grid, parse_space, random_points
from tradewind.sweep.study import Search

SPACE = {
    "max_depth": [3, 6, 9],
    "trees": {"low": 50, "high": 400, "step": 50},
    "learning_rate": {"low": 0.01, "high": 0.3, "log": True},
    "leaves": {"low": 1, "high": 1000, "log": True},
    "subsample": {"low": 0.5, "high": 1.0, "step": 0.1},
}


def search(**asked: Any) -> Search:
    given = {"space": SPACE, "trials": 10, "sampler": "random", "seed": 0, "batch": 8, "pruner": None, "warm_up": 0}
    return Search.of(**{**given, **asked})


def test_the_grid_is_all_combinations() -> None:
    space = parse_space({"b": {"low": 0.1, "high": 0.3, "step": 0.1}, "a": ["x", None], "c": {"low": 1, "high": 2}})
    points = grid(space)
    assert len(points) == 12
    assert points[0] == {"a": "x", "b": 0.1, "c": 1}
    assert points[1] == {"a": "x", "b": 0.1, "c": 2}
    assert points[-1] == {"a": None, "b": 0.3, "c": 2}


def test_random_points_lie_in_the_space() -> None:
    space = parse_space(SPACE)
    points = random_points(space, 0, 400)
    assert {point["max_depth"] for point in points} == {3, 6, 9}
    assert {point["trees"] for point in points} == set(range(50, 401, 50))
    assert {point["subsample"] for point in points} == {0.5, 0.6, 0.7, 0.8, 0.9, 1.0}
    rates = [point["learning_rate"] for point in points]
    assert 0.01 <= min(rates) < max(rates) <= 0.3
    middle = math.sqrt(0.01 * 0.3)
    assert 0.4 < sum(rate < middle for rate in rates) / len(rates) < 0.6, "as many below the geometric mean as above"
    leaves = [point["leaves"] for point in points]
    assert all(isinstance(number, int) for number in leaves)
    assert 1 <= min(leaves) < 10 < 100 < max(leaves) <= 1000


def test_a_longer_search_begins_as_a_shorter_one_did() -> None:
    short, long, other = search(trials=5).listed(), search(trials=20).listed(), search(trials=5, seed=1).listed()
    assert short
    assert long
    assert long[:5] == short
    assert other != short


def test_nothing_is_tried_twice_as_long_as_there_is_something_else() -> None:
    few = search(space={"a": [1, 2, 3, 4]}, trials=6).listed()
    assert few
    assert sorted(point["a"] for point in few[:4]) == [1, 2, 3, 4]
    assert all(point["a"] in (1, 2, 3, 4) for point in few)


def test_the_order_in_which_it_is_written_does_not_matter() -> None:
    backwards = dict(reversed(SPACE.items()))
    assert search(space=backwards).listed() == search().listed()


def test_only_who_learns_asks_in_batches() -> None:
    assert search().batches() == [range(10)]
    assert search(pruner="median").batches() == [range(8), range(8, 10)]
    assert search(sampler="tpe", batch=4).batches() == [range(4), range(4, 8), range(8, 10)]
    assert search(sampler="tpe").listed() is None
    assert search(sampler="grid", trials=None, space={"a": [1, 2], "b": [1, 2, 3]}).trials == 6


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"space": {}}, "space: expected hyperparameters and their values"),
        ({"space": ["a"]}, "got ['a']"),
        ({"space": {"a": []}}, "space: expected values for 'a', got an empty list"),
        ({"space": {"a": 3}}, "space: expected for 'a' a list of values or"),
        ({"space": {"a": [1, {2}]}}, "space: 'a': Expected plain JSON"),
        ({"space": {"a": [1, 1]}}, "space: expected different values for 'a'"),
        ({"space": {"a": {"low": 3, "high": 1}}}, "space: expected low below high for 'a', got low=3 and high=1"),
        ({"space": {"a": {"low": 1, "hight": 3}}}, "got {'low': 1, 'hight': 3}"),
        ({"space": {"a": {"low": True, "high": 3}}}, "expected for 'a'"),
        ({"space": {"a": {"low": 0, "high": 3, "log": True}}}, "a low above 0 and no step"),
        ({"space": {"a": {"low": 0, "high": 3, "step": 4}}}, "a step above 0 and at most 3, got 4"),
        ({"space": {"a": {"low": 0, "high": float("inf")}}}, "expected for 'a'"),
        ({"sampler": "guess"}, "sampler: expected one of grid, random, tpe, got 'guess'"),
        ({"sampler": "grid", "trials": None}, "the grid needs for 'learning_rate' a list of values or a range with a step"),
        ({"sampler": "grid", "trials": 3, "space": {"a": [1, 2, 3, 4]}}, "the grid has 4 points, expected as many trials"),
        ({"sampler": "grid", "trials": None, "space": {"a": {"low": 1, "high": 10**9}}}, "the grid has 1000000000 points"),
        ({"trials": None}, "trials: expected how many the sampler 'random' shall try, got None"),
        ({"trials": 0}, "trials: expected a whole number, 1 or more, got 0"),
        ({"batch": 0}, "batch: expected a whole number, 1 or more"),
        ({"seed": -1}, "seed: expected a whole number, 0 or more"),
        ({"pruner": "axe"}, "pruner: expected one of median, halving, or None, got 'axe'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as raised:
        search(**asked)
    assert message in str(raised.value)
