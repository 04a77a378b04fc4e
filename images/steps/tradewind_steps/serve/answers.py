"""How often a version answered live requests with what: beside the answers of the version that serves, these show a drift
that no error and no latency shows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

# What Envoy adds to each request that it forwards or mirrors. Who asks a version past the split, to compare it, is not counted.
FORWARDED = "x-request-id"
_WIDTH = 0.05  # of a bin: absolute around 0, relative for large numbers


class Answers:
    """A histogram of what rows were answered with. Of several outputs a row, a probability for each class, it is the last
    class's."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def count(self, data: Sequence[Any], shape: Sequence[int]) -> None:
        """Add an answer's numbers, row after row."""
        width = math.prod(shape[1:]) or 1
        for value in data[width - 1 :: width]:
            if isinstance(value, (int, float)) and math.isfinite(value):
                self._counts[math.floor(math.asinh(value) / _WIDTH)] += 1

    def bins(self) -> dict[str, int]:
        """The lower bound of a bin to its count."""
        return {f"{math.sinh(number * _WIDTH):.6g}": count for number, count in self._counts.items()}
