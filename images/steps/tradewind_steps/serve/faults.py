"""Ways in which a version can be bad that no test before the release shows: for drills, on live requests only."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, ClassVar

SHARE = 5  # one request in so many fails
DELAY_S = 1.0
ENDS_AT = 20  # the request at which the server crashes


class Fault:
    """None: a version as it is."""

    kinds: ClassVar[dict[str, type[Fault]]] = {}

    def __init__(self) -> None:
        self.requests = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Fault.kinds[cls.__name__.lower()] = cls

    @staticmethod
    def named(kind: str | None) -> Fault:
        """Raises KeyError where there is no fault of that name."""
        return Fault.kinds[kind]() if kind else Fault()

    def before(self) -> float:
        """A live request comes; the seconds for which it is to wait."""
        self.requests += 1
        return 0.0

    def after(self, data: list[Any], shape: Sequence[int]) -> list[Any]:
        """What a tensor of the answer holds, row after row, instead of ``data``."""
        return data


class Errors(Fault):
    def before(self) -> float:
        super().before()
        if self.requests % SHARE == 0:
            raise RuntimeError("A drill: this request fails")
        return 0.0


class Latency(Fault):
    def before(self) -> float:
        return super().before() + DELAY_S


class Crash(Fault):
    def before(self) -> float:
        super().before()
        if self.requests >= ENDS_AT:
            os._exit(1)
        return 0.0


class Drift(Fault):
    def after(self, data: list[Any], shape: Sequence[int]) -> list[Any]:
        width = math.prod(shape[1:]) or 1
        rows = [data[first : first + width] for first in range(0, len(data), width)]
        # A probability for each class, each given to another class; one number is taken for its opposite.
        return [number for row in rows for number in (row[::-1] if width > 1 else [1 - row[0]])]
