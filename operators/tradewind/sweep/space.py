"""What a sweep may try: each hyperparameter's values, as data.

::

    {"max_depth": [3, 6, 9],                                       one of these; any JSON
     "trees": {"low": 50, "high": 400, "step": 50},                whole numbers, both ends included
     "learning_rate": {"low": 0.01, "high": 0.3, "log": True}}     numbers, as many below 0.055 as above
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tradewind.contract import digest, to_json
from tradewind.errors import SpecError

MOST_POINTS = 10_000
ATTEMPTS = 20  # at a point that was not tried before
_FORM = 'a list of values or {"low": number, "high": number}, with "log": true or "step": number'


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Range:
    """A number from ``low`` to ``high``, both included; a whole one where both and ``step`` are."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 1))

    @property
    def count(self) -> int | None:
        """How many values there are; None where that is no finite number."""
        step = self.step or (1 if self.whole and not self.log else None)
        return None if step is None else math.floor((self.high - self.low) / step + 1e-9) + 1

    def value(self, place: int) -> float:
        """The value at a place of the list, from 0, of a range that has one."""
        value = self.low + place * (self.step or 1)
        return value if self.whole else round(value, 12)

    def draw(self, chance: random.Random) -> float:
        if self.count is not None:
            return self.value(chance.randrange(self.count))
        if not self.log:
            return chance.uniform(self.low, self.high)
        if self.whole:  # each whole number has the share of the scale from half below it to half above it
            drawn: float = round(math.exp(chance.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5))))
        else:
            drawn = math.exp(chance.uniform(math.log(self.low), math.log(self.high)))
        return min(max(drawn, self.low), self.high)


Space = dict[str, Choice | Range]


def parse_space(given: Any) -> Space:
    """The space as data, by hyperparameter in alphabetical order: a Dag's author may write them in any.

    Raises:
        SpecError: it is empty, or a value is none of the two forms; names the hyperparameter, what was expected and what came.
    """
    if not isinstance(given, Mapping) or not given:
        raise SpecError(f"space: expected hyperparameters and their values, such as {{'max_depth': [3, 6, 9]}}, got {given!r}")
    return {str(name): _dimension(str(name), given[name]) for name in sorted(given, key=str)}


def grid(space: Space) -> list[dict[str, Any]]:
    """All combinations, the last hyperparameter's values changing first.

    Raises:
        SpecError: a hyperparameter has no finite list of values, or there are more than 10,000 combinations.
    """
    points = 1
    for name, dimension in space.items():
        count = len(dimension.values) if isinstance(dimension, Choice) else dimension.count
        if count is None:
            raise SpecError(f"space: the grid needs for {name!r} a list of values or a range with a step, got {dimension}")
        points *= count
    if points > MOST_POINTS:
        raise SpecError(
            f"space: the grid has {points} points, expected at most {MOST_POINTS}: take the sampler 'random' or 'tpe'"
        )
    values = [
        dimension.values if isinstance(dimension, Choice) else [dimension.value(place) for place in range(dimension.count or 0)]
        for dimension in space.values()
    ]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]


def random_points(space: Space, seed: int, count: int) -> list[dict[str, Any]]:
    """Points by chance, none twice as long as there are others: of the seed alone, so that a longer sweep begins as a shorter one
    did."""
    seen: set[str] = set()
    points = []
    for number in range(count):
        drawn = (_random_point(space, random.Random(f"{seed}:{number}:{attempt}")) for attempt in range(ATTEMPTS))  # noqa: S311
        point = first_new(drawn, seen)
        seen.add(digest(point))
        points.append(point)
    return points


def first_new(points: Iterable[dict[str, Any]], seen: set[str]) -> dict[str, Any]:
    """The first whose digest is not among ``seen``; the last where all are: a small space has no more."""
    point: dict[str, Any] = {}
    for point in points:
        if digest(point) not in seen:
            break
    return point


def _random_point(space: Space, chance: random.Random) -> dict[str, Any]:
    return {
        name: chance.choice(dimension.values) if isinstance(dimension, Choice) else dimension.draw(chance)
        for name, dimension in space.items()
    }


def _dimension(name: str, given: Any) -> Choice | Range:
    if isinstance(given, list | tuple):
        return _choice(name, list(given))
    if isinstance(given, Mapping):
        return _range(name, dict(given))
    raise SpecError(f"space: expected for {name!r} {_FORM}, got {given!r}")


def _choice(name: str, values: list[Any]) -> Choice:
    if not values:
        raise SpecError(f"space: expected values for {name!r}, got an empty list")
    try:
        keys = {digest(value) for value in values}
    except SpecError as error:
        raise SpecError(f"space: {name!r}: {error}") from error
    if len(keys) < len(values):
        raise SpecError(f"space: expected different values for {name!r}, got {values!r}")
    return Choice(values=tuple(json.loads(to_json(value)) for value in values))


def _range(name: str, given: dict[str, Any]) -> Range:
    low, high, log, step = (given.pop(key, None) for key in ("low", "high", "log", "step"))
    if given or not (_number(low) and _number(high) and log in (None, True, False) and (step is None or _number(step))):
        shown = {
            key: value
            for key, value in {"low": low, "high": high, "log": log, "step": step, **given}.items()
            if value is not None
        }
        raise SpecError(f"space: expected for {name!r} {_FORM}, got {shown!r}")
    if not low < high:
        raise SpecError(f"space: expected low below high for {name!r}, got low={low!r} and high={high!r}")
    if log and (low <= 0 or step is not None):
        raise SpecError(f"space: expected for {name!r}, which is log, a low above 0 and no step, got low={low!r}, step={step!r}")
    if step is not None and not 0 < step <= high - low:
        raise SpecError(f"space: expected for {name!r} a step above 0 and at most {high - low:g}, got {step!r}")
    return Range(low=low, high=high, log=bool(log), step=step)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
