"""Ways in which a version can be bad that no test before the release shows: for drills, on live requests only."""

from __future__ import annotations

import asyncio
import os
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

    async def before(self) -> None:
        """A live request comes."""
        self.requests += 1

    def after(self, response: Any) -> None:
        """It is answered."""


class Errors(Fault):
    async def before(self) -> None:
        await super().before()
        if self.requests % SHARE == 0:
            raise RuntimeError("A drill: this request fails")


class Latency(Fault):
    async def before(self) -> None:
        await super().before()
        await asyncio.sleep(DELAY_S)


class Crash(Fault):
    async def before(self) -> None:
        await super().before()
        if self.requests >= ENDS_AT:
            os._exit(1)


class Drift(Fault):
    def after(self, response: Any) -> None:
        for tensor in response.outputs:
            numbers = list(tensor.data)
            width = len(numbers) // tensor.shape[0]
            rows = [numbers[first : first + width] for first in range(0, len(numbers), width)]
            # A probability for each class, each given to another class; one number is taken for its opposite.
            turned = [row[::-1] if width > 1 else [1 - row[0]] for row in rows]
            tensor.data.root = [number for row in turned for number in row]
