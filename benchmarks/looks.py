"""The canary's tests at fixed looks, on latency and on answers, in simulation: what a rollout would decide."""

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from benchmarks.measure import Figure
from tradewind.contract import ArtifactRef
from tradewind.rollout.record import Record, Traffic
from tradewind.rollout.spec import CanaryStep, RolloutSpec
from tradewind.rollout.verdict import drifted, slow

STEPS = (CanaryStep(weight=10), CanaryStep(weight=50))
RUNS, _POWER_RUNS = 4000, 400
_SIZES = (25, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1200)  # requests of the canary in a step
_MEDIAN_MS, _SPREAD = 5.0, 0.5  # of latencies, logarithmically normal: nine of ten within 9.5 ms
_DISTANCE = RolloutSpec().answer_distance


@dataclass(frozen=True, kw_only=True)
class World:
    """What the canary is like, and what of it is allowed.

    Attributes:
        times: as long as the champion takes.
        apart: its answers' distribution from the champion's; both are uniform, of a width of 1.
        requests: of the canary in each step.
        steps: how many of them are looked at.
    """

    times: float = 1.0
    apart: float = 0.0
    latency_ratio: float = RolloutSpec().latency_ratio
    requests: int = RolloutSpec().min_requests
    steps: int = len(STEPS)


def fixed_looks(runs: int = RUNS) -> list[Figure]:
    """False alarms of a version that is as good, and of one at the edge of what is allowed; requests until a bad one is found."""
    figures = []
    for name, world in (("equal", World()), ("at_the_limit", World(times=RolloutSpec().latency_ratio))):
        figures.append(_alarms(f"latency.false_alarms.{name}", world, slow_in, runs))
    for name, world in (("equal", World()), ("at_the_limit", World(apart=_DISTANCE))):
        figures.append(_alarms(f"answers.false_alarms.{name}", world, drifted_in, runs))
    for name, world in (
        ("2x_of_1.5x", World(times=2, latency_ratio=1.5)),
        ("3x_of_2x", World(times=3)),
        ("10x_of_2x", World(times=10)),
    ):
        figures += _power(f"latency.{name}", world, slow_in)
    for name, distance in (("0.4_of_0.2", 0.4), ("0.8_of_0.2", 0.8)):
        figures += _power(f"answers.{name}", World(apart=distance), drifted_in)
    return figures


def share(world: World, taken_back: Callable[[World, int], bool], runs: int) -> float:
    """Of rollouts that are taken back, all as seeded."""
    with ProcessPoolExecutor() as pool:
        return sum(pool.map(taken_back, [world] * runs, range(runs), chunksize=50)) / runs


def slow_in(world: World, seed: int) -> bool:
    """Whether a rollout is taken back for its latency, at the end of any of its steps."""
    chance = random.Random(seed)
    return any(slow(_record(world, *_latencies(world, step, chance))) for step in STEPS[: world.steps])


def drifted_in(world: World, seed: int) -> bool:
    """The same for its answers."""
    chance = random.Random(seed)
    return any(drifted(_record(world, *_answers(world, step, chance))) for step in STEPS[: world.steps])


def _alarms(name: str, world: World, taken_back: Callable[[World, int], bool], runs: int) -> Figure:
    found = round(share(world, taken_back, runs), 5)
    return Figure(name=name, value=found, unit="share of runs", goal=f"<= {RolloutSpec().alpha}")


def _power(name: str, world: World, taken_back: Callable[[World, int], bool]) -> list[Figure]:
    """How many requests of the canary the first step must have, at 10%, for half and for nine of ten bad versions to be found."""
    found = {}
    for requests in _SIZES:
        first = dataclasses.replace(world, requests=requests, steps=1)
        power = share(first, taken_back, _POWER_RUNS)
        for wanted in (0.5, 0.9):
            if power >= wanted:
                found.setdefault(wanted, requests)
        if len(found) == 2:
            break
    return [
        Figure(name=f"{name}.found_{wanted:.0%}", value=found.get(wanted, math.inf), unit="requests") for wanted in (0.5, 0.9)
    ]


def _latencies(world: World, step: CanaryStep, chance: random.Random) -> tuple[Traffic, Traffic]:
    def drawn(requests: int, times: float) -> Traffic:
        took = (times * _MEDIAN_MS * math.exp(chance.gauss(0, _SPREAD)) for _ in range(requests))
        return Traffic(latency=dict(Counter(_bucket(ms) for ms in took)))

    return drawn(world.requests, world.times), drawn(_others(world, step), 1)


def _answers(world: World, step: CanaryStep, chance: random.Random) -> tuple[Traffic, Traffic]:
    def drawn(requests: int, apart: float) -> Traffic:
        return Traffic(answers=dict(Counter(f"{chance.random() + apart:.2f}" for _ in range(requests))))

    return drawn(world.requests, world.apart), drawn(_others(world, step), 0)


def _others(world: World, step: CanaryStep) -> int:
    return world.requests * (100 - step.weight) // step.weight


def _bucket(ms: float) -> str:
    """Its lower bound, of two digits, as Envoy counts."""
    unit = 10.0 ** (math.floor(math.log10(ms)) - 1)
    return f"{math.floor(ms / unit) * unit:g}"


def _record(world: World, canary: Traffic, stable: Traffic) -> Record:
    spec = RolloutSpec(steps=STEPS, latency_ratio=world.latency_ratio)
    model = ArtifactRef(uri="", sha256="", size=0, kind="model")
    return Record(
        id="", target="", version="2", model=model, stable="1", champion="1", spec=spec, by="", traffic={"2": canary, "1": stable}
    )
