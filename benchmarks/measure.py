"""What a benchmark gives back, and how two things are timed fairly."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "bench"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure; ``goal`` as in ``"<= 1.1"``, empty where there is none; ``spread`` is the single values."""

    name: str
    value: float
    unit: str
    goal: str = ""
    spread: tuple[float, ...] = ()

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        return self.value <= float(self.goal.removeprefix("<=")) if self.goal else None


def in_turns(ours: Callable[[], float], theirs: Callable[[], float], repeat: int) -> tuple[list[float], list[float]]:
    """Seconds of both, A B A B ..., so that whatever else the machine does falls on both."""
    pairs = []
    for number in range(repeat):
        pairs.append((ours(), theirs()))
        print(
            f"  {number + 1}/{repeat}: {pairs[-1][0]:.3f} s beside {pairs[-1][1]:.3f} s, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def compared(name: str, reference: str, ours: list[float], theirs: list[float], goal: str) -> list[Figure]:
    """The ratio of the medians, and both."""
    a, b = statistics.median(ours), statistics.median(theirs)
    return [
        Figure(name=name, value=round(a / b, 3), unit="ratio", goal=goal),
        Figure(name=f"{name}.seconds", value=round(a, 3), unit="s", spread=tuple(ours)),
        Figure(name=f"{name}.{reference}_seconds", value=round(b, 3), unit="s", spread=tuple(theirs)),
    ]
